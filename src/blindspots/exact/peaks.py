"""Trees in Linf: the distance to leaves that meet is the largest distance to one of them.

So the smallest adversarial change is one of the distances between the row and a leaf, and bisection over these, sorted,
is exact: at every radius the question is whether the leaves within reach contain a clique with a large sum.
"""

from dataclasses import replace

import numpy as np

from blindspots.exact.bracket import Bracket
from blindspots.exact.cliques import Array, Budget, Choice, Need, Spent, clique
from blindspots.exact.region import Region


def nearest_peak(
    region: Region, leaves: Choice, cost: Array, radii: Array, need: Need, within: float, budget: Budget
) -> Bracket:
    """The smallest radius at which leaves meet whose values meet the need.

    Args:
        region: over the features of the leaves.
        leaves: with boxes that lie in that of the region.
        cost: (R,) how far the row is from each leaf.
        radii: ascending, at which something changes; below the first there is no such clique.
        within: beyond this radius nothing is of interest.
    """
    point, low, high = None, 0, int(np.searchsorted(radii, within, side="right"))
    step, found = 0, high  # the answer is at `low` or later, and a clique is known at `found` if there is a point
    try:
        while low < high:
            # Most rows end near the relaxed bound: gallop up from there, then bisect.
            middle = min(low + step, (low + high) // 2) if point is None else (low + high) // 2
            at = _witness(region, leaves.of(cost <= radii[middle]), float(radii[middle]), need, budget)
            if at is None:
                low, step = middle + 1, 2 * step + 1
            else:
                point = at
                high = found = min(middle, int(np.searchsorted(radii, region.cost(at - region.x))))
    except Spent:
        pass
    lower = float(radii[low]) if low < len(radii) else np.inf
    return Bracket(lower, float(radii[found]) if point is not None else np.inf, point)


def _witness(region: Region, leaves: Choice, radius: float, need: Need, budget: Budget) -> Array | None:
    """A point within the radius where the values meet the need; None: there is none."""
    kept, settled = leaves.settled()
    if not len(kept.value):
        return region.x.copy() if need.met(settled, region.x) else None
    return clique(_within(region, kept, radius), need.less(settled), region.x, budget)


def _within(region: Region, leaves: Choice, radius: float) -> Choice:
    """The same leaves without the sides that lie beyond the radius: fewer pairs have to be compared."""
    below = (region.x - leaves.low) / region.unit <= radius
    above = (leaves.high - region.x) / region.unit <= radius
    low, high = np.where(below, leaves.low, -np.inf), np.where(above, leaves.high, np.inf)
    return replace(leaves, low=low, high=high)
