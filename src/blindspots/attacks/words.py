"""Attacks as text, as on the command line or in a protocol."""

from dataclasses import replace
from typing import Any

from blindspots.attacks.attack import Attack
from blindspots.attacks.catalogue import CATALOGUE
from blindspots.attacks.views.smooth import Smooth
from blindspots.attacks.views.through import Through
from blindspots.attacks.views.views import GradientKernel, InputDiversity, Noise, Scales, Translations, View
from blindspots.errors import InputError
from blindspots.spec import build
from blindspots.spec import describe as described

VIEWS: dict[str, type[View]] = {
    "di": InputDiversity,
    "si": Scales,
    "ti": GradientKernel,
    "shift": Translations,
    "noise": Noise,
}
_COPIES = 4


def as_attack(given: Any) -> Any:
    """Text becomes an attack, anything else is returned as it is."""
    return parse_attack(given) if isinstance(given, str) else given


def parse_attack(text: str, *, alone: bool = True) -> Attack:
    """The attack that e.g. "pgd" or "pgd:steps=40,random_start=false" describes, also behind views: "mifgsm+di+ti".

    "pgd+smooth:sigma=10" makes smooth changes.

    Args:
        alone: it has to find adversarial examples itself, not just improve those of an earlier stage.

    Raises InputError: no attack has that name, it has no such setting, or the value does not fit.
    """
    name, *views = text.split("+")
    attack = build("an attack", {kind.__name__.lower(): kind for kind in CATALOGUE}, name)
    kinds: dict[str, type[View | Smooth]] = {**VIEWS, "smooth": Smooth}
    around = [build("a view", kinds, view) for view in views]
    if seen := tuple(view for view in around if isinstance(view, View)):
        attack = _through(attack, seen)
    for smooth in around:
        attack = replace(smooth, attack=attack) if isinstance(smooth, Smooth) else attack
    if alone and not attack.alone:
        raise InputError(
            f"expected an attack that finds adversarial examples, got {text!r}, which only improves those of an "
            "earlier stage: use it in a protocol"
        )
    return attack


def _through(attack: Attack, views: tuple[View, ...]) -> Attack:
    """The attack behind views, with as many copies of each probe as the scales among them need."""
    scales = [view.count for view in views if isinstance(view, Scales)]
    return Through(attack, views, copies=scales[0] if scales else _COPIES)


def describe(kind: type[Attack]) -> str:
    """An attack with all its settings and their defaults, as `parse_attack` reads it."""
    return described(kind.__name__.lower(), kind)
