"""Linear functions of rows with whole numbers and categories: what `linear.shortest` is for real numbers alone.

Every feature, and every category as a whole, is an item: it lowers the score at some rate, costs something per move,
and moves by any amount or by steps.

- L0: the items that lower the score most first
- Linf: every item moves as far as a length allows, in whole steps: the smallest length, by bisection
- L1, L2: branch and bound; without whole steps these are a fractional knapsack and a projection
"""

import heapq
from dataclasses import dataclass, field, replace

import numpy as np

from blindspots.exact.bracket import Array
from blindspots.exact.region import Region

_HALVINGS = 200
_NODES = 5000
_SNAP = 1e-9  # of a step: what a division can miss it by


@dataclass(frozen=True)
class Items:
    """Arrays (n,): each may move from `least` to `most`, in multiples of `step`, 0 for any amount."""

    p: float
    rate: Array  # what a move of 1 lowers the score by, above 0 where it matters
    price: Array  # what a move of 1 costs
    least: Array
    most: Array
    step: Array

    @property
    def whole(self) -> Array:
        return self.step > 0

    def floor(self, moves: Array, snap: float = _SNAP) -> Array:
        """In whole steps, no farther."""
        size = np.where(self.whole, self.step, 1.0)
        found: Array = np.where(self.whole, np.floor(moves / size + snap) * size, moves)
        return found

    def cost(self, moves: Array) -> float:
        """In L2 the square."""
        scaled = moves * self.price
        if self.p == 0:
            return float(np.count_nonzero(moves))
        if self.p == np.inf:
            return float(scaled.max(initial=0.0))
        return float((scaled**self.p).sum())


def cheapest(items: Items, margin: float) -> tuple[float, Array] | None:
    """A lower bound of the cost, and moves (n,) that lower the score by `margin`; None where none do."""
    items = replace(items, most=items.floor(items.most))
    if items.rate @ items.most < margin:
        return None
    if margin <= 0:
        return 0.0, items.least
    if items.p == 0:
        return _fewest(items, margin)
    return _narrowest(items, margin) if items.p == np.inf else _branched(items, margin)


def _fewest(items: Items, margin: float) -> tuple[float, Array]:
    gain = items.rate * items.most
    order = np.argsort(-gain, kind="stable")
    before = np.r_[0.0, np.cumsum(gain[order])[:-1]]
    moves = np.zeros_like(gain)
    taken = order[(before < margin) & (gain[order] > 0)]
    moves[taken] = items.most[taken]
    return float(len(taken)), moves


def _narrowest(items: Items, margin: float) -> tuple[float, Array]:
    def at(length: float) -> Array:
        reach = np.divide(length, items.price, out=np.full_like(items.price, np.inf), where=items.price > 0)
        return items.floor(np.minimum(reach, items.most), snap=0.0)

    low, high = 0.0, items.cost(items.most)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if items.rate @ at(middle) >= margin else (middle, high)
    moves = at(high)
    return items.cost(moves), moves


@dataclass(order=True)
class _Node:
    bound: float
    number: int
    items: Items = field(compare=False)


def _branched(items: Items, margin: float) -> tuple[float, Array]:
    upper, best = np.inf, items.most
    queue, made = [_Node(0.0, 0, items)], 0
    lower = np.inf
    while queue:
        node = heapq.heappop(queue)
        if node.bound >= upper * (1 - 1e-12) or made > _NODES:
            lower = min(lower, node.bound)
            break
        moves = _relaxed(node.items, margin)
        if moves is None:
            continue
        bound = max(node.bound, items.cost(moves))
        rounded = _rounded(node.items, moves, margin)
        if rounded is not None and items.cost(rounded) < upper:
            upper, best = items.cost(rounded), rounded
        split = _fraction(node.items, moves)
        if split is None or bound >= upper * (1 - 1e-12):
            lower = min(lower, bound)
            continue
        for part in _parts(node.items, moves, split):
            made += 1
            heapq.heappush(queue, _Node(bound, made, part))
    return min(lower, upper) ** (1 / items.p), best


def _relaxed(items: Items, margin: float) -> Array | None:
    """The cheapest moves of any amounts, within the bounds."""
    left = margin - float(items.rate @ items.least)
    if left <= 0:
        return items.least
    if items.rate @ items.most < margin:
        return None
    if items.p == 1:
        room = items.most - items.least
        merit = np.divide(items.rate, items.price, out=np.full_like(items.rate, np.inf), where=items.price > 0)
        order = np.argsort(-merit, kind="stable")
        gain = (items.rate * room)[order]
        before = np.r_[0.0, np.cumsum(gain)[:-1]]
        share = np.clip(np.divide(left - before, gain, out=np.zeros_like(gain), where=gain > 0), 0, 1)
        moves = items.least.copy()
        moves[order] += share * room[order]
        return moves
    pull = np.divide(items.rate, items.price**2, out=np.zeros_like(items.rate), where=items.price > 0)
    low, high = 0.0, float(np.divide(items.most, pull, out=np.zeros_like(pull), where=pull > 0).max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = items.rate @ np.clip(middle * pull, items.least, items.most) >= margin
        low, high = (low, middle) if enough else (middle, high)
        if high - low <= 1e-16 * high:
            break
    found: Array = np.clip(high * pull, items.least, items.most)
    return found


def _fraction(items: Items, moves: Array) -> int | None:
    """The item that is farthest from a whole number of steps; None where all are whole."""
    steps = np.where(items.whole, moves / np.where(items.whole, items.step, 1.0), 0.0)
    off = np.abs(steps - np.rint(steps))
    return int(off.argmax()) if off.max(initial=0.0) > _SNAP else None


def _rounded(items: Items, moves: Array, margin: float) -> Array | None:
    """With whole steps up, and the others no farther than they then have to go."""
    size = np.where(items.whole, items.step, 1.0)
    up = np.where(items.whole, np.minimum(np.ceil(moves / size - _SNAP) * size, items.most), 0.0)
    fixed = replace(items, least=np.where(items.whole, up, items.least), most=np.where(items.whole, up, items.most))
    return _relaxed(fixed, margin)


def _parts(items: Items, moves: Array, f: int) -> list[Items]:
    """The item takes no more steps than that, or more."""
    below = np.floor(moves[f] / items.step[f] + _SNAP) * items.step[f]
    most, least = items.most.copy(), items.least.copy()
    most[f], least[f] = below, below + items.step[f]
    return [replace(items, most=most), replace(items, least=least)]


def moved(region: Region, slope: Array, margin: float) -> tuple[float, Array] | None:
    """A lower bound of the length, and the point (features,) at which a score has fallen by `margin`.

    None: there is none in the box.
    """
    items, ways = _items(region, slope)
    found = cheapest(items, margin)
    if found is None:
        return None
    point = region.x.copy()
    for amount, (features, direction) in zip(found[1], ways, strict=True):
        if amount > 0:
            point[features] = point[features] + direction * amount
    return found[0], point


def _items(region: Region, slope: Array) -> tuple[Items, list[tuple[Array, Array]]]:
    """One item for every feature outside of categories, and one for each category; and which way each goes."""
    assert region.step is not None
    grouped = np.zeros(len(region.x), bool)
    rows, ways = [], []
    for group in region.groups:
        grouped[group] = True
        at = np.arange(len(region.x))[group]
        old = at[int(region.x[group].argmax())]
        new = at[int(np.where(at == old, np.inf, slope[group]).argmin())]
        free = bool((region.lo[group] < region.hi[group]).all())
        both = np.array([old, new])
        price = float(np.linalg.norm(1 / region.unit[both], region.p)) if region.p else 1.0
        rows.append((max(slope[old] - slope[new], 0.0), price, float(free and slope[old] > slope[new]), 1.0))
        ways.append((both, np.array([-1.0, 1.0])))
    for f in np.flatnonzero(~grouped):
        room = region.x[f] - region.lo[f] if slope[f] > 0 else region.hi[f] - region.x[f]
        rows.append((abs(slope[f]), 1 / region.unit[f], float(room) * (slope[f] != 0), region.step[f]))
        ways.append((np.array([f]), np.array([-np.sign(slope[f])])))
    rate, price, most, step = np.array(rows, np.float64).T
    return Items(region.p, rate, price, np.zeros_like(rate), most, step), ways
