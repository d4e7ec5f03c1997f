"""Names of classes: how those of the data are matched to those of a model, or why they cannot be."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blindspots.errors import InputError
from blindspots.naming import meant

_SHOWN = 12  # names in a sentence
_LONGEST = 60  # letters of a name in a sentence


def number(name: str) -> int | None:
    """The whole number that a name is ("07" is 7); None for a word."""
    return int(name) if name.isascii() and name.removeprefix("-").isdecimal() else None


def say_nothing(names: Sequence[str]) -> bool:
    """Whether names only repeat the indices of their classes: "0", "1", ..., or "LABEL_0" as in unnamed models."""
    return all(number(name.removeprefix("LABEL_")) == i for i, name in enumerate(names))


def telling(names: Sequence[str] | None) -> list[str] | None:
    """Names that say more than the indices of their classes; None if there are none."""
    return None if names is None or say_nothing(names) else list(names)


def checked(names: Iterable[Any], what: str) -> list[str]:
    """Names as a list of words, each once. Raises InputError for anything else; `what` names their owner."""
    listed = [str(name) for name in names] if isinstance(names, Iterable) and not isinstance(names, str) else []
    twice = [name for name, times in Counter(listed).items() if times > 1]
    if len(listed) < 2 or twice or any(not name for name in listed):
        got = f"{shown(twice)} more than once" if twice else f"{names!r}"[:200]
        raise InputError(f"expected at least 2 different names for {what}, got {got}: list each once, in order")
    return listed


def parse_classes(text: str) -> list[str]:
    """Names in order from "cat,dog,ship", or from a text file with one on each line.

    Raises InputError: fewer than two, one twice, or a file that cannot be read.
    """
    if Path(text).is_file():
        try:
            lines = Path(text).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(f"expected a text file of names, got {text!r}, which cannot be read: {error}") from error
        return checked([line.strip() for line in lines if line.strip()], f"the classes in {text}")
    return checked([word.strip() for word in text.split(",")], "the classes")


def places(names: Iterable[str], classes: Sequence[str]) -> dict[str, int | None]:
    """The index of each name among the classes; None if it is not among them.

    Equal names come first; else those that differ only in case, encoding of accents, spaces, hyphens and underscores,
    if that is unambiguous.
    """
    exact = {name: i for i, name in enumerate(classes)}
    alike = Counter(map(_folded, classes))
    loose = {_folded(name): i for i, name in enumerate(classes) if alike[_folded(name)] == 1}
    return {name: exact.get(name, loose.get(_folded(name))) for name in names}


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").split())


def numbered(labels: Iterable[int], classes: Sequence[str]) -> dict[int, int | None]:
    """The index of the class named by each label, among classes that are named by numbers."""
    at = {number(name): i for i, name in enumerate(classes)}
    return {label: at.get(label) for label in labels}


def has_numbers(classes: Sequence[str]) -> bool:
    """Whether numeric labels must be looked up among the names: some names are numbers other than their indices."""
    return not say_nothing(classes) and any(number(name) is not None for name in classes)


def found(where: Mapping[Any, int | None], classes: Sequence[str], name: str, whose: str) -> dict[Any, int]:
    """`where`, if it is complete. Raises InputError: some are not among the classes, or two are the same class."""
    lacking = [str(key) for key, place in where.items() if place is None]
    if lacking:
        close = meant(lacking[0], classes) if len(lacking) == 1 else ""
        raise InputError(
            f"expected the classes of {name} to be among {whose} ({shown(classes)}), got {shown(lacking)}{close}: "
            "use the same names in both, or leave these rows out"
        )
    taken = Counter(where.values())
    for key, place in where.items():
        if taken[place] > 1:
            raise InputError(
                f"expected each class of {name} to be a different one among {whose}, got {key!s} and others for "
                f"{classes[place or 0]!r}: merge them under one name"
            )
    return {key: place for key, place in where.items() if place is not None}


def shown(names: Sequence[str]) -> str:
    """The first dozen names, for a sentence."""
    short = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in map(str, names[:_SHOWN])]
    return ", ".join(short) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
