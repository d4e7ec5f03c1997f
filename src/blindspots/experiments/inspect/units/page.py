"""What is shown of a study of units: sheets to look at, then what the test says of every layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from blindspots.experiments.inspect.page import Shown
from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.inspect.units.verdict import Comparison, UnitsVerdict, View
from blindspots.packing import unpack_inputs
from blindspots.pictures import is_image, picture
from blindspots.report.experiment import Table
from blindspots.report.shown import data_uri, is_small, scaled
from blindspots.report.words import count, listing, number
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run

Inspected = Run[UnitsConfig, UnitsVerdict]


@dataclass(frozen=True)
class Strip:
    """The rows that excite one direction most, as pictures or as their labels."""

    name: str
    pictures: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Sheet:
    title: str
    units: list[Strip]
    random: list[Strip]


def shown(run: Inspected) -> Shown:
    """Sheets of units and of random directions side by side, and the tests."""
    v = run.verdict
    return Shown(
        name="units", title="Units against random directions", answer=answer(v), text=_text(run),
        body="units/body.html.j2", tables=[_table(v)],
        context={
            "sheets": [_sheet(run, i, view) for i, view in enumerate(v.views)], "views": v.views, "by_lot": v.by_lot,
            "top": run.config.top, "alike": _alike(v), "table": _table(v), "learned": _learned(v),
            "crisp": is_small(run.manifest.world["data"]["shape"]),
        },
    )  # fmt: skip


def answer(v: UnitsVerdict) -> str:
    """Szegedy's question, answered for this model."""
    tested = [view for view in v.views if view.comparisons]
    if not tested:
        return "No layer answers rows differently, so units cannot be compared with random directions"
    plain, whitened = v.purer(), [view for view in v.purer("whitened") if view not in v.purer()]
    if not plain and not whitened:
        return "In no layer were units found to be purer than random directions"
    told = [f"in {listing([_name(view) for view in plain])}"] * bool(plain)
    told += [f"once all directions vary alike, in {listing([_name(view) for view in whitened])}"] * bool(whitened)
    rest = len(tested) - len(plain) - len(whitened)
    return f"Units are purer than random directions {', and '.join(told)}" + (
        f"; in {rest} others no difference was found" if rest else ""
    )


def _alike(v: UnitsVerdict) -> str:
    """Who says which rows are alike."""
    pixels = "by coarse pixels, which see brightness and place before content"
    return f"as {v.independent} sees them" if v.independent else pixels


def _name(view: View) -> str:
    return f"{view.layer} {'as it is' if view.answers == 'pre' else 'rectified'}"


def _text(run: Inspected) -> str:
    c, v = run.config, run.verdict
    views = count(len(v.views), "view")
    return (
        f"A direction is pure if the {c.top} of {v.rows:,} rows that excite it most have few different labels. The "
        f"units of every layer are compared with {c.rotations:,} random rotations of the whole basis, by an exact test "
        f"at 5 % with Holm's correction over {views}, and once more after whitening. Rows by lot have "
        f"{number(v.by_lot)} bits of entropy; 0 is a single class."
    )


def _table(v: UnitsVerdict) -> Table:
    head = ["Layer", "Units judged", "Units, bits", "Random, bits", "Effect", "95 %", "p", "p, Holm", "Whitened p"]
    return Table(head, [_row(view) for view in v.views if view.comparisons], "Entropy of labels")


def _row(view: View) -> list[str]:
    c, w = view.comparisons["centred/entropy"], view.comparisons["whitened/entropy"]
    return [
        _name(view), count(view.judged), number(c.units), number(c.random),
        "–" if c.effect is None else f"{number(c.effect)} sd", _between(c),
        number(c.p), number(c.holm), number(w.holm),
    ]  # fmt: skip


def _between(c: Comparison) -> str:
    return "–" if c.interval is None else f"{number(c.interval[0])} to {number(c.interval[1])}"


def _learned(v: UnitsVerdict) -> Table | None:
    """Dictionaries below the units and random directions of the same layer."""
    if not any(view.dictionaries for view in v.views):
        return None
    rows = [row for view in v.views for row in (*_undirected(view), *_dictionaries(view))]
    head = ["Layer", "Directions", "Number", "In use", "Bits", "Monosemanticity"]
    return Table(head, rows, "Learned dictionaries")


def _undirected(view: View) -> list[list[str]]:
    if not view.comparisons:
        return []
    bits, alike = (view.comparisons[f"centred/{statistic}"] for statistic in ("entropy", "likeness"))
    judged = count(view.judged)
    return [
        [_name(view), "units", judged, judged, number(bits.units), number(alike.units)],
        [_name(view), "random", judged, judged, number(bits.random), number(alike.random)],
    ]


def _dictionaries(view: View) -> list[list[str]]:
    return [
        [_name(view), d.name, count(d.directions), count(d.live), _or_none(d.entropy), _or_none(d.likeness)]
        for d in view.dictionaries
    ]


def _or_none(value: float | None) -> str:
    return "–" if value is None else number(value)


# ------------------------------------------------------------------ sheets


def _sheet(run: Inspected, i: int, view: View) -> Sheet:
    made = run.parts[f"sheets/{i}"]
    units = [f"unit {u}" for u in made["units"].tolist()]
    random = [f"random {k + 1}" for k in range(len(made["random_rows"]))]
    return Sheet(_name(view), _strips(run, made, "unit", units), _strips(run, made, "random", random))


def _strips(run: Inspected, made: Columns, kind: str, names: list[str]) -> list[Strip]:
    world = run.manifest.world
    classes = world["data"]["class_names"]
    low, high = world["model"]["bounds"]
    labels = [[classes[y] if classes else str(y) for y in row] for row in made[f"{kind}_y"].tolist()]
    x = scaled(unpack_inputs(made[f"{kind}_x"]).numpy(), low, high)
    return [Strip(name, _pictures(rows), said) for name, rows, said in zip(names, x, labels, strict=True)]


def _pictures(rows: np.ndarray[Any, Any]) -> list[str]:
    return [data_uri(picture(one)) for one in rows] if is_image(rows.shape[1:]) else []
