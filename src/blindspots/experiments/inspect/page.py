"""What is shown of studies: one page for all of them, or for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from blindspots.report.experiment import Page, Table
from blindspots.report.words import count, listing
from blindspots.runs.store import Run


@dataclass(frozen=True)
class Shown:
    """What a study shows of its run.

    Args:
        name: of the study; its section has this id.
        title: of the section.
        answer: in one sentence without its full stop, what it found on this model.
        text: what that means, in sentences.
        body: the template below this folder whose macro `body(shown)` draws the section.
        tables: for the terminal.
        context: what the macro shows.
    """

    name: str
    title: str
    answer: str
    text: str
    body: str
    tables: Sequence[Table] = ()
    context: Mapping[str, Any] = field(default_factory=dict)


def page(run: Run[Any, Any]) -> Page:
    """Of a study, or of a run that holds several."""
    shown = [_shown(one) for one in _studies(run)]
    return Page(
        kicker="What the model sees" if len(shown) > 1 else shown[0].title,
        headline=shown[0].answer if len(shown) == 1 else f"{run.manifest.world['model']['name']}, looked into",
        text=shown[0].text if len(shown) == 1 else _contents(shown),
        tables=[table for one in shown for table in one.tables],
        sections=[(one.name, one.title) for one in shown],
        template=Path(__file__).with_name("page.html.j2"),
        context={"shown": shown},
        cost=count(len(run.parts), "part"),
    )


def _studies(run: Run[Any, Any]) -> list[Run[Any, Any]]:
    if run.manifest.kind != "inspect":
        return [run]
    return [run.parts.run(name) for name in run.config.part]


def _shown(run: Run[Any, Any]) -> Shown:
    made: Shown = import_module(f"blindspots.experiments.inspect.{run.manifest.kind}.page").shown(run)
    return made


def _contents(shown: Sequence[Shown]) -> str:
    return f"In this order: {listing([one.title.lower() for one in shown])}."
