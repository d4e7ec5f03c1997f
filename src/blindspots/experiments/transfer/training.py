"""Training on rows in memory, so that the same seed gives the same bits and the caller's generator stays as it was."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindspots.batching import ANSWERS
from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.experiments.transfer.networks import Architecture, Autoencoder, Custom
from blindspots.models.digits import Say
from blindspots.models.model import Model
from blindspots.models.training import alone
from blindspots.oracle import Oracle
from blindspots.records import Share

_LEAST_STEPS = 10  # the schedule rises and falls
_HARDLY = 1e-6  # a mean activation of exactly 0 or 1 has no logarithm
_SAID = 1000  # steps between two sentences


@dataclass(frozen=True)
class Recipe:
    """Adam whose rate rises and falls once (Smith and Topin 2018).

    Args:
        steps: batches in all.
        batch: rows per step; all of them if there are fewer.
        learning_rate: the peak.
    """

    steps: int = 6000
    batch: int = 256
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        if self.steps < _LEAST_STEPS or self.batch < 1 or not self.learning_rate > 0:
            raise InputError(
                f"expected at least {_LEAST_STEPS} steps of at least one row at a positive rate, got {self}: change it"
            )


@dataclass(frozen=True)
class Sparsity:
    """What a sparse autoencoder minimises besides half the squared error of its reconstruction.

    `weight` times the divergence of a coin that shows `activity` from each unit's mean activation, summed over the
    units, plus `decay` times the squared weights of both layers (Ng 2011, CS294A lecture notes, section 3). Szegedy et
    al. 2013 only say that the features were of high quality; these settings give classifiers as accurate as theirs.
    """

    activity: float = 0.1
    weight: float = 0.3
    decay: float = 1e-3


SIGMOID, CUSTOM = Recipe(), Recipe(steps=2000, batch=128, learning_rate=2e-3)
FEATURES, TOP = Recipe(steps=3000), Recipe(steps=12000, learning_rate=0.1)  # of an autoencoder


def train(
    architecture: Architecture,
    x: Tensor,
    y: Tensor,
    *,
    classes: int,
    seed: int = 0,
    steps: int | None = None,
    say: Say = lambda _: None,
) -> Model:
    """Build a network and train it on cross-entropy plus weight decay; it comes back in evaluation mode.

    Args:
        x: inputs float32 (N, *shape), in [0, 1] for all but factories' models with bounds of their own.
        y: labels int64 (N,), 0 .. classes - 1.
        seed: decides the first weights and the order of the rows.
        steps: batches in all, of an autoencoder's features and of its top; None: as many as suit the architecture.
        say: gets a sentence every thousand steps.
    """
    with alone(seed):
        model = architecture.build(x.shape[1:], classes)
        progress = _titled(say, architecture.title(classes))
        if isinstance(architecture, Autoencoder):
            _learn_features(model.net, x, _of(FEATURES, steps), Sparsity(), progress)
            _fit_top(model.net, x, y, architecture.decays, _of(TOP, steps), progress)
        else:
            _fit(model, x, y, architecture.decays, _of(_usual(architecture), steps), progress)
    return model


def arrays(data: Dataset) -> tuple[Tensor, Tensor]:
    """All inputs (N, *shape) and labels (N,) of the data, in memory, where training needs them."""
    return data.rows(0, len(data))


def answers(model: Model, x: Tensor) -> Tensor:
    """The class that the model gives to each row (N, ...): (N,) int64."""
    oracle = Oracle(model, chunk=min(ANSWERS, len(x)))
    with oracle.session():
        return oracle.logits(x).cpu().argmax(1)


def wrong(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Which rows (N, ...) with labels (N,) the model gets wrong: (N,) bool."""
    return answers(model, x) != y


def error(model: Model, x: Tensor, y: Tensor) -> Share:
    """The share of rows that the model gets wrong."""
    return Share.of(int(wrong(model, x, y).sum()), len(y))


def weight_decay(net: nn.Module, decays: Sequence[float]) -> Tensor | float:
    """Szegedy et al. 2013, section 4.2: the sum over layers of lambda sum(w^2) / k, k being the layer's units.

    The i-th linear layer of `net` has lambda `decays[i]`; biases are free.
    """
    linear = (m for m in net.modules() if isinstance(m, nn.Linear))
    pairs = zip(decays, linear, strict=False)
    return sum((decay * m.weight.square().sum() / m.out_features for decay, m in pairs if decay), start=0.0)


def recipe_words(architecture: Architecture, steps: int | None = None) -> str:
    """How `train` would train it, as a record of a run says it."""
    if isinstance(architecture, Autoencoder):
        features, top = _of(FEATURES, steps), _of(TOP, steps)
        return f"features: {features}, {Sparsity()}; top: {top}, decays={architecture.decays[1:]}"
    return f"{_of(_usual(architecture), steps)}, decays={architecture.decays}"


def _of(recipe: Recipe, steps: int | None) -> Recipe:
    return recipe if steps is None else replace(recipe, steps=steps)


def _usual(architecture: Architecture) -> Recipe:
    return CUSTOM if isinstance(architecture, Custom) else SIGMOID


def _titled(say: Say, title: str) -> Callable[[int, int], None]:
    def progress(step: int, steps: int) -> None:
        if step % _SAID == 0:
            say(f"{title}: step {step:,} of {steps:,}")

    return progress


def _fit(
    model: Model, x: Tensor, y: Tensor, decays: Sequence[float], recipe: Recipe, progress: Callable[[int, int], None]
) -> None:
    _check(model, x, y)
    y = y.to(model.device)

    def loss(at: Tensor) -> Tensor:
        return F.cross_entropy(model.logits(x[at]), y[at]) + weight_decay(model.net, decays)

    model.net.train()
    _descend(loss, model.net.parameters(), len(x), recipe, progress)
    model.net.eval()


def _check(model: Model, x: Tensor, y: Tensor) -> None:
    """Refuse what a factory may return: something that cannot learn, or has too few classes."""
    if not any(p.requires_grad for p in model.net.parameters()):
        raise InputError(f"expected a network with parameters to train, got none in {model.name}: return an nn.Module")
    with torch.no_grad(), model.borrowed():
        classes, wanted = model.logits(x[:1]).shape[1], int(y.max()) + 1
    if classes < wanted:
        raise InputError(
            f"expected scores for {wanted} classes, got {classes} from {model.name}: let it return one score per class"
        )


def _learn_features(
    net: nn.Module, x: Tensor, recipe: Recipe, sparsity: Sparsity, progress: Callable[[int, int], None]
) -> None:
    """Train the first linear layer of AE as the encoder of a sparse autoencoder, whose decoder is thrown away."""
    features = _linear(net)[0]
    decoder = nn.Linear(features.out_features, features.in_features)
    flat = x.flatten(1)

    def loss(at: Tensor) -> Tensor:
        hidden: Tensor = features(flat[at]).sigmoid()
        reconstruction: Tensor = 0.5 * (decoder(hidden).sigmoid() - flat[at]).square().sum(1).mean()
        weights = features.weight.square().sum() + decoder.weight.square().sum()
        return reconstruction + sparsity.weight * _divergence(hidden.mean(0), sparsity) + sparsity.decay * weights

    _descend(loss, [*features.parameters(), *decoder.parameters()], len(x), recipe, progress)


def _divergence(mean: Tensor, sparsity: Sparsity) -> Tensor:
    """Kullback-Leibler divergence of coins with the units' mean activations from one that shows `activity`, summed."""
    rho, mean = sparsity.activity, mean.clamp(_HARDLY, 1 - _HARDLY)
    on = rho * (math.log(rho) - mean.log())
    off = (1 - rho) * (math.log(1 - rho) - torch.log1p(-mean))
    divergence: Tensor = (on + off).sum()
    return divergence


def _fit_top(
    net: nn.Module, x: Tensor, y: Tensor, decays: Sequence[float], recipe: Recipe, progress: Callable[[int, int], None]
) -> None:
    """Train the last linear layer on the features as they are."""
    features, top = _linear(net)
    with torch.no_grad():
        hidden = torch.cat([features(part).sigmoid() for part in torch.split(x.flatten(1), ANSWERS)])

    def loss(at: Tensor) -> Tensor:
        return F.cross_entropy(top(hidden[at]), y[at]) + weight_decay(top, decays[1:])

    _descend(loss, top.parameters(), len(x), recipe, progress)
    net.eval()


def _linear(net: nn.Module) -> list[nn.Linear]:
    return [m for m in net.modules() if isinstance(m, nn.Linear)]


def _descend(
    loss: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    rows: int,
    recipe: Recipe,
    progress: Callable[[int, int], None],
) -> None:
    """`loss` is given the places of a batch's rows."""
    optimizer = torch.optim.Adam(parameters, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps)
    for step, at in enumerate(islice(_batches(rows, recipe.batch), recipe.steps)):
        progress(step, recipe.steps)
        optimizer.zero_grad()
        torch.autograd.backward(loss(at))
        optimizer.step()
        schedule.step()


def _batches(rows: int, batch: int) -> Iterator[Tensor]:
    """Without end: places (batch,) of rows, every one once before any comes again; the remainder sits out."""
    batch = min(batch, rows)
    while True:
        yield from torch.randperm(rows)[: rows // batch * batch].view(-1, batch)
