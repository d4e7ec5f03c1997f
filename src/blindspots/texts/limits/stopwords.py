"""No function words."""

from dataclasses import dataclass

from blindspots.texts.kept import is_negation, is_stop_word
from blindspots.texts.limits.limit import Pairwise


@dataclass(frozen=True)
class StopWords(Pairwise):
    """No candidate is a stop word or a negation; "keep" is about the words of the text."""

    def allows(self, word: str, candidate: str) -> bool:
        return not is_stop_word(candidate) and not is_negation(candidate)

    def __str__(self) -> str:
        return "none is a stop word"
