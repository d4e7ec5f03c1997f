"""What the reproduction of Szegedy et al. 2013 leaves behind, as data, and the figures that the paper prints.

run.json                 manifest and verdict: every table, ours beside the published figures
pictures.safetensors     a few inputs and what was made of them (`PICTURES`)
"""

from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load, save

from blindspots.errors import InputError
from blindspots.files import make_folder, refuse_files_of_others, write_whole
from blindspots.journal import LEFT_BEHIND, Columns, read_file, sealed, text_of
from blindspots.records import DataRecord, Record, Share
from blindspots.verdict import Provenance, Sealed

PICTURES = {
    "x": "(k, ...) float32 one training row of every class",
    "y": "(k,) int64 label",
    "moved": "(networks, k, ...) float32 the example made for each network of Table 1",
    "prediction": "(networks, k) int64 the network's answer to it",
    "held_x": "(k, ...) float32 one test row of every class",
    "held_y": "(k,) int64 label",
    "held_moved": "(3, k, ...) float32 the example made for each network of Table 3",
    "held_prediction": "(3, k) int64",
    "amplified": "(3, k, ...) float32 the same changes at the root mean square 0.1, not cut off at the box",
    "amplified_prediction": "(3, k) int64",
}

Group = Literal["clean", "adversarial", "noise", "control"]
Rule = Literal["random", "nearest"]

# arXiv 1312.6199, Tables 1 to 4. Errors in percent as they are printed.
TABLE_1 = ((6.7, 7.4, 0.062), (10, 9.4, 0.1), (21.2, 20, 0.14), (0, 1.64, 0.058), (0, 1.54, 0.065), (0.57, 1.9, 0.086))
TABLE_2 = (
    (100, 11.7, 22.7, 2, 3.9, 2.7),
    (87.1, 100, 35.2, 35.9, 27.3, 9.8),
    (71.9, 76.2, 100, 48.1, 47, 34.4),
    (28.9, 13.7, 21.1, 100, 6.6, 2),
    (38.2, 14, 23.8, 20.3, 100, 2.7),
    (23.4, 16, 24.8, 9.4, 6.6, 100),
)
TABLE_2_NOISE = {0.1: (5.0, 10.1, 18.3, 0, 0, 0.8), 0.3: (15.6, 11.3, 22.7, 5, 4.3, 3.1)}
TABLE_3 = ((0, 2.4, 2, 0.062), (0, 2.5, 2.1, 0.059), (2.3, 0, 2.1, 0.058))  # error on P1, P2, test; distortion
TABLE_4 = ((100, 26.2, 5.9), (6.25, 100, 5.1), (8.2, 8.2, 100))
TABLE_4_AMPLIFIED = ((100, 98, 43), (96, 100, 22), (27, 50, 100))
TABLE_4_NOISE = {0.06: (2.2, 2.6, 2.4), 0.1: (2.6, 2.8, 2.7)}
AMPLIFIED_TO = 0.1


class Cell(Record):
    """Our share and the published one, 0 to 1; None: the paper has no such figure."""

    share: Share
    published: float | None = None


class Line(Record):
    """What inputs do that were made in one way, network by network.

    `rms`: mean over the changed rows of the root mean square of the change; the published one is over all rows or over
    these, the paper does not say. `in_box`: values were cut off at 0 and 1, as examples always are.
    """

    name: str
    group: Group
    rms: float
    published_rms: float | None
    in_box: bool
    cells: list[Cell]


class Table(Record):
    fed_to: list[str]
    lines: list[Line]


class Distance(Record):
    """How far the smallest changes go that one search found.

    Attributes:
        targets: "random": one wrong class per row, drawn at random; "nearest": whichever wrong class comes first.
        rms: mean root mean square of the changes, over the rows that were right at first.
        rms_of_all: over all rows, those that were wrong at first needing no change.
        left: rows that are still right: 0 of all means that accuracy fell to 0 %.
    """

    targets: Rule
    rms: float
    rms_of_all: float
    left: Share


class Network(Record):
    name: str
    spec: str
    trained_on: str  # "all", "P1" or "P2"
    parameters: int
    digest: str
    errors: dict[str, Cell]  # "train" and "test", or "P1", "P2" and "test"
    distances: list[Distance]  # the first one belongs to the examples that are fed to others
    published_rms: float
    seconds: float  # of its training


class Verdict(Record):
    """`networks` are Table 1, `halves` Table 3."""

    networks: list[Network]
    table_2: Table
    halves: list[Network]
    table_4: Table
    seconds_training: float
    seconds: float


class Manifest(Provenance):
    """Everything that decides the bits of a run. `threads` are those of the searches; training always takes one."""

    kind: Literal["szegedy-2013"] = "szegedy-2013"
    train: DataRecord
    test: DataRecord
    rows: int  # attacked training rows, the first ones
    test_rows: int  # attacked test rows, the first ones
    targets: Rule
    decay: float  # by what every weight decay was multiplied
    attacks: list[str]  # the next one takes the rows that the one before did not solve
    recipes: dict[str, str]  # network -> how it was trained


class Reproduction(Sealed):
    """The whole of run.json."""

    manifest: Manifest
    verdict: Verdict
    seal: str | None


def free_folder(folder: Path) -> None:
    """Raises InputError when the folder holds a run, or cannot be made."""
    if (folder / "run.json").exists():
        raise InputError(f"expected a new folder, but {folder} holds a run: name another folder")
    refuse_files_of_others(folder, LEFT_BEHIND)
    make_folder(folder)


def write_reproduction(folder: Path, made: Reproduction, pictures: Columns) -> Reproduction:
    """Write both files and return what run.json says, with its seal."""
    write_whole(folder / "pictures.safetensors", save({name: t.contiguous() for name, t in pictures.items()}))
    made = sealed(made)
    write_whole(folder / "run.json", text_of(made))
    return made


def read_reproduction(folder: Path) -> tuple[Reproduction, Columns]:
    """What `write_reproduction` wrote. Raises InputError when it is missing, or something else."""
    made = read_file(Reproduction, folder, "reproduce szegedy-2013")
    try:
        return made, load((folder / "pictures.safetensors").read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"expected pictures.safetensors as it was written in {folder}, got: {error}: run the command again"
        ) from error
