"""Does an attack fit threat, access and goal? Checked before the first query; errors name the attacks that do."""

from torch import Tensor

from blindspots.attacks import CATALOGUE, Attack
from blindspots.ball import Ball
from blindspots.capabilities import Tabular, lacking
from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.problem import Need
from blindspots.threat import Threat

ACCESS = {
    Need.LABEL: "labels",
    Need.VALUE: "scores",
    Need.SLOPES: "gradients at its embeddings",
    Need.GRAD: "gradients",
    Need.JACOBIAN: "gradients",
}
_ORDER = (Need.LABEL, Need.VALUE, Need.SLOPES, Need.GRAD, Need.JACOBIAN)


def check_fit(attack: Attack, threat: Threat, access: Need, objective: Objective, solved: bool = False) -> None:
    """Refuse an attack that does not search in such a threat, needs more access, or cannot pursue the goal.

    Args:
        access: the most that the model reveals; `Need.GRAD` stands for everything.
        solved: there is a solver that proposes.
    """
    _check_lengths(attack)
    able = ", ".join(kind.__name__ for kind in CATALOGUE if _fits(kind, threat, access, objective))
    if attack.begins == "proved" and not solved:
        raise InputError(
            "expected trees, naive Bayes or neighbours that tell classes apart, or a linear model, in evaluate or "
            f"attack and without relations between columns, for {attack!r}, got something else, of which nothing is "
            f"proved: use one of {able}"
        )
    if lacks := lacking(attack.requires, threat):
        raise InputError(
            f"expected a threat that {' and '.join(lacks)} for {attack!r}, got {threat.name}, which does not: use one "
            f"of {able or 'your own attacks'}"
        )
    view = threat.view(attack.requires)
    if attack.requires is Ball and view.family not in attack.threats:
        raise InputError(
            f"expected an attack for {view.name} threats, got {attack!r}, which searches in "
            f"{', '.join(attack.threats)}: use one of {able}"
        )
    if attack.even and not threat.even:
        raise InputError(
            f"expected one box and one unit for all features, which {attack!r} needs, got a threat where they differ: "
            f"use one of {able}"
        )
    if _has_radius(threat, attack) and threat.radius is None and not attack.minimal:
        raise InputError(
            f"expected a radius for {attack!r}, which searches in a ball, got {threat.spec!r}: write "
            f"{threat.name}:RADIUS, or use one of {able} for the smallest distance"
        )
    if not affords(access, attack):
        raise InputError(
            f"expected an attack that needs no more than {ACCESS[access]}, which is all that the model gives, got "
            f"{attack!r}, which needs {ACCESS[attack.need]}: use one of {able}"
        )
    if (objective.targeted or objective.directed) and not attack.targeted:
        raise InputError(
            f"expected an attack that can run towards a class, got {attack!r}: leave the targets out, or use one of "
            f"{able}"
        )


def _check_lengths(attack: Attack) -> None:
    """Steps of length 0, or backwards, find nothing but would count as a search."""
    for name, least in (("stride", "above 0"), ("overshoot", "of at least 0")):
        length = getattr(attack, name, None)
        if isinstance(length, int | float) and not (length > 0 or (length == 0 and name == "overshoot")):
            raise InputError(f"expected {name} {least}, got {length} in {attack!r}: give a positive number")


def check_even(model: Model, what: str) -> None:
    """Refuse a model whose features have bounds of their own where one box is taken for granted."""
    if isinstance(model.box.lo, Tensor):
        raise InputError(
            f"expected one pair of bounds for all features for {what}, got bounds of every feature: evaluate and "
            "attack take these, here give Model(net, bounds=(low, high)) two numbers"
        )


def check_lengths(data: Dataset, what: str) -> None:
    """Refuse rows that were filled up to one length where all of a row may change."""
    if getattr(data, "padding", None) is not None:
        raise InputError(
            f"expected rows of one length for {what}, got {data.name}, whose shorter rows were filled up: evaluate, "
            "attack and harden leave that as it is, here cut all rows to one length"
        )


def check_answers(model: Model, what: str) -> None:
    """Refuse a model that may reject where "reject" would be counted as one more class, and bounds of features."""
    check_even(model, what)
    if model.rejects:
        raise InputError(
            f"expected a model that answers every input for {what}, got {model.name!r}, which may reject: use the "
            "classifier inside it, or evaluate it with protocol 'adaptive'"
        )


def _fits(kind: type[Attack], threat: Threat, access: Need, objective: Objective) -> bool:
    return (
        kind.alone
        and kind.begins != "proved"
        and not lacking(kind.requires, threat)
        and (kind.requires is not Ball or threat.view(Ball).family in kind.threats)
        and (threat.even or not kind.even)
        and (kind.minimal or threat.radius is not None or not _has_radius(threat, kind))
        and affords(access, kind)
        and (kind.targeted or not (objective.targeted or objective.directed))
    )


def _has_radius(threat: Threat, attack: Attack | type[Attack]) -> bool:
    """Whether the attack searches where distances from the row mean something."""
    return isinstance(threat.view(attack.requires).plain, Ball | Tabular)


def affords(access: Need, attack: Attack | type[Attack]) -> bool:
    """Whether a model with this access reveals what the attack needs."""
    return access is Need.GRAD or _ORDER.index(attack.need) <= _ORDER.index(access)
