"""Few characters change."""

from dataclasses import dataclass

from blindspots.errors import InputError
from blindspots.texts.limits.limit import Pairwise


@dataclass(frozen=True)
class Distance(Pairwise):
    """Word and candidate are at most `most` edits apart.

    Raises InputError: `most` is not positive.
    """

    most: int = 2

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InputError(f"expected an edit distance of at least 1, got {self.most}: nothing could change")

    def allows(self, word: str, candidate: str) -> bool:
        return abs(len(word) - len(candidate)) <= self.most and levenshtein(word, candidate) <= self.most

    def __str__(self) -> str:
        return f"at most {self.most} characters change"


def levenshtein(a: str, b: str) -> int:
    """The fewest insertions, deletions and substitutions of characters from one to the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
