"""Is a radius, or the noise of a certificate, plausible? Checked before the first query; errors say what was meant."""

import math
from collections.abc import Iterator, Sequence

from blindspots.ball import UNIT_ROUNDOFF, Ball
from blindspots.decibels import Relative
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.pictures import is_image
from blindspots.tables.threat import TableThreat
from blindspots.threat import Threat

_ROUNDING = 1e-6  # by this share float32 may make a radius larger than the box
_LOUD = 4.0  # noise this many times as large as the range of the inputs drowns them
_SMALL_SCALE = 2.0  # up to this width of the box, radii below a level are often intended
LEVELS = 255
GREY = (0.0, 255.0)  # bounds of inputs in levels


def check_radius(threat: Threat, shape: tuple[int, ...]) -> list[Finding]:
    """Findings about a radius that is doubtful for inputs of this shape in the threat's box.

    Raises InputError: no two inputs are that far apart, float32 shows no change, it is clearly on another scale, or the
    threat is made for inputs of another shape.
    """
    threat.check(shape)
    threat = threat.ball if isinstance(threat, TableThreat) else threat
    if threat.radius is None or not isinstance(threat, Ball):
        return []
    if isinstance(threat, Relative):
        return list(_louder(threat))
    _refuse_unlike(threat)
    _refuse_large(threat, shape)
    _refuse_small(threat)
    return [*_covers(threat, shape), *_below_a_level(threat, shape)]


def check_curve(radii: Sequence[float], threat: Ball, shape: tuple[int, ...]) -> list[Finding]:
    """Findings about the radii of a curve: beyond the largest distance between two inputs there is nothing."""
    most = threat.diameter(shape)
    beyond = [radius for radius in radii if radius > most * (1 + _ROUNDING)]
    if not beyond:
        return []
    return [Finding(
        code="radius-beyond-box", severity="warning",
        saw=f"No two inputs of shape {shape} in {threat.box_words} are further apart than {most:.3g}, but "
        f"radii up to {beyond[-1]:g} were requested.",
        do="Leave out the larger ones.",
    )]  # fmt: skip


def check_noise(sigma: float, bounds: tuple[float, float], shape: tuple[int, ...]) -> list[Finding]:
    """Findings about normal noise of this standard deviation, for inputs of this shape within the bounds.

    Raises InputError: it drowns every input, or is clearly on another scale.
    """
    lo, hi = bounds
    level, share = (hi - lo) / LEVELS, sigma / (hi - lo)
    if share > _LOUD:
        meant = f" (did you mean {sigma / LEVELS * (hi - lo):g}?)" if sigma <= LEVELS else ""
        raise InputError(
            f"expected noise that does not drown inputs in [{lo:g}, {hi:g}], got sigma {sigma:g}, {share:g} times "
            f"their range{meant}: choose e.g. {0.25 * (hi - lo):g}"
        )
    if sigma < level and bounds == GREY:
        raise InputError(
            f"expected noise on the scale of inputs in [{lo:g}, {hi:g}], got sigma {sigma:g}, less than one level of "
            f"255 (did you mean {sigma * (hi - lo):g}?): sigma is in the units of the input"
        )
    if sigma < level and is_image(shape):
        return [Finding(
            code="noise-below-a-level", severity="warning",
            saw=f"Noise of sigma {sigma:g} is smaller than one of 255 levels, {level:.3g}: it changes almost "
            "nothing, so what it certifies means almost nothing.",
            do="Choose sigma in the units of the input, e.g. a quarter of their range.",
        )]  # fmt: skip
    return []


def _louder(threat: Relative) -> Iterator[Finding]:
    """A limit in decibels. Raises InputError: float32 shows no change that is so quiet."""
    assert threat.radius is not None
    if threat.radius < UNIT_ROUNDOFF:
        raise InputError(
            f"expected a limit that float32 can tell from silence, got {threat.spec}: write e.g. snr:20 or peak:-30"
        )
    if threat.radius >= 1:
        yield Finding(
            code="change-as-loud-as-sound", severity="warning",
            saw=f"Within {threat.spec} the change may be as loud as the sound itself, so every row can become silence.",
            do="Check the sign: snr:20 and peak:-20 are quieter by 20 dB.",
        )  # fmt: skip


def _refuse_unlike(threat: Ball) -> None:
    """A radius of the wrong kind for the threat."""
    assert threat.radius is not None
    if math.isinf(threat.radius):
        raise InputError(
            f"expected a finite radius, got {_said(threat)}: write {threat.name} alone for the smallest distance"
        )
    if threat.name == "l0" and threat.radius != int(threat.radius):
        raise InputError(
            f"expected a whole number of values that may change, got {_said(threat)}: write "
            f"l0:{math.ceil(threat.radius)}, or another norm"
        )


def _refuse_large(threat: Ball, shape: tuple[int, ...]) -> None:
    assert threat.radius is not None
    most = threat.diameter(shape)
    if threat.radius <= most * (1 + _ROUNDING):
        return
    largest = f"none has over {most:g} values" if threat.name == "l0" else f"no two are over {most:g} apart"
    raise InputError(
        f"expected a radius for inputs of shape {shape} in {threat.box_words}, of which {largest}, got "
        f"{_said(threat)}{_probably(threat, most)}: name a smaller one"
    )


def _probably(threat: Ball, most: float) -> str:
    """The radius that was meant, if it was given in levels of 255 and would fit."""
    assert threat.radius is not None
    share = threat.radius / LEVELS
    if threat.name == "l0" or not threat.even or not share * threat.span < most:
        return ""
    exact = (threat.lo, threat.hi) == (0, 1)
    text = f"{threat.radius:g}/{LEVELS}" if exact else f"{share * threat.span:g}"
    return f" (did you mean {threat.name}:{text}?)"


def _refuse_small(threat: Ball) -> None:
    assert threat.radius is not None
    width = threat.span
    if threat.name == "l0" or threat.radius == 0 or not threat.even:
        return
    if threat.radius < UNIT_ROUNDOFF * width:
        raise InputError(
            f"expected a radius that float32 can tell from 0 in {threat.box_words}, got {_said(threat)}: "
            "write 0 if nothing may change, else a larger one"
        )
    levels = threat.radius * LEVELS
    if (threat.lo, threat.hi) == GREY and threat.radius < 1 and _is_whole(levels):
        raise InputError(
            f"expected a radius on the scale of inputs in [0, 255], got {threat.name}:{levels:g}/255, less than one "
            f"level (did you mean {threat.name}:{levels:g}?): radii are in the units of the input"
        )


def _is_whole(value: float) -> bool:
    return math.isclose(value, round(value), rel_tol=_ROUNDING) and round(value) > 0


def _covers(threat: Ball, shape: tuple[int, ...]) -> Iterator[Finding]:
    """From half the diameter on, every input can become the centre of the box, which has one class."""
    assert threat.radius is not None
    most = threat.diameter(shape)
    if threat.radius < (most if threat.name == "l0" else most / 2) * (1 - _ROUNDING):
        return
    into = "any other" if threat.radius >= most * (1 - _ROUNDING) else "the centre of the box"
    yield Finding(
        code="radius-covers-box", severity="warning",
        saw=f"Within {_said(threat)} every input can become {into}, so no model can be robust on two classes.",
        do="Expect every row to fall, and take rows that stand for failures of the search; choose a smaller radius for "
        "a meaningful measurement.",
    )  # fmt: skip


def _below_a_level(threat: Ball, shape: tuple[int, ...]) -> Iterator[Finding]:
    assert threat.radius is not None
    level = threat.span / LEVELS
    if threat.name != "l0" and threat.even and 0 < threat.radius < level * (1 - _ROUNDING) and is_image(shape):
        yield Finding(
            code="radius-below-a-level",
            severity="warning" if threat.span > _SMALL_SCALE else "note",
            saw=f"Within {_said(threat)} no value of a picture changes by one of the 255 levels between "
            f"{threat.lo:g} and {threat.hi:g}, which is {level:.3g}.",
            do="Check the scale: radii are in the units of the input.",
        )  # fmt: skip


def _said(threat: Ball) -> str:
    """ "linf:8" """
    return f"{threat.name}:{threat.radius:g}"
