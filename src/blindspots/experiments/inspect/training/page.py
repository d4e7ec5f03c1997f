"""What is shown of a study of training: a chart for every factor, and the autoencoder's pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blindspots.experiments.inspect.page import Shown
from blindspots.experiments.inspect.training.config import FACTORS, TrainingConfig
from blindspots.experiments.inspect.training.verdict import Resilience, Trained, TrainingVerdict, Trend
from blindspots.packing import unpack_inputs
from blindspots.pictures import is_image, picture
from blindspots.records import Share
from blindspots.report.charts import Line, Mark, Plot, quarters, rising
from blindspots.report.experiment import Table
from blindspots.report.shown import data_uri, is_small
from blindspots.report.words import count, listing, number, percent
from blindspots.runs.store import Run

Inspected = Run[TrainingConfig, TrainingVerdict]
_BASE = {"size": "1", "noise": "0", "width": "1", "augmentation": "none", "subset": "all"}
_SAID = {"clean": "right", "attacked": "right under attack", "fooled": "fooled by the reference's examples"}


@dataclass(frozen=True)
class Column:
    """A row of the data, and its reconstructions: clean, noise, latent attack, reconstruction attack."""

    original: str
    rebuilt: list[str]


def shown(run: Inspected) -> Shown:
    """One chart for every factor, then what they say in a table, then the autoencoder."""
    v = run.verdict
    shape = run.manifest.world["data"]["shape"]
    return Shown(
        name="training", title="What robustness depends on in training", answer=answer(v), text=_text(run),
        body="training/body.html.j2", tables=[_table(v)],
        context={
            "plots": [(plot(run, factor), _sentence(v, factor)) for factor in run.config.factor], "table": _table(v),
            "resilience": resilience(v.autoencoder), "columns": _columns(run) if is_image(shape) else [],
            "crisp": is_small(shape),
        },
    )  # fmt: skip


def answer(v: TrainingVerdict) -> str:
    """What robustness under attack goes with."""
    told = [t for t in v.trends if t.measure == "attacked" and not isinstance(t.interval, str)]
    up, down = ([t.name for t in told if sign(t) == s] for s in (1, -1))
    if not up and not down:
        return "No factor changed accuracy under attack by more than networks of a kind differ among themselves"
    parts = [f"rises with {listing(up)}"] * bool(up) + [f"falls with {listing(down)}"] * bool(down)
    return f"Accuracy under attack {' and '.join(parts)}"


def sign(t: Trend) -> int:
    """1 or -1 where the interval leaves out 0."""
    assert not isinstance(t.interval, str)
    return (t.interval[0] > 0) - (t.interval[1] < 0)


def _text(run: Inspected) -> str:
    c = run.config
    return (
        f"{count(len(run.verdict.networks), 'network')} like {c.network}, {c.repeats} of every kind, were trained with "
        f"one thing changed at a time and attacked within {c.threat} on {run.verdict.networks[0].clean.rows:,} rows "
        "that none of them saw."
    )


def _sentence(v: TrainingVerdict, factor: str) -> str:
    """What the chart says on accuracy under attack and on distance."""
    return " ".join(
        f"{what}: {'; '.join(_one(t, factor) for t in told)}."
        for measure, what in (("attacked", "Accuracy under attack"), ("distance", "Median distance"))
        if (told := [t for t in v.trends if t.name.partition("-")[0] == factor and t.measure == measure])
    )


def _one(t: Trend, factor: str) -> str:
    level = t.name.removeprefix(factor).removeprefix("-")
    return f"{level} {_change(t)}" if level else f"{_change(t)} {t.per}"


def _change(t: Trend) -> str:
    points = t.measure != "distance"
    scale = 100 if points else 1
    unit = " points" if points else ""
    if isinstance(t.interval, str):
        return f"unknown ({t.interval})"
    low, high = (number(_clean(scale * end)) for end in t.interval)
    return f"{number(_clean(scale * t.change))}{unit} ({low} to {high})"


def _clean(value: float) -> float:
    """Without what rounding left of a difference of equal numbers."""
    return round(value, 9)


def _table(v: TrainingVerdict) -> Table:
    names = list(dict.fromkeys(t.name for t in v.trends))
    by = {(t.name, t.measure): t for t in v.trends}
    per = {t.name: t.per for t in v.trends}
    measures = ("clean", "attacked", "distance", "fooled")
    rows = [[f"{name}, {per[name]}", *(_change(by[name, measure]) for measure in measures)] for name in names]
    return Table(["What changes", "Accuracy", "Under attack", "Distance", "Fooled by the reference"], rows, "Trends")


# ------------------------------------------------------------------ charts


def plot(run: Inspected, factor: str) -> Plot:
    """Means over the networks of every level, with the lowest and the highest of them as the band."""
    v = run.verdict
    groups = {_BASE.get(factor, run.config.network): [n for n in v.networks if n.factor == "baseline"]}
    for n in v.networks:
        if n.factor == factor:
            groups.setdefault(n.level, []).append(n)
    groups = _in_order(factor, groups)
    across = [100 * (i + 0.5) / len(groups) for i in range(len(groups))]
    lines = [_line(measure, said, groups.values(), across) for measure, said in _SAID.items()]
    marks = [Mark(at, name) for at, name in zip(across, groups, strict=True)]
    return Plot(FACTORS[factor].capitalize(), FACTORS[factor], marks, quarters(), lines, [], list(groups))


def _in_order(factor: str, groups: dict[str, list[Trained]]) -> dict[str, list[Trained]]:
    ordered = factor in ("size", "noise", "width")
    return {name: groups[name] for name in (sorted(groups, key=float) if ordered else groups)}


def _line(measure: str, said: str, groups: Any, across: Sequence[float]) -> Line:
    shares = [[100 * _share(n, measure) for n in group] for group in groups]
    means = [sum(s) / len(s) for s in shares]
    points = list(zip(across, means, strict=True))
    low, high = ([(a, end(s)) for a, s in zip(across, shares, strict=True)] for end in (min, max))
    band = rising([*high, *low[::-1]]) + "Z"
    return Line(said, rising(points), band, points, [percent(m / 100) for m in means])


def _share(n: Trained, measure: str) -> float:
    found: Share = getattr(n, measure)
    return found.share


# ------------------------------------------------------------------ the autoencoder


def resilience(r: Resilience) -> Table:
    """What noise and attacks of the same size do to the code and to what is made of it."""
    rows = [
        ["clean", "–", "–", percent(r.read_clean.share)],
        ["noise as large", percent(r.code_noise), percent(r.rebuilt_noise), percent(r.read_noise.share)],
        ["attack on the code", percent(r.code_attacked), "–", percent(r.read_latent.share)],
        ["attack on the reconstruction", "–", percent(r.rebuilt_attacked), percent(r.read_rebuilt.share)],
    ]
    head = ["Input", "Code moved by", "Reconstruction moved by", "Reconstructions read as their label"]
    return Table(head, rows, "The autoencoder")


def _columns(run: Inspected) -> list[Column]:
    made = run.parts["autoencoder"]
    x, rebuilt = unpack_inputs(made["x"]).numpy(), made["shown"].numpy()
    return [
        Column(data_uri(picture(one)), [data_uri(picture(b)) for b in four])
        for one, four in zip(x, rebuilt, strict=True)
    ]
