"""Short words stay."""

from collections.abc import Iterable
from dataclasses import dataclass

from blindspots.texts.limits.limit import Limit


@dataclass(frozen=True)
class Length(Limit):
    """Words of fewer than `least` characters stay as they are."""

    least: int = 4

    def of(self, word: str, candidates: Iterable[str]) -> Iterable[str]:
        return candidates if len(word) >= self.least else ()

    def __str__(self) -> str:
        return f"words of fewer than {self.least} characters stay"
