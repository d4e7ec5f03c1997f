"""From any point to one that keeps types, directions and relations: what an attack proposes is made a possible row.

Numbers are rounded, the largest value of a category is set, and relations that are broken are restored one after the
other, in the order of the feature file: by solving for one column, that on the left alone, else that on the right
alone, else any other that may change; where that does not help, columns go back to what they were. Simonetto et al.
2024 (CAPGD) solve equalities for the column on their left.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from blindspots.rows import pick
from blindspots.tables.formula import (
    Among,
    Compare,
    Condition,
    Logic,
    Name,
    Number,
    Term,
    Word,
    columns_of,
    slack,
    truth,
    value,
)
from blindspots.tables.rules import Rules

_PASSES = 4  # over all relations: one that is restored may break another
_NEWTON = 4  # steps: sums and products need one, ratios a few
_EXACT = 1e-6  # so near, a number is whole
_OPPOSITE = {"<=": ">", ">=": "<", "<": ">=", ">": "<=", "==": "!=", "!=": "=="}
_FARTHER = 2.0  # how much farther than a strict comparison needs: half of its slack would round away


class Room(NamedTuple):
    """Where the inputs of each row may lie: two tensors (B, D), and the row as it was."""

    lo: Tensor
    hi: Tensor
    x0: Tensor

    def of(self, at: Tensor) -> "Room":
        """That of some of the rows."""
        return Room(self.lo[at], self.hi[at], self.x0[at])


class Repair:
    """The repair of a table's rows."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def room(self, lo: Tensor, hi: Tensor, x0: Tensor) -> Room:
        """The box (B, D) narrowed by the directions of columns."""
        lo, hi = lo.clone(), hi.clone()
        lo[:, self.rules.up] = x0[:, self.rules.up]
        hi[:, self.rules.down] = x0[:, self.rules.down]
        return Room(lo, hi, x0)

    def typed(self, x: Tensor, room: Room, inward: bool = False) -> Tensor:
        """The nearest point in the room with the right types; `inward`: rounded towards the row as it was."""
        x = x.clamp(room.lo, room.hi).where(x.isfinite(), room.x0)
        whole = self.rules.whole
        x[:, whole] = self._rounded(x, room, inward)[:, whole]
        for place, levels in self.rules.levels:
            x[:, place] = self._level(x[:, place], levels, room, place)
        for group in self.rules.groups:
            x[:, group] = _largest(x[:, group], room.x0[:, group], inward)
        return x

    @staticmethod
    def _rounded(x: Tensor, room: Room, inward: bool) -> Tensor:
        near = torch.where(x > room.x0, x.floor(), x.ceil()) if inward else x.round()
        return near.clamp(room.lo.ceil(), room.hi.floor())

    @staticmethod
    def _level(x: Tensor, levels: list[float], room: Room, place: int) -> Tensor:
        known = torch.tensor(levels, dtype=x.dtype, device=x.device)
        outside = (known < room.lo[:, place, None]) | (known > room.hi[:, place, None])
        return known[(x[:, None] - known).abs().masked_fill(outside, torch.inf).argmin(1)]

    def related(self, x: Tensor, room: Room) -> Tensor:
        """With the relations that are broken in a row restored, as far as that can be done."""
        x = x.clone()
        for _ in range(_PASSES):
            broken = [self._restored(k, x, room) for k in range(len(self.rules.features.relations))]
            if not any(broken):
                break
        return x

    def followed(self, x: Tensor, g: Tensor) -> Tensor:
        """A gradient `g` (B, D) at `x` where the columns that equations are solved for follow the others.

        The chain rule: what such a column would gain is the gain of those it is computed from.
        """
        g = g.clone()
        for column, formula in reversed(self._solved):
            place = self.rules.features.places[column].start
            at = x.double().requires_grad_()
            with torch.enable_grad():
                made = value(formula, self.rules.columns(at)).expand(len(x))
                slopes = torch.autograd.grad(made.sum(), at)[0] if made.requires_grad else torch.zeros_like(at)
            share = g[:, place, None] * slopes.to(g.dtype)
            g[:, place] = 0
            g = g + share.where(share.isfinite(), torch.zeros_like(share))
        return g

    @cached_property
    def _solved(self) -> list[tuple[str, Term]]:
        """Columns that equations are solved for, with what they are equal to, each column once."""
        found: dict[str, Term] = {}
        for relation in self.rules.features.relations:
            match relation.condition:
                case Compare("==", Name(column), formula) | Compare("==", formula, Name(column)):
                    about = self.rules.features.columns[column]
                    free = about.change != "never" and not isinstance(formula, Word)
                    if free and column not in found and column not in columns_of(formula):
                        found[column] = formula
        return list(found.items())

    def _restored(self, number: int, x: Tensor, room: Room) -> bool:
        """Restore a relation in the rows of `x`, in place; whether it was broken in any."""
        relation = self.rules.features.relations[number]
        at = (~self.rules.holds(number, x)).nonzero()[:, 0]
        if len(at):
            x[at] = _Fix(self, room.of(at), relation.tolerance).made(relation.condition, x[at])
        return bool(len(at))


class _Fix:
    """One condition in some rows."""

    def __init__(self, repair: Repair, room: Room, tolerance: float | None) -> None:
        self.repair, self.rules, self.room, self.tolerance = repair, repair.rules, room, tolerance

    def holds(self, node: Condition, x: Tensor) -> Tensor:
        return truth(node, self.rules.columns(x), self.rules.has(x), self.tolerance).expand(len(x))

    def made(self, node: Condition, x: Tensor) -> Tensor:
        """`x` (B, D) where the condition holds, else changed so that it does, if one way leads there."""
        for way in self._ways(node):
            kept = self.holds(node, x)
            if bool(kept.all()):
                break
            changed = way(x)
            x = pick(~kept & self.holds(node, changed), changed, x)
        return x

    def _ways(self, node: Condition) -> Iterator[Callable[[Tensor], Tensor]]:
        match node:
            case Logic("then", (premise, conclusion)):
                yield lambda x: self.made(conclusion, x)
                yield lambda x: self.made(Logic("not", (premise,)), x)
            case Logic("not", (part,)):
                yield lambda x: self.made(_negated(part), x)
            case Logic("and", parts):
                yield lambda x: self._all_of(parts, x)
            case Logic(_, parts):
                for part in parts:
                    yield lambda x, part=part: self.made(part, x)  # type: ignore[misc]
            case Among(term, values):
                yield lambda x: self._nearest_of(term, values, x)
            case Compare(sign, Name(column), Word(word)):
                yield from self._words(column, word, sign)
            case Compare():
                for column in self._candidates(node):
                    yield lambda x, column=column: self._solved(node, column, x)  # type: ignore[misc]
        yield lambda x: self._back(node, x)

    def _all_of(self, parts: tuple[Condition, ...], x: Tensor) -> Tensor:
        for part in parts:
            x = self.made(part, x)
        return x

    def _candidates(self, node: Compare) -> list[str]:
        """Columns of numbers, the one to solve for first; several in a sum from the last to the first."""
        alone = [side.column for side in (node.left, node.right) if isinstance(side, Name)]
        others = [name for name in reversed(columns_of(node)) if name not in alone]
        return [*alone, *others]

    def _solved(self, node: Compare, column: str, x: Tensor) -> Tensor:
        """With another number in a column, by Newton's method on the gap between both sides."""
        for _ in range(_NEWTON):
            kept = self.holds(node, x)
            if bool(kept.all()):
                break
            nearer = pick(kept, x, self._nearer(node, column, x))
            if torch.equal(nearer, x):
                break
            x = nearer
        return x

    def _nearer(self, node: Compare, column: str, x: Tensor) -> Tensor:
        """After one step."""
        about, place = self.rules.features.columns[column], self.rules.features.places[column].start
        at = x.double().requires_grad_()
        with torch.enable_grad():
            columns = self.rules.columns(at)
            left, right = value(node.left, columns), value(node.right, columns)
            gap = left - right - self._margin(node.sign, left, right).detach()
            if not gap.requires_grad:  # what is counted has no slope
                return x
            (slopes,) = torch.autograd.grad(gap.sum(), at)
        slope = slopes[:, place]
        move = -gap.detach() / slope
        number = at.detach()[:, place] + move.where(move.isfinite(), torch.zeros_like(move))
        if about.type == "integer":
            number = _whole(number, node.sign, slope)
        low, high = self.room.lo[:, place], self.room.hi[:, place]
        x = x.clone()
        x[:, place] = number.to(x.dtype).clamp(low, high)
        if about.type == "ordinal":
            x[:, place] = Repair._level(x[:, place], about.numbers, self.room, place)
        return x

    def _margin(self, sign: str, left: Tensor, right: Tensor) -> Tensor:
        """How far beyond equality a comparison is aimed at."""
        near = _FARTHER * slack(left, right, None)
        return {"<": -near, ">": near, "!=": _FARTHER * slack(left, right, self.tolerance)}.get(sign, 0 * near)

    def _back(self, node: Condition, x: Tensor) -> Tensor:
        """With its columns as they were in the row, one after the other until it holds: with all of them it does."""
        for column in columns_of(node):
            place = self.rules.features.places[column]
            own = x.clone()
            own[:, place] = self.room.x0[:, place]
            x = pick(self.holds(node, x), x, own)
        return x

    def _nearest_of(self, term: object, values: tuple[Number | Word, ...], x: Tensor) -> Tensor:
        if not isinstance(term, Name):
            return x
        ways = [self.made(Compare("==", term, one), x) for one in values]
        far = torch.stack([(way - x).abs().flatten(1).sum(1) for way in ways], 1)
        held = torch.stack([self.holds(Compare("==", term, one), w) for one, w in zip(values, ways, strict=True)], 1)
        best = far.masked_fill(~held, torch.inf).argmin(1)
        return torch.stack(ways, 1)[torch.arange(len(x), device=x.device), best]

    def _words(self, column: str, word: str, sign: str) -> Iterator[Callable[[Tensor], Tensor]]:
        """Another value of a category: the one that is asked for; else the row's own, else any other in turn."""
        about, place = self.rules.features.columns[column], self.rules.features.places[column]
        wanted = [word] if sign == "==" else [other for other in about.words if other != word]
        if sign == "!=":
            yield lambda x: self._put(x, place, self.room.x0[:, place])
        for one in wanted:
            code = torch.tensor(
                [float(w == one) for w in about.words]
                if about.type == "category"
                else [about.numbers[about.words.index(one)]]
            )
            yield lambda x, code=code: self._put(x, place, code.to(x).expand(len(x), -1))  # type: ignore[misc]

    def _put(self, x: Tensor, place: slice, values: Tensor) -> Tensor:
        """With other values in one column, where they are allowed."""
        low, high = self.room.lo[:, place], self.room.hi[:, place]
        allowed = ((values >= low) & (values <= high)).all(1)
        changed = x.clone()
        changed[:, place] = values
        return pick(allowed, changed, x)


def _whole(number: Tensor, sign: str, slope: Tensor) -> Tensor:
    """Rounded towards the side on which the comparison holds, where the gap between its sides has this slope."""
    near = number.round()
    if sign in ("==", "!="):
        return near
    up = (slope > 0) == (sign in (">=", ">"))
    return torch.where((number - near).abs() <= _EXACT, near, torch.where(up, number.ceil(), number.floor()))


def _negated(node: Condition) -> Condition:
    """What holds where the condition does not."""
    match node:
        case Compare(sign, left, right):
            return Compare(_OPPOSITE[sign], left, right)
        case Logic("not", (part,)):
            return part
        case Logic("then", (premise, conclusion)):
            return Logic("and", (premise, _negated(conclusion)))
        case Logic(word, parts):
            return Logic("or" if word == "and" else "and", tuple(map(_negated, parts)))
        case Among(term, values):
            return Logic("and", tuple(Compare("!=", term, one) for one in values))


def _largest(values: Tensor, own: Tensor, inward: bool) -> Tensor:
    """The one-hot row of the largest value, the row's own where others are as large, or where it goes back inward."""
    if inward:
        return own
    best = (values + 1e-6 * own).argmax(1)
    return torch.nn.functional.one_hot(best, values.shape[1]).to(values.dtype)
