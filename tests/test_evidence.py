"""Which rows a verdict may count: those that were searched, and in a targeted run those that had no target yet."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import APGD, FGSM, FMN, PGD, DeepFool, HopSkipJump, RayS, Square
from blindspots.attacks.attack import Attack, State, zeros
from blindspots.engine.cascade import Stage
from blindspots.engine.result import Result
from blindspots.engine.targets import Closest, EveryClass, Given, LeastLikely, OneClass, RandomClass, Targets
from blindspots.errors import InputError
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.experiments.evaluate.words import headline, meaning, never_searched, right_and_standing
from blindspots.experiments.universal.experiment import UniversalRun
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.report.experiment import write_report
from blindspots.report.words import ThreatWords
from blindspots.runs.metric import require
from blindspots.runs.verify import verify
from blindspots.runs.world import Progress
from blindspots.threat import Threat
from closed_form import Known, Linear, optimum, plane, planes
from small_run import THREAT, Net, inputs, network, rows_of, run
from test_cli import at_home, blindspots, plain
from test_verify import forge

__all__ = ["at_home"]  # commands run in an empty folder
ROWS = 24
ALONE = {"threads": 1, "chunk": 8}
STEP = (Stage("descent", PGD(steps=3, random_start=False), "one stage"),)


@pytest.fixture(scope="module")
def known() -> Known:
    """Rows that no attack can break at the radii used here, but for one in eight that the model gets wrong."""
    made = plane(ROWS, (1, 4, 4), (0.2, 0.4))
    return replace(made, y=torch.where(torch.arange(ROWS) % 8 == 0, 1 - made.y, made.y))


def evaluated(known: Known, stages: tuple[Stage, ...] = STEP, radius: float = 1e-3, **settings: Any) -> Evaluation:
    return bs.evaluate(
        Model(known.net), known.x, known.y, threat=bs.Linf(radius), protocol=stages, **{**ALONE, **settings}
    )


def outcomes(result: Evaluation) -> set[str]:
    """Of the rows that stand."""
    return set(result.verdict.outcomes) - {"already_wrong", "won", "already_target"}


# ------------------------------------------------------------------ a row stands after a search


def test_rows_that_were_searched_to_the_end_are_evidence(known: Known) -> None:
    result = evaluated(known)
    assert result.searched.hits == 21
    assert result.searched.rows == ROWS
    assert result.searched.share == result.robust_accuracy
    assert result.searched.interval == result.interval
    assert result.verdict.unsearched == 0
    assert never_searched(result.verdict) == ""
    assert not require(result.verdict, "0.8")
    assert require(result.verdict, "0.9") == ["0.9 was required, but robust_accuracy is 0.875"]


@dataclass(frozen=True)
class Idle(Attack):
    """Looks so many times at the clean input."""

    steps: int = 3
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf",)

    @property
    def looks(self) -> int:
        return self.steps

    def init(self, problem: Problem, job: Job) -> State:
        return State(job.x, zeros(job))

    def step(self, problem: Problem, job: Job, state: State, seen: Seen) -> State:
        return State(job.x, state.t + 1)


def stage(attack: Attack, **more: Any) -> tuple[Stage, ...]:
    return (Stage("only", attack, "", **more),)


EMPTY: dict[str, tuple[str, Callable[[Known], Evaluation]]] = {
    "backwards": ("budget", lambda k: evaluated(k, max_backwards=1)),
    "forwards": ("budget", lambda k: evaluated(k, max_forwards=ROWS * 4)),
    "seconds": ("budget", lambda k: evaluated(k, max_seconds=0.0)),
    "budget of a row": ("budget", lambda k: evaluated(k, row_budget=2)),
    "budget between restarts": ("budget", lambda k: evaluated(k, stage(PGD(3), restarts=3), row_budget=15)),
    "no row is broken yet": ("unsearched", lambda k: evaluated(k, stage(PGD(3), who="broken"))),
    "no row is close enough": ("unsearched", lambda k: evaluated(k, stage(PGD(3), reach=0.0))),
    "after a stage that there is not": ("unsearched", lambda k: evaluated(k, stage(PGD(3), after="nothing"))),
    "no second class": (
        "unsearched",
        lambda k: evaluated(k, stage(PGD(3), objective=Objective(directed=True), targets=Closest(skip=1))),
    ),
    "radius 0": ("unsearched", lambda k: evaluated(k, radius=0.0)),
    "radius 0, from outside": ("unsearched", lambda k: evaluated(k, stage(FMN(10), stop_early=True), radius=0.0)),
    "looks at the clean input": ("unsearched", lambda k: evaluated(k, stage(Idle()))),
    "one query": ("unsearched", lambda k: evaluated(k, stage(RayS(queries=1)))),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_rows_that_were_not_searched_are_no_evidence(known: Known, name: str) -> None:
    outcome, made = EMPTY[name]
    v = made(known).verdict
    assert v.outcomes[outcome] == 21
    assert v.robust_accuracy == 21 / ROWS
    assert v.searched.hits == 0
    assert v.unsearched == 21
    assert "for 21 of the 21 rows that stand no search ran to its end" in "".join(require(v, "0.5"))
    assert "0.0 %" in plain(never_searched(v))
    code = {"budget": "budget-spent", "unsearched": "never-searched"}[outcome]
    assert code in [finding.code for finding in v.findings]


def test_a_row_without_a_slope_is_not_searched_by_descent() -> None:
    """The steps of signs of zeros stay where they are; from random starts they do not."""
    x = torch.full((4, 1, 4, 4), 0.5)
    known = Known(Steps(), x, torch.ones(4, dtype=torch.int64))
    assert evaluated(known).searched.hits == 0
    assert evaluated(known, stage(PGD(3))).searched.hits == 4


class Steps(nn.Module):
    """The mean is rounded: its gradient is zero, but not for one row that keeps the model a model with gradients."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        score = torch.where(mean > 0.4, (mean > 0.4).float() + 0 * mean, mean)
        return torch.stack([1 - score, score], 1)


def test_an_attack_without_a_step_is_refused(known: Known) -> None:
    with pytest.raises(InputError, match="expected steps of at least 1"):
        evaluated(known, stage(PGD(0)))


def test_a_protocol_without_a_stage_is_refused(known: Known) -> None:
    with pytest.raises(InputError, match="expected a protocol of at least one stage"):
        evaluated(known, ())


@pytest.mark.parametrize("attack", [FGSM(), Square(1), PGD(1), DeepFool()], ids=str)
def test_short_searches_are_searches(known: Known, attack: Attack) -> None:
    assert evaluated(known, stage(attack, stop_early=True)).searched.hits == 21


def test_only_the_rows_that_a_share_lets_in_are_evidence(known: Known) -> None:
    v = evaluated(known, stage(PGD(3), share=0.5)).verdict
    assert v.searched.hits == v.stages[0].rows
    assert 0 < v.searched.hits < 21
    assert v.outcomes["unsearched"] == 21 - v.searched.hits


def test_a_stage_whose_need_was_never_found_out_leaves_its_rows_without_a_search(known: Known) -> None:
    """Sentinels that the budget kept from being searched do not spare the others their search."""
    stages = (
        Stage("first", PGD(1, random_start=False), ""),
        Stage("sentinels", PGD(20), "", share=0.5),
        Stage("all", PGD(20), "", after="sentinels"),
    )
    whole = evaluated(known, stages).verdict
    assert whole.outcomes["stood"] == 21
    cut = evaluated(known, stages, max_backwards=ROWS + 40).verdict
    assert cut.outcomes["budget"] == 21
    assert cut.searched.hits == 0


def test_a_row_that_some_stage_searched_stands_though_another_found_no_start() -> None:
    """Nearly all of the box is of one class, so no image is a start for a search by labels."""
    net = Linear(torch.stack([torch.zeros(16), torch.full((16,), 1e-3)]), torch.tensor([0.0, 1.0]))
    x = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    one = Known(net, x, torch.ones(4, dtype=torch.int64))
    labels = stage(HopSkipJump(queries=200))
    assert outcomes(evaluated(one, labels)) == {"no_start"}
    for stages in ((*STEP, *labels), (*labels, *STEP)):
        assert outcomes(evaluated(one, stages)) == {"stood"}


def test_resuming_comes_to_the_same_evidence(tmp_path: Path) -> None:
    """A run that is stopped between two stages: what was searched is remembered."""

    def stop(progress: Progress) -> None:
        if "stage square" in progress.said:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=stop, max_backwards=600)
    again = run(tmp_path / "run", resume=True, max_backwards=600)
    assert again.verdict.outcomes == run(max_backwards=600).verdict.outcomes


# ------------------------------------------------------------------ --require


@pytest.mark.parametrize(
    "more", ["--max-backwards 1", "--max-seconds 0", "--row-budget 2", "--max-forwards 140"], ids=str
)
def test_a_gate_is_not_met_by_rows_that_nobody_searched(more: str) -> None:
    result = blindspots(f"evaluate digits --data digits --threat linf:0.01 --rows 24 --threads 1 --require 0.5 {more}")
    assert result.exit_code == 1, result.output
    assert "rows that stand no search ran to its end" in plain(result.stderr)
    assert "Robust, searched" in plain(result.stdout)


def test_a_gate_is_met_by_rows_that_were_searched() -> None:
    line = "evaluate digits --data digits --threat linf:0.01 --rows 24 --threads 1 --require 0.5"
    result = blindspots(line)
    assert result.exit_code == 0, result.output
    assert "searched" not in plain(result.stdout)


def test_a_gate_is_not_met_where_nothing_may_change() -> None:
    result = blindspots("attack digits --data digits --attack fgsm --threat linf:0 --rows 24 --threads 1 --require 0.5")
    assert result.exit_code == 1
    assert "never-searched" in Path("runs/digits-fgsm-linf-0/run.json").read_text()


def test_a_gate_is_not_met_where_every_row_has_its_target() -> None:
    """One class alone, and that is the target."""
    x, y = bs.load_data("digits").rows(0, 100)
    right = bs.load_model("digits").logits(x).argmax(1) == y
    at = (right & (y == 3)).nonzero()[:, 0]
    np.savez("threes.npz", x=x[at].numpy(), y=y[at].numpy())
    line = "attack digits --data threes.npz --attack pgd --threat linf:0.3 --targeted --targets class:number=3"
    result = blindspots(f"{line} --threads 1 --require 0")
    assert result.exit_code == 1, result.output
    assert "no row was attacked" in result.stderr
    assert "Every row has its target class from the start" in plain(result.stdout)
    assert "nan" not in result.stdout.lower()


# ------------------------------------------------------------------ targeted runs


def towards(known: Known, targets: Targets, radius: float, attack: Attack | None = None) -> Evaluation:
    return bs.attack(
        Model(known.net), known.x, known.y, attack or PGD(30), threat=bs.Linf(radius), targeted=True, targets=targets,
        threads=1,
    )  # fmt: skip


@pytest.mark.parametrize("radius", [0.01, 0.03, 0.06])
def test_rows_that_have_the_target_do_not_count(radius: float) -> None:
    """Two classes, one plane: of the other class exactly the rows that are near enough reach the target."""
    known = plane(40, (1, 4, 4), (0.01, 0.4))
    reachable = (optimum(known, bs.Linf()) < radius * 0.999)[known.y == 0]
    result = towards(known, OneClass(1), radius)
    v = result.verdict
    assert (v.rows, v.counted, v.outcomes["already_target"]) == (40, 20, 20)
    assert v.reached is not None
    assert (v.reached.hits, v.reached.rows) == (int(reachable.sum()), 20)
    assert v.robust_accuracy == int((~reachable).sum()) / 20
    assert v.searched.hits == 20 - int(reachable.sum())
    assert v.clean_accuracy == 1
    assert [r for r, y in zip(result.results, known.y, strict=True) if y == 1] == [Result.ALREADY_TARGET] * 20
    assert [int(n) for n in rows_of(result)["forwards"][known.y == 1]] == [1] * 20


def test_a_wrong_row_that_is_taken_for_its_target_does_not_count_either() -> None:
    """And one that is labelled as the target cannot be made wrong by reaching it."""
    known = plane(12, (1, 4, 4), (0.2, 0.4))
    y = known.y.clone()
    y[0], y[1] = 1, 0  # row 0 is taken for 0, row 1 for 1
    v = towards(Known(known.net, known.x, y), OneClass(1), 1e-3).verdict
    assert v.counted == 5  # rows 2, 4, 6, 8, 10
    assert v.robust_of_right.rows == 5
    assert v.robust_accuracy == 1
    assert v.clean_accuracy == 10 / 12


RULES: dict[str, Callable[[Tensor], Targets]] = {
    "closest": lambda y: Closest(),
    "several": lambda y: Closest(count=2),
    "every": lambda y: EveryClass(),
    "random": lambda y: RandomClass(seed=1),
    "least likely": lambda y: LeastLikely(),
    "one class": lambda y: OneClass(2),
    "given": lambda y: Given(tuple(((y + (torch.arange(len(y)) % 2)) % 5).tolist())),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_leaves_out_the_rows_that_have_one_of_their_targets(name: str, tmp_path: Path) -> None:
    x, y = inputs(40)
    model, rule = network(), RULES[name](y)
    with torch.no_grad():
        logits = model.logits(x)
    prediction = logits.argmax(1)
    targets = rule.choose(*(None,) * 2, Rows(y), logits, None, None)  # type: ignore[arg-type]
    had = ((targets == prediction[:, None]) | (targets == y[:, None])).any(1)
    result = bs.attack(
        model, data=bs.ArrayData(x, y), attack=PGD(5), threat=bs.Linf(0.05), targeted=True, targets=rule,
        threads=1, out=tmp_path / "run",
    )  # fmt: skip
    v = result.verdict
    assert v.counted == 40 - int(had.sum())
    assert torch.equal(torch.tensor([r == Result.ALREADY_TARGET for r in result.results]), had)
    assert v.robust_of_right.rows == int((~had & (prediction == y)).sum())
    assert v.reached is not None
    assert v.reached.hits == int(result.success.sum())
    reached = model.logits(result.adversarial[result.success]).argmax(1)
    assert bool((targets[result.success] == reached[:, None]).any(1).all())
    proof = verify(tmp_path / "run", model, bs.ArrayData(x, y))
    assert proof.ok, proof.problems
    assert write_report(tmp_path / "run").is_file()


@dataclass(frozen=True)
class Rows:
    """As much of `Samples` as the rules look at."""

    y: Tensor

    @property
    def id(self) -> Tensor:
        return torch.arange(len(self.y))


def test_a_run_of_targeted_and_other_stages_leaves_nobody_out() -> None:
    known = plane(12, (1, 4, 4), (0.2, 0.4))
    targeted = Stage("towards", PGD(3), "", Objective(targeted=True), OneClass(1))
    v = evaluated(known, (targeted, *STEP)).verdict
    assert (v.counted, v.searched.hits, v.reached) == (12, 12, None)
    assert v.stages[0].rows == 6


def test_what_is_said_of_a_targeted_run() -> None:
    v = towards(plane(40, (1, 4, 4), (0.01, 0.4)), OneClass(1), 0.03).verdict
    said = plain(right_and_standing(v))
    assert said.startswith(
        "Of 40 rows, 20 have their target class from the start and do not count; of the other 20, 20"
    )
    assert v.reached is not None
    assert f"which {v.reached.hits} become" in said
    threat = ThreatWords("linf:0.03", (0, 1))
    assert "get the class that they want for about" in plain(meaning(v, threat))
    assert plain(headline(["net"], [v], [threat])).startswith("The attacks reach their target class on")


# ------------------------------------------------------------------ verify


@pytest.fixture
def targeted(tmp_path: Path) -> Path:
    x, y = inputs(40)
    bs.attack(
        network(), data=bs.ArrayData(x, y), attack=PGD(5), threat=bs.Linf(0.05), targeted=True, targets=OneClass(2),
        threads=1, out=tmp_path / "run",
    )  # fmt: skip
    return tmp_path / "run"


def forged(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> list[str]:
    """What a proof finds after a change of the only shard that was sealed anew."""
    forge(folder, change, recount=False, part="shards/00000")
    return verify(folder, network(), bs.ArrayData(*inputs(40))).problems


def first(column: Tensor, value: int) -> int:
    return int((column == value).nonzero()[0])


def put(name: str, where: int, value: int) -> Callable[[dict[str, Tensor]], None]:
    def change(c: dict[str, Tensor]) -> None:
        c[name][first(c["result"], where)] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("result", Result.STOOD, Result.ALREADY_TARGET), "rows left out where they had their target"),
        (put("result", Result.ALREADY_TARGET, Result.STOOD), "rows left out where they had their target"),
        (put("target", Result.STOOD, 1), "the target 2 that the manifest names"),
        (put("target", Result.WON, 1), "adversarial examples that are taken for their target"),
        (put("forwards", Result.STOOD, 1), "a search of the rows that stand"),
    ],
)
def test_a_forged_denominator_is_found(targeted: Path, change: Callable[[dict[str, Tensor]], None], said: str) -> None:
    assert any(said in problem for problem in forged(targeted, change))


# ------------------------------------------------------------------ few classes


@pytest.mark.parametrize(("classes", "threat"), [(2, bs.Linf(0.02)), (3, bs.L2(0.05)), (2, bs.L1(0.1))], ids=str)
def test_autoattack_runs_on_few_classes_and_says_with_which_losses(classes: int, threat: Threat) -> None:
    known = plane(8, (1, 3, 3), (0.01, 0.3)) if classes == 2 else planes(8, (1, 3, 3), 3)
    reachable = optimum(known, threat) < threat.radius * 0.999  # type: ignore[operator]
    given = {"threat": threat, "protocol": "autoattack", "row_budget": 1500}  # a row that stands has 5000 queries else
    result = bs.evaluate(Model(known.net), known.x, known.y, threads=1, **given)
    assert torch.equal(result.success, reachable)
    note = next(f for f in result.findings if f.code == "loss-replaced")
    assert "apgd-t" in note.saw
    losses = [text for text in result.config.stages if "name='apgd-t'" in text]
    wanted = "directed=False, loss='dlr'" if classes == 3 else "directed=True, loss='margin'"
    assert all(wanted in text for text in losses)
    assert f"there are {classes} classes" in next(s.why for s in result.verdict.stages if s.name == "apgd-t")


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["fast", "adaptive", "autoattack-plus", "autoattack-rand", "curve"])
def test_every_protocol_runs_on_few_classes(classes: int, name: str) -> None:
    known = plane(4, (1, 3, 3), (0.002, 0.004)) if classes == 2 else planes(4, (1, 3, 3), 3)
    threat = bs.L2() if name == "curve" else bs.L2(0.5)
    result = bs.evaluate(Model(known.net), known.x, known.y, threat=threat, protocol=name, threads=1)
    assert result.success.all()


def test_a_run_on_two_classes_is_resumed_and_proved(tmp_path: Path) -> None:
    protocol = tmp_path / "mine.toml"
    protocol.write_text(
        '[[stage]]\nname = "mine"\nattack = "apgd:steps=5"\nloss = "dlr"\ntargets = "closest:count=9"\n'
    )
    x, y = inputs(16, 2)
    model, data = Model(Net(2)), bs.ArrayData(x, y)
    asked = {"threat": THREAT, "protocol": str(protocol), "data": data, "out": tmp_path / "run"}
    made = bs.evaluate(model, threads=1, **asked)  # type: ignore[arg-type]
    assert bs.evaluate(model, threads=1, resume=True, **asked).verdict.outcomes == (  # type: ignore[arg-type]
        made.verdict.outcomes
    )
    assert "loss='margin'" in made.config.stages[0]
    proof = verify(tmp_path / "run", model, data)
    assert proof.ok, proof.problems


def test_a_stage_without_a_class_to_run_towards_is_entered_by_nobody() -> None:
    known = plane(8, (1, 3, 3), (0.2, 0.4))
    result = bs.evaluate(Model(known.net), known.x, known.y, threat=bs.Linf(1e-3), threads=1)
    second = next(s for s in result.verdict.stages if s.name == "second class")
    assert (second.rows, second.forwards) == (0, 0)


def test_a_loss_that_is_asked_for_by_name_is_refused_where_it_is_not_defined() -> None:
    known = plane(4, (1, 3, 3), (0.2, 0.4))
    with pytest.raises(InputError, match="needs at least 3 classes"):
        bs.attack(Model(known.net), known.x, known.y, APGD(3), threat=bs.Linf(0.1), loss="dlr")


# ------------------------------------------------------------------ universal and transfer


def test_the_passes_of_a_targeted_universal_search_count_what_the_verdict_counts() -> None:
    x, y = bs.load_data("digits").rows(0, 120)
    model = bs.load_model("digits")
    made = bs.universal(model, x, y, threat=bs.Linf(1e-3), target=3, method="uap:passes=1", fit=80)
    assert made.verdict.heldout.fooled.rows == 40 - int((model.logits(x).argmax(1) == 3)[heldout_of(made)].sum())
    assert made.verdict.fit.fooled.hits == 0
    assert [p.fooled_fit for p in made.verdict.history] == [0]
    far = bs.universal(model, x, y, threat=bs.Linf(0.4), target=3, method="uap:passes=2", fit=80).verdict
    assert far.history[-1].fooled_fit == pytest.approx(far.fit.fooled.share)


def heldout_of(made: UniversalRun) -> list[int]:
    """Places of the rows that judged."""
    return list(made.parts.joined("heldout")["row"].tolist())


def test_a_gate_on_a_perturbation_wants_evidence() -> None:
    x, y = bs.load_data("digits").rows(0, 200)
    three = bs.load_model("digits").logits(x).argmax(1) == 3
    np.savez("threes.npz", x=x[three].numpy(), y=y[three].numpy())
    np.savez("rows.npz", x=x[~three].numpy(), y=y[~three].numpy())
    result = blindspots(
        "universal digits --data rows.npz --heldout threes.npz --threat linf:0.1 --target 3 --threads 1 --require 0.5 "
        "--method sgd:passes=1"
    )
    assert result.exit_code == 1, result.output
    assert "all unseen rows are taken for the target as they are" in plain(result.stderr)
    assert "already-target" in Path("runs/digits-universal-linf-0.1/run.json").read_text()


def test_a_universal_gate_is_met_by_a_perturbation_that_was_made() -> None:
    line = "universal digits --data digits --rows 120 --threat linf:0.01 --threads 1 --method sgd:passes=1"
    assert blindspots(f"{line} --require 0.5 --out a").exit_code == 0
    missed = blindspots(f"{line} --require 0 --out b".replace("0.01", "0.3"))
    assert missed.exit_code == 1
    assert "0 was required, but fooling_rate is" in plain(missed.stderr)


def test_cells_of_a_targeted_matrix_leave_out_the_rows_that_a_model_takes_for_the_target_anyway() -> None:
    """Two linear models of two classes, target 1: what counts are the rows that a model takes for class 0."""
    first, second = (plane(24, (1, 4, 4), (0.05, 0.4), seed) for seed in (0, 1))
    run = bs.transfer(
        [Model(first.net, name="a"), Model(second.net, name="b")], first.x, first.y, threat=bs.Linf(0.02),
        targeted=True, targets=OneClass(1), threads=1,
    )  # fmt: skip
    clean, y = run.clean["prediction"], first.y
    assert run.verdict.targeted is not None
    for i, name in enumerate(("a", "b")):
        made = run.source(name)
        for j in range(2):
            counts = (y != 1) & (clean[j] != 1)
            cell = run.verdict.targeted[i][j]
            assert cell.rows == int(counts.sum())
            assert cell.hits == int(((made["prediction"][j] == 1) & counts).sum())
        found = run.verdict.found[i]
        assert found == run.verdict.targeted[i][i]
    untouched = (y != 1) & (clean[0] == 1)
    assert torch.equal(run.adversarial("a")[untouched], first.x[untouched])
