"""A substitute for a model that answers with labels alone: what fools the copy, fools the original.

Papernot et al. 2016, "Transferability in machine learning" (arXiv 1605.07277), and 2017, "Practical black-box attacks
against machine learning" (arXiv 1602.02697).
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.attacks import Attack
from blindspots.ball import Ball
from blindspots.batching import ANSWERS
from blindspots.crafting import Plan, craft
from blindspots.errors import InputError
from blindspots.experiments.transfer.changes import noise
from blindspots.fit import check_fit
from blindspots.models.foreign import ModelError, told
from blindspots.models.model import Model
from blindspots.models.training import alone
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.random import keys
from blindspots.records import Share
from blindspots.sizes import check_radius

_SMALLEST_IMAGE = 8  # pixels: below, nothing is left after pooling twice


@dataclass(frozen=True)
class Round:
    """The substitute after one round of training on `rows` labelled rows.

    `fit`: on how many of these it gives the target's label; `agreement`: the same on the held-out rows, if there are
    any.
    """

    rows: int
    fit: Share
    agreement: Share | None


@dataclass(frozen=True)
class Substitute:
    """A trained substitute.

    `queries` labels were asked for to train it, `queries_apart` more to measure the agreement on held-out rows. `x`
    float32 (N, *shape) and `y` int64 (N,) are what it was trained on, N = `queries`, with the target's labels.
    """

    model: Model
    rounds: tuple[Round, ...]
    queries: int
    queries_apart: int
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Fed:
    """What a target makes of inputs that were made for another model; shares of the rows.

    The other model is wrong on the adversarial ones (`fooled`); the target on the `clean` ones, on the adversarial ones
    (`moved`), on the adversarial ones of those that it got right when they were clean (`of_right`), and on noise of the
    same size (`noise`).
    """

    fooled: Share
    clean: Share
    moved: Share
    of_right: Share
    noise: Share


def train_substitute(
    target: Model,
    x: Tensor,
    *,
    queries: int = 6400,
    net: nn.Module | None = None,
    held_out: Tensor | None = None,
    step: float = 0.2,
    period: int | None = 1,
    reservoir: int | None = None,
    reservoir_from: int = 3,
    epochs: int = 10,
    batch: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Substitute:
    """Train a network that answers like `target`, from labels that the target gives, at most `queries` of them.

    In every round the network is trained on all rows labelled so far; then new rows are made of them and labelled:
    x + step * sign(dF_c(x) / dx), clipped to the bounds, where F_c is the network's probability of the class c that the
    target gave x (Jacobian-based augmentation; 2017). That doubles the rows until the reservoir sets in or
    the budget ends: the last round makes exactly as many rows as the budget has left, and the network is trained once
    more. So `queries` labels are asked for, never one more. The global generator stays as it is; same machine, same
    seed: same bits.

    Where this differs from the papers: training goes on from the weights of the last round, with Adam instead of
    momentum; new rows are clipped; the last round is cut to the budget (150 rows double to 4,800 in five rounds, the
    sixth would end at 9,600).

    Args:
        target: any model; only labels are looked at. A function of arrays: `BlackBox(function, "labels", classes=10)`.
        x: float32 (n, *shape) inputs within the target's bounds to begin with, n <= queries. 2017: 150 test images.
        queries: the budget; 2017: 6,400.
        net: the substitute's architecture and first weights, a module from (B, *shape) to logits (B, C); it is copied,
            and stays on its device. None: two convolutions for images (channels, height, width) of 8 x 8 and more, else
            two hidden layers, drawn from the seed.
        held_out: float32 (m, *shape) inputs on which the agreement with the target is measured after each round. Their
            m labels are asked for once and counted apart.
        step: lambda, in units of the inputs; 2017: 0.1.
        period: tau: after every `period` rounds the step changes its sign (2016). None: never, as in 2017.
            Steps that only make the class surer stay within it; those back cross its boundary. On MNIST, 6,400 labels
            of a network: agreement 87 % with None and 92 % with 1; MI-FGSM at linf 0.3 then misleads it on 76 % and
            98 % of 2,000 rows. But half of the new rows are now one step of FGSM, which a substitute so trained
            resists (65 %): attack it with more than one.
        reservoir: kappa: how many rows a round adds, drawn from all by reservoir sampling, every row with the same
            probability (2016). None: one for each row.
        reservoir_from: sigma: the first round, counted from 0, that draws.
        epochs, batch, learning_rate: of Adam, in each round.
        seed: of weights, order and reservoir.

    Raises:
        InputError: a number above is not positive, or the inputs do not fit the target, the budget or the network.
    """
    _check(target, x, held_out, queries)
    _positive(step=step, period=period, reservoir=reservoir, epochs=epochs, batch=batch, learning_rate=learning_rate)
    growth = _Growth(step, period, reservoir, reservoir_from)
    with alone(seed):
        scores = _scores(target, x)
        x, y = x.detach().cpu(), scores.argmax(1)
        held = None if held_out is None else (held_out, _scores(target, held_out).argmax(1))
        model = _begun(target, net or _network(tuple(x.shape[1:]), scores.shape[1]), x, scores.shape[1])
        optimizer = torch.optim.Adam(model.net.parameters(), learning_rate)
        rounds: list[Round] = []
        while True:
            _fit(model, optimizer, x, y, epochs, batch)
            rounds.append(Round(len(x), _agreement(model, x, y), _agreement(model, *held) if held else None))
            if len(x) == queries:
                return Substitute(model, tuple(rounds), queries, len(held[1]) if held else 0, x, y)
            new = growth.rows(model, x, y, len(rounds) - 1, queries - len(x))
            x, y = torch.cat([x, new]), torch.cat([y, _scores(target, new).argmax(1)])


def restored(target: Model, shape: tuple[int, ...], classes: int, weights: Mapping[str, Tensor]) -> Model:
    """The substitute of `target` that has these weights, where no other network was asked for."""
    with alone(0):
        net = _network(shape, classes)
    net.load_state_dict(weights)
    return Model(net.eval(), target.bounds, name=_name(target))


def attack_through(
    substitute: Model, target: Model, x: Tensor, y: Tensor, attack: Attack, *, threat: Ball, seed: int = 0
) -> Fed:
    """Make adversarial examples for `substitute` and feed them to `target`, which is asked for 3 labels per row.

    As in the papers every row is fed: also one that the substitute gets wrong, or resists the attack (see `craft`).

    Args:
        x: float32 (N, *shape) within the bounds of both; y: int64 (N,) true labels.
        threat: with a radius, or without one for an attack that searches for the smallest distance.

    Raises:
        InputError: the attack does not fit the threat, or needs more than the substitute shows.
    """
    threat, objective = threat.within(*target.bounds), Objective(loss=attack.loss)
    check_fit(attack, threat, substitute.access, objective)
    check_radius(threat, tuple(x.shape[1:]))
    x, y = x.cpu(), y.cpu()
    plan = Plan(threat, objective, None, 1, seed, ANSWERS, ANSWERS)
    moved = craft(Oracle(substitute, chunk=ANSWERS), attack, plan, x, y).moved
    shaken = noise(x, moved, keys(seed, torch.arange(len(x))), threat)
    clean, wrong, shaken_wrong = (_scores(target, rows).argmax(1) != y for rows in (x, moved, shaken))
    return Fed(
        fooled=_share(_scores(substitute, moved).argmax(1) != y),
        clean=_share(clean),
        moved=_share(wrong),
        of_right=_share(wrong[~clean]),
        noise=_share(shaken_wrong),
    )


def _share(hit: Tensor) -> Share:
    return Share.of(int(hit.sum()), len(hit))


# ------------------------------------------------------------------ questions


def _scores(model: Model, x: Tensor) -> Tensor:
    with Oracle(model, chunk=ANSWERS).session() as oracle:
        return oracle.logits(x).cpu()


def _agreement(model: Model, x: Tensor, y: Tensor) -> Share:
    return _share(_scores(model, x).argmax(1) == y)


# ------------------------------------------------------------------ training


def _begun(target: Model, net: nn.Module, x: Tensor, classes: int) -> Model:
    model = Model(copy.deepcopy(net), target.bounds, name=_name(target))
    try:
        got = _scores(model, x[:1]).shape[1]
    except ModelError as error:
        said = told(error.__cause__ or error)
        raise InputError(f"expected a network of inputs {tuple(x.shape[1:])}, it raised: {said}") from error
    if got != classes:
        raise InputError(f"expected a network with the target's {classes} classes, got {got}: give it as many")
    return model


def _name(target: Model) -> str:
    return f"substitute of {target.name}"


def _network(shape: tuple[int, ...], classes: int) -> nn.Module:
    if len(shape) != 3 or min(shape[1:]) < _SMALLEST_IMAGE:
        inner = [nn.Linear(math.prod(shape), 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *inner, nn.Linear(200, classes))
    size = 32 * (shape[1] // 4) * (shape[2] // 4)
    convolutions = [nn.Conv2d(shape[0], 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    convolutions += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolutions, nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, classes))


def _fit(model: Model, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, epochs: int, batch: int) -> None:
    model.net.train()
    for _ in range(epochs):
        # Batches of nearly one size: a row that is left over alone has no variance for a batch norm.
        for at in torch.randperm(len(x)).tensor_split(math.ceil(len(x) / batch)):
            optimizer.zero_grad()
            logits = model.logits(x[at])
            torch.autograd.backward(F.cross_entropy(logits, y[at].to(logits.device)))
            optimizer.step()
    model.net.eval()


# ------------------------------------------------------------------ new rows


@dataclass(frozen=True)
class _Growth:
    """Jacobian-based augmentation; the fields are the arguments of `train_substitute`."""

    step: float
    period: int | None
    reservoir: int | None
    reservoir_from: int

    def rows(self, model: Model, x: Tensor, y: Tensor, finished: int, most: int) -> Tensor:
        """At most `most` new rows for the labelled ones, after so many finished rounds."""
        limited = self.reservoir is not None and finished >= self.reservoir_from
        at = _drawn(len(x), min(most, len(x), self.reservoir if limited and self.reservoir else len(x)))
        turned = self.period is not None and finished // self.period % 2 == 1
        return _augmented(model, x[at], y[at], -self.step if turned else self.step)


def _drawn(rows: int, size: int) -> Tensor:
    """Places of `size` of the rows, every row with the same probability, by reservoir sampling: (size,)."""
    kept = list(range(size))
    draws = (torch.rand(rows - size, dtype=torch.float64) * torch.arange(size + 1, rows + 1)).long().tolist()
    for row, place in enumerate(draws, start=size):
        if place < size:
            kept[place] = row
    return torch.tensor(kept)


def _augmented(model: Model, x: Tensor, y: Tensor, step: float) -> Tensor:
    with model.borrowed():
        parts = [_signs(model, x[i : i + ANSWERS], y[i : i + ANSWERS]) for i in range(0, len(x), ANSWERS)]
    return (x + step * torch.cat(parts)).clamp(*model.bounds)


def _signs(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Of the gradients of F_y, taken of its log-odds, with which it rises: where F_y is 1 in float32 it is flat."""
    x = x.clone().requires_grad_()
    logits = model.logits(x)
    own = y[:, None].to(logits.device)
    odds = logits.gather(1, own)[:, 0] - logits.scatter(1, own, -torch.inf).logsumexp(1)
    return torch.autograd.grad(odds.sum(), x)[0].sign()


# ------------------------------------------------------------------ bad input


def _check(target: Model, x: Tensor, held_out: Tensor | None, queries: int) -> None:
    if not isinstance(target, Model):
        raise InputError(
            f"expected a Model, got {type(target).__name__}: wrap a function as BlackBox(function, 'labels', "
            "classes=10), a network as Model(network)"
        )
    if not 1 <= len(x) <= queries:
        raise InputError(f"expected 1 to {queries} inputs to begin with, got {len(x)}: each costs one of the queries")
    lo, hi = target.bounds
    for rows in (x, held_out):
        if rows is not None and not bool(((rows >= lo) & (rows <= hi)).all()):
            raise InputError(f"expected inputs within the bounds [{lo}, {hi}] of the target, got others: scale them")
    if held_out is not None and held_out.shape[1:] != x.shape[1:]:
        raise InputError(
            f"expected held-out inputs of shape {tuple(x.shape[1:])}, got {tuple(held_out.shape[1:])}: use equal data"
        )


def _positive(**numbers: float | None) -> None:
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise InputError(f"expected a positive {name}, got {value}: give a positive number")
