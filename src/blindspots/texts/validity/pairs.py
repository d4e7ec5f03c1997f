"""Pairs that thresholds are calibrated on: texts with words exchanged for synonyms, and for anything else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from random import Random

from blindspots.texts.kept import is_name, is_negation, is_number, is_stop_word
from blindspots.texts.sources.source import cased
from blindspots.texts.words import Span, words

Synonyms = Mapping[str, Sequence[str]]
_SEED = 14


@dataclass(frozen=True)
class Pairs:
    """Texts, their paraphrases, and the same texts with random words in the same places, one for each."""

    clean: list[str]
    paraphrases: list[str]
    random: list[str]

    def __len__(self) -> int:
        return len(self.clean)


def pairs(texts: Sequence[str], synonyms: Synonyms, exchanges: float) -> Pairs:
    """What becomes of those texts that have a word with a synonym, always in the same way.

    Args:
        synonyms: what may stand for a word, by the word in small letters.
        exchanges: how many words; below 1 a share of them, rounded down, but at least one; fewer where fewer have
            synonyms. Random words are content words of the texts, by how often they occur, and neither the word nor
            one of its synonyms.
    """
    draw, found = Random(_SEED), Pairs([], [], [])
    pool = [text[a:b].lower() for text in texts for a, b in words(text) if _is_content(text, (a, b))]
    for text in texts:
        spans = [span for span in words(text) if synonyms.get(text[slice(*span)].lower()) and _is_content(text, span)]
        count = max(1, int(exchanges * len(words(text)) if exchanges < 1 else exchanges))
        if places := sorted(draw.sample(spans, min(count, len(spans)))):
            found.clean.append(text)
            found.paraphrases.append(_with(text, places, lambda word: draw.choice(synonyms[word])))
            found.random.append(_with(text, places, lambda word: _another(word, pool, synonyms, draw)))
    return found


def _is_content(text: str, span: Span) -> bool:
    word = text[slice(*span)]
    return not (is_stop_word(word) or is_negation(word) or is_number(word) or is_name(text, span[0]))


def _with(text: str, places: Sequence[Span], of: Callable[[str], str]) -> str:
    """The text with something else in each place."""
    edges = [0, *(edge for span in places for edge in span), len(text)]
    said = [text[a:b] for a, b in pairwise(edges)]
    said[1::2] = [cased(of(word.lower()), word) for word in said[1::2]]
    return "".join(said)


def _another(word: str, pool: Sequence[str], synonyms: Synonyms, draw: Random) -> str:
    """The next word of the pool from a random place on that is no synonym; the word itself where there is none."""
    start, alike = draw.randrange(len(pool)), {word, *synonyms[word]}
    return next((other for other in chain(pool[start:], pool[:start]) if other not in alike), word)
