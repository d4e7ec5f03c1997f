"""Options that several commands have, declared once."""

from typing import Annotated

import typer

EXECUTION = "How it is carried out"

Layout = Annotated[
    str | None,
    typer.Option(
        metavar="LAYOUT", help="What the axes of x in an .npz file mean: nchw, nhwc, nhw, or as-is for any others.",
        show_default="recognised, and said",
    ),
]  # fmt: skip
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", help="The classes in the order of the model's outputs: a,b,c or a text file, one per line. "
        "Folders and labels are found among them by name.",
        show_default="the model's own names, if it has any",
    ),
]  # fmt: skip
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the run folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the verdict as JSON, and nothing else, on stdout.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides all randomness.", rich_help_panel=EXECUTION)]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Such as cpu, cuda or cuda:1.", show_default="where the model is",
        rich_help_panel=EXECUTION,
    ),
]  # fmt: skip
Threads = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="CPU threads.", show_default="all that are free", rich_help_panel=EXECUTION),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Rows per call of the network.", show_default="by the size of an input",
        rich_help_panel=EXECUTION,
    ),
]  # fmt: skip
