"""What an evaluation of a table says besides: how robust the model looked, what changed, and how plausible it is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from blindspots.engine.result import Result
from blindspots.experiments.evaluate.verdict import BrokenRule, ChangedColumn, TableVerdict
from blindspots.packing import unpack_inputs
from blindspots.records import Share
from blindspots.tables.features import Column, Features

Array = NDArray[Any]
NEIGHBOUR = 5  # the real row whose distance counts
_MOST = 4000  # real rows of a class that are compared with, the first
_USUAL = 0.95  # of real rows of the class are nearer to their neighbours than what no longer is plausible


def table_verdict(
    shards: Iterable[Mapping[str, Tensor]],
    table: Features,
    rules: Sequence[str],
    ignoring: Sequence[int],
    classes: bool,
) -> TableVerdict:
    """Count together from the columns of all shards.

    Args:
        rules: what each column of "ignoring_kept" is about.
        ignoring: the numbers of the stages that ignore the rules.
        classes: the model classifies; else all rows are of one kind.
    """
    parts = [_Part({name: _array(name, t) for name, t in columns.items()}, ignoring) for columns in shards]
    counted, right = (sum(getattr(part, name) for part in parts) for name in ("counted", "right"))
    kept = np.concatenate([part.kept(len(rules)) for part in parts])
    clean, y = (np.concatenate([part.c[name] for part in parts]) for name in ("x", "y"))
    before = np.concatenate([part.c["x"][part.c["broken"]] for part in parts])
    after = np.concatenate([part.c["adversarial"] for part in parts])
    said = np.concatenate([part.c["adversarial_prediction"] for part in parts])
    far = plausibility(table, clean, y, after, said) if classes else plausibility(table, clean, 0 * y, after, 0 * said)
    judged = far[np.isfinite(far)]
    ran = bool(ignoring)
    return TableVerdict(
        looked=Share.of(right - sum(part.fell for part in parts), counted) if ran else None,
        ball=Share.of(right - len(kept), counted) if ran else None,
        possible=Share.of(int(kept.all(1).sum()), len(kept)) if ran else None,
        rules=tuple(
            BrokenRule(rule=rule, rows=int(n)) for rule, n in zip(rules, (~kept).sum(0), strict=True) if n
        ),
        columns=tuple(_changes(table, before, after)),
        plausible=Share.of(int((judged <= _USUAL).sum()), len(judged)),
        plausibility=float(np.median(judged)) if len(judged) else None,
    )  # fmt: skip


class _Part:
    """One shard."""

    def __init__(self, c: Mapping[str, Array], ignoring: Sequence[int]) -> None:
        self.c, counts = c, c["result"] != Result.ALREADY_TARGET
        self.counted, self.right = int(counts.sum()), int((c["right"] & counts).sum())
        self.fell = int((c["won"] & np.isin(c["stage"], ignoring)).sum())

    def kept(self, rules: int) -> Array:
        """Which rules every example of the attack that ignores them keeps."""
        return self.c.get("ignoring_kept", np.zeros((0, rules), bool))


def _array(name: str, t: Tensor) -> Array:
    found: Array = (unpack_inputs(t) if name == "x" else t).numpy()
    return found


def _changes(table: Features, before: Array, after: Array) -> Iterable[ChangedColumn]:
    """The columns that changed in any row, those of most rows first."""
    found = [_change(name, column, before[:, p], after[:, p]) for (name, column), p in _placed(table)]
    return sorted((one for one in found if one.rows), key=lambda one: (-one.rows, one.name))


def _placed(table: Features) -> Iterable[tuple[tuple[str, Column], slice]]:
    return zip(table.columns.items(), table.places.values(), strict=True)


def _change(name: str, column: Column, before: Array, after: Array) -> ChangedColumn:
    moved = (before != after).any(1)
    rows = int(moved.sum())
    if column.type == "category":
        pairs = Counter(zip(before[moved].argmax(1).tolist(), after[moved].argmax(1).tolist(), strict=True))
        (old, new), _ = max(pairs.items(), key=lambda p: (p[1], p[0])) if pairs else ((0, 0), 0)
        return ChangedColumn(name=name, rows=rows, usual=f"{column.words[old]} → {column.words[new]}")
    by = after[moved, 0].astype(np.float64) - before[moved, 0]
    median = float(np.median(np.abs(by))) if rows else 0.0
    return ChangedColumn(name=name, rows=rows, median=median, ups=int((by > 0).sum()), unit=column.unit)


def plausibility(table: Features, clean: Array, y: Array, points: Array, said: Array) -> Array:
    """How far each point (m, D) is from real rows of the class that it is taken for, as a quantile: (m,) in [0, 1].

    The distance to the `NEIGHBOUR`-th nearest real row of that class, among such distances of its real rows: 0.5 is as
    far as a usual one, 1 further than all. Distances are Euclidean, with numbers in standard deviations and categories
    1 apart. NaN where a class has too few rows.
    """
    unit = units(table, clean)
    far = np.full(len(points), np.nan)
    for label in np.unique(said):
        real = clean[y == label][:_MOST] / unit
        at = np.flatnonzero(said == label)
        if len(real) > NEIGHBOUR:
            tree = cKDTree(real)
            usual = np.sort(_furthest(tree, real, NEIGHBOUR + 1))  # the nearest is the row itself
            own = _furthest(tree, points[at] / unit, NEIGHBOUR)
            far[at] = np.searchsorted(usual, own * (1 - 1e-9), side="right") / len(usual)
    return far


def _furthest(tree: cKDTree, points: Array, count: int) -> Array:
    """The distance to the last of so many neighbours: (m,)."""
    found: Array = np.asarray(tree.query(points, count)[0])[:, -1]
    return found


def units(table: Features, clean: Array) -> Array:
    """What counts as 1 in every input: (D,) float64."""
    spread = clean.astype(np.float64).std(0)
    unit: Array = np.where(spread > 0, spread, 1.0)
    for (_, column), place in _placed(table):
        if column.type == "category":
            unit[place] = np.sqrt(2)
    return unit
