"""Which networks there are, and what they are fed, line by line: a function of settings and seed.

Noise and amplified changes leave the box [0, 1], so that their size is what the tables say. Lines of their own give the
errors inside the box.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindspots.ball import L2
from blindspots.experiments.reproduce.config import ReproduceConfig
from blindspots.experiments.reproduce.verdict import (
    AMPLIFIED_TO,
    TABLE_1,
    TABLE_2,
    TABLE_2_NOISE,
    TABLE_3,
    TABLE_4,
    TABLE_4_AMPLIFIED,
    TABLE_4_NOISE,
    Group,
)
from blindspots.experiments.transfer.changes import amplified, noise
from blindspots.experiments.transfer.models import HALVES, restored
from blindspots.experiments.transfer.networks import Builtin, Custom, parse_architecture
from blindspots.models.model import Model
from blindspots.random import keys, normal
from blindspots.runs.store import Parts

_WORDS = ("softmax:1e-4", "softmax:1e-2", "softmax:1", "fc:100-100", "fc:200-200", "autoencoder:400")
_ON_HALVES = (("fc:100-100", "P1"), ("fc:123-456", "P1"), ("fc:100-100", "P2"))


@dataclass(frozen=True)
class Network:
    """A network of the paper.

    Attributes:
        word: its architecture.
        on: what it is trained on: "all", "P1" or "P2".
        figures: as the paper prints them: errors in percent, then the distance.
    """

    word: str
    on: str
    figures: tuple[float, ...]

    @property
    def judged_on(self) -> tuple[str, ...]:
        """The rows on which its error is counted."""
        return ("train", "test") if self.on == "all" else (*HALVES, "test")

    def architecture(self, decay: float) -> Builtin:
        """With its weight decay multiplied."""
        architecture = parse_architecture(self.word)
        assert not isinstance(architecture, Custom)
        return replace(architecture, decays=tuple(decay * one for one in architecture.decays))

    def title(self, classes: int) -> str:
        """What the tables call it."""
        return parse_architecture(self.word).title(classes) + ("'" if self.on == HALVES[1] else "")

    def restored(self, config: ReproduceConfig, shape: tuple[int, ...], weights: Mapping[str, Tensor]) -> Model:
        """As it was trained, for inputs of this shape."""
        return restored(self.architecture(config.decay), shape, config.class_count, dict(weights))


NETWORKS = tuple(Network(word, "all", figures) for word, figures in zip(_WORDS, TABLE_1, strict=True))
DIVIDED = tuple(Network(*network, figures) for network, figures in zip(_ON_HALVES, TABLE_3, strict=True))
ALL = (*NETWORKS, *DIVIDED)


@dataclass(frozen=True)
class Fed:
    """A line of a table: rows (N, ...), how they came about, and the published figures beside them, if any."""

    name: str
    group: Group
    rows: Tensor
    published: Sequence[float] | None = None
    rms_published: float | None = None
    in_box: bool = True


def numbers_in(table: int) -> range:
    """The places, from 1, of the networks of Table 2 or 4 among all."""
    return range(1, 1 + len(NETWORKS)) if table == 2 else range(1 + len(NETWORKS), 1 + len(ALL))


def fed_in(table: int, config: ReproduceConfig, parts: Parts) -> list[Fed]:
    """The lines of Table 2 or 4, from the parts "rows" and "smallest/..."."""
    rows = parts["rows"]
    moved = [parts[f"smallest/{i}/{config.targets}"]["moved"] for i in numbers_in(table)]
    return _table_2(rows["x"], moved, config) if table == 2 else _table_4(rows["held_x"], moved, config)


def _table_2(x: Tensor, moved: Sequence[Tensor], config: ReproduceConfig) -> list[Fed]:
    """Of training rows x (N, ...), and of what was made of them for each of `NETWORKS`."""
    titles = [network.title(config.class_count) for network in NETWORKS]
    noises = [_gaussian(x, config.seed, deviation, figures) for deviation, figures in TABLE_2_NOISE.items()]
    lines = [Fed("unchanged", "clean", x), *_made_for(titles, moved, TABLE_2, [n.figures[-1] for n in NETWORKS])]
    lines += [free for free, _ in noises] + [boxed for _, boxed in noises]
    return [*lines, *_as_large(x, titles, moved, config.seed)]


def _table_4(x: Tensor, moved: Sequence[Tensor], config: ReproduceConfig) -> list[Fed]:
    """Of test rows x (N, ...), and of what was made of them for each of `DIVIDED`."""
    titles = [network.title(config.class_count) for network in DIVIDED]
    small, large = (_gaussian(x, config.seed, deviation, figures) for deviation, figures in TABLE_4_NOISE.items())
    lines = [Fed("unchanged", "clean", x), *_made_for(titles, moved, TABLE_4, [n.figures[-1] for n in DIVIDED])]
    lines.append(small[0])
    boxed = []
    for title, rows, published in zip(titles, moved, TABLE_4_AMPLIFIED, strict=True):
        wide, name = amplified(x, rows, AMPLIFIED_TO), f"{title}, amplified to {AMPLIFIED_TO}"
        lines.append(Fed(name, "adversarial", wide, published, AMPLIFIED_TO, in_box=False))
        boxed.append(Fed(name, "control", wide.clamp(0, 1)))
    return [*lines, large[0], *boxed, small[1], large[1], *_as_large(x, titles, moved, config.seed)]


def _made_for(
    titles: Sequence[str], moved: Sequence[Tensor], table: Sequence[Sequence[float]], sizes: Sequence[float]
) -> Iterator[Fed]:
    """The examples of every network."""
    for title, rows, published, size in zip(titles, moved, table, sizes, strict=True):
        yield Fed(title, "adversarial", rows, published, size)


def _gaussian(x: Tensor, seed: int, deviation: float, published: Sequence[float]) -> tuple[Fed, Fed]:
    """Noise of that standard deviation, as it is and inside the box."""
    key = keys(seed, torch.arange(len(x)), round(1000 * deviation))
    rows = x + deviation * normal(key, torch.zeros_like(key), 0, x.shape[1:])
    name = f"Gaussian noise, {deviation:g}"
    return Fed(name, "noise", rows, published, deviation, in_box=False), Fed(name, "control", rows.clamp(0, 1))


def _as_large(x: Tensor, titles: Sequence[str], moved: Sequence[Tensor], seed: int) -> Iterator[Fed]:
    """Noise as large, row by row, as the changes that were made for each network."""
    key = keys(seed, torch.arange(len(x)))
    for title, rows in zip(titles, moved, strict=True):
        yield Fed(f"noise as large as for {title}", "control", noise(x, rows, key, L2()))
