"""Which rows the report shows, and their pictures. The choice depends on the stored rows alone."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from blindspots.experiments.evaluate.drawn import Drawn, drawn, is_series
from blindspots.experiments.evaluate.evidence import Array, Evidence
from blindspots.experiments.evaluate.heard import Heard, audible, heard
from blindspots.experiments.evaluate.tables_shown import RowExample, row_example
from blindspots.experiments.evaluate.texts_shown import TextExample, TextStanding, text_example, text_standing
from blindspots.pictures import is_image, picture, picture_of_change
from blindspots.records import REJECTED
from blindspots.report.shown import Change, data_uri, largest_changes, scaled
from blindspots.report.words import number

_PER_GROUP = 8
_STOOD = 12


@dataclass(frozen=True)
class Example:
    """A broken row: three pictures (data URIs), a sound, lines of a series, or else the largest changes."""

    id: int
    label: str
    confidence: float
    prediction: str
    adversarial_confidence: float
    norm: float
    enough: float  # the size of the smallest change that was found for the row
    survives_8bit: bool
    factor: float  # by which the change was amplified for the picture
    original: str | None
    change: str | None
    adversarial: str | None
    changes: list[Change]
    sound: Heard | None = None
    series: Drawn | None = None


@dataclass(frozen=True)
class Group:
    title: str
    text: str
    examples: list[Example | TextExample | RowExample]


@dataclass(frozen=True)
class Standing:
    """A row that stood: its picture (None when not an image) and the lowest margin that the attacks reached."""

    id: int
    label: str
    margin: float
    confidence: float
    original: str | None


def across_classes(order: Iterable[int], y: Array) -> list[int]:
    """`order` dealt out class by class: the first of every class, then the second of every class, and so on."""
    seen: Counter[int] = Counter()
    dealt = []
    for row in order:
        dealt.append((seen[y[row]], y[row], row))
        seen[y[row]] += 1
    return [row for *_, row in sorted(dealt, key=lambda d: d[:2])]


def chosen(run: Evidence) -> list[list[int]]:
    """The broken rows to show: the most confident mistakes, the smallest changes, a spread over the classes."""
    rows = run.rows
    broken = np.flatnonzero(rows.broken)
    by_id = broken[np.argsort(rows.id[broken], kind="stable")]
    surest = -rows.adversarial_confidence if run.goal is None else rows.margin
    orders: list[Iterable[int]] = [
        by_id[np.argsort(surest[by_id], kind="stable")],
        by_id[np.argsort(rows.norm[by_id], kind="stable")],
        across_classes(by_id, rows.y),
    ]
    taken: set[int] = set()
    picks = []
    for order in orders:
        pick = [int(row) for row in order if int(row) not in taken][:_PER_GROUP]
        taken.update(pick)
        picks.append(pick)
    return picks


def gallery(run: Evidence) -> list[Group]:
    """At most 24 broken rows in three groups; a group without rows is left out."""
    surest = ("The most confident mistakes", "Wrong, and surest of it.")
    captions = (
        surest if run.goal is None else ("The largest successes", "The rows that were moved furthest."),
        ("The smallest changes", "The rows that fell to the least; the size that was enough stands last."),
        ("Across the classes", "The first rows that fell, dealt out class by class."),
    )
    picks = chosen(run)
    played = audible(run, picks)
    groups, show = zip(captions, picks, strict=True), _shown(run)
    return [
        Group(*caption, [_with_sound(run, row) if row in played else show(run, row) for row in pick])
        for caption, pick in groups
        if pick
    ]


def _shown(run: Evidence) -> Callable[[Evidence, int], Example | TextExample | RowExample]:
    """How a row is shown."""
    if run.texts:
        return text_example
    return _example if run.table is None else row_example


def standing(run: Evidence) -> list[Standing | TextStanding]:
    """Rows that stood, class by class, those that came closest to falling first."""
    rows = run.rows
    stood = np.flatnonzero(rows.stood)
    closest = stood[np.lexsort((rows.id[stood], rows.margin[stood]))]
    show = text_standing if run.texts else _standing
    return [show(run, row) for row in across_classes(closest, rows.y)[:_STOOD]]


def _standing(run: Evidence, row: int) -> Standing:
    rows, x = run.rows, run.clean(row)
    pictured = is_image(x.shape) and run.rate is None and not is_series(run)
    original = data_uri(picture(scaled(x, *_range(run, x)))) if pictured else None
    label = run.class_name(int(rows.y[row]))
    return Standing(int(rows.id[row]), label, float(rows.margin[row]), float(rows.confidence[row]), original)


def _with_sound(run: Evidence, row: int) -> Example:
    return replace(_example(run, row), sound=heard(run, row), changes=[])


def _example(run: Evidence, row: int) -> Example:
    rows, x, adversarial = run.rows, run.clean(row), run.adversarial(row)
    low, high = _range(run, x, adversarial)
    change = (adversarial - x) / (high - low)
    factor = 1 / max(float(np.abs(change).max()), 1e-12)
    series = drawn(run, row) if is_series(run) else None
    shown = series is None and is_image(x.shape) and run.rate is None
    label, prediction = (run.class_name(int(k[row])) for k in (rows.y, rows.adversarial_prediction))
    if outputs := run.outputs(row):
        label, prediction = map(number, outputs)
    return Example(
        id=int(rows.id[row]),
        label=label,
        confidence=float(rows.confidence[row]),
        prediction=prediction,
        adversarial_confidence=float(rows.adversarial_confidence[row]),
        norm=run.size(row),
        enough=float(rows.norm[row]),
        survives_8bit=bool(rows.prediction_8bit[row] not in (rows.y[row], REJECTED)),
        factor=factor,
        original=data_uri(picture(scaled(x, low, high))) if shown else None,
        change=data_uri(picture_of_change(change * factor)) if shown else None,
        adversarial=data_uri(picture(scaled(adversarial, low, high))) if shown else None,
        changes=[] if shown or series else largest_changes(x, adversarial),
        series=series,
    )


def _range(run: Evidence, *inputs: Array) -> tuple[float, float]:
    low, high = run.bounds
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return low, high
    low, high = min(float(x.min()) for x in inputs), max(float(x.max()) for x in inputs)
    return low, high if high > low else low + 1
