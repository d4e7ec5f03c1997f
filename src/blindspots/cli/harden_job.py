"""What `harden` is asked to do, as options of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from blindspots.cli.options import EXECUTION, Classes, Json, Layout, Resume, Seed, Threads

TRAINING, JUDGING = "How it is trained", "How it is judged"


@dataclass(frozen=True)
class HardenJob:
    """Field by field the options that `takes` gives to the command."""

    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Rows to train on: digits, a folder of class folders, or an .npz file with x and y.",
        ),
    ]
    threat: Annotated[str, typer.Option(metavar="THREAT", help="What is to be withstood: linf:8/255, l2:0.5 or l1:12.")]
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How it is trained: a recipe that `blindspots list` shows, or your own .toml file.",
            rich_help_panel=TRAINING,
        ),
    ] = "fast"
    rows: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Train on the first so many only.", show_default="all", rich_help_panel=TRAINING
        ),
    ] = None
    layout: Layout = None
    classes: Classes = None
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Instead of the recipe's.", show_default="the recipe's", rich_help_panel=TRAINING
        ),
    ] = None
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Begin with fresh weights, not the model's.", rich_help_panel=TRAINING),
    ] = False
    extra: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Extra or generated rows that fill up batches.", show_default="none",
            rich_help_panel=TRAINING,
        ),
    ] = None  # fmt: skip
    test: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="The rows that judge and are never trained on.",
            show_default="a fifth of the data by lot; of digits, its own test rows",
            rich_help_panel=JUDGING,
        ),
    ] = None
    test_rows: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="The first so many of them.", show_default="at most 1,000", rich_help_panel=JUDGING
        ),
    ] = None
    protocol: Annotated[
        str,
        typer.Option(metavar="NAME", help="Of the evaluations before and after.", rich_help_panel=JUDGING),
    ] = "fast"
    controls: Annotated[
        bool,
        typer.Option(
            "--controls/--no-controls",
            help="Train the same network on noise, with augmentation, and for as long without either.",
            rich_help_panel=JUDGING,
        ),
    ] = True
    study_rows: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Test rows for other norms, attacks, transfer and corruptions; 0: none.",
            rich_help_panel=JUDGING,
        ),
    ] = 100
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run folder to write.", show_default="runs/ with model, recipe, threat"),
    ] = None
    resume: Resume = False
    require: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Exit with 1 if robust accuracy is lower at the end.",
            show_default="nothing",
        ),
    ] = None  # fmt: skip
    json: Json = False
    seed: Seed = 0
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE", help="Such as cpu, cuda or cuda:1; several under torchrun.",
            show_default="where the model is", rich_help_panel=EXECUTION,
        ),
    ] = None  # fmt: skip
    threads: Threads = None
    precision: Annotated[
        Literal["float32", "bf16"],
        typer.Option(help="Of training; evaluations are in float32.", rich_help_panel=EXECUTION),
    ] = "float32"
