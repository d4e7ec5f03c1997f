"""From what the networks said to trends with intervals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import variance

from scipy.stats import linregress, t
from torch import Tensor

from blindspots.experiments.inspect.training.levels import BASELINE, Level, baseline_value
from blindspots.experiments.inspect.training.verdict import Resilience, Trained, TrainingVerdict, Trend
from blindspots.records import Interval, Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts

MEASURES = ("clean", "attacked", "distance", "fooled")
_TOO_FEW = "too few networks have one"


def conclude(parts: Parts, networks: Mapping[str, tuple[Level, int]]) -> TrainingVerdict:
    """Every network, and what goes with what."""
    y = parts["rows"]["y"]
    told = {name: _trained(parts, name, level, repeat, y) for name, (level, repeat) in networks.items()}
    by_level: dict[Level, list[Trained]] = {}
    for name, (level, _) in networks.items():
        by_level.setdefault(level, []).append(told[name])
    return TrainingVerdict(
        networks=list(told.values()), trends=list(_trends(by_level)), autoencoder=_resilience(parts["autoencoder"], y)
    )


def _trained(parts: Parts, name: str, level: Level, repeat: int, y: Tensor) -> Trained:
    own, said = parts[f"examples/{name}"], parts[f"answers/{name}"]
    reference = parts[f"examples/{BASELINE}/{int(name == f'{BASELINE}/0')}"]
    right = own["clean"] == y
    both = right & (reference["clean"] == y)
    return Trained(
        factor=level.factor, level=level.name, repeat=repeat, rows=int(parts[f"trained/{name}"]["rows"]),
        clean=_share(right), attacked=_share(right & (own["attacked"] == y)), distance=_median(own["distance"][right]),
        fooled=_share((said["from_reference"] != y)[both]), fools=_share((said["to_reference"] != y)[both]),
    )  # fmt: skip


def _share(hits: Tensor) -> Share:
    return Share.of(int(hits.sum()), len(hits))


def _median(values: Tensor) -> float | None:
    middle = float(values.quantile(0.5, interpolation="lower")) if len(values) else math.inf
    return middle if math.isfinite(middle) else None


# ------------------------------------------------------------------ trends


def _trends(by_level: Mapping[Level, Sequence[Trained]]) -> Iterator[Trend]:
    base = next(networks for level, networks in by_level.items() if level.factor == BASELINE)
    for factor in dict.fromkeys(level.factor for level in by_level if level.factor != BASELINE):
        of = {level: networks for level, networks in by_level.items() if level.factor == factor}
        for measure in MEASURES:
            yield from (
                _ordered(factor, measure, of, base)
                if baseline_value(factor) is not None
                else _unordered(measure, of, base)
            )


def _ordered(
    factor: str, measure: str, of: Mapping[Level, Sequence[Trained]], base: Sequence[Trained]
) -> Iterator[Trend]:
    """The slope of a line through all networks, against doublings or tenths."""
    at = [(baseline_value(factor), one) for one in base] + [(lv.value, one) for lv, ones in of.items() for one in ones]
    points = [(_axis(factor, v), m) for v, one in at if v is not None and (m := value(one, measure)) is not None]
    change, interval = _slope(points)
    per = "for every 10 % of wrong labels" if factor == "noise" else f"for every doubling of {factor}"
    yield Trend(name=factor, measure=measure, change=change, interval=interval, per=per)


def _axis(factor: str, level: float) -> float:
    return 10 * level if factor == "noise" else math.log2(level)


def _unordered(measure: str, of: Mapping[Level, Sequence[Trained]], base: Sequence[Trained]) -> Iterator[Trend]:
    """The difference of every level to the baseline."""
    for level, ones in of.items():
        first, second = ([m for one in some if (m := value(one, measure)) is not None] for some in (ones, base))
        change, interval = _difference(first, second)
        name = f"{level.factor}-{level.name}".replace(":", "-")
        yield Trend(name=name, measure=measure, change=change, interval=interval, per="than the baseline")


def value(one: Trained, measure: str) -> float | None:
    """A measure of a network as a number; None: it has none."""
    found = getattr(one, measure)
    return found.share if isinstance(found, Share) else found


def _slope(points: Sequence[tuple[float, float]]) -> tuple[float, Interval | str]:
    if len(points) < 3 or len({x for x, _ in points}) < 2:
        return 0.0, _TOO_FEW
    line = linregress([x for x, _ in points], [m for _, m in points])
    reach = float(t.ppf(0.975, len(points) - 2)) * float(line.stderr)
    return float(line.slope), (float(line.slope) - reach, float(line.slope) + reach)


def _difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, Interval | str]:
    """Of the means, with Welch's interval."""
    if min(len(first), len(second)) < 2:
        return 0.0, _TOO_FEW
    change = sum(first) / len(first) - sum(second) / len(second)
    errors = [variance(some) / len(some) for some in (first, second)]
    if not sum(errors):
        return change, (change, change)
    freedom = sum(errors) ** 2 / sum(e**2 / (len(some) - 1) for e, some in zip(errors, (first, second), strict=True))
    reach = float(t.ppf(0.975, freedom)) * math.sqrt(sum(errors))
    return change, (change - reach, change + reach)


# ------------------------------------------------------------------ the autoencoder


def _resilience(c: Columns, y: Tensor) -> Resilience:
    code, rebuilt = _medians(c["latent"]), _medians(c["rebuilt"])
    start, end = c["towards"].T
    read = [_share(said == y) for said in c["said"].T]
    return Resilience(
        error=float(c["error"]),
        code_noise=code[0],
        code_attacked=code[1],
        rebuilt_noise=rebuilt[0],
        rebuilt_attacked=rebuilt[2],
        nearer=_medians((1 - end / start.clamp_min(1e-12))[:, None])[0],
        read_clean=read[0],
        read_noise=read[1],
        read_latent=read[2],
        read_rebuilt=read[3],
    )


def _medians(columns: Tensor) -> list[float]:
    """Of every column (n, k); of an even number of rows the lower one."""
    return [float(m) for m in columns.quantile(0.5, 0, interpolation="lower")]
