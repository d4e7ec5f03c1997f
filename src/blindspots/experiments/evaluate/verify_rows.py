"""What is looked at of a shard whose run is proved again: outcomes, costs, distances, and the model's answers."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blindspots.ball import Ball
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.verdict import OUTCOMES, PROOFS, SHARD, TABLES, TEXTS, VALUES, WATCHED
from blindspots.experiments.evaluate.verify_convex import Ground
from blindspots.experiments.evaluate.verify_exact import refuted
from blindspots.experiments.evaluate.verify_shard import Problems, Scores, Shard
from blindspots.records import NO_TARGET
from blindspots.runs.again import EDGE, NORM_ROUNDING, SLACK, UNIT_ROUNDOFF
from blindspots.runs.experiment import Columns

Array = NDArray[Any]
SAMPLE, SECONDS = 4, 10.0  # rows of a shard whose bounds are proved again, and for how long at most for each class
STOOD, WON, ALREADY_WRONG, NONFINITE, ALREADY_TARGET, IMMOVABLE, PROVED = 0, 1, 2, 4, 6, 10, 11
SAME = 1e-6  # of a distance that is proved to be the smallest


def targeted(config: Batched) -> bool:
    """Whether every stage of the manifest counts nothing but its target classes."""
    return bool(config.stages) and all("objective=Objective(targeted=True" in stage for stage in config.stages)


def proves(config: Batched) -> bool:
    """Whether a stage of the manifest asks a solver."""
    return any("attack=Exact(" in stage for stage in config.stages)


def _one_class(config: Batched) -> int | None:
    """The class that the manifest names as the target of all rows, if it names one."""
    named = {found[1] for stage in config.stages if (found := re.search(r"targets=OneClass\(number=(\d+)\)", stage))}
    return int(named.pop()) if len(named) == 1 and targeted(config) else None


def shape_problems(
    name: str,
    rows: int,
    columns: Columns,
    stages: int,
    shape: tuple[int, ...],
    measures: int | None,
    checks: int | None,
    proofs: bool,
    rules: int | None = None,
    watched: bool = False,
) -> Problems:
    """Whether a shard has all its columns, of the right sizes and types, and they name the same rows.

    `measures`: how many a goal reports that does not classify; `checks`: how many are made of changed texts;
    `proofs`: whether a solver was asked; `rules`: of a table of which an attack ignored them;
    `watched`: by a guard of queries.
    """
    expected_columns = SHARD | (VALUES if measures is not None else {}) | (TEXTS if checks is not None else {})
    expected_columns |= (PROOFS if proofs else {}) | (TABLES if rules is not None else {})
    expected_columns |= WATCHED if watched else {}
    if set(columns) != set(expected_columns):
        yield f"expected the columns {sorted(expected_columns)} in {name}, found {sorted(columns)}"
        return
    if len(columns["id"]) != rows:
        yield f"expected {rows} rows in {name}, found {len(columns['id'])}"
        return
    sizes = {"n": rows, "k": len(columns["broken"]), "stages": stages, "m": measures or 0, "checks": checks or 0}
    sizes |= {"g": len(columns["ignoring_rows"]) if rules is not None else 0, "rules": rules or 0}
    sizes["q"] = len(columns["shared"]) if watched else 0
    sizes["s"] = len(columns["path_of"]) if checks is not None else 0
    for column, text in expected_columns.items():
        found, kind = tuple(columns[column].shape), str(columns[column].dtype).removeprefix("torch.")
        of_any_shape = {"truth": found[1:], "measure_names": found, "lattices": found}
        expected, dtype = _declared(text, sizes, of_any_shape.get(column, shape))
        if found != expected or kind not in dtype:
            yield f"expected {column} in {name} as {' or '.join(dtype)} {expected}, found {kind} {found}"
            return
    if not np.isin(columns["result"].numpy(), list(OUTCOMES)).all():
        yield f"expected results from 0 to {max(OUTCOMES)} in {name}, found others"
        return
    broken = columns["won"].nonzero()[:, 0]
    if not torch.equal(columns["broken"], broken):
        yield f"expected broken in {name} to name the {len(broken)} rows that won is true of, found other rows"


def _declared(text: str, sizes: dict[str, int], shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[str]]:
    """Shape and possible dtypes out of a line of `SHARD`, e.g. "(n,) int64 label"."""
    inside, _, after = text.removeprefix("(").partition(")")
    axes = [axis.strip() for axis in inside.split(",") if axis.strip()]
    found = [
        shape if axis == "..." else (sizes.get(axis) or int(axis) if axis.isdigit() else sizes[axis],) for axis in axes
    ]
    return tuple(n for part in found for n in part), re.findall(r"\b(?:u?int\d+|float\d+|bool)\b", after)


Look = Callable[[Shard], Problems]


def topics(
    same_model: bool, data: bool, values: bool, texts: bool = False, proofs: bool = False, table: bool = False
) -> Iterator[tuple[str, tuple[Look, ...]]]:
    """Claims about a shard, and what is looked at for each."""
    yield "outcomes, stages and costs of all rows fit together", (_outcomes, _stages, _costs)
    yield "rows that stand were searched", (_searches,)
    yield "rows that had their target from the start, and no others, are left out", (_targets,)
    if proofs:
        yield "rows count as proved where their bound says so, and no example is nearer than its bound", (_bounds,)
    if not texts:
        yield "every adversarial example lies in the box and, measured anew, within the threat", (_inside, _sizes)
    if data:
        yield "the stored inputs and labels are those of the data", (_inputs,)
    if same_model:
        yield "what the model says of every input was found again", (_clean,)
        if texts:
            yield "every adversarial text is misclassified", (_adversarial,)
        elif table:
            yield "every adversarial example is misclassified", (_adversarial,)
        else:
            yield (
                "every adversarial example is misclassified, also after rounding where that is claimed",
                (_adversarial, _rounded),
            )
        if proofs:
            yield (
                "bounds of a sample of rows were proved again, by programs that share no code with the search",
                (_proofs,),
            )
        if values:
            yield "what the goal reports of clean inputs and of the worst points was computed again", (_measures,)


def _outcomes(s: Shard) -> Problems:
    right, won, result = s["right"], s["won"], s["result"]
    right_first = result != ALREADY_WRONG
    says = ~right_first | (result == NONFINITE) | (result == ALREADY_TARGET)
    yield from s.told(s["id"] != s.id, s.id, "rows in the order of the data", "another number")
    yield from s.told(won & ~right, s.id, "only rows that were right at first to be broken", "a wrong one")
    yield from s.told(
        right & (s["prediction"] != s["y"]), s.id, "right rows to be predicted as labelled", "another class"
    )
    yield from s.told(won != (result == WON), s.id, "won where the result says so", "a contradiction")
    yield from s.told(~right & ~says, s.id, "rows that were wrong at first to say so", "another result")
    yield from s.told(right & ~right_first, s.id, "right rows not to count as wrong at first", "a contradiction")
    if not proves(s.config):
        yield from s.told(result == PROVED, s.id, "no proofs where no solver was asked", "one")
    margin = s["margin"]
    yield from s.told(won & ~(margin < 0), s.id, "the margin of a broken row below 0", "another one")
    yield from s.told(right & ~won & ~(margin >= 0), s.id, "the margin of a row that stands at least 0", "another one")


def _searches(s: Shard) -> Problems:
    """A row that stands after a search has cost one: a look at it and two more, and there was room to look in."""
    stood, draws = s["result"] == STOOD, s.config.draws or 1
    unpaid = s["forwards"] < 3 * draws
    yield from s.told(stood & unpaid, s.id, "a search of the rows that stand", "no look of an attack")
    if s.threat.radius == 0:
        yield from s.told(stood, s.id, "no search where nothing may change", "one")
    entered = int(s["stage_counts"][:, 0].sum())
    if entered < stood.sum():
        yield f"expected the {stood.sum()} rows that stand to have entered a stage, found {entered} ({s.name})"


def _bounds(s: Shard) -> Problems:
    lower, stands = s["lower"], s["right"] & ~s["won"]
    radius = np.inf if s.threat.radius is None else float(s.threat.radius)
    proved = stands & ((lower > radius) | np.isposinf(lower)) & (s["result"] != NONFINITE)
    yield from s.told(~(lower >= 0), s.id, "bounds of at least 0", "others")
    yield from s.told(proved != (s["result"] == PROVED), s.id, "proved where the bound says so", "a contradiction")
    nearer = s["won"] & ~(lower <= s["norm"] * (1 + SAME))
    yield from s.told(nearer, s.id, "no adversarial example nearer than its bound", "one")
    yield from s.told(~(s["exact"] >= lower), s.id, "bounds no larger than without any rounding", "larger ones")
    yield from s.told(
        s["minimal"] != _minimal(s), s.id, "minimal where the distance is the smallest", "a contradiction"
    )


def _minimal(s: Shard) -> Array:
    """Rows (n,) whose example is as near as it can be, a float32 step in every feature that it changes aside."""
    x, point, at = _flat(s.of_broken(s.x.numpy())), _flat(s["nearest"]), s["broken"]
    away = np.float32(np.inf) * np.where(point < 0, -1, 1).astype(np.float32)
    larger = np.where(np.abs(x) > np.abs(point), np.copysign(x, point), point)
    step = np.where(point != x, np.abs(np.nextafter(larger, away).astype(np.float64) - larger), 0)
    unit = 1.0 if s.ball.unit is None else np.broadcast_to(s.ball.unit.numpy(), s.x.shape[1:]).reshape(1, -1)
    room = np.linalg.norm(step / unit, s.ball.p, axis=1) if s.ball.p else np.zeros(len(at))
    found = np.zeros(len(s), bool)
    found[at] = s["norm"][at] <= s["exact"][at] * (1 + SAME) + room
    return found


def _proofs(s: Shard) -> Problems:
    """The bound of a few rows, as far as the threat reaches, by another way."""
    radius = np.inf if s.threat.radius is None else float(s.threat.radius)
    lower = np.minimum(s["lower"], np.floor(radius) + 1 if s.ball.p == 0 else radius)
    known = np.flatnonzero(s["right"] & (lower > 0))
    for i in known[:: max(1, len(known) // SAMPLE)][:SAMPLE]:
        exact = float(s["exact"][i])
        y = int(s["y"][i]) if s.reader is None else s.reader.sides(s["truth"][i], s.clean_outputs[i])
        found = refuted(s.model, s.x[i], _ground(s, i), y, float(lower[i]), exact, SECONDS)
        s.again += found is not None
        s.undecided += found is None
        if found:
            said = f"{lower[i]:g} to be a bound of row {s.id[i]}, and {exact:g} its distance"
            yield f"expected {said}, found others ({s.name})"


def _ground(s: Shard, i: int) -> Ground:
    """Where a row may go, in float64."""
    shape = s.x[i].shape

    def flat(values: Any) -> Array:
        return np.broadcast_to(np.asarray(values), shape).reshape(-1).astype(np.float64)

    x, (lo, hi) = s.x[i].numpy(), (np.asarray(bound, np.float32) for bound in s.ball.whole)
    free = True if s.ball.where is None else s.ball.where.numpy()
    unit = 1.0 if s.ball.unit is None else s.ball.unit.numpy()
    ground = Ground(s.ball.p, flat(x), flat(np.where(free, lo, x)), flat(np.where(free, hi, x)), flat(unit))
    if (told := getattr(s, "table", None)) is None:
        return ground
    low, high = told.narrowed(ground.x, ground.lo, ground.hi)
    whole = told.steps.any() or told.categories
    return replace(ground, lo=low, hi=high, step=told.steps if whole else None, groups=told.categories)


def _targets(s: Shard) -> Problems:
    target, result = s["target"], s["result"]
    left_out = result == ALREADY_TARGET
    if not targeted(s.config):
        yield from s.told(left_out | (target != NO_TARGET), s.id, "no targets in a run without them", "one")
        return
    had = (target == s["prediction"]) | (target == s["y"])
    had &= (target != NO_TARGET) & (result != NONFINITE)
    yield from s.told(left_out != had, s.id, "rows left out where they had their target", "a contradiction")
    other = s["adversarial_prediction"] != s.of_broken(target)
    yield from s.told(other, s.of_broken(s.id), "adversarial examples that are taken for their target", "another class")
    if (named := _one_class(s.config)) is not None:
        yield from s.told(target != named, s.id, f"the target {named} that the manifest names", "another class")


def _stages(s: Shard) -> Problems:
    stage, counts = s["stage"], s["stage_counts"]
    known = (stage >= 0) & (stage < len(counts))
    yield from s.told(s["won"] & ~known, s.id, "the stage that broke the row", "none")
    yield from s.told(~s["won"] & (stage != -1), s.id, "no stage where nothing was broken", "one")
    for i, (entered, won, *_) in enumerate(counts.tolist()):
        broken = int((stage == i).sum())
        if won != broken:
            yield f"expected {broken} rows of stage {i}, as their column says, found {won} in its counts ({s.name})"
        if not won <= entered <= s["right"].sum():
            yield f"expected {won} to {s['right'].sum()} rows to enter stage {i}, found {entered} ({s.name})"


def _costs(s: Shard) -> Problems:
    """One look at every clean input, of as many answers as are averaged, and what the stages cost."""
    yield from s.told(s["forwards"] < 1, s.id, "at least one forward", "less")
    yield from s.told(s["backwards"] < 0, s.id, "no less than 0 backwards", "less")
    stages = s["stage_counts"].sum(0)
    for name, expected in (
        ("forwards", len(s) * (s.config.draws or 1) + int(stages[2])),
        ("backwards", int(stages[3])),
    ):
        found = int(s[name].sum())
        if found != expected:
            yield f"expected {expected:,} {name} of all rows, as the stages count them, found {found:,} ({s.name})"
    if (s["unbilled"] < 0).any() or (s["stage_counts"] < 0).any():
        yield f"expected counts of at least 0, found a negative one ({s.name})"


def _inside(s: Shard) -> Problems:
    clean, id = s.of_broken(s.x.numpy()), s.of_broken(s.id)
    for name in ("adversarial", "nearest"):
        yield from _within(s, name, s[name], clean, id)


def _within(s: Shard, name: str, points: Array, clean: Array, id: Array) -> Problems:
    """Whether points (m, ...) lie in the box and in the threat around their clean inputs."""
    lo, hi = (np.asarray(bound, dtype=np.float32) for bound in s.ball.whole)
    yield from s.told(~np.isfinite(_flat(points)).all(1), id, f"finite numbers in {name}", "others")
    out = ~_flat((points >= lo) & (points <= hi)).all(1)
    yield from s.told(out, id, f"{name} within {s.ball.box_words}", "values outside")
    size = s.threat.measured(points, clean)
    yield from s.told(np.isinf(size), id, f"{name} changed only where it may be", "other values changed")
    if s.threat.radius is not None:
        far = ~(size <= _reach(s.ball, points, clean))
        furthest = f"a distance of up to {size.max(initial=0):.9g}"
        yield from s.told(far, id, f"{name} within {s.threat.spec}", furthest)


def _reach(threat: Ball, x: Array, clean: Array) -> Array:
    """How far float32 may be away: (m,). A count needs no slack; units round on the way there and back."""
    radius, roundings = float(threat.radius or 0), 1 if threat.unit is None else 4
    within = np.where(np.ones(1, dtype=bool) if threat.where is None else threat.where.numpy(), x, 0)
    # Around the clean rows, so that a share of these is a share of them, and without what no change comes near.
    size = replace(threat, padding=None).measured(clean + within, clean)
    slack = 0.0 if threat.name == "l0" else radius * SLACK + roundings * UNIT_ROUNDOFF * size
    reach: Array = np.broadcast_to(np.asarray(radius + slack), len(x))
    return reach


def _flat(x: Array) -> Array:
    return x.reshape(len(x), math.prod(x.shape[1:]))  # -1 would not do for no rows


def _sizes(s: Shard) -> Problems:
    clean, id, stored = s.of_broken(s.x.numpy()), s.of_broken(s.id), s.of_broken(s["norm"])
    size = s.threat.measured(s["nearest"], clean)
    yield from s.told(~s["won"] & ~np.isposinf(s["norm"]), s.id, "no distance where nothing was broken", "one")
    wrong = ~(np.abs(stored - size) <= NORM_ROUNDING * size)
    yield from s.told(wrong, id, "the stored distance to be that of the nearest example", "another one")
    if s.threat.radius is None:
        other = _flat(s["nearest"] != s["adversarial"]).any(1)
        yield from s.told(other, id, "the nearest example alone in an unbounded threat", "two")
    further = ~(size <= s.threat.measured(s["adversarial"], clean) * (1 + NORM_ROUNDING))
    yield from s.told(further, id, "no adversarial example nearer than the nearest", "one")


def _inputs(s: Shard) -> Problems:
    assert s.data is not None
    x, y = s.data.rows(s.start, s.start + len(s))
    other = (x != s.x).flatten(1).any(1).numpy()
    yield from s.told(other, s.id, "the inputs of the data", "others")
    told = s["y"] if s.reader is None else s["truth"]
    other = np.asarray(_flat(y.numpy() != told).any(1))
    yield from s.told(other, s.id, "the labels of the data" if s.reader is None else "the values of the data", "others")


def _clean(s: Shard) -> Problems:
    scores = s.scores
    yield from s.told(~scores.fits, s.id, f"labels from 0 to {scores.classes - 1}", "others")
    yield from _same_predictions(s, scores, s.id, "prediction", "confidence" if s.reader is None else None)
    counts = np.isfinite(scores.margin)
    wrong = s["right"] != ((s["prediction"] == s["y"]) & counts)
    yield from s.told(wrong, s.id, "rows to be right where the model is", "a contradiction")
    nan = (s["result"] == NONFINITE) & ~s["right"] & counts
    yield from s.told(nan, s.id, "scores that are not finite, as the result says", "finite ones")
    rises = s["right"] & ~(s["margin"] <= scores.margin + scores.edge)
    yield from s.told(rises, s.id, "a lowest margin no higher than on the clean input", "a higher one")


def _same_predictions(s: Shard, scores: Scores, id: Array, prediction: str, confidence: str | None) -> Problems:
    same, close = scores.predicts(s[prediction])
    s.on_edge += int(close.sum())
    yield from s.told(~(same | close), id, f"the stored {prediction}", "another class")
    if confidence is not None:
        off = ~(np.abs(scores.confidence - s[confidence]) <= scores.edge + EDGE)
        finite = np.isfinite(scores.confidence) | np.isfinite(s[confidence])
        yield from s.told(off & finite, id, f"the stored {confidence}", "another number")


def _adversarial(s: Shard) -> Problems:
    id = s.of_broken(s.id)
    confidence = "adversarial_confidence" if s.reader is None else None
    yield from _same_predictions(s, s.adversarial_scores, id, "adversarial_prediction", confidence)
    for name, scores in (("adversarial", s.adversarial_scores), ("nearest", s.nearest_scores)):
        fooled, close = scores.margin < 0, np.abs(scores.margin) <= scores.edge
        s.on_edge += int((~fooled & close).sum())
        yield from s.told(~(fooled | close), id, f"{name} to be misclassified", "the label")


def _measures(s: Shard) -> Problems:
    """The worst points are looked at too: they lie in the threat, and the goal says of them what is stored."""
    assert s.reader is not None
    clean, truth = s.clean_outputs, s["truth"]
    for name, output in (("measures", clean), ("worst_measures", s.outputs(s.columns["worst"]))):
        again, stored = s.reader.measures(output, truth, clean), s[name]
        size = np.maximum(np.abs(_flat(output)).max(1, initial=0), np.abs(_flat(clean)).max(1, initial=0))
        close = np.abs(again - stored) <= 8 * EDGE * (np.abs(again) + size[:, None])
        off = ~np.all(close | (~np.isfinite(again) & ~np.isfinite(stored)), 1)
        yield from s.told(off, s.id, f"the stored {name}", "other numbers")
    yield from _within(s, "worst", s["worst"], s.x.numpy(), s.id)


def _rounded(s: Shard) -> Problems:
    yield from _same_predictions(s, s.rounded_scores, s.of_broken(s.id), "prediction_8bit", None)
