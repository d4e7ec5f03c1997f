"""Proved distances against enumerations and programs that know nothing of the searches."""

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, CategoricalNB
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import blindspots as bs
from blindspots.ball import L0, L1, L2, Ball, Linf
from blindspots.exact import program, solver_of
from blindspots.exact.affine import Scores, scores_of
from blindspots.exact.cliques import Choice, Need
from blindspots.exact.linear import LinearSolver, shortest
from blindspots.exact.neighbours import NeighbourSolver
from blindspots.exact.region import Frame, Region
from blindspots.exact.trees import TreeSolver
from blindspots.experiments.evaluate.page import page
from blindspots.experiments.evaluate.verify_convex import Ground
from blindspots.experiments.evaluate.verify_exact import _of_trees
from blindspots.models.trees.forest import Forest, Tree, forest
from blindspots.models.trees.model import TreeModel
from blindspots.models.trees.scikit import read
from blindspots.models.trees.tables import read_tables

BALLS = (Linf, L0, L1, L2)
NODES = 20_000


def random_forest(rng: Any, trees: int, depth: int, features: int, outputs: int) -> Forest:
    """Trees with random questions; thresholds on a coarse grid, so that several of them fall together."""

    def grow(level: int, nodes: list[list[Any]]) -> int:
        at = len(nodes)
        nodes.append([-1, 0.0, at, at, rng.normal(size=outputs).round(2)])
        if level and (level == depth or rng.random() < 0.8):
            nodes[at][:2] = rng.integers(features), rng.integers(1, 12) / 12
            nodes[at][4] = np.zeros(outputs)
            nodes[at][2], nodes[at][3] = grow(level - 1, nodes), grow(level - 1, nodes)
        return at

    made = []
    for _ in range(trees):
        nodes: list[list[Any]] = []
        grow(depth, nodes)
        columns = [np.array(c) for c in zip(*nodes, strict=True)]
        made.append(Tree(columns[0], columns[1].astype(np.float32), columns[2], columns[3], columns[4].astype(float)))
    return forest(made, rng.normal(size=outputs).round(2), features)


def cells(trees: Forest, region: Region) -> np.ndarray:
    """The nearest point of every cell between thresholds: all that can be an answer."""
    sides = []
    for f in range(trees.features):
        edges = np.unique(trees.threshold[trees.feature == f])
        low = np.maximum(np.r_[-np.inf, edges], region.lo[f])
        high = np.minimum(np.r_[np.nextafter(edges, np.float32(-np.inf)), np.inf], region.hi[f])
        sides.append(np.clip(region.x[f], low, high)[low <= high])
    return np.array(list(product(*sides)))


def fooled(trees: Forest, x: np.ndarray, y: int) -> np.ndarray:
    scores = TreeModel(trees).logits(torch.from_numpy(x.astype(np.float32))).numpy()
    return np.delete(scores, y, 1).max(1) > scores[:, y]


def threats(rng: Any, ball: type[Ball], features: int) -> Ball:
    """With units and a mask in two of three cases."""
    unit = None if rng.random() < 0.3 else rng.uniform(0.3, 3, features).astype(np.float32)
    where = None if rng.random() < 0.3 else torch.from_numpy(rng.random(features) < 0.8)
    if where is not None and not where.any():
        where = None
    return ball(unit=unit, where=where)


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_trees_are_as_near_as_the_nearest_of_all_cells(ball: type[Ball], outputs: int) -> None:
    rng, none = np.random.default_rng(outputs), 0
    for _ in range(8):
        trees = random_forest(rng, 6, 3, 3, outputs)
        frame = Frame(threats(rng, ball, 3), (3,))
        x = rng.random(3).astype(np.float32)
        y = int(TreeModel(trees).logits(torch.from_numpy(x)[None]).argmax())
        found = TreeSolver(trees, frame).nearest(x, y, np.inf, NODES)
        region = frame.around(x)
        points = cells(trees, region)
        bad = points[fooled(trees, points, y)]
        best = region.cost(bad - region.x).min() if len(bad) else np.inf
        assert found.lower == found.upper == pytest.approx(best, rel=1e-12)
        none += np.isinf(best)
        if found.point is not None:
            assert fooled(trees, found.point[None], y).all()
            assert region.cost(found.point - region.x) == pytest.approx(found.upper, rel=1e-12)
    assert none < 8


ODD = np.array([-np.inf, -1.0, -1e-45, 0.0, 1e-45, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.inf])


@pytest.mark.parametrize("ball", BALLS)
def test_odd_thresholds_and_tiny_leaves_are_as_near_as_the_nearest_of_all_cells(ball: type[Ball]) -> None:
    """Questions with one answer, subnormal numbers, neighbours in float32; ensembles that answer one thing."""
    rng = np.random.default_rng(11)
    for case in range(25):
        trees = random_forest(rng, int(rng.integers(1, 6)), case % 3, 2, 1 + case % 3)
        asks, size = trees.feature >= 0, 10.0 ** rng.integers(-13, 8)
        threshold = np.where(asks, rng.choice(ODD, len(asks)), 0).astype(np.float32)
        trees = replace(trees, threshold=threshold, value=size * trees.value, base=size * trees.base)
        frame = Frame(ball(), (2,))
        frame.lo, frame.hi = np.full(2, -2.0), np.full(2, 2.0)
        x = rng.choice(ODD[1:-1], 2).astype(np.float32)
        y = int(TreeModel(trees).logits(torch.from_numpy(x)[None]).argmax())
        if fooled(trees, x[None], y).any() or size * np.abs(trees.base).max() < 1e-30:
            continue
        found, region = TreeSolver(trees, frame).nearest(x, y, np.inf, NODES), frame.around(x)
        points = cells(trees, region)
        bad = points[fooled(trees, points, y)]
        best = region.cost(bad - region.x).min() if len(bad) else np.inf
        assert found.lower == found.upper == pytest.approx(best, rel=1e-12)


def test_an_ensemble_that_answers_one_thing_has_no_example() -> None:
    leaf = Tree(np.array([-1]), np.zeros(1, np.float32), np.zeros(1, int), np.zeros(1, int), np.array([[0.1]]))
    for ball in BALLS:
        solver = TreeSolver(forest([leaf], np.array([-0.1 + 1e-17]), 2), Frame(ball(), (2,)))
        assert solver.nearest(np.zeros(2, np.float32), 1, np.inf, NODES).lower == np.inf


def test_a_program_goes_on_beyond_ties_that_fall_to_the_label() -> None:
    free = np.full((4, 2), np.inf)
    low, high = -free, free.copy()
    low[1, 0], low[3, 1] = 0.5, 0.75
    high[0, 0], high[2, 1] = np.nextafter(np.float32([0.5, 0.75]), np.float32(0))
    leaves = Choice(low, high, np.array([-1.0, 0.0, 0.0, 2.0]), np.array([0, 0, 1, 1]), np.zeros(4, bool))
    region = Region(1, np.array([0.375, 0.125]), np.zeros(2), np.ones(2), np.ones(2))
    asked: list[Any] = []
    need = Need(-1e-9, 1e-9, lambda point: bool(asked.append(point)))
    found = program.solved(region, leaves, need, 2.0)
    assert [point.tolist() for point in asked] == [[0.5, 0.125]]  # the sum is 0 there, and 1 at the answer
    assert found.lower == found.upper == pytest.approx(0.625)


def votes_agree(cases: int, outputs: int) -> int:
    """Forests whose leaves mostly vote for one class, others for shares of 3 or 7: solved by programs alone.

    Returns how many of the answers lie beyond a nearer tie.
    """
    rng, beyond = np.random.default_rng(outputs), 0
    for case in range(cases):
        trees = random_forest(rng, int(rng.integers(3, 9)), 3, 3, outputs)
        leaves, thirds = len(trees.value), rng.choice([3, 4, 7]) if case // 3 % 3 else 1
        value = rng.multinomial(thirds, np.ones(outputs) / outputs, leaves) / thirds
        pure = np.eye(outputs)[rng.integers(outputs, size=leaves)]
        value = np.where(rng.random((leaves, 1)) < 0.3, value, pure) * (trees.feature < 0)[:, None]
        trees = replace(trees, value=value, base=np.zeros(outputs), divisor=float(len(trees.roots)))
        frame = Frame(threats(rng, (L0, L1, L2)[case % 3], 3), (3,))
        x = rng.random(3).astype(np.float32)
        scores = TreeModel(trees).logits(torch.from_numpy(x)[None])
        y, region = int(scores.argmax()), frame.around(x)
        points = cells(trees, region)
        ties, bad = points[tied(trees, points, y)], points[fooled(trees, points, y)]
        best = region.cost(bad - region.x).min() if len(bad) else np.inf
        found = TreeSolver(trees, frame).nearest(x, y, np.inf, NODES)
        assert found.lower == found.upper == pytest.approx(best, rel=1e-12)
        beyond += region.cost(ties - region.x).min(initial=np.inf) < best
    return beyond


def tied(trees: Forest, x: np.ndarray, y: int) -> np.ndarray:
    scores = TreeModel(trees).logits(torch.from_numpy(x.astype(np.float32))).numpy()
    return np.delete(scores, y, 1).max(1) == scores[:, y]


@pytest.mark.parametrize("outputs", [2, 3])
def test_votes_that_tie_are_passed_over_by_programs(outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blindspots.exact.trees._BOXES", 1)
    monkeypatch.setattr("blindspots.exact.program._TIES", 4)
    assert votes_agree(24, outputs) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [2, 3, 4])
def test_votes_that_tie_are_passed_over_by_programs_in_300_cases(outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blindspots.exact.trees._BOXES", 1)
    assert votes_agree(300, outputs) >= 75


@pytest.mark.parametrize("ball", BALLS)
def test_stumps_are_summed_up_feature_by_feature(ball: type[Ball]) -> None:
    rng = np.random.default_rng(7)
    for _ in range(6):
        trees = random_forest(rng, 25, 1, 3, 1)
        solver = TreeSolver(trees, Frame(ball(), (3,)))
        assert len(np.unique(solver.leaves.tree)) <= 3 + sum(trees.feature[trees.roots] < 0)
        x = rng.random(3).astype(np.float32)
        y = int(TreeModel(trees).logits(torch.from_numpy(x)[None]).argmax())
        found, region = solver.nearest(x, y, np.inf, NODES), solver.frame.around(x)
        points = cells(trees, region)
        bad = points[fooled(trees, points, y)]
        best = region.cost(bad - region.x).min() if len(bad) else np.inf
        assert found.lower == found.upper == pytest.approx(best, rel=1e-12)


def programs_agree(cases: int) -> None:
    rng = np.random.default_rng(3)
    data, labels = load_wine(return_X_y=True)
    data = ((data - data.min(0)) / np.ptp(data, 0)).astype(np.float32)
    for case in range(cases):
        kind = (GradientBoostingClassifier, RandomForestClassifier)[case % 2]
        rows = rng.permutation(len(data))[:60]
        model = kind(n_estimators=4, max_depth=3, random_state=case).fit(data[rows].astype(float), labels[rows])
        trees, ball = read(model), BALLS[case // 2 % 4]()
        assert trees is not None
        x = data[rng.integers(len(data))]
        y = int(TreeModel(trees).logits(torch.from_numpy(x)[None]).argmax())
        solver = TreeSolver(trees, Frame(ball, (13,)))
        found, region = solver.nearest(x, y, np.inf, NODES), solver.frame.around(x)
        assert found.settled
        ground = Ground(region.p, region.x, region.lo, region.hi, region.unit)
        assert _of_trees(trees, ground, y, found.lower, 60.0) is False
        if np.isfinite(found.upper):
            beyond = found.upper + 0.5 if ball.p == 0 else found.upper * 1.01
            assert _of_trees(trees, ground, y, beyond, 60.0) is True


def test_trees_agree_with_mixed_integer_programs() -> None:
    programs_agree(8)


@pytest.mark.slow
def test_trees_agree_with_mixed_integer_programs_on_200_cases() -> None:
    programs_agree(200)


def test_a_limit_of_nodes_leaves_a_bracket() -> None:
    rng = np.random.default_rng(0)
    trees = random_forest(rng, 12, 3, 4, 1)
    x = rng.random(4).astype(np.float32)
    y = int(TreeModel(trees).logits(torch.from_numpy(x)[None]).argmax())
    for ball in BALLS:
        solver = TreeSolver(trees, Frame(ball(), (4,)))
        whole, few = solver.nearest(x, y, np.inf, NODES), solver.nearest(x, y, np.inf, 1)
        assert few.lower <= whole.lower <= few.upper
        assert solver.nearest(x, y, np.inf, NODES, stop=lambda: True).lower <= whole.lower
        short = solver.nearest(x, y, whole.lower / 2, NODES)
        assert short.lower > whole.lower / 2
        assert short.lower <= whole.lower


# ------------------------------------------------------------------ linear


def cheapest(region: Region, slope: np.ndarray, margin: float) -> float:
    """By linear programs, enumeration, or bisection on the multiplier: inf where the box is too small."""
    steep = np.abs(slope)
    room = np.where(slope > 0, region.x - region.lo, region.hi - region.x) * (slope != 0)
    if steep @ room < margin:
        return np.inf
    d = len(slope)
    if region.p == 0:
        sizes = (k for k in range(d + 1) for at in combinations(range(d), k) if (steep * room)[[*at]].sum() >= margin)
        return float(next(sizes))
    if region.p == 2:
        low, high = 0.0, 1e12
        for _ in range(300):
            t = (low + high) / 2
            enough = steep @ np.minimum(t * steep * region.unit**2, room) >= margin
            low, high = (low, t) if enough else (t, high)
        return float(np.linalg.norm(np.minimum(high * steep * region.unit**2, room) / region.unit))
    bounds = [(0, r) for r in room]
    if region.p == 1:
        return float(linprog(1 / region.unit, A_ub=-steep[None], b_ub=[-margin], bounds=bounds).fun)
    sides = np.c_[np.diag(1 / region.unit), -np.ones(d)]
    found = linprog(np.r_[np.zeros(d), 1], A_ub=np.r_[sides, [np.r_[-steep, 0]]], b_ub=np.r_[np.zeros(d), -margin],
                    bounds=[*bounds, (0, None)])  # fmt: skip
    return float(found.fun)


def closed_forms_agree(cases: int) -> None:
    rng, none = np.random.default_rng(5), 0
    for case in range(cases):
        d = int(rng.integers(1, 7))
        frame = Frame(threats(rng, BALLS[case % 4], d), (d,))
        region = frame.around(rng.random(d).astype(np.float32))
        slope = rng.normal(size=d) * (rng.random(d) < 0.9)
        margin = float(rng.uniform(0.01, 1.0))
        moves, best = shortest(region, slope, margin), cheapest(region, slope, margin)
        none += np.isinf(best)
        found = np.inf if moves is None else region.cost(moves)
        assert found == pytest.approx(best, abs=1e-9), (region, slope, margin)
    assert 0.05 * cases < none < cases / 2


def test_linear_closed_forms_agree_with_programs() -> None:
    closed_forms_agree(60)


@pytest.mark.slow
def test_linear_closed_forms_agree_with_programs_on_1000_cases() -> None:
    closed_forms_agree(1000)


def test_linear_models_of_three_classes_are_beaten_by_the_nearest_one() -> None:
    rng = np.random.default_rng(1)
    for ball in BALLS:
        scores = Scores(rng.normal(size=(3, 4)), rng.normal(size=3))
        frame = Frame(ball(), (4,))
        x = rng.random(4).astype(np.float32)
        y = int(scores.of(x).argmax())
        found, region = LinearSolver(scores, frame).nearest(x, y, np.inf, 1), frame.around(x)
        best = min(
            cheapest(region, scores.weight[y] - scores.weight[j], float(scores.of(x)[y] - scores.of(x)[j]))
            for j in range(3)
            if j != y
        )
        assert found.lower == pytest.approx(best, abs=1e-9)
        if found.point is not None:
            assert scores.of(found.point).argmax() != y
            assert found.upper == pytest.approx(best, rel=1e-4)


def test_networks_of_linear_layers_and_scaled_inputs_are_linear() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Identity(), nn.Linear(5, 3))
    model = bs.Model(net, mean=(0.2, 0.5, 0.1), std=(0.5, 2.0, 1.0))
    scores = scores_of(model, (3, 2, 2))
    assert scores is not None
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for row, logits in zip(x, model.logits(x), strict=True):
        assert scores.of(row.numpy().ravel()) == pytest.approx(logits.detach().numpy(), abs=1e-5)
    assert scores_of(bs.Model(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU())), (3, 2, 2)) is None
    assert solver_of(bs.Model(nn.ReLU()), Linf(), (3,)) is None


# ------------------------------------------------------------------ neighbours


def nearest_of_cells(region: Region, own: np.ndarray, others: np.ndarray) -> float:
    """In the plane: the nearest of all corners and feet of all sides, of all polytopes; else by linear programs."""
    best = np.inf
    d = len(region.x)
    for v in others:
        sides = np.concatenate([2 * (own - v), np.eye(d), -np.eye(d)])
        most = np.concatenate([(own**2).sum(1) - (v**2).sum(), region.hi, -region.lo])
        if region.p == 2:
            w, b = sides * region.unit, most - sides @ region.x
            feet = [g * c / (g @ g) for g, c in zip(w, b, strict=True) if g @ g > 0]
            corners = [np.linalg.solve(w[[i, j]], b[[i, j]]) for i, j in combinations(range(len(w)), 2)
                       if abs(np.linalg.det(w[[i, j]])) > 1e-12]  # fmt: skip
            inside = [p for p in (np.zeros(d), *feet, *corners) if (w @ p <= b + 1e-12).all()]
            best = min([best, *(float(np.linalg.norm(p)) for p in inside)])
        else:
            spread = np.diag(region.unit)
            extra = np.ones((d, 1)) if region.p == np.inf else np.eye(d)
            system = np.block([[sides, np.zeros((len(sides), extra.shape[1]))],
                               [np.eye(d), -spread @ extra], [-np.eye(d), -spread @ extra]])  # fmt: skip
            cost = np.r_[np.zeros(d), np.ones(extra.shape[1])]
            found = linprog(cost, A_ub=system, b_ub=np.r_[most, region.x, -region.x], bounds=(None, None))
            best = min(best, found.fun) if found.status == 0 else best
    return float(best)


def nearest_neighbours_agree(cases: int) -> None:
    rng = np.random.default_rng(2)
    for case in range(cases):
        ball = (Linf, L1, L2)[case % 3]
        frame = Frame(ball(unit=rng.uniform(0.5, 2, 2).astype(np.float32)), (2,))
        examples, classes = rng.random((9, 2)).astype(np.float32).astype(float), rng.integers(0, 3, 9)
        x = rng.random(2).astype(np.float32)
        y = int(classes[np.square(examples - x).sum(1).argmin()])
        found, region = NeighbourSolver(examples, classes, 1, frame).nearest(x, y, np.inf, NODES), frame.around(x)
        best = nearest_of_cells(region, examples[classes == y], examples[classes != y])
        assert found.lower == pytest.approx(best, abs=2e-9)
        if found.point is not None:
            assert found.upper == pytest.approx(best, abs=1e-5)
            assert classes[np.square(examples - found.point).sum(1).argmin()] != y


def test_nearest_neighbours_agree_with_enumeration() -> None:
    nearest_neighbours_agree(12)


@pytest.mark.slow
def test_nearest_neighbours_agree_with_enumeration_on_1000_cases() -> None:
    nearest_neighbours_agree(1000)


@pytest.mark.parametrize("k", [3, 4])
def test_bounds_of_several_neighbours_hold_on_a_grid(k: int) -> None:
    rng = np.random.default_rng(4)
    line = np.linspace(0, 1, 41, dtype=np.float32)
    grid = np.array(list(product(line, line)))
    for case in range(5):
        examples, classes = rng.random((14, 2)).astype(np.float32).astype(float), rng.integers(0, 2, 14)
        model = KNeighborsClassifier(k).fit(examples, classes)
        x = rng.random(2).astype(np.float32)
        shares = model.predict_proba(x[None].astype(float))[0]
        if shares[0] == shares[1] or len(model.classes_) < 2:
            continue
        y, frame = int(shares.argmax()), Frame((Linf, L1, L2)[case % 3](), (2,))
        found, region = NeighbourSolver(examples, classes, k, frame).nearest(x, y, np.inf, NODES), frame.around(x)
        said = model.predict_proba(grid.astype(float))
        bad = grid[said[:, 1 - y] > said[:, y]]
        assert found.lower <= region.cost(bad - region.x).min(initial=np.inf) + 1e-12
        if found.point is not None:
            point = model.predict_proba(found.point[None].astype(float))[0]
            assert point[1 - y] > point[y]


# ------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_breast_cancer(return_X_y=True)
    return ((x - x.min(0)) / np.ptp(x, 0)).astype(np.float32), y


@pytest.fixture(scope="module")
def boosted(table: tuple[np.ndarray, np.ndarray]) -> bs.Model:
    x, y = table
    found = read(
        GradientBoostingClassifier(n_estimators=15, max_depth=3, random_state=0).fit(x[::2].astype(float), y[::2])
    )
    assert found is not None
    return TreeModel(found, name="boosted")


def test_every_row_of_trees_is_proved_or_broken(boosted: bs.Model, table: Any, tmp_path: Any) -> None:
    x, y = table[0][1:31:2], table[1][1:31:2]
    run = bs.evaluate(boosted, x, y, threat="linf:0.05", out=tmp_path / "run")
    v = run.verdict
    assert run.config.protocol == "exact"
    assert v.open == 0
    assert v.settled
    assert v.certified_accuracy == v.robust_accuracy == v.searched.share
    assert v.outcomes["proved"] + v.outcomes["won"] + v.outcomes.get("already_wrong", 0) == len(x)
    assert v.metrics()["certified_accuracy"].interval == v.certified_interval
    assert page(run).headline.startswith("Proved: whatever is changed")
    assert bs.verify(tmp_path / "run", boosted).ok


def test_smallest_distances_of_trees_are_proved(boosted: bs.Model, table: Any) -> None:
    x, y = table[0][1:41:2], table[1][1:41:2]
    run = bs.attack(boosted, x, y, bs.attacks.Exact(), threat="l2")
    assert run.verdict.minimal is not None
    assert run.verdict.minimal.hits == run.verdict.minimal.rows == run.success.sum()
    curve = bs.evaluate(boosted, x, y, threat=f"l2:{float(run.norms.median())!r}")
    farther = run.norms > run.norms.median() * (1 + 1e-4)
    assert curve.verdict.robust_accuracy == pytest.approx(float(farther.float().mean()))


def test_without_nodes_rows_stay_open(table: Any) -> None:
    x, y = table
    forest_ = read(RandomForestClassifier(20, max_depth=5, random_state=0).fit(x[::2].astype(float), y[::2]))
    assert forest_ is not None
    run = bs.attack(TreeModel(forest_), x[1:41:2], y[1:41:2], bs.attacks.Exact(nodes=1), threat="linf:0.08")
    v = run.verdict
    assert v.open
    assert v.certified_accuracy is not None
    assert v.certified_accuracy < v.robust_accuracy
    assert v.outcomes["budget"] == v.open
    assert any(f.code == "budget-spent" for f in run.findings)


def test_a_wrong_bound_is_found_out(
    boosted: bs.Model, table: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A solver that claims too much: the program that proves it again finds a nearer example."""
    from blindspots.exact import trees

    honest = trees.TreeSolver.nearest

    def boasting(self: Any, *args: Any) -> Any:
        found = honest(self, *args)
        return type(found)(found.lower * 3)

    monkeypatch.setattr(trees.TreeSolver, "nearest", boasting)
    bs.evaluate(boosted, table[0][1:21:2], table[1][1:21:2], threat="linf:0.2", out=tmp_path / "run")
    monkeypatch.undo()
    checked = bs.verify(tmp_path / "run", boosted)
    assert not checked.ok


@pytest.mark.parametrize("threat", ["linf:0.05", "l2:0.2", "l1:0.5", "l0:2", "l2"])
def test_linear_models_and_neighbours_are_proved_and_verified(threat: str, table: Any, tmp_path: Any) -> None:
    x, y = table[0], table[1]
    models = [LogisticRegression(), KNeighborsClassifier(1)]
    for i, estimator in enumerate(models[: 1 if threat.startswith("l0") else 2]):
        model = bs.from_estimator(estimator.fit(x[::4].astype(float), y[::4]))
        run = bs.evaluate(model, x[1:17:2], y[1:17:2], threat=threat, out=tmp_path / str(i))
        assert run.config.protocol == "exact"
        assert run.verdict.open == 0
        assert bs.verify(tmp_path / str(i), model).ok


@pytest.mark.parametrize("kind", [BernoulliNB(binarize=0.3), CategoricalNB(min_categories=4)])
def test_tables_of_naive_bayes_are_proved(kind: Any, table: Any, tmp_path: Any) -> None:
    x, y = np.floor(table[0][:, :6] * 3.99).astype(np.float32), table[1]
    x, high = (x / 4, 1.0) if isinstance(kind, BernoulliNB) else (x, 3.0)
    model = bs.from_estimator(kind.fit(x[::2].astype(float), y[::2]), bounds=(0.0, high))
    trees = read_tables(kind)
    assert trees is not None
    said = torch.tensor(kind.predict_joint_log_proba(x[:50].astype(float)))
    assert torch.allclose(TreeModel(trees).logits(torch.from_numpy(x[:50])).double(), said, atol=1e-4)
    for i, threat in enumerate(("linf", "l1", "l0:1")):
        run = bs.evaluate(model, x[1:25:2], y[1:25:2], threat=threat, out=tmp_path / str(i))
        assert run.config.protocol == "exact"
        assert run.verdict.settled
        assert bs.verify(tmp_path / str(i), model).ok


def test_exact_is_refused_where_nothing_is_proved(table: Any) -> None:
    net = nn.Sequential(nn.Linear(30, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(bs.InputError, match="of which nothing is proved"):
        bs.attack(net, table[0][:4], table[1][:4], bs.attacks.Exact(), threat="linf:0.1")
    with pytest.raises(bs.InputError, match="of which nothing is proved"):
        bs.evaluate(net, table[0][:4], table[1][:4], threat="linf:0.1", protocol="exact")


def test_histograms_are_trees_too(table: Any) -> None:
    x, y = table
    found = read(HistGradientBoostingClassifier(max_iter=10, max_depth=3).fit(x[::2].astype(float), y[::2]))
    assert found is not None
    assert bs.evaluate(TreeModel(found), x[1:21:2], y[1:21:2], threat="l1:0.2").verdict.settled
