"""What `transfer` is asked to do, as options of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from blindspots.cli.options import EXECUTION, Classes, Json, Layout, Resume, Seed, Threads

MAKING, MATCHING = "How examples are made", "Which models and rows"


@dataclass(frozen=True)
class TransferJob:
    """Field by field the options that `takes` gives to the command."""

    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="The rows to attack: digits, a folder of class folders, or an .npz file with x and y. With --split, "
            "the rows to train on.",
        ),
    ]
    threat: Annotated[
        str,
        typer.Option(
            metavar="THREAT",
            help="What may change: linf:8/255, l2:0.5, l1:12 or l0:10; without a radius, the smallest change.",
        ),
    ]
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Attack only the first so many.", show_default="all")
    ] = None
    layout: Layout = None
    classes: Classes = None
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run folder to write.", show_default="runs/ with data and threat"),
    ] = None
    resume: Resume = False
    json: Json = False
    attack: Annotated[
        str | None,
        typer.Option(
            metavar="ATTACK",
            help="Of models with gradients; see `blindspots list`. The others get one that fits them.",
            show_default="mifgsm with a radius, fmn without",
            rich_help_panel=MAKING,
        ),
    ] = None
    amplify: Annotated[
        float | None,
        typer.Option(
            metavar="RMS",
            help="Bring the smallest changes to this root mean square per value, such as 0.1.",
            show_default="as found",
            rich_help_panel=MAKING,
        ),
    ] = None
    targeted: Annotated[
        bool, typer.Option("--targeted", help="Towards one wrong class per row.", rich_help_panel=MAKING)
    ] = False
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Which wrong class: random, runner-up, least-likely or class:number=7.",
            show_default="random if targeted",
            rich_help_panel=MAKING,
        ),
    ] = None
    restarts: Annotated[
        int, typer.Option(metavar="N", min=1, help="Searches per row; the best is fed.", rich_help_panel=MAKING)
    ] = 1
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Also for the average of all models' scores, and of all but each one.",
            rich_help_panel=MAKING,
        ),
    ] = False
    surrogate: Annotated[
        int | None,
        typer.Option(
            metavar="QUERIES",
            min=1,
            help="Models without gradients: on a substitute trained from so many of their labels.",
            show_default="by asking them",
            rich_help_panel=MAKING,
        ),
    ] = None
    split: Annotated[
        Literal["disjoint"] | None,
        typer.Option(
            help="MODELs are architectures (softmax, fc:100-100, file.py:factory), each trained on both halves of "
            "--data; --test names the rows to attack.",
            show_default="MODELs are trained",
            rich_help_panel=MATCHING,
        ),
    ] = None
    test: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="With --split: the rows to attack.", show_default="none", rich_help_panel=MATCHING
        ),
    ] = None
    resize: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIZE",
            help="HxW for models that do not take the data's size, or NAME=HxW for one; may be repeated.",
            show_default="refuse",
            rich_help_panel=MATCHING,
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The data's label of each output of a model: .json {NAME: [labels]}, or .csv with model, output, "
            "label.",
            show_default="as they are",
            rich_help_panel=MATCHING,
        ),
    ] = None
    seed: Seed = 0
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Such as cpu, cuda or cuda:1.",
            rich_help_panel=EXECUTION,
            show_default="where the models are",
        ),
    ] = None
    threads: Threads = None
    chunk: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Rows per call of a network.",
            rich_help_panel=EXECUTION,
            show_default="by the size of an input",
        ),
    ] = None
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Rows in flight.",
            rich_help_panel=EXECUTION,
            show_default="by the size of an input",
        ),
    ] = None
