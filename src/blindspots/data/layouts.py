"""What the axes of an array mean, and how its numbers become float32."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from blindspots.data.dataset import note
from blindspots.errors import InputError
from blindspots.findings import Finding

LayoutName = Literal["nchw", "nhwc", "nhw", "as-is"]
LAYOUTS: tuple[str, ...] = get_args(LayoutName)
AXES = {"nchw": 4, "nhwc": 4, "nhw": 3}
CHANNELS = (1, 3, 4)
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_EXACT = 1 << 24  # the largest integer up to which float32 holds every one


@dataclass(frozen=True)
class Layout:
    """How stored inputs become (n, *shape).

    Attributes:
        word: the layout's name.
        others: names of other layouts that the array's shape allows.
    """

    word: str
    shape: tuple[int, ...]
    said: str = ""
    others: tuple[str, ...] = ()

    @property
    def notes(self) -> list[Finding]:
        """How the array was read, and how to choose another layout."""
        do = f"If that is wrong, choose another layout: {' or '.join(self.others)} (--layout)." if self.others else ""
        return [note("layout", self.said, do)] if self.said else []

    def arrange(self, x: Tensor) -> Tensor:
        """Stored inputs (n, ...) as (n, *shape)."""
        return x.permute(0, 3, 1, 2) if self.word == "nhwc" else x.reshape(len(x), *self.shape)


def asked_layout(shape: tuple[int, ...], name: str, word: str) -> Layout:
    """The layout with this name for an array of this shape. Raises InputError: there is none, or it does not fit."""
    if word not in LAYOUTS:
        raise InputError(f"expected a layout among {', '.join(LAYOUTS)}, got {word!r}: choose one of these")
    _check_rows(shape, name)
    if len(shape) != AXES.get(word, len(shape)):
        axes = ", ".join(word.upper())
        raise InputError(f"expected x ({axes}) in {name} for the layout {word}, got shape {shape}: choose another one")
    if word == "nhwc":
        shape = (shape[0], shape[3], *shape[1:3])
    return Layout(word, (1, *shape[1:]) if word == "nhw" else shape[1:])


def recognised(shape: tuple[int, ...], name: str) -> Layout:
    """Infer N, H, W, C and their order from an array's shape; an axis with 1, 3 or 4 entries holds the channels."""
    if len(shape) > 4:
        orders = "(N, H, W, C), (N, C, H, W), (N, H, W) or (N, D)"
        raise InputError(
            f"expected x to have 2 to 4 axes in {name}, got shape {shape}: store it as {orders}, or use it as it "
            "is with the layout as-is"
        )
    _check_rows(shape, name)
    if len(shape) == 2:
        return Layout("as-is", shape[1:], f"x {shape} was read as a table (N, D).")
    if len(shape) == 3:
        return Layout("nhw", (1, *shape[1:]), f"x {shape} was read as grey images (N, H, W).", ("as-is",))
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if last and not first:
        return Layout("nhwc", (shape[3], *shape[1:3]), f"x {shape} was read as images (N, H, W, C).")
    if first and not last:
        return Layout("nchw", shape[1:], f"x {shape} was read as images (N, C, H, W).")
    reason = "since both orders are possible and this is torch's" if first else (
        "since no axis has 1, 3 or 4 entries as channels do"
    )  # fmt: skip
    return Layout("nchw", shape[1:], f"x {shape} was read as images (N, C, H, W), {reason}: {shape[1:]}.", ("nhwc",))


def as_is(shape: tuple[int, ...], name: str) -> Layout:
    """The layout of a torch tensor: in torch's order already, unless a model does not take it."""
    _check_rows(shape, name)
    last = len(shape) == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS
    return Layout("as-is", shape[1:], others=("nhwc",) if last else ("nhw",) if len(shape) == 3 else ())


def _check_rows(shape: tuple[int, ...], name: str) -> None:
    if len(shape) < 2 or 0 in shape:
        raise InputError(f"expected inputs (N, ...) with at least one row in {name}, got shape {shape}: pass a batch")


# ------------------------------------------------------------------ numbers


def scaling(dtype: str, name: str) -> list[Finding]:
    """A note on how stored numbers become float32. Raises InputError for anything but numbers."""
    if dtype == "uint8":
        return [note("scale", "x is 8-bit: it was divided by 255, so that inputs are in [0, 1].")]
    if dtype in _FLOATS:
        return []
    if dtype == "bool":
        return [note("scale", "x is boolean: False is 0, True is 1.")]
    if np.dtype(dtype).kind in "iu" if dtype in np.sctypeDict else False:
        do = "Divide 8-bit images by 255, or store them as uint8, which is divided."
        return [note("scale", f"x is {dtype}: its whole numbers were used as they are, without division.", do)]
    raise InputError(
        f"expected x of dtype uint8 (0 to 255), float, integer or bool in {name}, got {dtype}: convert it first"
    )


def dtype_name(x: "Tensor | np.ndarray[Any, Any]") -> str:
    """The name of the dtype, "uint8", "float32" and so on."""
    return str(x.dtype).removeprefix("torch.") if isinstance(x, Tensor) else x.dtype.newbyteorder("=").name


def native(block: np.ndarray[Any, Any]) -> Tensor:
    """A tensor with a copy: torch accepts neither foreign byte order nor read-only memory."""
    return torch.from_numpy(np.array(block, dtype=block.dtype.newbyteorder("="), order="C"))


def to_float(x: Tensor, name: str) -> Tensor:
    """float32, 8 bits divided by 255. Raises InputError for whole numbers that float32 cannot hold."""
    if x.dtype == torch.uint8:
        return x.float().contiguous() / 255
    if not x.is_floating_point() and x.dtype != torch.bool and len(x) and x.numel():
        largest = max(abs(int(x.min())), abs(int(x.max()))) if x.dtype not in _UNSIGNED else int(x.double().max())
        if largest > _EXACT:
            raise InputError(f"expected whole numbers up to {_EXACT} in {name}, got {largest}: scale them to floats")
    return x.float().contiguous()


_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
