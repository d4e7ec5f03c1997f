"""What is shown of a transfer run."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blindspots.experiments.evaluate.texts_shown import Piece, exchanged, visible
from blindspots.experiments.transfer import sentences
from blindspots.experiments.transfer.changes import fed
from blindspots.experiments.transfer.config import TransferConfig
from blindspots.experiments.transfer.texts import said_of
from blindspots.experiments.transfer.verdict import Matrices, TransferVerdict, made_for
from blindspots.packing import unpack_inputs
from blindspots.pictures import is_colour, is_image, picture, picture_of_change
from blindspots.records import Interval, Share
from blindspots.report import words
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import Change, data_uri, is_small, largest_changes, scaled
from blindspots.report.words import ThreatWords, count, number
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Run
from blindspots.texts.codes import as_texts
from blindspots.texts.threats import TextThreat
from blindspots.threats import parse_threat

_ROOMY = 6  # models up to which intervals fit into the cells, and a terminal has room for decimals and long names
_NAME = 22  # letters of a name elsewhere
_EXAMPLES = 12
_WORD = re.compile(r"\w+|\W")


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
    pieces: list[Piece]  # of a text, in place of both
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


def page(run: Run[TransferConfig, TransferVerdict]) -> Page:
    """Who fools whom, beside noise as large."""
    c, v, data = run.config, run.verdict, _data(run)
    told = [text for text in (sentences.reach(v), sentences.alike(v), sentences.sizes(c, v)) if text]
    return Page(
        kicker="Transfer report",
        headline=sentences.headline(v),
        text=" ".join(told),
        tables=[_table(v, _unit(c))],
        sections=[
            ("matrix", "Matrix"), ("agreement", "Agreement"), *([("averages", "Averages")] if v.ensemble else []),
            ("examples", "Examples"), ("sources", "Sources"),
        ],
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "data": data,
            "threat": _threat(c),
            "of_texts": _of_texts(c),
            "grids": list(_grids(v)),
            "averages": None if v.ensemble is None else _averages(v, v.ensemble),
            "roomy": len(v.models) <= _ROOMY,
            "called": _called(v),
            "lines": list(_lines(run)),
            "examples": list(_examples(run)),
            "unit": _unit(c),
            "is_image": is_image(data["shape"]),
            "is_colour": is_colour(data["shape"]),
            "is_small": is_small(data["shape"]),
        },
        cost=f"{count(_total(v, 'forwards'), 'forward')}, {count(_total(v, 'backwards'), 'backward')} to make them",
    )  # fmt: skip


def _data(run: Run[TransferConfig, TransferVerdict]) -> dict[str, Any]:
    """What the manifest says of the rows that were attacked."""
    return run.manifest.world[run.config.attacked]


def _total(v: TransferVerdict, what: str) -> int:
    total: int = sum(getattr(v, what)) + (sum(getattr(v.ensemble, what)) if v.ensemble else 0)
    return total


def _threat(c: TransferConfig) -> ThreatWords:
    return ThreatWords(c.threat, c.bounds, candidates=c.candidates or "")


def _of_texts(c: TransferConfig) -> bool:
    return isinstance(parse_threat(c.threat), TextThreat)


def _unit(c: TransferConfig) -> str:
    """What sizes of changes are measured in."""
    threat = parse_threat(c.threat)
    return f"{threat.unit}s" if isinstance(threat, TextThreat) else "RMS"


def _table(v: TransferVerdict, unit: str) -> Table:
    """Rows made for, columns fed to, in percent; columns have numbers, since twelve names fit no terminal."""
    models = len(v.models)
    head = ("for, fed to (%)", *map(str, range(1, models + 1)), "noise", unit)
    named = zip(v.sources, sentences.shortened(v.models), strict=True)
    rows = [_row(v, i, f"{i + 1} {name}") for i, (_, name) in enumerate(named)]
    rows += [_row(v.ensemble, i, name) for i, name in enumerate(v.ensemble.sources)] if v.ensemble else []
    return Table(head, [*rows, ("unchanged", *(_share(e.share, models) for e in v.clean_error), "", "")])


def _row(block: Matrices, i: int, name: str) -> tuple[str, ...]:
    models = len(block.error[i])
    called = name if models <= _ROOMY or len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    cells = [_share(share, models) for share in (*block.error[i], sum(block.noise[i]) / models)]
    return called, *cells, number(block.distortion[i])


def _share(share: float, models: int) -> str:
    """With one decimal where there is room."""
    return f"{100 * share:.{1 if models <= _ROOMY else 0}f}"


def _called(v: TransferVerdict) -> dict[str, str]:
    """What the matrices call a source, if not by its name."""
    short = dict(zip(v.models, sentences.shortened(v.models), strict=True))
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


def _lines(run: Run[TransferConfig, TransferVerdict]) -> Iterator[Line]:
    v, numbers = run.verdict, iter(range(1, len(run.config.sources) + 1))
    for m in [v] if v.ensemble is None else [v, v.ensemble]:
        for i, name in enumerate(m.sources):
            number = next(numbers)
            source = run.config.sources[number - 1]
            yield Line(
                name, source.attack, source.access, m.found[i], m.distortion[i], m.norm[i], m.changed[i],
                m.forwards[i], m.backwards[i], _seconds(run, number),
            )  # fmt: skip


def _seconds(run: Run[TransferConfig, TransferVerdict], number: int) -> float:
    """It took to make the examples of a source."""
    own = (f"sources/{number}/", f"substitutes/{number}")
    return sum(seconds for part, seconds in run.log.seconds.items() if part.startswith(own))


# ------------------------------------------------------------------ examples


def _examples(run: Run[TransferConfig, TransferVerdict]) -> Iterator[Example]:
    """For every source, up to twelve, the row that fooled the most other models, none of them shown twice."""
    clean, threat = run.parts["clean"], said_of(run.config)
    x, taken = unpack_inputs(clean["x"]), set[int]()
    for i, name in enumerate(run.config.names[:_EXAMPLES]):
        made = made_for(run.parts, i + 1)
        row = _telling(clean, made, i, taken)
        if row is not None:
            taken.add(row)
            moved = fed(x[row : row + 1], made["moved"][row : row + 1], run.config.amplify, threat)[0]
            yield _example(run, name, i, row, x[row], moved, made)


def _telling(clean: Columns, columns: Columns, source: int, taken: set[int]) -> int | None:
    """The row, right for the most models at first, that the most of them get wrong once it was changed."""
    y = clean["y"]
    right, wrong = clean["prediction"] == y, columns["prediction"] != y
    fell = (right & wrong).sum(0) + len(right) * (right[source] & wrong[source])
    fell[list(taken)] = 0
    best = int(fell.argmax())
    return best if int(fell[best]) else None


def _example(
    run: Run[TransferConfig, TransferVerdict], name: str, source: int, row: int, before: Tensor, after: Tensor,
    made: Columns,
) -> Example:  # fmt: skip
    low, high = run.config.bounds
    x, moved = before.numpy(), after.numpy()
    change = (moved - x) / (high - low)
    factor = 1 / max(float(np.abs(change).max()), 1e-12)
    shown, texts, label = is_image(x.shape), _of_texts(run.config), int(run.parts["clean"]["y"][row])
    said = zip(run.verdict.models, made["prediction"][:, row].tolist(), strict=True)
    return Example(
        source=name,
        id=row,
        label=_class(run, label),
        factor=factor,
        rms=float(made["rms"][row]),
        original=data_uri(picture(scaled(x, low, high))) if shown else None,
        change=data_uri(picture_of_change(change * factor)) if shown else None,
        adversarial=data_uri(picture(scaled(moved, low, high))) if shown else None,
        changes=[] if shown or texts else largest_changes(x, moved),
        pieces=list(_pieces(*as_texts(torch.from_numpy(np.stack([x, moved]))))) if texts else [],
        answers=[
            Answer(j + 1, model, _class(run, answer), answer != label, j == source)
            for j, (model, answer) in enumerate(said)
        ],
    )


def _pieces(before: str, after: str) -> Iterator[Piece]:
    """The text with its exchanges, word by word."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        one, other = "".join(old[a:b]), "".join(new[c:d])
        yield Piece(visible(one)) if kind == "equal" else exchanged(one, other)


def _class(run: Run[TransferConfig, TransferVerdict], label: int) -> str:
    names = _data(run)["class_names"]
    if label < 0:
        return "no number"
    return str(names[label]) if names and label < len(names) else str(label)
