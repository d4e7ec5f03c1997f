"""Periodic: descent on a perturbation that repeats itself, as often as unseen images like it."""

from dataclasses import dataclass

from blindspots.batching import is_large
from blindspots.experiments.universal.methods.method import Candidate
from blindspots.experiments.universal.methods.sgd import SGD

_STARTS = 4


@dataclass(frozen=True)
class Periodic(SGD):
    """SGD on a perturbation that may repeat itself; how often is found out on a part of the fit rows.

    A few hundred photographs do not determine 150,528 numbers: what is found on them holds for others less well. A
    pattern of 32 to 128 pixels that repeats itself has far fewer, and every image shows it in every place. On small
    images and on networks trained to be robust it is worth nothing, but there searches end in optima of very different
    worth, depending on the order of the first rows. So both are tried: every period (none, and powers of two, by which
    networks halve images) from several starts, a pass each on four fifths of the fit rows; the half that fools more of
    the last fifth goes on, until one is left. That one goes on over all rows. docs/universal.md has the measurements.

    Args: those of `SGD`, and
        starts: per period; 0: 1 for photographs, else 4.
    """

    starts: int = 0

    def candidates(self, shape: tuple[int, ...]) -> list[Candidate]:
        starts = self.starts or (1 if is_large(shape) else _STARTS)
        periods = [self.period] if self.period else [None, *_powers_of_two(shape)]
        return [Candidate(period, start) for start in range(starts) for period in periods]


def _powers_of_two(shape: tuple[int, ...]) -> list[int]:
    """The three largest ones that are smaller than the image, and at least 4."""
    side = min(shape[-2:]) if len(shape) > 1 else 0
    below = [1 << k for k in range(2, max(side - 1, 1).bit_length()) if 1 << k < side]
    return below[::-1][:3]
