"""`reproduce`: published experiments made again, ours beside the published figures."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blindspots.cli import screen, show
from blindspots.cli.endings import repeatable
from blindspots.cli.reading import reader
from blindspots.command_line import command_line
from blindspots.data import Dataset, digits, digits_training
from blindspots.errors import InputError
from blindspots.report.szegedy import write_szegedy_report
from blindspots.report.szegedy_words import headline, lede, towards
from blindspots.report.words import number, percent, seconds
from blindspots.transfer.szegedy import reproduce as run_szegedy
from blindspots.transfer.szegedy_record import Network, Reproduction, Rule


@dataclass(frozen=True)
class Experiment:
    """What `reproduce` is asked for, in the command line's words; data None: scikit-learn's digits."""

    data: str | None
    test: str | None
    rows: int
    targets: Rule
    decay: float
    out: Path | None
    seed: int
    threads: int | None
    layout: str | None = None
    classes: str | None = None


def reproduce(experiment: Experiment) -> None:
    """Make the tables of Szegedy et al. 2013 again, show the first one, write the page."""
    training, test = _data(experiment)
    out, console = experiment.out or Path("runs") / "szegedy-2013", screen.aside()
    with repeatable(command_line()), screen.status(console, "Training") as status:
        made = run_szegedy(
            training, test, out, rows=experiment.rows, seed=experiment.seed, targets=experiment.targets,
            decay=experiment.decay, threads=experiment.threads, command=command_line(),
            say=lambda text: status.update(Text(text)),
        )  # fmt: skip
    _show(screen.result(), made)
    show.where(screen.result(), write_szegedy_report(out))


def _data(experiment: Experiment) -> tuple[Dataset, Dataset]:
    if (experiment.data is None) != (experiment.test is None):
        raise InputError("expected both --data and --test, or neither, got one of them: name training and test rows")
    if experiment.data is None or experiment.test is None:
        return digits_training(), digits()
    read = reader(experiment.layout, experiment.classes)
    return read(experiment.data), read(experiment.test)


def _show(console: Console, made: Reproduction) -> None:
    console.print()
    console.print(screen.fitting(console, _table(made)))
    console.print()
    console.print(Text(f"{headline(made)}.", "bold"), soft_wrap=True)
    console.print(Text(lede(made)), soft_wrap=True)
    console.print(Text(f"It took {seconds(made.verdict.seconds)}."), soft_wrap=True)
    console.print()


def _table(made: Reproduction) -> Table:
    """Table 1, ours beside the published figures."""
    table = Table("Network", "Error on training rows", "on test rows", f"RMS towards {towards(made.manifest.targets)}")
    for network in made.verdict.networks:
        table.add_row(network.name, *_errors(network), _beside(number(network.distances[0].rms), network.published_rms))
    return table


def _errors(network: Network) -> list[str]:
    return [_beside(percent(cell.share.share), 100 * (cell.published or 0)) for cell in network.errors.values()]


def _beside(ours: str, published: float) -> str:
    return f"{ours} (paper {published:.4g})"
