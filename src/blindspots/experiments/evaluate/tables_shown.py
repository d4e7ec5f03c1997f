"""Rows of a table as the report shows them: every cell before and after, and what all examples come to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.verdict import ChangedColumn, EvaluateVerdict, TableVerdict
from blindspots.records import Share
from blindspots.report.experiment import Table
from blindspots.report.words import count, interval, listing, number, percent
from blindspots.tables.encoding import decoded

_SHOWN = 12  # columns of a row that are always shown, the changed ones first
_NAMES = {"types": "types (whole numbers, one value per category)", "directions": "directions (only up, only down)"}


@dataclass(frozen=True)
class Cell:
    """A column of a row: its value, and what became of it."""

    name: str
    before: str
    after: str
    change: str  # "" where nothing changed
    unit: str


@dataclass(frozen=True)
class RowExample:
    """A broken row of a table."""

    id: int
    label: str
    confidence: float
    prediction: str
    adversarial_confidence: float
    norm: float
    enough: float
    cells: list[Cell]
    more: int  # columns that are not shown and did not change


def row_example(run: Evidence, row: int) -> RowExample:
    """What is shown of a broken row: its changed columns first."""
    rows, cells = run.rows, sorted(_cells(run, row), key=lambda cell: not cell.change)
    changed = sum(bool(cell.change) for cell in cells)
    shown = cells[: max(_SHOWN, changed)]
    return RowExample(
        id=int(rows.id[row]),
        label=run.class_name(int(rows.y[row])),
        confidence=float(rows.confidence[row]),
        prediction=run.class_name(int(rows.adversarial_prediction[row])),
        adversarial_confidence=float(rows.adversarial_confidence[row]),
        norm=run.size(row),
        enough=float(rows.norm[row]),
        cells=shown,
        more=len(cells) - len(shown),
    )


def _cells(run: Evidence, row: int) -> Iterator[Cell]:
    assert run.table is not None
    before, after = (decoded(run.table, x[None]) for x in (run.clean(row), run.adversarial(row)))
    for name, column in run.table.columns.items():
        old, new = before[name][0], after[name][0]
        if isinstance(old, str) or old == new:
            yield Cell(name, _word(old), _word(new), "changed" if old != new else "", column.unit)
        else:
            by = float(new) - float(old)
            yield Cell(name, _word(old), _word(new), f"{'+' if by > 0 else ''}{number(by)}", column.unit)


def _word(value: object) -> str:
    return value if isinstance(value, str) else number(float(value))  # type: ignore[arg-type]


def looked(v: EvaluateVerdict) -> str:
    """How robust the model looked to an attack that ignores the rules; "" where none was run."""
    table = v.table
    if table is None or table.looked is None or table.possible is None:
        return ""
    looked, found = table.looked, table.possible
    gap = looked.hits - round(v.robust_accuracy * v.counted)
    says = f"To an attack that ignores the rules of the table it looks {percent(looked.share)} robust: "
    if not found.rows:
        return f"{says}that attack found nothing in the ball at all."
    kept = "1 keeps" if found.hits == 1 else f"{count(found.hits) if found.hits else 'none'} keep"
    says += f"of the {count(found.rows, 'example')} which that attack finds in the ball, {kept} all rules"
    if gap > 0:
        return f"{says}. Attacks that know them break {count(gap, 'more row')}."
    return f"{says}."


def plausible(table: TableVerdict) -> str:
    """How near examples are to real rows; "" where there is nothing to say."""
    p = table.plausible
    if not p.rows or table.plausibility is None:
        return ""
    return (
        f"Of {count(p.rows, 'example')}, {count(p.hits)} are as near to real rows of the class that they are taken for "
        f"as 95 % of its own rows are ({percent(p.share)}, interval {interval(p.interval)}); in the median an example "
        f"is farther from them than {percent(table.plausibility)} of these."
    )


def bars(v: EvaluateVerdict) -> list[tuple[str, Share, str]]:
    """How robust the model is said to be, by who attacks: a name, the share, what it means."""
    table = v.table
    if table is None:
        return []
    robust = Share.of(round(v.robust_accuracy * v.counted), v.counted)
    found = [("Right at first", Share.of(v.robust_of_right.rows, v.counted), "nobody attacks")]
    if table.looked is not None and table.ball is not None:
        found.append(("It looked", table.looked, "an attack that ignores the rules, of which only possible rows count"))
    found.append(("It is, at most", robust, "attacks that know the rules: every example is a possible row"))
    if table.ball is not None:
        found.append(("In the ball", table.ball, "an attack that ignores the rules, if impossible rows counted too"))
    return found


def tables(v: EvaluateVerdict) -> list[Table]:
    """For the terminal and the page: which rules are broken by ignorance, and which columns change."""
    if v.table is None:
        return []
    found = []
    if v.table.rules and v.table.possible is not None:
        of = v.table.possible.rows
        rows = [(_NAMES.get(r.rule, r.rule), count(r.rows), percent(r.rows / of)) for r in v.table.rules]
        found.append(Table(("Rule that ignorance breaks", "Examples", "Share"), rows))
    if v.table.columns:
        fell = v.robust_of_right.rows - v.robust_of_right.hits
        lines = [(c.name, count(c.rows), percent(c.rows / fell), _typical(c)) for c in v.table.columns]
        found.append(Table(("Column that changes", "Rows", "Share", "Typically"), lines))
    return found


def _typical(c: ChangedColumn) -> str:
    if c.median is None or c.ups is None:
        return c.usual
    ways = [f"up in {count(c.ups)}"] * bool(c.ups) + [f"down in {count(c.rows - c.ups)}"] * (c.ups < c.rows)
    return f"by {number(c.median)}{f' {c.unit}' if c.unit else ''}, {listing(ways)}"


def table_sentences(v: EvaluateVerdict) -> Sequence[str]:
    """Behind the verdict."""
    return [] if v.table is None else [s for s in (looked(v), plausible(v.table)) if s]
