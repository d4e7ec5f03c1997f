"""Certificates for texts: how many places may be exchanged before the answer can change.

For networks that are linear in the tokens of a text the number is exact. For any other model the vote under random
exchanges is certified (Ye et al. 2020, arXiv 2005.14424), as `smoothed` does for noise.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.certify.bounds import ABSTAINS, at_least
from blindspots.experiments.certify.noise import COUNTING, SELECTING, SOFTLY
from blindspots.experiments.certify.reading import check_words, read
from blindspots.models.reviews import Bag
from blindspots.models.texts import TextModel, TokenModel
from blindspots.models.transformed_texts import Behind
from blindspots.random import keys
from blindspots.rows import Rows
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat

ROUNDING = 1e-5
_POSITIVE = 2**63 - 1  # what torch takes for a seed


@dataclass(frozen=True)
class Exchanges(Rows):
    """Of B texts: what is proved."""

    prediction: Tensor  # (B,) int64, -1: it abstains
    withstood: Tensor  # (B,) int64 most places that may be exchanged at once, whichever; all there are if none matter


# ------------------------------------------------------------------ exactly, where a model is linear in its tokens


def certify_linear(model: TextModel, threat: TextThreat, texts: Sequence[str]) -> Exchanges:
    """How many exchanges each text withstands, exactly: what a search of all choices would find.

    With scores that are sums over tokens, k exchanges gain at most the k largest gains of single places.

    Args:
        model: one whose network is a bag of words, such as "reviews".
        threat: its lattices; the radius does not matter. Of a text with a place that is part of a longer word nothing
            is proved.

    Raises InputError: the network is none.
    """
    bag = additive(model)
    tops = model.of(texts).argmax(1)
    rows = [linearly_withstood(bag, threat.lattice(text), top) for text, top in zip(texts, tops.tolist(), strict=True)]
    return Exchanges(tops, torch.tensor(rows, dtype=torch.int64))


def additive(model: TextModel) -> TokenModel:
    """The model. Raises InputError: its scores are no sums over words."""
    if not (isinstance(model, TokenModel) and isinstance(model.net, Bag)):
        raise InputError(
            f"expected a bag of words for exact bounds, got {model.name}: certify the vote under exchanges instead"
        )
    check_words(model)
    return model


def linearly_withstood(model: TokenModel, lattice: Lattice, top: int) -> int:
    """How many exchanges leave the class `top`: all places there are if none matter."""
    reading = read(check_words(model), lattice)
    if reading is None:
        return 0
    assert isinstance(model.net, Bag)
    # The mean over words and a bias are, up to a factor above 0, the sum over words of each one's scores.
    each = _scores_of_tokens(model.net)
    scores = each[reading.clean].sum(0)
    lead = scores[top] - scores
    gains = np.zeros((len(lattice.spans), len(scores)))  # at each place at most, towards each class
    for place, choices in enumerate(reading.choices):
        change = np.stack([each[tokens].sum(0) for tokens in choices]) - each[choices[0]].sum(0)
        gains[place] = (change - change[:, [top]]).max(0)
    most = np.sort(gains, 0)[::-1].cumsum(0)
    reached = lead - np.concatenate([np.zeros((1, len(scores))), most])
    broken = (reached <= rounding(torch.from_numpy(scores)))[:, np.arange(len(scores)) != top].any(1)
    return max(int(broken.argmax()) - 1, 0) if broken.any() else len(lattice.spans)


def _scores_of_tokens(net: Bag) -> NDArray[np.float64]:
    """(V, C)"""
    with torch.no_grad():
        scores: NDArray[np.float64] = net.out(net.table.weight).double().cpu().numpy()
    return scores


def rounding(scores: Tensor) -> float:
    """By how much a score has to be the highest one of a text (C,), so that float32 decides nothing."""
    return ROUNDING * float(scores.abs().max())


# ------------------------------------------------------------------ for any model: the vote under random exchanges


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
