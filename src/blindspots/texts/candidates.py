"""Candidates in words: NAME:SETTING=VALUE,..., joined by +."""

import re
from collections.abc import Mapping

from blindspots import spec
from blindspots.errors import InputError
from blindspots.naming import meant
from blindspots.texts.builder import Builder
from blindspots.texts.kept import NOTHING, USUAL, Kept
from blindspots.texts.limits.limit import Limit
from blindspots.texts.sources.characters import Characters, Delete, Insert, Split, Substitute, Swap, Typo
from blindspots.texts.sources.edits import Edits
from blindspots.texts.sources.homoglyph import Homoglyph
from blindspots.texts.sources.invisible import Invisible
from blindspots.texts.sources.keyboard import Keyboard
from blindspots.texts.sources.source import Source
from blindspots.texts.sources.synonyms import Synonyms

SOURCES: Mapping[str, type[Source]] = {
    "synonyms": Synonyms,
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
LIMITS: Mapping[str, type[Limit]] = {}
KEEP = "keep"


def parse_candidates(text: str) -> Builder:
    """What builds the lattices that `text` describes, e.g. "synonyms:file=mine.tsv,count=20+pos+keep:names=false".

    Terms joined by + are sources (`SOURCES`), limits (`LIMITS`), and "keep" with the rules of what never changes.
    Names, numbers, negations and stop words are kept unless "keep" says otherwise; "edits" alone keeps nothing.

    Raises InputError: a term has no such name or setting, a file cannot be read, or no source is among the terms.
    """
    terms = {name: [t for t in _terms(text) if _name(t) in kinds] for name, kinds in _KINDS.items()}
    sources = tuple(spec.build("a source", SOURCES, term) for term in terms["sources"])
    limits = tuple(spec.build("a limit", LIMITS, term) for term in terms["limits"])
    usual = NOTHING if any(isinstance(source, Edits) for source in sources) else USUAL
    kept = [spec.build("rules", {KEEP: Kept}, term) for term in terms["keep"]]
    if len(kept) > 1:
        raise InputError(f"expected what never changes once, got {' and '.join(terms['keep'])}: write one keep term")
    return Builder(sources, limits, *(kept or [usual]))


_KINDS = {"sources": SOURCES, "limits": LIMITS, "keep": {KEEP: Kept}}
_NAMES = [*SOURCES, *LIMITS, KEEP]
_NEXT = re.compile(r"\+(?=\s*(?:" + "|".join(_NAMES) + r")\s*(?:[:+]|$))")  # a + in a file's name is no end


def _terms(text: str) -> list[str]:
    terms = _NEXT.split(text)
    for name in map(_name, terms):
        if name not in _NAMES:
            raise InputError(
                f"expected candidates among {', '.join(_NAMES)}, got {name!r}{meant(name, _NAMES)}: choose"
            )
    return terms


def _name(term: str) -> str:
    return term.partition(":")[0].strip().lower()
