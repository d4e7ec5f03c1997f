"""`judge`: the page that a person answers, and what the answers say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import reading
from blindspots.errors import InputError
from blindspots.experiments.evaluate.judging import words
from blindspots.experiments.evaluate.judging.answers import read_answers
from blindspots.experiments.evaluate.judging.outcome import Judgement, automatic, judgement
from blindspots.experiments.evaluate.judging.page import page
from blindspots.experiments.evaluate.judging.sheet import Sheet, clean_texts, drawn
from blindspots.report.experiment import Table
from blindspots.report.page import write_page
from blindspots.runs.folder import Folder
from blindspots.runs.store import Run, opened
from blindspots.texts.validity.validity import USUAL, parse_validity


@dataclass(frozen=True)
class Reading:
    """Which texts of which run are read."""

    run: Path
    texts: int
    seed: int


def written(asked: Reading, out: Path | None) -> None:
    """Write the page and say what to do with it."""
    with reading(asked.run):
        sheet = drawn(opened(Folder(asked.run)), asked.texts, asked.seed)
    path = write_page(page(sheet), asked.run, out or asked.run / "judge.html")
    console = screen.result()
    console.print(Text(f"Page: {path}"), soft_wrap=True)
    then = f"{len(sheet.items)} texts to read in a browser; then: blindspots judge {asked.run} --answers answers.json"
    console.print(Text(then), soft_wrap=True)


def compared(asked: Reading, path: Path, checks: str | None, as_json: bool) -> None:
    """Say what the answers say; which texts were read, they say themselves."""
    answers = read_answers(path)
    validity = parse_validity(checks or USUAL)
    with reading(asked.run):
        run = opened(Folder(asked.run))
        sheet = drawn(run, answers.texts, answers.seed)
        passes = _passes(run, sheet, validity)
        found = judgement(sheet, answers, passes)
    if as_json:
        screen.document(found)
    else:
        _show(found)


def _passes(run: Run[Any, Any], sheet: Sheet, validity: Any) -> dict[str, bool] | None:
    """What the checks say; None where they cannot be fitted, which is said."""
    try:
        return automatic(sheet, validity.fit(clean_texts(run)))
    except InputError as error:
        screen.aside().print(Text.assemble(("note", "cyan"), f": nothing to compare the person with: {error}"))
        return None


def _show(found: Judgement) -> None:
    console = screen.result()
    console.print(Text(words.headline(found), "bold"), soft_wrap=True)
    for table in filter(None, (words.shares(found), words.beside(found))):
        console.print()
        console.print(screen.fitting(console, _drawn(table)))
    console.print()
    console.print(Text(words.method(found)), soft_wrap=True)


def _drawn(table: Table) -> Any:
    made = show.table(*table.head)
    for row in table.rows:
        made.add_row(*map(Text, row))
    return made
