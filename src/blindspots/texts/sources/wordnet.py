"""Synonyms of WordNet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blindspots.errors import InputError
from blindspots.texts.language import lemmas
from blindspots.texts.sources.source import Lexicon, in_turns
from blindspots.texts.tables import digest
from blindspots.texts.wordnets import files_of, read_wordnet

_LETTERS = {"NOUN": "n", "VERB": "v", "ADJ": "a", "ADV": "r"}


@dataclass(frozen=True)
class WordNet(Lexicon):
    """Words of the same synsets; the parts of speech that a word can have take turns.

    Args:
        file: a table {lemma: {part: [synonym, ...]}} as JSON, a lexicon in LMF (XML), WordNet's own data.noun, or a
            folder of such; each may be packed by gzip.
        lemmas: whether "movies" is looked up as "movie". That needs lemminflect, and candidates are lemmas; the limit
            "inflection" gives them the form of the word.

    Raises InputError: the file cannot be read, or has another form.
    """

    file: str | None = None
    lemmas: bool = True

    title = "WordNet's synonyms"

    def __post_init__(self) -> None:
        if self.file is None:
            raise InputError("expected a file of WordNet, got none: write wordnet:file=PATH")
        _ = self.table  # so that errors come early

    def known(self, word: str) -> Iterable[str]:
        found = dict(self.table.get(word, {}))
        for part, lemma in (lemmas(word) if self.lemmas else {}).items():
            letter = _LETTERS.get(part, "")
            found.setdefault(letter, self.table.get(lemma, {}).get(letter, ()))
        return in_turns(found.values())

    @cached_property
    def table(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Synonyms by lemma in small letters, and by part of speech: n, v, a, r."""
        return read_wordnet(Path(str(self.file)))

    @property
    def resources(self) -> Mapping[str, str]:
        return {str(path): digest(path) for path in files_of(Path(str(self.file)))}
