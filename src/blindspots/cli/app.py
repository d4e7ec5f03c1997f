"""Names, help texts and options of all commands. What a command does is imported when it is run: help stays fast."""

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from blindspots.cli.endings import UNMET, ending
from blindspots.cli.given import check_values, check_words
from blindspots.runs.experiment import kinds

EPILOG = (
    "Exit codes: 0 done; 1 a --require was not met, or verify failed; 2 bad input, or a place that cannot be written; "
    "70 a fault of blindspots, or too little memory: nothing is said of the model; 130 Ctrl-C; 141 nobody reads the "
    "output; 143 SIGTERM."
)


class Commands(TyperGroup):
    """Commands whose errors end in one sentence on stderr; --debug shows the traceback as well."""

    def invoke(self, ctx: Any) -> Any:
        with ending(ctx.params["debug"]):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The settings of a kind of run are read when its command is named, not before."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, _command_of(name) if name in kinds() else found, rest


class Command(TyperCommand):
    """A command that begins only with what can be meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        check_words(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        check_values(ctx.params)
        return super().invoke(ctx)


def _command_of(name: str) -> Any:
    from blindspots.cli.command import command_of  # here: the list of commands does without pydantic

    info = CommandInfo(name=name, cls=Command, callback=command_of(kinds()[name]))
    return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=app.rich_markup_mode)


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, epilog=EPILOG
)
command = partial(app.command, cls=Command)
Folder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A folder that evaluate, attack, harden or another command wrote.")
]
Folders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Folders that evaluate or attack wrote, or one of another command."),
]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blindspots {version('blindspots')}")
        raise typer.Exit


@app.callback()
def blindspots(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find, measure and explain the blind spots of trained models: robust accuracy that can be believed, fast."""


@command()
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the run and its report go.")] = Path("runs/demo"),
) -> None:
    """Attack a digit classifier, harden it, attack it again, and show both. Replaces what an earlier demo wrote."""
    from blindspots.cli.demo import demo

    demo(out)


for _name, _kind in kinds().items():
    if not _kind.within:
        command(_name, help=_kind.about)(lambda: None)  # `Commands` puts the real one in its place


@command("apply")
def apply_perturbation(
    perturbation: Annotated[
        str, typer.Argument(metavar="PERTURBATION", help="perturbation.safetensors of a run, or file.npz:KEY.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures, also in folders.")],
    out: Annotated[Path, typer.Option(metavar="OUT", help="A new folder.")],
    group: Annotated[
        int | None, typer.Option("--class", metavar="K", help="Which one, where there is one for every class.")
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Fit the perturbation to pictures of other sizes.")] = False,
) -> None:
    """Add a universal perturbation to a folder of pictures, in whole levels of 8 bits that stay within its radius.

    Writes PNG files under the names of the pictures.
    """
    from blindspots.cli.applying import Application, apply

    apply(Application(perturbation, folder, out, group, resize))


@command()
def features(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A .csv, .tsv or .parquet file with names of columns.")],
    columns: Annotated[
        str | None,
        typer.Option(metavar="label=COLUMN", help="The column of labels.", show_default="one with a usual name"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The .toml file.", show_default="stdout")] = None,
) -> None:
    """Propose a feature file for a table: types, ranges, constant columns, and relations that hold in every row.

    What may change, and what it costs, data cannot say: read every line before it is used with --features.
    """
    from blindspots.cli.proposing import features

    features(data, columns, out)


@command()
def verify(run: Folder) -> None:
    """Prove a finished run again from its stored bytes, with none of the attack code. Exit code 1 if it fails."""
    from blindspots.cli.checking import verify

    raise typer.Exit(0 if verify(run) else UNMET)


@command()
def report(
    runs: Folders,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The HTML file.", show_default="report.html in the run, or beside several"),
    ] = None,
) -> None:
    """Write the report of a finished run again, or one report that compares several."""
    from blindspots.cli.checking import report

    report(runs, out)


@command()
def judge(
    run: Folder,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the page saved; leave out to make the page.")
    ] = None,
    texts: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=10_000, help="Adversarial texts to read; two clean texts go with each."),
    ] = 25,
    seed: Annotated[int, typer.Option(metavar="N", help="By which lot texts are drawn.")] = 0,
    checks: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKS",
            help="What the person is compared with.",
            show_default="similarity+fluency+agreement+antonyms+changed",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page.", show_default="judge.html in the run")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print what the answers say as JSON, and nothing else.")
    ] = False,
) -> None:
    """Let a person judge adversarial texts, blindly, among clean ones: ten minutes, one page that needs no network.

    Then, with --answers: how many of the successes still have their label, corrected for the person's own errors.
    """
    from blindspots.cli.judging import Reading, compared, written

    asked = Reading(run, texts, seed)
    if answers is None:
        written(asked, out)
    else:
        compared(asked, answers, checks, json_)


@command()
def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As evaluate takes it.")],
    data: Annotated[str, typer.Option(metavar="DATA", help="Tells the shape of inputs and the names of classes.")],
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; others can reach anything but loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any that is free.")] = 8000,
) -> None:
    """Serve a model over HTTP, behind a token, in four protocols that evaluate can ask: a service to try things on.

    The token is that of the environment variable BLINDSPOTS_TOKEN, or a new one, which is printed.
    """
    from blindspots.cli.serving import Serving, serve

    serve(Serving(model, data, host, port))


@command("list")
def list_everything(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/attacks.md.")] = False,
) -> None:
    """Show attacks, protocols, recipes, detectors, embedded models and data."""
    from blindspots.cli.catalogue import catalogue

    catalogue(markdown)
