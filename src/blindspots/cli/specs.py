"""Attacks and target rules from the words of a command line."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from blindspots.attacks import CATALOGUE, Attack, Bisect, Entry
from blindspots.data import meant
from blindspots.engine.targets import Closest, LeastLikely, RandomClass, Targets
from blindspots.errors import InputError

EVERY = 10**9  # more than any model has classes

TARGETS: dict[str, Callable[[int], Targets]] = {  # by the seed
    "runner-up": lambda seed: Closest(),
    "least-likely": lambda seed: LeastLikely(),
    "random": RandomClass,
    "all": lambda seed: Closest(EVERY),
}


def parse_attack(text: str) -> Attack:
    """The attack that e.g. "pgd" or "pgd:steps=40,random_start=false" describes.

    Raises InputError: no attack has that name, it has no such setting, or the value does not fit.
    """
    name, _, settings = text.partition(":")
    entry = _entry(name.strip())
    if entry.attack is Bisect:
        raise InputError(
            f"expected an attack that finds adversarial examples, got {text!r}, which only shortens those of a stage "
            "before it: use it in a protocol"
        )
    return _build(entry, _pairs(settings))


def describe(entry: Entry) -> str:
    """An attack with all its settings and their defaults, as `parse_attack` reads it."""
    settings = ",".join(f"{f.name}={str(f.default).lower()}" for f in fields(entry.attack))  # type: ignore[arg-type]
    return f"{entry.name.lower()}:{settings}" if settings else entry.name.lower()


def _entry(name: str) -> Entry:
    named = {entry.name.lower(): entry for entry in CATALOGUE}
    if name.lower() not in named:
        close = meant(name.lower(), named)
        raise InputError(f"expected an attack among {', '.join(named)}, got {name!r}{close}: choose one of these")
    return named[name.lower()]


def _pairs(settings: str) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for part in filter(None, map(str.strip, settings.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"expected settings such as steps=40,momentum=0.75, got {part!r}: write NAME=VALUE")
        pairs[key.strip().replace("-", "_")] = None if value.strip().lower() == "none" else value.strip()
    return pairs


def _build(entry: Entry, pairs: dict[str, str | None]) -> Attack:
    name, known = entry.name.lower(), [f.name for f in fields(entry.attack)]  # type: ignore[arg-type]
    for key in pairs:
        if key not in known:
            accepted = f"settings among {', '.join(known)}" if known else "no settings"
            raise InputError(f"expected {accepted} for {name}, got {key!r}{meant(key, known)}: leave it out")
    try:
        attack = TypeAdapter(entry.attack).validate_python(pairs)
    except ValidationError as error:
        first = error.errors()[0]
        said = str(first["msg"]).removeprefix("Input should be ").partition(",")[0]
        raise InputError(f"expected {said} for {name}:{first['loc'][0]}, got {first['input']!r}: change it") from error
    _check_numbers(name, attack)
    return attack


def _check_numbers(name: str, attack: Any) -> None:
    for field in fields(attack):
        value = getattr(attack, field.name)
        if field.name == "steps" and value < 1:
            raise InputError(f"expected steps of at least 1 for {name}, got {value}: give a positive number")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"expected a finite number for {name}:{field.name}, got {value}: change it")
