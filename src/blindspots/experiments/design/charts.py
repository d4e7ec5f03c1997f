"""What the page of designs draws: what was predicted and what is true, over the steps of a climb."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from blindspots.experiments.design.conclude import estimate, scale
from blindspots.report.charts import Line, Mark, Plot, rising
from blindspots.report.words import number
from blindspots.runs.experiment import Columns

_MARGIN = 0.06  # of the range, above and below
_DOTS = 5
Curve = Sequence[tuple[float, float, float]]  # mean over designs and the ends of its 95 % interval over repeats


def gaps(climbs: Mapping[str, Columns], data: Columns) -> Plot:
    """Predicted minus true of all methods in one chart."""
    told = {name: _told(climb, data)["gap"] for name, climb in climbs.items()}
    step = next(iter(climbs.values()))["step"]
    return _plot("The gap of all methods", step, told, *_range([told]))


def curves(climbs: Mapping[str, Columns], data: Columns, titles: Mapping[str, str]) -> list[Plot]:
    """One chart for every method, all on the same axes."""
    told = {name: _told(climb, data) for name, climb in climbs.items()}
    both = {name: {what: lines[what] for what in ("predicted", "true")} for name, lines in told.items()}
    ends = _range(list(both.values()))
    return [_plot(titles[name], climbs[name]["step"], lines, *ends) for name, lines in both.items()]


def _told(climb: Columns, data: Columns) -> Mapping[str, Curve]:
    """After every step that was asked about, in standard deviations."""
    mean, sd = scale(data)
    found: dict[str, Curve] = {k: [_ends((at - mean) / sd) for at in climb[k]] for k in ("predicted", "true")}
    return found | {"gap": [_ends(at / sd) for at in climb["predicted"] - climb["true"]]}


def _range(told: Sequence[Mapping[str, Curve]]) -> tuple[float, float]:
    values = [v for lines in told for curve in lines.values() for triple in curve for v in triple]
    low, high = min(values), max(values)
    edge = _MARGIN * (high - low or 1)
    return low - edge, high + edge


def _ends(values: Tensor) -> tuple[float, float, float]:
    found = estimate(values.mean(1))
    ends = (found.mean, found.mean) if isinstance(found.interval, str) else found.interval
    return found.mean, *ends


def _plot(title: str, step: Tensor, told: Mapping[str, Curve], low: float, high: float) -> Plot:
    def up(value: float) -> float:
        return 100 * (value - low) / (high - low)

    across = (100 * step.double() / max(int(step[-1]), 1)).tolist()
    shown = torch.linspace(0, len(step) - 1, min(_DOTS, len(step))).round().long().tolist()
    lines = []
    for name, values in told.items():
        means, lows, highs = ([(x, up(v[i])) for x, v in zip(across, values, strict=True)] for i in range(3))
        band = rising([*highs, *lows[::-1]]) + "Z"
        lines.append(Line(name, rising(means), band, [], [number(values[i][0]) for i in shown]))
    y = [Mark(up(v), number(v)) for v in round_values(low, high)]
    x = [Mark(across[i], str(int(step[i]))) for i in shown]
    return Plot(title, "step", x, y, lines, [], [f"step {int(step[i])}" for i in shown])


def round_values(low: float, high: float, about: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from low to high."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
