"""Folders that have a folder of files for each class: which files there are, and what they are labelled."""

from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.data.dataset import Stream
from blindspots.data.labels import Labels, of_names
from blindspots.data.names import number, shown
from blindspots.errors import InputError


@dataclass(frozen=True)
class Kind:
    """What kind of files rows come from.

    Attributes:
        one, many: what one of them is called, and several where folders should have some.
        suffixes: in lower case.
    """

    one: str
    many: str
    suffixes: tuple[str, ...]

    def includes(self, path: Path) -> bool:
        return path.suffix.lower() in self.suffixes

    @property
    def outside(self) -> str:
        return f"{self.one}s outside of class folders"

    @property
    def without(self) -> str:
        return f"folders without {self.one}s"


class ClassFolders(Stream):
    """Rows from the files in class folders.

    Attributes:
        kind: of these files.
        skipped: counts of what was skipped beside them; a subclass sets it.
    """

    kind: ClassVar[Kind]
    skipped: dict[str, int]

    def _headed(self, classes: int) -> str:
        return f"{classes} class folder{'s' * (classes != 1)}"

    def _classes(self) -> str:
        """The classes, and what was skipped beside them."""
        skipped = [f"{n} {what if n > 1 else self._one(what)}" for what, n in self.skipped.items()]
        return super()._classes() + (f"; skipped: {', '.join(skipped)}" if skipped else "")

    def _one(self, what: str) -> str:
        """ "hidden ones" -> "hidden one" """
        singular = {
            "hidden ones": "hidden one",
            self.kind.outside: f"{self.kind.one} outside of class folders",
            "files of other kinds": "file of another kind",
            self.kind.without: self.kind.without.replace("folders", "folder"),
            "folders inside of these": "folder inside of these",
            "links to nothing": "link to nothing",
        }
        return singular[what]


def bytes_of(path: Path, what: str) -> bytes:
    """The content of a file. Raises InputError: it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"expected {what}, got {str(path)!r}, which cannot be read ({error.strerror})") from error


# ------------------------------------------------------------------ what is there


@dataclass(frozen=True)
class Inside:
    """Class folders in sorted order, the files of each, sorted, and counts of everything else."""

    classes: list[Path]
    files: list[list[Path]]
    skipped: dict[str, int]


def look_into(folder: Path, kind: Kind) -> Inside:
    """Raises InputError: no folder in it has files of that kind."""
    skipped, classes, files = Counter[str](), [], []
    for path in listed(folder):
        if path.name.startswith("."):
            skipped["hidden ones"] += 1
        elif not path.is_dir():
            skipped[kind.outside if kind.includes(path) else "files of other kinds"] += 1
        else:
            own, others = _files(path, kind)
            if own:
                skipped += others
                classes.append(path)
                files.append(own)
            else:
                skipped[kind.without] += 1
    if not classes:
        got = f"{skipped[kind.without]} folders without any"
        raise InputError(
            f"expected a folder per class with {kind.many} ({', '.join(kind.suffixes)}) in {str(folder)!r}, got {got}"
            f"{_deeper(folder, kind)}"
        )
    return Inside(classes, files, dict(skipped))


def listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted. Raises InputError: it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"expected a folder that can be read, got {str(folder)!r}: {error.strerror}") from error


def _files(folder: Path, kind: Kind) -> tuple[list[Path], Counter[str]]:
    own, others = [], Counter[str]()
    for path in listed(folder):
        if path.name.startswith("."):
            others["hidden ones"] += 1
        elif path.is_dir():
            others["folders inside of these"] += 1
        elif not kind.includes(path):
            others["files of other kinds"] += 1
        elif not path.exists():
            others["links to nothing"] += 1
        else:
            own.append(path)
    return own, others


def _deeper(folder: Path, kind: Kind) -> str:
    """A hint where the class folders lie one level below."""
    inner = (p for p in listed(folder) if p.is_dir() and not p.name.startswith("."))
    for path in inner:
        if any(p.is_dir() and _files(p, kind)[0] for p in listed(path)):
            return f": they lie one level deeper, so pass e.g. {str(path)!r}"
    return ""


def turns(found: Inside, spec: str, named: bool) -> tuple[Labels, list[Path]]:
    """The labels and the files of all rows."""
    names = [path.name for path in found.classes]
    numbers = [name for name in names if number(name) is not None]
    if numbers and len(numbers) < len(names) and not named:
        words = [name for name in names if number(name) is None]
        raise InputError(
            f"expected class folders that are named by numbers or by words in {spec}, got both: {shown(numbers)} and "
            f"{shown(words)}: move folders that are not classes elsewhere, or list the classes with --classes"
        )
    turns = [(p, i) for turn in zip_longest(*found.files) for i, p in enumerate(turn) if p is not None]
    at = np.array([i for _, i in turns])
    mixed = bool(numbers) and len(numbers) < len(names)
    labels = _by_name(names, at) if mixed else of_names(names, at, f"class folders of {spec}", "folder names")
    return labels, [p for p, _ in turns]


def _by_name(names: list[str], at: NDArray[np.int64]) -> Labels:
    return Labels(torch.from_numpy(at), names, "indices of the sorted folder names", called=lambda k: names[k])
