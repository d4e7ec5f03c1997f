"""What an attack saves: read back from disk, and judged by the network alone."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import blindspots as bs
from blindspots.attacks import DDN, PGD, Lattice, Square
from closed_form import plane
from searching import search
from small_run import Net, inputs

ROWS, RADIUS = 40, 3.5 / 255


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bs.Evaluation]:
    """What an attack writes beside its run, with five pictures."""
    folder = tmp_path_factory.mktemp("attack") / "run"
    x, y = inputs(ROWS)
    done = bs.attack(Net(), x, y, PGD(20), threat=bs.Linf(RADIUS), pictures=5, out=folder)
    return folder / "examples", done


def table(folder: Path) -> list[dict[str, str]]:
    """The lines of examples.csv."""
    with (folder / "examples.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_line_for_every_broken_row(saved: tuple[Path, bs.Evaluation]) -> None:
    folder, done = saved
    assert [int(line["row"]) for line in table(folder)] == done.success.nonzero()[:, 0].tolist()
    assert len(table(folder)) > 5


def test_the_tensors_are_exact(saved: tuple[Path, bs.Evaluation]) -> None:
    folder, done = saved
    stored = load_file(folder / "examples.safetensors")
    assert torch.equal(stored["adversarial"], done.adversarial[done.success])
    assert torch.equal(stored["x"], inputs(ROWS)[0][done.success])


def test_the_pictures_fool_the_network_within_the_radius(saved: tuple[Path, bs.Evaluation]) -> None:
    folder, _ = saved
    x, y = inputs(ROWS)
    lines = [line for line in table(folder) if line["picture"]]
    assert len(lines) == 5
    for line in lines:
        row = int(line["row"])
        pixels = torch.from_numpy(np.asarray(Image.open(folder / "pictures" / line["picture"])) / np.float32(255))
        assert line["survives_8bit"] == "True"
        assert int(Net()(pixels.view(1, 1, 8, 8)).argmax()) == int(line["prediction"]) != int(y[row])
        assert float((pixels - x[row, 0]).abs().max()) <= 3 / 255 + 1e-6, "the largest change on the levels"


def test_there_is_a_contact_sheet(saved: tuple[Path, bs.Evaluation]) -> None:
    with Image.open(saved[0] / "contact_sheet.png") as sheet:
        assert sheet.size[0] > 1000


def test_rounding_alone_undoes_what_is_repaired(tmp_path: Path) -> None:
    """Else the repair would prove nothing."""
    x, y = inputs(ROWS)
    done = bs.attack(Net(), x, y, DDN(100), threat=bs.L2(), out=tmp_path / "run")
    before = sum(c["prediction_8bit"].ne(c["y"][c["broken"]]).sum() for c in done.shards())
    after = table(tmp_path / "run" / "examples")
    assert int(before) < len(after)
    assert all(line["survives_8bit"] == "True" for line in after)
    assert all(float(line["norm_8bit"]) < 1.5 * float(line["norm"]) + 1 / 255 for line in after)


def test_nothing_broken_is_an_empty_table(tmp_path: Path) -> None:
    x, y = inputs(4)
    bs.attack(Net(), x, y, PGD(1), threat=bs.Linf(0), out=tmp_path / "run")
    assert table(tmp_path / "run" / "examples") == []


def test_inputs_that_are_no_images_have_no_pictures(tmp_path: Path) -> None:
    known = plane(8, (24,), gap=(0.05, 0.3))
    bs.attack(known.net, known.x, known.y, PGD(20), threat=bs.Linf(0.2), out=tmp_path / "run")
    lines = table(tmp_path / "run" / "examples")
    assert lines
    assert not any(line["picture"] for line in lines)
    assert not (tmp_path / "run" / "examples" / "contact_sheet.png").exists()


def test_a_black_box_is_asked_nothing_more(tmp_path: Path) -> None:
    x, y = inputs(8)
    asked = []
    for out in (None, tmp_path / "run"):
        box = bs.BlackBox(lambda x: Net()(torch.from_numpy(x)).detach().numpy())
        bs.attack(box, x, y, Square(100), threat=bs.Linf(0.1), out=out)
        asked.append(box.queries)
    assert asked[0] == asked[1]
    assert table(tmp_path / "run" / "examples")


def test_in_memory_no_files_are_made(saved: tuple[Path, bs.Evaluation]) -> None:
    x, y = inputs(ROWS)
    done = bs.attack(Net(), x, y, PGD(20), threat=bs.Linf(RADIUS), pictures=5)
    assert not done.exports
    assert done.verdict == saved[1].verdict


def test_files_that_are_changed_are_found(saved: tuple[Path, bs.Evaluation], tmp_path: Path) -> None:
    run = Path(shutil.copytree(saved[0].parent, tmp_path / "run"))
    assert bs.verify(run, bs.Model(Net())).ok
    (run / "examples" / "examples.csv").write_text("row\n")
    assert "expected examples/examples.csv as it was written" in bs.verify(run, bs.Model(Net())).problems[0]


def on_levels(x: Tensor) -> bool:
    return torch.equal(x, (x * 255).round() / 255)


def test_what_lattice_finds_lies_on_the_levels_and_in_the_ball() -> None:
    known = plane(16, (2, 3, 4), gap=(0.05, 0.3))
    x = (known.x * 255).round() / 255
    r = torch.full((16,), 0.35)
    ledger = search(
        Lattice(),
        known,
        bs.Linf(),
        r,
        start=x + 0.3 * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 0.5),
    )
    won = ledger.best[ledger.won]
    assert ledger.won.float().mean() > 0.9
    assert on_levels(won)
