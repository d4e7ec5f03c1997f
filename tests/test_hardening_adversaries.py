"""Adversaries in training: where their rows lie, and what they do to networks whose answer is known."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.ball import L1, L2, Linf
from blindspots.errors import InputError
from blindspots.experiments.harden.adversaries import Adversary, make_adversary
from blindspots.experiments.harden.adversaries.adversary import Networks
from blindspots.experiments.harden.adversaries.pool import PoolAdversary
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.layers import hidden_layers, outputs, replaced
from blindspots.experiments.harden.recipe import Free, Noise, NoisyStep, Pool, Recipe, Search, TrainingLoss, Universal
from blindspots.random import keys
from blindspots.rows import Around
from blindspots.threat import Threat
from closed_form import Linear, planes

INSIDE = {
    "attack": Search(attack="pgd:steps=3"),
    "fgsm": Search(attack="fgsm"),
    "several": Search(attack="pgd:steps=2", threats=("linf:0.1", "l2:0.3"), combine="random"),
    "step": NoisyStep(),
    "noise": Noise(),
    "sign": Noise(shape="sign"),
    "free": Free(),
}
ROWWISE = [name for name in INSIDE if name != "free"]


def batch_of(rows: int = 6) -> Batch:
    known = planes(rows, (1, 3, 3), 3)
    return Batch(known.x, known.y, keys(0, torch.arange(rows)))


def network() -> nn.Module:
    return planes(6, (1, 3, 3), 3).net


def nets(module: nn.Module) -> Networks:
    return Networks(module, module, module, lambda x: x)


def adversary(how: object, threat: Threat, objective: TrainingLoss | None = None) -> Adversary:
    return make_adversary(Recipe(adversary=how, objective=objective or TrainingLoss()), threat, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3), L1(0.8)], ids=lambda t: t.name)
def test_what_is_trained_on_lies_inside_the_threat(name: str, threat: Threat) -> None:
    batch, how = batch_of(), INSIDE[name]
    (form,) = adversary(how, threat).perturb(nets(network()), batch, 1.0)
    wide = threat if name != "several" else L2(0.3)  # the larger of its two balls in three by three pixels
    assert wide.holds(form, Around(batch.x, torch.full((6,), float(wide.radius or 0)))).all()
    assert not torch.equal(form, batch.x) or name == "free"


@pytest.mark.parametrize("name", ROWWISE)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    batch = batch_of()
    few = Batch(batch.x[2:5], batch.y[2:5], batch.key[2:5])
    (all_,), (some,) = (adversary(INSIDE[name], Linf(0.1)).perturb(nets(network()), b, 1.0) for b in (batch, few))
    torch.testing.assert_close(all_[2:5], some)


@pytest.mark.parametrize("radius", [0.25, 1.0])
def test_one_full_step_on_a_linear_network_is_the_worst_point_of_the_ball(radius: float) -> None:
    batch, net = batch_of(), network()
    assert isinstance(net, Linear)
    (form,) = adversary(Search(attack="fgsm"), Linf(0.1)).perturb(nets(net), batch, radius)
    grad = torch.autograd.functional.jacobian(lambda x: F.cross_entropy(net(x), batch.y, reduction="sum"), batch.x)
    torch.testing.assert_close(form, batch.x + 0.1 * radius * grad.sign())


def test_of_several_norms_each_row_gets_the_one_that_hurts_it_most() -> None:
    batch, net = batch_of(), network()
    (worst,) = adversary(Search(attack="fgsm", threats=("linf:0.02", "l2:0.3")), Linf(0.1)).perturb(
        nets(net), batch, 1.0
    )
    each = [adversary(Search(attack="fgsm"), t).perturb(nets(net), batch, 1.0)[0] for t in (Linf(0.02), L2(0.3))]
    pain = torch.stack([F.cross_entropy(net(x), batch.y, reduction="none") for x in each])
    torch.testing.assert_close(F.cross_entropy(net(worst), batch.y, reduction="none"), pain.amax(0))


def test_the_mean_over_several_norms_is_the_mean_of_their_losses() -> None:
    batch, net = batch_of(), network()
    how = adversary(Search(attack="fgsm", threats=("linf:0.02", "l2:0.3"), combine="average"), Linf(0.1))
    forms = how.perturb(nets(net), batch, 1.0)
    each = torch.stack([F.cross_entropy(net(x), batch.y, reduction="none") for x in forms])
    torch.testing.assert_close(how.losses(nets(net), batch, forms), each.mean(0))


def test_more_noise_leaves_the_ball_but_never_the_box() -> None:
    batch = batch_of()
    (form,) = adversary(NoisyStep(noise=2.0, stride=1.0, project=False), Linf(0.3)).perturb(nets(network()), batch, 1.0)
    change = (form - batch.x).abs().amax((1, 2, 3))
    assert (change > 0.3).any()
    assert change.max() <= 0.9 + 1e-6
    assert form.min() >= 0
    assert form.max() <= 1


def test_gaussian_noise_has_the_size_that_was_asked_for() -> None:
    rows = 2000
    batch = Batch(torch.full((rows, 9), 0.5), torch.zeros(rows, dtype=torch.int64), keys(0, torch.arange(rows)))
    (form,) = adversary(Noise(shape="gaussian"), Linf(0.25)).perturb(nets(network()), batch, 1.0)
    assert float((form - batch.x).std()) == pytest.approx(0.25, rel=0.02)
    (own,) = adversary(Noise(shape="gaussian", sigma=0.5), Linf(0.25)).perturb(nets(network()), batch, 1.0)
    assert float((own - batch.x).std()) == pytest.approx(0.5, rel=0.02)


def backward(how: Adversary, net: nn.Module, batch: Batch) -> Tensor:
    (form,) = how.perturb(nets(net), batch, 1.0)
    torch.autograd.backward(how.losses(nets(net), batch, [form]).mean())
    how.learn(nets(net), batch, 1.0)
    return form.detach()


def test_free_training_goes_on_from_where_the_replay_before_went() -> None:
    batch, net = batch_of(), network()
    how = adversary(Free(stride=0.5), Linf(0.1))
    assert how.replays == 4
    first, second, third = (backward(how, net, batch) for _ in range(3))
    torch.testing.assert_close(first, batch.x)
    grad = torch.autograd.functional.jacobian(lambda x: F.cross_entropy(net(x), batch.y, reduction="sum"), batch.x)
    torch.testing.assert_close(second, batch.x + 0.05 * grad.sign())
    assert (third - batch.x).abs().max() <= 0.1 + 1e-6


def test_a_universal_change_is_the_same_for_all_rows_and_moves_by_the_sum_of_their_gradients() -> None:
    batch, net = batch_of(), network()
    how = adversary(Universal(stride=0.5), Linf(0.1))
    backward(how, net, batch)
    grad = torch.autograd.functional.jacobian(lambda x: F.cross_entropy(net(x), batch.y, reduction="sum"), batch.x)
    torch.testing.assert_close(how.memory["change"], 0.05 * grad.sum(0, keepdim=True).sign())
    for _ in range(5):
        backward(how, net, batch)
    assert how.memory["change"].abs().max() <= 0.1 + 1e-6


# ------------------------------------------------------------------ pools


def deep() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


class Plain(nn.Module):
    """No activation is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(9, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x.flatten(1)).relu()).relu())


def test_hidden_layers_are_activations_else_all_weighted_layers_but_the_last() -> None:
    net, plain, x = deep(), Plain(), batch_of().x
    assert hidden_layers(net, net, x) == [net[2], net[4]]
    assert hidden_layers(plain, plain, x) == [plain.a, plain.b]


def test_a_layer_that_runs_twice_is_none_to_put_something_in_place_of() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), relu, nn.Linear(8, 7), relu, nn.Linear(7, 3))
    assert relu not in hidden_layers(net, net, batch_of().x)


def test_what_is_put_in_the_place_of_a_layer_decides_the_scores() -> None:
    net, x = deep(), batch_of().x
    (h,) = outputs(net, [net[2]], x)
    with replaced(net[2], h.roll(1, 0)):
        torch.testing.assert_close(net(x), net[3:](h.roll(1, 0)))
    torch.testing.assert_close(net(x), net[3:](h))


def pool(net: nn.Module, **settings: object) -> PoolAdversary:
    how = adversary(Pool(size=8, refreshed=3, **settings), Linf(0.1))  # type: ignore[arg-type]
    assert isinstance(how, PoolAdversary)
    return how


def test_pools_take_turns_and_fill_up() -> None:
    net, batch = deep(), batch_of()
    how = pool(net)
    for _ in range(6):
        how.perturb(nets(net), batch, 1.0)
    shapes = {name: tuple(t.shape) for name, t in how.memory.items() if name.endswith("change")}
    assert shapes == {"pool.0.change": (8, 1, 3, 3), "pool.1.change": (8, 8), "pool.2.change": (8, 7)}
    assert [int((how.memory[f"pool.{i}.y"] >= 0).sum()) for i in range(3)] == [6, 6, 6]


def test_examples_of_inputs_lie_in_the_threat_and_those_of_layers_near_what_was_computed() -> None:
    net, batch = deep(), batch_of()
    how = pool(net, hidden=0.25, layers="hidden")
    how.perturb(nets(net), batch, 1.0)
    (h,) = outputs(net, [net[2]], batch.x[:3])
    change = how.memory["pool.0.change"][:3]
    moved, lengths = h + change, change.norm(dim=1)
    assert (lengths > 0).all()
    assert (lengths <= 0.25 * h.norm(dim=1) * (1 + 1e-4)).all()
    before = F.cross_entropy(net[3:](h), batch.y[:3], reduction="none")
    assert (F.cross_entropy(net[3:](moved), batch.y[:3], reduction="none") >= before).all()


def test_examples_of_a_layer_train_only_the_layers_above_it() -> None:
    net, batch = deep(), batch_of()
    how = pool(net, share=1.0, layers="hidden")
    forms = how.perturb(nets(net), batch, 1.0)
    torch.autograd.backward(how.losses(nets(net), batch, forms).mean())
    assert net[1].weight.grad is None or not net[1].weight.grad.any()
    assert net[3].weight.grad is not None
    assert net[3].weight.grad.any()


def test_the_easiest_examples_lose_their_places_first() -> None:
    net, batch = deep(), batch_of(8)
    how = pool(net, layers="inputs")
    for _ in range(3):
        how.perturb(nets(net), batch, 1.0)
    kept = {k: v.clone() for k, v in how.memory.items()}
    examples = kept["pool.0.x"] + kept["pool.0.change"]
    pain = F.cross_entropy(net(examples), kept["pool.0.y"].clamp_min(0), reduction="none")
    how.perturb(nets(net), batch, 1.0)
    changed = (how.memory["pool.0.change"] != kept["pool.0.change"]).flatten(1).any(1)
    assert 0 < int(changed.sum()) <= 3
    assert pain[changed].mean() < pain[~changed].mean()


def test_a_pool_goes_on_from_its_memory_to_the_bit() -> None:
    net, batch = deep(), batch_of()
    how, other = pool(net), pool(net)
    for _ in range(4):
        how.perturb(nets(net), batch, 1.0)
    other.restore(copy.deepcopy(how.memory))
    (a,), (b,) = (p.perturb(nets(net), batch, 1.0) for p in (how, other))
    assert torch.equal(a, b)


def test_pools_of_hidden_layers_need_layers() -> None:
    net = nn.Sequential(nn.Flatten())
    with pytest.raises(InputError, match="expected a network with layers that are modules"):
        pool(net, layers="hidden").perturb(nets(net), batch_of(), 1.0)
