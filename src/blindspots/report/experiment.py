"""The page of a finished run of any kind, from its files alone: the same content on a terminal and in a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader

from blindspots.report import words
from blindspots.report.page import environment, write_page
from blindspots.runs.config import is_hidden
from blindspots.runs.experiment import kind
from blindspots.runs.store import Folder, Run, opened


@dataclass(frozen=True)
class Table:
    """Names on the left, numbers on the right. The first cell of every row is its name."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Page:
    """What a kind shows of a run, around which the frame puts findings, settings and how to repeat it.

    Args:
        kicker: what kind of report it is.
        headline: the verdict in one sentence, without its full stop.
        text: what that means, in sentences.
        tables: for the terminal; and for the page, where there is no template.
        sections: (id, title) of the template's sections, for the contents.
        template: a Jinja template that extends "base.html.j2" and fills its block `body`; it sees `run` and `context`.
        context: what it shows.
        cost: what the run cost, in words.
    """

    kicker: str
    headline: str
    text: str = ""
    tables: Sequence[Table] = ()
    sections: Sequence[tuple[str, str]] = ()
    template: Path | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    cost: str = ""


def page_of(run: Run[Any, Any]) -> Page:
    """What its kind shows of a run."""
    page: Page = kind(run.manifest.kind).load("page")(run)
    return page


def html(run: Run[Any, Any], page: Page | None = None) -> str:
    """One file that needs no other. The same run gives the same bytes, but for what its log says."""
    page = page or page_of(run)
    template = _environment(page).get_template(page.template.name if page.template else "base.html.j2")
    return template.render(
        run=run, page=page, findings=words.by_severity(run.findings), settings=_settings(run), **page.context
    )


def write_run_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of the finished run in a folder, by default report.html in it, and return its path.

    Raises InputError: the run is unfinished or damaged.
    """
    return write_page(html(opened(Folder(folder))), folder, out)


def _environment(page: Page) -> Environment:
    made = environment()
    assert made.loader is not None
    if page.template:
        made.loader = ChoiceLoader([made.loader, FileSystemLoader(page.template.parent)])
    return made


def _settings(run: Run[Any, Any]) -> list[tuple[str, str]]:
    """Every setting that can be asked for, by its name, as it was filled in."""
    plain = run.config.model_dump(mode="json")
    hidden = {name for name, field in type(run.config).model_fields.items() if is_hidden(field)}
    named = set(run.config.models()) | set(run.config.datasets()) | hidden
    return [(name.replace("_", " "), _said(value)) for name, value in plain.items() if name not in named]


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"
