"""What English words can be: parts of speech, tags of the Penn Treebank, lemmas and forms, from lemminflect's tables.

Words stand alone here, so each is everything that it can be: "watch" is a noun and a verb.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from blindspots.texts.optional import optional

PARTS = {"NN": "NOUN", "VB": "VERB", "JJ": "ADJ", "RB": "ADV"}  # by the first two letters of a tag


@cache
def lemmas(word: str) -> Mapping[str, str]:
    """The likeliest lemma of a word by its universal part of speech: {"NOUN": "movie"}; empty where it is unknown.

    Known are nouns, verbs, adjectives and adverbs. Raises InputError: lemminflect is not installed.
    """
    return {part: found[0] for part, found in _tables().getAllLemmas(word.lower()).items()}


@cache
def tags(word: str) -> frozenset[str]:
    """The tags that a word can have, such as NNS or VBD.

    Where it is the usual form for some tags, only these: "film" can be a plural too, but hardly is.
    """
    word = word.lower()
    forms = [item for lemma in lemmas(word).values() for item in _forms(lemma).items()]
    usual = frozenset(tag for tag, found in forms if found[0] == word)
    return usual or frozenset(tag for tag, found in forms if word in found)


def inflected(word: str, tag: str) -> str | None:
    """The form of a word for a tag of another one: ("movie", "NNS") is "movies". None: it has no such form."""
    lemma = lemmas(word).get(PARTS.get(tag[:2], ""))
    return _forms(lemma).get(tag, (None,))[0] if lemma else None


@cache
def _forms(lemma: str) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = _tables().getAllInflections(lemma)
    return found


def _tables() -> Any:
    return optional("lemminflect", "which knows the forms of English words")
