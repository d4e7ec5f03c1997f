"""What the columns of a table are and what may change in them: a feature file, read and written as TOML."""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from blindspots.errors import InputError
from blindspots.files import read_text
from blindspots.naming import meant
from blindspots.records import Record
from blindspots.tables.formula import Among, Compare, Condition, Name, Word, columns_of, parse, parts_of

Type = Literal["real", "integer", "ordinal", "category"]
Change = Literal["any", "up", "down", "never"]


Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(Record):
    """What a change by 1 costs, where that depends on its direction."""

    up: Price | None = None
    down: Price | None = None


class Column(Record):
    """A column of a table.

    Attributes:
        type: real numbers; integers; "ordinal", one of several numbers or ordered words; "category", one of several
            words without an order.
        range: the smallest and the largest value; of the data, unless it is given.
        values: of an ordinal column in their order, or of a category.
        change: relative to the row, in any direction, up, down or never.
        cost: of a change by 1, also by its direction, as in {up = 2, down = 0.5}; of a category into another value,
            also as a matrix with a row for every old value, a column for every new one, and 0 from each to itself.
        unit: what numbers count, for reports.
    """

    type: Type = "real"
    range: tuple[float, float] | None = None
    values: tuple[str | float, ...] = ()
    change: Change = "any"
    cost: Price | Prices | tuple[tuple[float, ...], ...] | None = None
    unit: str = ""

    @field_validator("range")
    @classmethod
    def _ascends(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not -float("inf") < given[0] <= given[1] < float("inf"):
            raise ValueError("a smallest and a largest value, in this order, as in [0, 100]")
        return given

    @model_validator(mode="after")
    def _has_values(self) -> "Column":
        listed = self.type in ("ordinal", "category")
        least = 1 if self.type == "category" and self.change == "never" else 2
        if listed and (len(self.values) < least or len(set(self.words)) < len(self.values)):
            raise ValueError("at least two different values, as in values = ['red', 'green']")
        if listed and self.range is not None:
            raise ValueError("values in place of a range")
        if not listed and self.values:
            raise ValueError("a range in place of values")
        if self.type == "category" and self.change in ("up", "down"):
            raise ValueError("change = 'any' or 'never' of a category, which has no order")
        if self.type == "ordinal" and self.numeric and list(self.values) != sorted(self.numbers):
            raise ValueError("numbers in ascending order")
        return self

    @model_validator(mode="after")
    def _has_prices(self) -> "Column":
        if self.type != "category" and not isinstance(self.cost, float | Prices | None):
            raise ValueError("a cost such as 2.5 or {up = 2, down = 0.5} of a column that is no category")
        if self.type == "category" and isinstance(self.cost, Prices):
            raise ValueError("a cost such as 2.5 of a category, or one per old and new value, which has no up and down")
        if isinstance(self.cost, tuple) and not _is_matrix(self.cost, len(self.values)):
            raise ValueError(
                f"{len(self.values)} rows of {len(self.values)} costs each, a row per old and a column per new value, "
                "0 from each to itself and more elsewhere,"
            )
        return self

    @property
    def prices(self) -> tuple[float, float] | None:
        """What a change by 1 costs up and down; inf where it cannot be; None where a price is lacking."""
        given = self.cost if isinstance(self.cost, Prices) else Prices(up=self.cost, down=self.cost)  # type: ignore[arg-type]
        up = math.inf if self.change == "down" else given.up
        down = math.inf if self.change == "up" else given.down
        return None if up is None or down is None else (up, down)

    @property
    def matrix(self) -> tuple[tuple[float, ...], ...] | None:
        """Of a category: what every old value (rows) costs to become every new one (columns)."""
        if not isinstance(self.cost, float):
            return self.cost if isinstance(self.cost, tuple) else None
        return tuple(tuple(self.cost * (a != b) for b in self.values) for a in self.values)

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, and not words."""
        return not self.values or (self.type != "category" and all(isinstance(v, float | int) for v in self.values))

    @property
    def words(self) -> tuple[str, ...]:
        """Its values as a file writes them."""
        return tuple(v if isinstance(v, str) else spelled(v) for v in self.values)

    @property
    def numbers(self) -> list[float]:
        """Of an ordinal column: its values, or their places where they are words."""
        return [float(v) for v in self.values] if self.numeric else [float(k) for k in range(len(self.values))]

    @property
    def width(self) -> int:
        """How many inputs of a model it becomes."""
        return len(self.values) if self.type == "category" else 1

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        if self.type == "category":
            return 0.0, 1.0
        if self.type == "ordinal":
            return self.numbers[0], self.numbers[-1]
        assert self.range is not None
        return self.range


def _is_matrix(cost: tuple[tuple[float, ...], ...], size: int) -> bool:
    cells = [(value, a == b) for a, row in enumerate(cost) for b, value in enumerate(row)]
    even = len(cost) == size and all(len(row) == size for row in cost)
    return even and all(value == 0 if same else 0 < value < math.inf for value, same in cells)


class Relation(Record):
    """What holds between columns, see `tables.formula`.

    Attributes:
        holds: the relation, such as "open <= total".
        tolerance: by how much the sides of <=, >= and == may miss each other; None: by what float32 rounds.
    """

    holds: str
    tolerance: float | None = Field(None, ge=0, allow_inf_nan=False)

    @cached_property
    def condition(self) -> Condition:
        return parse(self.holds)


class Features(Record):
    """The columns of a table, in the order in which a model takes them, and what holds between them."""

    columns: dict[str, Column] = Field(min_length=1)
    relations: tuple[Relation, ...] = ()

    @cached_property
    def places(self) -> dict[str, slice]:
        """Which inputs of a model each column becomes."""
        found, at = {}, 0
        for name, column in self.columns.items():
            found[name] = slice(at, at + column.width)
            at += column.width
        return found

    @property
    def width(self) -> int:
        """How many inputs a model has."""
        return sum(column.width for column in self.columns.values())

    @property
    def names(self) -> list[str]:
        """What each input of a model is called: "age", "colour=red"."""
        return [
            f"{name}={word}" if column.type == "category" else name
            for name, column in self.columns.items()
            for word in (column.words if column.type == "category" else ("",))
        ]

    def ranged(self, ranges: Mapping[str, tuple[float, float]]) -> "Features":
        """With the ranges of the data where none was given."""
        columns = {
            name: column.model_copy(update={"range": ranges[name]}) if needs_range(column) else column
            for name, column in self.columns.items()
        }
        return self.model_copy(update={"columns": columns})

    def to_json(self) -> str:
        """As a run keeps them."""
        return self.model_dump_json()

    @classmethod
    def of_json(cls, text: str) -> "Features":
        return cls.model_validate_json(text)


def spelled(number: float) -> str:
    """A number as a file writes it: "3", "0.5"."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(float(number))


def needs_range(column: Column) -> bool:
    """Whether its range is that of the data."""
    return column.range is None and not column.values


def read_features(path: str | Path) -> Features:
    """The columns and relations in a TOML file.

    Raises InputError: it cannot be read, or says something that is not understood.
    """
    text = read_text(Path(path), "a feature file")
    try:
        found = Features.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"expected TOML in {path}, but it cannot be read ({error}): mend that place") from error
    except ValidationError as error:
        raise InputError(_sentence(str(path), _first(error.errors()))) from error
    for relation in found.relations:
        _check_relation(relation, found, str(path))
    return found


def _first(errors: Sequence[Any]) -> Any:
    """The first mistake; of what may have one of several forms, in the form that comes nearest."""
    same = [one for one in errors if one["loc"][:3] == errors[0]["loc"][:3]]
    found = max(same, key=lambda one: len(one["loc"]))
    forms = ("constrained-float", "Prices", "tuple[")
    return {**found, "loc": tuple(part for part in found["loc"] if not str(part).startswith(forms))}


def _sentence(path: str, error: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"]) or "columns"
    said = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        fields = Column if "columns" in error["loc"] else Relation if "relations" in error["loc"] else Features
        known = list(fields.model_fields)
        return f"expected keys among {', '.join(known)} in {path}, got {place!r}{meant(str(error['loc'][-1]), known)}"
    if error["type"] == "missing":
        return f"expected {place!r} in {path}, which is missing: write e.g. [columns.age] and [[relations]]"
    return f"expected {said} for {place!r} in {path}, got {str(error['input'])[:60]}: change it"


def _check_relation(relation: Relation, features: Features, path: str) -> None:
    """Raises InputError: it names what is not there, or counts with words."""
    names = columns_of(relation.condition)
    if not names:
        raise InputError(f"expected a column in the relation {relation.holds!r} in {path}, got none: name one")
    for name in names:
        if name not in features.columns:
            raise InputError(
                f"expected columns of {path} in the relation {relation.holds!r}, got {name!r}"
                f"{meant(name, list(features.columns))}: write words in quotation marks"
            )
    _check_words(relation.condition, relation, features)


def _check_words(node: Any, relation: Relation, features: Features) -> None:
    match node:
        case Compare(_, Name(column), Word(text)):
            _check_value(column, [text], relation, features)
        case Among(Name(column), values) if any(isinstance(v, Word) for v in values):
            if not all(isinstance(v, Word) for v in values):
                raise InputError(
                    f"expected words or numbers behind 'in' in the relation {relation.holds!r}, got both: write words "
                    "in quotation marks"
                )
            _check_value(column, [v.text for v in values if isinstance(v, Word)], relation, features)
        case Name(column) if features.columns[column].type == "category":
            raise InputError(
                f"expected numbers in the relation {relation.holds!r}, got the category {column!r}: compare it with a "
                f"word, as in {column} == {features.columns[column].words[0]!r}"
            )
        case _:
            for part in parts_of(node):
                _check_words(part, relation, features)


def _check_value(column: str, words: Sequence[str], relation: Relation, features: Features) -> None:
    known = features.columns[column].words
    for word in words:
        if word not in known:
            raise InputError(
                f"expected a value of {column!r} in the relation {relation.holds!r}, got {word!r}{meant(word, known)}: "
                f"it is one of {', '.join(known) or 'no words'}"
            )


def written(features: Features, comments: Mapping[str, str] | None = None) -> str:
    """A feature file. `comments`: by the name of a column or the words of a relation, what stands behind it."""
    said = comments or {}
    lines = [
        "# What the columns are and what may change in them: check every line, since data show only what was seen."
    ]
    for name, column in features.columns.items():
        lines += ["", f"[columns.{_key(name)}]", *_lines(column, said.get(name, ""))]
    for relation in features.relations:
        comment = f"  # {said[relation.holds]}" if relation.holds in said else ""
        lines += ["", "[[relations]]", f"holds = {_string(relation.holds)}{comment}"]
        lines += [] if relation.tolerance is None else [f"tolerance = {relation.tolerance!r}"]
    return "\n".join(lines) + "\n"


def _lines(column: Column, comment: str) -> list[str]:
    found = [f'type = "{column.type}"' + (f"  # {comment}" if comment else "")]
    if column.range is not None:
        found.append(f"range = [{', '.join(map(spelled, column.range))}]")
    if column.values:
        found.append(f"values = [{', '.join(_string(v) if isinstance(v, str) else spelled(v) for v in column.values)}]")
    if column.change != "any":
        found.append(f'change = "{column.change}"')
    if column.cost is not None:
        found.append(f"cost = {_cost(column)}")
    if column.unit:
        found.append(f"unit = {_string(column.unit)}")
    return found


def _cost(column: Column) -> str:
    if isinstance(column.cost, Prices):
        return f"{{ {', '.join(f'{k} = {v!r}' for k, v in column.cost.model_dump(exclude_none=True).items())} }}"
    return repr(column.cost) if isinstance(column.cost, float) else json.dumps(column.cost)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name) else _string(name)
