"""From the columns of all shards to a verdict: what is counted, and over which rows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from blindspots.engine.result import Result
from blindspots.experiments.evaluate.verdict import OUTCOMES, Distances, EvaluateVerdict, Measure, Spread, Stage
from blindspots.packing import unpacked_text
from blindspots.records import NO_TARGET, REJECTED, Share

_INPUTS = ("x", "adversarial", "nearest", "worst")


def conclude(
    shards: Iterable[Mapping[str, Any]],
    stages: Sequence[Stage],
    looked_before: tuple[int, int],
    targeted: bool = False,
) -> EvaluateVerdict:
    """Count a verdict together from the columns of all shards, one after the other.

    Args:
        stages: names, attacks and reasons of the protocol's stages; their counts are filled in here.
        looked_before: forwards and backwards of preflight.
        targeted: whether nothing but the target classes counted as a success.
    """
    total = Counter[str]()
    outcomes = Counter[int]()
    counts = np.zeros((len(stages), 4), dtype=np.int64)
    unbilled = np.asarray(looked_before, dtype=np.int64)
    norms, before, after = [], [], []
    measures: list[str] = []
    forwarded: int | None = None
    proofs = 0
    for columns in shards:
        c = {name: np.asarray(values) for name, values in columns.items() if name not in _INPUTS}
        counts_for = c["result"] != Result.ALREADY_TARGET
        total["rows"] += len(c["id"])
        total["counted"] += int(counts_for.sum())
        total["clean"] += int(c["right"].sum())
        total["right"] += int((c["right"] & counts_for).sum())
        total["broken"] += int(c["won"].sum())
        total["broken_8bit"] += int(_fools(c["prediction_8bit"], c["y"][c["broken"]], c["target"][c["broken"]]).sum())
        total["forwards"] += int(c["forwards"].sum())
        total["backwards"] += int(c["backwards"].sum())
        unbilled += c["unbilled"]
        outcomes.update(c["result"].tolist())
        counts += c["stage_counts"]
        norms.append(c["norm"][c["won"]])
        if "lower" in c:
            proofs += 1
            total["minimal"] += int((c["minimal"] & c["won"]).sum())
        if "forwarded" in c:
            forwarded = (forwarded or 0) + int(c["forwarded"][0])
            total["valid"] += int(c["valid"].sum())
        if "measure_names" in c:
            measures = unpacked_text(columns["measure_names"]).splitlines()
            before.append(c["measures"])
            after.append(c["worst_measures"])
    rows, counted, right = total["rows"], total["counted"], total["right"]
    clean, robust = Share.of(total["clean"], rows), Share.of(right - total["broken"], counted)
    in_8bit = Share.of(right - total["broken_8bit"], counted)
    named = {OUTCOMES[k]: n for k, n in sorted(outcomes.items())}
    return EvaluateVerdict(
        rows=rows,
        counted=counted,
        clean_accuracy=clean.share,
        clean_interval=clean.interval,
        robust_accuracy=robust.share,
        interval=robust.interval,
        searched=Share.of(named.get("stood", 0) + named.get("proved", 0), counted),
        robust_of_right=Share.of(right - total["broken"], right),
        reached=Share.of(total["broken"], right) if targeted else None,
        robust_accuracy_8bit=in_8bit.share,
        interval_8bit=in_8bit.interval,
        outcomes=named,
        distances=_distances(np.concatenate(norms or [np.zeros(0)]), right, counted),
        forwards=total["forwards"],
        backwards=total["backwards"],
        forwards_per_row=total["forwards"] / rows if rows else 0.0,
        backwards_per_row=total["backwards"] / rows if rows else 0.0,
        forwards_unbilled=int(unbilled[0]),
        backwards_unbilled=int(unbilled[1]),
        stages=[
            stage.model_copy(update=dict(zip(("rows", "won", "forwards", "backwards"), map(int, n), strict=True)))
            for stage, n in zip(stages, counts, strict=True)
        ],
        measures=_measures(measures, before, after),
        valid=None if forwarded is None else Share.of(total["valid"], total["broken"]),
        adjusted=None if forwarded is None else Share.of(right - total["valid"], counted),
        forwarded=forwarded,
        **(_proved(named.get("proved", 0), right - total["broken"], total, counted) if proofs else {}),
    )


def _proved(proved: int, standing: int, total: Mapping[str, int], counted: int) -> dict[str, Any]:
    """What a verdict says of proofs, from how many rows were proved and how many stand."""
    share = Share.of(proved, counted)
    return {
        "certified_accuracy": share.share,
        "certified_interval": share.interval,
        "open": standing - proved,
        "minimal": Share.of(total["minimal"], total["broken"]),
    }


def _measures(names: Sequence[str], before: list[Any], after: list[Any]) -> tuple[Measure, ...]:
    """From the columns (n, m) of all shards, of the clean inputs and of the worst points."""
    if not names:
        return ()
    columns = (np.concatenate(parts).T for parts in (before, after))
    return tuple(
        Measure(name=name, clean=spread(clean), worst=spread(worst))
        for name, clean, worst in zip(names, *columns, strict=True)
    )


def spread(values: Any) -> Spread:
    """Of the numbers that are finite; zeros where there are none."""
    finite = values[np.isfinite(values)].astype(np.float64)
    finite = finite if len(finite) else np.zeros(1)
    return Spread(
        mean=float(finite.mean()),
        root_mean_square=float(np.sqrt(np.square(finite).mean())),
        median=float(np.median(finite)),
        high=float(np.quantile(finite, 0.95)),
        largest=float(finite.max()),
    )


def _fools(prediction: Any, y: Any, target: Any) -> Any:
    """A wrong class was predicted, or the target where there is one: to be rejected is no success."""
    wrong = (prediction != y) & (prediction != REJECTED)
    return wrong & ((target == NO_TARGET) | (prediction == target))


def _distances(norms: Any, right: int, rows: int) -> Distances | None:
    """Accuracy falls by one row at every distance found; at most 200 of these steps are kept."""
    if not len(norms):
        return None
    norms = np.sort(norms)
    left = (right - np.searchsorted(norms, norms, side="right")) / rows
    kept = np.unique(np.linspace(0, len(norms) - 1, 200).round().astype(int))
    curve = [(0.0, right / rows), *((float(norms[i]), float(left[i])) for i in kept)]
    return Distances(smallest=float(norms[0]), median=float(np.median(norms)), largest=float(norms[-1]), curve=curve)
