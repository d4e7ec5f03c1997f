"""What `detect` is asked to do, as options of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from blindspots.cli.options import Chunk, Classes, Device, Json, Layout, Resume, Seed, Threads

ATTACKS = "What detectors learn from, and are tested and attacked by"


@dataclass(frozen=True)
class DetectJob:
    """Field by field the options that `takes` gives to the command."""

    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Rows to fit on: digits (its training rows), a folder of class folders, or an .npz file with x and y.",
        ),
    ]
    test: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Rows to measure on.",
            show_default="digits: its test rows; else two fifths of --data, by lot",
        ),
    ] = None
    threat: Annotated[
        str | None,
        typer.Option(
            metavar="THREAT",
            help="What may change: linf:8/255, l2:0.5, l1:12 or l0:10.",
            show_default="digits: linf:0.15",
        ),
    ] = None
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DETECTOR",
            help="network, activations, density, mahalanobis, dropout, squeezing, lid or mmd, with settings as in "
            "density:rows=500; may be repeated.",
            show_default="all that can be fitted",
        ),
    ] = None
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Measure on so many at most.", show_default="all")
    ] = None
    layout: Layout = None
    classes: Classes = None
    fit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Fit on so many, a quarter of which sets the threshold.",
            show_default="at most 2000",
        ),
    ] = None
    fpr: Annotated[float, typer.Option(metavar="SHARE", min=0, max=1, help="Clean rows that may be rejected.")] = 0.05
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run folder to write.", show_default="runs/ with model and threat"),
    ] = None
    resume: Resume = False
    json: Json = False
    train_attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ATTACK", help="Detectors learn from it; may be repeated.", show_default="fgsm and pgd",
            rich_help_panel=ATTACKS,
        ),
    ] = None  # fmt: skip
    test_attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ATTACK", help="Detectors are tested on it; may be repeated.",
            show_default="apgd, deepfool and square, say, by the threat", rich_help_panel=ATTACKS,
        ),
    ] = None  # fmt: skip
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of the attacks that know the detector; `blindspots list` shows them.",
            rich_help_panel=ATTACKS,
        ),
    ] = "adaptive"  # fmt: skip
    bare_protocol: Annotated[
        str, typer.Option(metavar="NAME", help="Of the attacks on the model alone.", rich_help_panel=ATTACKS)
    ] = "fast"
    seed: Seed = 0
    device: Device = None
    threads: Threads = None
    chunk: Chunk = None
