"""The loop of training: what a step does, what is undone, and that a resumed one ends with the same bits."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from blindspots.attacks.gradient.pgd import PGD
from blindspots.ball import Linf
from blindspots.data import ArrayData
from blindspots.errors import InputError
from blindspots.experiments.harden import training as loops
from blindspots.experiments.harden.adversaries.adversary import climb
from blindspots.experiments.harden.batches import Batch, Material, augmented, batches, split, steps_per_epoch
from blindspots.experiments.harden.checks import Checked, Checks, overfitted
from blindspots.experiments.harden.config import FOR_TEXTS
from blindspots.experiments.harden.recipe import (
    Augmentation,
    Curriculum,
    NoisyStep,
    Optimizer,
    Pool,
    Recipe,
    Search,
    TrainingLoss,
    Weights,
    names,
    read_recipe,
)
from blindspots.experiments.harden.trainer import MOST_UNDONE, DivergedError, Trainer
from blindspots.experiments.harden.training import TrainingLoop, weights_of
from blindspots.experiments.harden.verdict import WEIGHTS, Log
from blindspots.experiments.harden.weights import Average, perturbed
from blindspots.models import Model
from blindspots.packing import unpacked_text
from blindspots.random import keys
from blindspots.records import Share
from closed_form import Known, optimum, planes

QUICK = Recipe(epochs=2, batch=8, optimizer=Optimizer(rate=1e-2), adversary=NoisyStep())


def network(seed: int = 0, *, dropout: bool = False) -> Model:
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), *([nn.Dropout(0.3)] if dropout else []), nn.Linear(12, 3)]
    return Model(nn.Sequential(*layers))


def convolutions(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 2), nn.ReLU(), nn.Dropout(0.3)]
    return Model(nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 3)))


def rows(count: int = 80) -> ArrayData:
    known = planes(count, (1, 4, 4), 3)
    return ArrayData(known.x, known.y)


def far_apart(count: int = 80) -> ArrayData:
    """Three classes, each around a corner of its own: everything that trains at all learns them."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    corners = torch.rand(3, 1, 4, 4, generator=g).round()
    return ArrayData(0.5 + 0.35 * (2 * corners[y] - 1) + 0.1 * torch.rand(count, 1, 4, 4, generator=g), y)


def trainer(
    recipe: Recipe = QUICK, model: Model | None = None, seed: int = 0, data: ArrayData | None = None
) -> Trainer:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trainer(fabric, model or network(), split(data or rows(), 0), Linf(0.05), recipe, seed)


def checks_of(t: Trainer) -> Checks:
    return Checks(t.parts.held_out, t.parts.training, (t.threat,), (0.0, 1.0), t.fabric.device, 0)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ------------------------------------------------------------------ rows


def test_every_row_is_trained_on_at_most_once_an_epoch_and_held_out_ones_never() -> None:
    parts = split(rows(), 0)
    assert len(parts.held_out) == 8
    places = torch.cat([parts.training.id, parts.held_out.id])
    assert places.sort().values.equal(torch.arange(80))
    seen = torch.cat([batch.x for batch in batches(parts, 10, 0.5, 0, 0)])
    assert len(seen) == 70
    assert len(seen.flatten(1).unique(dim=0)) == 70


def test_epochs_and_seeds_have_orders_of_their_own_and_the_same_ones_again() -> None:
    parts = split(rows(), 0)
    first, again, next_, other = (
        next(batches(parts, 10, 0.5, seed, epoch)).x for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, next_)
    assert not torch.equal(first, other)


def test_extra_rows_fill_their_share_of_every_batch() -> None:
    parts = split(rows(), 0, ArrayData(torch.full((30, 1, 4, 4), 0.123), torch.zeros(30, dtype=torch.int64)))
    for batch in batches(parts, 10, 0.3, 0, 0):
        assert int((batch.x == 0.123).all(3).all(2).all(1).sum()) == 3
    assert steps_per_epoch(parts, 10, 0.3) == len(list(batches(parts, 10, 0.3, 0, 0))) == 10


def test_shifts_move_a_picture_and_repeat_its_border_and_flips_turn_it() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(200, 1, 4, 4)
    batch = Batch(x, torch.zeros(200, dtype=torch.int64), keys(0, torch.arange(200)))
    shifted = augmented(batch, Augmentation(shift=1)).x
    padded = F.pad(x[:1], (1, 1, 1, 1), mode="replicate")
    wanted = torch.cat([padded[:, :, i : i + 4, j : j + 4] for i in range(3) for j in range(3)])
    assert len(shifted.flatten(1).unique(dim=0)) == 9
    assert all((row == wanted).flatten(1).all(1).any() for row in shifted)
    flipped = augmented(batch, Augmentation(flip=True)).x
    turned = (flipped == x.flip(3)).flatten(1).all(1)
    assert torch.equal(turned | (flipped == x).flatten(1).all(1), torch.ones(200, dtype=torch.bool))
    assert 60 < int(turned.sum()) < 140


def test_tables_are_not_shifted() -> None:
    batch = Batch(torch.rand(5, 7), torch.zeros(5, dtype=torch.int64), keys(0, torch.arange(5)))
    assert torch.equal(augmented(batch, Augmentation(shift=2, flip=True)).x, batch.x)


# ------------------------------------------------------------------ steps


def test_a_plain_step_of_sgd_is_the_one_that_is_known() -> None:
    how = Recipe(batch=8, optimizer=Optimizer(name="sgd", rate=0.1, momentum=0.0, schedule="constant"))
    t = trainer(how)
    by_hand = copy.deepcopy(t.module)
    for batch in batches(t.parts, 8, 0.5, 0, 0):
        loss = F.cross_entropy(by_hand(batch.x), batch.y)
        for p, g in zip(by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True):
            p.data.sub_(0.1 * g)
    t.run_epoch()
    for ours, theirs in zip(t.module.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", sorted({*names()} - {*FOR_TEXTS}))
def test_every_recipe_lowers_its_loss_and_ends_with_the_same_bits_again(name: str) -> None:
    quick = {"epochs": 10, "batch": 8, "optimizer": Optimizer(rate=3e-2)}
    recipe = read_recipe(name).model_copy(update=quick)
    t, again = (trainer(recipe, network(), data=far_apart()) for _ in range(2))
    losses = [t.run_epoch().loss for _ in range(3)]
    for _ in range(3):
        again.run_epoch()
    assert equal(t.state(), again.state())
    losses += [t.run_epoch().loss for _ in range(7)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["fast", "free", "universal", "szegedy", "awp"])
def test_a_trainer_goes_on_from_its_state_to_the_bit(name: str) -> None:
    recipe = read_recipe(name).model_copy(update={"epochs": 4, "batch": 16})
    t, other = trainer(recipe, convolutions()), trainer(recipe, convolutions(1))
    t.run_epoch()
    other.restore(t.state())
    for each in (t, other):
        each.run_epoch()
    assert equal(t.state(), other.state())


def test_the_callers_randomness_and_gradient_mode_stay_as_they_were() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    with torch.no_grad():
        trainer(model=network_drawn_before()).run_epoch()
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(1), wanted)


def network_drawn_before() -> Model:
    with torch.random.fork_rng():
        return network(dropout=True)


def half_frozen() -> Model:
    model = convolutions()
    for layer in (0, 1):  # the first convolution and its batch norm
        model.net[layer].requires_grad_(False)  # type: ignore[index]
    return model


@pytest.mark.parametrize("name", sorted({*names()} - {*FOR_TEXTS}))
def test_no_recipe_moves_a_frozen_layer_or_its_statistics(name: str) -> None:
    model = half_frozen()
    before = copy.deepcopy(model.net.state_dict())
    recipe = read_recipe(name).model_copy(update={"epochs": 2, "batch": 16})
    t = trainer(recipe.model_copy(update={"weights": Weights(average="ema", perturbation=0.01)}), model)
    for _ in range(2):
        t.run_epoch()
    after = t.average.module.net.state_dict()  # type: ignore[union-attr]
    frozen = [k for k in before if k.startswith(("0.", "1."))]
    assert len(frozen) == 7
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    assert not torch.equal(before["3.weight"], after["3.weight"])


def test_the_radius_grows_as_the_curriculum_says() -> None:
    t = trainer(QUICK.model_copy(update={"curriculum": Curriculum(start=0.2, share=1.0, end=1.2)}))
    assert t.radius == pytest.approx(0.2)
    t.run_epoch()
    assert t.radius == pytest.approx(0.7)
    t.run_epoch()
    assert t.radius == pytest.approx(1.2)
    assert trainer(QUICK).radius == 1.0


class Sick(nn.Module):
    """Its scores are not numbers in the calls that `when` names; it keeps a mean of what it saw, as batch norm does."""

    def __init__(self, when: range) -> None:
        super().__init__()
        self.flat, self.line = nn.Flatten(), nn.Linear(16, 3)
        self.norm, self.when, self.calls = nn.BatchNorm1d(16), when, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return self.line(self.norm(self.flat(x))) * (torch.nan if self.training and self.calls in self.when else 1.0)


def test_a_step_whose_loss_is_not_finite_is_undone_and_the_rate_halved() -> None:
    t = trainer(Recipe(epochs=1, batch=8, optimizer=Optimizer(schedule="constant")), Model(Sick(range(9, 10))))
    kept: list[dict[str, Tensor]] = []
    step = t._step

    def watched(batch: Batch) -> float | None:
        before = {k: v.clone() for k, v in t.module.state_dict().items()}
        loss = step(batch)
        if loss is None:
            kept.extend([before, {k: v.clone() for k, v in t.module.state_dict().items()}])
        return loss

    t._step = watched  # type: ignore[method-assign]
    told = t.run_epoch()
    assert told.undone == 1
    assert t.rate_scale == 0.5
    assert equal(*kept)
    assert all(p.isfinite().all() for p in t.module.parameters())


def test_a_network_that_stays_sick_diverges() -> None:
    with pytest.raises(DivergedError):
        trainer(Recipe(epochs=1, batch=8), Model(Sick(range(1, 10**6)))).run_epoch()
    assert MOST_UNDONE <= 9  # the steps of the epoch above


# ------------------------------------------------------------------ weights


def test_perturbed_weights_raise_the_loss_by_the_size_asked_for_and_come_back() -> None:
    net = network().net
    x, y = rows().rows(0, 30)
    before = {k: v.clone() for k, v in net.state_dict().items()}

    def loss() -> Tensor:
        return F.cross_entropy(net(x), y)

    calm = loss().item()
    with perturbed(net, 0.05, loss):
        assert loss().item() > calm
        for name, p in net.named_parameters():
            moved = (p.detach() - before[name]).norm() / before[name].norm()
            assert float(moved) == pytest.approx(0.05 if p.ndim > 1 else 0.0, rel=1e-4)
    for name, p in net.named_parameters():
        torch.testing.assert_close(p, before[name])


def test_the_mean_of_the_last_epochs_is_their_mean() -> None:
    net = nn.Linear(1, 1)
    mean = Average(Weights(average="swa", after=0.5), net)
    for done, value in ((0.5, 100.0), (0.75, 1.0), (1.0, 3.0)):
        nn.init.constant_(net.weight, value)
        mean.after_epoch(done)
    assert mean.module.weight.item() == pytest.approx(2.0)


def test_the_moving_mean_forgets_at_its_rate() -> None:
    net = nn.Linear(1, 1)
    mean = Average(Weights(average="ema", decay=0.75), net)
    for value in (0.0, 1.0):
        nn.init.constant_(net.weight, value)
        mean.after_step()
    assert mean.module.weight.item() == pytest.approx(0.25)


def test_without_a_mean_the_network_itself_is_judged() -> None:
    net = nn.Linear(1, 1)
    assert Average(Weights(), net).module is net


# ------------------------------------------------------------------ the training loop


class Scripted:
    """Checks that find what they are told to."""

    def __init__(self, *shares: tuple[int, int], closer: tuple[int, ...] = ()) -> None:
        self.shares, self.closer = iter(shares), iter(closer)

    def look(self, module: nn.Module) -> Checked:
        fgsm, robust = (Share.of(hits, 100) for hits in next(self.shares))
        return Checked(Share.of(99, 100), fgsm, robust, robust)

    def look_closely(self, module: nn.Module) -> Share:
        return Share.of(next(self.closer, 50), 100)


def run(recipe: Recipe, *shares: tuple[int, int], closer: tuple[int, ...] = ()) -> TrainingLoop:
    loop = TrainingLoop(trainer(recipe), Scripted(*shares, closer=closer), recipe)  # type: ignore[arg-type]
    for _ in loop.run():
        pass
    return loop


def epochs(count: int, **settings: object) -> Recipe:
    return QUICK.model_copy(update={"epochs": count, **settings})


def test_the_weights_of_the_best_epoch_are_kept_and_of_equal_ones_the_last() -> None:
    log = run(epochs(4), (70, 60), (80, 70), (80, 70), (80, 65)).log
    assert (log.best_epoch, log.best) == (3, 0.7)
    assert [e.note for e in log.history] == ["best so far", "best so far", "best so far", ""]


def test_a_closer_look_at_the_best_epochs_chooses_among_them() -> None:
    loop = run(epochs(5), (70, 60), (80, 70), (80, 72), (80, 74), (80, 50), closer=(55, 66))
    assert loop.log.best_epoch == 3
    assert [e.closer and e.closer.hits for e in loop.log.history] == [None, None, 66, 55, None]
    assert {k.split("/")[0] for k in loop.finalists} == {"3", "4"}


def test_an_epoch_that_cannot_be_the_best_any_more_is_not_looked_at_closely() -> None:
    log = run(epochs(3), (70, 60), (80, 70), (80, 74), closer=(71, 99)).log
    assert log.best_epoch == 3
    assert [e.closer is not None for e in log.history] == [False, False, True]


def test_patience_ends_a_training_that_gets_no_better() -> None:
    log = run(epochs(9, patience=2), (70, 60), (70, 59), (70, 58), (70, 99)).log
    assert len(log.history) == 3
    assert "no better robust accuracy" in log.events[-1]


def test_catastrophic_overfitting_is_undone_with_more_noise_then_with_aligned_gradients() -> None:
    loop = run(epochs(3), (70, 60), (90, 5), (72, 61), (95, 3), (75, 62))
    assert [e.note for e in loop.log.history] == [
        "best so far", "undone: catastrophic overfitting", "best so far", "undone: catastrophic overfitting",
        "best so far",
    ]  # fmt: skip
    assert [e.epoch for e in loop.log.history] == [1, 2, 2, 3, 3]
    assert "twice as much noise" in loop.log.events[0]
    assert "aligned" in loop.log.events[1]
    assert loop.trainer.recipe.objective.gradalign > 0


def test_an_undone_epoch_leaves_no_trace_in_the_weights() -> None:
    recipe = epochs(2, adversary=Search(attack="pgd:steps=2"))
    loop = TrainingLoop(trainer(recipe), Scripted((70, 60), (90, 5), (72, 61)), recipe)  # type: ignore[arg-type]
    states = [loop.trainer.state() for _ in loop.run()]
    assert equal(states[0], states[1])


def test_without_a_guard_nothing_is_undone() -> None:
    log = run(epochs(2, guard=False), (70, 60), (90, 5)).log
    assert log.events == []
    assert log.best_epoch == 1


@pytest.mark.parametrize(
    ("fgsm", "robust", "best", "is_it"),
    [
        (90, 5, 0.6, True),
        (50, 38, 0.6, False),
        (60, 41, 0.6, False),
        (30, 20, 0.6, False),
        (90, 5, 0.0, False),
        (83, 2, 0.05, False),
    ],
)  # fmt: skip
def test_only_a_collapse_beside_a_rise_counts_as_catastrophic(fgsm: int, robust: int, best: float, is_it: bool) -> None:
    seen = Checked(Share.of(99, 100), Share.of(fgsm, 100), Share.of(robust, 100), Share.of(robust, 100))
    assert overfitted(seen, best) is is_it


def test_an_epoch_that_diverged_begins_again_at_a_smaller_rate() -> None:
    sick = Sick(range(10, 10 + MOST_UNDONE))  # all of its second epoch but the ninth step
    recipe = Recipe(epochs=3, batch=8)
    t = trainer(recipe, Model(sick))
    loop = TrainingLoop(t, checks_of(t), recipe)
    for _ in loop.run():
        pass
    assert len(loop.log.seconds) == 3
    assert "too many non-finite losses; the epoch was rolled back" in loop.log.events[0]
    assert t.rate_scale < 1
    assert all(p.isfinite().all() for p in sick.parameters())


def test_a_training_that_diverges_again_and_again_is_said() -> None:
    recipe = Recipe(epochs=1, batch=8)
    t = trainer(recipe, Model(Sick(range(1, 10**6))))
    with pytest.raises(InputError, match="training diverged 4 times"):
        list(TrainingLoop(t, checks_of(t), recipe).run())


def test_checks_find_what_a_linear_network_can_stand(tmp_path: Path) -> None:
    known = planes(60, (1, 4, 4), 3)
    parts = split(ArrayData(known.x, known.y), 0)
    for radius, share in ((1e-5, 1.0), (0.4, 0.0)):
        checks = Checks(parts.held_out, parts.training, (Linf(radius),), (0.0, 1.0), torch.device("cpu"), 0)
        seen = checks.look(known.net)
        assert seen.clean.share == 1.0
        assert seen.robust.share == seen.robust_training.share == share
        assert seen.fgsm.share >= seen.robust.share


class Loud(nn.Module):
    """Scores so far apart that the softmax is 0 and 1 to the last bit: cross-entropy has no gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return 1e6 * self.net(x)


class Stairs(nn.Module):
    """Inputs are rounded before they are looked at: no loss has a gradient, but the steps are smaller than the ball."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.still = net, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((500 * x).round() / 500 + 0 * self.still * x)


def masked_from_pgd(net: nn.Module, checks: Checks) -> Tensor:
    """Which rows (N,) stand against ten steps of PGD along the cross-entropy."""
    rows, (threat,) = checks.held_out, checks.threats
    assert threat.radius is not None
    batch = Batch(rows.inputs(slice(None)), rows.y, keys(0, rows.id))
    r = torch.full((len(rows),), threat.radius)
    moved = climb(
        PGD(steps=10, stride=0.25), threat, batch, r, net, lambda z: -F.cross_entropy(z, batch.y, reduction="none")
    )
    with torch.no_grad():
        return net(moved).argmax(1) == batch.y


def known_rows() -> tuple[Known, Checks, Share]:
    """Planes, checks within a radius that half of their rows withstand, and what stands in truth."""
    known = planes(60, (1, 4, 4), 3)
    nearest = optimum(known, Linf(1.0))
    threat = Linf(float(nearest.median()) * 1.001)
    rows = Material(known.x, known.y, torch.arange(60))
    checks = Checks(rows, rows, (threat,), (0.0, 1.0), torch.device("cpu"), 0)
    return known, checks, Share.of(int((nearest > threat.radius).sum()), 60)


def test_a_check_is_not_fooled_where_cross_entropy_has_no_gradient() -> None:
    known, checks, truth = known_rows()
    loud = Loud(known.net)
    assert masked_from_pgd(loud, checks).float().mean() > truth.share + 0.15
    seen = checks.look(loud)
    assert seen.robust == seen.robust_training == truth
    assert checks.look_closely(loud) == truth


def test_a_closer_look_is_not_fooled_where_there_is_no_gradient_at_all() -> None:
    known, checks, truth = known_rows()
    stairs = Stairs(known.net)
    assert masked_from_pgd(stairs, checks).float().mean() > truth.share + 0.15
    assert checks.look(stairs).robust.share > truth.share + 0.15
    assert checks.look_closely(stairs).share <= truth.share + 0.1


def test_with_several_threats_a_row_has_to_stand_in_all_of_them() -> None:
    known, checks, truth = known_rows()
    both = Checks(checks.held_out, checks.training, (Linf(1e-5), *checks.threats), (0.0, 1.0), checks.device, 0)
    assert both.look(known.net).robust == both.look_closely(known.net) == truth


@pytest.mark.parametrize("killed_after", [1, 3])
@pytest.mark.parametrize("adversary", [NoisyStep(), Pool(size=16, refreshed=8)], ids=lambda a: a.kind)
def test_a_loop_that_goes_on_from_a_state_ends_with_the_same_bits(
    killed_after: int, adversary: NoisyStep | Pool
) -> None:
    recipe = epochs(5, adversary=adversary, weights=Weights(average="ema", decay=0.9))
    ends = []
    for stop in (99, killed_after):
        kept = None
        t = trainer(recipe, network(dropout=True))
        first = TrainingLoop(t, checks_of(t), recipe)
        for told in first.run():
            kept = {name: tensor.clone() for name, tensor in first.state.items()}
            if told.done == stop:
                break
        t = trainer(recipe, network(dropout=True))
        loop = TrainingLoop(t, checks_of(t), recipe, kept)
        for _ in loop.run():
            pass
        ends.append((t.state(), loop.columns))
    assert equal(ends[0][0], ends[1][0])
    assert equal(ends[0][1], ends[1][1])


def test_after_a_catastrophe_a_loop_goes_on_as_careful_as_before() -> None:
    recipe = epochs(3)
    loop = TrainingLoop(trainer(recipe), Scripted((70, 60), (90, 5)), recipe)  # type: ignore[arg-type]
    for told in loop.run():
        if told.epoch is not None and told.epoch.undone:
            break
    resumed = TrainingLoop(trainer(recipe), Scripted(), recipe, loop.state)  # type: ignore[arg-type]
    assert resumed.trainer.recipe.adversary == loop.trainer.recipe.adversary != recipe.adversary
    assert resumed.trainer.epoch == 1
    assert resumed.log == loop.log


def test_what_is_kept_has_the_best_weights_and_the_log_without_clocks() -> None:
    loop = run(epochs(2), (70, 60), (90, 5), (71, 61))
    columns = loop.columns
    log = Log.model_validate_json(unpacked_text(columns.pop("log")))
    assert (log.epochs, log.best_epoch, log.history) == (3, 2, loop.log.history)
    assert {name.removeprefix(WEIGHTS) for name in columns} == weights_of(loop.best).keys()
    assert weights_of(loop.best).keys() == loop.trainer.module.net.state_dict().keys()


def test_the_share_of_checked_epochs_falls_with_their_number() -> None:
    recipe = epochs(60)
    loop = TrainingLoop(trainer(recipe), Scripted(), recipe)  # type: ignore[arg-type]
    due = []
    for loop.trainer.epoch in range(1, 61):
        if loop._due():
            due.append(loop.trainer.epoch)
    assert due == list(range(3, 61, 3))
    assert loops._CHECKED == 20


def test_aligned_gradients_cost_nothing_on_a_linear_network_and_something_on_a_bent_one() -> None:
    recipe = QUICK.model_copy(update={"objective": TrainingLoss(gradalign=1.0)})
    batch = next(batches(trainer().parts, 8, 0.5, 0, 0))
    torch.manual_seed(0)
    line = Model(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))  # of two classes all gradients are parallel
    two = Batch(batch.x, batch.y % 2, batch.key)
    assert torch.as_tensor(trainer(recipe, line)._misalignment(two)).item() == pytest.approx(0.0, abs=1e-6)
    bent = trainer(recipe, network())
    found = bent._misalignment(batch)
    assert isinstance(found, Tensor)
    assert found.item() > 1e-4
    torch.autograd.backward(found)
    assert any(p.grad is not None and p.grad.any() for p in bent.module.parameters())


def test_extra_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="extra inputs of shape"):
        split(rows(), 0, ArrayData(torch.rand(4, 3), torch.zeros(4, dtype=torch.int64)))
