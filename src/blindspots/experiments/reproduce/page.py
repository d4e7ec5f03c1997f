"""The page of the reproduction of Szegedy et al. 2013, made from its folder alone: ours beside what was published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from blindspots.journal import Columns
from blindspots.pictures import is_image, picture
from blindspots.report import szegedy_words
from blindspots.report.gallery import data_uri, is_small
from blindspots.report.page import environment, write_page
from blindspots.transfer.szegedy_record import AMPLIFIED_TO, Line, Network, Table, read_reproduction

Array = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """An image as part of the page, and what is said of it; `wrong`: the network misreads it."""

    uri: str
    text: str
    wrong: bool


@dataclass(frozen=True)
class Strip:
    name: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Matrix:
    """A table of errors, its lines sorted by where they stand on the page."""

    fed_to: list[str]
    lines: list[Line]
    controls: list[Line]


def write_szegedy_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a finished reproduction, by default report.html in its folder, and return its path.

    Raises InputError when the folder holds something else.
    """
    return write_page(render_szegedy(folder), folder, out)


def render_szegedy(folder: Path) -> str:
    """The HTML. The same folder gives the same bytes."""
    made, pictures = read_reproduction(folder)
    verdict, shape = made.verdict, made.manifest.train.shape
    shown = is_image(shape)
    return environment().get_template("szegedy.html.j2").render(
        made=made,
        manifest=made.manifest,
        verdict=verdict,
        headline=szegedy_words.headline(made),
        lede=szegedy_words.lede(made),
        findings=szegedy_words.findings(made),
        differences=szegedy_words.differences(made),
        towards=szegedy_words.towards,
        table_2=_matrix(verdict.table_2),
        table_4=_matrix(verdict.table_4),
        strips=list(_strips(pictures, "", verdict.networks)) if shown else [],
        held_strips=list(_held_strips(pictures, verdict.halves)) if shown else [],
        is_small=is_small(shape),
    )  # fmt: skip


def _matrix(table: Table) -> Matrix:
    shown = [line for line in table.lines if line.group != "control"]
    return Matrix(table.fed_to, shown, [line for line in table.lines if line.group == "control"])


def _strips(pictures: Columns, prefix: str, networks: Sequence[Network]) -> Iterator[Strip]:
    """The rows as they were, then what was made of them for each network."""
    x, y = pictures[f"{prefix}x"].numpy(), pictures[f"{prefix}y"].tolist()
    yield Strip("unchanged", [_picture(row, f"label {label}", False) for row, label in zip(x, y, strict=True)])
    moved = pictures[f"{prefix}moved"].numpy(), pictures[f"{prefix}prediction"].numpy()
    for network, made, answers in zip(networks, *moved, strict=True):
        yield Strip(network.name, _read(made, answers, y))


def _held_strips(pictures: Columns, networks: Sequence[Network]) -> Iterator[Strip]:
    """As before, then the amplified changes."""
    yield from _strips(pictures, "held_", networks)
    large = pictures["amplified"].numpy(), pictures["amplified_prediction"].numpy()
    for network, made, answers in zip(networks, *large, strict=True):
        yield Strip(f"{network.name}, amplified to {AMPLIFIED_TO}", _read(made, answers, pictures["held_y"].tolist()))


def _read(made: Array, answers: Array, y: Sequence[int]) -> list[Picture]:
    return [
        _picture(row, f"read as {int(answer)}", int(answer) != label)
        for row, answer, label in zip(made, answers, y, strict=True)
    ]


def _picture(row: Array, text: str, wrong: bool) -> Picture:
    return Picture(data_uri(picture(row)), text, wrong)
