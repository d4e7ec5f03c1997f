"""Words with one meaning become one word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from blindspots.texts.frontends.frontend import Change, FrontEnd, by_words
from blindspots.texts.sources.source import cased
from blindspots.texts.sources.synonyms import Synonyms as Table


@dataclass(frozen=True)
class Synonyms(FrontEnd):
    """Every word becomes the one that stands for its cluster: synonym encoding (Wang et al. 2021, arXiv 1909.06723).

    The paper takes the nearest words of counter-fitted vectors and trains the network on encoded texts; here clusters
    come from a table, and the network stays as it is.

    Args:
        file: synonyms, as the source of candidates `synonyms` reads them; the words of the table come in the order of
            their frequency. None: the groups that the embedded reviews are written with.

    Raises InputError: the file cannot be read, or has another form.
    """

    name: ClassVar[str] = "synonyms"
    file: str | None = None

    def __post_init__(self) -> None:
        _ = self._table  # so that errors come early

    def on(self, known: Sequence[str]) -> Change:
        code = encoding(self._table.table)
        return lambda text: by_words(text, lambda word: cased(code.get(word.lower(), word), word))

    @property
    def _table(self) -> Table:
        return Table(file=self.file)

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else self._table.resources


def encoding(table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The word that stands for each word of a table of synonyms (algorithm 1 of the paper).

    A word that has no code yet takes that of its first synonym that has one, else its own, and hands it on to its
    synonyms without one.
    """
    code: dict[str, str] = {}
    for word, synonyms in table.items():
        if word not in code:
            near = [other.lower() for other in synonyms]
            code[word] = next((code[other] for other in near if other in code), word)
            code = {**dict.fromkeys(near, code[word]), **code}
    return code
