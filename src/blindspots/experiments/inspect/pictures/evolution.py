"""An archive of the best image of every class, each made by a small network (MAP-Elites, Nguyen et al. 2015)."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.experiments.inspect.pictures.ascent import levels, pixels
from blindspots.experiments.inspect.pictures.cppn import Genomes
from blindspots.experiments.inspect.pictures.objectives import odds
from blindspots.models.model import Model
from blindspots.random import keys, randint
from blindspots.runs.experiment import Columns

CHILDREN = 32  # of a generation
_OFTEN = 8  # generations from one state to the next


@dataclass(frozen=True)
class Archive:
    """Of every class the network whose image has the highest odds.

    Attributes:
        elites: (C,) networks.
        odds: (C,) float64; -inf where none was seen.
    """

    elites: Genomes
    odds: Tensor

    def challenged(self, children: Genomes, found: Tensor) -> "Archive":
        """After children (B,) with odds (B, C) took the places of those that they beat."""
        best, who = found.max(0)
        better = (best > self.odds).nonzero()[:, 0]
        return Archive(self.elites.put(better, children[who[better]]), self.odds.index_copy(0, better, best[better]))


def evolved(
    model: Model, shape: tuple[int, ...], classes: int, generations: int, seed: int, kept: Columns | None
) -> Generator[tuple[int, Columns], None, Tensor]:
    """Yields how many generations are done, with the state that evolution goes on from.

    Returns the images of the archive (C, channels, H, W) in [0, 1]. Only scores are asked for: one call per generation.
    """
    channels, (high, wide) = (shape[0] if len(shape) == 3 else 1), shape[-2:]
    archive, begun = _unpacked(kept) if kept else (_empty(classes, channels), 0)
    for generation in range(begun, generations):
        key = keys(seed, torch.arange(CHILDREN), generation)
        children = Genomes.drawn(key, channels) if generation == 0 else _children(archive, key)
        archive = archive.challenged(children, _asked(model, children.images(high, wide), shape))
        if (generation + 1) % _OFTEN == 0:
            yield generation + 1, _packed(archive, generation + 1)
    return archive.elites.images(high, wide)


def _children(archive: Archive, key: Tensor) -> Genomes:
    """Each of an elite by lot; all of them once every class has one, and from the first generation on they do."""
    t = torch.zeros_like(key)
    parents = randint(key, t, 9, len(archive.odds), (1,))[:, 0]
    return archive.elites[parents].mutated(key, t)


def _asked(model: Model, images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Odds of images (B, channels, H, W) as pictures of 8 bits, which is what is kept of them; NaN counts as none."""
    x = pixels(levels(images).view(-1, *shape).to(model.device), model.box.to(model.device))
    with model.borrowed(), torch.no_grad():
        found = odds(model.logits(x)).cpu()
    return found.nan_to_num(-torch.inf)


def _empty(classes: int, channels: int) -> Archive:
    key = keys(0, torch.arange(classes))
    return Archive(Genomes.drawn(key, channels), torch.full((classes,), -torch.inf, dtype=torch.float64))


def _packed(archive: Archive, generation: int) -> Columns:
    e = archive.elites
    return {
        "weights": e.weights, "used": e.used, "kind": e.kind, "odds": archive.odds, "step": torch.tensor(generation),
    }  # fmt: skip


def _unpacked(state: Columns) -> tuple[Archive, int]:
    elites = Genomes(state["weights"], state["used"], state["kind"])
    return Archive(elites, state["odds"]), int(state["step"])
