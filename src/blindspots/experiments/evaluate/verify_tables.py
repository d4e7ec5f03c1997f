"""What is looked at of a shard of a table: types and relations, computed by other code than that of searches.

Relations are read by Python's own `ast` and computed in numpy; nothing is executed.
"""

import ast
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from blindspots.experiments.evaluate.verify_rows import ALREADY_TARGET
from blindspots.experiments.evaluate.verify_shard import Problems, Shard
from blindspots.runs.again import share
from blindspots.runs.experiment import Columns

Array = NDArray[Any]
_ROUNDING = 1e-5
_NEIGHBOUR, _MOST, _USUAL = 5, 4000, 0.95
_WORDS = re.compile(r"`(?P<quoted>[^`]+)`|\"[^\"]*\"|'[^']*'|(?P<name>[^\W\d]\w*)(?!\w|\s*\()")
_RESERVED = ("if", "then", "and", "or", "not", "in")
_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: np.divide,
}  # fmt: skip
_CALLS: Mapping[str, Callable[[list[Array]], Any]] = {
    "sum": lambda given: np.sum(np.broadcast_arrays(*given), 0),
    "count": lambda given: np.sum([one != 0 for one in np.broadcast_arrays(*given)], 0),
    "min": lambda given: np.min(np.broadcast_arrays(*given), 0),
    "max": lambda given: np.max(np.broadcast_arrays(*given), 0),
    "abs": lambda given: np.abs(given[0]),
    "log": lambda given: np.log(given[0]),
}


class Told:
    """A feature file as a run kept it."""

    def __init__(self, text: str) -> None:
        told = json.loads(text)
        self.columns: dict[str, dict[str, Any]] = told["columns"]
        self.relations: list[dict[str, Any]] = told["relations"]

    @cached_property
    def first(self) -> dict[str, int]:
        """Where the inputs of each column begin."""
        ends = np.cumsum([self.width(name) for name in self.columns]).tolist()
        return dict(zip(self.columns, [0, *ends[:-1]], strict=True))

    def width(self, name: str) -> int:
        about = self.columns[name]
        return len(about["values"]) if about["type"] == "category" else 1

    def of(self, name: str, x: Array) -> Array:
        """The inputs of a column."""
        return x[:, self.first[name] : self.first[name] + self.width(name)]

    @cached_property
    def rules(self) -> list[str]:
        return ["types", "directions", *(relation["holds"] for relation in self.relations)]

    def kept(self, x: Array, x0: Array) -> Array:
        """Which rules every row of `x` (n, D), changed from `x0`, keeps: (n, rules) bool."""
        relations = [self.relation(one["holds"], one["tolerance"], x) for one in self.relations]
        typed = np.all([self._typed(name, self.of(name, x)) for name in self.columns], 0)
        directed = np.all([self._directed(name, x, x0) for name in self.columns], 0)
        return np.stack([typed, directed, *relations], 1)

    def paid(self, x: Array, x0: Array) -> Array:
        """What it costs to change every row of `x0` (n, D) into that of `x`: (n,) float64."""
        return np.asarray(sum(self._paid(name, self.of(name, x), self.of(name, x0)) for name in self.columns))

    def _paid(self, name: str, new: Array, old: Array) -> Array:
        cost, words = self.columns[name]["cost"], self.columns[name]["type"] == "category"
        if cost is None:
            return np.zeros(len(new))
        if words:
            a, b = old.argmax(1), new.argmax(1)
            return np.asarray(np.array(cost)[a, b] if isinstance(cost, list) else cost * (a != b))
        by = new[:, 0].astype(np.float64) - old[:, 0]
        up, down = (cost["up"] or 0.0, cost["down"] or 0.0) if isinstance(cost, dict) else (cost, cost)
        return np.asarray(up * np.maximum(by, 0) + down * np.maximum(-by, 0))

    def _typed(self, name: str, x: Array) -> Array:
        about = self.columns[name]
        if about["type"] == "category":
            return np.asarray((np.sort(x, 1)[:, -1] == 1) & (np.count_nonzero(x, 1) == 1))
        if about["type"] == "integer":
            return np.asarray(np.mod(x[:, 0], 1) == 0)
        if about["type"] == "ordinal":
            return np.isin(x[:, 0], np.array(self._levels(about), np.float32))
        return np.isfinite(x[:, 0])

    @staticmethod
    def _levels(about: Mapping[str, Any]) -> list[float]:
        numbers = not any(isinstance(value, str) for value in about["values"])
        return list(about["values"]) if numbers else list(range(len(about["values"])))

    @property
    def steps(self) -> Array:
        """What a change of every input is a multiple of, 0 for any number: (D,)."""
        size = {"integer": lambda about: 1.0, "ordinal": lambda about: float(np.diff(self._levels(about)[:2])[0])}
        return np.concatenate([
            np.full(self.width(name), size.get(about["type"], lambda about: 0.0)(about))
            for name, about in self.columns.items()
        ])  # fmt: skip

    @property
    def categories(self) -> tuple[slice, ...]:
        """The inputs of each."""
        return tuple(
            slice(self.first[name], self.first[name] + self.width(name))
            for name, about in self.columns.items()
            if about["type"] == "category"
        )

    def narrowed(self, x: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
        """Bounds (D,) of a row, by what may only grow and what may only shrink."""
        lo, hi = lo.copy(), hi.copy()
        for name, about in self.columns.items():
            at = self.first[name]
            if about["change"] == "up":
                lo[at] = x[at]
            if about["change"] == "down":
                hi[at] = x[at]
        return lo, hi

    def _directed(self, name: str, x: Array, x0: Array) -> Array:
        new, old = self.of(name, x), self.of(name, x0)
        compare = {"up": np.greater_equal, "down": np.less_equal, "never": np.equal}.get(self.columns[name]["change"])
        kept: Array = np.ones((len(x), 1), bool) if compare is None else np.asarray(compare(new, old))
        return np.asarray(kept.all(axis=1))

    def ranged(self, x: Array) -> Array:
        """Whether every number of the rows (n, D) is in the range of its column."""
        found = np.ones(len(x), bool)
        for name, about in self.columns.items():
            if about["range"] is not None:
                low, high = (np.float32(bound) for bound in about["range"])
                found &= ((self.of(name, x) >= low) & (self.of(name, x) <= high)).all(1)
        return found

    def relation(self, holds: str, tolerance: float | None, x: Array) -> Array:
        """Whether a relation holds in every row: (n,) bool."""
        names = {f"_column{k}": name for k, name in enumerate(self.columns)}
        text = _WORDS.sub(lambda found: _renamed(found, {name: k for k, name in names.items()}), holds)
        with np.errstate(all="ignore"):
            found = _Reading(self, names, tolerance, x).condition(text)
        return np.broadcast_to(np.asarray(found, bool), len(x))


def _renamed(found: re.Match[str], names: Mapping[str, str]) -> str:
    """A word of a relation, by another name where it is that of a column: theirs need not be Python's."""
    quoted, name = found["quoted"], found["name"]
    if quoted is not None:
        return names[quoted]
    return names.get(name, name) if name is not None and name not in _RESERVED else found[0]


class _Reading:
    """One relation on some rows."""

    def __init__(self, told: Told, names: Mapping[str, str], tolerance: float | None, x: Array) -> None:
        self.told, self.names, self.tolerance, self.x = told, names, tolerance, x

    def condition(self, text: str) -> Any:
        """ "if P then Q" as "not P or Q"; P may not be such a sentence itself, Q may."""
        found = re.match(r"\s*if\b(.*?)\bthen\b(.*)$", text, re.DOTALL)
        if found is not None:
            return ~np.asarray(self.condition(found[1])) | self.condition(found[2])
        text = re.sub(r"(?<![<>=!])=(?!=)", "==", text)
        return self.truth(ast.parse(text.strip(), mode="eval").body)

    def truth(self, node: ast.expr) -> Any:
        match node:
            case ast.BoolOp(op=op, values=values):
                every = [np.asarray(self.truth(one)) for one in values]
                return np.logical_and.reduce(every) if isinstance(op, ast.And) else np.logical_or.reduce(every)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return ~np.asarray(self.truth(part))
            case ast.Compare(left=left, ops=[ast.In()], comparators=[ast.Tuple(elts=values)]):
                return np.logical_or.reduce([np.asarray(self.same(left, one)) for one in values])
            case ast.Compare(left=left, ops=[ast.In()], comparators=[one]):
                return self.same(left, one)
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                return self.same(left, right)
            case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[right]):
                return ~np.asarray(self.same(left, right)) & ~np.asarray(self.unknown(left, right))
            case ast.Compare(left=left, ops=[sign], comparators=[right]):
                return self.ordered(sign, self.number(left), self.number(right))
        raise ValueError(ast.dump(node))

    def ordered(self, sign: ast.cmpop, a: Any, b: Any) -> Any:
        match sign:
            case ast.Lt():
                return a < b
            case ast.Gt():
                return a > b
            case ast.LtE():
                return a <= b + self.slack(a, b)
            case ast.GtE():
                return b <= a + self.slack(a, b)
        raise ValueError(ast.dump(sign))

    def slack(self, a: Any, b: Any) -> Any:
        return _ROUNDING * np.maximum(1, np.maximum(np.abs(a), np.abs(b))) if self.tolerance is None else self.tolerance

    def same(self, left: ast.expr, right: ast.expr) -> Any:
        words = [(one, other) for one, other in ((left, right), (right, left)) if self.word(other) is not None]
        if words:
            column, word = self.names.get(words[0][0].id, words[0][0].id), self.word(words[0][1])  # type: ignore[attr-defined]
            about = self.told.columns[column]
            place = _words(about).index(str(word))
            if about["type"] == "category":
                return self.told.of(column, self.x)[:, place] == 1
            return self.told.of(column, self.x)[:, 0] == self.told._levels(about)[place]
        a, b = self.number(left), self.number(right)
        return np.abs(a - b) <= self.slack(a, b)

    def unknown(self, left: ast.expr, right: ast.expr) -> Any:
        return False if self.word(right) is not None or self.word(left) is not None else np.isnan(
            self.number(left) - self.number(right)
        )  # fmt: skip

    @staticmethod
    def word(node: ast.expr) -> str | None:
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

    def number(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() as value):
                return np.float64(value)
            case ast.Name(id=name):
                return self.told.of(self.names.get(name, name), self.x)[:, 0].astype(np.float64)
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return -self.number(part)
            case ast.BinOp(left=left, op=op, right=right):
                return _BINARY[type(op)](self.number(left), self.number(right))
            case ast.Call(func=ast.Name(id=name), args=given):
                return _CALLS[name]([np.asarray(self.number(one)) for one in given])
        raise ValueError(ast.dump(node))


def _words(about: Mapping[str, Any]) -> list[str]:
    """The values of a column as a file writes them."""
    whole = [not isinstance(v, str) and v == int(v) for v in about["values"]]
    return [str(int(v) if is_whole else v) for v, is_whole in zip(about["values"], whole, strict=True)]


class TableShard(Shard):
    """A shard of rows of a table."""

    table: Told


def possible(s: Shard) -> Problems:
    """Every adversarial example is a possible row, and so is what is said of those that ignore the rules."""
    assert isinstance(s, TableShard)
    clean, id = s.x.numpy(), s.of_broken(s.id)
    for name in ("adversarial", "nearest"):
        kept = s.table.kept(s[name], s.of_broken(clean))
        yield from s.told(~s.table.ranged(s[name]), id, f"{name} within the ranges of the feature file", "others")
        for rule, column in zip(s.table.rules, kept.T, strict=True):
            yield from s.told(~column, id, f"{name} that keeps {rule!r}", "one that does not")
    if s.threat.name == "cost":
        paid, stored = s.table.paid(s["nearest"], s.of_broken(clean)), s.of_broken(s["norm"])
        yield from s.told(~np.isclose(paid, stored, rtol=1e-4, atol=1e-6), id, "what an example costs", "another sum")
        paid = s.table.paid(s["adversarial"], s.of_broken(clean))
        yield from s.told(paid > (s.threat.radius or np.inf) * (1 + 1e-4), id, "examples within the budget", "dearer")
    if "ignoring" in s.columns:
        at = s["ignoring_rows"]
        differs = (s.table.kept(s["ignoring"], clean[at]) != s["ignoring_kept"]).any(1)
        yield from s.told(differs, s.id[at], "the rules that an example keeps, as stored", "others")


def ignorant(s: Shard) -> Problems:
    """What the attack that ignores the rules found is misclassified and in the ball."""
    assert isinstance(s, TableShard)
    if "ignoring" not in s.columns:
        return
    at = s["ignoring_rows"]
    scores = s.look(s.columns["ignoring"], at)
    wrong = ~((scores.margin < 0) | (np.abs(scores.margin) <= scores.edge))
    yield from s.told(wrong, s.id[at], "an example that ignores the rules to be misclassified", "the label")


def numbers(parts: list[Columns], told: Told, ignoring: list[int], classes: bool) -> dict[str, Any]:
    """The `TableVerdict`, counted row by row."""
    rows = [
        row for c in parts for row in zip(*(c[n].tolist() for n in ("right", "won", "stage", "result")), strict=True)
    ]
    counted = [row for row in rows if row[3] != ALREADY_TARGET]
    right = sum(row[0] for row in counted)
    kept = [row for c in parts if "ignoring_kept" in c for row in c["ignoring_kept"].tolist()]
    early = sum(bool(won) and stage in ignoring for _, won, stage, _ in rows)
    broken = [sum(not row[k] for row in kept) for k in range(len(told.rules))]
    far = [q for q in _quantiles(parts, told, classes) if q == q]
    return {
        "looked": share(right - early, len(counted)) if ignoring else None,
        "ball": share(right - len(kept), len(counted)) if ignoring else None,
        "possible": share(sum(all(row) for row in kept), len(kept)) if ignoring else None,
        "rules": [{"rule": rule, "rows": n} for rule, n in zip(told.rules, broken, strict=True) if n],
        "columns": _changed(parts, told),
        "plausible": share(sum(q <= _USUAL for q in far), len(far)),
        "plausibility": float(np.median(far)) if far else None,
    }


def _clean(c: Columns) -> Array:
    x = c["x"].numpy()
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x


def _changed(parts: list[Columns], told: Told) -> list[dict[str, Any]]:
    before = np.concatenate([_clean(c)[c["broken"].numpy()] for c in parts])
    after = np.concatenate([c["adversarial"].numpy() for c in parts])
    found = []
    for name, about in told.columns.items():
        pairs = [(b, a) for b, a in zip(told.of(name, before), told.of(name, after), strict=True) if (a != b).any()]
        if not pairs:
            continue
        one: dict[str, Any] = {"name": name, "rows": len(pairs), "median": None, "ups": None, "usual": "", "unit": ""}
        if about["type"] == "category":
            words = _words(about)
            turned = Counter((int(b.argmax()), int(a.argmax())) for b, a in pairs)
            old, new = max(turned, key=lambda pair: (turned[pair], pair))
            one["usual"] = f"{words[old]} → {words[new]}"
        else:
            by = [float(a[0]) - float(b[0]) for b, a in pairs]
            one |= {"median": float(np.median(np.abs(by))), "ups": sum(d > 0 for d in by), "unit": about["unit"]}
        found.append(one)
    return sorted(found, key=lambda one: (-one["rows"], one["name"]))


def _quantiles(parts: list[Columns], told: Told, classes: bool) -> list[float]:
    """How far each example is from real rows of its class, by scikit-learn's neighbours."""
    clean = np.concatenate([_clean(c) for c in parts]).astype(np.float64)
    spread = np.sqrt(np.mean(np.square(clean - clean.mean(0)), 0))
    unit = np.where(spread > 0, spread, 1.0)
    for name, about in told.columns.items():
        if about["type"] == "category":
            unit[told.first[name] : told.first[name] + told.width(name)] = 2**0.5
    y, said = (np.concatenate([c[n].numpy() for c in parts]) for n in ("y", "adversarial_prediction"))
    after = np.concatenate([c["adversarial"].numpy() for c in parts])
    y, said = (y, said) if classes else (0 * y, 0 * said)
    return [_quantile(point / unit, clean[y == label][:_MOST] / unit) for point, label in zip(after, said, strict=True)]


def _quantile(point: Array, real: Array) -> float:
    if len(real) <= _NEIGHBOUR:
        return float("nan")
    near = NearestNeighbors(n_neighbors=_NEIGHBOUR, algorithm="brute").fit(real)
    usual = near.kneighbors(None, _NEIGHBOUR)[0][:, -1]  # of the rows themselves, without themselves
    own = np.sort(np.sqrt(np.square(real - point).sum(1)))[_NEIGHBOUR - 1]
    return float(np.mean(usual <= own * (1 + 1e-9)))
