"""What `certify` is asked to do, as options of the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from blindspots.cli.options import EXECUTION, Classes, Device, Json, Layout, Resume, Threads


@dataclass(frozen=True)
class CertifyJob:
    """Field by field the options that `takes` gives to the command."""

    data: Annotated[
        str, typer.Option(metavar="DATA", help="digits, a folder of class folders, or an .npz file with x and y.")
    ]
    sigma: Annotated[
        float, typer.Option(metavar="SIGMA", help="Standard deviation of the noise, in the units of the input.")
    ]
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first so many.", show_default="all")
    ] = None
    layout: Layout = None
    classes: Classes = None
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Noisy copies of every row that bound the top class's share.")
    ] = 100_000
    alpha: Annotated[float, typer.Option(metavar="SHARE", help="How often a certificate may be wrong, at most.")] = (
        0.001
    )
    radii: Annotated[
        str | None,
        typer.Option(
            metavar="R,R", help="L2 radii of the curve, e.g. 0.25,0.5,1.", show_default="1/2, 1, 3/2, 2 and 3 sigma"
        ),
    ] = None
    draws: Annotated[
        int, typer.Option(metavar="N", min=0, help="Noisy copies that the attack averages over; 0: no attack.")
    ] = 16
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run folder to write.", show_default="runs/ with model and sigma"),
    ] = None
    resume: Resume = False
    json: Json = False
    seed: Annotated[int, typer.Option(metavar="N", help="Decides all noise.", rich_help_panel=EXECUTION)] = 0
    device: Device = None
    threads: Threads = None
    chunk: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Noisy copies per call of the network.", show_default="by the size of an input",
            rich_help_panel=EXECUTION,
        ),
    ] = None  # fmt: skip
