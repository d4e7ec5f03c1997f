"""Any word of a list."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from blindspots.errors import InputError
from blindspots.texts.sources.source import Lexicon
from blindspots.texts.tables import digest, read_list


@dataclass(frozen=True)
class Vocabulary(Lexicon):
    """Every word of a file, in its order, whatever the word means.

    Args:
        count: how many of them.
        file: one word per line.

    Raises InputError: the file cannot be read, or is empty.
    """

    file: str | None = None

    title = "words of a list"

    def __post_init__(self) -> None:
        _ = self.table  # so that errors come early

    def known(self, word: str) -> Iterable[str]:
        return self.table

    @cached_property
    def table(self) -> tuple[str, ...]:
        """The words."""
        if self.file is None:
            raise InputError("expected a file with one word per line, got none: write file=FILE")
        return read_list(Path(self.file))

    @property
    def resources(self) -> Mapping[str, str]:
        return {str(self.file): digest(Path(str(self.file)))}

    def __str__(self) -> str:
        return f"{self.title} of {Path(str(self.file)).name}"
