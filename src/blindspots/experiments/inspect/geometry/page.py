"""What is shown of a study of geometry: slices to look at, then what holds of all rows."""

from dataclasses import dataclass
from typing import Any

from blindspots.experiments.inspect.geometry import charts
from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.geometry.paint import colours, painted
from blindspots.experiments.inspect.geometry.sentences import answer, kind_words, sentences, text
from blindspots.experiments.inspect.geometry.verdict import Crossing, Feature, GeometryVerdict, SliceRecord
from blindspots.experiments.inspect.page import Shown
from blindspots.packing import unpack_inputs
from blindspots.pictures import is_image, picture
from blindspots.report.experiment import Table
from blindspots.report.shown import data_uri, is_small, scaled
from blindspots.report.words import ThreatWords, count, interval, number, percent
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run

Inspected = Run[GeometryConfig, GeometryVerdict]
_NO_WIDER = 264


@dataclass(frozen=True)
class Window:
    """One slice."""

    title: str
    picture: str
    said: str


@dataclass(frozen=True)
class Through:
    """All slices through a row."""

    row: int
    label: str
    prediction: str
    original: str  # "" where rows are no pictures
    adversarial: str
    windows: list[Window]
    legend: list[tuple[str, str]]  # colour, class


@dataclass(frozen=True)
class Example:
    """An input before and after, with its old and its new label."""

    before: str
    after: str
    label: str
    target: str


def shown(run: Inspected) -> Shown:
    """Slices, shares of ways that cross, and a chart for every question."""
    v = run.verdict
    return Shown(
        name="geometry", title="The shape of decision regions", answer=answer(run), text=text(run),
        body="geometry/body.html.j2", tables=[t for t in (_ways(v), _learned(v)) if t],
        context={
            "rows": _rows(run), "crossings": [(kind_words(run, c), c) for c in v.crossings], "said": sentences(run),
            "crisp": is_small(run.manifest.world["data"]["shape"]), "threat": _threat(run), "plots": _plots(run),
            "angles": _angles(run), "subspace": v.subspace, "features": _learned(v), "examples": _examples(run),
        },
    )  # fmt: skip


def _threat(run: Inspected) -> ThreatWords:
    return ThreatWords(run.config.threat or "", run.manifest.world["model"]["bounds"])


def _plots(run: Inspected) -> dict[str, Any]:
    v, parts = run.verdict, run.parts
    return {
        "distances": charts.distances(parts["rows"], parts["boundary"]) if v.boundary else None,
        "curvature": charts.curvature(v.curvature),
        "energy": charts.energy(v.spectrum) if v.spectrum else None,
    }


def _angles(run: Inspected) -> Any:
    if not run.verdict.angles:
        return None
    made = run.parts["angles"]
    return charts.cosines(made["cosine"], made["random"])


# ------------------------------------------------------------------ tables


def _ways(v: GeometryVerdict) -> Table:
    return Table(["Ways", "Cross within the threat", "95 %", "First at"], [_way(c) for c in v.crossings], "Boundaries")


def _way(c: Crossing) -> list[str]:
    first = "–" if c.first is None else f"{percent(c.first)} of the way"
    return [c.kind, percent(c.crossed.share), interval(c.crossed.interval), first]


def _learned(v: GeometryVerdict) -> Table | None:
    head = ["Learned from", "Rows", "Believed", "Clean accuracy", "95 %", "Chance", "p, labels independent"]
    return Table(head, [_lesson(f) for f in v.features], "Features, not bugs") if v.features else None


def _lesson(f: Feature) -> list[str]:
    words = {
        "random": "examples towards random classes",
        "shifted": "examples towards the next class",
        "control": "clean rows with the random labels",
    }
    return [
        words[f.kind], count(f.rows), percent(f.believed.share), percent(f.accuracy.share),
        interval(f.accuracy.interval), percent(f.chance), number(f.dependence),
    ]  # fmt: skip


# ------------------------------------------------------------------ pictures


def _rows(run: Inspected) -> list[Through]:
    drawn = [(name, s) for name, s in zip(_names(run), run.verdict.slices, strict=True)]
    rows = list(dict.fromkeys(s.row for _, s in drawn))
    return [_through(run, row, [(name, s) for name, s in drawn if s.row == row]) for row in rows]


def _names(run: Inspected) -> list[str]:
    return [name for name in run.parts if name.startswith("slices/")]


def _through(run: Inspected, row: int, drawn: list[tuple[str, SliceRecord]]) -> Through:
    known, parts = run.parts["rows"], [(run.parts[name], s) for name, s in drawn]
    place = known["at"].tolist().index(row)
    found = sorted({y for c, _ in parts for y in c["label"].flatten().tolist()})
    first, shade = parts[0][0], colours(found)
    slopes = run.verdict.boundary is not None
    return Through(
        row=row, label=_class(run, int(known["y"][place])), prediction=_class(run, int(known["prediction"][place])),
        original=_picture(run, first["x"]), adversarial=_picture(run, first["x"] + first["u"]) if slopes else "",
        windows=[Window(_axes(run, s, slopes), data_uri(painted(c, shade), _NO_WIDER), _cost(s)) for c, s in parts],
        legend=[("rgb({}, {}, {})".format(*shade[y]), _class(run, y)) for y in found],
    )  # fmt: skip


def _class(run: Inspected, y: int) -> str:
    names = run.manifest.world["data"]["class_names"]
    return "not asked" if y < 0 else names[y] if names else str(y)


def _axes(run: Inspected, s: SliceRecord, slopes: bool) -> str:
    first = "adversarial" if slopes else "random"
    second = {"against": f"adversarial for {_other(run)}"}.get(s.second, s.second)
    return f"{first} × {second}"


def _other(run: Inspected) -> str:
    return str(run.manifest.world.get("against", {}).get("name", ""))


def _cost(s: SliceRecord) -> str:
    return f"{count(s.forwards)} of {count(s.points)} points asked"


def _picture(run: Inspected, x: Any) -> str:
    if not is_image(tuple(x.shape)):
        return ""
    low, high = run.manifest.world["model"]["bounds"]
    return data_uri(picture(scaled(x.numpy(), low, high)))


def _examples(run: Inspected) -> list[Example]:
    name = "features/random"
    if name not in run.parts:
        return []
    c: Columns = run.parts[name]
    before, after = unpack_inputs(c["shown_before"]), unpack_inputs(c["shown"])
    return [
        Example(_picture(run, b), _picture(run, a), _class(run, y), _class(run, t))
        for b, a, y, t in zip(before, after, c["y"].tolist(), c["target"].tolist(), strict=False)
    ]
