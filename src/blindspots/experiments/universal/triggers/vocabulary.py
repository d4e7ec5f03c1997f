"""The words that a trigger is made of."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.models.texts import TextModel, TokenModel
from blindspots.random import keys, randint
from blindspots.texts.words import words


@dataclass(frozen=True)
class Vocabulary:
    """Words by their numbers.

    Args:
        words: each once.
        counts: how often each occurs in the texts that are fitted.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.words)

    def phrase(self, numbers: Tensor) -> str:
        """The words of these numbers (K,)."""
        return " ".join(self.words[i] for i in numbers.tolist())

    @cached_property
    def commonest(self) -> list[int]:
        """All numbers, that of the word that occurs most first."""
        return sorted(range(len(self)), key=lambda i: (-self.counts[i], self.words[i]))

    def drawn(self, seed: int, number: int, count: int, stream: int) -> Tensor:
        """Words by lot, with replacement: (count,) int64."""
        key = keys(seed, torch.tensor([number]))
        return randint(key, torch.zeros_like(key), stream, len(self), (count,))[0]


def vocabulary_of(model: TextModel, texts: Sequence[str]) -> Vocabulary:
    """The words that the model knows as one token each; of a model that shows none, those of the texts, in small.

    Raises InputError: there are none.
    """
    counts = Counter(text[a:b].lower() for text in texts for a, b in words(text))
    found = model.vectors.words if isinstance(model, TokenModel) else tuple(sorted(counts))
    if not found:
        raise InputError("expected texts with words to make a trigger of, got none: fit other texts")
    return Vocabulary(found, tuple(counts[word] for word in found))
