"""What a network of words reads of every text of a lattice, piece by piece."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from blindspots.errors import InputError
from blindspots.models.texts import TokenModel
from blindspots.texts.lattice import Lattice
from blindspots.texts.tokens import WordTokenizer

# Beside a place, what keeps the tokens of `WordTokenizer` apart: of several characters are only words, with apostrophes
# between their letters, so no token reaches over any other character.
_JOINS_BEFORE = re.compile(r"\w['’]?$|^['’]$")
_JOINS_BEHIND = re.compile(r"^\w|^['’](\w|$)")


@dataclass(frozen=True)
class Reading:
    """The tokens of all texts of a lattice: those of fixed[0], of a choice at place 0, of fixed[1], and so on.

    Args:
        fixed: before, between and behind the places.
        choices: of each place what is there, followed by its candidates.
    """

    fixed: tuple[list[int], ...]
    choices: tuple[tuple[list[int], ...], ...]

    @property
    def even(self) -> bool:
        """Whether no exchange moves another token: all choices of a place have as many."""
        return all(len({len(tokens) for tokens in place}) == 1 for place in self.choices)

    @property
    def clean(self) -> list[int]:
        """The tokens of the text as it is."""
        between = zip(self.choices, self.fixed[1:], strict=True)
        return [*self.fixed[0], *(t for place, behind in between for t in (*place[0], *behind))]

    def starts(self) -> list[int]:
        """Where the tokens of each place begin in the text as it is."""
        starts, at = [], 0
        for before, place in zip(self.fixed, self.choices, strict=False):
            starts.append(at + len(before))
            at = starts[-1] + len(place[0])
        return starts


def check_words(model: TokenModel) -> WordTokenizer:
    """The model's tokenizer. Raises InputError: it is none of words, so an exchange may change how others are read."""
    if not isinstance(model.tokenizer, WordTokenizer):
        raise InputError(
            f"expected a tokenizer of whole words for bounds, got {type(model.tokenizer).__name__} of {model.name}: "
            "certify the vote under exchanges instead (votes)"
        )
    return model.tokenizer


def read(tokens: Callable[[str], list[int]], lattice: Lattice, never_empty: bool = True) -> Reading | None:
    """The tokens of all texts of a lattice, from those of a piece.

    None where they are not those of its pieces: a place is part of a longer word, or, if texts are `never_empty`, all
    words may be deleted.
    """
    reading = Reading(
        tuple(map(tokens, lattice.fixed)), tuple(tuple(map(tokens, choices)) for choices in lattice.choices)
    )
    some_left = any(reading.fixed) or any(all(place) for place in reading.choices)
    return reading if (some_left or not never_empty) and _apart(lattice) else None


def _apart(lattice: Lattice) -> bool:
    """Whether no token can reach from a place into what is beside it, whatever stands there."""
    first, *inner, last = lattice.fixed if lattice.spans else ("", "")
    behind = not first or not _JOINS_BEFORE.search(first)
    before = not last or not _JOINS_BEHIND.search(last)
    between = (piece and not _JOINS_BEFORE.search(piece) and not _JOINS_BEHIND.search(piece) for piece in inner)
    return behind and before and all(between)


def tokens_of(tokenizer: WordTokenizer, piece: str) -> list[int]:
    """Of a piece of a text: none if it has no words and marks, which would be an unknown word if it were a text."""
    return tokenizer.encode([piece])[0] if tokenizer.spans(piece) != [(0, 0)] else []
