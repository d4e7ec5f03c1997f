"""What every chart of the study shows on this model, in a sentence each."""

from typing import Any

from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.geometry.verdict import (
    KIND_WORDS,
    Correlation,
    Crossing,
    Curvature,
    Feature,
    GeometryVerdict,
    Transfer,
)
from blindspots.report.words import ThreatWords, count, interval, number, percent
from blindspots.runs.store import Run

Inspected = Run[GeometryConfig, GeometryVerdict]
_LEVEL = 0.05


def other_name(run: Inspected) -> str:
    """The second model."""
    return str(run.manifest.world.get("against", {}).get("name", ""))


def kind_words(run: Inspected, c: Crossing) -> str:
    """A kind of ways."""
    return f"adversarial for {other_name(run)}" if c.kind == "against" else KIND_WORDS[c.kind]


def answer(run: Inspected) -> str:
    """Where boundaries are, on this model."""
    by = {c.kind: c.crossed for c in run.verdict.crossings}
    within = ThreatWords(run.config.threat or "", run.manifest.world["model"]["bounds"]).text
    random = f"{percent(by['random'].share)} of random directions"
    if "adversarial" not in by:
        return f"Within {within}, {random} cross a decision boundary"
    adversarial = f"{percent(by['adversarial'].share)} of adversarial directions"
    return f"Within {within}, {adversarial} cross a decision boundary, {random}"


def text(run: Inspected) -> str:
    """How it was measured."""
    v = run.verdict
    asked, points = sum(s.forwards for s in v.slices), sum(s.points for s in v.slices)
    drawn = f" Slices took {count(asked)} forwards of the {count(points)} of full grids." if v.slices else ""
    return (
        f"Measured on {count(v.rows, 'row')} by lot, around what the model takes them for, right or wrong. Pictures "
        f"show single rows and prove nothing: the shares below are those of all rows.{drawn}"
    )


def sentences(run: Inspected) -> dict[str, str]:
    """By chart; of those that there are."""
    v = run.verdict
    told = {"ways": _of_ways(run), "distances": _of_distances(v), "curvature": _of_curvature(v.curvature)}
    told |= {"energy": _of_energy(v), "subspace": _of_subspace(v), "angles": _of_angles(run)}
    return told | {"features": _of_features(v.features)}


def _of_ways(run: Inspected) -> str:
    by = {c.kind: c for c in run.verdict.crossings}
    rows = by["rows"].crossed
    towards = f"{percent(rows.share)} of ways towards the nearest row of another class cross one within the radius"
    if "universal" not in by:
        return f"Of random directions {percent(by['random'].crossed.share)} cross a boundary; {towards}."
    return (
        f"Of ways in one direction for all rows {percent(by['universal'].crossed.share)} cross a boundary, of random "
        f"ones {percent(by['random'].crossed.share)}; {towards}. The universal direction is the mean of the ways to "
        "adversarial examples from the other half of the rows."
    )


def _of_distances(v: GeometryVerdict) -> str:
    b = v.boundary
    if b is None or b.median is None:
        return ""
    c = b.confidence
    said = "Surer rows are farther from it" if c.value > 0 else "Surer rows are not farther from it"
    if c.p > _LEVEL:
        said = "Confidence says nothing about it that chance would not"
    return f"In l2 the nearest boundary lies at {number(b.median)} (median). {said}: {_rank(c)}."


def _rank(c: Correlation) -> str:
    within = "" if c.interval is None else f", 95 % interval {number(c.interval[0])} to {number(c.interval[1])}"
    return f"rank correlation {number(c.value)}{within}, p = {number(c.p)} on {count(c.rows, 'row')}"


def _of_curvature(measured: list[Curvature]) -> str:
    told = [c for c in measured if c.adversarial is not None and c.random is not None]
    if not told:
        return ""
    last = told[-1]
    faster = percent(last.more.share)
    return (
        f"Over h = {number(last.length)}, gradients turn faster along the adversarial direction than along a random "
        f"one on {faster} of the rows ({interval(last.more.interval)}). At h = {number(told[0].length)} they have not "
        f"changed at all on {percent(told[0].straight.share)} of the rows. Networks of linear pieces have no curvature "
        "but at their edges, so these numbers belong to the length h that is named."
    )


def _of_energy(v: GeometryVerdict) -> str:
    s = v.spectrum
    if s is None:
        return ""
    return (
        f"Ways to the nearest boundary from {count(s.rows, 'row')} spread over {number(s.effective)} dimensions of "
        f"{count(s.dimensions)}, random directions over {number(s.effective_random)}."
    )


def _of_subspace(v: GeometryVerdict) -> str:
    s = v.subspace
    if s is None:
        return ""
    if not s.whole.rows:
        return f"At the l2 length {number(s.length)} gradients promise no row an adversarial direction."
    return (
        f"At the l2 length {number(s.length)}, gradients promise {number(s.median)} orthogonal adversarial directions "
        f"(median), and {percent(s.share)} of the {count(s.tried)} that were tried do lead to another class; all of "
        f"them do on {percent(s.whole.share)} of the rows that have any ({interval(s.whole.interval)}). The box is "
        "left aside."
    )


def _of_angles(run: Inspected) -> str:
    a = run.verdict.angles
    if a is None:
        return ""
    told = " ".join(_of_transfer(run, t) for t in a.transfers)
    return (
        f"For the same two classes the gradients of both models have a cosine of {number(a.median)} (median), where "
        f"random directions deviate by {number(a.random)} from 0; {percent(a.above.share)} of the rows agree more than "
        f"99 % of random directions. {told}"
    )


def _of_transfer(run: Inspected, t: Transfer) -> str:
    first, second = run.manifest.world["model"]["name"], other_name(run)
    source, target = (first, second) if t.source == "model" else (second, first)
    return (
        f"Of examples that fool {source}, {percent(t.transferred.share)} fool {target} "
        f"({interval(t.transferred.interval)}, {count(t.transferred.rows, 'row')}); with the cosine this has a "
        f"{_rank(t.correlation)}."
    )


def _of_features(features: list[Feature]) -> str:
    by: dict[str, Any] = {f.kind: f for f in features}
    if not by:
        return ""
    random, control = by["random"], by["control"]
    learned = random.accuracy.interval[0] > random.chance
    said = "so what fools the model are features that generalise" if learned else "no more than guessing would"
    return (
        f"A network that saw only examples with labels by lot gets {percent(random.accuracy.share)} of clean rows "
        f"right ({interval(random.accuracy.interval)}), {said}; from clean rows with the same labels it is "
        f"{percent(control.accuracy.share)} ({interval(control.accuracy.interval)}), and chance is "
        f"{percent(random.chance)}."
    )
