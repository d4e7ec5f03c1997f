"""Bounds for a model that has none of its own: where the data lie."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from blindspots.box import Box, as_box
from blindspots.data import Dataset
from blindspots.data.arrays import Laid
from blindspots.findings import Finding
from blindspots.models.model import Model

_BLOCK = 4096  # rows


def ranged(model: Model, data: Dataset | None) -> Model:
    """The model with the bounds of the data where it has none of its own: [0, 1] if all values lie there, else from the
    smallest to the largest value of each feature. Those are values of all rows that are stored, also where a run uses
    some of them. What is the same in all rows stays as it is, but for one float32 up. Without data: [0, 1].

    Raises InputError: some value is not finite.
    """
    if data is None:
        return _within(model, Box(0.0, 1.0))
    if model.bounded or not len(data):
        return model
    low, high = _extremes(_blocks(data))
    unit = bool(low.min() >= 0) and bool(high.max() <= 1)
    same = int((low == high).sum())
    # A box has to be open; one float32 is the least room there is.
    made = _within(model, Box(0.0, 1.0) if unit else as_box(low, torch.where(low == high, _next(high), high)))
    made.remarks = (*model.remarks, _said(model, data, made.bounds, None if unit else same))
    return made


def _within(model: Model, box: Box) -> Model:
    made = copy.copy(model)
    made.bounded, made.box = True, box
    return made


def _blocks(data: Dataset) -> Iterator[Tensor]:
    for start in range(0, len(data), _BLOCK):
        yield data.rows(start, min(start + _BLOCK, len(data)))[0]
    if isinstance(data, Laid):
        for x in data.stored():  # what is not finite is refused where it is used
            yield x[x.flatten(1).isfinite().all(1)]


def _extremes(blocks: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    found = [torch.stack([x.amin(0), x.amax(0)]) for x in blocks if len(x)]
    return torch.stack([low for low, _ in found]).amin(0), torch.stack([high for _, high in found]).amax(0)


def _next(x: Tensor) -> Tensor:
    return torch.nextafter(x, x.new_tensor(torch.inf))


def _said(model: Model, data: Dataset, bounds: tuple[float, float], same: int | None) -> Finding:
    rows = data.stored_rows if isinstance(data, Laid) else len(data)
    where = "0 to 1, where all of the data lie"
    if same is not None:
        where = f"what it takes in the {rows:,} rows of {data.name} (from {bounds[0]:g} to {bounds[1]:g} in all)"
        where += f"; {same} that are the same in all rows do not change" if same else ""
    return Finding(
        code="bounds-of-data",
        severity="note",
        saw=f"{model.name} has no bounds of its own, so each feature may take {where}.",
        do="If other values are possible, give bounds: from_estimator(it, bounds=(low, high)), two numbers or two "
        "arrays, in a file.py:factory.",
    )
