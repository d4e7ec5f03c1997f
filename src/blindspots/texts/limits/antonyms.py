"""No opposites."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blindspots.texts.antonyms import ANTONYMS
from blindspots.texts.limits.limit import Pairwise
from blindspots.texts.tables import digest, read_pairs


@dataclass(frozen=True)
class Antonyms(Pairwise):
    """No candidate is an antonym of the word.

    Args:
        file: pairs, one per line, as in counter-fitting's lists; without it the few that are embedded here.

    Raises InputError: the file cannot be read, or has another form.
    """

    file: str | None = None

    def __post_init__(self) -> None:
        _ = self.pairs  # so that errors come early

    def allows(self, word: str, candidate: str) -> bool:
        return (word.lower(), candidate.lower()) not in self.pairs

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Pairs of antonyms in small letters, in both orders."""
        return ANTONYMS if self.file is None else read_pairs(Path(self.file))

    @property
    def resources(self) -> Mapping[str, str]:
        return {} if self.file is None else {self.file: digest(Path(self.file))}

    def __str__(self) -> str:
        return "none is an antonym"
