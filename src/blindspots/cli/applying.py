"""`apply`: a perturbation on a folder of pictures."""

from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from blindspots.ball import parse_ball
from blindspots.cli import screen
from blindspots.cli.endings import reading
from blindspots.experiments.universal.apply import apply_perturbation
from blindspots.experiments.universal.file import load_perturbation
from blindspots.report.words import count, number


@dataclass(frozen=True)
class Application:
    """What `apply` is asked to do, in the command line's words."""

    perturbation: str
    folder: Path
    out: Path
    group: int | None
    resize: bool


def apply(asked: Application) -> None:
    """Write the pictures and say how far they are from the originals."""
    with reading(asked.perturbation):
        perturbation = load_perturbation(asked.perturbation)
    console = screen.aside()
    for note in perturbation.notes:
        console.print(Text.assemble(("note", "cyan"), f": {note.saw}"))
    with screen.status(console, f"Writing pictures to {asked.out}"):
        made = apply_perturbation(
            perturbation, asked.folder, asked.out, group=asked.group, resize=asked.resize
        )  # fmt: skip
    threat = parse_ball(perturbation.threat)
    resized = " It was resized for some of them." if made.resized else ""
    turned = f" {count(made.turned, 'picture')} turned as EXIF says." if made.turned else ""
    clear = f" Alpha left out of {count(made.see_through, 'picture')} that are not opaque." if made.see_through else ""
    said = (
        f"{count(made.pictures, 'picture')} with the perturbation in {asked.out}; no value changed by more than "
        f"{count(made.largest, 'level')} of 255, {threat.name} {number(made.norm)} at most.{resized}{turned}{clear}"
    )
    screen.result().print(Text(said), soft_wrap=True)
