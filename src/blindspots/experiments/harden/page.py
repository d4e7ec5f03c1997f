"""What is shown of a hardening run."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blindspots.experiments.evaluate.drawn import is_series
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.gallery import gallery, standing
from blindspots.experiments.harden import charts, words
from blindspots.experiments.harden.card import no_promises, settings
from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.harden.export import program_file
from blindspots.experiments.harden.verdict import Compared, HardenVerdict, Study
from blindspots.pictures import is_colour, is_image, picture, picture_of_change
from blindspots.records import Share
from blindspots.report.charts import Plot
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import data_uri, is_small, scaled
from blindspots.report.words import ThreatWords, count, interval, percent
from blindspots.runs.store import Run

_SIGMAS = 3  # standard deviations of a gradient that are shown at full strength
_KINDS = {
    "norm": ("Other norms", "Balls that training did not ask for."),
    "unseen attack": ("Other attacks", "Searches of other kinds; but for the spatial one, within the threat."),
    "transfer": ("Transfer", "Examples made for one of the two networks, shown to both."),
    "corruption": ("Corruptions", "No adversary: one draw at a fixed severity. Right before and after it."),
}

Hardening = Run[HardenConfig, HardenVerdict]


@dataclass(frozen=True)
class Kind:
    """The comparisons of one kind."""

    title: str
    text: str
    compared: list[Compared]


@dataclass(frozen=True)
class Gradient:
    """An input and the gradients of both networks, as pictures."""

    label: str
    original: str
    before: str
    after: str


@dataclass(frozen=True)
class Network:
    """One of those that are compared with the controls."""

    name: str
    what: str
    clean: Share
    robust: Share
    own: bool


def page(run: Hardening) -> Page:
    """Before and after, what it cost, the epochs, what it did besides, and what still fools the hardened network."""
    c, v, world = run.config, run.verdict, run.manifest.world
    threat = ThreatWords(c.threat, tuple(world["model"]["bounds"]))
    after, shape = Evidence(run.parts.run("after")), tuple(world["data"]["shape"])
    timing = run.log.timing.get("training", {})
    history, kinds, gradients = charts.history(v), _kinds(v.study), list(_gradients(run))
    claim = words.claim_in_words(v)
    sections = [
        ("price", "Cost"), ("radius", "Radius"), *([("history", "Training")] if history else []),
        *([("studies", "Beyond")] if kinds else []), *([("controls", "Controls")] if claim else []),
        *([("gradients", "Gradients")] if gradients else []), ("gallery", "Still fooled"), ("promises", "Limits"),
    ]  # fmt: skip
    return Page(
        kicker="Hardening report",
        headline=words.headline(str(world["model"]["name"]), v),
        text=words.lede(v, threat),
        tables=[_numbers(v)],
        sections=sections,
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "verdict": v,
            "tested": run.parts.run("before").manifest.world["data"],
            "threat": threat,
            "radius": _radius(v, threat),
            "history": history,
            "overfitting": words.overfitting(v),
            "kinds": kinds,
            "networks": list(_networks(v)),
            "claim": claim,
            "groups": gallery(after),
            "standing": standing(after),
            "gradients": gradients,
            "alignment": "" if v.study is None else words.alignment_in_words(v.study),
            "price": words.price(v, timing, run.seconds),
            "no_promises": no_promises(c, v, run.parts.run("before").manifest.world["data"]["name"]),
            "recipe": list(settings(c.settings)),
            "findings_after": [f for f in v.after.findings if f not in v.findings],
            "texts": after.texts,
            "program": program_file(after.texts),
            "is_image": is_image(shape) and not is_series(after),
            "is_series": is_series(after),
            "is_colour": is_colour(shape),
            "is_small": is_small(shape),
        },
        cost=f"{count(v.epochs, 'epoch')} of training" + (f", each {words.ratio(timing)}" if timing else ""),
    )


def _numbers(v: HardenVerdict) -> Table:
    rows = [
        (n.name if n.own else f"{n.name} alone", percent(n.clean.share), percent(n.robust.share),
         interval(n.robust.interval))
        for n in _networks(v)
    ]  # fmt: skip
    return Table(("", "Right at first", "Robust", "95 % interval"), rows)


def _radius(v: HardenVerdict, threat: ThreatWords) -> Plot:
    return charts.within_radius(v, threat) if v.study is None else charts.against_radius(v.study, threat)


def _kinds(study: Study | None) -> list[Kind]:
    order = [] if study is None else sorted(study.compared, key=lambda c: [*_KINDS].index(c.kind))
    return [Kind(*_KINDS[kind], list(found)) for kind, found in groupby(order, key=lambda c: c.kind)]


def _networks(v: HardenVerdict) -> Iterator[Network]:
    for name, what, verdict in (("before", "as it was given", v.before), ("after", "hardened", v.after)):
        clean = Share.of(verdict.robust_of_right.rows, verdict.rows)
        yield Network(name, what, clean, Share.of(verdict.robust_of_right.hits, verdict.rows), True)
    for control in v.controls:
        yield Network(control.name, control.what, control.clean, control.robust, False)


def _gradients(run: Hardening) -> Iterator[Gradient]:
    world = run.manifest.world
    if "study" not in run.parts or not is_image(tuple(world["data"]["shape"])):
        return
    shown, names = run.parts["study"], world["data"]["class_names"]
    columns = [shown[name].numpy() for name in ("y", "x", "gradient_before", "gradient_after")]
    for y, x, before, after in zip(*columns, strict=True):
        label = names[int(y)] if names and 0 <= int(y) < len(names) else str(int(y))
        original = data_uri(picture(scaled(x, *world["model"]["bounds"])))
        yield Gradient(label, original, _pictured(before), _pictured(after))


def _pictured(gradient: NDArray[np.float32]) -> str:
    """At full strength from three standard deviations on."""
    return data_uri(picture_of_change(gradient / max(_SIGMAS * float(np.std(gradient)), 1e-30)))
