"""Whether a change broke a rule of English grammar."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import ClassVar

from blindspots.texts.articles import takes_an
from blindspots.texts.language import tags
from blindspots.texts.validity.check import Check, Corpus, Measure, counts
from blindspots.texts.words import words


@dataclass(frozen=True)
class Rule:
    """What cannot follow.

    Args:
        after: words, or the last two words, after which a word is wrong
        only: if every tag that it can have is among these,
        needed: and this one is, where there is one.
        head: unless a plural follows: "these movie stars".
    """

    after: frozenset[str]
    only: frozenset[str]
    needed: str = ""
    head: bool = False

    def broken(self, found: frozenset[str], beyond: frozenset[str]) -> bool:
        """Whether a word with these tags is wrong, before one with the tags `beyond`."""
        fits = self.needed in found if self.needed else bool(found)
        return fits and found <= self.only and not (self.head and "NNS" in beyond)


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_BE_ONE = frozenset(f"{there} {be}" for there in ("there", "here") for be in ("is", "was"))
_BE_SEVERAL = frozenset(f"{there} {be}" for there in ("there", "here") for be in ("are", "were"))
_RULES = (
    Rule(_set("a an each every another"), _set("NNS VBZ VBP"), "NNS"),
    Rule(_set("this that") | _BE_ONE, _set("NNS"), "NNS"),
    Rule(_set("these those many few several both") | _BE_SEVERAL, _set("NN VB VBP"), "NN", head=True),
    Rule(_set("he she it"), _set("VB VBP NN"), "VB"),
    Rule(_set("i you we they"), _set("VBZ NNS"), "VBZ"),
    Rule(_set("to will would can could shall should may might must cannot can't won't"), _set("VBZ VBD VBN")),
)

_AFTER = {said: rule for rule in _RULES for said in rule.after}


@dataclass(frozen=True)
class Agreement(Check):
    """How many errors of agreement the changed text has that the clean one lacks. None may be new.

    "a" before consonants and "an" before vowels; no plural after "a", "each", "this", "there is", and no singular after
    "these", "many", "there are"; no bare verb after "he", "she", "it", none in -s after "I", "you", "we", "they", and
    none but a bare one after "to", "will", "can". What forms a word can be is known where lemminflect is installed;
    else only "a" and "an" are looked at.

    An error counts as an old one where the clean text has one of the same rule after the same word.

    Args:
        forms: whether forms are looked at; none: if lemminflect is there.
    """

    forms: bool | None = None

    at_least: ClassVar[bool] = False

    @property
    def threshold(self) -> float:
        return 0.0

    def measure(self, corpus: Corpus) -> Measure:
        forms = self._forms
        return counts(lambda clean, changed: (errors(changed, forms) - errors(clean, forms)).total())

    def describe(self, corpus: Corpus) -> str:
        looked_at = "articles, plurals and third persons" if self._forms else "articles"
        return f"the number of new errors in {looked_at}"

    @property
    def _forms(self) -> bool:
        return find_spec("lemminflect") is not None if self.forms is None else self.forms


@lru_cache(4096)
def errors(text: str, forms: bool = True) -> "Counter[tuple[str, str]]":
    """Errors of sound and, if wanted, of form, by the words after which they are."""
    return Counter(_errors(text, forms))


def _errors(text: str, forms: bool) -> Iterator[tuple[str, str]]:
    for before, word, beyond in _in_a_row(text):
        if before[-1] in ("a", "an") and (before[-1] == "an") != takes_an(word):
            yield "sound", before[-1]
        said = before[-1] if before[-1] in _AFTER else " ".join(before)
        if forms and said in _AFTER and _AFTER[said].broken(tags(word), tags(beyond)):
            yield "form", said


def _in_a_row(text: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Every word with the one or two before it and the one behind it, in small letters, where no mark parts them."""
    runs: list[list[str]] = [[]]
    end = 0
    for a, b in words(text):
        if text[end:a].strip():
            runs.append([])
        runs[-1].append(text[a:b].lower())
        end = b
    for run in runs:
        for i in range(1, len(run)):
            yield tuple(run[max(0, i - 2) : i]), run[i], (run[i + 1] if i + 1 < len(run) else "")
