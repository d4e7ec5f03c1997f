"""What a run says at its end, as data: the part of run.json that scripts rely on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from blindspots.findings import Finding
from blindspots.records import NO_TARGET, REJECTED, DataRecord, Interval, ModelRecord, Record, Share


class Stage(Record):
    """One stage of a protocol: who entered, who fell, what it cost, why it ran."""

    name: str
    attack: str  # the constructor call, e.g. "PGD(steps=10, momentum=0.75)"
    why: str
    rows: int  # rows that entered
    won: int  # rows it broke
    forwards: int
    backwards: int
    seconds: float


class Distances(Record):
    """Sizes, in the threat's own norm, of the perturbations found for rows that were right at first."""

    smallest: float
    median: float
    largest: float
    curve: list[tuple[float, float]]  # (radius, accuracy at that radius), ascending radii, at most 200 points


class Verdict(Record):
    """Counts over the rows, with all denominators; costs are sums over all rows.

    Rows that a targeted run found in their target class before anything was changed say nothing of an attack: they do
    not count, except for the clean accuracy and the costs.
    """

    rows: int
    counted: int  # rows, less those that had their target class from the start
    clean_accuracy: float  # of all rows
    clean_interval: Interval
    robust_accuracy: float  # right at first and never broken, of the rows that count
    interval: Interval
    searched: Share  # of the rows that count, those that stand after a search that ran to its end: what a gate goes by
    robust_of_right: Share  # of the rows that count and were right at first
    reached: Share | None  # in a targeted run: the target was reached, of the rows that count and were right at first
    robust_accuracy_8bit: float  # after the adversarial examples are rounded to 8 bits
    interval_8bit: Interval
    outcomes: dict[str, int]  # Result name -> rows
    distances: Distances | None  # None when nothing was broken
    forwards: int
    backwards: int
    forwards_per_row: float
    backwards_per_row: float
    forwards_unbilled: int  # padding of half-empty batches, checks and confirmations
    backwards_unbilled: int
    seconds: float
    stages: list[Stage]
    findings: list[Finding]

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, fields: Any) -> Any:
        """A verdict from before these fields: every row counted, and rows that stood were taken for searched."""
        if isinstance(fields, dict) and "counted" not in fields:
            stood, rows = fields.get("outcomes", {}).get("stood", 0), fields.get("rows", 0)
            return {**fields, "counted": rows, "searched": Share.of(stood, rows), "reached": None}
        return fields

    @property
    def unsearched(self) -> int:
        """Rows that stand although no search of theirs ran to its end."""
        return self.robust_of_right.hits - self.searched.hits

    @property
    def clean_hits(self) -> int:
        """Rows, of all, that were right at first."""
        return round(self.clean_accuracy * self.rows)


class Provenance(Record):
    """With what and where a run was made, as far as that decides its bits."""

    blindspots: str
    torch: str
    python: str
    machine: str
    device: str
    threads: int
    seed: int


class Manifest(Provenance):
    """Everything that decides the bits of a run. Resuming refuses a manifest that differs."""

    model: ModelRecord
    data: DataRecord
    threat: str  # e.g. "linf:0.15"
    protocol: str
    stages: list[str]  # repr of every stage of the protocol
    slots: int
    chunk: int
    shard_rows: int
    precision: Literal["float32", "bf16"]
    channels_last: bool
    compile: bool
    draws: int = 1  # answers of a randomised model that every look was averaged over
    limits: list[float | None]  # per row: forwards + backwards; of the run: forwards, backwards, seconds


class ShardRecord(Record):
    name: str
    rows: int
    sha256: str
    seconds: list[float]  # per stage


class Sealed(Record):
    """How the run.json of every kind of run begins. Its last field is `seal`, the SHA-256 of the rest."""

    manifest: Provenance
    command: str | None
    started: str  # ISO 8601, UTC


class RunFile(Sealed):
    """The whole of run.json."""

    manifest: Manifest
    shards: list[ShardRecord]
    verdict: Verdict | None  # None while the run is not finished
    seal: str | None


def conclude(
    shards: Iterable[Mapping[str, Any]],
    stages: Sequence[Stage],
    seconds: Sequence[Sequence[float]],
    results: Mapping[int, str],
    looked_before: tuple[int, int],
    targeted: bool = False,
) -> Verdict:
    """Count a verdict together from the columns of all shards, one after the other.

    Args:
        stages: names, attacks and reasons of the protocol's stages; their counts are filled in here.
        seconds: per shard, per stage.
        results: names of the numbers in the column `result`.
        looked_before: forwards and backwards of preflight.
        targeted: whether nothing but the target classes counted as a success.
    """
    total = Counter[str]()
    outcomes = Counter[int]()
    counts = np.zeros((len(stages), 4), dtype=np.int64)
    unbilled = np.asarray(looked_before, dtype=np.int64)
    norms = []
    had_target = next((number for number, name in results.items() if name == "already_target"), None)
    for columns in shards:
        c = {name: np.asarray(values) for name, values in columns.items() if name not in ("x", "adversarial")}
        counts_for = c["result"] != had_target
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
    rows, counted, right = total["rows"], total["counted"], total["right"]
    clean, robust = Share.of(total["clean"], rows), Share.of(right - total["broken"], counted)
    in_8bit = Share.of(right - total["broken_8bit"], counted)
    named = {results[k]: n for k, n in sorted(outcomes.items())}
    took = np.asarray(seconds, dtype=np.float64).reshape(-1, len(stages)).sum(0)
    return Verdict(
        rows=rows,
        counted=counted,
        clean_accuracy=clean.share,
        clean_interval=clean.interval,
        robust_accuracy=robust.share,
        interval=robust.interval,
        searched=Share.of(named.get("stood", 0), counted),
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
        seconds=round(float(took.sum()), 3),
        stages=[
            stage.model_copy(
                update=dict(
                    zip(
                        ("rows", "won", "forwards", "backwards", "seconds"),
                        (*map(int, n), round(float(t), 3)),
                        strict=True,
                    )
                )
            )
            for stage, n, t in zip(stages, counts, took, strict=True)
        ],
        findings=[],
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
