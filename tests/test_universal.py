"""Searches for universal perturbations: against closed forms, the published loop, themselves, and bad input."""

import json
import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks.views.views import View
from blindspots.data.splits import Rows, shuffled
from blindspots.errors import InputError
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.experiment import UniversalRun
from blindspots.experiments.universal.file import Perturbation, load_perturbation
from blindspots.experiments.universal.fitting import Found, Wanted, fit, fitted
from blindspots.experiments.universal.methods import SGA, SGD, UAP, DataFree, Method, Periodic
from blindspots.experiments.universal.methods.method import Candidate
from blindspots.experiments.universal.search import Stage
from blindspots.experiments.universal.transformations import TRANSFORMATIONS
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.runs.experiment import Columns
from blindspots.runs.folder import Folder
from blindspots.runs.run import How
from blindspots.runs.run import run as carry_out
from blindspots.runs.verify import verify
from blindspots.runs.world import Progress
from blindspots.threat import Threat
from closed_form import Linear

SHAPE = (1, 8, 8)
MARGIN = 0.5


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# Logits (0, z) with z = <w, x> + b: v fools a row of margin z = -m exactly when <w, v> > m, so the smallest radius that
# fools it is m / |w|_1 in linf and m / |w|_2 in l2, and it then fools all rows of this margin.
W = normals(64)


def plane(weight: Tensor = W, margins: tuple[float, ...] = (-MARGIN,), rows: int = 48) -> tuple[Linear, Tensor]:
    """A linear network, and rows (rows, *SHAPE) whose z are the margins in turn."""
    x = 0.35 + 0.3 * drawn(rows, 64)
    bias = -(x @ weight).mean()
    wanted = torch.tensor(margins).repeat(rows)[:rows]
    x = x + (wanted - x @ weight - bias)[:, None] * weight / weight.square().sum()
    net = Linear(torch.stack([torch.zeros(64), weight]), torch.stack([torch.tensor(0.0), bias]))
    return net, x.view(rows, *SHAPE)


def threshold(threat: type[Threat], weight: Tensor = W) -> float:
    return MARGIN / float(threat().dual(weight[None]))


def found(
    net: nn.Module,
    x: Tensor,
    method: Method,
    threat: Threat,
    *,
    groups: int = 1,
    target: int | None = None,
    clip: bool = True,
    seed: int = 0,
    chunk: int = 8,
    tell: Callable[[Stage], None] = lambda stage: None,
    keep: Callable[[Columns], None] = lambda columns: None,
    kept: Columns | None = None,
) -> Found:
    """A search alone, without all that is measured afterwards."""
    oracle = Oracle(Model(net), chunk=chunk)
    rows = Rows(bs.ArrayData(x, torch.arange(len(x)) % 2), torch.arange(len(x)))
    with oracle.session():
        search = fit(oracle, method, rows, Wanted(threat, tuple(x.shape[1:]), groups, target, clip, seed), tell, kept)
        while True:
            try:
                keep(next(search))
            except StopIteration as end:
                result: Found = end.value
                return result


@torch.no_grad()
def taken_for(net: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    """Predictions with one perturbation (1, ...), or with that of the row's clean prediction."""
    scores: Tensor = net((x + v[net(x).argmax(1) if len(v) > 1 else 0]).clamp(0, 1))
    return scores.argmax(1)


def run(net: nn.Module | Model, x: Any, y: Any, method: Method | None = None, **changed: Any) -> UniversalRun:
    usual = {"threat": bs.Linf(0.02), "fit": 32, "norms": False, "method": method or SGD(passes=2, batch=8)}
    return bs.universal(net, x, y, **{**usual, "threads": 1, "chunk": 8, **changed})


def in_words(method: object) -> str | None:
    """The settings that are not the usual ones, as a test's name."""
    if not isinstance(method, Method):
        return None
    changed = [f"{f.name}={v}" for f in fields(method) if (v := getattr(method, f.name)) != f.default]  # type: ignore[arg-type]
    return " ".join([type(method).__name__, *changed])


def labels(rows: int) -> Tensor:
    return torch.arange(rows) % 2


# ------------------------------------------------------------------ closed forms

METHODS = [
    Periodic(batch=2, passes=4, starts=1),
    SGD(batch=2, passes=4),
    SGD(batch=2, passes=4, momentum=0.0),
    SGD(batch=2, passes=4, loss="margin"),
    SGD(batch=2, passes=4, optimizer="adam"),
    SGA(batch=24, small=8, rounds=2, passes=12),
    UAP(batch=1, delta=0.0, steps=10, passes=8),
    UAP(batch=8, delta=0.0, passes=3),
    UAP(batch=8, delta=0.0, passes=3, steps=10),
]


@pytest.mark.parametrize("threat", [bs.Linf, bs.L2])
@pytest.mark.parametrize("method", METHODS, ids=in_words)
def test_a_little_too_small_fools_nobody_and_a_little_larger_fools_all(method: Method, threat: type[Threat]) -> None:
    """Adam's steps are signs, so in l2 it is the radius in their direction that counts."""
    net, x = plane(rows=24)
    signs = isinstance(method, SGD) and method.optimizer == "adam" and threat is bs.L2
    least = threshold(threat) * (math.sqrt(64) * float(W.norm() / W.abs().sum()) if signs else 1.0)
    for size, fooled in ((0.98, 0.0), (1.1, 1.0)):
        if size < 1 and signs:
            continue
        v = found(net, x, method, threat(size * least)).v
        assert float(threat().norm(v)) <= size * least * (1 + 1e-5)
        assert float((taken_for(net, x, v) == 1).float().mean()) == fooled


@pytest.mark.parametrize("threat", [bs.Linf, bs.L2])
@pytest.mark.parametrize("method", [METHODS[i] for i in (1, 3, 5, 7, 8)], ids=in_words)
def test_towards_a_class_only_its_own_boundary_counts(method: Method, threat: type[Threat]) -> None:
    """Class 2 always is one unit behind class 1: towards it nothing helps that would do for class 1."""
    net, x = plane(rows=24)
    three = Linear(torch.cat([net.weight.detach(), W[None]]), torch.cat([net.bias.detach(), net.bias.detach()[1:] - 1]))
    least = threshold(threat)
    for target, size, reached in ((1, 0.98, 0.0), (1, 1.1, 1.0), (2, 1.1, 0.0)):
        v = found(three, x, method, threat(size * least), target=target).v
        assert float((taken_for(three, x, v) == target).float().mean()) == reached


@pytest.mark.parametrize("method", [SGD(batch=4, passes=5), METHODS[5], METHODS[7]], ids=in_words)
def test_two_opposite_perturbations_fool_both_classes_where_one_cannot(method: Method) -> None:
    net, x = plane(margins=(-MARGIN, MARGIN))
    threat = bs.Linf(1.1 * threshold(bs.Linf))
    clean = labels(len(x))
    one = found(net, x, method, threat).v
    assert float((taken_for(net, x, one) != clean).float().mean()) <= 0.5
    two = found(net, x, method, threat, groups=2).v
    assert two.shape == (2, *SHAPE)
    assert torch.equal(taken_for(net, x, two), 1 - clean)
    assert float(F.cosine_similarity(two[0].flatten(), two[1].flatten(), dim=0)) < -0.9


def test_a_group_without_rows_keeps_its_blank() -> None:
    net, x = plane()
    v = found(net, x, SGD(batch=4), bs.Linf(0.01), groups=2).v
    assert float(v[0].abs().max()) > 0.009
    assert not v[1].any()


@pytest.mark.parametrize("period", [None, 4])
def test_trials_find_the_period_that_a_network_needs(period: int | None) -> None:
    """All of random weights have to be used; of four like tiles, of which each row shows one, the mean is enough."""
    if period is None:
        got = found(*plane(), Periodic(batch=2, starts=2), bs.Linf(1.1 * threshold(bs.Linf)))
    else:
        got = found(Matched(), 0.5 + 0.02 * normals(48, *SHAPE), Periodic(batch=8, starts=2), bs.Linf(0.05))
    assert got.period == period
    tried = [t for t in got.trials if t.passes == 1]
    assert {(t.period, t.start) for t in tried} == {(p, s) for p in (None, 4) for s in (0, 1)}
    others = [t.fooled for t in got.trials if t.period != period]
    assert max(t.fooled for t in got.trials if t.period == period) > max(others)


class Matched(nn.Module):
    """The least <w, tile> of the four tiles of 4 x 4 decides: all have to be moved, but a gradient shows one alone."""

    def forward(self, x: Tensor) -> Tensor:
        tiles = F.unfold(x, 4, stride=4).movedim(1, 2) - 0.5  # (B, 4, 16)
        z = (tiles @ W[:16]).amin(1)
        return torch.stack([torch.zeros_like(z), z - 0.4], 1)


# ------------------------------------------------------------------ the published loop


def deepfool(net: Callable[[Tensor], Tensor], x: Tensor, beyond: float) -> tuple[Tensor, int]:
    """The published function, on one image: ten classes, overshoot 0.02, at most ten steps."""
    order = net(x)[0].detach().argsort(descending=True)[:10].tolist()
    total, at, now, turn = torch.zeros_like(x), x, order[0], 0
    while now == order[0] and turn < 10:
        z = at.clone().requires_grad_()
        scores = net(z)[0]
        slopes = [torch.autograd.grad(scores[k], z, retain_graph=True)[0] for k in order]
        ways = []
        for k in range(1, len(order)):
            w, f = slopes[k] - slopes[0], scores[order[k]] - scores[order[0]]
            ways.append((float(f.detach().abs() / w.norm()), w))
        distance, w = min(ways, key=lambda way: way[0])
        total = total + (distance + beyond) * w / w.norm()
        at = x + 1.02 * total
        now, turn = int(net(at).argmax()), turn + 1
    return 1.02 * total, turn


def published(
    net: Callable[[Tensor], Tensor], x: Tensor, threat: Threat, passes: int, beyond: float
) -> tuple[Tensor, list[float]]:
    """Algorithm 1 as its authors wrote it, image by image: v, and the fooling rate after each pass."""
    v, rates, clean, radius = torch.zeros_like(x[:1]), [0.0], net(x).argmax(1), float(threat.radius or 0)
    while rates[-1] < 0.8 and len(rates) <= passes:
        for i in shuffled(len(x), 0, len(rates) - 1).tolist():
            if int(net(x[i : i + 1] + v).argmax()) != int(clean[i]):
                continue
            dv, turns = deepfool(net, x[i : i + 1] + v, beyond)
            if turns < 10 - 1:  # it got through in time
                v = v + dv
                v = v * min(1.0, radius / float(v.norm())) if threat.p == 2 else v.sign() * v.abs().clamp_max(radius)
        rates.append(float((net(x + v).argmax(1) != clean).float().mean()))
    return v, rates[1:]


@contextmanager
def counted(model: Model) -> Iterator[list[int]]:
    """The rows of every call of the network."""
    calls: list[int] = []
    hook = model.net.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    with model.borrowed():
        yield calls
    hook.remove()


@pytest.mark.parametrize("threat", [bs.Linf(0.3), bs.L2(1.5)], ids=lambda t: t.name)
def test_image_by_image_uap_is_the_published_algorithm(threat: Threat) -> None:
    """To the last bits of v, over two passes. Our DeepFool steps 1e-4 of its box farther than to the plane, and has a
    box three wide; the published one 1e-4 of a grey level."""
    model, x = bs.load_model("digits"), bs.load_data("digits").rows(0, 24)[0]
    with model.borrowed():
        v, rates = published(model.logits, x, threat, 2, beyond=3e-4)
        near, near_rates = published(model.logits, x, threat, 1, beyond=1e-4 / 255)
    literal = UAP(batch=1, steps=10, classes=10, overshoot=0.02)
    ours = [found(model.net, x, replace(literal, passes=p), threat, clip=False, chunk=1) for p in (1, 2)]
    torch.testing.assert_close(ours[1].v, v, rtol=0, atol=1e-5)
    assert [p.fooled_fit for p in ours[1].history] == pytest.approx(rates)
    assert float(v.abs().sum()) > 0
    assert rates[-1] > 0.2
    assert float(F.cosine_similarity(ours[0].v.flatten(), near.flatten(), dim=0)) > 0.95
    assert ours[0].history[0].fooled_fit == pytest.approx(near_rates[0], abs=0.1)


def test_batches_reach_the_published_rate_with_a_twentieth_of_the_calls() -> None:
    model, x = bs.load_model("digits"), bs.load_data("digits").rows(0, 80)[0]
    threat, passes = bs.L2(1.5), 5
    with counted(model) as calls:
        _, rates = published(model.logits, x, threat, passes, beyond=3e-4)
        theirs = len(calls)
        calls.clear()
        ours = found(model.net, x, UAP(passes=passes, batch=20), threat, clip=False, chunk=20)
    got = [p.fooled_fit for p in ours.history]
    assert statistics.median(got) >= statistics.median(rates) - 0.15  # single passes differ by more
    assert 20 * len(calls) < theirs
    assert sum(calls) == ours.history[-1].forwards


@pytest.mark.parametrize("steps", [1, 10])
def test_uap_steps_just_behind_the_boundary(steps: int) -> None:
    """By the overshoot; then all rows of this margin are fooled and none adds to v."""
    net, x = plane(rows=12)
    v = found(net, x, UAP(batch=1, passes=1, steps=steps, overshoot=0.1), bs.L2(9.0)).v.flatten()
    assert float(v @ W) == pytest.approx(1.1 * MARGIN, abs=1e-4 if steps == 1 else 1.1 * 3.1e-4 * float(W.norm()))
    assert float(F.cosine_similarity(v, W, dim=0)) == pytest.approx(1.0)


def test_uap_ends_as_soon_as_enough_rows_are_fooled() -> None:
    net, x = plane(margins=(-MARGIN, -MARGIN, MARGIN))
    threat = bs.Linf(1.5 * threshold(bs.Linf))
    for delta, ends in ((0.4, True), (0.2, False)):
        got = found(net, x, UAP(batch=8, delta=delta, passes=6), threat)
        rates = [p.fooled_fit for p in got.history]
        assert max(rates) <= 2 / 3 + 1e-6
        assert all(rate < 1 - delta for rate in rates[:-1])
        assert (rates[-1] >= 1 - delta) is ends is (len(got.history) < 6)


class Small(nn.Sequential):
    """Classes and layers that bend, weights that are always the same."""

    def __init__(self, classes: int = 3) -> None:
        g = torch.Generator().manual_seed(1)
        layers = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 16),
            nn.Tanh(),
            nn.Linear(16, classes),
        )
        super().__init__(*layers)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=g) * (0.7 if p.ndim > 1 else 0.1) / math.sqrt(p[0].numel()) * 2)


def inputs(rows: int = 48) -> Tensor:
    return torch.randint(0, 256, (rows, *SHAPE), generator=torch.Generator().manual_seed(3)) / 255


def clamped_slope(net: nn.Module, x: Tensor, v: Tensor, most: float) -> Tensor:
    """Of the sum over rows of a cross-entropy that is clamped, to be climbed."""
    y, v = net(x).argmax(1), v.clone().requires_grad_()
    loss = F.cross_entropy(net((x + v).clamp(0, 1)), y, reduction="none").clamp_max(most)
    return torch.autograd.grad(loss.sum(), v)[0]


def test_sga_is_the_published_algorithm() -> None:
    """Liu et al., algorithm 1: a perturbation goes ahead from small batch to small batch, their gradients are added."""
    net, x, step, eps = Small(), inputs(), 0.6, 0.2
    v, t = torch.zeros(1, *SHAPE), 0
    for number in range(2):
        for places in torch.split(shuffled(48, 0, number), 20):
            ahead, total = v, torch.zeros_like(v)
            for _ in range(3):
                for small in torch.split(shuffled(len(places), 0, t), 6):
                    slope = clamped_slope(net, x[places[small]], ahead, 1.5)
                    ahead, total = (ahead + step * eps * slope.sign()).clamp(-eps, eps), total + slope
                t += 1
            v = (v + step * eps * total.sign()).clamp(-eps, eps)
    got = found(net, x, SGA(passes=2, batch=20, small=6, rounds=3, stride=0.6, most=1.5), bs.Linf(eps)).v
    assert float(((got - v).abs() > 1e-6).float().mean()) < 0.02  # a sign at zero may tip
    assert float(((got + v).abs() > 1e-6).float().mean()) > 0.9


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["sign", "adam"])
def test_sgd_takes_the_steps_that_are_written_down(optimizer: Literal["sign", "adam"], momentum: float) -> None:
    """Normalised gradients, moving means with Adam's corrections, steps that shrink evenly over all updates."""
    net, x, eps, updates = Small(), inputs(), 0.1, 3 * 6
    v, first, second = (torch.zeros(1, *SHAPE) for _ in range(3))
    for made in range(updates):
        places = shuffled(48, 0, made // 6)[made % 6 * 8 :][:8]
        slope = clamped_slope(net, x[places], v, 1.5)
        slope = slope / slope.abs().mean()
        first, second = momentum * first + (1 - momentum) * slope, 0.99 * second + 0.01 * slope.square()
        step = first.sign()
        if optimizer == "adam":
            step = first / (1 - momentum ** (made + 1)) / (second / (1 - 0.99 ** (made + 1))).sqrt()
            step = step / step.abs().max()
        v = (v + 0.25 * eps * (1 - made / updates) * step).clamp(-eps, eps)
    method = SGD(passes=3, batch=8, stride=0.25, momentum=momentum, optimizer=optimizer, most=1.5)
    got = found(net, x, method, bs.Linf(eps)).v
    assert float(((got - v).abs() > 1e-5).float().mean()) < 0.02
    assert float(v.abs().max()) > 0.05


def test_views_are_taken_for_what_the_network_says_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are of class 0 and all negatives of class 1: what fools those is the opposite."""

    class Negative(View):
        def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Threat) -> Tensor:
            return 1 - x

    net, x = plane()
    with torch.no_grad():
        net.bias[1] -= (net(x)[0, 1] + net(1 - x)[0, 1]) / 2  # rows lie as far on one side as negatives on the other
        assert net(x)[:, 1].amax() < 0 < net(1 - x)[:, 1].amin()
    monkeypatch.setitem(TRANSFORMATIONS, "negative", Negative)
    plain, negative = (found(net, x, SGD(batch=8, views=views), bs.Linf(0.01)).v for views in ("none", "negative"))
    torch.testing.assert_close(plain, 0.01 * W.sign().view(1, *SHAPE))
    torch.testing.assert_close(negative, -plain)


def test_trials_are_judged_by_rows_that_they_do_not_see() -> None:
    """The rows that judge are of the other class, so what fools all others fools none of them."""
    net, x = plane()
    judges = shuffled(48, 0, -2)[:9]
    other = x + 2 * MARGIN * (W / W.square().sum()).view(SHAPE)
    x = x.index_copy(0, judges, other[judges])
    told: list[Stage] = []
    got = found(net, x, Periodic(batch=2, starts=1), bs.Linf(1.3 * threshold(bs.Linf)), tell=told.append)
    assert len(got.trials) >= 2
    assert all(t.fooled == 0 for t in got.trials)
    assert {s.rows for s in told if s.name != "search"} == {39}
    assert max(s.fooled for s in told if s.name != "search") > 0


# ------------------------------------------------------------------ searches


SEARCHES = [
    Periodic(passes=4, batch=8, starts=2),
    SGD(passes=4, batch=8),
    SGD(passes=4, batch=8, optimizer="adam", loss="cosine", views="flip+crop"),
    SGA(passes=4, batch=16, small=8, rounds=2),
    UAP(passes=4, batch=8, delta=0.0),
    DataFree(passes=4, batch=8),
]


@pytest.mark.parametrize("method", SEARCHES, ids=in_words)
def test_the_seed_decides_every_bit(method: Method) -> None:
    once, again, other = (found(Small(), inputs(), method, bs.Linf(0.1), seed=s).v for s in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert 0 < float(once.abs().max()) <= 0.1 * (1 + 1e-6)


class KilledError(Exception):
    """Stands for whatever may end a process."""


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("method", SEARCHES, ids=in_words)
def test_a_search_that_was_killed_goes_on_to_the_same_bits(method: Method, groups: int) -> None:
    """Killed in the middle of its third pass, with what was kept after the second."""
    kept: list[Columns] = []

    def tell(stage: Stage) -> None:
        if stage.name == "search" and len(kept) == 1 and stage.seen >= stage.rows // 2:
            raise KilledError

    whole = found(Small(), inputs(), method, bs.Linf(0.1), groups=groups)
    with pytest.raises(KilledError):
        found(Small(), inputs(), method, bs.Linf(0.1), groups=groups, tell=tell, keep=kept.append)
    assert len(kept) == 1
    again = found(Small(), inputs(), method, bs.Linf(0.1), groups=groups, kept=kept[0])
    assert torch.equal(again.v, whole.v)
    assert (again.period, again.trials, again.history) == (whole.period, whole.trials, whole.history)


@pytest.mark.parametrize("batch", [1, 5, 48, 500])
def test_any_batch_will_do(batch: int) -> None:
    for method in (SGD(passes=1, batch=batch), SGA(passes=1, batch=batch, small=3), UAP(passes=1, batch=batch)):
        v = found(Small(), inputs(), method, bs.L2(0.5)).v
        assert 0 < float(v.norm()) <= 0.5 * (1 + 1e-5)


def test_rows_per_call_change_neither_the_fooled_rows_nor_much_of_the_perturbation() -> None:
    net, x = Small(), inputs()
    vs = [found(net, x, SGD(passes=3, batch=8), bs.Linf(0.1), chunk=chunk).v for chunk in (1, 7, 16)]
    for v in vs[1:]:
        assert torch.equal(taken_for(net, x, v), taken_for(net, x, vs[0]))
        assert float(((v - vs[0]).abs() > 1e-4).float().mean()) < 0.02  # a sign at zero may tip


def test_scores_that_are_forgotten_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = found(Small(), inputs(), SGD(passes=2, batch=8), bs.Linf(0.1))
    monkeypatch.setattr(import_module("blindspots.experiments.universal.task"), "_KNOWN", 40)
    again = found(Small(), inputs(), SGD(passes=2, batch=8), bs.Linf(0.1))
    assert torch.equal(again.v, kept.v)
    assert again.history[-1].forwards > kept.history[-1].forwards == 3 * 48


def test_progress_counts_rows_and_the_fooled_among_them() -> None:
    told: list[Stage] = []
    got = found(Small(), inputs(), SGD(passes=2, batch=20), bs.Linf(0.1), tell=told.append)
    assert [(s.number, s.seen, s.rows, s.passes) for s in told] == [(p, n, 48, 2) for p in (1, 2) for n in (20, 40, 48)]
    assert [told[i].fooled / 48 for i in (2, 5)] == [p.fooled_fit for p in got.history]


@pytest.mark.parametrize(
    "method", [SGD(batch=16, passes=40), SGD(batch=16, passes=5), SGD(batch=20, passes=2)], ids=in_words
)
def test_few_rows_and_few_passes_are_enough_to_cross_the_ball(method: SGD) -> None:
    """Nothing fooled yet is no reason to give up, and where there are few steps they are long."""
    net, x = plane(rows=20)
    v = found(net, x, method, bs.Linf(1.05 * threshold(bs.Linf))).v
    assert float((taken_for(net, x, v) == 1).float().mean()) == 1


def test_the_cosine_falls_although_no_scores_are_more_alike_than_at_its_start() -> None:
    """At zero its gradient is zero. Scores (1, 1 + z) turn with z alone."""
    net, x = plane()
    with torch.no_grad():
        net.bias.add_(1)
    v = found(net, x, SGD(batch=4, loss="cosine"), bs.L2(0.05)).v
    assert abs(float(F.cosine_similarity(v.flatten(), W, dim=0))) > 0.99
    assert float(v.norm()) == pytest.approx(0.05)


def test_patience_ends_a_search_that_fools_no_more() -> None:
    net, x = plane()
    got = found(net, x, SGD(batch=2, passes=30, patience=2), bs.Linf(2 * threshold(bs.Linf)))
    rates = [p.fooled_fit for p in got.history]
    assert len(got.history) < 30
    assert max(rates[-2:]) <= max(rates[:-2]) == 1.0


@pytest.mark.parametrize("passes", [1, 2])
def test_trials_cost_no_more_passes_than_the_search_may_make(passes: int) -> None:
    got = found(Small(), inputs(), Periodic(passes=passes, batch=8, starts=4), bs.Linf(0.1))
    assert len(got.history) == passes
    assert max(t.passes for t in got.trials) <= passes


def test_another_start_goes_through_the_rows_in_another_order() -> None:
    class Second(SGD):
        def candidates(self, shape: tuple[int, ...]) -> list[Candidate]:
            return [Candidate(start=1)]

    first, second = (found(Small(), inputs(), kind(passes=2, batch=8), bs.Linf(0.1)).v for kind in (SGD, Second))
    assert float((first != second).float().mean()) > 0.05


def test_unclipped_searches_see_inputs_outside_of_the_box() -> None:
    seen: list[float] = []

    net = Small()
    net.register_forward_pre_hook(lambda _, args: seen.append(float(args[0].detach().max())))
    for clip, beyond in ((True, False), (False, True)):
        seen.clear()
        found(net, inputs(), SGD(passes=2, batch=8), bs.Linf(0.2), clip=clip)
        assert (max(seen) > 1.05) is beyond


class Closed(bs.ArrayData):
    """Data that must not be read."""

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("a data-free method looks at no rows")


def test_without_data_no_row_is_read_and_all_activations_grow() -> None:
    net = Small()
    data = Closed(torch.zeros(40, *SHAPE), labels(40))
    oracle = Oracle(Model(net), chunk=8)
    with oracle.session():
        v = fitted(oracle, DataFree(passes=6, batch=8), Rows(data, torch.arange(40)),
                Wanted(bs.Linf(0.1), SHAPE, 1, None, True, 0)).v  # fmt: skip

    @torch.no_grad()
    def excited(x: Tensor) -> float:
        a = net[0](x)
        return float(
            a.relu().flatten(1).norm(dim=1).log().mean() + net[3](a.relu().flatten(1)).relu().norm(dim=1).log().mean()
        )

    x = inputs()
    noise = 0.1 * normals(1, *SHAPE).sign()
    assert excited((x + v).clamp(0, 1)) > max(excited(x), excited((x + noise).clamp(0, 1))) + 0.1


# ------------------------------------------------------------------ runs


def test_what_runs_write_is_what_was_counted(tmp_path: Path) -> None:
    net, x = Small(), inputs(80)
    with torch.no_grad():
        y = net(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    whole = run(net, x, y, SGD(batch=8), threat=bs.Linf(0.1), fit=50, out=tmp_path / "run", norms=True)
    v = whole.verdict
    file = json.loads((tmp_path / "run" / "run.json").read_text())
    raw = file["verdict"]
    assert raw == v.model_dump(mode="json")
    for name in ("fooling_rate_fit", "fooling_rate_heldout", "interval", "fooling_rate_heldout_unclipped",
                 "control_rates", "passes"):  # fmt: skip
        assert name in raw
    stored = load_perturbation(tmp_path / "run" / "perturbation.safetensors")
    assert torch.equal(stored.v, whole.perturbation)
    assert stored.sha == file["exports"]["perturbation.safetensors"]
    assert (stored.threat, stored.per_class, stored.target) == (bs.Linf(0.1).spec, False, None)

    at = shuffled(80, 0, -1)
    fitted, held = x[at[:50]], x[at[50:]]
    with torch.no_grad():
        for rows, label, effect, unclipped in (
            (fitted, y[at[:50]], v.fit, v.fit_unclipped), (held, y[at[50:]], v.heldout, v.heldout_unclipped)
        ):  # fmt: skip
            clean, far = net(rows).argmax(1), net(rows + whole.perturbation).argmax(1)
            now = net((rows + whole.perturbation).clamp(0, 1)).argmax(1)
            assert (effect.fooled.hits, effect.fooled.rows) == (int((now != clean).sum()), len(rows))
            assert effect.clean_accuracy.hits == int((clean == label).sum())
            assert effect.accuracy.hits == int((now == label).sum())
            assert unclipped.fooled.hits == int((far != clean).sum())
    assert (v.fooling_rate_fit, v.fooling_rate_heldout) == (v.fit.fooled.share, v.heldout.fooled.share)
    assert v.interval == v.heldout.fooled.interval
    assert v.fooling_rate_heldout_unclipped == v.heldout_unclipped.fooled.share
    assert v.control_rates == {name: share.share for name, share in v.controls.items()}
    assert len(v.controls) == 5
    assert v.passes == len(v.history)
    assert v.norm == pytest.approx(float(whole.perturbation.abs().max()))
    assert [n.radius / 0.1 for n in v.against_norm] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.5, 2.0])

    shown = whole.parts["shown"]
    assert torch.equal(shown["x"], x[shown["row"]])
    assert torch.equal(shown["y"], y[shown["row"]])
    assert set(shown["row"].tolist()) <= set(at[50:].tolist())
    hit = shown["prediction"] != shown["moved_prediction"]
    assert not bool((hit[1:] & ~hit[:-1]).any())  # fooled ones first
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "run.json", "log.json", "perturbation.safetensors", "perturbation.png", "fooled.png", "fit", "heldout",
        *(f"{part}.safetensors" for part in ("preflight", "search", "shown", "controls", "norms")),
    }  # fmt: skip


def test_clipped_and_unclipped_differ_for_inputs_at_the_boxs_edge() -> None:
    """The rows lie where the perturbation leads out of the box: clipped, it does nothing."""
    net, x = plane()
    white = (W.view(SHAPE) > 0).float()
    x = (white + 0.001 * (normals(*x.shape).abs() * (1 - 2 * white))).clamp(0, 1)
    with torch.no_grad():
        net.bias[1] -= net(x)[:, 1].max() + 0.3
    threat = bs.Linf(float(1.5 / W.abs().sum()))
    v = run(net, x, labels(len(x)), SGD(batch=4), threat=threat, clip=False, fit=24).verdict
    assert v.fooling_rate_heldout == v.fooling_rate_fit == 0.0
    assert v.fooling_rate_heldout_unclipped == v.fit_unclipped.fooled.share == 1.0
    v = run(net, x, labels(len(x)), SGD(batch=4), threat=threat, fit=24).verdict  # a search that sees no slope there
    assert v.fooling_rate_heldout == v.fooling_rate_fit == 0.0


def test_a_run_that_was_interrupted_is_resumed_to_the_same_files(tmp_path: Path) -> None:
    """Killed in the fourth pass, with the state of the third."""
    method = "periodic:passes=4,starts=1"
    config = UniversalConfig(
        model="digits", data="digits", rows=60, threat="linf:0.1", method=method, fit=40, norms=False, threads=1
    )
    whole = carry_out("universal", config, how=How(Folder(tmp_path / "whole")))

    def watch(progress: Progress) -> None:
        if progress.said.startswith("search, pass 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out("universal", config, how=How(Folder(tmp_path / "cut"), watch=watch, every=0.0))
    assert (tmp_path / "cut" / "search.unfinished.safetensors").is_file()
    told: list[Progress] = []
    again = carry_out("universal", config, how=How(Folder(tmp_path / "cut"), resume=True, watch=told.append))
    assert not any("pass 3" in progress.said or "trial" in progress.said for progress in told)
    assert again.verdict == whole.verdict
    for name in ("run.json", "perturbation.safetensors", "search.safetensors", "perturbation.png", "fooled.png"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("given", [{}, {"target": 1}, {"per_class": True}], ids=str)
def test_a_stored_perturbation_is_measured_to_the_same_rates(given: dict[str, Any], tmp_path: Path) -> None:
    x = inputs()
    first = run(Small(), x, labels(48), threat=bs.Linf(0.1), out=tmp_path, **given)
    stored = load_perturbation(tmp_path / "perturbation.safetensors")
    told: list[Progress] = []
    again = run(Small(), x, labels(48), threat=bs.Linf(0.1), perturbation=stored, watch=told.append, **given)
    assert not any("pass" in progress.said for progress in told)
    assert torch.equal(again.perturbation, first.perturbation)
    same = {"fit", "heldout", "fit_unclipped", "heldout_unclipped", "controls", "labels", "norm", "interval"}
    assert again.verdict.model_dump(include=same) == first.verdict.model_dump(include=same)
    assert (again.verdict.passes, again.verdict.forwards) == (0, 0)
    assert (again.config.search, again.config.measured) == ("", stored.sha)


def test_one_per_class_is_measured_as_that_without_being_told() -> None:
    net, x = plane(margins=(-MARGIN, MARGIN))
    size = 1.1 * threshold(bs.Linf)
    v = size * torch.stack([W.sign(), -W.sign()]).view(2, *SHAPE)
    given = stored(v=v, threat=bs.Linf(size).spec, per_class=True)
    rates = run(net, x, labels(48), threat=bs.Linf(size), perturbation=given)
    assert rates.verdict.fooling_rate_heldout == 1.0
    assert rates.config.per_class


def test_the_range_of_inputs_is_a_matter_of_units() -> None:
    x = inputs()
    wide = Model(Small(), (-127.5, 127.5), mean=-127.5, std=255.0)
    ones = run(Model(Small()), x, labels(48), SGD(passes=4, batch=8), threat=bs.Linf(0.1)).verdict
    levels = run(wide, 255 * x - 127.5, labels(48), SGD(passes=4, batch=8), threat=bs.Linf(25.5)).verdict
    assert levels.heldout == ones.heldout
    assert levels.heldout_unclipped == ones.heldout_unclipped
    assert levels.control_rates == ones.control_rates
    assert levels.norm == pytest.approx(255 * ones.norm)
    assert ones.fooling_rate_heldout > 0


def test_a_run_leaves_randomness_threads_and_network_as_they_were() -> None:
    net = Small().train()
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    run(net, inputs(), labels(48), SGD(passes=2, batch=8, views="flip+crop"))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_a_run_on_data_with_repeats_can_be_proved_again(tmp_path: Path) -> None:
    """Repeats of fit rows are passed over, so the held-out rows are others than the first ones that are left."""
    x = torch.cat([inputs(40), inputs(40)[:20]])
    net, data = Small(), bs.ArrayData(x, labels(60), name="with repeats")
    made = run(net, None, None, data=data, out=tmp_path, heldout=12, threat=bs.Linf(0.1))
    assert "held-out rows are the same inputs as fit rows" in made.verdict.findings[-1].saw
    assert verify(tmp_path, Model(net), data).problems == []
    assert made.verdict.heldout.fooled.rows == 12


def test_towards_a_class_rows_that_are_there_already_do_not_count() -> None:
    net, x = plane(margins=(-MARGIN, -MARGIN, MARGIN))
    v = run(net, x, labels(48), SGD(batch=2), target=1, threat=bs.Linf(1.3 * threshold(bs.Linf)), fit=30).verdict
    at = shuffled(48, 0, -1)
    standing = at % 3 != 2
    assert (v.fit.fooled.hits, v.fit.fooled.rows) == (int(standing[:30].sum()),) * 2
    assert (v.heldout.fooled.hits, v.heldout.fooled.rows) == (int(standing[30:].sum()),) * 2


def test_held_out_data_of_their_own_judge_a_search_over_all_rows() -> None:
    net, x = plane()
    other = bs.ArrayData(plane(rows=60)[1][48:], labels(12), name="others")
    whole = run(net, x, labels(48), SGD(batch=2), heldout=other, fit=48, threat=bs.Linf(1.2 * threshold(bs.Linf)))
    assert (whole.verdict.fit.fooled.rows, whole.verdict.heldout.fooled.rows) == (48, 12)
    assert whole.manifest.world["heldout"]["name"] == "others"


def test_what_else_is_found_out() -> None:
    """Images, several, others, norms: on a plane, where the answers are known."""
    net, x = plane(rows=64)
    deaf, _ = plane(weight=torch.cat([W[:32], torch.zeros(32)]))
    with torch.no_grad():
        deaf.bias[1] = -deaf(x)[:, 1].amax() + deaf.bias[1] - MARGIN  # half of the weights have to make up for as much
    others = (Model(net, name="same"), Model(deaf, name="deaf"))
    threat, method = bs.Linf(1.2 * threshold(bs.Linf)), SGD(batch=4, passes=12)
    v = run(net, x, labels(64), method, threat=threat, images=(6, 32), several=3, norms=True, on=others).verdict
    assert v.fooling_rate_heldout == 1.0
    assert [(n.images, n.fooled.share) for n in v.against_images] == [(6, 1.0), (32, 1.0)]
    assert [n.fooled.share for n in v.against_norm] == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert all(n.random.share == 0 for n in v.against_norm[:4])
    products = torch.tensor(v.inner_products)
    assert products.shape == (3, 3)
    assert torch.equal(products, products.T)
    torch.testing.assert_close(products.diagonal(), torch.ones(3))
    assert bool((products > 0.9).all())
    assert [s.share for s in v.several] == [1.0] * 3
    assert [(o.model, o.fooled.share) for o in v.on_models] == [("same", 1.0), ("deaf", 0.0)]


def test_several_searches_are_other_searches() -> None:
    v = run(Small(), inputs(), labels(48), threat=bs.Linf(0.1), several=3).verdict
    products = torch.tensor(v.inner_products)
    assert torch.equal(products, products.T)
    assert bool((products.fill_diagonal_(0) < 0.999).all())


# ------------------------------------------------------------------ bad input


def black_box() -> bs.BlackBox:
    net = Small()
    return bs.BlackBox(lambda x: net(torch.from_numpy(x)).detach().numpy(), name="box")


def stored(shape: tuple[int, ...] = SHAPE, groups: int = 1, size: float = 0.01, **changed: Any) -> Perturbation:
    v = torch.full((groups, *shape), size)
    usual = Perturbation(v, f"linf:{size}", (0.0, 1.0), "small", groups > 1, None, "0" * 64)
    return replace(usual, **changed)


LARGE = Model(Linear(normals(3, 81), torch.zeros(3)), name="large")
WIDE = Model(Small(), (0.0, 255.0), name="wide")
FLAT = Linear(normals(3, 64), torch.zeros(3))
BAD: list[tuple[dict[str, Any], str]] = [
    ({"y": torch.zeros(48, dtype=torch.int64)}, "expected fit rows of at least two classes, got 32 of class 0 alone"),
    ({"fit": 0}, "expected greater than or equal to 1 for fit, got 0"),
    ({"fit": 49}, "expected 1 to 48 fit rows of arrays, got 49"),
    ({"fit": -1}, "expected greater than or equal to 1 for fit, got -1"),
    ({"fit": 48}, "expected rows that the search does not see, got a fit set of all 48 rows"),
    ({"fit": 7}, "expected at least 8 fit rows, one batch, got 7: fit more"),
    ({"heldout": 17}, "expected 1 to 16 held-out rows, as many as are not fitted, got 17"),
    ({"heldout": bs.ArrayData(inputs(), labels(48), name="it")}, "got 32 fit rows among them"),
    ({"perturbation": stored((1, 9, 9))}, r"expected a perturbation of shape \(1, 8, 8\), got \(1, 9, 9\)"),
    ({"perturbation": stored(size=0.03)}, "expected a perturbation within linf:0.02, got .* 0.03"),
    ({"perturbation": stored(groups=5), "per_class": True}, "expected 3 perturbations, one per class, got 5"),
    ({"perturbation": stored(), "per_class": True}, "expected 3 perturbations, one per class, got 1"),
    ({"perturbation": stored(bounds=(0.0, 255.0))}, r"inputs within \(0.0, 1.0\), got one for \(0.0, 255.0\)"),
    ({"net": black_box(), "perturbation": stored(), "several": 2}, "expected a model whose gradients"),
    ({"net": black_box()}, "expected a model whose gradients can be taken, got box, which only answers"),
    ({"target": 3}, "expected a target class from 0 to 2, got 3"),
    ({"target": -1}, "expected greater than or equal to 0 for target, got -1"),
    ({"target": 1, "method": DataFree()}, r"expected a method that can run towards a class, got DataFree\("),
    ({"target": 1, "method": SGD(loss="cosine")}, r"expected a method that can run towards a class, got SGD\("),
    ({"threat": bs.Linf()}, "expected a threat linf or l2 with a radius, as in linf:10/255, got 'linf'"),
    ({"threat": bs.L1(1.0)}, "expected a threat linf or l2 with a radius"),
    ({"method": "sdg"}, "expected a method among"),
    ({"method": SGD(batch=0)}, "expected batch of at least 1, got 0"),
    ({"method": SGA(batch=8, small=0)}, "expected small of at least 1, got 0"),
    ({"method": UAP(batch=8, passes=0)}, "expected passes of at least 1, got 0"),
    ({"method": UAP(batch=8, classes=1)}, "expected classes of at least 2, got 1"),
    ({"method": SGD(batch=8, views="turn")}, "expected transformations among flip, crop"),
    ({"method": SGD(batch=8, period=-1)}, "expected a period of at least 1, or 0 for none, got -1"),
    ({"x": inputs().flatten(1), "net": FLAT, "method": SGD(batch=8, period=4)}, r"got inputs of shape \(64,\)"),
    ({"net": FLAT, "method": DataFree(batch=8)}, "expected a network with at least 2 .* layers, got 0 in Linear"),
    ({"images": (8, 33)}, "expected 1 to 32 fit images, got 33"),
    ({"images": (0,)}, "expected greater than or equal to 1 for images, got 0"),
    ({"on": (LARGE,)}, r"expected networks that take inputs of shape \(1, 8, 8\), got large"),
    ({"on": (WIDE,)}, r"expected networks whose inputs lie within \(0.0, 1.0\), got wide"),
    ({"x": None}, "expected inputs x and labels y, or data"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_input_is_one_sentence_before_anything_is_searched(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    told: list[Progress] = []
    usual = {"net": Small(), "x": inputs(), "y": labels(48), "watch": told.append, "out": tmp_path / "run"}
    with pytest.raises(InputError, match=said) as error:
        run(**{**usual, **changed})
    assert "\n" not in str(error.value)
    assert ": " in str(error.value)
    assert told == []
    assert not (tmp_path / "run" / "run.json").exists()


def test_too_many_numbers_per_class_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("blindspots.experiments.universal.checks"), "_MOST", 191)
    with pytest.raises(InputError, match="expected at most 191 numbers in all perturbations, got 192 for 3 classes"):
        run(Small(), inputs(), labels(48), per_class=True)


def test_a_model_that_only_answers_can_be_measured() -> None:
    made = run(Small(), inputs(), labels(48), threat=bs.Linf(0.1))
    given = stored(v=made.perturbation, threat="linf:0.1")
    v = run(black_box(), inputs(), labels(48), threat=bs.Linf(0.1), perturbation=given).verdict
    assert v.heldout == made.verdict.heldout
    assert set(v.controls) == {"random signs", "random sphere", "mean image"}


def test_trying_networks_leaves_them_as_they_were() -> None:
    other = nn.Sequential(nn.BatchNorm2d(1), Small())
    other.train()
    before = {k: t.clone() for k, t in other.state_dict().items()}
    run(Small(), inputs(), labels(48), on=(Model(other, name="other"),))
    assert other.training
    assert all(torch.equal(t, before[k]) for k, t in other.state_dict().items())


def test_everything_in_a_run_has_the_threads_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads decide the last bits, so nothing inside may ask again how many are free."""

    def asked() -> int:
        raise AssertionError("the run asked how many threads are free")

    monkeypatch.setattr(import_module("blindspots.engine.threads"), "free_threads", asked)
    done = bs.universal(
        bs.Model(Small()), inputs(), labels(48), threat=bs.Linf(0.1), method=SGD(passes=1, batch=8), fit=32,
        images=(16,), several=2, geometry=True, threads=1,
    )  # fmt: skip
    assert done.manifest.made_by.threads == 1
