"""The inflection stays."""

from collections.abc import Iterable
from dataclasses import dataclass

from blindspots.texts.language import inflected, tags
from blindspots.texts.limits.limit import Limit
from blindspots.texts.sources.source import cased


@dataclass(frozen=True)
class Inflection(Limit):
    """Candidates are put in the form of the word: movies, and so films in place of film.

    One that has a form of the word's already stays as it is, one that can have none is left out. Where the word itself
    is unknown to lemminflect, all stay.
    """

    def of(self, word: str, candidates: Iterable[str]) -> Iterable[str]:
        wanted = tags(word)
        return filter(None, (_in_form(candidate, word, wanted) for candidate in candidates)) if wanted else candidates

    def __str__(self) -> str:
        return "the inflection stays"


def _in_form(candidate: str, word: str, wanted: frozenset[str]) -> str | None:
    if wanted & tags(candidate):
        return candidate
    forms = filter(None, (inflected(candidate, tag) for tag in sorted(wanted)))
    return next((cased(form, word) for form in forms), None)
