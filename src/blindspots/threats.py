"""Every kind of threat by its name: a new one is a file and a row of `THREATS`."""

from typing import Any

from blindspots.arguments import checked
from blindspots.ball import BALLS, Ball, parse_ball, parse_number
from blindspots.decibels import DECIBELS, Relative, parse_decibels
from blindspots.errors import InputError
from blindspots.tables.threat import Cost
from blindspots.texts.threats import TEXTS, parse_text_threat
from blindspots.threat import Threat

THREATS: dict[str, type[Threat]] = {**BALLS, Cost.name: Cost, **DECIBELS, **TEXTS}


@checked()
def parse_threat(text: str) -> Threat:
    """A threat from "linf:8/255", in the box [0, 1], "snr:20" or "words:0.15": a name, alone or with a radius.

    Raises InputError for anything else.
    """
    name = text.partition(":")[0].strip().lower()
    if name in TEXTS:
        return parse_text_threat(text)
    if name in BALLS:
        return parse_ball(text)
    if name == Cost.name:
        return _cost(text)
    if name in DECIBELS:
        return parse_decibels(text)
    raise InputError(
        f"expected a threat, one of {', '.join(THREATS)}, alone or with a radius as in linf:8/255, got {text!r}"
    )


def _cost(text: str) -> Cost:
    _, colon, budget = text.partition(":")
    try:
        return Cost(parse_number(budget) if colon else None)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"expected a budget as in cost:30, or cost alone for the cheapest change, got {text!r}"
        ) from error


def as_threat(given: Any) -> Any:
    """Text becomes a threat, anything else is returned as it is."""
    return parse_threat(given) if isinstance(given, str) else given


def as_plain_threat(given: Any) -> Any:
    """As `as_padded_threat`, and all of a row may change."""
    threat = as_padded_threat(given)
    if isinstance(threat, Ball) and threat.padding is not None:
        raise InputError(
            "expected a threat in which all of a row may change, got one with padding: evaluate, attack and harden "
            "leave padding as it is, here cut all rows to one length"
        )
    return threat


def as_padded_threat(given: Any) -> Any:
    """As `as_threat`, where one radius holds for all features. Raises InputError for other balls."""
    threat = absolute(as_threat(given))
    if isinstance(threat, Cost):
        raise InputError(
            f"expected a threat such as linf:0.1, got {threat.spec!r}: only evaluate and attack know what columns cost"
        )
    if isinstance(threat, Ball) and not (threat.even and threat.where is None):
        raise InputError(
            "expected a threat whose box and radius are the same for all features, got bounds, units or a mask of "
            "features: evaluate and attack search in these, here give a radius alone"
        )
    return threat


def absolute(threat: Any) -> Any:
    """The threat as it is. Raises InputError: its radius is a share of each row's own size."""
    if isinstance(threat, Relative):
        raise InputError(
            f"expected a radius in the unit of the inputs, got {threat.spec}, which differs between rows: evaluate and "
            f"attack search in it, here give {threat.ball.name}:RADIUS"
        )
    return threat
