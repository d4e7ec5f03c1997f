"""Searches for a trigger: places from left to right, several words for each, the best few triggers kept."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.universal.triggers.task import Texts, TriggerTask
from blindspots.experiments.universal.verdict import Pass
from blindspots.models.model import Model
from blindspots.problem import Need
from blindspots.spec import build

_LEAST = ("passes", "batch", "candidates", "beam", "patience")
_DRAWN = 41  # stream of candidates by lot


@dataclass(frozen=True)
class TriggerMethod(ABC):
    """Of Wallace et al. 2019 (EMNLP, arXiv 1908.07125), section 2: candidates for every place, and a beam over places.

    From left to right, at each place the `candidates` best words are tried in each of the `beam` best triggers so far;
    all are judged on the batch, and the best goes on to the next batch. A trigger that is in the beam stays in it
    unless others are better, so none gets worse on its batch. They are judged by the mean probability of the class that
    is to be left, or to be reached: it is nearer to the rate of fooled texts than the paper's cross-entropy, which the
    few texts that are furthest behind the boundary rule.

    After every pass all fit texts are looked at, and the trigger that fooled most of them at the end of a pass is the
    result; the paper takes the last one.

    Args:
        passes: over the fit texts, at most.
        batch: texts per update.
        candidates: words that are tried at every place.
        beam: triggers that are kept from one place to the next.
        patience: the search ends after so many passes that fooled no more fit texts than one before them.
    """

    passes: int = 8
    batch: int = 64
    candidates: int = 20
    beam: int = 2
    patience: int = 2

    def __post_init__(self) -> None:
        for name in _LEAST:
            if (value := getattr(self, name)) < 1:
                raise InputError(f"expected {name} of at least 1, got {value} in {self!r}: give a larger number")

    def check_model(self, model: Model) -> None:  # noqa: B027 - most take any
        """Raises InputError: it cannot search on this model."""

    @abstractmethod
    def offers(self, task: TriggerTask, trigger: Tensor, batch: Texts, number: int) -> Tensor:
        """The words to be tried at every place of the trigger (K,), in update `number`: (K, candidates)."""

    def step(self, task: TriggerTask, trigger: Tensor, batch: Texts, number: int) -> tuple[Tensor, Tensor]:
        """The trigger after a batch (K,), and which of its texts that one fools (B,)."""
        offered, beam = self.offers(task, trigger, batch, number), trigger[None]
        won = torch.zeros(1, len(batch), dtype=torch.bool)
        for place, words in enumerate(offered):
            tried = torch.tensor(list(dict.fromkeys(map(tuple, _exchanged(beam, place, words).tolist()))))
            looked = task.look(tried, batch)
            best = looked.loss.argsort(stable=True)[: self.beam]
            beam, won = tried[best], looked.won[best]
        return beam[0], won[0]

    def enough(self, history: Sequence[Pass]) -> bool:
        """Whether the last passes were in vain."""
        rates = [p.fooled_fit for p in history]
        before, lately = rates[: -self.patience], rates[-self.patience :]
        return bool(before) and max(before) >= max(lately)


@dataclass(frozen=True)
class HotFlip(TriggerMethod):
    """Candidates are the words with the steepest descent, by the gradient at the trigger's embeddings summed over the
    batch (Wallace et al. 2019, eq. 2). The paper: a beam of small size, the released code 1, and 40 candidates."""

    def check_model(self, model: Model) -> None:
        if model.access not in (Need.SLOPES, Need.GRAD):
            raise InputError(
                f"expected a network that shows its embeddings for hotflip, got {model.name}: use --method coordinates"
            )

    def offers(self, task: TriggerTask, trigger: Tensor, batch: Texts, number: int) -> Tensor:
        return task.slopes(trigger, batch).argsort(dim=1, stable=True)[:, : self.candidates]


@dataclass(frozen=True)
class Coordinates(TriggerMethod):
    """Candidates are words by lot, others in every update: for models that show scores alone, or labels."""

    candidates: int = 40
    beam: int = 1

    def offers(self, task: TriggerTask, trigger: Tensor, batch: Texts, number: int) -> Tensor:
        drawn = task.vocabulary.drawn(task.seed, number, len(trigger) * self.candidates, _DRAWN)
        return drawn.view(len(trigger), -1)


METHODS: dict[str, type[TriggerMethod]] = {"hotflip": HotFlip, "coordinates": Coordinates}


def parse_trigger_method(text: str) -> TriggerMethod:
    """A method from words such as "hotflip:beam=4". Raises InputError for anything else."""
    return build("a method for triggers", METHODS, text)


def usual_method(model: Model) -> TriggerMethod:
    """By gradients where the model shows them."""
    return HotFlip() if model.access in (Need.SLOPES, Need.GRAD) else Coordinates()


def _exchanged(beam: Tensor, place: int, words: Tensor) -> Tensor:
    """The triggers (N, K), and each of them with each of the words (C,) at a place: (N + N C, K)."""
    changed = beam.repeat_interleave(len(words), 0)
    changed[:, place] = words.repeat(len(beam))
    return torch.cat([beam, changed])
