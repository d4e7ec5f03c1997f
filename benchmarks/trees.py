"""Proofs for trees: how many rows are settled in which norm, in what time, and beside dtai-veritas in Linf.

Three packages are used where they are installed, all with pip install --no-deps: dtai-veritas, the peer; xgboost-cpu,
for models; ISLP, for Default, a table of 10,000 borrowers (student, balance, income).
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from benchmarks.page import Section, table
from blindspots.attacks import Exact
from blindspots.ball import L0, L1, L2, Linf
from blindspots.exact.region import Frame
from blindspots.exact.trees import TreeSolver
from blindspots.models.trees.forest import Forest
from blindspots.models.trees.scikit import read
from blindspots.models.trees.xgboost import read as read_xgboost

ROWS = 150
FEW = 12  # of models that take seconds per row


def default() -> tuple[np.ndarray, np.ndarray]:
    """Default of ISLP: student (0 or 1), balance and income, and who did not pay."""
    spec = find_spec("ISLP")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "Default.csv"
    text = spec.loader.get_data(str(path)).decode()  # type: ignore[union-attr]  # which loaders of packages have
    rows = np.genfromtxt(StringIO(text), delimiter=",", dtype=str, skip_header=1)
    x = np.column_stack([rows[:, 1] == "Yes", rows[:, 2].astype(float), rows[:, 3].astype(float)]).astype(float)
    return x, (rows[:, 0] == "Yes").astype(int)


DATA: dict[str, Callable[[], Any]] = {
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    "Default": default,
}
HEAD = ("data", "model", "trees", "leaves", "norm", "rows", "lower = upper %", "median distance", "seconds per row",
        "slowest")  # fmt: skip
AGAINST = (
    "data", "model", "rows", "seconds per row, blindspots", "dtai-veritas", "proved %, blindspots", "dtai-veritas",
    "largest difference",
)  # fmt: skip
READ = """Features are scaled to [0, 1]; two thirds of the rows are trained on, and of the others the first that the
model gets right are solved without a radius, by one process with one thread. `lower = upper`: the distance is proved to
be the smallest. At most 20,000 nodes per row, as by default. Seconds are those of the processor, as other work shared
the machine."""
PEER = """dtai-veritas bisects the radius, 25 steps or 20 seconds per row, to 1e-5 of it; here the distance is exact. It
takes a tie for an example, which is none here, so models whose scores tie, such as forests that vote, are not
compared."""


class Model(NamedTuple):
    name: str
    make: Callable[[], Any]


class Case(NamedTuple):
    data: str
    model: Model
    rows: int = ROWS  # in L0, L1 and L2; in Linf all


def xgboost() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1)


BOOSTED = Model("GradientBoosting", lambda: GradientBoostingClassifier(n_estimators=100, max_depth=6, random_state=0))
HISTOGRAMS = Model("HistGradientBoosting", lambda: HistGradientBoostingClassifier(max_iter=100, max_depth=6))
FOREST = Model("RandomForest", lambda: RandomForestClassifier(100, max_depth=6, random_state=0))
EXTRA = Model("ExtraTrees", lambda: ExtraTreesClassifier(100, max_depth=6, random_state=0))
XGBOOST = Model("XGBoost", xgboost)
OF_THREE = Model("GradientBoosting", lambda: GradientBoostingClassifier(n_estimators=33, max_depth=6, random_state=0))
OF_TEN = Model("HistGradientBoosting", lambda: HistGradientBoostingClassifier(max_iter=10, max_depth=6))
CASES = (
    Case("breast_cancer", BOOSTED), Case("wine", OF_THREE), Case("Default", XGBOOST), Case("digits", OF_TEN),
    Case("breast_cancer", XGBOOST, FEW), Case("breast_cancer", HISTOGRAMS, FEW),
    Case("breast_cancer", FOREST, FEW), Case("breast_cancer", EXTRA, FEW),
    Case("wine", FOREST, FEW), Case("wine", EXTRA, FEW),
)  # fmt: skip


def measure(args: argparse.Namespace) -> Section:
    found, against = [], []
    for case in CASES:
        if (case.model is XGBOOST and not find_spec("xgboost")) or (case.data == "Default" and not find_spec("ISLP")):
            continue
        trees, x, y = _fitted(case.data, case.model, args.rows or ROWS)
        named = {"data": case.data, "model": case.model.name}
        for ball in (Linf, L0, L1, L2):
            rows = len(x) if ball is Linf else min(args.rows or case.rows, len(x))
            found.append({**named, **_solved(trees, ball, x[:rows], y[:rows])})
            print(found[-1], flush=True)
        if find_spec("veritas") and trees.outputs == 1:
            against.append({**named, **_beside(trees, x, y)})
            print(against[-1], flush=True)
    text = f"{table(HEAD, [list(n.values()) for n in found])}\n\n{READ}"
    if against:
        text += f"\n\n{table(AGAINST, [list(n.values()) for n in against])}\n\n{PEER}"
    return Section("Proofs for trees", text, found + against)


def _fitted(data: str, model: Model, rows: int) -> tuple[Forest, np.ndarray, np.ndarray]:
    x, y = DATA[data]()
    x = ((x - x.min(0)) / np.maximum(np.ptp(x, 0), 1e-9)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    x, y, cut = x[order], y[order], len(x) * 2 // 3
    fitted = model.make().fit(x[:cut].astype(float), y[:cut])
    right = np.flatnonzero(fitted.predict(x[cut:].astype(float)) == y[cut:])[:rows]
    trees = read_xgboost(bytes(fitted.get_booster().save_raw("ubj"))).forest if model is XGBOOST else read(fitted)
    assert trees is not None
    return trees, x[cut:][right], y[cut:][right]


def _solved(trees: Forest, ball: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    solver, spent, brackets = TreeSolver(trees, Frame(ball(), x.shape[1:])), [], []
    for row, label in zip(x, y, strict=True):
        began = time.process_time()
        brackets.append(solver.nearest(row, int(label), np.inf, Exact().nodes))
        spent.append(time.process_time() - began)
    return {
        "trees": trees.trees, "leaves": int(trees.leaf.sum()), "norm": ball.name, "rows": len(x),
        "settled": 100 * float(np.mean([b.settled for b in brackets])),
        "median": float(np.median([b.upper for b in brackets])), "seconds": float(np.mean(spent)), "most": max(spent),
    }  # fmt: skip


def _beside(trees: Forest, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    solver, peer = TreeSolver(trees, Frame(Linf(), x.shape[1:])), _Veritas(trees)
    ours, theirs, seconds = [], [], np.zeros(2)
    for row, label in zip(x, y, strict=True):
        began = time.process_time()
        ours.append(solver.nearest(row, int(label), np.inf, Exact().nodes))
        between = time.process_time()
        theirs.append(peer.nearest(row, int(label)))
        seconds += between - began, time.process_time() - between
    upper = np.array([b.upper for b in ours])
    lows, highs = np.array(theirs).T
    return {
        "rows": len(x), "ours": seconds[0] / len(x), "theirs": seconds[1] / len(x),
        "settled": 100 * float(np.mean([b.settled for b in ours])),
        "closed": 100 * float(np.mean(highs - lows <= 1e-4 * highs)), "apart": float(np.abs(upper - highs).max()),
    }  # fmt: skip


class _Veritas:
    """The same trees in dtai-veritas, and its own search for the nearest example."""

    def __init__(self, trees: Forest) -> None:
        from veritas import AddTree, AddTreeType

        self.trees = AddTree(1, AddTreeType.REGR)
        for root in trees.roots:
            tree = self.trees.add_tree()
            self._grow(trees, tree, int(root), tree.root())
        self.trees.set_base_score(0, float(trees.base[0]))

    def _grow(self, trees: Forest, tree: Any, node: int, at: int) -> None:
        if trees.feature[node] < 0:
            tree.set_leaf_value(at, 0, float(trees.value[node, 0]))
            return
        tree.split(at, int(trees.feature[node]), float(trees.threshold[node]))
        self._grow(trees, tree, int(trees.left[node]), tree.left(at))
        self._grow(trees, tree, int(trees.right[node]), tree.right(at))

    def nearest(self, x: np.ndarray, y: int) -> tuple[float, float]:
        from veritas import VeritasRobustnessSearch

        sides = (self.trees, None) if y else (None, self.trees)
        search = VeritasRobustnessSearch(x.astype(float), 1.0, *sides, silent=True, num_steps=25, max_time=20)
        return search.search()[1:]
