"""What the data answer to objectives, and which unit of an independent network answers most alike."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.experiments.inspect.layers import Layer, hidden, layers_of, pooled, watched
from blindspots.experiments.inspect.pictures.objectives import Group, answered
from blindspots.models.model import Model
from blindspots.packing import pack_inputs, packed_text
from blindspots.runs.experiment import Columns

Tell = Callable[[int], None]
_CHUNK = 64  # rows per call
_TOP = 9  # rows that are shown beside a picture


def values(model: Model, group: Group, data: Dataset, chunk: int | None, tell: Tell) -> Tensor:
    """What every row answers to every objective: (n, T) float32. Raises InputError: an answer is not finite."""
    found = []
    for first in range(0, len(data), chunk or _CHUNK):
        x, _ = data.rows(first, min(first + (chunk or _CHUNK), len(data)))
        found.append(valued(model, group, x))
        tell(first + len(x))
    answers = torch.cat(found)
    if not bool(answers.isfinite().all()):
        row = int((~answers.isfinite().all(1)).nonzero()[0])
        raise InputError(
            f"expected finite answers of {group.layer or model.name}, got NaN or infinity at row {row}: choose another "
            "layer, or leave the row out"
        )
    return answers


def valued(model: Model, group: Group, x: Tensor) -> Tensor:
    """Of inputs (B, *shape): (B, T) float32."""
    with model.borrowed(), torch.no_grad():
        return group.values(answered(model, group.layer, x.to(model.device))).float().cpu()


def tops(found: Tensor, data: Dataset) -> Columns:
    """The rows with the largest values (n, T), the largest first."""
    rows = found.T.topk(min(_TOP, len(found)), 1).indices
    read = [data.rows(i, i + 1) for i in rows.flatten().tolist()]
    x = pack_inputs(torch.cat([x for x, _ in read]))
    return {
        "top": rows, "top_x": x.view(*rows.shape, *x.shape[1:]),
        "top_y": torch.cat([y for _, y in read]).view(rows.shape),
    }  # fmt: skip


# ------------------------------------------------------------------ the unit that answers alike


def matched(other: Model, found: Tensor, pictures: Tensor, data: Dataset, chunk: int | None, tell: Tell) -> Columns:
    """Of every objective the unit of another network whose answers to the data correlate most with `found` (n, T).

    Candidates are the channels of its weighted layers, as means over positions, and its scores. Correlations are
    summed row by row, so that however many units there are, the answers of one call are in memory.

    Args:
        pictures: inputs (T, D, *shape), which that unit is then shown.
    """
    chunk = chunk or _CHUNK
    layers = _candidates(other, data)
    sizes = [*(layer.units for layer in layers), _score_count(other, data)]
    best = _correlations(_streamed(other, layers, data, chunk, tell), found, sum(sizes))
    correlation, at = best.max(0)
    ends = torch.tensor(sizes).cumsum(0)
    layer = torch.searchsorted(ends, at, right=True)
    answers = torch.cat([out[:, at] for out in _streamed(other, layers, data, chunk, tell)])
    shown = _answers(other, layers, pictures.flatten(0, 1), chunk)[:, at].view(*pictures.shape[:2], -1)
    return {
        "names": packed_text("\n".join([*(one.name for one in layers), ""])), "layer": layer,
        "unit": at - (ends - torch.tensor(sizes))[layer], "correlation": correlation, "values": answers,
        "reached": shown.diagonal(dim1=0, dim2=2).T.contiguous(),
    }  # fmt: skip


def _candidates(other: Model, data: Dataset) -> list[Layer]:
    """None where only its scores can be read."""
    try:
        every = layers_of(other, data.rows(0, min(2, len(data)))[0].to(other.device))
    except InputError:
        return []
    return hidden(every, len(every))


def _score_count(other: Model, data: Dataset) -> int:
    with other.borrowed(), torch.no_grad():
        return other.logits(data.rows(0, 1)[0].to(other.device)).shape[1]


def _streamed(other: Model, layers: list[Layer], data: Dataset, chunk: int, tell: Tell) -> Iterator[Tensor]:
    for first in range(0, len(data), chunk):
        x, _ = data.rows(first, min(first + chunk, len(data)))
        yield _units(other, layers, x)
        tell(first + len(x))


def _answers(other: Model, layers: list[Layer], x: Tensor, chunk: int) -> Tensor:
    return torch.cat([_units(other, layers, part) for part in torch.split(x, chunk)])


def _units(other: Model, layers: list[Layer], x: Tensor) -> Tensor:
    """All candidates' answers to x (B, *shape): (B, units)."""
    with watched(other, [layer.name for layer in layers]) as seen, other.borrowed(), torch.no_grad():
        scores = other.logits(x.to(other.device))
        read = [pooled(layer, seen[layer.name][0].float()) for layer in layers]
    return torch.cat([*read, scores], 1).cpu()


def _correlations(streamed: Iterator[Tensor], found: Tensor, units: int) -> Tensor:
    """(units, T) float64; 0 for units that answer all rows alike."""
    target = found.double() - found.double().mean(0)
    total, square = torch.zeros(units, dtype=torch.float64), torch.zeros(units, dtype=torch.float64)
    cross, first = torch.zeros(units, target.shape[1], dtype=torch.float64), 0
    for part in streamed:
        out = part.double()
        total, square = total + out.sum(0), square + out.square().sum(0)
        cross = cross + out.T @ target[first : first + len(out)]
        first += len(out)
    spread = (square - total.square() / first).clamp_min(0).sqrt()
    live = spread > 1e-6 * square.sqrt()
    size = spread.clamp_min(1e-30)[:, None] * target.norm(dim=0).clamp_min(1e-30)
    return torch.where(live[:, None], cross / size, torch.zeros_like(cross))
