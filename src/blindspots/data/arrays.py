"""Arrays given from Python, and the embedded digits."""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.data.dataset import Dataset, Stream
from blindspots.data.labels import Labels, labels_of, values_of
from blindspots.data.layouts import Layout, as_is, asked_layout, dtype_name, native, recognised, scaling, to_float
from blindspots.data.texts import TextData
from blindspots.errors import InputError
from blindspots.findings import Finding

DIGITS_TRAINING_ROWS = 1297
_BLOCK = 4096  # rows
_CHUNK = 1 << 24  # bytes read at once for a digest
_TEN = [str(i) for i in range(10)]


class Laid(Stream):
    """Rows of an array whose axes have a meaning."""

    def __init__(
        self, name: str, spec: str | None, axes: Layout, stored: tuple[int, ...], labels: Labels, notes: list[Finding]
    ) -> None:
        super().__init__(name, spec, axes.shape, labels, notes)
        self._axes, self._stored_shape = axes, stored

    @property
    def notes(self) -> list[Finding]:
        """What was inferred or decided."""
        return [*self._axes.notes, *super().notes]

    def stored(self) -> Iterator[Tensor]:
        """Inputs float32 (n, *shape) of all rows, also of those that `rows` leaves out, in pieces."""
        rows = self.stored_rows
        return (self._read(start, min(start + _BLOCK, rows)) for start in range(0, rows, _BLOCK))

    @property
    def stored_rows(self) -> int:
        """How many rows there are, with those that `rows` leaves out."""
        return self._stored_shape[0]

    def readings(self) -> list[Self]:
        """The same rows in the other layouts that the array's shape allows, unless a layout was given."""
        return [self._relaid(word) for word in self._axes.others]

    def _relaid(self, word: str) -> Self:
        axes = asked_layout(self._stored_shape, self.name, word)
        said = f"x {self._stored_shape} was read as inputs {axes.shape} ({word}), which the model takes, and not as "
        made = copy.copy(self)
        made.__dict__.pop("content", None)  # cached for the other reading
        made._axes = replace(axes, said=f"{said}{self.shape}.")
        made.shape, made.layout = axes.shape, word
        return made


class ArrayData(Laid, Checked):
    """Arrays given from Python; tensors and numpy arrays are not copied (a memory-mapped array stays on disk).

    Args:
        x: a torch tensor (N, *shape), taken as it is, or a numpy array (N, H, W, C), (N, C, H, W), (N, H, W) or (N, D)
            whose layout is inferred and noted in `notes`; lists and data frames become numpy arrays. uint8 is divided
            by 255; other numbers become float32 as they are.
        y: one class per row (N,): integers or words; see `labels_of` for other forms.
        class_names: names of the labels 0, 1, ...; words in y are looked up among them.
        layout: what the axes of x mean, where that is ambiguous: "nchw", "nhwc", "nhw", or "as-is" for any others.
        rows: use only the first `rows` rows.
        notes: findings on where the arrays come from.
        values: y are numbers (N, ...) that a goal compares outputs with, and no classes.

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
        class_names: Iterable[str] | None = None,
        layout: str | None = None,
        rows: int | None = None,
        notes: Sequence[Finding] = (),
        values: bool = False,
    ) -> None:
        self.values = values
        self._x = x = _array(x, name)
        shape, self._dtype = tuple(x.shape), dtype_name(x)
        said = [*notes, *scaling(self._dtype, name)]
        axes = _axes(shape, name, layout, isinstance(x, Tensor))
        labels = values_of(y, shape[0], name) if values else labels_of(y, shape[0], name, class_names)
        super().__init__(name, spec, axes, shape, labels.first(rows), said)
        self.layout = layout

    @cached_property
    def content(self) -> str:
        """SHA-256 (hex) of dtype, shape and bytes of the rows in use."""
        digest = hashlib.sha256(repr((self._dtype, len(self), self.shape)).encode())
        step = max(1, _CHUNK // max(1, self._x[:1].nbytes))
        for at in range(0, len(self), step):
            block = self._block(at, min(at + step, len(self)))
            digest.update(block.reshape(-1).view(torch.uint8).numpy().data)
        digest.update(self._stored.numpy().data)
        return digest.hexdigest()

    def _read(self, start: int, stop: int) -> Tensor:
        return to_float(self._axes.arrange(self._block(start, stop)), self.name)

    def _block(self, start: int, stop: int) -> Tensor:
        """A copy, since callers may write into rows."""
        block = self._x[start:stop]
        if not isinstance(block, Tensor):
            return native(block)
        return block.detach().cpu().clone(memory_format=torch.contiguous_format)


def part_of(data: Dataset, x: Tensor, y: Tensor, name: str) -> ArrayData | TextData:
    """Some of its rows, in memory, with its classes and its notes."""
    if isinstance(data, TextData):
        return data.part(x, y, name)
    valued = getattr(data, "values", False)
    part = ArrayData(x, y, name, class_names=data.class_names, notes=data.notes, values=valued)
    part._how = ""
    return part


def _array(x: Any, name: str) -> "Tensor | np.ndarray[Any, Any]":
    """Inputs as an array. Raises InputError if they are none."""
    if isinstance(x, Tensor) and (x.is_meta or x.layout != torch.strided):
        kind = "without numbers (meta)" if x.is_meta else f"of layout {x.layout}"
        raise InputError(f"expected x of {name} to be a dense tensor, got one {kind}: pass x.to_dense()")
    if np.ma.is_masked(x):
        raise InputError(f"expected x of {name} without masked values, got some: fill them in, or leave the rows out")
    if isinstance(x, Tensor):
        return x
    try:
        if isinstance(x, list | tuple) and x and all(isinstance(row, Tensor) for row in x):
            return torch.stack(list(x))
        found = x.to_numpy() if hasattr(x, "to_numpy") else np.asarray(x) if _is_listed(x) else None
    except (ValueError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"expected inputs of one shape in {name}, got rows that form no array ({said}): resize them to one shape"
        ) from error
    if found is None:
        raise InputError(
            f"expected x of {name} to be a torch tensor, a numpy array, a list or a data frame of numbers, got "
            f"{type(x).__name__}: convert it"
        )
    return found


def _is_listed(x: Any) -> bool:
    return isinstance(x, np.ndarray | list | tuple) or hasattr(x, "__array__")


def _axes(shape: tuple[int, ...], name: str, layout: str | None, tensor: bool) -> Layout:
    if layout is not None:
        return asked_layout(shape, name, layout)
    return as_is(shape, name) if tensor else recognised(shape, name)


# ------------------------------------------------------------------ digits


def digits(rows: int | None = None) -> ArrayData:
    """The 500 test rows of scikit-learn's digits."""
    return ArrayData(*digits_arrays("test"), "digits", spec="digits", class_names=_TEN, rows=rows)


def digits_training(rows: int | None = None) -> ArrayData:
    """The other 1297 rows, on which the embedded networks were trained."""
    arrays, name = digits_arrays("train"), "digits, training rows"
    return ArrayData(*arrays, name, spec="digits-training", class_names=_TEN, rows=rows)


def digits_arrays(part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
    """Inputs float32 (N, 1, 8, 8) in [0, 1] and labels int64 (N,): 1297 training or 500 test rows, always the same."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))  # its stream is frozen by numpy's policy
    at = order[:DIGITS_TRAINING_ROWS] if part == "train" else order[DIGITS_TRAINING_ROWS:]
    return torch.from_numpy(images[at]).float().view(-1, 1, 8, 8) / 16, torch.from_numpy(labels[at]).long()
