"""What is varied, and how a network of each level is trained."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindspots.data.splits import halves, shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.transfer.networks import Builtin, FullyConnected, parse_architecture
from blindspots.experiments.transfer.training import train
from blindspots.models.model import Model
from blindspots.pictures import is_image
from blindspots.random import keys, normal, randint, uniform

BASELINE = "baseline"
_SIZES, _NOISES, _WIDTHS = (0.125, 0.25, 0.5), (0.1, 0.2, 0.4), (0.25, 0.5, 2.0)
COPIES, _SPREAD = 3, 0.1  # of every row beside itself, and the standard deviation of what is added to them
_LABELS, _ADDED, _MOVED = 11, 12, 13  # streams of draws


@dataclass(frozen=True)
class Level:
    """One way to train: the baseline, or with one thing changed.

    Attributes:
        factor: what was changed; "baseline".
        name: to what.
        value: as a number on the axis of a trend; None: there is none.
        share, half, noise, copies: of the rows and their labels.
        network: the word that names the architecture.
    """

    factor: str
    name: str
    network: str
    value: float | None = None
    share: float = 1.0
    half: int | None = None
    noise: float = 0.0
    copies: str = ""

    @property
    def key(self) -> str:
        """In names of parts."""
        return self.factor if self.factor == BASELINE else f"{self.factor}-{self.name}".replace(":", "-")


def levels(config: TrainingConfig, shape: tuple[int, ...]) -> list[Level]:
    """The baseline, and every factor's levels.

    Raises InputError: the network has no hidden layers whose width could be varied, or none that is built here.
    """
    base = Level(BASELINE, "baseline", config.network)
    every = {
        "size": [replace(base, factor="size", name=f"{s:g}", value=s, share=s) for s in _SIZES],
        "subset": [replace(base, factor="subset", name=n, half=i) for i, n in enumerate(("P1", "P2"))],
        "noise": [replace(base, factor="noise", name=f"{s:g}", value=s, noise=s) for s in _NOISES],
        "augmentation": list(_augmented(base, shape)),
        "width": list(_wide(base, config)) if "width" in config.factor else [],
        "network": [replace(base, factor="network", name=n, network=n) for n in _others(config.network)],
    }
    return [base, *(level for factor in config.factor for level in every[factor])]


def baseline_value(factor: str) -> float | None:
    """Where the baseline lies on the axis of a factor."""
    return {"size": 1.0, "noise": 0.0, "width": 1.0}.get(factor)


def _augmented(base: Level, shape: tuple[int, ...]) -> Iterator[Level]:
    for name in ("noise", "shifts") if is_image(shape) else ("noise",):
        yield replace(base, factor="augmentation", name=name, copies=name)


def _wide(base: Level, config: TrainingConfig) -> Iterator[Level]:
    network = architecture(config.network)
    if not (isinstance(network, FullyConnected) and network.hidden):
        raise InputError(
            f"expected a network with hidden layers whose width can be varied, got {config.network!r}: use "
            "e.g. fc:100, or leave out the factor width"
        )
    for w in _WIDTHS:
        hidden = tuple(max(1, round(w * units)) for units in network.hidden)
        yield replace(base, factor="width", name=f"{w:g}", value=w, network=replace(network, hidden=hidden).spec)


def _others(network: str) -> list[str]:
    """Kinds that are compared: without hidden layers, deeper, and with features that were learned without labels."""
    return [n for n in ("softmax", "fc:100", "fc:100-100", "autoencoder:100") if n != network]


def architecture(words: str) -> Builtin:
    """Raises InputError: it is none of those that are built here."""
    found = parse_architecture(words)
    if isinstance(found, Builtin):
        return found
    raise InputError(
        f"expected softmax, fc:100-100 or autoencoder:400, got {words!r}: what is trained again and again is built here"
    )


# ------------------------------------------------------------------ training


def trained(level: Level, x: Tensor, y: Tensor, classes: int, seed: int, repeat: int, steps: int) -> Model:
    """A network of a level, from the rows and labels that it leaves: repeats differ in weights and in order."""
    return train(architecture(level.network), x, y, classes=classes, seed=seed * 1000 + repeat, steps=steps)


def selected(level: Level, x: Tensor, y: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """The rows and labels that the level leaves, and copies of them."""
    if level.half is not None:
        at = halves(x, seed)[level.half]
        x, y = x[at], y[at]
    if level.share < 1:
        at = shuffled(len(x), seed, 2)[: max(classes, round(level.share * len(x)))]
        x, y = x[at], y[at]
    return _copied(level.copies, x, _mislabelled(y, level.noise, classes, seed), seed)


def _mislabelled(y: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """A wrong label, each as likely as another, for every row of a share."""
    key = keys(seed, torch.arange(len(y)))
    still = torch.zeros_like(key)
    other = (y + 1 + randint(key, still, _LABELS, classes - 1, (1,))[:, 0]) % classes
    return torch.where(uniform(key, still, _LABELS + 10, (1,))[:, 0] < share, other, y)


def _copied(how: str, x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The rows, and three copies of each: with noise, or moved by up to a pixel."""
    if not how:
        return x, y
    key = keys(seed, torch.arange(len(x)))
    change = _noisy if how == "noise" else _moved
    copies = [change(x, key, torch.full_like(key, i)) for i in range(COPIES)]
    return torch.cat([x, *copies]), y.repeat(1 + COPIES)


def _noisy(x: Tensor, key: Tensor, t: Tensor) -> Tensor:
    return (x + _SPREAD * normal(key, t, _ADDED, x.shape[1:])).clamp(0, 1)


def _moved(x: Tensor, key: Tensor, t: Tensor) -> Tensor:
    """By -1, 0 or 1 pixels along each side; what comes in is 0."""
    by = randint(key, t, _MOVED, 3, (2,)) - 1
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    high, wide = x.shape[-2:]
    pairs = zip(padded, by.tolist(), strict=True)
    return torch.stack([p[..., 1 + dy : 1 + dy + high, 1 + dx : 1 + dx + wide] for p, (dy, dx) in pairs])
