"""Things written as NAME or NAME:SETTING=VALUE,SETTING=VALUE, on a command line or in a file."""

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from blindspots.arguments import check_numbers
from blindspots.errors import InputError
from blindspots.naming import meant

T = TypeVar("T")


def build(what: str, kinds: Mapping[str, type[T]], text: str) -> T:
    """The thing that `text` describes, e.g. "pgd:steps=40,random_start=false".

    Args:
        what: how sentences call such a thing, with its article.
        kinds: frozen dataclasses by name in lower case.

    Raises InputError: nothing has that name, it has no such setting, or the value does not fit.
    """
    name, _, settings = text.partition(":")
    name = name.strip().lower()
    if name not in kinds:
        raise InputError(
            f"expected {what} among {', '.join(kinds)}, got {name!r}{meant(name, kinds)}: choose one of these"
        )
    return _build(name, kinds[name], _pairs(settings))


def terms(what: str, names: Collection[str], text: str) -> list[str]:
    """The things that `text` describes one by one, joined by +; a + that no name follows, as in a path, joins nothing.

    Raises InputError: one has none of the `names`.
    """
    listed = re.split(r"\+(?=\s*(?:" + "|".join(map(re.escape, names)) + r")\s*(?:[:+]|$)|\s*$)", text)
    for name in (term.partition(":")[0].strip().lower() for term in listed):
        if name not in names:
            raise InputError(
                f"expected {what} among {', '.join(names)}, got {name!r}{meant(name, names)}: choose one of these"
            )
    return listed


def describe(name: str, kind: type[Any]) -> str:
    """A kind with its settings and their defaults, as `build` reads it; what words cannot say is left out."""
    plain = [f for f in fields(kind) if f.default is None or isinstance(f.default, int | float | str)]
    settings = ",".join(f"{f.name}={str(f.default).lower()}" for f in plain)
    return f"{name}:{settings}" if settings else name


def _pairs(settings: str) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for part in filter(None, map(str.strip, settings.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"expected settings such as steps=40,momentum=0.75, got {part!r}: write NAME=VALUE")
        pairs[key.strip().replace("-", "_")] = None if value.strip().lower() == "none" else value.strip()
    return pairs


def _build(name: str, kind: type[T], pairs: dict[str, str | None]) -> T:
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in pairs:
        if key not in known:
            accepted = f"settings among {', '.join(known)}" if known else "no settings"
            raise InputError(f"expected {accepted} for {name}, got {key!r}{meant(key, known)}: leave it out")
    try:
        built = TypeAdapter(kind).validate_python(pairs)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(sentence := first.get("ctx", {}).get("error"), InputError):
            raise sentence from error
        said = str(first["msg"]).removeprefix("Input should be ").partition(",")[0]
        raise InputError(f"expected {said} for {name}:{first['loc'][0]}, got {first['input']!r}: change it") from error
    check_numbers(name, {f.name: getattr(built, f.name) for f in fields(built)})  # type: ignore[arg-type]
    return built
