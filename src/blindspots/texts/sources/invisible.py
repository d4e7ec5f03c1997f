"""Characters that are not drawn."""

from collections.abc import Iterable
from dataclasses import dataclass

from blindspots.texts.sources.source import Source, in_turns

INVISIBLE = "\u200b\u200c\u200d\u2060\xad"  # zero width: space, non-joiner, joiner; word joiner; soft hyphen


@dataclass(frozen=True)
class Invisible(Source):
    """A character that is not drawn is put into a word (Boucher et al. 2022, arXiv 2106.09898)."""

    title = "characters that are not drawn"

    def of(self, word: str) -> Iterable[str]:
        return in_turns([word[:i] + x + word[i:] for x in INVISIBLE] for i in range(1, len(word)))
