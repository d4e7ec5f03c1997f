"""What `evaluate` and `attack` have in common: on which data, within which threat, how it is carried out."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import MISSING, Field, dataclass, fields
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from blindspots.cli.options import EXECUTION, Chunk, Classes, Device, Json, Layout, Resume, Seed, Threads
from blindspots.cli.screen import document_alone

BUDGETS = "What it may cost"
BY_SIZE = "by the size of an input"


def _count(help: str, panel: str, default: str) -> Any:
    return typer.Option(metavar="N", min=1, help=help, rich_help_panel=panel, show_default=default)


@dataclass(frozen=True)
class Job:
    """Field by field the options that `takes` gives to a command."""

    data: Annotated[
        str, typer.Option(metavar="DATA", help="digits, a folder of class folders, or an .npz file with x and y.")
    ]
    threat: Annotated[str, typer.Option(metavar="THREAT", help="What may change: linf:8/255, l2:0.5, l1:12 or l0:10.")]
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first so many.", show_default="all")
    ] = None
    layout: Layout = None
    classes: Classes = None
    through: Annotated[
        str | None,
        typer.Option(
            metavar="CHANGES",
            help="What inputs go through before the model: bits:depth=3, median:size=3, jpeg:quality=75 or "
            "noise:sigma=0.25, several joined by +.",
            show_default="nothing",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run folder to write.", show_default="runs/ with model and threat"),
    ] = None
    resume: Resume = False
    require: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Exit with 1 if less is robust, by searched rows.",
            show_default="nothing",
        ),
    ] = None
    json: Json = False
    seed: Seed = 0
    device: Device = None
    threads: Threads = None
    slots: Annotated[int | None, _count("Rows in flight.", EXECUTION, BY_SIZE)] = None
    chunk: Chunk = None
    shard_rows: Annotated[int | None, _count("Rows per shard file.", EXECUTION, BY_SIZE)] = None
    precision: Annotated[
        Literal["float32", "bf16"],
        typer.Option(help="Of the search; successes are confirmed in float32.", rich_help_panel=EXECUTION),
    ] = "float32"
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Memory layout of images.", rich_help_panel=EXECUTION)
    ] = False
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=EXECUTION)] = False
    draws: Annotated[int | None, _count("Answers of a randomised model to average over.", EXECUTION, "1")] = None
    row_budget: Annotated[int | None, _count("Forwards and backwards per row.", BUDGETS, "no limit")] = None
    max_forwards: Annotated[int | None, _count("Forwards of the run.", BUDGETS, "no limit")] = None
    max_backwards: Annotated[int | None, _count("Backwards of the run.", BUDGETS, "no limit")] = None
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="N", min=0, help="Gives up determinism.", rich_help_panel=BUDGETS, show_default="no limit"
        ),
    ] = None


def takes(options: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, in place of its parameter `job`, one option per field of the dataclass `options`."""
    hints = get_type_hints(options, include_extras=True)
    shared = [_parameter(field, hints[field.name]) for field in fields(options)]
    names = {p.name for p in shared}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            job = options(**{name: given.pop(name) for name in names})
            with document_alone() if job.json else nullcontext():
                command(job=job, **given)

        own = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in inspect.signature(command).parameters.values()]
        run.__signature__ = inspect.Signature([*(p for p in own if p.name != "job"), *shared])  # type: ignore[attr-defined]
        return run

    return decorate


def _parameter(field: "Field[Any]", hint: Any) -> Parameter:
    default = Parameter.empty if field.default is MISSING else field.default
    return Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
