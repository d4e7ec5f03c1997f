"""Folders of class folders of sounds."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from blindspots.data.class_folders import ClassFolders, Kind, bytes_of, listed, look_into, turns
from blindspots.data.dataset import note
from blindspots.data.images import IMAGES
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.sounds import DEPTHS, Sound, read_wav

SOUNDS = Kind("sound", "WAV files", (".wav",))


class SoundData(ClassFolders):
    """A folder that has a folder of WAV files for each class; rows and labels as of `FolderData`.

    Inputs are (channels, samples), as `sounds.read_wav` reads them: whole numbers as shares of the largest, so in
    [-1, 1], floats as they are. Shorter sounds are filled up with zeros at the end.

    Args:
        named: folder names are names of classes even if some are numbers; else a mixture of both is refused.

    Attributes:
        rate: samples per second.
        depth: what the files keep of a sample, one of `sounds.DEPTHS`.
        lengths: samples of each row before it was filled up.
        padding: 0 where rows were filled up, else None: what must not change, see `Ball`.
    """

    unit = "sound"
    kind = SOUNDS

    def __init__(self, folder: Path, spec: str, rows: int | None = None, named: bool = False) -> None:
        found = look_into(folder, SOUNDS)
        self.skipped = found.skipped
        labels, files = turns(found, spec, named)
        labels = labels.first(rows)
        self._files = files[: len(labels.y)]
        facts = _scan(folder, self._files)
        self._digest, self.rate, self.depth, self.lengths = facts.digest, facts.rate, facts.depth, facts.lengths
        shape = (facts.channels, max(facts.lengths))
        super().__init__(folder.resolve().name, spec, shape, labels, facts.notes)

    @property
    def padding(self) -> float | None:
        return 0.0 if min(self.lengths) < max(self.lengths) else None

    @property
    def content(self) -> str:
        """SHA-256 (hex) of the names and the bytes of the sounds in use."""
        return self._digest

    def readings(self) -> list[Self]:
        """Sounds of one channel without the axis of channels."""
        if self.shape[0] != 1 or len(self.shape) == 1:
            return []
        made = copy.copy(self)
        made.shape = self.shape[1:]
        return [made]

    def _read(self, start: int, stop: int) -> Tensor:
        x = torch.zeros(stop - start, *self.shape)
        for row, path in zip(x, self._files[start:stop], strict=True):
            samples = torch.from_numpy(read_wav(path, bytes_of(path, "a sound")).samples.copy())
            row[..., : samples.shape[1]] = samples.view(*self.shape[:-1], samples.shape[1])
        return x


def has_sounds(folder: Path) -> bool:
    """Whether class folders hold sounds, and the first of them no picture."""
    for path in (p for p in listed(folder) if p.is_dir() and not p.name.startswith(".")):
        for file in listed(path):
            if SOUNDS.includes(file) or file.suffix.lower() in IMAGES:
                return SOUNDS.includes(file)
    return False


@dataclass(frozen=True)
class _Facts:
    digest: str
    rate: int
    depth: str
    channels: int
    lengths: list[int]
    notes: list[Finding]


def _scan(folder: Path, files: Sequence[Path]) -> _Facts:
    """Open every sound once. Raises InputError: one is broken, or two differ in rate, channels or depth."""
    digest, first, lengths = hashlib.sha256(), None, []
    for path in files:
        raw = bytes_of(path, "a sound")
        digest.update(repr((path.relative_to(folder).as_posix(), len(raw))).encode() + raw)
        sound = read_wav(path, raw)
        first = first or sound
        _check_alike(first, files[0], sound, path)
        lengths.append(sound.samples.shape[1])
    assert first is not None
    depth = next(name for name, depth in DEPTHS.items() if depth == first.depth)
    return _Facts(digest.hexdigest(), first.rate, depth, len(first.samples), lengths, _notes(first, lengths))


def _check_alike(first: Sound, at: Path, sound: Sound, path: Path) -> None:
    for what, one, other in (
        ("one sample rate", f"{first.rate} Hz", f"{sound.rate} Hz"),
        ("one number of channels", _channels(first), _channels(sound)),
        ("one depth", str(first.depth), str(sound.depth)),
    ):
        if one != other:
            raise InputError(
                f"expected sounds of {what}, got {one} in {str(at)!r} and {other} in {str(path)!r}: convert them first"
            )


def _channels(sound: Sound) -> str:
    return {1: "mono", 2: "stereo"}.get(len(sound.samples), f"{len(sound.samples)} channels")


def _notes(first: Sound, lengths: list[int]) -> list[Finding]:
    notes = []
    if min(lengths) < max(lengths):
        shortest, longest = (f"{n / first.rate:.3g} s" for n in (min(lengths), max(lengths)))
        saw = f"Sounds are {shortest} to {longest} long: shorter ones were filled up with zeros, which may not change."
        notes.append(note("sounds-filled-up", saw))
    if first.depth == DEPTHS["s32"]:
        saw = "Sounds have samples of 32 bits, of which models get the nearest 32-bit float."
        notes.append(note("sounds-rounded", saw))
    return notes
