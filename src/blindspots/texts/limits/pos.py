"""The part of speech stays."""

from dataclasses import dataclass

from blindspots.texts.language import lemmas
from blindspots.texts.limits.limit import Pairwise


@dataclass(frozen=True)
class PartOfSpeech(Pairwise):
    """Word and candidate share a part of speech that they can have; words that lemminflect does not know share theirs.

    A tagger would know which part the word plays in its sentence, but needs a model.
    """

    def allows(self, word: str, candidate: str) -> bool:
        ours, theirs = lemmas(word).keys(), lemmas(candidate).keys()
        return bool(ours & theirs) or not (ours or theirs)

    def __str__(self) -> str:
        return "the part of speech stays"
