"""The ball of the edit distance: any character anywhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_lowercase

from blindspots.texts.sources.characters import check_alphabet
from blindspots.texts.sources.source import Source
from blindspots.texts.words import Span


@dataclass(frozen=True)
class Edits(Source):
    """Every character may be left out or replaced, every gap take one more (Abad Rocamora et al. 2024: Charmer).

    Changing k places is k edits, so what k changed places reach is inside the ball of Levenshtein distance k. It is not
    all of it for k > 1: a gap takes one character only.

    Args:
        count: how many candidates a place gets at most.
        alphabet: the characters that may be put in. The paper takes all that occur in the data.
    """

    count: int = 1000
    alphabet: str = f"{ascii_lowercase} "

    title = "edits of any character"

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)

    def of(self, word: str) -> Iterable[str]:
        return ["", *self.alphabet]

    def places(self, text: str) -> list[Span]:
        """Gaps and characters in turns: n + 1 and n."""
        return [(i // 2, (i + 1) // 2) for i in range(2 * len(text) + 1)]
