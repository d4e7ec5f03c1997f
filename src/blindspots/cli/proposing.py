"""`features`: a feature file proposed from data."""

from pathlib import Path

from rich.text import Text

from blindspots.cli import screen
from blindspots.data.table import columns_of_table
from blindspots.files import check_place, write_whole
from blindspots.report.words import count
from blindspots.tables.features import written
from blindspots.tables.propose import propose


def features(data: Path, layout: str | None, out: Path | None) -> None:
    """Write the file, or print it, and say what was left out."""
    cells, label = columns_of_table(data, layout)
    found = propose(cells)
    text = written(found.features, found.comments)
    console = screen.aside()
    for name, why in found.left_out.items():
        console.print(Text.assemble(("note", "cyan"), f": column {name!r} {why}, and is left out"))
    if out is None:
        screen.result().print(Text(text.rstrip("\n")), soft_wrap=True)
        return
    check_place(out.parent)
    write_whole(out, text.encode())
    columns, relations = len(found.features.columns), len(found.features.relations)
    said = (
        f"{count(columns, 'column')} and {count(relations, 'relation')} in {out}; labels are {label!r}. Read every "
        "line: what may change, and what it costs, data cannot say."
    )
    screen.result().print(Text(said), soft_wrap=True)
