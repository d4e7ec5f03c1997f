"""Models of which only answers are known, randomised ones, and attacks that do not fit what they are asked for."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import CATALOGUE, DDN, FMN, PGD, Attack, Bisect, Square
from blindspots.capabilities import Tabular
from blindspots.engine.cascade import Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.others import OtherImages
from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.objective import Objective
from blindspots.problem import Need
from small_run import Net, inputs

ROWS = 12
ALONE = [kind for kind in CATALOGUE if kind.alone and kind.begins != "proved" and kind.requires is not Tabular]


class Asked:
    """A plain function without torch that counts what it was asked."""

    def __init__(self, labels: bool) -> None:
        self.net, self.labels, self.count = Net(), labels, 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        assert isinstance(x, np.ndarray)
        assert x.dtype == np.float32
        self.count += len(x)
        with torch.no_grad():
            scores = self.net(torch.from_numpy(x)).numpy()
        return scores.argmax(1) if self.labels else scores


def black_box(labels: bool) -> tuple[bs.BlackBox, Asked]:
    asked = Asked(labels)
    return bs.BlackBox(asked, "labels" if labels else "scores", classes=5 if labels else None), asked


def test_a_function_that_returns_scores_is_attacked_like_its_network() -> None:
    box, _ = black_box(labels=False)
    x, y = inputs(ROWS)
    ours, theirs = (bs.attack(m, x, y, Square(60), threat=bs.Linf(0.1)) for m in (box, Net()))
    assert torch.equal(ours.success, theirs.success)
    assert ours.success.any()


def test_a_function_that_returns_labels_is_enough() -> None:
    box, _ = black_box(labels=True)
    x, y = inputs(ROWS)
    done = bs.attack(box, x, y, Bisect(12), threat=bs.L2(), start="other")
    right = torch.tensor([r is not Result.ALREADY_WRONG for r in done.results])
    assert torch.equal(done.success, right)
    assert (done.norms[right] > 0).all()
    assert done.backwards == 0


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("budget", [48, 100, 333])
def test_a_query_budget_is_never_exceeded(labels: bool, budget: int) -> None:
    box, asked = black_box(labels)
    x, y = inputs(ROWS)
    attack, threat = (Bisect(40), bs.L2()) if labels else (Square(40), bs.Linf(0.02))
    done = bs.attack(box, x, y, attack, threat=threat, start="other", max_forwards=budget)
    assert asked.count == box.queries == done.forwards + done.verdict.forwards_unbilled
    assert budget - 3 * ROWS - ROWS < asked.count <= budget
    assert labels or done.verdict.outcomes["budget"]


def test_a_budget_that_is_too_small_for_a_single_look_is_refused_before_it() -> None:
    box, asked = black_box(labels=False)
    with pytest.raises(InputError, match="expected max_forwards of at least 48 for 12 rows, got 47"):
        bs.attack(box, *inputs(ROWS), Square(9), threat=bs.Linf(0.1), max_forwards=47)
    assert asked.count == 0


def test_a_row_asks_no_more_than_its_own_budget_and_nothing_is_asked_beside() -> None:
    box, asked = black_box(labels=False)
    x, y = inputs(ROWS)
    done = bs.attack(box, x, y, Square(500), threat=bs.Linf(0.001), row_budget=20)
    assert asked.count == done.forwards <= 20 * ROWS
    assert [f.code for f in done.findings if f.code == "not-examined"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: np.zeros(len(x)), "expected labels of shape"),
        (lambda x: np.full(len(x), 7), "integers from 0 to 4"),
        (lambda x: np.zeros((len(x), 5), int), "one class per input"),
    ],
)
def test_answers_that_are_no_labels_are_refused(answer, said: str) -> None:
    x, y = inputs(2)
    with pytest.raises(InputError, match=said):
        bs.attack(bs.BlackBox(answer, "labels", classes=5), x, y, Bisect(), threat=bs.L2())


def test_answers_that_are_no_scores_are_refused() -> None:
    x, y = inputs(2)
    with pytest.raises(InputError, match="one row of scores per input"):
        bs.attack(bs.BlackBox(lambda x: np.zeros(len(x))), x, y, Square(2), threat=bs.Linf(0.1))


def test_a_black_box_that_answers_with_labels_needs_to_know_how_many_there_are() -> None:
    with pytest.raises(InputError, match="classes=10"):
        bs.BlackBox(lambda x: x, "labels")


# ------------------------------------------------------------------ what fits


def refused(attack: Attack, threat: bs.Linf | bs.L2, labels: bool | None, **more: object) -> str:
    model, asked = (Net(), None) if labels is None else black_box(labels)
    with pytest.raises(InputError) as error:
        bs.attack(model, *inputs(2), attack, threat=threat, **more)
    assert asked is None or asked.count == 0, "it was asked before the refusal"
    return str(error.value)


def named(sentence: str) -> set[str]:
    """The attacks that a refusal offers."""
    offered = sentence.rpartition("one of ")[2].removesuffix(" for the smallest distance")
    return set(offered.split(", "))


def test_an_attack_in_another_threat_is_refused_with_those_that_would_do() -> None:
    assert named(refused(DDN(), bs.Linf(0.1), None)) == {kind.__name__ for kind in ALONE if "linf" in kind.threats}


def test_an_attack_without_its_radius_is_refused_with_those_that_need_none() -> None:
    fitting = {kind.__name__ for kind in ALONE if kind.minimal and "l2" in kind.threats}
    assert named(refused(PGD(), bs.L2(), None)) == fitting


@pytest.mark.parametrize("labels", [False, True])
def test_an_attack_that_needs_more_access_is_refused_with_those_that_do_not(labels: bool) -> None:
    enough = {Need.LABEL} if labels else {Need.LABEL, Need.VALUE}
    fitting = {kind.__name__ for kind in ALONE if kind.need in enough and "linf" in kind.threats and kind.minimal}
    assert named(refused(FMN(), bs.Linf(), labels)) == fitting


# ------------------------------------------------------------------ starts


def test_the_other_image_is_the_nearest_that_is_taken_for_what_is_wanted() -> None:
    x = torch.tensor([[0.0], [0.1], [0.2], [0.9]])
    y, prediction = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 2])
    samples = Samples(torch.arange(4), x, y, torch.ones(4))
    at = torch.arange(4)
    assert OtherImages(samples, prediction, Objective())(at, y).tolist() == x[[2, 2, 1, 2]].tolist()
    towards = OtherImages(samples, prediction, Objective(targeted=True))
    assert towards(at, torch.full_like(y, 2)).tolist() == x[[3, 3, 3, 3]].tolist()
    assert towards(at, torch.full_like(y, 4)).tolist() == x.tolist(), "nobody is taken for that: the clean input"


# ------------------------------------------------------------------ randomised models


class Noisy(nn.Module):
    """A linear classifier behind noise that hides half of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.3 * torch.randn_like(x))


def randomised(draws: int, seed: int = 0) -> bs.Evaluation:
    x, y = inputs(ROWS)
    stages = (Stage("descent", PGD(5), "of the mean"),)
    return bs.evaluate(Noisy(), x, y, threat=bs.Linf(0.05), protocol=stages, seed=seed, draws=draws, threads=1)


def test_a_randomised_model_gives_the_same_run_twice_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = randomised(3), randomised(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[k], b[k]) for a, b in zip(first.shards(), again.shards(), strict=True) for k in a)


def test_every_answer_that_is_averaged_is_paid_for() -> None:
    one, three = randomised(1), randomised(3)
    dearest = [int(max(columns["forwards"].max() for columns in done.shards())) for done in (one, three)]
    assert dearest == [1 + 6, 3 * (1 + 6)]
    assert one.config.draws == 1
    assert three.config.draws == 3
