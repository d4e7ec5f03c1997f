"""Candidates in words: NAME:SETTING=VALUE,..., joined by +."""

from collections.abc import Mapping

from blindspots import spec
from blindspots.errors import InputError
from blindspots.texts.builder import Builder
from blindspots.texts.kept import NOTHING, USUAL, Kept
from blindspots.texts.limits.agreement import Agreement
from blindspots.texts.limits.antonyms import Antonyms
from blindspots.texts.limits.cosine import Cosine
from blindspots.texts.limits.distance import Distance
from blindspots.texts.limits.ends import Ends
from blindspots.texts.limits.inflection import Inflection
from blindspots.texts.limits.length import Length
from blindspots.texts.limits.limit import Limit
from blindspots.texts.limits.pos import PartOfSpeech
from blindspots.texts.limits.stopwords import StopWords
from blindspots.texts.sources.characters import Characters, Delete, Insert, Split, Substitute, Swap, Typo
from blindspots.texts.sources.counterfit import CounterFit
from blindspots.texts.sources.edits import Edits
from blindspots.texts.sources.embedding import Embedding
from blindspots.texts.sources.homoglyph import Homoglyph
from blindspots.texts.sources.invisible import Invisible
from blindspots.texts.sources.keyboard import Keyboard
from blindspots.texts.sources.masked import Masked
from blindspots.texts.sources.source import Source
from blindspots.texts.sources.synonyms import Synonyms
from blindspots.texts.sources.vocabulary import Vocabulary
from blindspots.texts.sources.whole import DeleteWord, InsertWord
from blindspots.texts.sources.wordnet import WordNet

SOURCES: Mapping[str, type[Source]] = {
    "synonyms": Synonyms,
    "wordnet": WordNet,
    "embedding": Embedding,
    "counterfit": CounterFit,
    "vocabulary": Vocabulary,
    "masked": Masked,
    "delete-word": DeleteWord,
    "insert-word": InsertWord,
    "characters": Characters,
    "typo": Typo,
    "swap": Swap,
    "delete": Delete,
    "insert": Insert,
    "substitute": Substitute,
    "split": Split,
    "keyboard": Keyboard,
    "homoglyph": Homoglyph,
    "invisible": Invisible,
    "edits": Edits,
}
LIMITS: Mapping[str, type[Limit]] = {
    "pos": PartOfSpeech,
    "inflection": Inflection,
    "agreement": Agreement,
    "antonyms": Antonyms,
    "cosine": Cosine,
    "distance": Distance,
    "ends": Ends,
    "length": Length,
    "stopwords": StopWords,
}
KEEP = "keep"


def parse_candidates(text: str) -> Builder:
    """What builds the lattices that `text` describes, e.g. "synonyms:file=mine.tsv,count=20+pos+keep:names=false".

    Terms joined by + are sources (`SOURCES`), limits (`LIMITS`), and "keep" with the rules of what never changes.
    Names, numbers, negations and stop words are kept unless "keep" says otherwise; "edits" alone keeps nothing.
    "embedding", "counterfit", "cosine", "vocabulary" and "insert-word" without a file wait for the victim's (`on`).

    Raises InputError: a term has no such name or setting, a file cannot be read, or no source is among the terms.
    """
    found = {kind: [term for term in terms(text) if _name(term) in kinds] for kind, kinds in _KINDS.items()}
    sources = tuple(spec.build("a source", SOURCES, term) for term in found["sources"])
    limits = tuple(spec.build("a limit", LIMITS, term) for term in found["limits"])
    if len(found[KEEP]) > 1:
        raise InputError(f"expected what never changes once, got {' and '.join(found[KEEP])}: write one keep term")
    kept = [spec.build("rules", {KEEP: Kept}, term) for term in found[KEEP]]
    usual = NOTHING if any(isinstance(source, Edits) for source in sources) else USUAL
    return Builder(sources, limits, *(kept or [usual]))


_KINDS = {"sources": SOURCES, "limits": LIMITS, KEEP: {KEEP: Kept}}
_NAMES = [*SOURCES, *LIMITS, KEEP]


def terms(text: str) -> list[str]:
    """The terms of candidates in words. Raises InputError: one has a name that is not known."""
    return spec.terms("candidates", _NAMES, text)


def _name(term: str) -> str:
    return term.partition(":")[0].strip().lower()
