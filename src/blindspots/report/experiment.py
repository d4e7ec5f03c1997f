"""The page of a finished run of any kind, from its files alone: the same content on a terminal and in a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.report import words
from blindspots.report.page import environment, write_page
from blindspots.runs.config import is_hidden
from blindspots.runs.experiment import kind
from blindspots.runs.folder import Folder
from blindspots.runs.store import Run, opened


@dataclass(frozen=True)
class Table:
    """Names on the left, numbers on the right. The first cell of every row is its name.

    Args:
        note: what its columns mean, in sentences, where their names do not say it.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""


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


def page_of(*runs: Run[Any, Any]) -> Page:
    """What its kind shows of a run, or of several that it can compare.

    Raises InputError: the runs cannot be shown on one page.
    """
    names = list(dict.fromkeys(run.manifest.kind for run in runs))
    found = [kind(run.manifest.kind, run.config) for run in runs]
    if len(runs) > 1 and (len({one.page for one in found}) > 1 or not all(one.several for one in found)):
        raise InputError(
            f"expected a {names[0]} run alone, got {len(runs)} runs of {', '.join(names)}: it has a page of its own, "
            "so name one run"
        )
    page: Page = found[0].load("page")(*runs)
    return page


def html(*runs: Run[Any, Any], page: Page | None = None) -> str:
    """One file that needs no other. The same runs give the same bytes, but for what their logs say."""
    page = page or page_of(*runs)
    template = _environment(page).get_template(page.template.name if page.template else "base.html.j2")
    return template.render(run=runs[0], runs=runs, page=page, **page.context)


@checked()
def write_report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of a finished run of any kind, or of several evaluations side by side, and return its path.

    `out` defaults to report.html in the run folder (the first one of several). The file appears whole or not at all.
    Raises InputError: a run is unfinished or damaged, or the runs cannot be shown on one page.
    """
    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise InputError("expected at least one run folder for a report, got none: name a folder that a run wrote")
    read = [opened(Folder(folder)) for folder in folders]
    return write_page(html(*read), folders[0], None if out is None else Path(out))


def _environment(page: Page) -> Environment:
    made = environment()
    made.filters.update(by_severity=words.by_severity, settings=_settings)
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
