"""Data in classes of other packages: torch's datasets and loaders, pairs of arrays."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from blindspots.data.arrays import ArrayData
from blindspots.data.dataset import note
from blindspots.data.names import shown
from blindspots.errors import InputError
from blindspots.findings import Finding

INPUTS = ("x", "pixel_values", "image", "images", "img", "input", "inputs", "data", "features")
LABELS = ("y", "label", "labels", "target", "targets", "fine_label")
_MOST = 1 << 33  # bytes of inputs that are read into memory
_ENDLESS = 1 << 30  # of a stream of unknown length
_LOOKED_AT = 4  # items that are read twice, since random ones differ
_BATCH = 256

Pair = tuple[Any, Any]  # inputs (B, ...) and labels (B,)


def from_torch(data: Any, values: bool = False) -> ArrayData:
    """A torch dataset or loader, in its own order without shuffling, read once into memory.

    Tensors in a `TensorDataset` stay where they are. Items and batches are pairs (x, y), or mappings with one key for
    each of the two (see `INPUTS` and `LABELS`). A loader's batches and its `collate_fn` are respected.

    Args:
        values: y are numbers that a goal compares outputs with, and no classes.

    Raises:
        InputError: items are of another form, drawn at random, differ in shape, or need too much memory.
    """
    loader = data if isinstance(data, DataLoader) else None
    items = loader.dataset if loader is not None else data
    plain = loader is None or loader.collate_fn is torch.utils.data.default_collate
    name = type(items).__name__
    with _undisturbed():
        order, notes = (None, []) if loader is None else _order(loader)
        if isinstance(items, TensorDataset) and plain and order is None:
            return _of_tensors(items, name, notes, values)
        if isinstance(items, IterableDataset):
            batches = _streamed(items, loader)
        else:
            batches = _in_order(items, loader, order, name)
        x, y = _together(batches, name, endless=not hasattr(items, "__len__"))
    said = f"{len(x)} rows of {name} were read once, in its own order."
    names = None if values else _names(items, y)
    return ArrayData(x, y, name, class_names=names, notes=[note("loader", said), *notes], values=values)


def is_foreign(data: Any) -> bool:
    """Whether it is a torch class, or has items by number and a length, like Hugging Face datasets."""
    if isinstance(data, DataLoader | TorchDataset):
        return True
    known = isinstance(data, np.ndarray | Tensor | list | tuple | Mapping | str | bytes) or hasattr(data, "to_numpy")
    return not known and hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")


def of_keys(item: Mapping[Any, Any]) -> Pair:
    """Input and label under their usual keys. Raises InputError: no key or several fit."""
    x, y = ([key for key in names if key in item] for names in (INPUTS, LABELS))
    if len(x) != 1 or len(y) != 1:
        raise InputError(
            f"expected one key for the input ({', '.join(INPUTS)}) and one for the class ({', '.join(LABELS)}), got "
            f"{shown(list(map(str, item)))}: return pairs (x, y)"
        )
    return item[x[0]], item[y[0]]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restores the random generators that reading may draw from."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - users' code draws from it
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


# ------------------------------------------------------------------ order


def _order(loader: "DataLoader[Any]") -> tuple[list[list[int]] | None, list[Finding]]:
    """The batches of indices that a loader reads; None: all, one after the other."""
    if isinstance(loader.dataset, IterableDataset):
        return None, []
    size, step = len(loader.dataset), loader.batch_size or _BATCH  # type: ignore[arg-type]
    whole = loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler
    places, said = _places(loader, loader.sampler if whole else loader.batch_sampler)
    if whole and loader.drop_last and len(places) % step:
        said.append(f"The loader drops its last {len(places) % step} rows, an incomplete batch: they were used too.")
    notes = [note("loader", sentence) for sentence in said]
    return None if places == list(range(size)) else _cut(places, step), notes


def _places(loader: "DataLoader[Any]", sampler: Any) -> tuple[list[int], list[str]]:
    """The indices of its rows, in the order of the dataset where the loader's own is random."""
    generator = loader.generator
    before = None if generator is None else generator.get_state()
    first, second = _drawn(sampler), _drawn(sampler)
    if generator is not None and before is not None:
        generator.set_state(before)
    if first == second:
        return first, []
    if sorted(first) != sorted(second):
        raise InputError(
            "expected a loader that reads the same rows each time, got one that draws others: pass its dataset or a "
            "Subset of it"
        )
    return sorted(first), ["The loader shuffles: its rows were used in the order of its dataset."]


def _drawn(sampler: Any) -> list[int]:
    drawn = list(sampler)
    return [int(i) for batch in drawn for i in (batch if isinstance(batch, list | tuple) else [batch])]


def _cut(places: Sequence[int], step: int) -> list[list[int]]:
    return [list(places[i : i + step]) for i in range(0, len(places), step)]


# ------------------------------------------------------------------ rows


def _of_tensors(items: "TensorDataset", name: str, notes: Sequence[Finding], values: bool) -> ArrayData:
    if len(items.tensors) != 2:
        raise InputError(f"expected a TensorDataset of x and y, got {len(items.tensors)} tensors: pass just these two")
    return ArrayData(*items.tensors, name, notes=notes, values=values)


def _streamed(items: Any, loader: "DataLoader[Any] | None") -> Iterator[Pair]:
    """The batches of data that can only be read once."""
    collate, step, stream = _collate(loader), _step(loader), iter(items)
    if step is None:
        yield from (_pair(collate(item)) for item in stream)
        return
    while batch := list(islice(stream, step)):
        yield _pair(collate(batch))


def _in_order(items: Any, loader: "DataLoader[Any] | None", order: list[list[int]] | None, name: str) -> Iterator[Pair]:
    collate, step = _collate(loader), _step(loader)
    batches = order or _cut(range(len(items)), step or _BATCH)

    def read(places: Sequence[int]) -> Iterator[Pair]:
        if step is None:  # its items are batches
            yield from (_pair(collate(items[i])) for i in places)
        else:
            yield _pair(collate([items[i] for i in places]))

    _check_same(read, [i for batch in batches[:1] for i in batch][:_LOOKED_AT], name)
    for places in batches:
        yield from read(places)


def _step(loader: "DataLoader[Any] | None") -> int | None:
    """Rows that are read together; None: its items are batches."""
    if loader is None or loader.batch_size is not None:
        return _BATCH if loader is None else loader.batch_size
    alone = isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None
    return None if alone else _BATCH


def _collate(loader: "DataLoader[Any] | None") -> Callable[[Any], Any]:
    own = None if loader is None else loader.collate_fn
    return _stacked if own is None or own is torch.utils.data.default_collate else own


def _stacked(items: list[Any]) -> Pair:
    """Items as a batch; unlike torch's default, it accepts words as labels and pictures as inputs."""
    pairs = [_pair(item) for item in items]
    return [_input(x) for x, _ in pairs], [y for _, y in pairs]


def _input(x: Any) -> Any:
    """The levels of a Pillow picture, (1, H, W) or (3, H, W), as in torchvision's `pil_to_tensor`."""
    if not hasattr(x, "getbands"):
        return x
    if x.mode.startswith(("I", "F")):
        raise InputError(f"expected pictures of 8 bits, got one of mode {x.mode}: make tensors of them in a transform")
    grey = x.mode in ("1", "L", "LA")
    levels = torch.from_numpy(np.array(x.convert("L" if grey else "RGB")))
    return levels[None] if grey else levels.permute(2, 0, 1)


def _check_same(read: Callable[[Sequence[int]], Iterator[Pair]], places: Sequence[int], name: str) -> None:
    """Refuse items that change each time they are read: random crops, flips, noise."""
    for i in places:
        one, other = (np.asarray(_tensor(next(read([i]))[0], name).detach().cpu()) for _ in range(2))
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
            raise InputError(
                f"expected item {i} of {name} to be the same whenever it is read, got two that differ: leave out "
                "random transforms, since its rows are measured as they are"
            )


def _pair(item: Any) -> Pair:
    """Input and label of an item, or of a batch."""
    if isinstance(item, Mapping):
        return of_keys(item)
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    got = f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else type(item).__name__
    raise InputError(
        f"expected items (x, y), got a {got}: let the dataset, or its collate_fn, return an input and a class"
    )


# ------------------------------------------------------------------ together


def _together(batches: Iterable[Pair], name: str, endless: bool) -> Pair:
    """All batches as one: inputs (N, ...) and labels (N,)."""
    inputs: list[Tensor] = []
    labels: list[Any] = []
    held, most = 0, _ENDLESS if endless else _MOST
    for x, y in batches:
        block = _tensor(x, name)
        _check_block(block, y, inputs, name)
        inputs.append(block.detach().cpu().clone())
        labels.extend(y.tolist() if isinstance(y, Tensor | np.ndarray) else y)
        held += block.nbytes
        if held > most:
            raise InputError(
                f"expected at most {most >> 30} GiB of inputs in {name}, got more: save them as .npz files"
            )
    if not inputs:
        raise InputError(f"expected at least one row in {name}, got none: pass data with rows")
    return torch.cat(inputs), [label.tolist() if isinstance(label, Tensor) else label for label in labels]


def _tensor(x: Any, name: str) -> Tensor:
    try:
        if isinstance(x, Tensor):
            return x
        if isinstance(x, list | tuple):
            return torch.stack([torch.as_tensor(np.asarray(row)) if not isinstance(row, Tensor) else row for row in x])
        return torch.as_tensor(np.asarray(x))
    except (ValueError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected inputs of one shape in {name}, got rows that form no array ({said}): resize them to one shape"
        ) from error


def _check_block(block: Tensor, y: Any, before: Sequence[Tensor], name: str) -> None:
    labels = 1 if getattr(y, "ndim", 1) == 0 else len(y)
    if not block.ndim or len(block) != labels:
        raise InputError(
            f"expected batches of as many inputs as labels in {name}, got inputs of shape {tuple(block.shape)} for "
            f"{labels} labels: put the rows of both on the first axis"
        )
    if before and (block.shape[1:], block.dtype) != (before[0].shape[1:], before[0].dtype):
        raise InputError(
            f"expected inputs of one shape and type in {name}, got {tuple(before[0].shape[1:])} {before[0].dtype} and "
            f"{tuple(block.shape[1:])} {block.dtype}: convert them to one"
        )


def _names(items: Any, y: Sequence[Any]) -> list[str] | None:
    """The dataset's own names of its classes, if it has any."""
    inner = items
    while isinstance(inner, Subset):
        inner = inner.dataset
    features = getattr(inner, "features", None)
    told = [
        getattr(features[key], "names", None) for key in LABELS if isinstance(features, Mapping) and key in features
    ]
    names = next((n for n in (*told, getattr(inner, "classes", None)) if isinstance(n, list | tuple)), None)
    if names is None or not all(isinstance(n, str) for n in names) or len(set(names)) < max(len(names), 2):
        return None
    return list(names) if all(isinstance(k, int) and 0 <= k < len(names) for k in y) else None
