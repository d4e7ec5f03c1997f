"""What a detector costs beside the model: time, memory, parameters and passes."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from blindspots.defend.detection.guarded import Guarded
from blindspots.defend.detection.record import Overhead
from blindspots.journal import Columns
from blindspots.models.model import Model

BATCHES = {1: 100, 32: 30}  # rows per call: calls that are timed
_WARM = 3


def measured(model: Model, pair: Guarded, x: Tensor) -> Columns:
    """Here and now, on rows x (B, ...): the model alone and the pair take turns, so that both see the same load."""
    with pair.borrowed(), torch.no_grad():
        seconds = [_seconds(model, pair, _batch(x, rows), calls) for rows, calls in BATCHES.items()]
        forwards = _passes(model, lambda: pair.logits(_batch(x, 8)), 8)
    size, more = (sum(t.nbytes for t in _numbers(net)) for net in (model.net, pair.detector))
    return {
        "seconds": torch.tensor(seconds, dtype=torch.float64),  # (batches, 2)
        "parameters": torch.tensor([model.parameters, pair.detector.numbers]),
        "bytes": torch.tensor([size, more]),
        "forwards": torch.tensor(forwards, dtype=torch.float64),
    }


def record(costs: Columns) -> Overhead:
    """What was measured, as data."""
    alone, both = (dict(zip(map(str, BATCHES), column, strict=True)) for column in costs["seconds"].T.tolist())
    (parameters, learned), (size, more) = costs["parameters"].tolist(), costs["bytes"].tolist()
    return Overhead(
        seconds_model=alone,
        seconds_pair=both,
        parameters_model=parameters,
        parameters_detector=learned,
        bytes_model=size,
        bytes_detector=more,
        forwards=float(costs["forwards"]),
    )


def _batch(x: Tensor, rows: int) -> Tensor:
    return x[torch.arange(rows) % len(x)]


def _numbers(net: nn.Module) -> Iterator[Tensor]:
    yield from net.parameters()
    yield from net.buffers()


def _seconds(model: Model, pair: Guarded, x: Tensor, calls: int) -> tuple[float, float]:
    """Medians per row."""
    taken = [(_timed(model.logits, x), _timed(pair.logits, x)) for _ in range(_WARM + calls)][_WARM:]
    alone, both = zip(*taken, strict=True)
    return statistics.median(alone) / len(x), statistics.median(both) / len(x)


def _timed(call: Callable[[Tensor], Tensor], x: Tensor) -> float:
    began = time.perf_counter()
    answer = call(x)
    if answer.device.type == "cuda":
        torch.cuda.synchronize(answer.device)
    return time.perf_counter() - began


def _passes(model: Model, call: Callable[[], Tensor], rows: int) -> float:
    """Rows that went through the network, per row of the call."""
    with _counting(model) as seen:
        call()
    return sum(seen) / rows


@contextmanager
def _counting(model: Model) -> Iterator[list[int]]:
    seen: list[int] = []
    hook = model.net.register_forward_pre_hook(lambda net, args: seen.append(len(args[0])))
    try:
        yield seen
    finally:
        hook.remove()
