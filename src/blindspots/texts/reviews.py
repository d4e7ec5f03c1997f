"""Short reviews of films, restaurants, books, hotels and phones, written by a grammar: a corpus that needs no download.

A review has a verdict, and words that point both ways: "The soup was delicious" and "The soup was hardly bland" praise,
and of "Although the plot was clever, the film was a bore" the second half decides. Which words occur says much about
the verdict, but not everything; who reads their order can know it.
"""

import re
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from random import Random
from typing import Literal, TypeVar

from blindspots.texts.vocabulary import (
    ADJECTIVES,
    CITIES,
    DAYS,
    EFFECT_STEMS,
    EFFECTS,
    GROUPS,
    LIKING_STEMS,
    LIKINGS,
    MONTHS,
    NAMES,
    NOUNS,
    SCENES,
    STRONG,
)

T = TypeVar("T")

CLASSES = ["negative", "positive"]
ROWS = {"train": 4000, "test": 1000}
_SEED = 14

# Templates. {+} is a clause with the verdict of the review, {-} one with the other, each of a part; {all+} is of the
# whole, and {remark} has no verdict. A word with a sign has that verdict.
_PLAIN = (
    "{+}. {+}.",
    "{+}, and {+}. {remark}.",
    "{remark}. {+}. {+}.",
    "{remark}. {+}, {+}, and {+}.",
    "{+}. {all+}.",
    "{remark}. {+}. {all+}.",
    "{remark}. {remark}. {+}.",
    "{all+}. {+}, and {+}.",
    "{all+}. {+}. {remark}. {+}.",
)
_MIXED = (
    "although {-}, {all+}.",
    "{remark}. although {-}, {all+}.",
    "{all+}, even though {-}.",
    "{remark}. {all+}, although {-}.",
    "{-}, but {all+}.",
    "{remark}. {-}. still, {all+}.",
    "{-}. {remark}. in the end, {all+}.",
    "{all+}. only {-}.",
    "I {expected} a(n) {noun-} and {found} a(n) {noun+}.",
    "{remark}. I {expected} a(n) {noun-}, but I got a(n) {noun+}.",
    "the {critics} {called} {whole} a(n) {noun-}, but they were {wrong}.",
    "the {critics} {called} {whole} a(n) {noun+}, and they were {right}.",
    "the {critics} {thought} that {-}, but they were {wrong}. {remark}.",
    "the {critics} {thought} that {+}, and they were {right}. {remark}.",
    "{whole} could have been a(n) {noun-}, but {all+}.",
    "unlike the last one, which was {adjective-}, {whole} was {adjective+}.",
)
# Clauses: {it} is their subject with its verb {was}; {fit} agrees with their verdict, as words with + do, {unfit}
# contradicts it, as words with - do.
_SAID = (
    "{it} {was} {fit}",
    "{it} {was} {very} {mild}",
    "{it} {was} {rather} {mild}",
    "{it} {was} {fit} and {also}",
    "I found {it} {fit}",
    "{it} {effect+} me",
    "I {liking+} {it}",
)
_DENIED = (
    "{it} {was} not {unfit} at all",
    "{it} {was} hardly {unfit}",
    "{it} {was} anything but {unfit}",
    "{it} {was} never {unfit}",
    "{it} {was} far from {unfit}",
    "{it} {was}n't {unfit}",
    "{it} never {effect-} me",
    "{it} did not {stem-} me",
    "I can't say that I {liking-} {it}",
    "I didn't {feel-} {it}",
)
_VERDICTS = (
    "{whole} was {fit}",
    "{whole} was {very} {mild}",
    "{whole} was a(n) {noun+}",
    "this was a(n) {fit} {one}",
    "{whole} {effect+} me",
    "I {liking+} {whole}",
)
_DENIED_VERDICTS = (
    "{whole} was not a(n) {noun-}",
    "{whole} was hardly a(n) {noun-}",
    "this was not a(n) {unfit} {one}",
    "{whole} was anything but {unfit}",
    "{whole} never {effect-} me",
    "I did not {feel-} {whole}",
)
_MIXED_SHARE = 0.2  # of reviews
_DENIED_SHARE = 0.15  # of clauses

# As in texts that people write, a few words of a group are frequent and others so rare that models hardly know them,
# and words without a verdict go along with one.
_RARITY = 2.0  # the k-th word of a group has a weight of 1 / k ** _RARITY
_OTHER_TASTE = 0.7  # how often who blames prefers the words that who praises hardly uses

_TURNED = str.maketrans("+-", "-+")  # the words of a clause against the verdict of the review
_SYMBOL = re.compile(r"\{([^{}]+)\}")
_ARTICLE = re.compile(r"a\(n\) (\w)")
_START = re.compile(r"(?:^|(?<=[.] ))[a-z]")  # of a sentence
_VOWELS = "aeiou"  # no word after an article begins with another sound than its letter says

_JUDGING = {
    "noun": NOUNS,
    "effect": EFFECTS,
    "stem": EFFECT_STEMS,
    "liking": LIKINGS,
    "feel": LIKING_STEMS,
}  # words that praise, words that blame
_NEUTRAL: dict[str, Sequence[str | int]] = {
    "name": NAMES.split(),
    "city": CITIES.split(),
    "day": DAYS.split(),
    "month": MONTHS.split(),
    "number": range(4, 21),
    "price": range(15, 400),
    "minutes": range(80, 181),
}


@cache
def reviews(part: Literal["train", "test"]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Texts and their labels (0 negative, 1 positive): 4,000 to train on, 1,000 others to test on, always the same."""
    texts, labels = zip(*_written(), strict=True)
    at = slice(ROWS["train"]) if part == "train" else slice(ROWS["train"], None)
    return texts[at], labels[at]


@cache
def _written() -> tuple[tuple[str, int], ...]:
    """All reviews, no two alike; each is drawn on its own, so any division of them is one by lot."""
    lot, written = _Lot(_SEED), dict[str, int]()
    while len(written) < sum(ROWS.values()):
        label = lot.below(2)
        written.setdefault(_Review(lot, label).text(), label)
    return tuple(written.items())


class _Lot:
    """Draws of `Random.random`, the only method whose sequence Python keeps the same in all versions."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def below(self, n: int) -> int:
        return int(self._random.random() * n)

    def happens(self, share: float) -> bool:
        return self._random.random() < share

    def one(self, of: Sequence[T]) -> T:
        return of[self.below(len(of))]

    def usual(self, of: Sequence[T]) -> T:
        """One of them, the first ones more often."""
        up_to = _weights(len(of))
        return of[bisect(up_to, self._random.random() * up_to[-1], hi=len(of) - 1)]

    def several(self, of: Iterable[T], n: int) -> list[T]:
        left = list(of)
        return [left.pop(self.below(len(left))) for _ in range(n)]


@cache
def _weights(words: int) -> list[float]:
    """Of the first 1, 2, ... words of a group together."""
    return list(accumulate(k**-_RARITY for k in range(1, words + 1)))


class _Review:
    """One review: a scene, a verdict (0 or 1), and the parts that nothing has been said of yet."""

    def __init__(self, lot: _Lot, verdict: int) -> None:
        self._lot, self._verdict, self._scene = lot, verdict, lot.one(SCENES)
        self._one = self._neutral(self._scene.whole)
        parts = {**self._scene.parts, **self._scene.several}
        self._parts = lot.several(parts.items(), len(parts))
        self._remarks = lot.several(self._scene.remarks, len(self._scene.remarks))

    def text(self) -> str:
        written = self._filled(self._lot.one(_MIXED if self._lot.happens(_MIXED_SHARE) else _PLAIN), {})
        written = _ARTICLE.sub(lambda m: f"{'an' if m[1] in _VOWELS else 'a'} {m[1]}", written)
        return _START.sub(lambda m: m[0].upper(), written)

    def _filled(self, template: str, known: Mapping[str, str]) -> str:
        """The template with all its symbols replaced: by what is known, else by a draw."""
        return _SYMBOL.sub(lambda m: known.get(m[1]) or self._drawn(m[1]), template)

    def _drawn(self, symbol: str) -> str:
        if symbol in GROUPS:
            return self._neutral(symbol)
        if symbol[-1] in "+-":
            return self._judged(symbol[:-1], self._verdict if symbol[-1] == "+" else 1 - self._verdict)
        if symbol in _NEUTRAL:
            return str(self._lot.one(_NEUTRAL[symbol]))
        names = {"one": self._one, "whole": f"the {self._one}"}
        return names[symbol] if symbol in names else self._filled(self._remarks.pop(), {})

    def _neutral(self, group: str) -> str:
        words = GROUPS[group]
        other = not self._verdict and self._lot.happens(_OTHER_TASTE)
        return self._lot.usual(words[::-1] if other else words)

    def _judged(self, symbol: str, verdict: int) -> str:
        """A clause or a word with this verdict."""
        if symbol in _JUDGING:
            return self._word(_JUDGING[symbol][1 - verdict])
        if symbol == "adjective":
            return self._adjectives(self._scene.kind, verdict)[0]
        return self._of_whole(verdict) if symbol == "all" else self._of_part(verdict)

    def _of_part(self, verdict: int) -> str:
        part, kind = self._parts.pop()
        was = "were" if part in self._scene.several else "was"
        known = {"it": f"the {self._drawn(part)}", "was": was}
        return self._clause(_DENIED if self._lot.happens(_DENIED_SHARE) else _SAID, known, kind, verdict)

    def _of_whole(self, verdict: int) -> str:
        denied = self._lot.happens(_DENIED_SHARE)
        return self._clause(_DENIED_VERDICTS if denied else _VERDICTS, {}, self._scene.kind, verdict)

    def _clause(self, templates: Sequence[str], known: Mapping[str, str], kind: str, verdict: int) -> str:
        """A template with words for this verdict and against it."""
        fit, also = self._adjectives(kind, verdict)
        mild, unfit = self._adjectives(kind, verdict, STRONG)[0], self._adjectives(kind, 1 - verdict)[0]
        template = self._lot.one(templates)
        template = template if verdict == self._verdict else template.translate(_TURNED)
        return self._filled(template, {**known, "fit": fit, "also": also, "mild": mild, "unfit": unfit})

    def _adjectives(self, kind: str, verdict: int, without: Sequence[str] = ()) -> list[str]:
        """Two with different meanings."""
        groups = f"{ADJECTIVES['any'][1 - verdict]} {ADJECTIVES[kind][1 - verdict]}".split()
        groups = [group for group in groups if group not in without]
        return [self._lot.usual(GROUPS[group]) for group in self._lot.several(groups, 2)]

    def _word(self, groups: str) -> str:
        return self._lot.usual(GROUPS[self._lot.one(groups.split())])
