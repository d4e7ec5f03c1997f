"""`universal`, `apply`, and what `verify` and `report` do with such runs, from the shell's side."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image

from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.verdict import UniversalVerdict
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sealed
from blindspots.runs.store import Run, opened
from test_cli import blindspots as command
from test_cli import in_one_sentence, plain


def blindspots(line: str) -> str:
    """What a command that succeeds prints."""
    result = command(line)
    assert result.exit_code == 0, result.output
    return plain(result.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with everything that can be asked for."""
    out = tmp_path_factory.mktemp("universal") / "run"
    made = blindspots(
        "universal digits --data digits --rows 200 --threat linf:0.2 --method sgd:passes=3 --fit 100 --images 16,50 "
        f"--several 2 --geometry --on digits-robust --cross --threads 1 --out {out}"
    )
    assert "of the inputs it was not made from" in made
    return out


def read(folder: Path) -> Run[UniversalConfig, UniversalVerdict]:
    return opened(Folder(folder))


def test_a_run_folder_holds_verdict_perturbation_pictures_and_report(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {"run.json", "perturbation.safetensors", "perturbation.png", "fooled.png", "report.html"}
    verdict = json.loads((run / "run.json").read_text())["verdict"]
    for field in ("fooling_rate_fit", "fooling_rate_heldout", "interval", "fooling_rate_heldout_unclipped"):
        assert field in verdict
    assert verdict["control_rates"].keys() >= {"random signs", "mean image"}
    assert len(verdict["against_images"]) == len(verdict["several"]) == 2
    assert [len(row) for row in verdict["cross"]["fooled"]] == [2, 2]


def test_the_diagonal_of_the_matrix_is_the_rate_that_counts(run: Path) -> None:
    verdict = read(run).verdict
    assert verdict.cross.fooled[0][0] == verdict.heldout.fooled
    assert verdict.cross.fooled[0][1] == verdict.on_models[0].fooled


def test_a_run_is_proved_again_and_a_changed_rate_is_found(run: Path, tmp_path: Path) -> None:
    assert "holds." in blindspots(f"verify {run}")
    copytree(run, tmp_path / "other")
    file = json.loads((run / "run.json").read_text())
    share = file["verdict"]["heldout"]["fooled"]
    share["hits"] = (share["hits"] + 50) % share["rows"]
    (tmp_path / "other" / "run.json").write_bytes(sealed(json.dumps(file, indent=2).encode()))
    said = plain(command(f"verify {tmp_path}/other").stdout)
    assert "does not hold" in said
    assert "expected heldout to be" in said


def test_the_report_is_written_again_byte_for_byte(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    blindspots(f"report {run}")
    assert (run / "report.html").read_bytes() == before


def test_a_perturbation_of_a_run_is_measured_and_applied(run: Path, tmp_path: Path) -> None:
    made = f"{run}/perturbation.safetensors"
    blindspots(
        f"universal digits --data digits --rows 200 --threat linf:0.2 --fit 100 --perturbation {made} --threads 1 "
        f"--out {tmp_path}/again"
    )
    again, first = (read(folder).verdict for folder in (tmp_path / "again", run))
    assert again.heldout == first.heldout
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(tmp_path / "in" / "grey.png")
    blindspots(f"apply {made} {tmp_path}/in --out {tmp_path}/out")
    moved = np.asarray(Image.open(tmp_path / "out" / "grey.png")).astype(int) - 128
    assert 0 < np.abs(moved).max() <= 0.2 * 255


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("--method sgdd", "did you mean 'sgd'?"),
        ("--fit 500", "rows that the search does not see"),
        ("--fit 8", "at least 16 fit rows"),
        ("--images ten", "expected a valid integer for --images"),
        ("--cross", "name them with --on"),
        ("--target 10", "a target class from 0 to 9"),
        ("--threat l1:3", "linf or l2 with a radius"),
    ],
)
def test_what_cannot_be_done_is_said(options: str, part: str, tmp_path: Path) -> None:
    threat = "" if "--threat" in options else "--threat linf:0.1"
    said = in_one_sentence(command(f"universal digits --data digits {threat} {options} --out {tmp_path}/run"))
    assert part in plain(said)
    assert not (tmp_path / "run" / "run.json").exists()
