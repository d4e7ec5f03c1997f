"""What may change in a row of a table: a ball whose points are possible rows, and how attacks search in it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.ball import L0, L1, RELATIVE_SLACK, Ball
from blindspots.box import Numbers
from blindspots.capabilities import Enumerates
from blindspots.errors import InputError
from blindspots.lattice import Candidates, Substitutions
from blindspots.rows import Around, pick, tree
from blindspots.tables.features import Features
from blindspots.tables.prices import PriceList
from blindspots.tables.repair import Repair, Room
from blindspots.tables.rules import Rules
from blindspots.threat import Threat, View

Array = NDArray[Any]
_GRID = 8  # numbers of a column that a search in steps tries, beside all of an integer column with few
_FEW = 12
_FAR = 1e30  # a bound that bounds nothing
_BACK = (1.0, 0.75, 0.5, 0.25, 0.1)  # shares of a change that are tried where the whole of it leads nowhere


class Cost(L1):
    """What all changes cost together is bounded: prices per column, from a feature file."""

    name: ClassVar[str] = "cost"
    title: ClassVar[str] = "cost"
    allowing: ClassVar[str] = "all changes together may cost up to {radius}{scale}"


@dataclass(frozen=True)
class Options(Candidates):
    """What each column of a row may be changed to in one step: `tokens` are numbers from 1 of these `values`."""

    values: Tensor  # (B, P, C) a number, or which of a category's values


@dataclass(frozen=True, eq=False)
class TableThreat(Threat):
    """The points of a ball that are possible rows of a table: types, directions and relations are kept exactly.

    Attacks see it in three ways (`view`): those of balls search in the ball, and the model is asked about the repaired
    point; those of tables search among possible rows, with `project` as their repair; those of lattices change one
    column after the other.

    Args:
        ball: with box, units and mask of the columns, see `ball_of`: what holds if types and relations are left out.
        table: the columns and their relations.
    """

    ball: Ball
    table: Features

    @property
    def name(self) -> str:  # type: ignore[override]  # that of its norm
        return self.ball.name

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.ball.title

    @property
    def allowing(self) -> str:  # type: ignore[override]
        return self.ball.allowing

    @property
    def radius(self) -> float | None:  # type: ignore[override]
        return self.ball.radius

    @cached_property
    def rules(self) -> Rules:
        return Rules(self.table)

    @cached_property
    def _repair(self) -> Repair:
        return Repair(self.rules)

    @property
    def features(self) -> dict[str, Tensor]:
        return self.ball.features

    def to(self, device: torch.device) -> Self:
        return replace(self, ball=self.ball.to(device))

    def check(self, shape: tuple[int, ...]) -> None:
        if shape != (self.table.width,):
            raise InputError(
                f"expected inputs of shape ({self.table.width},), as the feature file says, got {shape}: give one "
                "number per column and per value of a category"
            )

    # ------------------------------------------------------------------ what belongs to it

    @cached_property
    def prices(self) -> PriceList | None:
        """Where a change costs more in some directions than in others; None: the unit of the ball says it all."""
        found = PriceList(self.table) if isinstance(self.ball, Cost) else None
        return None if found is None or found.even else found

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        """In the norm of the ball; l0 counts columns."""
        size = self.ball.distance(x, x0)
        if self.prices is not None:
            return torch.where(size.isinf(), size, self.prices.paid(x, x0).to(size.dtype))
        if not isinstance(self.ball, L0):
            return size
        return torch.where(size.isinf(), size, self._columns(x != x0).sum(1).to(size.dtype))

    def measured(self, x: Array, x0: Array) -> Array:
        size = self.ball.measured(x, x0)
        if self.prices is not None:
            paid = self.prices.paid(torch.from_numpy(x), torch.from_numpy(x0)).numpy()
            size = np.where(np.isinf(size), np.inf, paid)
        if not isinstance(self.ball, L0):
            return size
        moved = np.add.reduceat((x != x0).astype(int), self._starts, axis=1) > 0
        counted: Array = np.where(np.isinf(size), np.inf, moved.sum(1))
        return counted

    @cached_property
    def _starts(self) -> list[int]:
        return [place.start for place in self.table.places.values()]

    def _columns(self, inputs: Tensor) -> Tensor:
        """Which columns have one of these inputs (B, D) bool: (B, P) bool."""
        return torch.stack([inputs[:, place].any(1) for place in self.table.places.values()], 1)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        return self.in_ball(x, around) & self.rules.kept(x, around.x).all(1)

    def in_ball(self, x: Tensor, around: Around) -> Tensor:
        """Whether each row is in the ball, whatever types and relations say."""
        inside = self.ball.holds(x, self.loosened(around))
        if self.prices is not None:
            inside &= self.prices.paid(x, around.x) <= around.r * (1 + RELATIVE_SLACK)
        return inside if not isinstance(self.ball, L0) else inside & (self.distance(x, around.x) <= around.r)

    def loosened(self, around: Around) -> Around:
        """With the radius that the ball needs: in l0 one column of words is two inputs."""
        wide = isinstance(self.ball, L0) and bool(self.rules.groups)
        return around.within(2 * around.r) if wide else around

    def immovable(self, around: Around) -> Tensor:
        fixed = self.ball.where is not None and not bool(self.ball.where.any())
        return torch.full_like(around.r, fixed, dtype=torch.bool)

    # ------------------------------------------------------------------ what searches use

    def view(self, requires: type) -> Threat:
        if issubclass(requires, Ball):
            return Relaxed(self)
        return Steps(self) if issubclass(requires, Enumerates) else self

    @property
    def ignoring(self) -> Threat:
        """For attacks that know the ball alone: the model is asked about their points as they are."""
        return Relaxed(self, repairs=False)

    def room(self, around: Around) -> Room:
        lo, hi = self.ball.box(around).like(around.x)
        return self._repair.room(lo, hi, around.x)

    def project(self, x: Tensor, around: Around) -> Tensor:
        """A possible row near `x`: the one repair. Where nothing near is possible, less of the change, or none of it.

        Not the nearest one: among possible rows that is a hard problem of its own.
        """
        room = self.room(around)
        found = self._possible(self._inside(x, around), room)
        at = (~self.holds(found, around)).nonzero()[:, 0]
        if not len(at):
            return found
        return found.index_copy(0, at, self._less(x[at], around[at]))

    def _inside(self, x: Tensor, around: Around) -> Tensor:
        """A point of the ball near by, whatever types and relations say.

        With prices that depend on the direction: every change is stretched by how much dearer its direction is than the
        cheaper one, so that the ball of the cheaper ones bounds what is paid; a projection turns no change round.
        """
        if self.prices is None:
            return self.ball.project(x, self.loosened(around))
        x = self.ball.clip(x, around)
        dearer = self._along(x - around.x, around.x)
        inner = self.ball.within(-_FAR, _FAR).project(around.x + (x - around.x) * dearer, around)
        return self.ball.clip(around.x + (inner - around.x) / dearer, around)

    def _along(self, change: Tensor, x0: Tensor) -> Tensor:
        """How many times as dear as the cheaper direction of its column each change is: (B, D), at least 1."""
        assert self.prices is not None
        assert self.ball.unit is not None
        up, down = self.prices.each(x0)
        return (torch.where(change > 0, up, down) * self.ball.unit).to(change.dtype)

    def unit_along(self, change: Tensor, x0: Tensor) -> Tensor | float:
        """What counts as 1 in a search that moves rows `x0` this way: broadcasts against (B, D)."""
        unit = 1.0 if self.ball.unit is None else self.ball.unit.to(change.device)
        return unit if self.prices is None else unit / self._along(change, x0)

    def _possible(self, x: Tensor, room: Room, inward: bool = False) -> Tensor:
        return self._repair.related(self._repair.typed(x, room, inward), room)

    def _less(self, x: Tensor, around: Around) -> Tensor:
        """For rows (B, D) whose repair does not hold: less and less of the change, each time also rounded inward.

        All that is tried is tried at once, since many rows take hardly longer than one.
        """
        shares = torch.tensor(_BACK, device=x.device)
        wide: Around = tree(lambda t: t.repeat_interleave(len(_BACK), 0), around)
        inside = self._inside(x, around).repeat_interleave(len(_BACK), 0)
        tried = wide.x + shares.repeat(len(x))[:, None] * (inside - wide.x)
        room = self.room(wide)
        ways = torch.stack([self._possible(tried, room, inward) for inward in (False, True)], 1)
        wide = tree(lambda t: t.repeat_interleave(2, 0), wide)
        good = self.holds(ways.flatten(0, 1), wide).view(len(x), -1)
        best = ways.flatten(0, 1).view(len(x), good.shape[1], -1)[torch.arange(len(x)), good.int().argmax(1)]
        return pick(good.any(1), best, around.x)

    def followed(self, x: Tensor, g: Tensor) -> Tensor:
        """A gradient at `x` of what a search may choose: columns that equations are solved for follow the others."""
        return self.pulled(self._repair.followed(x, g))

    def steepest(self, g: Tensor) -> Tensor:
        return self.ball.steepest(g)

    def dual(self, g: Tensor) -> Tensor:
        """As of the ball."""
        return self.ball.dual(g)

    def pulled(self, g: Tensor, x: Tensor | None = None) -> Tensor:
        """Zero where nothing may change."""
        return g if self.ball.where is None else g.masked_fill(~self.ball.where, 0)

    def sample(self, around: Around, key: Tensor) -> Tensor:
        """A random possible row."""
        return self.project(self.drawn(around, key), around)

    def drawn(self, around: Around, key: Tensor) -> Tensor:
        """A random point of the ball, possible or not."""
        return self.ball.sample(self.loosened(around), key)

    @cached_property
    def column_of(self) -> Tensor:
        """The number of the column that each input belongs to: (D,) int64."""
        return torch.tensor(self.rules.column_of)

    def begun(self, start: Tensor, around: Around) -> Tensor:
        return self.project(start, around)

    def limits(self, x: Tensor) -> Options:
        """What each column may be changed to in one step, within the radius: P columns, at most C values of each."""
        around = Around(x, self.reach(x))
        room = self.room(around)
        each = [self._values(name, room, around) for name in self.table.columns]
        most = max(values.shape[1] for values in each)
        padded = [torch.nn.functional.pad(v, (0, most - v.shape[1]), value=torch.nan) for v in each]
        values = torch.stack(padded, 1)
        number = torch.arange(1.0, most + 1, device=x.device).expand_as(values)
        return Options(torch.where(values.isnan(), -1.0, number), values)

    def _values(self, name: str, room: Room, around: Around) -> Tensor:
        """(B, C) with NaN where there is none."""
        column, place = self.table.columns[name], self.table.places[name]
        at, x0 = place.start, around.x
        if column.type == "category":
            free = (room.lo[:, place] < room.hi[:, place]).all(1)
            values = torch.arange(float(column.width), device=x0.device).expand(len(x0), -1)
            return values.masked_fill((values == x0[:, place].argmax(1)[:, None]) | ~free[:, None], torch.nan)
        own, low, high = x0[:, at], room.lo[:, at], room.hi[:, at]
        if not isinstance(self.ball, L0):
            far = around.r * (1.0 if self.ball.unit is None else self.ball.unit.expand(self.table.width)[at])
            low, high = low.maximum(own - far), high.minimum(own + far)
        values = self._numbers(name, low, high)
        strange = (values == own[:, None]) | (values < low[:, None]) | (values > high[:, None])
        return values.masked_fill(strange, torch.nan)

    def _numbers(self, name: str, low: Tensor, high: Tensor) -> Tensor:
        """Numbers to try between two bounds (B,): all of a few, else evenly spread: (B, C)."""
        column = self.table.columns[name]
        if column.type == "ordinal":
            return torch.tensor(column.numbers, dtype=low.dtype, device=low.device).expand(len(low), -1)
        least, most = column.bounds
        if column.type == "integer" and most - least < _FEW:
            return torch.arange(math.ceil(least), math.floor(most) + 1.0, device=low.device).expand(len(low), -1)
        share = torch.linspace(0, 1, _GRID, device=low.device)
        values = low[:, None] + share * (high - low)[:, None]
        if column.type != "integer":
            return values
        values = values.round()
        same = torch.zeros_like(values, dtype=torch.bool)
        same[:, 1:] = values[:, 1:] == values[:, :-1]
        return values.masked_fill(same, torch.nan)


class _View(View):
    """A table threat as some attacks see it."""

    of: TableThreat

    @property
    def features(self) -> dict[str, Tensor]:
        return self.of.features


@dataclass(frozen=True, eq=False)
class Relaxed(_View):
    """The ball: searches move freely in it, and the model is asked about the possible row near by.

    Gradients pass as if nothing were repaired (Bengio et al. 2013, straight-through), so that small steps add up until
    an integer or a category turns.
    """

    of: TableThreat
    repairs: bool = True

    title: ClassVar[str] = "ball"
    allowing: ClassVar[str] = "the ball around a row"

    @property
    def name(self) -> str:  # type: ignore[override]
        return "l1" if isinstance(self.of.ball, Cost) else self.of.ball.name

    @property
    def plain(self) -> Threat:
        return self.of.ball.plain

    def to(self, device: torch.device) -> Self:
        return replace(self, of=self.of.to(device))

    def inward(self, around: Around) -> Around:
        return self.of.ball.inward(self.of.loosened(around))

    def outward(self, u: Tensor, inner: Around, around: Around) -> Tensor:
        x = self.of.ball.outward(u, inner, around)
        return self.of.project(x, around) if self.repairs else x

    def pulled(self, g: Tensor, x: Tensor | None = None) -> Tensor:
        return self.of.ball.pulled(g, x)

    def begun(self, start: Tensor, around: Around) -> Tensor:
        return self.of.ball.begun(start, around)


@dataclass(frozen=True, eq=False)
class Steps(_View):
    """One column after the other: searches choose among the `Options` of each, 0 leaves it as it is."""

    of: TableThreat

    name: ClassVar[str] = "substitutions"
    title: ClassVar[str] = "columns"
    allowing: ClassVar[str] = "up to {radius} columns may be changed"

    @property
    def plain(self) -> Threat:
        return Substitutions(self.of.radius if isinstance(self.of.ball, L0) else None)

    def to(self, device: torch.device) -> Self:
        return replace(self, of=self.of.to(device))

    def inward(self, around: Around) -> Around:
        places = around.x.new_zeros(len(around.x), len(self.of.table.columns))
        most = around.r.floor() if isinstance(self.of.ball, L0) else torch.full_like(around.r, torch.inf)
        return Around(places, most, own=around.own)

    def begun(self, start: Tensor, around: Around) -> Tensor:
        return self.inward(around).x

    def outward(self, u: Tensor, inner: Around, around: Around) -> Tensor:
        """The rows with the chosen values, repaired where that breaks something; a place that is asked about as if it
        were not there counts as unchanged."""
        return self.of.project(self._put(u, around), around)

    def _put(self, choice: Tensor, around: Around) -> Tensor:
        assert isinstance(around.own, Options)
        at = (choice.long() - 1).clamp_min(0)[:, :, None]
        values, x = around.own.values.gather(2, at)[:, :, 0], around.x.clone()
        for k, (name, place) in enumerate(self.of.table.places.items()):
            moved, number = (choice[:, k] > 0) & ~values[:, k].isnan(), values[:, k]
            column = self.of.table.columns[name]
            new = number[:, None]
            if column.type == "category":
                new = torch.nn.functional.one_hot(number.nan_to_num(0).long(), column.width).to(x.dtype)
            x[:, place] = pick(moved, new, x[:, place])
        return x


def ball_of(ball: Ball, table: Features, unit: Numbers | None = None) -> Ball:
    """A ball with the box and the mask of a table's columns; the unit of `Cost` are the prices of cheaper directions.

    Raises InputError: a column that may change has no price, or nothing may change.
    """
    lo, hi = box_of(table)
    where = torch.tensor([
        column.change != "never" and column.bounds[0] < column.bounds[1]
        for column in table.columns.values() for _ in range(column.width)
    ])  # fmt: skip
    if not bool(where.any()):
        raise InputError("expected a column that may change, got change = 'never' for all: change that of one")
    if isinstance(ball, Cost):
        unit = PriceList(table).unit
    return type(ball)(ball.radius, lo, hi, unit, where)


def box_of(table: Features) -> tuple[Tensor, Tensor]:
    """The bounds of every input of a model, float32 (D,); those of a constant column are kept apart by its mask."""
    bounds = [column.bounds for column in table.columns.values() for _ in range(column.width)]
    lo, hi = (torch.tensor(side, dtype=torch.float32) for side in zip(*bounds, strict=True))
    return lo, torch.where(hi > lo, hi, lo + lo.abs().clamp_min(1))
