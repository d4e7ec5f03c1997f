"""The engine carries rows of other kinds: a patch on random pictures, a series with its own mask, texts, tables."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.loop import Settings
from blindspots.engine.result import Result
from blindspots.engine.shard import shard_columns
from blindspots.errors import InputError
from blindspots.goals import Classify, Goal, Share
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.random import keys, uniform
from blindspots.scenes import Scene

# ------------------------------------------------------------------ a patch, in a scene


@dataclass(frozen=True)
class Pasted(Scene):
    """A patch (B, 1, h, w) on one of the pictures (N, 1, H, W), at a random place and in random light."""

    pictures: Tensor

    def show(self, x: Tensor, key: Tensor, draw: Tensor) -> Tensor:
        lot, row = uniform(key, draw, 7, (4,)), torch.arange(len(x))[:, None, None]
        (h, w), (n, _, high, wide) = x.shape[2:], self.pictures.shape
        i = (torch.arange(high) - (lot[:, :1] * (high - h + 1)).long())[:, :, None]
        j = (torch.arange(wide) - (lot[:, 1:2] * (wide - w + 1)).long())[:, None]
        on = (i >= 0) & (i < h) & (j >= 0) & (j < w)
        lit = x[row, 0, i.clamp(0, h - 1), j.clamp(0, w - 1)] * (0.7 + 0.3 * lot[:, 2, None, None])
        return torch.where(on, lit, self.pictures[(lot[:, 3] * n).long(), 0])[:, None]


G = torch.Generator().manual_seed(0)
KERNELS = torch.randn(4, 1, 3, 3, generator=G)
KERNELS = (KERNELS - KERNELS.mean((2, 3), keepdim=True)) / KERNELS.std((2, 3), keepdim=True)
SCENE = Pasted(torch.rand(50, 1, 8, 8, generator=G))
ROWS, LEAST = 48, 0.6


def finder(x: Tensor) -> Tensor:
    """How strongly the strongest place of a picture answers to each of four kernels."""
    answers: Tensor = nn.functional.conv2d(x, KERNELS)
    return answers.amax((2, 3))


def patched(goal: Goal, draws: int, gates: bool = True) -> dict[str, Tensor]:
    """Patches that are to make the finder see kernel 1, from grey."""
    oracle = Oracle(Model(finder), chunk=960, draws=draws, goal=goal, scene=SCENE)
    if not gates:
        oracle.confirm = lambda problem, question, x, claimed: claimed  # type: ignore[method-assign]
    stage = Stage("patch", bs.attacks.PGD(40, stride=0.05), "", Objective(), stop_early=True)
    cascade = Cascade(oracle, bs.Linf(0.4), (stage,), settings=Settings(ROWS))
    with oracle.session():
        y = torch.zeros(ROWS, dtype=torch.int64)
        samples = Samples.within(cascade.threat, torch.arange(ROWS), torch.full((ROWS, 1, 3, 3), 0.5), y)
        board, _ = cascade.run(samples)
        return shard_columns(oracle, samples, board)


def true_share(x: Tensor, goal: Share) -> Tensor:
    """Of 500 draws that nobody has seen, for patches (k, 1, 3, 3): (k,)."""
    oracle = Oracle(Model(finder), chunk=10**6, draws=500, goal=goal, scene=SCENE)
    draws = torch.stack([keys(9, torch.arange(len(x))), torch.full((len(x),), 1 << 50)], 1)
    output = oracle.logits(x, draws)
    return goal.measures(output, torch.zeros(len(x), dtype=torch.int64), output)["share"]


def test_what_is_reported_of_a_patch_is_not_flattered_by_the_search() -> None:
    """Shares are of draws that decided nothing, so on average they are the true ones."""
    goal = Share(Classify(), LEAST, towards=1)
    columns = patched(goal, draws=20)
    shown, true = columns["worst_measures"][:, 0], true_share(columns["worst"], goal)
    error = (shown - true) / (true * (1 - true) / 20).sqrt().clamp_min(0.02)
    assert error.mean().abs() < 3 / len(error) ** 0.5
    assert columns["won"].sum() >= 8
    assert true_share(columns["adversarial"], goal).mean() > LEAST - 0.06


def test_a_gate_keeps_luck_from_passing_for_success() -> None:
    goal = Share(Classify(), LEAST, towards=1)
    gated, believed = (int((patched(goal, 20, g)["result"] == Result.UNCONFIRMED).sum()) for g in (True, False))
    assert gated < 0.6 * believed


def test_draws_of_a_scene_are_each_rows_own() -> None:
    """Alone or among others, a row is shown the same."""
    goal = Share(Classify(), LEAST, towards=1)
    oracle = Oracle(Model(finder), chunk=64, draws=4, goal=goal, scene=SCENE)
    x = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    draws = torch.stack([keys(0, torch.arange(5)), torch.arange(5) * 100], 1)
    together = oracle.logits(x, draws)
    assert together.shape == (5, 4, 4)
    assert all(torch.equal(together[i], oracle.logits(x[i : i + 1], draws[i : i + 1])[0]) for i in range(5))


@pytest.mark.parametrize("draws", [1, 5])
def test_a_share_is_reached_exactly_where_enough_draws_are(draws: int) -> None:
    output = torch.randn(40, draws, 3, generator=torch.Generator().manual_seed(2))
    y = torch.zeros(40, dtype=torch.int64)
    for least in (0.2, 0.6, 1.0):
        goal = Share(Classify(), least)
        share = (output.argmax(2) != 0).float().mean(1)
        assert torch.equal(goal.margin(output, y) < 0, share >= least - 1e-6)
    with pytest.raises(InputError, match="above 0 and at most 1"):
        Share(Classify(), 0.0)


# ------------------------------------------------------------------ a series, with a recurrent network


MIDDLE = 1.1  # where the two classes are about as frequent


class Recurrent(nn.Module):
    """Reads a series (B, T, 1) of which zeros at the end are padding, and says which of two classes it is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells, self.out = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = 20 * self.out(self.cells(x)[0].mean(1))
        return scores - torch.tensor([0.0, MIDDLE])


def test_a_series_with_a_recurrent_network_keeps_its_padding() -> None:
    net, time = Recurrent().eval(), torch.arange(16)
    x = torch.rand(12, 16, 1, generator=torch.Generator().manual_seed(3)) * (time < 11)[None, :, None]
    with torch.no_grad():
        y = net(x).argmax(1)
    threat = bs.Linf(0.5, lo=-1.0, where=(time < 11)[:, None])
    done = bs.evaluate(Model(net, bounds=(-1.0, 1.0)), x, y, threat=threat)
    assert done.success.any()
    assert bool((done.adversarial[:, 11:] == 0).all())
    best = torch.full((12,), torch.inf)
    for _ in range(2000):  # random series find nothing that the search missed
        noise = (torch.rand(x.shape) - 0.5).sign() * 0.5 * (time < 11)[None, :, None]
        with torch.no_grad():
            best = best.minimum(Classify().margin(net((x + noise).clamp(-1, 1)), y))
    assert bool((done.success | (best >= 0)).all())
