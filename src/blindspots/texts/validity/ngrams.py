"""How likely a text is, by how often its words were seen in a row."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from blindspots.texts.validity.aligned import split

Gram = tuple[str, ...]
_START, _END = "\0<", "\0>"  # NUL stands in no text
_USUAL_DISCOUNT = 0.5  # where the counts say nothing of it


class NGrams:
    """Interpolated Kneser-Ney (Kneser and Ney 1995; interpolated by Chen and Goodman 1998, eq. 25) over words in small
    letters, with one discount n1 / (n1 + 2 n2) for every order.

    All words that were never seen share one place in the vocabulary; each has its whole probability.

    Args:
        texts: what is counted.
        order: words that are looked at together.
    """

    def __init__(self, texts: Iterable[str], order: int = 3) -> None:
        self.order = order
        grams = Counter(gram for text in texts for gram in self._grams(text))
        self.levels = [*_levels(grams, order)][::-1]
        self.size = len(self.levels[0].counts)  # words that were seen, and the end of a text

    def bits(self, text: str) -> float:
        """Mean negative log2 probability per word, the end of the text counted as one."""
        probabilities = [self.probability(gram[-1], gram[:-1]) for gram in self._grams(text)]
        return -sum(map(math.log2, probabilities)) / len(probabilities)

    def probability(self, word: str, before: Gram) -> float:
        """That `word` follows after the words `before`, of which the last order - 1 count."""
        share = 1 / (self.size + 1)
        for n, level in enumerate(self.levels):
            share = level.interpolated(before[len(before) - n :], word, share)
        return share

    def _grams(self, text: str) -> Iterator[Gram]:
        padded = [_START] * (self.order - 1) + [word.lower() for word in split(text)] + [_END]
        return zip(*(padded[i:] for i in range(self.order)), strict=False)


class _Level:
    """Counts of one order."""

    def __init__(self, counts: Mapping[Gram, int]) -> None:
        self.counts = counts
        self.discount = _discount(counts)
        self.totals: Counter[Gram] = Counter()
        self.kinds = Counter(gram[:-1] for gram in counts)
        for gram, count in counts.items():
            self.totals[gram[:-1]] += count

    def interpolated(self, before: Gram, word: str, shorter: float) -> float:
        """The probability of a word, from what the counts say and the probability after fewer words."""
        if before not in self.totals:
            return shorter
        held_back = self.discount * self.kinds[before] * shorter
        return (max(self.counts.get((*before, word), 0) - self.discount, 0) + held_back) / self.totals[before]


def _levels(grams: Mapping[Gram, int], order: int) -> Iterator[_Level]:
    """The longest first. What is shorter counts in how many ways it is continued to the left, not how often it came."""
    for _ in range(order):
        yield _Level(grams)
        grams = Counter(gram[1:] for gram in grams)


def _discount(counts: Mapping[Gram, int]) -> float:
    once, twice = (sum(count == n for count in counts.values()) for n in (1, 2))
    return once / (once + 2 * twice) if once and twice else _USUAL_DISCOUNT
