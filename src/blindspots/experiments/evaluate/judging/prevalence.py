"""How many there really are, by an observer who errs (Rogan and Gladen 1978)."""

from math import sqrt
from typing import NamedTuple

from scipy.stats import norm

from blindspots.records import Interval


class Count(NamedTuple):
    """`hits` of `rows`."""

    hits: int
    rows: int

    @property
    def share(self) -> float:
        return self.hits / self.rows


def rogan_gladen(found: Count, sensitivity: Count, specificity: Count) -> float:
    """The share that really is so: (p + Sp - 1) / (Se + Sp - 1), kept within [0, 1].

    Args:
        found: what the observer called so.
        sensitivity: of those that are so, what the observer called so.
        specificity: of those that are not, what the observer did not.

    Needs Se + Sp > 1, see `tells`: an observer who only guesses says nothing.
    """
    return min(1.0, max(0.0, _inverted(found.share, sensitivity.share, specificity.share)))


def tells(sensitivity: Count, specificity: Count) -> bool:
    """Whether the observer tells the two apart at all, by the shares that `interval` uses, too."""
    return (
        bool(sensitivity.rows and specificity.rows)
        and min(sensitivity.share + specificity.share, _plus_one(sensitivity) + _plus_one(specificity)) > 1
    )


def interval(found: Count, sensitivity: Count, specificity: Count, confidence: float = 0.95) -> Interval:
    """The interval of `rogan_gladen` by the delta method with the adjustments of Lang and Reiczigel (2014).

    All three counts vary: the found share gets z^2 / 2 more hits in z^2 more rows (Agresti and Coull 1998), sensitivity
    and specificity one more hit in two more rows, and the centre moves by
    2 z^2 (t Se (1 - Se) / n_Se - (1 - t) Sp (1 - Sp) / n_Sp). Kept within [0, 1]. Needs Se + Sp > 1.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    rows = found.rows + z * z
    p, se, sp = (found.hits + z * z / 2) / rows, _plus_one(sensitivity), _plus_one(specificity)
    true = _inverted(p, se, sp)
    of_se, of_sp = se * (1 - se) / (sensitivity.rows + 2), sp * (1 - sp) / (specificity.rows + 2)
    variance = (p * (1 - p) / rows + true**2 * of_se + (1 - true) ** 2 * of_sp) / (se + sp - 1) ** 2
    centre = true + 2 * z * z * (true * of_se - (1 - true) * of_sp)
    low, high = centre - z * sqrt(variance), centre + z * sqrt(variance)
    return min(1.0, max(0.0, low)), min(1.0, max(0.0, high))


def _inverted(p: float, sensitivity: float, specificity: float) -> float:
    return (p + specificity - 1) / (sensitivity + specificity - 1)


def _plus_one(count: Count) -> float:
    return (count.hits + 1) / (count.rows + 2)
