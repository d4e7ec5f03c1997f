"""What exchanges of words do to a loss, to first order, from its gradient at a network's embeddings."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from blindspots.texts.lattice import Lattice
from blindspots.texts.vectors import Vectors


class Reader(Protocol):
    """A model that reads texts as embeddings, as far as slopes along exchanges of words need to know it."""

    def tokens_at(self, text: str, spans: Sequence[tuple[int, int]]) -> list[list[int]]:
        """For each span the places, among the model's tokens, of those that begin in it."""
        ...

    def tokens_of(self, words: Sequence[str]) -> list[list[int]]:
        """The tokens of each word as they are inside a text."""
        ...

    @property
    def vectors(self) -> Vectors:
        """The words that it knows, as it embeds them."""
        ...

    @property
    def table_of_tokens(self) -> Tensor:
        """The embeddings of all tokens: (V, E)."""
        ...


class Slopes:
    """Slopes along the exchanges of lattices: <g, e(candidate) - e(what is there)> (Ebrahimi et al. 2018, eq. 5).

    A candidate's tokens take the places of those it stands for, one by one: more are not counted, fewer repeat the last
    one, none leave an embedding of 0.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._tokens = lru_cache(maxsize=512)(self._read)

    def of(self, text: str, lattice: Lattice, choice: Sequence[int], g: Tensor) -> Tensor:
        """Towards every choice, what is there at first and its candidates, in one text: (P, 1 + C).

        `g` (T, E) are the gradients at its tokens; the choice that it has made has a slope of 0.
        """
        tokens = self._tokens(lattice).to(g.device)
        at = _table(self.reader.tokens_at(text, lattice.spans_at(choice)), tokens.shape[2], cut=True)
        along = g[at.clamp_min(0)] * (at >= 0)[:, :, None].to(g)
        each = self.reader.table_of_tokens[tokens.clamp_min(0)] * (tokens >= 0)[:, :, :, None].to(g)
        gain = (each * along[:, None]).sum((2, 3))
        return gain - gain.gather(1, torch.tensor(choice, device=g.device)[:, None])

    def _read(self, lattice: Lattice) -> Tensor:
        """The tokens of what may stand at each place: (P, 1 + C, W), the last one again and again, or -1 for none."""
        coded = [self.reader.tokens_of(there) for there in lattice.choices]
        width = max((len(word) for place in coded for word in place), default=1)
        most = max(map(len, coded), default=1)
        rows = [word for place in coded for word in [*place, *[[]] * (most - len(place))]]
        return _table(rows, max(width, 1)).view(len(coded), most, -1)


def _table(rows: Sequence[Sequence[int]], width: int, cut: bool = False) -> Tensor:
    """Rows of numbers, filled up to a width with their last one, or with -1 where they are `cut` there or empty."""
    filled = [list(row[:width]) + [-1 if cut or not row else row[-1]] * (width - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.int64).view(len(rows), width)
