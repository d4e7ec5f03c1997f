"""What a detector costs beside the model: memory, parameters and passes; and how long both take."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from blindspots.experiments.detect.guarded import Guarded
from blindspots.experiments.detect.verdict import Overhead
from blindspots.models.model import Model
from blindspots.runs.experiment import Columns

BATCHES = {1: 100, 32: 30}  # rows per call: calls that are timed
BOTH = ("model", "pair")
_WARM = 3


def counted(model: Model, pair: Guarded, x: Tensor) -> Columns:
    """What the model alone and the pair keep, and the passes that rows x (B, ...) take."""
    with pair.borrowed(), torch.no_grad():
        forwards = _passes(model, lambda: pair.logits(_batch(x, 8)), 8)
    size, more = (sum(t.nbytes for t in _numbers(net)) for net in (model.net, pair.detector))
    return {
        "parameters": torch.tensor([model.parameters, pair.detector.numbers]),
        "bytes": torch.tensor([size, more]),
        "forwards": torch.tensor(forwards, dtype=torch.float64),
    }


def timed(model: Model, pair: Guarded, x: Tensor) -> dict[str, float]:
    """Milliseconds per row here and now: the model alone and the pair take turns, so that both see the same load."""
    with pair.borrowed(), torch.no_grad():
        return {
            called(who, rows): 1000 * seconds
            for rows, calls in BATCHES.items()
            for who, seconds in zip(BOTH, _seconds(model, pair, _batch(x, rows), calls), strict=True)
        }


def called(who: str, rows: int) -> str:
    """How the log calls a time: of "model" or "pair", of so many rows per call."""
    return f"{who}, ms per row, {rows} per call"


def record(costs: Columns) -> Overhead:
    """What was counted, as data."""
    (parameters, learned), (size, more) = costs["parameters"].tolist(), costs["bytes"].tolist()
    return Overhead(
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
