"""What `universal` is asked to do, as options of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from blindspots.cli.options import Chunk, Classes, Device, Json, Layout, Seed, Threads

WHICH, STUDIES = "What is searched for", "What else is found out"


@dataclass(frozen=True)
class UniversalJob:
    """Field by field the options that `takes` gives to the command."""

    data: Annotated[
        str, typer.Option(metavar="DATA", help="digits, a folder of class folders, or an .npz file with x and y.")
    ]
    threat: Annotated[str, typer.Option(metavar="THREAT", help="How large it may be: linf:10/255 or l2:8.")]
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="periodic, sgd, sga, uap or data-free, with settings as in uap:delta=0.2; see docs/universal.md.",
        ),
    ] = "periodic"
    fit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Rows that the search sees, drawn by lot.",
            show_default="500, at most two thirds of them",
        ),
    ] = None  # fmt: skip
    heldout: Annotated[
        str | None,
        typer.Option(
            metavar="N|DATA",
            help="How many of the other rows judge it, or other data.",
            show_default="all the others",
        ),
    ] = None
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Only the first so many of the data.", show_default="all")
    ] = None
    layout: Layout = None
    classes: Classes = None
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run folder to write.", show_default="runs/ with model and threat"),
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole pass.")] = False
    require: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Exit with 1 if more of the held-out rows are fooled.",
            show_default="nothing",
        ),
    ] = None  # fmt: skip
    json: Json = False
    perturbation: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Search for none, measure this one: perturbation.safetensors of a run, or file.npz:KEY.",
            rich_help_panel=WHICH,
        ),
    ] = None
    target: Annotated[
        int | None,
        typer.Option(
            metavar="CLASS", min=0, help="Every input is to be taken for this class.", show_default="any but its own",
            rich_help_panel=WHICH,
        ),
    ] = None  # fmt: skip
    per_class: Annotated[
        bool, typer.Option("--per-class", help="One for each predicted class.", rich_help_panel=WHICH)
    ] = False
    unclipped: Annotated[
        bool,
        typer.Option(
            "--unclipped", help="Search with x + v as it is, also outside of the valid range.", rich_help_panel=WHICH
        ),
    ] = False
    images: Annotated[
        str | None,
        typer.Option(
            metavar="N,N", help="Search again with so many fit images, e.g. 10,50,100.", rich_help_panel=STUDIES
        ),
    ] = None
    several: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Search N times, and compare what is found.", rich_help_panel=STUDIES),
    ] = 0
    geometry: Annotated[
        bool,
        typer.Option(
            "--geometry", help="Singular values, spans and curvatures of the boundaries.", rich_help_panel=STUDIES
        ),
    ] = False
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Try it on this network, too; may be repeated.", rich_help_panel=STUDIES),
    ] = None
    cross: Annotated[
        bool,
        typer.Option(
            "--cross",
            help="Search for one for each of these, too: the matrix of who fools whom.",
            rich_help_panel=STUDIES,
        ),
    ] = False
    seed: Seed = 0
    device: Device = None
    threads: Threads = None
    chunk: Chunk = None
