"""The language of relations between columns: read by a parser of its own, so nothing in a file is ever executed.

    open_accounts <= total_accounts
    total == price * pieces
    if discount > 0 then customer == "known"
    count(call, mail, visit) <= 2
    term in (36, 60)

A column is written as its name, in backticks where that is no single word. Words in quotation marks are values of a
category. There are + - * /, sum, count (how many are not 0), min, max, abs and log; <= < >= > == != and in; and, or,
not, if ... then ...
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.errors import InputError

ROUNDING = 1e-5  # of the larger side: what float32 does to sums and products of a few columns
_FUNCTIONS = ("sum", "count", "min", "max", "abs", "log")
_ONE = ("abs", "log")  # of a single argument
_COMPARISONS = ("<=", ">=", "==", "!=", "<", ">")
_RESERVED = {"if", "then", "and", "or", "not", "in"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|`(?P<quoted>[^`]+)`|(?P<word>\"[^\"]*\"|'[^']*')"
    r"|(?P<name>[^\W\d]\w*)|(?P<sign><=|>=|==|!=|[-+*/()<>=,]))"
)
_DEEPEST = 60  # parentheses and the like inside each other


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Name:
    column: str


@dataclass(frozen=True)
class Word:
    text: str


@dataclass(frozen=True)
class Call:
    """A function or a sign (+ - * /) of numbers."""

    function: str
    arguments: tuple["Term", ...]


@dataclass(frozen=True)
class Compare:
    sign: str
    left: "Term"
    right: "Term"


@dataclass(frozen=True)
class Among:
    """A term is one of several numbers or words."""

    term: "Term"
    values: tuple[Number | Word, ...]


@dataclass(frozen=True)
class Logic:
    """ "and", "or", "not" (of one part) or "then" (of two: if the first holds, so does the second)."""

    word: str
    parts: tuple["Condition", ...]


Term = Number | Name | Word | Call
Condition = Compare | Among | Logic
Columns = Callable[[str], Tensor]  # the numbers of a column by its name: (B,) float64
Is = Callable[[str, str], Tensor]  # whether a category has this value: (B,) bool


def parse(text: str) -> Condition:
    """The condition that a relation states. Raises InputError: it is written in another language."""
    return _Parser(text).condition_alone()


class _Parser:
    """Recursive descent; binding from loose to tight: if, or, and, not, comparisons, + -, * /, minus."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0
        self.tokens = list(_tokens(text))

    def condition_alone(self) -> Condition:
        found = self._sentence()
        if self.at < len(self.tokens):
            raise self._refused("nothing more")
        return found

    def _sentence(self) -> Condition:
        if not self._takes("name", "if"):
            return self._truth(self._joined("or"))
        premise = self._truth(self._joined("or"))
        if not self._takes("name", "then"):
            raise self._refused("'then'")
        with self._deeper():
            return Logic("then", (premise, self._sentence()))

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._refused("fewer parts inside each other")
        yield
        self.depth -= 1

    def _joined(self, word: str) -> Term | Condition:
        parts = [self._part(word)]
        while self._takes("name", word):
            parts.append(self._part(word))
        return parts[0] if len(parts) == 1 else Logic(word, tuple(map(self._truth, parts)))

    def _part(self, word: str) -> Term | Condition:
        return self._joined("and") if word == "or" else self._negated()

    def _negated(self) -> Term | Condition:
        if self._takes("name", "not"):
            with self._deeper():
                return Logic("not", (self._truth(self._negated()),))
        return self._compared()

    def _compared(self) -> Term | Condition:
        left = self._sum()
        if self._takes("name", "in"):
            return Among(self._numeric(left), tuple(self._listed()))
        for sign in (*_COMPARISONS, "="):
            if self._takes("sign", sign):
                return self._comparison("==" if sign == "=" else sign, left, self._sum())
        return left

    def _comparison(self, sign: str, left: Term | Condition, right: Term | Condition) -> Compare:
        if isinstance(left, Word):
            left, right = right, left
        if isinstance(right, Word) and (not isinstance(left, Name) or sign not in ("==", "!=")):
            raise self._refused("a column beside a word, compared by == or !=")
        if not isinstance(right, Word):
            right = self._numeric(right)
        return Compare(sign, self._numeric(left), right)

    def _listed(self) -> Iterator[Number | Word]:
        self._needs("(")
        while True:
            value = self._sum()
            if isinstance(value, Call) and value.function == "-" and isinstance(value.arguments[0], Number):
                value = Number(-value.arguments[0].value)
            if not isinstance(value, Number | Word):
                raise self._refused("numbers or words in the list behind 'in'")
            yield value
            if not self._takes("sign", ","):
                break
        self._needs(")")

    def _sum(self) -> Term | Condition:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/"), self._signed))

    def _chain(self, signs: Sequence[str], inner: Callable[[], Term | Condition]) -> Term | Condition:
        left = inner()
        while True:
            sign = next((sign for sign in signs if self._takes("sign", sign)), None)
            if sign is None:
                return left
            left = Call(sign, (self._numeric(left), self._numeric(inner())))

    def _signed(self) -> Term | Condition:
        if self._takes("sign", "-"):
            with self._deeper():
                return Call("-", (self._numeric(self._signed()),))
        return self._atom()

    def _atom(self) -> Term | Condition:
        if self._takes("sign", "("):
            with self._deeper():
                found = self._joined("or")
            self._needs(")")
            return found
        kind, said = self._next()
        if kind == "name" and said in _FUNCTIONS and self._takes("sign", "("):
            return self._called(said)
        if kind == "number":
            return Number(float(said))
        if kind in ("name", "quoted") and not (kind == "name" and said in _RESERVED):
            return Name(said)
        if kind == "word":
            return Word(said[1:-1])
        self.at -= kind != ""
        raise self._refused("a column, a number or a function")

    def _called(self, function: str) -> Call:
        arguments = [self._numeric(self._sum())]
        while self._takes("sign", ","):
            arguments.append(self._numeric(self._sum()))
        self._needs(")")
        if function in _ONE and len(arguments) > 1:
            raise self._refused(f"one argument of {function}")
        return Call(function, tuple(arguments))

    def _next(self) -> tuple[str, str]:
        kind, said, _ = self.tokens[self.at] if self.at < len(self.tokens) else ("", "", 0)
        self.at += kind != ""
        return kind, said

    def _takes(self, kind: str, said: str) -> bool:
        """Whether this comes next; then it is behind us."""
        there = self.at < len(self.tokens) and self.tokens[self.at][:2] == (kind, said)
        self.at += there
        return there

    def _needs(self, sign: str) -> None:
        if not self._takes("sign", sign):
            raise self._refused(repr(sign))

    def _truth(self, found: Term | Condition) -> Condition:
        if not isinstance(found, Condition):
            raise self._refused("a comparison such as a <= b")
        return found

    def _numeric(self, found: Term | Condition) -> Term:
        if not isinstance(found, Number | Name | Call):
            raise self._refused("a number or a column")
        return found

    def _refused(self, what: str) -> InputError:
        place = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)
        return InputError(
            f"expected {what} in the relation {self.text!r}, got {self.text[place:][:20] or 'its end'!r} at character "
            f"{place + 1}: write e.g. open <= total, total == a + b, or if a > 0 then b > 0"
        )


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise InputError(f"expected a relation such as a <= b, got {text!r}: what is {text[at:].strip()[:20]!r}?")
        kind = str(found.lastgroup)
        yield kind, found[kind], found.start(kind)
        at = found.end()


def columns_of(node: Term | Condition) -> list[str]:
    """The columns that are named, each once, in the order in which they stand."""
    return list(dict.fromkeys(_named(node)))


def _named(node: Term | Condition) -> Iterator[str]:
    if isinstance(node, Name):
        yield node.column
    for part in parts_of(node):
        yield from _named(part)


def parts_of(node: Term | Condition) -> tuple[Term | Condition, ...]:
    """What a node is made of."""
    match node:
        case Call(_, arguments):
            return arguments
        case Compare(_, left, right):
            return left, right
        case Among(term, _):
            return (term,)
        case Logic(_, parts):
            return parts
        case _:
            return ()


def value(node: Term, columns: Columns) -> Tensor:
    """What a term comes to in every row: (B,) float64. A ratio over 0 and the logarithm of 0 are NaN or infinite."""
    match node:
        case Number(number):
            return torch.tensor(number, dtype=torch.float64)
        case Name(column):
            return columns(column)
        case Call(function, arguments):
            return _applied(function, [value(one, columns) for one in arguments])
        case _:
            raise InputError(f"expected a number in a relation, got the word {node.text!r}: compare it by ==")


def _applied(function: str, given: list[Tensor]) -> Tensor:
    match function:
        case "+" | "sum":
            return sum(given[1:], given[0])
        case "-":
            return -given[0] if len(given) == 1 else given[0] - given[1]
        case "*":
            return given[0] * given[1]
        case "/":
            return given[0] / given[1]
        case "count":
            return sum(((one != 0).double() for one in given[1:]), (given[0] != 0).double())
        case "abs":
            return given[0].abs()
        case "log":
            return given[0].log()
        case _:
            found = given[0]
            for one in given[1:]:
                found = found.minimum(one) if function == "min" else found.maximum(one)
            return found


def truth(node: Condition, columns: Columns, has: Is, tolerance: float | None = None) -> Tensor:
    """Whether a condition holds in every row: (B,) bool; what is not a number compares with nothing.

    Args:
        tolerance: by how much the sides of <=, >= and == may miss each other; None: by rounding, see `slack`.
    """
    match node:
        case Logic("not", (part,)):
            return ~truth(part, columns, has, tolerance)
        case Logic("then", (premise, conclusion)):
            return ~truth(premise, columns, has, tolerance) | truth(conclusion, columns, has, tolerance)
        case Logic(word, parts):
            found = truth(parts[0], columns, has, tolerance)
            for part in parts[1:]:
                other = truth(part, columns, has, tolerance)
                found = found & other if word == "and" else found | other
            return found
        case Among(term, values):
            same = [truth(Compare("==", term, one), columns, has, tolerance) for one in values]
            return torch.stack(same).any(0)
        case Compare(sign, Name(column), Word(text)):
            return has(column, text) == (sign == "==")
        case Compare(sign, left, right):
            return _compared(sign, value(left, columns), value(right, columns), tolerance)


def slack(left: Tensor, right: Tensor, tolerance: float | None) -> Tensor:
    """By how much two sides may miss each other: the tolerance, else `ROUNDING` of the larger side, at least of 1."""
    if tolerance is not None:
        return torch.full_like(left + right, tolerance)
    return ROUNDING * left.abs().maximum(right.abs()).clamp_min(1)


def _compared(sign: str, left: Tensor, right: Tensor, tolerance: float | None) -> Tensor:
    gap = left - right
    if sign in ("<", ">"):
        return gap < 0 if sign == "<" else gap > 0
    near = slack(left, right, tolerance)
    if sign == "<=":
        return gap <= near
    if sign == ">=":
        return gap >= -near
    same = (gap.abs() <= near) & gap.isfinite()
    return same if sign == "==" else ~same & ~gap.isnan()
