"""The report of a run: one self-contained HTML file, made from the run folder alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.pictures import is_colour, is_image
from blindspots.report import words
from blindspots.report.charts import Confusion, confusion, curve_charts
from blindspots.report.evidence import Run, read_run
from blindspots.report.gallery import Group, Standing, gallery, is_reduced, is_small, standing
from blindspots.report.page import environment, write_page
from blindspots.report.words import ThreatWords

__all__ = ["render", "write_report"]


@dataclass(frozen=True)
class _Page:
    """What the template shows of one run."""

    label: str
    run: Run
    threat: ThreatWords
    findings: list[Finding]
    groups: list[Group]
    standing: list[Standing]
    confusion: Confusion

    @property
    def is_image(self) -> bool:
        return is_image(self.run.manifest.data.shape)

    @property
    def is_colour(self) -> bool:
        return is_colour(self.run.manifest.data.shape)

    @property
    def is_small(self) -> bool:
        return is_small(self.run.manifest.data.shape)

    @property
    def is_reduced(self) -> bool:
        return is_reduced(self.run.manifest.data.shape)

    @property
    def is_believable(self) -> bool:
        return words.is_believable(self.run.verdict)


@checked()
def write_report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of one finished run, or of several side by side, and return its path.

    `out` defaults to report.html in the run folder (the first one of several). The file appears whole or not at all.
    Raises InputError when a run is unfinished or damaged.
    """
    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    return write_page(render(folders), folders[0], None if out is None else Path(out))


def render(runs: Sequence[Path]) -> str:
    """The HTML of the report of these run folders. The same folders give the same bytes."""
    if not runs:
        raise InputError(
            "expected at least one run folder for a report, got none: name a folder that `blindspots evaluate` wrote"
        )
    read = [read_run(Path(folder)) for folder in runs]
    labels = _labels(read)
    verdicts = [run.verdict for run in read]
    pages = [_page(label, run) for label, run in zip(labels, read, strict=True)]
    template = _environment().get_template("template.html.j2")
    return template.render(
        pages=pages,
        headline=words.headline(labels, verdicts, [page.threat for page in pages]),
        comparison=words.comparison(labels, [run.manifest for run in read], verdicts),
        charts=curve_charts(labels, read),
    )


def _labels(runs: Sequence[Run]) -> list[str]:
    """The models' names; where two are alike, the folders' names tell them apart."""
    names = [run.manifest.model.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.folder.name})" for name, run in zip(names, runs, strict=True)
    ]


def _page(label: str, run: Run) -> _Page:
    return _Page(
        label=label,
        run=run,
        threat=ThreatWords(run.manifest.threat, run.manifest.model.bounds),
        findings=words.by_severity(run.verdict.findings),
        groups=gallery(run),
        standing=standing(run),
        confusion=confusion(run),
    )


def _environment() -> Environment:
    made = environment()
    sentences = (words.right_and_standing, words.never_searched, words.meaning, words.outcome)
    made.globals.update({f.__name__: f for f in sentences})
    return made
