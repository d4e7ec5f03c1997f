"""Folders of class folders of pictures."""

import copy
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.data.class_folders import ClassFolders, Kind, bytes_of, look_into, turns
from blindspots.data.dataset import note
from blindspots.data.images import IMAGES, Picture, glance_at, read_picture
from blindspots.errors import InputError
from blindspots.findings import Finding, Severity

PICTURES = Kind("picture", "images", IMAGES)


class FolderData(ClassFolders):
    """A folder that has a folder of pictures for each class.

    Rows take turns through the classes in sorted order (first picture of every class, second picture of every class,
    ...), so that the first N rows cover as many classes as possible. A folder without pictures is not a class. Labels
    are the folders' names where all are whole numbers, else their indices in sorted order.

    Pictures are rotated according to EXIF, and have one channel if none of them has a colour, else three; 16 bits are
    kept unless they only hold 8.

    Args:
        named: folder names are names of classes even if some are numbers; else a mixture of both is refused.
    """

    unit = "image"
    kind = PICTURES

    def __init__(self, folder: Path, spec: str, rows: int | None = None, named: bool = False) -> None:
        found = look_into(folder, PICTURES)
        self.skipped = found.skipped
        labels, files = turns(found, spec, named)
        labels = labels.first(rows)
        self._folder, self._files = folder, files[: len(labels.y)]
        self._facts = _scan(folder, self._files)
        super().__init__(folder.resolve().name, spec, self._facts.shape, labels, self._facts.notes)

    @property
    def content(self) -> str:
        """SHA-256 (hex) of the names and the bytes of the pictures in use."""
        return self._facts.digest

    def readings(self) -> list[Self]:
        """Grey pictures in three equal channels."""
        return [] if self._facts.coloured else [self._with_channels(4 - self.shape[0])]

    def grey(self) -> "Self | None":
        """The same rows as if all were grey, to try whether a model takes them; None where they are grey."""
        return self._with_channels(1) if self._facts.coloured else None

    @property
    def coloured(self) -> str:
        """The first picture with a colour, "" where there is none."""
        return self._facts.coloured

    def _with_channels(self, channels: int) -> Self:
        made = copy.copy(self)
        made.shape = (channels, *self.shape[1:])
        if channels == 3:
            said = "No picture has a colour: each was given to the model in 3 equal channels, since it takes 3."
            made._notes = [*self._notes, note("channels", said)]
        return made

    def _read(self, start: int, stop: int) -> Tensor:
        channels, height, width = self.shape
        x = torch.empty(stop - start, channels, height, width)
        for image, path in zip(x, self._files[start:stop], strict=True):
            levels = read_picture(path).channels(channels).transpose(2, 0, 1)
            image[...] = self._facts.unit(levels)
        return x


# ------------------------------------------------------------------ what the pictures are

_CLEAR = "If the hidden colours are not intended, blend the pictures with the intended background."
_SAYINGS: dict[str, tuple[str, str, Severity]] = {
    "turned": ("were rotated according to their EXIF orientation", "", "note"),
    "colourless": ("are stored in colour but have none: they were read as grey without loss", "", "note"),
    "grey": ("are stored in grey while others have colours: they were given three equal channels", "", "note"),
    "deep": ("have 16 bits: they were divided by 65535, and no bit was dropped", "", "note"),
    "shifted": ("have 16 bits, of which only the upper 8 are used: these were taken", "", "note"),
    "clear": ("have pixels that are not opaque: the colours stored there were taken, without alpha", _CLEAR, "warning"),
}  # by properties of an image


@dataclass(frozen=True)
class _Facts:
    """A summary of all pictures in use.

    Attributes:
        digest: of their names and bytes.
        size: (width, height) of all, after rotation.
        coloured: the first one with a colour, "" where there is none.
        shift: 16-bit pictures all hold 8 bits shifted up.
        notes: what was decided about them.
    """

    digest: str
    size: tuple[int, int]
    coloured: str
    shift: bool
    notes: list[Finding]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3 if self.coloured else 1, self.size[1], self.size[0])

    def unit(self, levels: NDArray[Any]) -> Tensor:
        """Levels as float32 in [0, 1]."""
        if levels.dtype == np.uint16 and not self.shift:
            return torch.from_numpy(levels.astype(np.float32)) / 65535
        eight = levels >> 8 if levels.dtype == np.uint16 else levels
        return torch.from_numpy(eight.astype(np.uint8)).float() / 255


def _scan(folder: Path, files: Sequence[Path]) -> _Facts:
    """Open every picture once, and decode those where that decides something.

    Raises InputError: one is broken, or two differ in size.
    """
    digest, size, coloured, kinds, shift = hashlib.sha256(), None, "", Counter[str](), True
    for path in files:
        raw = bytes_of(path, "an image")
        digest.update(repr((path.relative_to(folder).as_posix(), len(raw))).encode() + raw)
        seen = glance_at(path, raw)
        size = size or seen.size
        if seen.size != size:
            both = f"{_by(size)} in {str(files[0])!r} and {_by(seen.size)} in {str(path)!r}"
            raise InputError(f"expected images of one size, got {both}: resize them first")
        kinds.update(turned=seen.turned, grey=not seen.stored_in_colour)
        if seen.simple and (coloured or not seen.stored_in_colour):
            continue  # decoding it would reveal nothing new
        picture = read_picture(path, raw)
        coloured = coloured or (str(path) if picture.coloured else "")
        kinds.update(_kinds(picture))
        shift = shift and not (picture.deep and (picture.levels & 255).any())
    unsaid = ("colourless" if coloured else "grey", "deep" if shift else "shifted")
    notes = [_said(kind, kinds[kind], len(files)) for kind in _SAYINGS if kinds[kind] and kind not in unsaid]
    return _Facts(digest.hexdigest(), size or (0, 0), coloured, shift, notes)


def _said(kind: str, count: int, files: int) -> Finding:
    saw, do, severity = _SAYINGS[kind]
    return note(f"images-{kind}", f"{count} of {files} images {saw}.", do, severity)


def _kinds(picture: Picture) -> dict[str, int]:
    """Those of `_SAYINGS` that the decoded picture may count for."""
    return {
        "colourless": picture.stored_in_colour and not picture.coloured,
        "deep": picture.deep,
        "shifted": picture.deep,
        "clear": picture.see_through,
    }


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
