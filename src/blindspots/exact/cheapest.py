"""Trees in L0, L1 and L2: best-first search over boxes, cut out by one leaf after the other, the cheapest first.

The bound of a box is the smallest cost at which each tree's best leaf that meets the box, taken on its own, would
suffice. The first box whose nearest point has the sum that is needed is optimal; until then the bound at the head of
the queue holds for all points.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np

from blindspots.exact.bracket import Bracket
from blindspots.exact.cliques import Array, Budget, Choice, Meetings, Need, Spent, reached
from blindspots.exact.leaves import starts_of
from blindspots.exact.region import Region


@dataclass(order=True)
class _Node:
    bound: float
    number: int  # breaks ties in the order in which nodes were made
    allowed: Array = field(compare=False)  # (R,) bool: the leaves that meet its box
    low: Array = field(compare=False)  # (F,) its box
    high: Array = field(compare=False)
    tight: bool = field(compare=False)  # the bound is its own, not that of its parent


def nearest_cheap(region: Region, leaves: Choice, need: Need, within: float, budget: Budget) -> Bracket:
    """The cheapest point where the values meet the need, if it costs at most `within`.

    Args:
        region: over the features of the leaves.
        leaves: with boxes that lie in that of the region, and within reach.
    """
    search = _Search(region, leaves, need, within)
    queue = [_Node(0.0, 0, np.ones(len(leaves.value), bool), region.lo, region.hi, False)]
    while queue:
        node = heapq.heappop(queue)
        if node.bound > within:
            return Bracket(node.bound)
        try:
            budget.spend()
        except Spent:
            return Bracket(node.bound)
        found = search.at(node)
        if isinstance(found, Bracket):
            return found
        for child in found:
            heapq.heappush(queue, child)
    return Bracket(search.beyond)


class _Search:
    def __init__(self, region: Region, leaves: Choice, need: Need, within: float) -> None:
        self.region, self.leaves, self.need, self.within = region, leaves, need, within
        self.starts, self.meetings = starts_of(leaves.tree), Meetings(leaves.low, leaves.high)
        self.made = 0
        self.beyond = np.inf  # the smallest bound among boxes that are too expensive

    def at(self, node: _Node) -> Bracket | list[_Node]:
        """The answer, if it is the nearest point of this box; else what to look at in its place."""
        own = np.flatnonzero(node.allowed)
        leaves, x = self.leaves.of(own), self.region.x
        low, high = np.maximum(leaves.low, node.low), np.minimum(leaves.high, node.high)
        cost = self.region.cost(np.maximum(np.maximum(low - x, x - high), 0))
        if not node.tight:
            return self._bounded(node, cost, leaves)
        nearest = np.clip(x, node.low, node.high)
        here = ((leaves.low <= nearest) & (nearest <= leaves.high)).all(1)
        starts = starts_of(leaves.tree)
        now = np.maximum.reduceat(np.where(here, leaves.value, -np.inf), starts)
        if self.need.met(float(now.sum()), nearest):
            size = float(self.region.cost(nearest - x))
            return Bracket(size, size, nearest)  # what is left in the queue costs no less
        if len(starts) == len(own):
            return []  # a tie that falls to the label, in the only leaves that are left
        tree = _most_gained(leaves, cost, node.bound, starts, now)
        mine = np.arange(starts[tree], np.r_[starts, len(own)][tree + 1])
        return self._children(node, tree, own[mine], cost[mine], low[mine], high[mine])

    def _bounded(self, node: _Node, cost: Array, leaves: Choice) -> list[_Node]:
        costs, sums = reached(cost, leaves.value, leaves.tree)
        enough = sums > self.need.least
        if not enough.any() or self.need.passed(leaves.value, starts_of(leaves.tree)):
            return []
        bound = max(node.bound, float(costs[enough.argmax()]))
        return self._kept(bound, _Node(bound, node.number, node.allowed, node.low, node.high, True))

    def _kept(self, bound: float, node: _Node) -> list[_Node]:
        if bound > self.within:
            self.beyond = min(self.beyond, bound)
            return []
        return [node]

    def _children(self, node: _Node, tree: int, own: Array, cost: Array, low: Array, high: Array) -> list[_Node]:
        """One for each of a tree's leaves that meet the box."""
        first, last = np.r_[self.starts, len(self.leaves.tree)][[tree, tree + 1]]
        allowed = self.meetings.of(first, last)[own - first] & node.allowed
        value = np.where(allowed, self.leaves.value, -np.inf)
        children: list[_Node] = []
        for i in np.flatnonzero(np.maximum.reduceat(value, self.starts, axis=1).sum(1) > self.need.least):
            self.made += 1
            bound = max(node.bound, float(cost[i]))
            children += self._kept(bound, _Node(bound, self.made, allowed[i], low[i], high[i], False))
        return children


def _most_gained(leaves: Choice, cost: Array, bound: float, starts: Array, now: Array) -> int:
    """The tree that would gain most over its value `now` at the nearest point, within the bound if any does there."""
    gain = np.maximum.reduceat(np.where(cost <= bound, leaves.value, -np.inf), starts) - now
    if not gain.max() > 0:
        gain = np.maximum.reduceat(leaves.value, starts) - now
    if not gain.max() > 0:
        gain = np.diff(np.r_[starts, len(leaves.tree)])
    return int(gain.argmax())
