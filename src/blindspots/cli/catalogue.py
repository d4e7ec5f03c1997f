"""`list`: what can be named on the command line."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blindspots.attacks import CATALOGUE, Entry, describe
from blindspots.data import FORMS as DATA
from blindspots.models.load import FORMS as MODELS
from blindspots.protocols import NAMES, about
from blindspots.threat import THREATS


def catalogue() -> None:
    """Print all attacks with their settings, the protocols, and the forms of models and data."""
    console = Console()
    console.print(_attacks())
    console.print()
    console.print(_names())


def _names() -> Table:
    table = Table.grid(padding=(0, 2, 1, 0))
    for name in NAMES:
        table.add_row(Text(f"--protocol {name}", "bold"), Text(about(name)))
    table.add_row(Text("MODEL", "bold"), Text(MODELS))
    table.add_row(Text("--data", "bold"), Text(DATA))
    table.add_row(Text("--threat", "bold"), Text(f"{', '.join(THREATS)}, with a radius as in linf:8/255"))
    return table


def _attacks() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), header_style="bold")
    for column, ratio in (("Attack", 6), ("Threats", None), ("Needs and costs", 5), ("Use", 13)):
        table.add_column(column, ratio=ratio, no_wrap=ratio is None)
    table.expand = True
    for entry in CATALOGUE:
        table.add_row(_name(entry), "\n".join(entry.attack.threats), _cost(entry), _use(entry))
    return table


def _name(entry: Entry) -> Text:
    return Text.assemble((entry.name, "bold"), f"\n{entry.family}")


def _cost(entry: Entry) -> Text:
    return Text(f"{entry.attack.need.value.partition(':')[0]}\n{entry.cost}")


def _use(entry: Entry) -> Text:
    settings = describe(entry).replace(",", ", ")
    return Text.assemble(f"{entry.use}\n", (f"{entry.paper} ({entry.year})\n", "dim"), (settings, "cyan"))
