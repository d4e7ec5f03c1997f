"""What is shown of a universal run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from blindspots.experiments.universal import charts, sentences
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.sentences import Subject
from blindspots.experiments.universal.verdict import Effect, UniversalVerdict
from blindspots.pictures import is_colour, is_image, picture, picture_of_change
from blindspots.records import Share
from blindspots.report.charts import Plot
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import Change, data_uri, is_small, largest_changes, scaled
from blindspots.report.words import ThreatWords, count, interval, percent
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run

_SIDE = 320  # px of the perturbation alone
_SEVERAL = 12  # perturbations shown where there is one per class
_TABLE_CLASSES = 10  # dominant labels in the table


@dataclass(frozen=True)
class Pictured:
    """One perturbation: its picture, or its largest entries."""

    name: str
    picture: str | None
    entries: list[Change]


@dataclass(frozen=True)
class Fooled:
    """One input without and with the perturbation."""

    row: int
    label: str
    said: str
    confidence: float
    now: str
    now_confidence: float
    moved: bool
    original: str | None
    perturbed: str | None


def page(run: Run[UniversalConfig, UniversalVerdict]) -> Page:
    """The perturbation, what it does, and what the additional studies found."""
    v, s = run.verdict, _subject(run)
    cost = f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}, {sentences.passes(v.passes)}"
    return Page(
        kicker="Universal perturbation",
        headline=sentences.headline(s, v),
        text=sentences.lede(v),
        tables=[_rates(v)],
        sections=list(_sections(run)),
        template=Path(__file__).with_name("page.html.j2"),
        context=_context(run, s),
        cost=cost if v.passes else "",
    )


def _subject(run: Run[UniversalConfig, UniversalVerdict]) -> Subject:
    world, c = run.manifest.world, run.config
    names = world["data"]["class_names"] or []
    low, high = world["model"]["bounds"]
    return Subject(c, world["model"]["name"], names, ThreatWords(c.threat, (low, high)))


def _sections(run: Run[UniversalConfig, UniversalVerdict]) -> Iterator[tuple[str, str]]:
    v = run.verdict
    yield from (("perturbation", "Perturbation"), ("effect", "Effect"), ("controls", "Controls"))
    optional = {
        ("curves", "Curves"): v.against_norm or v.against_images or v.history,
        ("several", "Several"): v.several,
        ("labels", "Labels"): v.labels.edges,
        ("models", "Other models"): v.on_models,
        ("cross", "Who fools whom"): v.cross,
        ("geometry", "Geometry"): v.geometry,
    }
    yield from (section for section, shown in optional.items() if shown)


def _context(run: Run[UniversalConfig, UniversalVerdict], s: Subject) -> dict[str, object]:
    v, perturbation = run.verdict, run.parts["search"]["v"]
    shape = tuple(perturbation.shape[1:])
    plots = _plots(s, v)
    return {
        "verdict": v,
        "bounds": s.threat.bounds,
        "threat": s.threat,
        "fooled_means": sentences.fooled_means(s),
        "generalises": "" if s.was_given else sentences.generalises(v.fit.fooled, v.heldout.fooled),
        "alike": sentences.alike(v),
        "dominance": sentences.dominance(v),
        "geometry_words": [] if v.geometry is None else sentences.geometry(v.geometry),
        "factor": _factor(s, perturbation),
        "perturbations": list(_pictured(s, perturbation)),
        "strip": list(_strip(s, run.parts["shown"])),
        "effects": list(_effects(s, v)),
        "controls": sorted(v.controls.items(), key=lambda item: -item[1].share),
        "plots": plots,
        "curves": [plots[name] for name in ("norm", "images", "history") if name in plots],
        "graph": charts.graph(v.labels, s.name),
        "dominant": [(s.name(k), rows) for k, rows in v.labels.dominant[:_TABLE_CLASSES]],
        "is_image": is_image(shape),
        "is_colour": is_colour(shape),
        "is_small": is_small(shape),
    }


# ------------------------------------------------------------------ in numbers


def _rates(v: UniversalVerdict) -> Table:
    named = {
        "unseen rows": v.heldout.fooled,
        "unseen rows, not clipped": v.heldout_unclipped.fooled,
        "fit rows": v.fit.fooled,
        **{f"  {name}": rate for name, rate in v.controls.items()},
    }
    return Table(("Fooled", "Share", "95 % interval", "Rows"), [(name, *_cells(rate)) for name, rate in named.items()])


def _cells(rate: Share) -> tuple[str, str, str]:
    return percent(rate.share), interval(rate.interval), count(rate.rows)


def _plots(s: Subject, v: UniversalVerdict) -> dict[str, Plot]:
    threat = s.threat
    made = {
        "history": charts.history(v.history),
        "norm": charts.against_norm(v, threat.norm, threat.radius, threat.radius_text),
        "images": charts.against_images(v, s.config.fit or 0),
        "spectrum": None if v.geometry is None else charts.singular_values(v.geometry),
    }
    return {name: plot for name, plot in made.items() if plot is not None}


def _effects(s: Subject, v: UniversalVerdict) -> Iterator[tuple[str, str, Effect]]:
    unseen, seen = count(v.heldout.accuracy.rows, "unseen row"), count(v.fit.accuracy.rows, "row")
    others = f"{seen} more" if s.was_given else f"{seen} searched on"
    yield unseen, "kept in the box", v.heldout
    yield unseen, "as they are", v.heldout_unclipped
    yield others, "kept in the box", v.fit
    yield others, "as they are", v.fit_unclipped


# ------------------------------------------------------------------ in pictures


def _factor(s: Subject, perturbation: Tensor) -> float:
    low, high = s.threat.bounds
    return (high - low) / max(float(perturbation.abs().max()), 1e-12)


def _pictured(s: Subject, perturbation: Tensor) -> Iterator[Pictured]:
    low, high = s.threat.bounds
    drawn = is_image(tuple(perturbation.shape[1:]))
    for k, v in enumerate(perturbation[:_SEVERAL].numpy()):
        change = v / (high - low) * _factor(s, perturbation)
        yield Pictured(
            s.name(k) if s.config.per_class else "",
            data_uri(picture_of_change(change), _SIDE) if drawn else None,
            [] if drawn else largest_changes(np.zeros_like(v), v),
        )


def _strip(s: Subject, shown: Columns) -> Iterator[Fooled]:
    low, high = s.threat.bounds
    drawn = is_image(tuple(shown["x"].shape[1:]))
    for i in range(len(shown["row"])):
        said, now = int(shown["prediction"][i]), int(shown["moved_prediction"][i])
        x, moved = (scaled(shown[name][i].numpy(), low, high) for name in ("x", "moved"))
        yield Fooled(
            int(shown["row"][i]), s.name(int(shown["y"][i])),
            s.name(said), float(shown["confidence"][i]),
            s.name(now), float(shown["moved_confidence"][i]), said != now,
            data_uri(picture(x)) if drawn else None,
            data_uri(picture(moved)) if drawn else None,
        )  # fmt: skip
