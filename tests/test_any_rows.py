"""The engine carries rows of other kinds: a patch on random pictures, a series with its own mask, texts, tables."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Settings
from blindspots.engine.result import Result
from blindspots.engine.shard import shard_columns
from blindspots.errors import InputError
from blindspots.fit import check_fit
from blindspots.goals import Classify, Goal, Share
from blindspots.lattice import Candidates, Neighbours, Substitutions
from blindspots.models.model import Model
from blindspots.models.precision import differentiable
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.random import keys, uniform
from blindspots.rows import Around, Rows, leaves, pick
from blindspots.scenes import Scene
from blindspots.threat import Threat

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


@pytest.mark.parametrize("decides", [1e-7, -1e-7, 0.0])
def test_a_share_has_the_margin_of_the_draw_that_decides_to_the_last_bit(decides: float) -> None:
    """However large those of the other draws are."""
    output = torch.tensor([[[decides, 0.0], [-9e5, 0.0], [7e5, 0.0]]], requires_grad=True)
    margin = Share(Classify(), 0.6).margin(output, torch.zeros(1, dtype=torch.int64))
    assert margin.item() == torch.tensor(decides).item()
    (slope,) = torch.autograd.grad(margin.sum(), output)
    torch.testing.assert_close(slope[0, :, 0], torch.full((3,), 1 / 3))


def test_a_scene_and_a_share_of_its_draws_go_together() -> None:
    for goal, scene in ((Share(Classify(), 0.5), None), (None, SCENE), (Classify(), SCENE)):
        with pytest.raises(InputError, match="together, got one without the other"):
            Oracle(Model(finder), goal=goal, scene=scene)
    x, y = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match="together, got one without the other"):
        bs.evaluate(finder, x, y, threat=bs.Linf(0.1), goal=Share(Classify(), 0.5))


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


def test_recurrent_layers_on_a_gpu_are_differentiated_without_cudnn() -> None:
    before, gpu = torch.backends.cudnn.enabled, torch.device("cuda")
    with differentiable(Recurrent(), gpu):
        assert not torch.backends.cudnn.enabled
    with differentiable(nn.Linear(2, 2), gpu), differentiable(Recurrent(), torch.device("cpu")):
        assert torch.backends.cudnn.enabled == before
    assert torch.backends.cudnn.enabled == before


# ------------------------------------------------------------------ texts, as lattices of words

V, E, L, C, N = 60, 5, 8, 4, 40
TABLE = torch.cat([torch.zeros(1, E), torch.randn(V - 1, E, generator=G)])  # 0 is padding, without candidates
U = torch.randn(E, generator=G)


def two(f: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(f), f], 1)


READERS = {
    "bag of words": lambda e: two((e.sum(1) * U).sum(1)),
    "net": lambda e: two((e.cumsum(1).tanh() * U).sum((1, 2))),  # the order of words counts
}


def texts() -> tuple[Tensor, Candidates]:
    """Texts of several lengths, and what may stand in them."""
    g = torch.Generator().manual_seed(4)
    x = torch.randint(1, V, (N, L), generator=g) * (torch.arange(L) < torch.randint(3, L + 1, (N, 1), generator=g))
    some = (x[:, :, None] > 0) & (torch.rand(N, L, C, generator=g) < 0.9)
    own = torch.where(some, torch.randint(1, V, (N, L, C), generator=g), -1)
    return x.float(), Candidates(own.float())


def least(net: Callable[[Tensor], Tensor], x: Tensor, own: Candidates, y: Tensor, most: int) -> Tensor:
    """The lowest margin over all replacements of at most two words: (N,)."""
    found = torch.full((len(x),), torch.inf)
    places = [*itertools.combinations(range(L), most)]
    for at in places:
        for choice in itertools.product(range(C + 1), repeat=most):
            point = x.clone()
            for i, c in zip(at, choice, strict=True):
                if c < C:
                    point[:, i] = torch.where(own.tokens[:, i, c] < 0, x[:, i], own.tokens[:, i, c])
            found = found.minimum(Classify().margin(net(TABLE[point.long()]), y))
    return found


def searched(
    attack: bs.attacks.Attack[Any, Any], model: Model, threat: Threat, x: Tensor, y: Tensor, own: Rows | None = None,
    lanes: int | None = None,
) -> tuple[Ledger, Samples]:  # fmt: skip
    """Every row to its end."""
    stage = Stage("search", attack, "", Objective(), stop_early=False, who="all")
    cascade = Cascade(Oracle(model, chunk=64), threat, (stage,), settings=Settings(len(x), lanes=lanes))
    samples = replace(Samples.within(threat, torch.arange(len(x)), x, y), own=own)
    return cascade.run(samples)[0].ledger, samples


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("attack", [bs.attacks.Greedy(), bs.attacks.HotFlip()], ids=lambda a: type(a).__name__)
def test_searches_in_texts_against_all_replacements(name: str, attack: bs.attacks.Attack[Any, Any]) -> None:
    model = Model(READERS[name], bounds=(0.0, V - 1.0), embed=lambda tokens: TABLE[tokens])
    (x, own), threat = texts(), Substitutions(2)
    y = model.logits(x).argmax(1)
    optimum = least(READERS[name], x, own, y, 2)
    ledger, samples = searched(attack, model, threat, x, y, own)
    assert bool((ledger.margin >= optimum - 1e-4).all())
    around = Around(samples.x, samples.r, own=own)
    assert bool(threat.holds(ledger.near, around).all())
    reached = (ledger.margin < optimum + 1e-4).float().mean()
    assert reached == 1 if name == "bag of words" else reached > (0.8 if isinstance(attack, bs.attacks.Greedy) else 0.4)
    assert torch.equal(ledger.won, optimum < 0) or name == "net"


def test_slopes_of_a_linear_reader_are_what_moves_do_and_what_putting_back_does() -> None:
    (x, own), net = texts(), READERS["bag of words"]
    threat, around = Substitutions(), Around(x, torch.full((N,), torch.inf), own=own)
    point = threat.sample(around.within(torch.full((N,), 2.0)), keys(0, torch.arange(N)))
    z = TABLE[point.long()].requires_grad_()
    (g,) = torch.autograd.grad(net(z)[:, 1].sum(), z)
    slopes, here = threat.slopes(point, around, g, lambda tokens: TABLE[tokens.long()]), net(z)[:, 1]
    legal = threat.legal(point, around)
    there = threat.leads(point, around, torch.arange(threat.moves(around)).expand(N, -1))
    gains = net(TABLE[there.long()].flatten(0, 1))[:, 1].view(N, -1) - here[:, None]
    torch.testing.assert_close(slopes[:, : gains.shape[1]][legal], gains[legal], atol=1e-4, rtol=1e-4)
    back = torch.stack([torch.where(torch.arange(x.shape[1]) == p, x, point) for p in range(x.shape[1])], 1)
    gains = net(TABLE[back.long()].flatten(0, 1))[:, 1].view(N, -1) - here[:, None]
    torch.testing.assert_close(slopes[:, threat.moves(around) :], gains, atol=1e-4, rtol=1e-4)
    assert bool((point != x).any(1).all())


def test_lanes_change_no_bit_of_a_search_in_texts() -> None:
    model = Model(READERS["net"], bounds=(0.0, V - 1.0), embed=lambda tokens: TABLE[tokens])
    x, own = texts()
    y = model.logits(x).argmax(1)
    one, many = (searched(bs.attacks.Greedy(), model, Substitutions(2), x[:6], y[:6], own[:6], n)[0] for n in (1, 16))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(leaves(one), leaves(many), strict=True))


def test_an_embedding_is_part_of_its_model() -> None:
    """Of the digest, of what is counted, and of what is in evaluation mode while it is borrowed."""

    def made(seed: int, rate: float = 0.5) -> Model:
        torch.manual_seed(seed)
        table = nn.Sequential(nn.Embedding(V, E), nn.Dropout(rate))
        return Model(READERS["net"], bounds=(0.0, V - 1.0), embed=table, name="net")

    assert made(0).digest == made(0).digest
    assert len({made(0).digest, made(1).digest, made(0, 0.25).digest}) == 3
    model, x = made(0), texts()[0]
    assert model.parameters == V * E
    with model.borrowed(), torch.no_grad():
        assert torch.equal(model.logits(x), model.logits(x))
    assert all(m.training for m in model.parts[1].modules())


def test_random_texts_lie_in_their_threat() -> None:
    (x, own), threat = texts(), Substitutions(3)
    around = Around(x, torch.full((N,), 3.0), own=own)
    drawn = threat.sample(around, keys(0, torch.arange(N)))
    assert bool(threat.holds(drawn, around).all())
    assert threat.distance(drawn, x).float().mean() > 1.5
    assert threat.distance(drawn, x).tolist() == threat.measured(drawn.numpy(), x.numpy()).tolist()


def test_what_a_threat_cannot_offer_is_refused_with_what_would_do() -> None:
    with pytest.raises(InputError, match=r"is a ball of a norm.*use one of .*HotFlip, GBDA, Greedy"):
        check_fit(bs.attacks.PGD(), Substitutions(2), Need.GRAD, Objective())
    with pytest.raises(InputError, match=r"lists the neighbours of a point.*use one of FGSM"):
        check_fit(bs.attacks.Greedy(), bs.Linf(0.1), Need.GRAD, Objective())
    model = Model(READERS["net"], bounds=(0.0, V - 1.0), embed=lambda tokens: TABLE[tokens])
    with pytest.raises(InputError, match="candidates for every row"):
        searched(bs.attacks.Greedy(), model, Substitutions(2), texts()[0], torch.zeros(N).long())


# ------------------------------------------------------------------ a table with a category, an integer, a fixed column


@dataclass(frozen=True)
class Columns(Neighbours):
    """A linf ball whose columns have types: real, integer, or category (a one-hot group of columns)."""

    ball: bs.Linf
    integer: Tensor  # (D,) bool
    group: Tensor  # (D,) int64 the category that a column belongs to, -1: none

    name = "columns"
    title = "columns"
    allowing = "columns may change by up to {radius} of their units"

    @property
    def radius(self) -> float | None:  # type: ignore[override]
        return self.ball.radius

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        return self.ball.distance(x, x0)

    def measured(self, x: Any, x0: Any) -> Any:
        return self.ball.measured(x, x0)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        member = nn.functional.one_hot(self.group + 1)[:, 1:].to(x)
        hot = ((x == 1).to(x) @ member == 1) & ((x == 0).to(x) @ member == member.sum(0) - 1)
        return hot.all(1) & ((x == x.round()) | ~self.integer).all(1) & self.ball.holds(x, around)

    def moves(self, around: Around) -> int:
        return 2 * len(self.group)

    def move(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        """One column up or down: an integer by 1, a real to the end of its reach, a category to that column's value."""
        at, up = m % len(self.group), m < len(self.group)
        here, own = nn.functional.one_hot(at, len(self.group)).to(x), self.group[at][:, None]
        low, high = (self.ball.project(x + way * 1e6 * here, around) for way in (-1, 1))
        step = x + here * torch.where(up, 1.0, -1.0)[:, None]
        moved = torch.where((here * self.integer).any(1, keepdim=True), step, pick(up, high, low))
        switched = torch.where(own == self.group, here, x)
        return pick(own[:, 0] < 0, moved, pick(up, switched, x))


def test_a_table_keeps_its_types_and_ends_at_the_optimum() -> None:
    group, integer = torch.tensor([-1, -1, -1, 0, 0, 0, 1, 1]), torch.arange(8) == 1
    free, unit = torch.tensor([1, 1, 0, 1, 1, 1, 0, 0]) > 0, torch.tensor([0.2, 1, 1, 1, 1, 1, 1, 1])
    low, high = torch.zeros(8), torch.tensor([1.0, 9, 1, 1, 1, 1, 1, 1])
    g = torch.Generator().manual_seed(5)
    v, hot = torch.randn(8, generator=g), [torch.eye(k)[torch.randint(k, (N,), generator=g)] for k in (3, 2)]
    x = torch.cat(
        [torch.rand(N, 1, generator=g), torch.randint(10, (N, 1), generator=g), torch.rand(N, 1, generator=g), *hot], 1
    )
    asked: list[Tensor] = []

    def clerk(x: Tensor) -> Tensor:
        asked.append(x.detach())
        return two((x * v).sum(1) - 2)

    y = clerk(x).argmax(1)
    sign = torch.where(y == 1, 1.0, -1.0)
    for r in (0.7, 2.0):
        ends = x - sign[:, None] * v.sign() * torch.tensor([r * 0.2, int(r)] + [0] * 6)
        switch = (sign[:, None] * (v[3:6] - (x[:, 3:6] * v[3:6]).sum(1, keepdim=True))).amin(1) * (r >= 1)
        optimum = sign * ((ends.clamp(low, high) * v).sum(1) - 2) + switch
        threat = Columns(bs.Linf(r, low, high, unit, free), integer, group)
        asked.clear()
        ledger, _ = searched(bs.attacks.Greedy(), Model(clerk, bounds=(low, high)), threat, x, y)
        torch.testing.assert_close(ledger.margin, optimum, atol=1e-4, rtol=1e-4)
        seen = torch.cat(asked)
        assert bool((seen[:, 1] % 1 == 0).all())
        assert bool((seen[:, 3:6].sort(1).values == torch.tensor([0.0, 0, 1])).all())
        assert bool(torch.isin(seen[:, 2], x[:, 2]).all())
