"""What is shown of a run of designs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from blindspots.experiments.design import paint
from blindspots.experiments.design.charts import curves, gaps
from blindspots.experiments.design.conclude import chosen, scale
from blindspots.experiments.design.config import METHODS, DesignConfig
from blindspots.experiments.design.molecules import picture
from blindspots.experiments.design.surrogates import Networks, Surrogates
from blindspots.experiments.design.tasks import BUILT_IN
from blindspots.experiments.design.verdict import NETWORKS, DesignVerdict, Estimate, Method, Outcome
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import data_uri
from blindspots.report.words import count, number, percent
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run

Designed = Run[DesignConfig, DesignVerdict]
_PICTURE = 320  # px
_LIGHTEST = 0.05  # quantile of true values that is drawn lightest
_NAMES = {
    "naive": "Naive ascent", "ensemble": "the ensemble minimum", "trust": "the trust region",
    "conservative": "conservative training",
}  # fmt: skip
_ABOUT = {
    "transitions": "A sequence with a banned step from one letter to the next, underlined here, is worth nothing.",
    "symbols": "Symbols of SELFIES; those that no free bond is left for mean nothing.",
}
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Landscape:
    title: str
    picture: str
    said: str


@dataclass(frozen=True)
class Sequence:
    """A sequence letter by letter; True: the step from the letter before is banned."""

    title: str
    letters: list[tuple[str, bool]]
    said: str
    picture: str = ""


def page(run: Designed) -> Page:
    """The three numbers of every method, curves over the steps, and what the designs look like."""
    titles = {name: METHODS[name].capitalize() for name in run.config.method}
    climbs = {name: run.parts[f"climbs/{name}"] for name in run.config.method}
    shown = _most_deceived(climbs["naive"], run.parts["data"])
    landscapes, sequences = list(_landscapes(run, climbs, shown)), list(_sequences(run, climbs, shown))
    looks = [("looks", "What the designs look like")] if landscapes or sequences else []
    return Page(
        kicker="Designs that are too good to be true", headline=_headline(run), text=_text(run),
        tables=[_table(run, "chosen"), _table(run, "mean"), _known(run)],
        sections=[("gap", "Predicted, true, gap"), ("steps", "Step by step"), *looks, ("what", "What this is")],
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "gap": gaps(climbs, run.parts["data"]), "plots": curves(climbs, run.parts["data"], titles),
            "about": _ABOUT["transitions" if "transitions" in run.parts["task"] else "symbols"],
            "landscapes": landscapes, "sequences": sequences, "shown": shown,
            "methods": {name: METHODS[name] for name in run.config.method},
        },
        cost=f"{count(run.verdict.asked, 'question')} to the truth",
    )  # fmt: skip


def _headline(run: Designed) -> str:
    naive, *others = run.verdict.methods
    told = f"{_NAMES['naive']} {_by(naive)} the design that it chooses by {_size(naive)}"
    return told + (f", {_NAMES[others[-1].name]} {_by(others[-1])} its own by {_size(others[-1])}" if others else "")


def _by(method: Method) -> str:
    return "overestimates" if method.chosen.sd.gap.mean >= 0 else "underestimates"


def _size(method: Method) -> str:
    return f"{abs(method.chosen.sd.gap.mean):.2f} sd"


def _text(run: Designed) -> str:
    c, v = run.config, run.verdict
    return (
        f"On {c.task}, in each of {count(v.repeats, 'repeat')}, {count(c.points or 0, 'random design')} were measured "
        f"and the worst {count(v.rows)} kept as data. A surrogate learned their values, designs were sought on it from "
        "the best of the data on, and only then was the truth asked. Values in sd are standard deviations of the data "
        "from their mean; intervals are 95 % over repeats."
    )


# ------------------------------------------------------------------ tables


def _table(run: Designed, which: str) -> Table:
    titles = {"chosen": "The design with the highest prediction, in sd", "mean": "Mean over all designs, in sd"}
    left = {"chosen": "left_chosen", "mean": "left_mean"}[which]
    rows = []
    for m in run.verdict.methods:
        found: Outcome = getattr(m, which)
        share = getattr(m, left)
        rows.append([
            m.name, _hundredths(found.sd.predicted.mean), _hundredths(found.sd.true.mean), *_gap(found.sd.gap),
            "–" if share is None else percent(share), _hundredths(found.sd.error.mean),
            number(round(found.unit.true.mean, 9)),
        ])  # fmt: skip
    unit = _unit(run)
    head = ["Method", "Predicted", "True", "Gap", "95 %", "Gap left", "|Gap|", f"True, {unit}"]
    return Table(head, rows, titles[which])


def _unit(run: Designed) -> str:
    return run.verdict.unit or "as measured"


def _gap(e: Estimate) -> tuple[str, str]:
    ends = "–" if isinstance(e.interval, str) else " to ".join(map(_hundredths, e.interval))
    return _hundredths(e.mean), ends


def _hundredths(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _said(e: Estimate) -> str:
    if isinstance(e.interval, str):
        return number(round(e.mean, 9))
    return f"{number(round(e.mean, 9))} ({' to '.join(number(round(end, 9)) for end in e.interval)})"


def _known(run: Designed) -> Table:
    v = run.verdict
    rows = [["best of the data", _said(v.best_data)], ["best that was drawn", _said(v.best_drawn)]]
    optimum = [["optimum", number(v.optimum) if v.optimum is not None else "not known"]]
    return Table(
        ["True value", _unit(run)], [*rows, *optimum, ["1 sd of the data", _said(v.deviation)]], "To compare with"
    )


# ------------------------------------------------------------------ pictures


def _most_deceived(naive: Columns, data: Columns) -> int:
    """The repeat in which naive ascent overestimates its chosen design most."""
    gap = (naive["predicted"][-1] - naive["true"][-1]).gather(1, chosen(naive)) / scale(data)[1]
    return int(gap.argmax())


def _landscapes(run: Designed, climbs: dict[str, Columns], repeat: int) -> Iterator[Landscape]:
    """Of one repeat, where two numbers are designed: the truth, and every surrogate with its climbs."""
    data = run.parts["data"]
    if run.config.task not in BUILT_IN or data["drawn"].shape[2] != 2:
        return
    at = torch.from_numpy(paint.places()).float()
    true = BUILT_IN[run.config.task]().values(at).numpy()
    ends = (float(torch.from_numpy(true).quantile(_LIGHTEST)), float(true.max()))
    kept = data["drawn"][repeat, data["kept"][repeat]].double().numpy()

    def drawn(values: Tensor, paths: list[Tensor]) -> str:
        lines = [path.double().numpy() for path in paths]
        return data_uri(paint.painted(values.double().numpy(), ends, run.verdict.optimum, kept, lines), _PICTURE)

    across, up = (f"{number(low)} to {number(high)}" for low, high in run.parts["task"]["bounds"].tolist())
    said = f"dark is high, dots are the data; {across} from left to right, {up} from bottom to top"
    yield Landscape("the truth", drawn(torch.from_numpy(true), []), said)
    for name, climb in climbs.items():
        best = int(chosen(climb)[repeat])
        ways = climb["designs"][:, repeat].unbind(1)
        paths = [ways[best], *(way for i, way in enumerate(ways) if i != best)]
        values = climb["predicted"][-1, repeat, best], climb["true"][-1, repeat, best]
        said = f"chosen: predicted {number(float(values[0]))}, true {number(float(values[1]))}"
        yield Landscape(name, drawn(_surface(run, name, repeat, at), paths), said)


def _surface(run: Designed, method: str, repeat: int, at: Tensor) -> Tensor:
    """What a method's surrogate of a repeat predicts at places (N, 2), as measured."""
    made = run.parts[f"networks/{'conservative' if method == 'conservative' else 'plain'}"]
    members = len(made["first"]) // run.verdict.repeats
    asked, first = members if method == "ensemble" else 1, repeat * members
    nets = Networks(**{name: made[name][first : first + asked] for name in NETWORKS})
    mean, sd = scale(run.parts["data"])
    return mean[repeat] + sd[repeat] * Surrogates(nets, asked).exactly(at[None])[0]


def _sequences(run: Designed, climbs: dict[str, Columns], repeat: int) -> Iterator[Sequence]:
    """Of one repeat: the best of the data, and what every method chose."""
    task, data = run.parts["task"], run.parts["data"]
    if "bounds" in task or ("transitions" in task and len(task["transitions"]) > len(_ALPHABET)):
        return
    best = data["kept"][repeat, -1]
    worth = number(float(data["values"][repeat, best]))
    yield _sequence(task, "best of the data", data["drawn"][repeat, best], f"true {worth}")
    for name, climb in climbs.items():
        i = int(chosen(climb)[repeat])
        values = [number(float(climb[k][-1, repeat, i])) for k in ("predicted", "true")]
        yield _sequence(task, name, climb["designs"][-1, repeat, i], f"predicted {values[0]}, true {values[1]}")


def _sequence(task: Columns, title: str, letters: Tensor, said: str) -> Sequence:
    if "transitions" in task:
        return Sequence(title, _spelled(letters, task["transitions"] == 0), said)
    symbols = [bytes(row).rstrip(b"\0").decode("ascii") for row in task["symbols"].tolist()]
    drawn = picture("".join(symbols[i] for i in letters.tolist()))
    return Sequence(title, [(symbols[i], False) for i in letters.tolist()], said, drawn or "")


def _spelled(sequence: Tensor, banned: Tensor) -> list[tuple[str, bool]]:
    letters = sequence.tolist()
    bad = [False, *(bool(banned[a, b]) for a, b in pairwise(letters))]
    return [(_ALPHABET[letter], wrong) for letter, wrong in zip(letters, bad, strict=True)]
