"""Attacks in words, as a command line or a protocol names them."""

from blindspots.attacks.attack import Attack
from blindspots.attacks.catalogue import CATALOGUE, Entry
from blindspots.errors import InputError
from blindspots.spec import build
from blindspots.spec import describe as described


def parse_attack(text: str, *, alone: bool = True) -> Attack:
    """The attack that e.g. "pgd" or "pgd:steps=40,random_start=false" describes.

    Args:
        alone: it has to find adversarial examples, not only to better those of a stage before it.

    Raises InputError: no attack has that name, it has no such setting, or the value does not fit.
    """
    attack = build("an attack", {entry.name.lower(): entry.attack for entry in CATALOGUE}, text)
    if alone and not attack.alone:
        raise InputError(
            f"expected an attack that finds adversarial examples, got {text!r}, which only betters those of a stage "
            "before it: use it in a protocol"
        )
    return attack


def describe(entry: Entry) -> str:
    """An attack with all its settings and their defaults, as `parse_attack` reads it."""
    return described(entry.name.lower(), entry.attack)
