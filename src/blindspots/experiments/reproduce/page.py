"""What is shown of the reproduction of Szegedy et al. 2013: ours beside what was published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blindspots.experiments.reproduce import sentences
from blindspots.experiments.reproduce import verdict as paper
from blindspots.experiments.reproduce.sentences import Reproduced, attacked, towards
from blindspots.experiments.reproduce.tables import ALL, fed_in, numbers_in
from blindspots.experiments.reproduce.verdict import Line, Network
from blindspots.pictures import is_image, picture
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import data_uri, is_small
from blindspots.report.words import number, percent, seconds


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


def page(run: Reproduced) -> Page:
    """The four tables, ours beside the published figures, and what they show."""
    v, shape = run.verdict, tuple(run.manifest.world["data"]["shape"])
    training = sum(took for part, took in run.log.seconds.items() if part.startswith("trained/"))
    return Page(
        kicker="Szegedy et al. 2013, “Intriguing properties of neural networks”, made again",
        headline=sentences.headline(run),
        text=sentences.lede(run),
        tables=[_table(run)],
        sections=[
            ("shown", "What they show"), ("table1", "Table 1"), ("table2", "Table 2"), ("table4", "Tables 3 and 4"),
            ("differences", "Differences"), ("made", "How"),
        ],
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "observations": sentences.observations(run),
            "differences": sentences.differences(run),
            "towards": towards,
            "rows": attacked(run, "data"),
            "test_rows": attacked(run, "test"),
            "table_2": _matrix(v.table_2),
            "table_4": _matrix(v.table_4),
            "strips": list(_strips(run, 2)) if is_image(shape) else [],
            "held_strips": list(_strips(run, 4)) if is_image(shape) else [],
            "is_small": is_small(shape),
        },
        cost=f"of which training {seconds(training)}" if training else "",
    )  # fmt: skip


def _table(run: Reproduced) -> Table:
    """Table 1, ours beside the published figures."""
    head = ("Network", "Error on training rows", "on test rows", f"RMS towards {towards(run.config.targets)}")
    rows = [(n.name, *_errors(n), _beside(number(n.distances[0].rms), n.published_rms)) for n in run.verdict.networks]
    return Table(head, rows)


def _errors(network: Network) -> list[str]:
    return [_beside(percent(cell.share.share), 100 * (cell.published or 0)) for cell in network.errors.values()]


def _beside(ours: str, published: float) -> str:
    return f"{ours} (paper {published:.4g})"


def _matrix(table: paper.Table) -> Matrix:
    shown = [line for line in table.lines if line.group != "control"]
    return Matrix(table.fed_to, shown, [line for line in table.lines if line.group == "control"])


def _strips(run: Reproduced, table: int) -> Iterator[Strip]:
    """A row of every class as it was, then what was made of it for each network."""
    rows, of = run.parts["rows"], ("x", "y") if table == 2 else ("held_x", "held_y")
    x, labels = rows[of[0]], rows[of[1]][: len(rows[of[0]])]
    at = _first_of_each_class(labels)
    y = labels[at].tolist()
    yield Strip("unchanged", [_picture(row, f"label {label}", False) for row, label in zip(x[at], y, strict=True)])
    made = {i: run.parts[f"smallest/{i}/{run.config.targets}"] for i in numbers_in(table)}
    titles = {i: ALL[i - 1].title(run.config.class_count) for i in made}
    for i, columns in made.items():
        yield Strip(titles[i], _read(columns["moved"][at], columns["prediction"][at], y))
    if table == 4:
        yield from _amplified(run, at, y)


def _amplified(run: Reproduced, at: Tensor, y: Sequence[int]) -> Iterator[Strip]:
    """The changes of Table 4 at their larger size, as their own network reads them."""
    lines = zip(fed_in(4, run.config, run.parts), run.parts["tables/4"]["prediction"], strict=True)
    large = [(line, said) for line, said in lines if line.group == "adversarial" and not line.in_box]
    for k, (line, said) in enumerate(large):
        yield Strip(line.name, _read(line.rows[at], said[k][at], y))


def _first_of_each_class(y: Tensor) -> Tensor:
    return torch.tensor([int((y == label).nonzero()[0, 0]) for label in sorted(set(y.tolist()))])


def _read(made: Tensor, answers: Tensor, y: Sequence[int]) -> list[Picture]:
    return [
        _picture(row, f"read as {answer}", answer != label)
        for row, answer, label in zip(made, answers.tolist(), y, strict=True)
    ]


def _picture(row: Tensor, text: str, wrong: bool) -> Picture:
    return Picture(data_uri(picture(row.numpy())), text, wrong)
