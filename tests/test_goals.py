"""Goals of any output against closed forms: how far a linear model's number can be moved in a ball and a box."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import GammaRegressor, LinearRegression, PoissonRegressor, Ridge, TweedieRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from torch import Tensor

import blindspots as bs
from blindspots.engine.cascade import Stage
from blindspots.engine.targets import EveryClass
from blindspots.errors import InputError
from blindspots.experiments.evaluate.verify_reach import ReachProof
from blindspots.experiments.evaluate.verify_rows import topics
from blindspots.experiments.evaluate.verify_shard import Shard
from blindspots.experiments.evaluate.verify_values import Reader
from blindspots.goals import GOALS, Above, Below, Classify, Down, Error, Goal, Move, Score, To, Up, parse_goal
from blindspots.objective import Objective
from blindspots.runs.verify import differing

D, N = 8, 24
GENERATOR = torch.Generator().manual_seed(0)
W = torch.randn(D, generator=GENERATOR)
X = torch.rand(N, D, generator=GENERATOR)
F = X @ W + 0.3
Y = F + 0.05 * torch.randn(N, generator=GENERATOR)
LINE = bs.Model(lambda x: x @ W + 0.3, name="line")
RADIUS = 0.1


def reach(up: bool) -> Tensor:
    """The largest change of <W, x> upwards, or downwards, that the linf ball and the box allow: (N,)."""
    room = torch.where((W > 0) == up, 1 - X, X).clamp_max(RADIUS)
    return room @ W.abs()


EXTREMES: list[tuple[Goal, Tensor]] = [
    (Move(0.5), F.new_tensor(0.5) - reach(True).maximum(reach(False))),
    (Up(0.5), 0.5 - reach(True)),
    (Down(0.5), 0.5 - reach(False)),
    (Error(0.5), 0.5 - (F - Y + reach(True)).maximum(Y - F + reach(False))),
]


@pytest.mark.parametrize(("goal", "least"), EXTREMES, ids=lambda g: g.spec if isinstance(g, Goal) else "")
def test_the_lowest_margin_of_a_linear_model_is_the_closed_forms(goal: Goal, least: Tensor) -> None:
    done = bs.evaluate(LINE, X, Y, threat=bs.Linf(RADIUS), goal=goal)
    found = torch.cat([c["margin"] for c in done.shards()])
    right = torch.cat([c["right"] for c in done.shards()])
    stands = right & ~done.success
    torch.testing.assert_close(found[~stands] * 0.5, least[~stands], atol=1e-6, rtol=1e-5)
    assert torch.equal(done.success, right & (least < 0))


@pytest.mark.parametrize(
    ("goal", "gap", "sign"),
    [(Move(0.2), torch.full((N,), 0.2), 0), (Up(0.2), torch.full((N,), 0.2), 1), (Down(0.2), torch.full((N,), 0.2), -1),
     (Above(2.0), 2.0 - F, 1), (Below(-3.0), F + 3.0, -1), (To(2.0, 0.25), 1.75 - F, 1)],
    ids=lambda g: g.spec if isinstance(g, Goal) else "",
)  # fmt: skip
@pytest.mark.parametrize("threat", [bs.L2(), bs.Linf(), bs.L1()], ids=str)
def test_smallest_changes_of_a_linear_model(goal: Goal, gap: Tensor, sign: int, threat: bs.L2) -> None:
    wide = bs.Model(lambda x: x @ W + 0.3, bounds=(-9.0, 9.0))
    done = bs.attack(wide, X, Y, bs.attacks.FAB(40), threat=threat, goal=goal)
    dual = {2: W.norm(), math.inf: W.abs().sum(), 1: W.abs().max()}[threat.p]
    right = torch.cat([c["right"] for c in done.shards()])
    assert bool(right.all())
    torch.testing.assert_close(done.norms, gap / dual, rtol=6e-6, atol=1e-6)


ANYTHING = [
    bs.attacks.FGSM(), bs.attacks.PGD(20), bs.attacks.APGD(20), bs.attacks.FAB(20), bs.attacks.DDN(40),
    bs.attacks.FMN(40), bs.attacks.CarliniWagner(30), bs.attacks.Square(300), bs.attacks.NES(600),
    bs.attacks.SPSA(600), bs.attacks.HopSkipJump(600), bs.attacks.Boundary(800), bs.attacks.DeepFool(),
]  # fmt: skip


@pytest.mark.parametrize("attack", ANYTHING, ids=lambda a: type(a).__name__)
def test_every_kind_of_attack_moves_a_number(attack: bs.attacks.Attack) -> None:
    threat = bs.L2(None if attack.minimal else 0.6) if "l2" in attack.threats else bs.Linf(0.3)
    done = bs.attack(LINE, X, Y, attack, threat=threat, goal="up:0.4")
    assert done.success.float().mean() > 0.5
    moved = done.adversarial @ W + 0.3 - F
    assert bool((moved[done.success] > 0.4).all())


def test_any_of_several_numbers_counts() -> None:
    weights = torch.stack([W, -2 * W], 1)
    two = bs.Model(lambda x: x @ weights)
    done = bs.attack(
        two, X, X @ weights, bs.attacks.PGD(30), threat=bs.Linf(RADIUS), goal=Up(0.6), targets=EveryClass()
    )
    assert torch.equal(done.success, reach(True).maximum(2 * reach(False)) > 0.6)


def test_a_function_of_outputs_is_a_goal() -> None:
    def most(output: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        kept = (output.argmax(1) == truth).float().mean((1, 2))
        scores = output.gather(1, truth[:, None])[:, 0] - output.flip(1).gather(1, truth[:, None])[:, 0]
        return scores.mean((1, 2)), {"kept pixels": kept}

    x = torch.rand(6, 1, 4, 4, generator=GENERATOR)
    truth = (x[:, 0] > 0.5).long()
    dense = bs.Model(lambda x: torch.cat([0.5 - x, x - 0.5], 1))
    done = bs.evaluate(dense, x, truth, threat=bs.Linf(0.4), goal=most)
    (measure,) = done.verdict.measures
    assert (measure.name, measure.clean.mean) == ("kept pixels", 1.0)
    assert measure.worst.mean < 0.6
    assert done.success.any()


def test_measures_are_errors_and_shifts() -> None:
    done = bs.evaluate(LINE, X, Y, threat=bs.Linf(RADIUS), goal="error:3")
    named = {m.name: m for m in done.verdict.measures}
    assert named["error"].clean.mean == pytest.approx(float((F - Y).abs().mean()), rel=1e-5)
    worst = (F - Y + reach(True)).maximum(Y - F + reach(False))
    assert named["error"].worst.mean == pytest.approx(float(worst.mean()), rel=1e-4)
    assert done.verdict.metrics()["mean_error"].value == named["error"].worst.mean


def test_tolerances_count_standard_deviations(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=X.numpy(), y=Y.numpy())
    (tmp_path / "line.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(8, 1)\n")
    config = {"data": str(tmp_path / "rows.npz"), "goal": "move:0.5sd"}
    done = bs.evaluate(f"{tmp_path}/line.py:net", threat="linf:0.1", **config)  # type: ignore[arg-type]
    name, _, tolerance = str(done.config.goal).partition(":")
    assert name == "move"
    assert float(tolerance) == pytest.approx(0.5 * float(Y.double().std()))


@pytest.mark.parametrize(
    "text", ["move:0.5", "error:2.0", "up:1.0", "down:1.0", "above:3.5", "below:-1.0", "to:20.0,0.5"]
)
def test_words_and_goals_agree(text: str) -> None:
    assert parse_goal(text).spec == text
    assert parse_goal(parse_goal(text).spec) == parse_goal(text)


def test_every_goal_says_what_is_kept() -> None:
    for name, kind in GOALS.items():
        goal = kind(2.0, 0.5) if name == "to" else kind(2.0)  # type: ignore[call-arg]
        assert goal.kept
        assert len(goal.class_names) == 1 + len(goal.ways)
    assert parse_goal("class") == Classify()


BAD = {
    "moves:1": "such as move:TOLERANCE", "move": "such as", "move:x": "such as", "move:0": "tolerance above 0",
    "move:-1": "tolerance above 0", "above:nan": "to be a number", "to:3,-1": "tolerance of at least 0",
    "up:1,2": "expected Up",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_words_get_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=BAD[text]):
        parse_goal(text)


FUNCTIONS = {
    "NaN": (lambda o, t: o * math.nan, "NaN"),
    "the wrong shape": (lambda o, t: o.mean(), "one number per row"),
    "no tensor": (lambda o, t: 3.0, "one number per row"),
    "no dict": (lambda o, t: (o, 3.0), "dict"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_functions_get_a_sentence(name: str) -> None:
    function, said = FUNCTIONS[name]
    with pytest.raises(InputError, match=said):
        bs.evaluate(LINE, X, Y, threat=bs.Linf(0.1), goal=Score(function, name))


def test_outputs_that_do_not_fit_the_values_are_refused() -> None:
    with pytest.raises(InputError, match="as many numbers per input as there are in y"):
        bs.evaluate(LINE, X, torch.rand(N, 3), threat=bs.Linf(0.1), goal="move:1")
    with pytest.raises(InputError, match="finite numbers in y"):
        bs.evaluate(LINE, X, torch.full((N,), math.inf), threat=bs.Linf(0.1), goal="move:1")
    with pytest.raises(InputError, match="within the model's bounds"):
        bs.evaluate(LINE, 3 * X, Y, threat=bs.Linf(0.1), goal="move:1")
    with pytest.raises(InputError, match="one class per row"):
        bs.evaluate(LINE, X, Y, threat=bs.Linf(0.1))


REGRESSORS = {
    "LinearRegression": LinearRegression(),
    "Ridge": make_pipeline(StandardScaler(), Ridge()),
    "MLPRegressor": MLPRegressor(hidden_layer_sizes=(8,), max_iter=1000, random_state=0, solver="lbfgs"),
    "SVR": SVR(),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_of_scikit_learn_have_gradients(name: str) -> None:
    fitted = REGRESSORS[name].fit(X.numpy(), Y.numpy())
    model = bs.from_estimator(fitted)
    assert not isinstance(model, bs.BlackBox)
    with torch.no_grad():
        assert np.allclose(model.logits(X).numpy().reshape(-1), fitted.predict(X.numpy()), atol=1e-5)
    assert bs.evaluate(fitted, X, Y, threat=bs.Linf(0.1), goal="move:0.1").success.any()


GIVEN: dict[str, tuple[bs.Model, Any, bs.attacks.Attack | None]] = {
    "move": (LINE, "move:0.3", None),
    "error": (LINE, "error:0.3", None),
    "to": (LINE, "to:0.5,0.2", None),
    "queried": (bs.BlackBox(lambda x: x @ W.numpy(), "values"), "up:0.2", bs.attacks.Square(60)),
    "function": (LINE, Score(lambda o, t: (0.3 - (o - t).abs(), {"error": (o - t).abs()}), "near"), None),
}


@pytest.mark.parametrize("name", GIVEN)
def test_runs_are_verified_by_formulas_of_their_own(name: str, tmp_path: Path) -> None:
    model, goal, attack = GIVEN[name]
    asked: dict[str, Any] = {"threat": bs.Linf(RADIUS), "goal": goal, "out": tmp_path / "run"}
    done = bs.evaluate(model, X, Y, **asked) if attack is None else bs.attack(model, X, Y, attack, **asked)
    assert done.success.any()
    given = {"goal": goal} if name == "function" else None
    data = bs.ArrayData(X, Y, values=True)
    assert bs.verify(tmp_path / "run", model=model, data=data, given=given).problems == []
    assert Path(bs.write_report(tmp_path / "run", tmp_path / "report.html")).stat().st_size > 10_000
    shards = [*(tmp_path / "run/shards").iterdir()]
    columns = load_file(shards[0])
    columns["worst_measures"][0] += 0.1
    save_file(columns, shards[0])
    assert bs.verify(tmp_path / "run", model=model, data=data, given=given).problems


def looked_at(done: bs.Evaluation, columns: dict[str, Tensor]) -> list[str]:
    """What the second formulas say of a shard, as if its seals and digests were sound."""
    model, data, reader = LINE.of_values(), bs.ArrayData(X, Y, values=True), Reader("move:0.3", None)
    shard = Shard("s", 0, columns, done.config, bs.Linf(RADIUS), model, data, reader)
    return [problem for _, looks in topics(True, True, True) for look in looks for problem in look(shard)]


WRONG = {
    "measures": lambda t: t + 0.01, "worst_measures": lambda t: t + 0.01, "truth": lambda t: t + 0.01,
    "worst": lambda t: t + 0.2, "adversarial_prediction": lambda t: 3 - t, "prediction": lambda t: t + 1,
}  # fmt: skip


def test_wrong_numbers_are_found_whatever_the_digests_say() -> None:
    done = bs.evaluate(LINE, X, Y, threat=bs.Linf(RADIUS), goal="move:0.3")
    columns = dict(next(iter(done.shards())))
    assert looked_at(done, columns) == []
    for name, wrong in WRONG.items():
        assert looked_at(done, columns | {name: wrong(columns[name])}), name


def test_numbers_stay_numbers_behind_transformations(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=X.numpy(), y=Y.numpy())
    (tmp_path / "line.py").write_text("import torch\n\ndef net():\n    return torch.nn.Linear(8, 1)\n")
    asked = {"data": str(tmp_path / "rows.npz"), "goal": "move:0.1", "through": "bits:depth=2"}
    done = bs.evaluate(f"{tmp_path}/line.py:net", threat="linf:0.2", **asked)  # type: ignore[arg-type]
    assert done.success.any()
    shift = done.verdict.metrics()["mean_shift"].value
    assert bs.require(done.verdict, f"mean_shift<={shift + 0.01}") == []
    assert len(bs.require(done.verdict, [f"mean_shift<={shift / 2}", "robust_accuracy<=1"])) == 1


def test_numbers_without_a_goal_are_refused() -> None:
    fitted = LinearRegression().fit(X.numpy(), Y.numpy())
    with pytest.raises(InputError, match="which returns numbers: say what counts as a success"):
        bs.evaluate(fitted, X, torch.zeros(N).long(), threat=bs.Linf(0.1))
    with pytest.raises(InputError, match="which returns numbers"):
        bs.evaluate(bs.BlackBox(lambda x: x[:, 0], "values"), X, torch.zeros(N).long(), threat=bs.Linf(0.1))


def test_other_regressors_are_queried() -> None:
    nearest = KNeighborsRegressor(3).fit(X.numpy(), Y.numpy())
    model = bs.from_estimator(nearest)
    assert isinstance(model, bs.BlackBox)
    assert np.allclose(model.logits(X).numpy(), nearest.predict(X.numpy()), atol=1e-5)
    done = bs.attack(model, X[:6], Y[:6], bs.attacks.Square(200), threat=bs.Linf(0.2), goal="move:0.05")
    assert done.success.any()


# ------------------------------------------------------------------ how far, against the radius


WIDE = bs.Model(lambda x: x @ W + 0.3, bounds=(-1, 2), name="wide")  # no box in the way


def moved(threat: str, **settings: Any) -> bs.Evaluation:
    return bs.evaluate(WIDE, X, Y, threat=bs.parse_threat(threat), goal="move:0.3", **settings)


@pytest.mark.parametrize(("threat", "dual"), [("linf:0.02", 1), ("l2:0.02", 2)])
def test_a_linear_model_moves_by_the_dual_norm_at_every_radius(threat: str, dual: int) -> None:
    slope = float(W.norm(dual))
    for reach in moved(threat).verdict.reach:
        assert reach.attacked.mean == pytest.approx(reach.radius * slope, abs=2e-6)
        assert reach.attacked.largest == pytest.approx(reach.radius * slope, abs=2e-6)
        assert 0 < reach.noise.mean < reach.attacked.mean
        assert reach.noise.largest <= reach.attacked.largest * (1 + 1e-5)


def test_how_often_each_tolerance_is_exceeded_is_known_of_a_linear_model() -> None:
    radius = 0.02
    slope = float(W.norm(1)) * radius
    done = bs.evaluate(WIDE, X, Y, threat=bs.Linf(radius), goal=f"move:{0.9 * slope / 2}")
    assert isinstance(done.verdict.reached, tuple)
    assert [(round(r.tolerance / slope, 3), r.share.share) for r in done.verdict.reached] == [
        (0.112, 1.0), (0.225, 1.0), (0.45, 1.0), (0.9, 1.0), (1.8, 0.0),
    ]  # fmt: skip


def test_getting_to_a_value_takes_passing_it_from_where_the_output_is() -> None:
    clean = X @ W + 0.3
    slope, value = float(W.norm(1)) * 0.02, float(clean.median()) + 1e-3
    done = bs.evaluate(WIDE, X, Y, threat=bs.Linf(0.02), goal=f"to:{value!r}", radii=0)
    assert torch.equal(done.success, (clean - value).abs() < slope)
    (reached,) = done.verdict.reached or ()
    assert (reached.tolerance, reached.share.hits) == (value, int(done.success.sum()))


REFUSED = {
    "function": ({"goal": lambda o, t: t - o}, "not about numbers"),
    "unbounded": ({"threat": bs.Linf(), "goal": "move:0.3", "protocol": "curve"}, "without a radius"),
    "budget": ({"goal": "move:0.3", "max_forwards": 10_000}, "has a budget"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_radii_that_cannot_be_searched_are_refused_and_left_out_by_default(name: str) -> None:
    asked, why = REFUSED[name]
    given: dict[str, Any] = {"threat": bs.Linf(0.02), **asked}
    with pytest.raises(InputError, match=why):
        bs.evaluate(LINE, X[:3], Y[:3], radii=2, **given)
    assert bs.evaluate(LINE, X[:3], Y[:3], **given).verdict.reach == ()


class Forged:
    """Parts of a run, one of them with other columns."""

    def __init__(self, parts: Any, name: str, columns: dict[str, Tensor]) -> None:
        self.parts, self.name, self.columns = parts, name, columns
        self.begun, self.run = parts.begun, parts.run

    def __getitem__(self, name: str) -> dict[str, Tensor]:
        return self.parts[name] | (self.columns if name == self.name else {})

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)


def test_the_curve_is_computed_again_by_verify(tmp_path: Path) -> None:
    done = moved("linf:0.02", radii=1, out=tmp_path / "run")
    data = bs.ArrayData(X, Y, values=True)
    assert bs.verify(tmp_path / "run", model=WIDE, data=data).problems == []
    stored, stand = done.verdict.model_dump(mode="json"), done.verdict.robust_of_right.hits
    said = {name: stored[name] for name in ("reached", "reach", "reach_forwards", "reach_backwards")}
    sound = ReachProof(done.config, done.parts, Reader("move:0.3", None), 0.02)
    assert differing("", said, sound.numbers(N, stand)).problems == []
    assert said["reach_forwards"] >= N * (1 + 2 * 8 + 41)  # noise at two radii, and a look and two ways of 20 steps
    costly = Forged(done.parts, "noise/00000", {"noise_cost": done.parts["noise/00000"]["noise_cost"] + 1})
    told = ReachProof(done.config, costly, Reader("move:0.3", None), 0.02)  # type: ignore[arg-type]
    assert len(differing("", said, told.numbers(N, stand)).problems) == 2
    for name, column in (("noise/00000", "noise"), ("shards/00000", "worst_measures")):
        forged = Forged(done.parts, name, {column: done.parts[name][column] + 0.01})
        proof = ReachProof(done.config, forged, Reader("move:0.3", None), 0.02)  # type: ignore[arg-type]
        assert differing("", said, proof.numbers(N, stand)).problems
        drawn = [p for check in proof.checks(WIDE.of_values(), True, bs.Linf(0.02, -1, 2)) for p in check.problems]
        assert bool(drawn) == (column == "noise")


# ------------------------------------------------------------------ without gradients


STEPS = RandomForestRegressor(5, max_depth=3, random_state=0).fit(X.numpy(), Y.numpy())


def most(fitted: Any, x: Tensor, radius: float, tries: int) -> Tensor:
    """How far outputs move at the worst of many random points of the linf ball: (N,)."""
    draws = torch.Generator().manual_seed(0)
    low, high = (x - radius).clamp(0, 1), (x + radius).clamp(0, 1)
    clean, moved = torch.from_numpy(fitted.predict(x)), torch.zeros(len(x), dtype=torch.float64)
    for _ in range(tries):
        at = low + (high - low) * torch.rand(x.shape, generator=draws)
        moved = moved.maximum((torch.from_numpy(fitted.predict(at)) - clean).abs())
    return moved


def one_stage(attack: bs.attacks.Attack, **settings: Any) -> bs.protocols.Protocol:
    return bs.protocols.Protocol("one", (Stage("one", attack, "every row", Objective(loss="margin"), **settings),))


@pytest.mark.parametrize("fitted", [STEPS, KNeighborsRegressor(3).fit(X.numpy(), Y.numpy())], ids=["trees", "nearest"])
def test_evolution_gets_further_across_steps_and_plateaus_than_random_points(fitted: Any) -> None:
    x, radius, search = X[:4], 0.2, one_stage(bs.attacks.Evolution(150), who="all", stop_early=False)
    found = bs.evaluate(fitted, x, Y[:4], threat=bs.Linf(radius), goal="move:9", protocol=search, radii=0)
    moved = next(m for m in found.verdict.measures if m.name == "shift").worst
    assert moved.mean >= float(most(fitted, x, radius, 300).mean()) * (1 - 1e-6)


def test_models_of_numbers_without_gradients_are_searched_each_way_and_to_the_end() -> None:
    every = bs.protocols.protocol("regression-scores", bs.Linf(0.1)).stages
    assert {(stage.who, stage.stop_early, stage.targets == EveryClass()) for stage in every} == {("all", False, True)}
    done = bs.evaluate(STEPS, X[:1], Y[:1], threat=bs.Linf(0.1), goal="up:9", radii=0, row_budget=20)
    assert done.config.protocol == "regression-scores"


def test_a_search_that_ends_at_its_first_success_says_nothing_of_larger_tolerances(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"threat": bs.Linf(0.1), "goal": "move:0.01", "protocol": one_stage(bs.attacks.Square(20))}
    done = bs.evaluate(STEPS, X[:4], Y[:4], out=tmp_path / "run", **asked)
    assert isinstance(done.verdict.reached, tuple)
    assert [r.tolerance for r in done.verdict.reached] == [0.0025, 0.005, 0.01]
    assert bs.verify(tmp_path / "run", model=STEPS, data=bs.ArrayData(X[:4], Y[:4], values=True)).problems == []


def test_noise_that_goes_further_than_a_search_counts_and_is_said() -> None:
    """One query is a weak search."""
    weak = one_stage(bs.attacks.Evolution(1), who="all", stop_early=False)
    done = bs.evaluate(STEPS, X[:8], Y[:8], threat=bs.Linf(0.2), goal="move:9", protocol=weak, radii=1)
    (warning,) = [f for f in done.findings if f.code == "noise-went-further"]
    assert warning.severity == "warning"
    for reach in done.verdict.reach:
        assert reach.attacked.largest >= reach.noise.largest


def test_generalised_linear_models_have_gradients() -> None:
    y = Y.numpy() - Y.numpy().min() + 1
    for estimator in (PoissonRegressor(), GammaRegressor(), TweedieRegressor(power=1.5), TweedieRegressor(power=0)):
        fitted = estimator.fit(X.numpy(), y)
        model = bs.from_estimator(fitted)
        assert not isinstance(model, bs.BlackBox)
        assert np.allclose(model.logits(X).detach().numpy().reshape(-1), fitted.predict(X.numpy()), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "threat"), [((3,), bs.Linf(0.05, -9, 9)), ((1, 2), bs.L2(0.1, -9, 9))], ids=["horizon", "channels"]
)
def test_of_a_forecast_the_number_that_moves_furthest_counts(
    shape: tuple[int, ...], threat: bs.Linf | bs.L2, tmp_path: Path
) -> None:
    """Within eps, number k of a linear forecast moves by eps |w_k|_q, whichever of them it is that moves most."""
    g, k = torch.Generator().manual_seed(0), math.prod(shape)
    weight = torch.randn(k, 10, generator=g)
    weight[-1] *= 2
    net = torch.nn.Sequential(torch.nn.Linear(10, k), torch.nn.Unflatten(1, shape))
    net[0].weight.data, net[0].bias.data = weight, torch.zeros(k)
    x = torch.rand(1, 10, generator=g)
    best = float(threat.radius or 0) * float(threat.dual(weight).max())
    model, data = bs.Model(net, bounds=(-9, 9), output="values"), bs.ArrayData(x, net(x).detach(), values=True)
    run = bs.evaluate(
        model, data=data, threat=threat, goal=f"move:{best * 0.99}", radii=int(k == 2), out=tmp_path / "run"
    )
    assert run.verdict.robust_accuracy == 0
    shift = {m.name: m.worst for m in run.verdict.measures}["shift"]
    assert (shift.mean, shift.largest) == pytest.approx((best, best), rel=1e-4)
    assert [r.attacked.mean for r in run.verdict.reach] == pytest.approx([best / 2, best][: 2 * (k == 2)], rel=1e-4)
    if k == 2:
        assert not bs.verify(tmp_path / "run", model, data).problems


def test_a_forecast_of_another_shape_than_y_is_refused() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(10, 6), torch.nn.Unflatten(1, (3, 2)))
    with pytest.raises(InputError, match=r"as many numbers per input as there are in y \(2, 3\), got outputs \(3, 2\)"):
        bs.evaluate(
            bs.Model(net, output="values"), torch.rand(2, 10), torch.zeros(2, 2, 3), threat="linf:0.1", goal="move:1"
        )
