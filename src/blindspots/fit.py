"""Does an attack fit what it is asked for? Said before the first query, with the attacks that would do."""

from collections.abc import Callable

from blindspots.attacks import CATALOGUE, Attack
from blindspots.errors import InputError
from blindspots.goal import Goal
from blindspots.problem import Need
from blindspots.threat import Threat

_ACCESS = {Need.LABEL: "labels", Need.VALUE: "scores", Need.GRAD: "gradients", Need.JACOBIAN: "gradients"}
_ORDER = (Need.LABEL, Need.VALUE, Need.GRAD, Need.JACOBIAN)


def check_fit(attack: Attack, threat: Threat, access: Need, goal: Goal) -> None:
    """Refuse an attack that does not search in such a threat, needs more access, or cannot pursue the goal.

    Args:
        access: what the model lets one see; `Need.GRAD` stands for everything.
    """
    if threat.name not in attack.threats:
        raise InputError(
            f"expected an attack for {threat.name} threats, got {attack!r}, which searches in "
            f"{', '.join(attack.threats)}: use one of {_able(lambda a: threat.name in a.threats)}"
        )
    if threat.radius is None and not attack.minimal:
        raise InputError(
            f"expected a radius for {attack!r}, which searches in a ball, got {threat.spec!r}: write "
            f"{threat.name}:RADIUS, or use one of {_able(lambda a: a.minimal and threat.name in a.threats)} for the "
            "smallest distance"
        )
    if not _affords(access, attack):
        raise InputError(
            f"expected an attack that needs no more than {_ACCESS[access]}, which is all that the model gives, got "
            f"{attack!r}, which needs {_ACCESS[attack.need]}: use one of "
            f"{_able(lambda a: _affords(access, a) and threat.name in a.threats)}"
        )
    if (goal.targeted or goal.directed) and not attack.targeted:
        raise InputError(
            f"expected an attack that can run towards a class, got {attack!r}: leave the targets out, or use one of "
            f"{_able(lambda a: a.targeted and a.need is attack.need and threat.name in a.threats)}"
        )


def _affords(access: Need, attack: Attack | type[Attack]) -> bool:
    return access is Need.GRAD or _ORDER.index(attack.need) <= _ORDER.index(access)


def _able(fits: Callable[[type[Attack]], bool]) -> str:
    return ", ".join(entry.name for entry in CATALOGUE if fits(entry.attack))
