"""Rows to evaluate on: a stream of inputs and labels, whether they come from memory, a file or a folder.

Nothing here grows with the number of inputs but the labels and the names of files: `rows` reads what it is asked for.
"""

import hashlib
import math
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.spec import meant

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CHANNELS = (1, 3, 4)
FORMS = "'digits', a folder of class folders or an .npz file"
DIGITS_TRAINING_ROWS = 1297
_CHUNK = 1 << 24  # bytes read at once for a digest


class Dataset(Protocol):
    """What the engine reads from. Row i is the same input and label whenever it is asked for."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> str | None:
        """What `load_data` was given; None for arrays passed from Python."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the data."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (channels, height, width) for images, (features,) for tables."""

    @property
    def class_names(self) -> list[str] | None: ...
    @property
    def notes(self) -> list[Finding]:
        """What was recognised or decided when the data was opened."""

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs float32 (n, *shape) and labels int64 (n,) of rows start .. stop - 1, n = stop - start.

        8-bit images are divided by 255, so in [0, 1]; floats come as they are stored.

        Raises:
            InputError: a value is NaN or infinite (the sentence names the row), or the file broke meanwhile.
        """


def load_data(spec: str, rows: int | None = None) -> Dataset:
    """Open data by name, the first `rows` rows of it or all.

    Args:
        spec: "digits", the 500 test rows of scikit-learn's digits (8x8, values / 16); the path of a folder that has a
            folder of images per class; or the path of an `.npz` file with the arrays `x` and `y`.
        rows: how many at most, positive.

    Raises:
        InputError: nothing is there, or it is empty, or not what is described above.
    """
    if spec == "digits":
        return digits(rows)
    path = Path(spec)
    if path.is_dir():
        return FolderData(path, spec, rows)
    if not path.exists():
        around = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(f"expected {FORMS}, got {spec!r}, which is not there{meant(path.name, [*around, 'digits'])}")
    if path.suffix.lower() != ".npz":
        raise InputError(f"expected {FORMS}, got {spec!r}: save it with np.savez(file, x=..., y=...)")
    return NpzData(path, spec, rows)


class _Stream(ABC):
    """The part of every dataset that does not depend on where its inputs come from."""

    class_names: list[str] | None = None

    def __init__(self, name: str, spec: str | None, shape: tuple[int, ...], y: Tensor, notes: list[Finding]) -> None:
        self.name, self.spec, self.shape, self.notes = name, spec, shape, notes
        self._y = y

    def __len__(self) -> int:
        return len(self._y)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, rows={len(self)}, shape={self.shape})"

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs float32 (n, *shape) and labels int64 (n,) of rows start .. stop - 1. See `Dataset.rows`."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)}")
        x = self._read(start, stop)
        broken = (~x.flatten(1).isfinite().all(1)).nonzero()
        if len(broken):
            row = start + int(broken[0])
            raise InputError(f"expected finite inputs in {self.name}, got NaN or infinity in row {row}: remove it")
        return x, self._y[start:stop].clone()

    @abstractmethod
    def _read(self, start: int, stop: int) -> Tensor: ...


class ArrayData(_Stream):
    """Arrays given from Python; they are not copied (a memory-mapped array stays on disk).

    Args:
        x: a torch tensor (N, *shape), taken as it is, or a numpy array (N, H, W, C), (N, C, H, W), (N, H, W) or (N, D)
            whose layout is recognised and said in `notes`. uint8 is divided by 255; floats become float32.
        y: integer labels (N,).
        rows: the first so many only.

    Raises:
        InputError: shapes, dtypes or lengths do not fit, or there are no rows.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        name: str = "arrays",
        *,
        spec: str | None = None,
        class_names: list[str] | None = None,
        rows: int | None = None,
    ) -> None:
        if not isinstance(x, Tensor | np.ndarray):
            raise InputError(f"expected x to be a torch tensor or a numpy array, got {type(x).__name__}: convert it")
        self._x = x
        shape, self._dtype = tuple(x.shape), _dtype_name(x)
        self._layout = _as_is(shape, name) if isinstance(x, Tensor) else _layout(shape, name)
        labels, limited = _limit(_labels(y, shape[0], name), rows)
        notes = [*self._layout.notes, *_scaling(self._dtype, name), *limited]
        super().__init__(name, spec, self._layout.shape, labels, notes)
        self.class_names = class_names

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of dtype, shape and bytes of the rows in use."""
        digest = hashlib.sha256(repr((self._dtype, len(self), self.shape)).encode())
        step = max(1, _CHUNK // max(1, self._x[:1].nbytes))
        for at in range(0, len(self), step):
            block = self._block(at, min(at + step, len(self)))
            digest.update(block.reshape(-1).view(torch.uint8).numpy().data)
        digest.update(self._y.numpy().data)
        return digest.hexdigest()

    def _read(self, start: int, stop: int) -> Tensor:
        return _float(self._layout.arrange(self._block(start, stop)))

    def _block(self, start: int, stop: int) -> Tensor:
        """A copy: whoever gets rows may write into them."""
        block = self._x[start:stop]
        if not isinstance(block, Tensor):
            return _native(block)
        return block.detach().cpu().clone(memory_format=torch.contiguous_format)


class NpzData(_Stream):
    """An `.npz` file with `x`, read member by member and chunk by chunk, never as a whole, and `y`."""

    def __init__(self, path: Path, spec: str, rows: int | None = None) -> None:
        self._path, self._lock = path, threading.Lock()
        with _explained(path):
            self._zip = zipfile.ZipFile(path)
            self._member = _Member(self._zip, "x", path.name)
            y = _Member(self._zip, "y", path.name).read_all()
        self._layout = _layout(self._member.shape, path.name)
        scaled = _scaling(self._member.dtype.newbyteorder("=").name, path.name)
        labels, limited = _limit(_labels(y, self._member.shape[0], path.name), rows)
        super().__init__(path.name, spec, self._layout.shape, labels, [*self._layout.notes, *scaled, *limited])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the bytes of the file."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _read(self, start: int, stop: int) -> Tensor:
        with self._lock, _explained(self._path):
            block = self._member.read(start, stop)
        return _float(self._layout.arrange(_native(block)))


class FolderData(_Stream):
    """A folder of class folders with 8-bit images of one size.

    Rows take turns through the classes in sorted order (first image of every class, second image of every class, ...),
    so that the first N rows cover as many classes as they can. Labels are the folders' names where all are whole
    numbers, else their positions in sorted order. The first image decides on one channel (grey) or three (RGB).
    """

    def __init__(self, folder: Path, spec: str, rows: int | None = None) -> None:
        classes, files = _classes(folder)
        numbered = all(c.name.isdecimal() for c in classes)
        labels = [int(c.name) if numbered else i for i, c in enumerate(classes)]
        turns = [(p, y) for turn in zip_longest(*files) for p, y in zip(turn, labels, strict=True) if p is not None]
        y, limited = _limit(_labels(np.array([y for _, y in turns], np.int64), len(turns), spec), rows)
        self._files = [p for p, _ in turns[: len(y)]]
        self.digest, size = _scan(folder, self._files)
        with _opened(self._files[0]) as first:
            self._mode = "L" if first.mode in ("1", "L", "LA") else "RGB"
        shape = (1 if self._mode == "L" else 3, size[1], size[0])
        naming = "the numbers that name the folders" if numbered else "positions in the sorted names of the folders"
        said = f"{len(classes)} class folders: labels are {naming}; images have shape {shape}."
        super().__init__(folder.resolve().name, spec, shape, y, [_note("folder", said), *limited])
        self.class_names = None if numbered else [c.name for c in classes]

    def _read(self, start: int, stop: int) -> Tensor:
        channels, height, width = self.shape
        images = np.empty((stop - start, height, width, channels), np.uint8)
        for image, path in zip(images, self._files[start:stop], strict=True):
            image[...] = pixels(path, self._mode).reshape(height, width, channels)
        return _float(torch.from_numpy(images).permute(0, 3, 1, 2))


def one_of(x: Any, y: Any, data: Dataset | None) -> Dataset:
    """What was passed from Python, arrays or data. Raises InputError for neither, a mixture, or no rows."""
    if data is None and x is not None and y is not None:
        data = ArrayData(x, y)
    elif data is None or x is not None or y is not None:
        raise InputError("expected inputs x and labels y, or data, got neither or a mixture: pass one of the two")
    if not len(data):
        raise InputError(f"expected at least one row in {data.name}, got none: name data with rows")
    return data


_TEN = [str(i) for i in range(10)]


def digits(rows: int | None = None) -> ArrayData:
    """The 500 test rows of scikit-learn's digits."""
    return ArrayData(*digits_arrays("test"), "digits", spec="digits", class_names=_TEN, rows=rows)


def digits_training(rows: int | None = None) -> ArrayData:
    """The 1297 other rows, which the embedded networks learned from."""
    return ArrayData(*digits_arrays("train"), "digits, training rows", class_names=_TEN, rows=rows)


def digits_arrays(part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
    """Inputs float32 (N, 1, 8, 8) in [0, 1] and labels int64 (N,): 1297 training or 500 test rows, always the same."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))  # its stream is frozen by numpy's policy
    at = order[:DIGITS_TRAINING_ROWS] if part == "train" else order[DIGITS_TRAINING_ROWS:]
    return torch.from_numpy(images[at]).float().view(-1, 1, 8, 8) / 16, torch.from_numpy(labels[at]).long()


# ------------------------------------------------------------------ layouts, dtypes, labels


@dataclass(frozen=True)
class _Layout:
    """How stored inputs become (n, *shape)."""

    shape: tuple[int, ...]
    channels_last: bool
    notes: tuple[Finding, ...]

    def arrange(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self.channels_last else x.reshape(len(x), *self.shape)


def _as_is(shape: tuple[int, ...], name: str) -> _Layout:
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"expected inputs (N, ...) with at least one row in {name}, got shape {shape}: pass a batch")
    return _Layout(shape[1:], False, ())


def _layout(shape: tuple[int, ...], name: str) -> _Layout:
    """Recognise N, H, W, C and their order from an array's shape; the axis with 1, 3 or 4 entries is the channels."""
    if len(shape) > 4:
        orders = "(N, H, W, C), (N, C, H, W), (N, H, W) or (N, D)"
        raise InputError(f"expected x to have 2 to 4 axes in {name}, got shape {shape}: store it as {orders}")
    as_is = _as_is(shape, name)
    if len(shape) == 2:
        return _Layout(shape[1:], False, (_note("layout", f"x {shape} was read as a table (N, D)."),))
    if len(shape) == 3:
        return _Layout((1, *shape[1:]), False, (_note("layout", f"x {shape} was read as grey images (N, H, W)."),))
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if last and not first:
        return _Layout((shape[3], *shape[1:3]), True, (_note("layout", f"x {shape} was read as images (N, H, W, C)."),))
    reason = "" if first and not last else f", as both orders are possible and torch's is this one: {shape[1:]}"
    reason = reason if first or last else f", as neither axis has the length 1, 3 or 4 of channels: {shape[1:]}"
    return _Layout(as_is.shape, False, (_note("layout", f"x {shape} was read as images (N, C, H, W){reason}."),))


def _note(code: str, saw: str, do: str = "") -> Finding:
    return Finding(code=code, severity="note", saw=saw, do=do)


def _scaling(dtype: str, name: str) -> list[Finding]:
    """A note on how stored numbers become float32; refuses what is neither 8-bit nor float."""
    if dtype == "uint8":
        return [_note("scale", "x is 8-bit: it was divided by 255, so that inputs are in [0, 1].")]
    if dtype not in ("float16", "bfloat16", "float32", "float64"):
        raise InputError(f"expected x of dtype uint8 (0 to 255) or float in {name}, got {dtype}: convert it first")
    return []


def _dtype_name(x: "Tensor | np.ndarray[Any, Any]") -> str:
    return str(x.dtype).removeprefix("torch.") if isinstance(x, Tensor) else x.dtype.newbyteorder("=").name


def _native(block: np.ndarray[Any, Any]) -> Tensor:
    """A tensor of its own: torch takes neither foreign byte order nor read-only memory."""
    return torch.from_numpy(np.array(block, dtype=block.dtype.newbyteorder("="), order="C"))


def _float(x: Tensor) -> Tensor:
    return x.float().contiguous() / 255 if x.dtype == torch.uint8 else x.float().contiguous()


def _labels(y: Any, rows: int, name: str) -> Tensor:
    labels = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputError(
            f"expected y to be integer class labels (N,) in {name}, got {labels.dtype} of shape {labels.shape}: "
            "give each row the number of its class"
        )
    if len(labels) != rows:
        raise InputError(f"expected as many labels as inputs in {name}, got {len(labels)} for {rows}: check x and y")
    return torch.from_numpy(labels.astype(np.int64))


def _limit(y: Tensor, rows: int | None) -> tuple[Tensor, list[Finding]]:
    """The first `rows` labels, and a note where there are fewer."""
    if rows is not None and rows <= 0:
        raise InputError(f"expected a positive number of rows, got {rows}: ask for at least one")
    if rows is None or rows <= len(y):
        return y[:rows], []
    return y, [_note("rows", f"{rows} rows were asked for, there are {len(y)}: all are used.")]


# ------------------------------------------------------------------ npz


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
        members = archive.namelist()
        if f"{key}.npy" not in members:
            found = ", ".join(m.removesuffix(".npy") for m in members) or "none"
            raise InputError(f"expected the arrays x and y in {name}, got {found}: use np.savez(file, x=..., y=...)")
        self._stream = archive.open(f"{key}.npy")
        self.shape, column_major, self.dtype = _header(self._stream)
        if self.dtype.hasobject or self.dtype.names:
            raise InputError(f"expected numbers in {key} of {name}, got dtype {self.dtype}: objects are not unpickled")
        if column_major and len(self.shape) > 1:
            raise InputError(f"expected {key} in {name} row by row, got columns: save np.ascontiguousarray({key})")
        self._start, self._row_bytes = self._stream.tell(), self.dtype.itemsize * math.prod(self.shape[1:])
        if archive.getinfo(f"{key}.npy").file_size != self._start + self.dtype.itemsize * math.prod(self.shape):
            raise EOFError(f"{key} does not have the length that its header says")

    def read_all(self) -> np.ndarray[Any, Any]:
        return self.read(0, self.shape[0]) if self.shape else np.empty(())

    def read(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Rows start .. stop - 1 as they are stored."""
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


# ------------------------------------------------------------------ folders


def _classes(folder: Path) -> tuple[list[Path], list[list[Path]]]:
    """The class folders in sorted order, and the images of each, sorted."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [sorted(filter(_is_image, c.iterdir())) for c in classes]
    if not any(files):
        got = f"{len(classes)} folders without any"
        raise InputError(f"expected a folder per class with images ({', '.join(IMAGES)}) in {str(folder)!r}, got {got}")
    return classes, files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


def _scan(folder: Path, files: Sequence[Path]) -> tuple[str, tuple[int, int]]:
    """The digest of names and bytes of all files, and the size (width, height) that all of them have."""
    digest, size = hashlib.sha256(), (0, 0)
    for path in files:
        with _decoding(path):
            raw = path.read_bytes()
            digest.update(repr((path.relative_to(folder).as_posix(), len(raw))).encode() + raw)
            with _opened(BytesIO(raw)) as image:
                size = size if any(size) else image.size
                if image.size != size:
                    both = f"{_by(size)} in {str(files[0])!r} and {_by(image.size)} in {str(path)!r}"
                    raise InputError(f"expected images of one size, got {both}: resize them first")
    return digest.hexdigest(), size


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _opened(source: Path | BytesIO) -> "Image":
    from PIL import Image

    image = Image.open(source)
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode} has more than 8 bits per channel")
    return image


def pixels(path: Path, mode: str) -> np.ndarray[Any, Any]:
    """An 8-bit picture in grey, (H, W) for mode "L", or in colour, (H, W, 3) for "RGB". InputError if it is broken."""
    with _decoding(path), _opened(path) as image:
        return np.asarray(image.convert(mode))


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turns what a broken image raises into a sentence."""
    from PIL import Image

    try:
        yield
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = f"expected an 8-bit image, got {str(path)!r}, which cannot be read ({error}): repair or remove it"
        raise InputError(said) from error
