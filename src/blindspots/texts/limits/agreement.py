"""Candidates agree with the word before them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from blindspots.texts.articles import takes_an
from blindspots.texts.language import PARTS, tags
from blindspots.texts.limits.limit import Limit
from blindspots.texts.words import Span

_BEFORE = re.compile(r"([^\W\d_]+) +$")
_WRONG = {
    word: frozenset(tags.split())
    for tags, words in {
        "NNS": "a an this that each every another",
        "NN": "these those many few several both",
        "VB VBP": "he she it",
        "VBZ": "i you we they",
    }.items()
    for word in words.split()
}  # tags that cannot follow a word


@dataclass(frozen=True)
class Agreement(Limit):
    """Candidates agree with the word before as the word itself did.

    Rules for English: "a" before consonants and "an" before vowels, by sound as far as spelling tells; no plural after
    "a", "this", "that", "each", "every", and no singular after "these", "those", "many", "few", "several", "both"; no
    bare verb after "he", "she", "it", and none in -s after "I", "you", "we", "they". Where the word itself breaks a
    rule, its candidates may, too.
    """

    def beside(self, text: str, span: Span, candidates: Sequence[str]) -> Sequence[str]:
        found = _BEFORE.search(text, max(0, span[0] - 20), span[0])
        before, word = found[1].lower() if found else "", text[slice(*span)]
        if before in _WRONG and _fits(before, word):
            return [candidate for candidate in candidates if _fits(before, candidate)]
        return candidates

    def __str__(self) -> str:
        return "articles, plurals and third persons agree"


def _fits(before: str, word: str) -> bool:
    if before in ("a", "an") and (before == "an") != takes_an(word):
        return False
    wrong = _WRONG[before]
    part = {PARTS[tag[:2]] for tag in wrong}
    found = {tag for tag in tags(word) if PARTS.get(tag[:2]) in part}
    return not found or not found <= wrong
