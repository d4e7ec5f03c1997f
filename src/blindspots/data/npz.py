"""Archives of arrays, read by ranges of rows."""

import hashlib
import math
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy
from torch import Tensor

from blindspots.data.arrays import Laid
from blindspots.data.dataset import note
from blindspots.data.labels import labels_of, values_of
from blindspots.data.layouts import asked_layout, native, recognised, scaling, to_float
from blindspots.data.names import say_nothing, shown
from blindspots.errors import InputError
from blindspots.findings import Finding

NAMES = ("class_names", "classes", "names", "label_names", "target_names")


class NpzData(Laid):
    """An `.npz` file with `x`, which is read by ranges of rows, never as a whole, and `y`.

    Names of the labels 0, 1, ... are taken from an array of names, if there is one (see `NAMES`).
    """

    def __init__(
        self, path: Path, spec: str, rows: int | None = None, layout: str | None = None, values: bool = False
    ) -> None:
        self.values = values
        self._path, self._lock = path, threading.Lock()
        self._member: _Member | None = None  # opened by the first read
        with _explained(path), zipfile.ZipFile(path) as archive:
            with _Member(archive, "x", path.name) as member:
                shape, dtype = member.shape, member.dtype.newbyteorder("=").name
            y = _all_of(archive, "y", path.name)
            names, source = _names(archive, y, path.name)
            unread = _unread(archive, source)
        axes = recognised(shape, path.name) if layout is None else asked_layout(shape, path.name, layout)
        labels = values_of(y, shape[0], path.name) if values else labels_of(y, shape[0], path.name, _fitting(names, y))
        super().__init__(path.name, spec, axes, shape, labels.first(rows), [*scaling(dtype, path.name), *unread])
        self.layout = layout

    def close(self) -> None:
        """Close the file until rows are read again."""
        if self._member is not None:
            self._member.close()
        self._member = None

    @cached_property
    def content(self) -> str:
        """SHA-256 (hex) of the bytes of the file."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _read(self, start: int, stop: int) -> Tensor:
        with self._lock, _explained(self._path):
            if self._member is None:
                self._member = _Member(zipfile.ZipFile(self._path), "x", self._path.name)
            block = self._member.read(start, stop)
        return to_float(self._axes.arrange(native(block)), self.name)


def _names(archive: zipfile.ZipFile, y: np.ndarray[Any, Any], name: str) -> tuple[list[str] | None, str]:
    """The names of classes, and the array they come from."""
    there = [key for key in NAMES if f"{key}.npy" in archive.namelist()]
    listed = {key: words for key in there if (words := _listed(archive, key, y, name))}
    if len(set(map(tuple, listed.values()))) > 1:
        raise InputError(f"expected one array of names in {name}, got {', '.join(listed)}, which differ: keep one")
    return next(((words, key) for key, words in listed.items()), (None, ""))


def _listed(archive: zipfile.ZipFile, key: str, y: np.ndarray[Any, Any], name: str) -> list[str]:
    """An array's words or numbers, if they can be names of classes: one per class, not one per row."""
    try:
        array = _all_of(archive, key, name)
    except InputError:  # objects, which are not unpickled
        return []
    words = list(map(str, array.tolist())) if array.ndim == 1 and array.dtype.kind in "Uiu" else []
    per_row = len(words) == len(y) and y.dtype.kind in "iu" and len(words) > int(y.max(initial=0)) + 1
    numbers = array.dtype.kind != "U" and (len(set(words)) < len(words) or say_nothing(words))
    return [] if len(words) < 2 or per_row or numbers else words


def _all_of(archive: zipfile.ZipFile, key: str, name: str) -> np.ndarray[Any, Any]:
    with _Member(archive, key, name) as member:
        return member.read(0, member.shape[0]) if member.shape else np.empty(())


def _fitting(names: Sequence[str] | None, y: np.ndarray[Any, Any]) -> Sequence[str] | None:
    """The names, unless the labels are the numbers in the names instead of indices: classes 3, 5, 8."""
    if names is None or y.dtype.kind not in "iu" or not y.size:
        return names
    return None if int(y.max()) >= len(names) and set(map(str, np.unique(y).tolist())) <= set(names) else names


def _unread(archive: zipfile.ZipFile, names: str) -> list[Finding]:
    """A note on arrays that are not used."""
    more = [key.removesuffix(".npy") for key in archive.namelist() if key not in ("x.npy", "y.npy", f"{names}.npy")]
    if not more:
        return []
    said = f"Besides x and y the file holds {shown(more)}, which {'was' if len(more) == 1 else 'were'} not read."
    return [note("unread", said, f"Names of classes are read from one of {', '.join(NAMES)}.")]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what a broken archive raises into a sentence."""
    try:
        yield
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        said = f"expected an .npz file, got {str(path)!r}, which cannot be read ({error}): save it again"
        raise InputError(said) from error


class _Member:
    """One array of an open `.npz`, read by ranges of rows; going forward reads every byte once."""

    def __init__(self, archive: zipfile.ZipFile, key: str, name: str) -> None:
        self._archive, members = archive, archive.namelist()
        if f"{key}.npy" not in members:
            found = ", ".join(m.removesuffix(".npy") for m in members) or "none"
            raise InputError(f"expected the arrays x and y in {name}, got {found}: use np.savez(file, x=..., y=...)")
        self._stream = archive.open(f"{key}.npy")
        self.shape, column_major, self.dtype = _header(self._stream)
        if self.dtype.hasobject or self.dtype.names:
            raise InputError(f"expected numbers in {key} of {name}, got dtype {self.dtype}: objects are not unpickled")
        if column_major and len(self.shape) > 1:
            raise InputError(
                f"expected {key} of {name} in row-major order, got columns: save np.ascontiguousarray({key})"
            )
        self._start, self._row_bytes = self._stream.tell(), self.dtype.itemsize * math.prod(self.shape[1:])
        if archive.getinfo(f"{key}.npy").file_size != self._start + self.dtype.itemsize * math.prod(self.shape):
            raise EOFError(f"{key} does not have the length given in its header")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def read(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Rows start .. stop - 1 as stored."""
        block = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._stream.seek(self._start + start * self._row_bytes)
        if self._stream.readinto(block.reshape(-1).view(np.uint8)) < block.nbytes:  # type: ignore[attr-defined]
            raise EOFError("it ends early")
        return block


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is column-major, and dtype of an `.npy` stream, which is left at the first number."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its .npy format has the version {version}")
    return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
