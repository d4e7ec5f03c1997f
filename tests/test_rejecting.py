"""Models that may refuse an answer: what counts, what attacks see, and what is said of it."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import APGD, ODI, PGD, Attack, Bisect, Boundary, CarliniWagner, Joint, Orthogonal, Square
from blindspots.ball import BALLS, L2, Linf, parse_ball
from blindspots.engine.cascade import Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.others import OtherImages
from blindspots.errors import InputError
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.fit import check_answers
from blindspots.goals import folded
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.preflight import examine
from blindspots.problem import Job, Need, Problem, Question
from blindspots.random import keys
from blindspots.records import REJECTED
from blindspots.report.experiment import write_report
from blindspots.rows import leaves
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from blindspots.runs.verify import verify
from blindspots.testing.attack import Net, drive, jobs, same
from blindspots.threat import Threat
from small_run import inputs, network, rows_of
from test_verify import forge

Plane = Callable[[Tensor], Tensor]


class Rejecting(Model):
    @property
    def rejects(self) -> bool:
        return True


class Guarded(nn.Module):
    """Two classes of inputs (B, 2), class 1 where `boundary` is positive; rejected where `suspicion` is."""

    def __init__(self, boundary: Plane, suspicion: Plane) -> None:
        super().__init__()
        self.boundary, self.suspicion = boundary, suspicion

    def forward(self, x: Tensor) -> Tensor:
        one, suspicion = self.boundary(x), self.suspicion(x)
        return torch.stack([torch.zeros_like(one), one, one.clamp_min(0) + suspicion], 1)


def guarded(boundary: Plane, suspicion: Plane) -> Model:
    return Rejecting(Guarded(boundary, suspicion), name="guarded")


def beyond_half(x: Tensor) -> Tensor:
    return x[:, 0] - 0.5


def rising(x: Tensor) -> Tensor:
    return 2 * x[:, 0] - x[:, 1] - 0.2


def wall(x: Tensor) -> Tensor:
    return 1 - 10 * (x[:, 0] - 0.4).abs()


def without_slope(x: Tensor) -> Tensor:
    return torch.where((x[:, 0] > 0.45) & (x[:, 1] < 0.6995), 1.0, -1.0) + 0 * x[:, 0]


# From (0.3, 0.5) a wrong class needs 0.2 more of the first value; to stay unsuspicious, the second has to rise by 0.3.
# So of the wrong points that are not rejected, the nearest is (0.5, 0.8), and without the detector 0.2 would do.
LINEAR = guarded(beyond_half, rising)
NEAREST = {"linf": 0.3, "l2": math.hypot(0.2, 0.3), "l1": 0.5}
FLAT = guarded(lambda x: x[:, 0] - 0.45, without_slope)  # nearest: (0.45, 0.6995), 0.1995 away in linf
WALLED = guarded(beyond_half, wall)  # rejected from 0.3 to 0.5 of the first value, with the slope back until 0.4


def start(rows: int = 4) -> tuple[Tensor, Tensor]:
    return torch.tensor([[0.3, 0.5]]).repeat(rows, 1), torch.zeros(rows, dtype=torch.int64)


def won(attack: Attack, threat: Threat, model: Model = LINEAR, **asked: object) -> int:
    return int(bs.attack(model, *start(), attack, threat=threat, **asked).success.sum())


# ------------------------------------------------------------------ what counts


def test_a_row_is_lost_exactly_where_a_wrong_class_beats_label_and_rejection() -> None:
    scores = torch.randint(-2, 3, (500, 5), generator=torch.Generator().manual_seed(0)).float()
    y = torch.randint(4, (500,), generator=torch.Generator().manual_seed(1))
    others = scores[:, :-1].scatter(1, y[:, None], -torch.inf).amax(1)
    beaten = (others > scores.gather(1, y[:, None])[:, 0]) & (others > scores[:, -1])
    assert torch.equal(Objective().margin(folded(scores, y), y, y) < 0, beaten)
    assert 0 < beaten.sum() < 500


def test_a_target_is_reached_only_where_it_beats_rejection_too() -> None:
    y, target, objective = torch.tensor([0]), torch.tensor([1]), Objective(targeted=True)
    for scores, reached in (([0.0, 1, 2], False), ([0.0, 1, 1], False), ([0.0, 1, 0.5], True), ([1.0, 1, 0], False)):
        assert bool(objective.margin(folded(torch.tensor([scores]), y), y, target) < 0) is reached


def test_scores_that_are_not_numbers_stay_that() -> None:
    scores = torch.tensor([[1.0, 0.0, torch.nan], [torch.nan, 0.0, 1.0]])
    assert (
        Objective().margin(folded(scores, torch.zeros(2, dtype=torch.int64)), *2 * [torch.tensor([0, 0])]).isnan().all()
    )


def test_a_clean_row_that_is_rejected_counts_as_wrong() -> None:
    x, y = torch.tensor([[0.3, 0.5], [0.3, 0.3], [0.7, 0.5]]), torch.tensor([0, 0, 1])
    result = bs.attack(LINEAR, x, y, PGD(2), threat=Linf(0.01))
    (columns,) = result.shards()
    assert columns["right"].tolist() == [True, False, False]
    assert columns["prediction"].tolist() == [0, REJECTED, REJECTED]
    assert result.clean_accuracy == result.robust_accuracy == pytest.approx(1 / 3)


def test_rejection_is_no_label() -> None:
    x, y = start()
    with pytest.raises(InputError, match="expected labels from 0 to 1, since the model has 2 classes, got 2"):
        bs.attack(LINEAR, x, y + 2, PGD(2), threat=Linf(0.1))
    assert "labels-out-of-range" in [f.code for f in examine(LINEAR, x, y + 2).findings]
    assert "labels-out-of-range" not in [f.code for f in examine(LINEAR, x, y).findings]


def test_an_example_that_is_rejected_once_it_is_rounded_is_none_in_8_bits() -> None:
    result = bs.attack(FLAT, *start(), Square(300), threat=Linf(0.1999))  # 0.6999 is rounded to 178 / 255, too little
    (columns,) = result.shards()
    assert columns["prediction_8bit"].tolist() == 4 * [REJECTED]
    assert (result.robust_accuracy, result.verdict.robust_accuracy_8bit) == (0, 1)


def test_models_that_answer_everything_see_no_fold() -> None:
    scores, y = torch.randn(3, 5), torch.tensor([0, 1, 2])
    oracle = Oracle(Model(Net((4,))))
    assert oracle.goal.scores(scores, y) is scores
    assert torch.equal(oracle.goal.predict(scores, y), scores.argmax(1))


# ------------------------------------------------------------------ what attacks see


PROBES = torch.tensor([[0.3, 0.5], [0.6, 0.5], [0.55, 1.0], [0.4, 0.3]])


@pytest.mark.parametrize("need", [n for n in Need if n is not Need.SLOPES])
@pytest.mark.parametrize("draws", [1, 3])
def test_no_look_shows_rejection(need: Need, draws: int) -> None:
    y = torch.zeros(4, dtype=torch.int64)
    oracle = Oracle(LINEAR, draws=draws)
    seen = oracle.look(
        Problem(Objective(), Linf(), True), Question(y, y), PROBES, need, torch.zeros(4, 1, dtype=torch.int64)
    )
    assert seen.logits.shape == (4, 2)
    assert seen.won.tolist() == [False, False, True, False]
    assert torch.equal(seen.logits.argmax(1), torch.tensor([0, 0, 1, 0]))
    assert torch.equal(oracle.goal.predict(oracle.logits(PROBES), y), torch.tensor([0, REJECTED, 1, REJECTED]))


def test_the_label_slopes_with_rejection_where_that_is_larger() -> None:
    y, classes = torch.zeros(2, dtype=torch.int64), torch.tensor([[0, 1]]).repeat(2, 1)
    x = torch.tensor([[0.3, 0.5], [0.6, 0.5]])
    seen = Oracle(LINEAR).look(Problem(Objective(), Linf(), True), Question(y, y), x, Need.JACOBIAN, classes)
    assert seen.grad is not None
    assert torch.equal(seen.grad, torch.tensor([[[0.0, 0], [1, 0]], [[3, -1], [1, 0]]]))


def test_a_claim_is_confirmed_with_rejection() -> None:
    y = torch.zeros(4, dtype=torch.int64)
    problem, oracle = Problem(Objective(), Linf(), True), Oracle(LINEAR)
    seen = oracle.look(problem, Question(y, y), PROBES, Need.VALUE)
    claimed = replace(seen, won=torch.ones(4, dtype=torch.bool))
    assert oracle.confirm(problem, Question(y, y), PROBES, claimed).won.tolist() == [False, False, True, False]


def test_a_rejected_image_is_no_start() -> None:
    x = torch.tensor([[0.3, 0.5], [0.6, 0.5], [0.9, 1.0]])
    samples = Samples(torch.arange(3), x, torch.tensor([0, 1, 0]), torch.ones(3))
    starts = OtherImages(samples, torch.tensor([0, REJECTED, 1]), Objective())
    assert torch.equal(starts(torch.tensor([0]), torch.tensor([0])), x[2:])
    x, y = torch.tensor([[0.3, 0.5], [0.55, 0.95]]), torch.tensor([0, 1])
    assert bs.attack(LINEAR, x, y, Boundary(50), threat=L2()).success.all()


# ------------------------------------------------------------------ closed forms

KNOWING = [
    (PGD(100, stride=0.5, schedule="cosine", random_start=False), "margin", 1),
    (APGD(), "margin", 1),
    (Joint(40), None, 1),
    (Joint(40, weight=None), None, 8),
    (Orthogonal(40, variant="selective"), None, 1),
]


@pytest.mark.parametrize(("attack", "loss", "restarts"), KNOWING, ids=lambda a: f"{a!r}"[:40])
@pytest.mark.parametrize("threat", [Linf(), L2()], ids=lambda t: t.name)
def test_attacks_that_know_the_detector_win_from_its_distance_on(
    attack: Attack, loss: str | None, restarts: int, threat: Threat
) -> None:
    r = NEAREST[threat.name]
    assert won(attack, replace(threat, radius=0.98 * r), loss=loss, restarts=restarts) == 0
    assert won(attack, replace(threat, radius=1.05 * r), loss=loss, restarts=restarts) == 4


@pytest.mark.parametrize("threat", [Linf(), L2()], ids=lambda t: t.name)
def test_the_smallest_distance_is_that_to_the_nearest_point_that_is_not_rejected(threat: Threat) -> None:
    result = bs.attack(LINEAR, *start(1), CarliniWagner(200), threat=threat, loss="margin")
    assert 1 - 1e-5 < float(result.norms[0]) / NEAREST[threat.name] < 1.06


def test_orthogonal_steps_leave_the_detector_as_it_is() -> None:
    """Along its edge, the direction (1, 2): (0.2, 0.4) is as far as they have to go from the clean input."""
    attack = Orthogonal(40, random_start=False)
    assert won(attack, L2(0.98 * math.hypot(0.2, 0.4))) == 0
    assert won(attack, L2(1.05 * math.hypot(0.2, 0.4))) == 4


@pytest.mark.parametrize("attack", [Joint(random_start=False), Orthogonal(random_start=False)], ids=repr)
def test_a_wall_of_rejection_stops_who_takes_it_for_the_label(attack: Attack) -> None:
    plain = PGD(40, random_start=False)
    assert won(plain, Linf(0.4), guarded(lambda x: x[:, 0] - 0.5, lambda x: x[:, 0] - 9), loss="margin") == 4
    x, y = torch.tensor([[0.2, 0.5]]), torch.tensor([0])
    assert not bs.attack(WALLED, x, y, plain, threat=Linf(0.4), loss="margin").success.any()
    assert bs.attack(WALLED, x, y, attack, threat=Linf(0.4)).success.all()
    assert not bs.attack(WALLED, x, y, attack, threat=Linf(0.29)).success.any()


def test_random_search_needs_no_slope_of_the_detector() -> None:
    assert won(Square(300), Linf(0.199), FLAT) == 0
    assert won(Square(300), Linf(0.2), FLAT) == 4


# ------------------------------------------------------------------ the two terms


ATTACKS = [Joint(3), Joint(3, weight=None), Orthogonal(3), Orthogonal(4, variant="selective"), ODI(Joint(3))]


def suspicious(net: nn.Module) -> Model:
    def scores(x: Tensor) -> Tensor:
        z = net(x)
        return torch.cat([z, z.amax(1, keepdim=True) + 20 * (x.flatten(1)[:, :3].sum(1, keepdim=True) - 1.8)], 1)

    return Rejecting(scores)


def search(attack: Attack, job: Job, threat: Threat) -> list[tuple[object, object]]:
    problem = Problem(Objective(loss=attack.loss), threat, True)
    return list(drive(attack, problem, job, suspicious(Net((2, 5, 4)))))


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("name", ["linf", "l2", "l1"])
def test_rows_do_not_look_at_their_neighbours(attack: Attack, name: str) -> None:
    threat = BALLS[name]()
    job = jobs(attack, threat)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    here, there, alone = (search(attack, j, threat) for j in (job, job[order], job[2:3]))
    for (a, seen), (b, _), (c, _) in zip(here, there, alone, strict=True):
        assert same(b, a[order])
        assert same(c, a[2:3])
        assert threat.holds(a.probe, job).all()
        assert seen.logits.shape[1] == 5
    assert not torch.equal(here[-1][0].probe, job.x)


@pytest.mark.parametrize(
    ("attack", "looks"), [(Joint(6), 13), (Orthogonal(6), 13), (Orthogonal(6, variant="selective"), 7)], ids=repr
)
def test_both_gradients_are_paid_for(attack: Attack, looks: int) -> None:
    result = bs.attack(LINEAR, *start(1), attack, threat=Linf(0.01))
    assert (result.forwards, result.backwards) == (1 + looks, looks - 1)


def test_without_rejection_there_is_one_term() -> None:
    attack, threat = Joint(5), Linf()
    job = jobs(attack, threat)
    states = [state for state, _ in drive(attack, Problem(Objective(), threat), job, Net((2, 5, 4)))]
    assert all(state.aim is None for state in states)
    assert not any(torch.equal(a.probe, b.probe) for a, b in pairwise(states))


def test_every_restart_has_a_weight_of_its_own() -> None:
    job = jobs(Joint(), Linf())
    again = replace(job, key=keys(0, job.key))
    weights = [Joint(weight=None)._share(j) for j in (job, again)]
    assert all(((w >= 0.5) & (w <= 1)).all() for w in weights)
    assert len(set(torch.cat(weights).tolist())) == 16


# ------------------------------------------------------------------ the protocol


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_the_adaptive_protocol_wins_from_the_detectors_distance_on(name: str) -> None:
    for factor, standing in ((0.98, 1), (1.03, 0)):
        threat = parse_ball(f"{name}:{factor * NEAREST[name]}")
        assert bs.evaluate(LINEAR, *start(), threat=threat, protocol="adaptive").robust_accuracy == standing


def test_the_adaptive_protocol_needs_no_slope_of_the_detector() -> None:
    x, y = start(16)
    assert not bs.evaluate(FLAT, x, y, threat=Linf(0.199), protocol="adaptive").success.any()
    assert (
        bs.evaluate(FLAT, x, y, threat=Linf(0.2), protocol="adaptive").success.sum() > 12
    )  # random search may miss one


@pytest.mark.parametrize("spec", ["linf:0.02", "l2:0.1", "l1:0.4", "l0:2"])
def test_the_adaptive_protocol_runs_on_models_that_answer_everything(spec: str) -> None:
    x, y = inputs(8)
    result = bs.evaluate(network(), x, y, threat=parse_ball(spec), protocol="adaptive")
    assert result.robust_accuracy < result.clean_accuracy


# ------------------------------------------------------------------ a run of it

STAGES = (
    Stage("descent", APGD(30), "everybody", Objective(loss="margin")),
    Stage("shorten", Bisect(4), "who is broken", start="found", who="broken"),
)


def pictures(rows: int) -> tuple[Tensor, Tensor]:
    """Inputs on the levels of 8 bits; some are rejected, of some the label is wrong."""
    x = torch.randint(0, 256, (rows, 2), generator=torch.Generator().manual_seed(3)) / 255
    y = (x[:, 0] > 0.5).long()
    return x, y


def evaluated(folder: Path) -> Evaluation:
    data, sizes = bs.ArrayData(*pictures(40)), {"chunk": 8, "slots": 16, "shard_rows": 16, "threads": 1}
    return bs.evaluate(LINEAR, data=data, threat=Linf(0.25), protocol=STAGES, out=folder, **sizes)


def read_run(folder: Path) -> Evidence:
    return Evidence(opened(Folder(folder)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rejecting") / "run"
    evaluated(folder)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    for path in run.rglob("*.*"):
        place = tmp_path / "run" / path.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path / "run"


def test_a_run_holds(run: Path) -> None:
    proof = verify(run, LINEAR, bs.ArrayData(*pictures(40)))
    assert proof.ok, proof.problems
    assert opened(Folder(run)).manifest.world["model"]["rejects"]
    assert (read_run(run).rows.prediction == REJECTED).any()
    assert read_run(run).rows.broken.any()


def test_a_rejected_example_is_a_forgery(copy: Path) -> None:
    def rejected(columns: dict[str, Tensor]) -> None:
        for name in ("adversarial", "nearest"):
            columns[name] = columns[name] - torch.tensor([0.0, 0.1])

    forge(copy, rejected)
    proof = verify(copy, LINEAR)
    assert any("adversarial to be misclassified" in p for p in proof.problems), proof.problems


@pytest.mark.parametrize("column", ["prediction", "prediction_8bit"])
def test_the_number_of_the_last_score_is_a_forgery(copy: Path, column: str) -> None:
    def numbered(columns: dict[str, Tensor]) -> None:
        columns[column] = torch.full_like(columns[column], 2)

    forge(copy, numbered)
    assert any(f"the stored {column}" in p for p in verify(copy, LINEAR).problems)


def test_the_bare_classifier_is_another_model(run: Path) -> None:
    proof = verify(run, Model(LINEAR.net))
    assert any("expected a model that may reject" in p for p in proof.problems)


def test_the_report_says_rejected(run: Path, tmp_path: Path) -> None:
    assert write_report(run, tmp_path / "report.html").is_file()
    assert read_run(run).class_name(REJECTED) == "rejected"
    assert read_run(run).class_name(1) == "1"


def test_saved_examples_are_not_rejected(tmp_path: Path) -> None:
    x, y = pictures(40)
    bs.attack(LINEAR, x, y, APGD(30), threat=Linf(0.25), loss="margin", out=tmp_path / "run")
    lines = list(csv.DictReader((tmp_path / "run" / "examples" / "examples.csv").read_text().splitlines()))
    assert lines
    assert {line["prediction"] for line in lines} <= {"0", "1"}
    assert any(line["survives_8bit"] == "True" for line in lines)


def test_rows_of_different_shards_and_slots_end_alike(run: Path) -> None:
    x, y = pictures(40)
    one = bs.evaluate(LINEAR, x, y, threat=Linf(0.25), protocol=STAGES, chunk=8, threads=1)
    columns, parts = rows_of(one), rows_of(Evaluation(**vars(opened(Folder(run)))))
    assert all(torch.equal(columns[k], parts[k]) for k in columns)


def test_where_rejection_would_be_one_more_class_it_is_refused() -> None:
    with pytest.raises(InputError, match="which may reject"):
        check_answers(LINEAR, "a universal perturbation")
    with pytest.raises(InputError, match="got one that may reject"):
        bs.Ensemble([LINEAR, LINEAR])
    x, y = pictures(8)
    with pytest.raises(InputError, match="which may reject"):
        bs.universal(LINEAR, x, y, threat=Linf(0.1))
    with pytest.raises(InputError, match="which may reject"):
        bs.transfer([LINEAR, LINEAR], x, y, threat=Linf(0.1))


def test_an_aim_gets_the_score_of_rejection_only_where_it_asks() -> None:
    state = search(ODI(Joint(3)), jobs(ODI(Joint(3)), Linf()), Linf())[0][0]
    assert state.aim.unfolded
    state = search(ODI(PGD(3)), jobs(ODI(PGD(3)), Linf()), Linf())[0][0]
    assert not state.aim.unfolded
    assert all(len(t) == 8 for _, t in leaves(state))
