"""Classes by their names or numbers."""

from collections import Counter
from collections.abc import Sequence

from blindspots.data.names import number, places, shown
from blindspots.errors import InputError
from blindspots.naming import meant


def numbers_of(words: Sequence[str], names: Sequence[str] | None, classes: int) -> tuple[int, ...]:
    """The classes that words mean: a name, one of the synonyms of a name ("ostrich" of "ostrich, Struthio"), a number.

    Raises InputError: there is no such class; near names are offered.
    """
    known = _synonyms(names or [])
    return tuple(dict.fromkeys(_number(word, known, names, classes) for word in words))


def _synonyms(names: Sequence[str]) -> dict[str, int]:
    """Every name and every part of it between commas that only one class has."""
    parts = [(part.strip(), i) for i, name in enumerate(names) for part in name.split(",")]
    times = Counter(part for part, _ in parts)
    return {part: i for part, i in parts if times[part] == 1} | {name: i for i, name in enumerate(names)}


def _number(word: str, known: dict[str, int], names: Sequence[str] | None, classes: int) -> int:
    place = places([word], list(known))[word]
    if place is not None:
        return list(known.values())[place]
    asked = number(word)
    if asked is not None and 0 <= asked < classes:
        return asked
    of = f"a class among {shown(names)}" if names else f"a number of a class from 0 to {classes - 1}"
    raise InputError(f"expected {of}, got {word!r}{meant(word, known)}: choose one")
