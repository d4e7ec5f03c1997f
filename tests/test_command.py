"""The command of a kind, made from its settings: what stands in `--help`, and what reaches the configuration."""

import re
from typing import Any, ClassVar, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from blindspots.cli import running
from blindspots.cli.command import command_of
from blindspots.cli.where import Where
from blindspots.runs.config import Config, Number, Numbers, OnData, setting
from blindspots.runs.experiment import Kind, kinds


class Shaped(OnData):
    group: ClassVar[str] = "Which shape"

    sides: int = setting(4, "How many sides.", metavar="N", ge=3)
    width: Number | None = setting(None, "How wide.", metavar="W", shown="as wide as it is high")
    form: Literal["flat", "round"] = setting("flat", "Which form.")


class MadeConfig(Shaped):
    group: ClassVar[str] = "What is made"

    colour: tuple[str, ...] = setting((), "Can be repeated.", metavar="COLOUR", shown="grey")
    material: str = setting(..., "Of what.", metavar="WHAT")
    radii: Numbers = setting((0.25, 0.5), "Several, in one option.", metavar="A,B")
    hollow: bool = setting(False, "Leave the inside out.")
    closed: bool = setting(True, "Close it.")
    secret: str = setting("kept", "Is filled in.", hidden=True)


MADE = Kind("make", "Make a shape.\n\nAnd say so.", f"{__name__}:MadeConfig", "", "", "", "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, Where]]:
    """What the command was given, run for run."""
    found: list[tuple[Config, Where]] = []
    monkeypatch.setattr(running, "run_kind", lambda kind, config, where: found.append((config, where)))
    return found


def call(line: str) -> Result:
    app = typer.Typer()
    app.command()(command_of(MADE))
    return CliRunner().invoke(app, line.split(), env={"COLUMNS": "160", "TERMINAL_WIDTH": "160"})


ON = "digits --data digits --material wood"


@pytest.mark.parametrize(
    ("more", "field", "value"),
    [
        ("", "sides", 4),
        ("--sides 5", "sides", 5),
        ("", "width", None),
        ("--width 8/16", "width", 0.5),
        ("--form round", "form", "round"),
        ("", "colour", ()),
        ("--colour red --colour blue", "colour", ("red", "blue")),
        ("", "radii", (0.25, 0.5)),
        ("--radii 1/4,1", "radii", (0.25, 1.0)),
        ("--hollow", "hollow", True),
        ("", "closed", True),
        ("--no-closed", "closed", False),
        ("--seed 7", "seed", 7),
        ("", "secret", "kept"),
        ("", "model", "digits"),
    ],
)
def test_options_reach_the_configuration(asked: list[Any], more: str, field: str, value: object) -> None:
    result = call(f"{ON} {more}")
    assert result.exit_code == 0, result.output
    assert getattr(asked[0][0], field) == value


def test_options_of_the_folder_are_no_settings(asked: list[Any]) -> None:
    call(f"{ON} --out here --resume --require a>=1 --require b<=2 --json --engine processes:2")
    config, where = asked[0]
    assert (str(where.out), where.resume, where.json_, where.engine) == ("here", True, True, "processes:2")
    assert where.require == ("a>=1", "b<=2")
    assert not set(Where.model_fields) & set(type(config).model_fields)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--data digits --material wood", "Missing argument 'MODEL'"),
        ("digits --data digits", "Missing option '--material'"),
        (f"{ON} --form oval", "'oval' is not one of 'flat', 'round'"),
        (f"{ON} --colours red", "No such option: --colours"),
        (f"{ON} --secret told", "No such option: --secret"),
    ],
)
def test_what_the_shell_can_see_is_refused_by_it(asked: list[Any], line: str, said: str) -> None:
    result = call(line)
    assert result.exit_code == 2
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]|\x1b\[[\d;]*m", " ", result.stderr).split())
    assert not asked


def test_what_does_not_fit_is_refused_by_the_option(asked: list[Any]) -> None:
    result = call(f"{ON} --sides 2 --width far")
    assert str(result.exception) == (
        "expected greater than or equal to 3 for --sides, got '2': change it; expected a valid number for --width, got "
        "'far': change it"
    )
    assert not asked


def test_help_has_groups_choices_and_defaults() -> None:
    said = re.sub(r"\x1b\[[\d;]*m", "", call("--help").stdout)
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", said).split())
    assert "Make a shape." in flat
    headings = [
        flat.index(word) for word in ("How many sides", "Which shape", "On what", "Where it goes", "How it is run")
    ]
    assert all(at >= 0 for at in headings)
    order = [
        said.index(f"─ {group} ─") for group in ("Options", "On what", "Which shape", "Where it goes", "How it is run")
    ]
    assert order == sorted(order)
    for part in (
        "--sides N How many sides. [default: 4]", "[default: (as wide as it is high)]", "<flat|round>",
        "[default: 0.25,0.5]", "--no-closed", "[required]", "--require GATE",
    ):  # fmt: skip
        assert part in flat, part
    assert "--secret" not in flat
    assert "--no-hollow" not in flat


@pytest.mark.parametrize("name", sorted(kinds()))
def test_every_setting_of_every_kind_is_an_option_with_a_line_of_help(name: str) -> None:
    found = kinds()[name]
    config: type[Config] = found.load("config")
    parameters = command_of(found).__signature__.parameters  # type: ignore[attr-defined]
    shown = {field for field, info in config.model_fields.items() if not info.json_schema_extra["hidden"]}  # type: ignore[index,call-overload]
    assert parameters.keys() == shown | Where.model_fields.keys()
    for field in shown:
        about = config.model_fields[field].description
        assert about, field
        assert about.rstrip().endswith((".", ".)")), f"{name}.{field}: {about}"
