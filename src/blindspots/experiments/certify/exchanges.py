"""Certificates for texts: how many places may be exchanged before the answer can change.

Of any model the vote under random exchanges is certified (Ye et al. 2020, arXiv 2005.14424), as `smoothed` does for
noise. For models that add up words see `additive`, for networks through which bounds can be followed `intervals`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blindspots.experiments.certify.bounds import ABSTAINS, at_least
from blindspots.experiments.certify.noise import COUNTING, SELECTING, SOFTLY
from blindspots.models.texts import TextModel
from blindspots.models.transformed_texts import Behind
from blindspots.random import keys
from blindspots.rows import Rows
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat

_POSITIVE = 2**63 - 1  # what torch takes for a seed


@dataclass(frozen=True)
class Exchanges(Rows):
    """Of B texts: what is proved."""

    prediction: Tensor  # (B,) int64, -1: it abstains
    withstood: Tensor  # (B,) int64 most places that may be exchanged at once, whichever; all there are if none matter


@dataclass(frozen=True)
class Voted:
    """Of one text: what is proved, and what proves it."""

    prediction: int  # -1: it abstains
    withstood: int
    selected: Tensor  # (C,) votes of the draws that choose the class
    counts: Tensor  # (C,) votes of the draws that bound its probability
    overlaps: list[float]  # of each place, see `overlaps`


class SmoothedTexts(TextModel):
    """The class that `model` gives most often when every place gets one of its choices by lot.

    Every place of a text, on its own, stays as it is or takes one of its candidates, all with the same probability. As
    a model it answers with the logarithm of mean probabilities under `draws` draws, always the same for a text, and
    can be attacked as any other.

    Args:
        model: labels alone will do.
        threat: its lattices say what may stand where; the radius does not matter.
        draws: of the scores.
        seed: decides all draws.
    """

    def __init__(self, model: TextModel, threat: TextThreat, *, draws: int = 32, seed: int = 0) -> None:
        super().__init__(Behind(model), name=f"{model.name} smoothed by exchanges", class_names=model.class_names)
        self.model, self.threat, self.draws, self.seed = model, threat, draws, seed

    @property
    def digest(self) -> str:
        parts = (self.model.digest, self.threat.builder.describe(), self.draws, self.seed)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def forget(self) -> None:
        super().forget()
        self.model.forget()

    def _asked(self, texts: list[str]) -> Tensor:
        before, key = self.model.forwarded, int(keys(self.seed, torch.tensor([SOFTLY]))[0]) & _POSITIVE
        drawn = [self._drawn(self.threat.lattice(text), key, self.draws) for text in texts]
        shares = self.model.of([text for several in drawn for text in several]).softmax(1)
        self.forwarded += self.model.forwarded - before
        return shares.view(len(texts), self.draws, -1).mean(1).log()

    @staticmethod
    def _drawn(lattice: Lattice, key: int, n: int) -> list[str]:
        """n texts of the lattice by lot."""
        chosen = torch.rand(n, len(lattice.spans), generator=torch.Generator().manual_seed(key))
        sizes = torch.tensor([len(choices) for choices in lattice.choices])
        return [lattice.at(choice) for choice in (chosen * sizes).long().tolist()]

    def certify(
        self, texts: Sequence[str], n0: int = 100, n: int = 2000, alpha: float = 0.001, ids: Tensor | None = None
    ) -> Exchanges:
        """For each text, on its own: a class and a number of exchanges that hold with probability 1 - alpha.

        n0 draws choose the class, n others bound its probability p from below (Clopper and Pearson). k exchanges move
        the distribution of the draws by at most 1 - prod of the k smallest overlaps of a place's choices before and
        after (theorem 1 of the paper, in which all sets have one size; here overlaps are |A and B| / max(|A|, |B|)):
        the class stays as long as p minus that is above 1/2.

        Args:
            ids: (B,) numbers of the texts, which their draws hang on; None: 0 to B - 1.
        """
        ids = torch.arange(len(texts)) if ids is None else ids
        both = (keys(self.seed, ids, SELECTING).tolist(), keys(self.seed, ids, COUNTING).tolist())
        rows = [self.certificate(text, key, (n0, n), alpha) for text, *key in zip(texts, *both, strict=True)]
        proved = [(row.prediction, row.withstood) for row in rows]
        return Exchanges(*(torch.tensor(column, dtype=torch.int64) for column in zip(*proved, strict=True)))

    def certificate(self, text: str, key: Sequence[int], n: tuple[int, int], alpha: float) -> Voted:
        """Of one text: keys and numbers of the draws that choose, and of those that count."""
        lattice = self.threat.lattice(text)
        selected, counts = (self.votes(text, *each) for each in zip(key, n, strict=True))
        top, shared = int(selected.argmax()), overlaps(self.threat, lattice)
        sure = at_least(int(counts[top]), n[1], alpha)
        if sure <= 0.5:
            return Voted(ABSTAINS, 0, selected, counts, shared)
        stays = np.cumprod(np.sort(shared))
        return Voted(top, int((sure - (1 - stays) > 0.5).sum()), selected, counts, shared)

    def votes(self, text: str, key: int, n: int) -> Tensor:
        """(C,) int64 how often each class is said of a text under n draws of the key."""
        said = self.model.of(self._drawn(self.threat.lattice(text), key & _POSITIVE, n))
        return said.argmax(1).bincount(minlength=said.shape[1])


def overlaps(threat: TextThreat, lattice: Lattice) -> list[float]:
    """For each place the smallest share that its choices have in common with those after an exchange there.

    0 where an exchange changes what may stand at other places, so that nothing is proved.
    """
    return [
        min((_overlap(threat, lattice, place, c) for c in range(1, len(choices))), default=1.0)
        for place, choices in enumerate(lattice.choices)
    ]


def _overlap(threat: TextThreat, lattice: Lattice, place: int, c: int) -> float:
    choice = [0] * len(lattice.spans)
    choice[place] = c
    after = threat.lattice(lattice.at(choice))
    if after.spans != tuple(lattice.spans_at(choice)):
        return 0.0
    before, now = (set(some.choices[place]) for some in (lattice, after))
    others = [p for p in range(len(choice)) if p != place]
    same = all(set(lattice.choices[p]) == set(after.choices[p]) for p in others)
    return len(before & now) / max(len(before), len(now)) if same else 0.0
