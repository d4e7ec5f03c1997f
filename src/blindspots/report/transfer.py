"""The report of a transfer run: one self-contained HTML file, made from the run folder alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blindspots.journal import Columns, unfinished
from blindspots.pictures import is_colour, is_image, picture, picture_of_change
from blindspots.records import Interval, Share
from blindspots.report import transfer_words, words
from blindspots.report.gallery import Change, data_uri, is_small, largest_changes, scaled
from blindspots.report.page import environment, write_page
from blindspots.report.words import ThreatWords
from blindspots.transfer.record import (
    Matrices,
    TransferFile,
    TransferManifest,
    TransferVerdict,
    read_part,
    read_transfer_file,
)
from blindspots.transfer.run import clean_inputs

_ROOMY = 6  # models up to which intervals fit into the cells
_EXAMPLES = 12


@dataclass(frozen=True)
class Cell:
    """A share, what it says when it is pointed at, and whether the model is fed what was made for it."""

    share: float
    interval: Interval | None
    title: str
    own: bool


@dataclass(frozen=True)
class Grid:
    """A matrix of shares: rows made for, columns fed to."""

    title: str
    text: str
    rows: list[tuple[str, list[Cell]]]
    last: list[tuple[str, list[Cell]]]  # for comparison, below a line


@dataclass(frozen=True)
class Answer:
    model: int  # from 1
    name: str
    said: str
    wrong: bool
    own: bool


@dataclass(frozen=True)
class Example:
    """One row, changed for one source: three pictures or the largest changes, and what every model says of it."""

    source: str
    id: int
    label: str
    factor: float
    rms: float
    original: str | None
    change: str | None
    adversarial: str | None
    changes: list[Change]
    answers: list[Answer]


@dataclass(frozen=True)
class Line:
    """How the examples of one source came about."""

    name: str
    attack: str
    access: str
    found: Share
    rms: float
    norm: float
    changed: int
    forwards: int
    backwards: int
    seconds: float


def write_transfer_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished transfer run, by default report.html in its folder, and return its path.

    Raises InputError when the run is unfinished or damaged.
    """
    return write_page(render_transfer(folder), folder, out)


def render_transfer(folder: Path) -> str:
    """The HTML. The same folder gives the same bytes."""
    file = read_transfer_file(folder)
    if file.verdict is None:
        raise unfinished(folder, "transfer")
    manifest, verdict = file.manifest, file.verdict
    shape = manifest.data.shape
    return environment().get_template("transfer.html.j2").render(
        folder=folder,
        file=file,
        manifest=manifest,
        verdict=verdict,
        threat=ThreatWords(manifest.threat, manifest.models[0].bounds),
        headline=transfer_words.headline(verdict),
        sentences=[s for s in (transfer_words.reach(verdict), transfer_words.alike(verdict)) if s],
        how=transfer_words.made_how(manifest, verdict.models),
        sizes=transfer_words.sizes(manifest, verdict),
        findings=words.by_severity(verdict.findings),
        grids=list(_grids(verdict)),
        averages=None if verdict.ensemble is None else _averages(verdict, verdict.ensemble),
        roomy=len(verdict.models) <= _ROOMY,
        called=_called(verdict),
        lines=list(_lines(manifest, verdict)),
        examples=list(_examples(folder, file)),
        is_image=is_image(shape),
        is_colour=is_colour(shape),
        is_small=is_small(shape),
    )  # fmt: skip


def _called(v: TransferVerdict) -> dict[str, str]:
    """What the matrices call a source, if not by its name."""
    short = dict(zip(v.models, transfer_words.shortened(v.models), strict=True))
    return short | {f"all but {name}": f"all but {word}" for name, word in short.items()}


def _grids(v: TransferVerdict) -> Iterator[Grid]:
    clean = [_cell(e.share, e.interval, f"{m}: {e.hits:,} of {e.rows:,} unchanged rows", False)
             for m, e in zip(v.models, v.clean_error, strict=True)]  # fmt: skip
    unchanged = [("unchanged rows", clean)]
    yield Grid(
        "Who fools whom",
        "Share of all rows that a model gets wrong once they were changed to fool another.",
        _rows(v, v, v.error, v.error_interval),
        unchanged,
    )
    yield Grid(
        "Noise of the same size",
        "The control: random noise, row by row as large as the changes.",
        _rows(v, v, v.noise, v.noise_interval),
        unchanged,
    )
    if v.targeted is not None:
        yield Grid(
            "The target class is reached",
            "How often the model says what the source was made to say, of the rows of which it did not say so anyway.",
            _of_shares(v, v.targeted),
            [],
        )
    yield Grid(
        "The same wrong answer",
        "Share of all rows on which a model errs and says the same as the source.",
        _rows(v, v, v.agreement, v.agreement_interval),
        [],
    )
    yield Grid(
        "The same wrong answer, where both err",
        "Of the rows on which both are wrong: how often they are wrong in the same way.",
        _of_shares(v, v.agreement_of_errors),
        [],
    )


def _averages(v: TransferVerdict, e: Matrices) -> Grid:
    left_out = (
        " The other lines leave one of them out, and where that one is fed (framed), it was attacked without a look at "
        "it."
    )
    return Grid(
        "Made for the average of the models with gradients",
        f"The first line is made for all of them.{left_out if len(e.sources) > 1 else ''}",
        _rows(v, e, e.error, e.error_interval),
        [],
    )


def _rows(
    v: TransferVerdict, m: Matrices, shares: Sequence[Sequence[float]], intervals: Sequence[Sequence[Interval]]
) -> list[tuple[str, list[Cell]]]:
    return [
        (name, [_cell(s, i, f"{name} → {to}", _is_own(name, to)) for s, i, to in zip(ss, ii, v.models, strict=True)])
        for name, ss, ii in zip(m.sources, shares, intervals, strict=True)
    ]


def _of_shares(v: TransferVerdict, shares: Sequence[Sequence[Share]]) -> list[tuple[str, list[Cell]]]:
    return [
        (name, [_cell(s.share, s.interval, f"{name} → {to}: {s.hits:,} of {s.rows:,} rows", name == to)
                for s, to in zip(row, v.models, strict=True)])
        for name, row in zip(v.sources, shares, strict=True)
    ]  # fmt: skip


def _is_own(source: str, model: str) -> bool:
    return source in (model, f"all but {model}")


def _cell(share: float, interval: Interval, where: str, own: bool) -> Cell:
    return Cell(share, interval, f"{where}: {words.percent(share)}, interval {words.interval(interval)}", own)


def _lines(manifest: TransferManifest, v: TransferVerdict) -> Iterator[Line]:
    blocks = [v] if v.ensemble is None else [v, v.ensemble]
    records = iter(manifest.sources)
    for m in blocks:
        for i, name in enumerate(m.sources):
            source = next(records)
            yield Line(
                name, source.attack, source.access, m.found[i], m.distortion[i], m.norm[i], m.changed[i],
                m.forwards[i], m.backwards[i], m.seconds[i],
            )  # fmt: skip


# ------------------------------------------------------------------ examples


def _examples(folder: Path, file: TransferFile) -> Iterator[Example]:
    """For every source, up to twelve, the row that fooled the most other models, none of them shown twice."""
    clean = read_part(folder, file, 0)
    taken: set[int] = set()
    sources = list(enumerate(file.manifest.sources[: len(file.manifest.models)]))[:_EXAMPLES]
    for i, source in sources:
        columns = read_part(folder, file, 1 + i)
        row = _telling(clean, columns, i, taken)
        if row is not None:
            taken.add(row)
            yield _example(file, source.name, i, row, clean, columns)


def _telling(clean: Columns, columns: Columns, source: int, taken: set[int]) -> int | None:
    """The row, right for the most models at first, that the most of them get wrong once it was changed."""
    y = clean["y"]
    right, wrong = clean["prediction"] == y, columns["prediction"] != y
    fell = (right & wrong).sum(0) + len(right) * (right[source] & wrong[source])
    fell[list(taken)] = 0
    best = int(fell.argmax())
    return best if int(fell[best]) else None


def _example(file: TransferFile, name: str, source: int, row: int, clean: Columns, columns: Columns) -> Example:
    low, high = file.manifest.models[0].bounds
    x, moved = clean_inputs({"x": clean["x"][row]}).numpy(), columns["adversarial"][row].numpy()
    change = (moved - x) / (high - low)
    factor = 1 / max(float(np.abs(change).max()), 1e-12)
    shown, label = is_image(x.shape), int(clean["y"][row])
    return Example(
        source=name,
        id=row,
        label=_class(file, label),
        factor=factor,
        rms=float(columns["rms"][row]),
        original=data_uri(picture(scaled(x, low, high))) if shown else None,
        change=data_uri(picture_of_change(change * factor)) if shown else None,
        adversarial=data_uri(picture(scaled(moved, low, high))) if shown else None,
        changes=[] if shown else largest_changes(x, moved),
        answers=[
            Answer(j + 1, model.name, _class(file, said), said != label, j == source)
            for j, (model, said) in enumerate(
                zip(file.manifest.models, columns["prediction"][:, row].tolist(), strict=True)
            )
        ],
    )


def _class(file: TransferFile, label: int) -> str:
    names = file.manifest.data.class_names
    if label < 0:
        return "no number"
    return names[label] if names and label < len(names) else str(label)
