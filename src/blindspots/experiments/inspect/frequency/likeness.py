"""Whether clones have forgotten whom they were copied from, by Kendall's rank correlation with their parents.

The law of the kills is exact where a clone, once it has walked, says nothing of its parent. At every kill each
replicate has a pair of numbers: how far above the killed particle the parent is, and how far the clone is. Replicates
of a row are at about the same level after as many kills, so over all pairs of replicates tau (Kendall 1938) is about 0
where clones forgot. It asks for ranks alone, so scores can be of any scale, and it sees what the scatter of ten numbers
of kills is too coarse for: behind half-spaces tau is 0.02 and kills are Poisson to within 10 %; in a corner of 20
coordinates it is 0.1, and kills scatter four times as much as they should. Where the scale of scores changes fast with
the level, replicates at different levels make tau larger than it should be: that costs steps, not coverage.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.rows import Rows

FORGOTTEN = 0.02  # tau up to which kills are Poisson to within a few percent


@dataclass(frozen=True)
class Likeness(Rows):
    """Of B rows, over all kills until now."""

    agreeing: (
        Tensor  # (B,) float64 pairs of replicates in the same order by parents and by clones, less those in another
    )
    pairs: Tensor  # (B,) float64
    variance: Tensor  # (B,) float64 of `agreeing` if clones were independent of their parents

    @classmethod
    def none(cls, rows: int, device: torch.device) -> "Likeness":
        """Before the first kill."""
        return cls(*(torch.zeros(rows, dtype=torch.float64, device=device) for _ in range(3)))

    def after(self, at: Tensor, replicates: int, parent: Tensor, clone: Tensor) -> "Likeness":
        """With one kill more of the replicates that go on.

        Args:
            at: (L,) int64 their places, `replicates` for each row.
            parent, clone: (L,) how far they are above the particle that was killed.
        """
        (up, going), (down, _) = (_compared(at, len(self.pairs), replicates, x) for x in (parent, clone))
        alike = (up * down).double()
        n = going.sum(1).double()
        return Likeness(
            self.agreeing + alike.sum((1, 2)) / 2,
            self.pairs + n * (n - 1) / 2,
            self.variance + n * (n - 1) * (2 * n + 5) / 18,
        )

    @property
    def tau(self) -> Tensor:
        """From -1 to 1, (B,); ties count as 0."""
        return self.agreeing / self.pairs.clamp_min(1)

    @property
    def chance(self) -> Tensor:
        """The standard deviation of tau if clones were independent of their parents, (B,)."""
        return self.variance.sqrt() / self.pairs.clamp_min(1)


def _compared(at: Tensor, rows: int, replicates: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The order of every two replicates of a row, (B, R, R) in {-1, 0, 1}, and which of them go on, (B, R)."""
    placed = x.new_full((rows * replicates,), torch.nan).index_copy(0, at, x).view(rows, replicates)
    going = torch.zeros_like(placed).bool().view(-1).index_fill(0, at, True).view_as(placed)
    larger = placed[:, :, None] > placed[:, None]
    return larger.int() - larger.mT.int(), going
