"""From a text to its lattice."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from blindspots.errors import InputError
from blindspots.texts.kept import USUAL, Kept
from blindspots.texts.lattice import Lattice
from blindspots.texts.limits.limit import Limit
from blindspots.texts.memo import Memo
from blindspots.texts.sources.source import Source, in_turns, unique
from blindspots.texts.vectors import Vectors
from blindspots.texts.words import Span


@dataclass(frozen=True)
class Builder:
    """Makes the lattice of a text: a pure function of text and settings.

    Args:
        sources: what proposes candidates; several take turns, so that each puts its best first.
        limits: what every candidate has to fulfil, asked one after the other.
        kept: which words never change.

    Raises InputError: there is no source, or sources change different places.
    """

    sources: tuple[Source, ...]
    limits: tuple[Limit, ...] = ()
    kept: Kept = USUAL

    def __post_init__(self) -> None:
        kinds = {source.__class__.places for source in self.sources}
        if len(kinds) != 1:
            raise InputError(
                f"expected sources for the same places, got {len(kinds)} kinds of places from "
                f"{', '.join(map(str, self.sources)) or 'no source'}: use either words or characters"
            )

    def on(self, vectors: Vectors) -> "Builder":
        """The same with the victim's words and vectors, for sources and limits without a file of their own."""
        parts = (tuple(part.on(vectors) for part in self.sources), tuple(part.on(vectors) for part in self.limits))
        return Builder(*parts, self.kept)

    def lattice(self, text: str) -> Lattice:
        """The lattice of a text; places without candidates are left out, so it may have none.

        Raises InputError: the text's script needs a segmenter, and words are to be changed; or sources without a file
        were not put `on` the victim's vectors.
        """
        spans = self._places(text)
        offers = [source.offers(text, spans) for source in self.sources if source.contextual]
        found = {span: self._at(text, span, own) for span, *own in zip(spans, *offers, strict=True)}
        places = {span: tuple(candidates) for span, candidates in found.items() if candidates}
        return Lattice(text, tuple(places), tuple(places.values()))

    @property
    def resources(self) -> Mapping[str, str]:
        """SHA-256 of every file that candidates depend on, by its name."""
        parts: Sequence[Source | Limit] = [*self.sources, *self.limits]
        return dict(item for part in parts for item in part.resources.items())

    def describe(self) -> str:
        """The sources, the limits and what is kept, as one clause."""
        clause = f"candidates are {' and '.join(map(str, self.sources))}"
        clause += "".join(f", {limit}" for limit in self.limits)
        return f"{clause}; {kept} never change" if (kept := str(self.kept)) else clause

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # what was found out is found out again

    def _places(self, text: str) -> list[Span]:
        kept = {i for span in self.kept.spans(text) for i in range(*span)}
        return [span for span in self.sources[0].places(text) if _free(span, kept)]

    def _at(self, text: str, span: Span, own: Sequence[Sequence[str]]) -> Sequence[str]:
        word = text[slice(*span)]
        candidates: Sequence[str] = self._known[word]
        if own:
            candidates = unique(in_turns([candidates, self._limited(word, in_turns(own))]), but=word)
        for limit in self.limits:
            candidates = limit.beside(text, span, candidates)
        return candidates

    @cached_property
    def _known(self) -> Memo[str, tuple[str, ...]]:
        """Candidates of words that do not depend on the text around them."""
        sources = [source for source in self.sources if not source.contextual]
        return Memo(lambda word: self._limited(word, in_turns(s.offers(word, [(0, len(word))])[0] for s in sources)))

    def _limited(self, word: str, candidates: Iterable[str]) -> tuple[str, ...]:
        for limit in self.limits:
            candidates = limit.of(word, candidates)
        return unique(candidates, but=word)


def _free(span: Span, kept: Set[int]) -> bool:
    """Whether none of the characters is kept; a gap is not free between two that are."""
    a, b = span
    return kept.isdisjoint(range(a, b)) if a < b else not {a - 1, a} <= kept
