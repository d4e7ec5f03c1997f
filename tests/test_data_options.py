"""--layout and --classes, wherever data are named on the command line, and pictures that `apply` is given."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from blindspots import verify
from blindspots.ball import Linf
from blindspots.cli.app import app
from blindspots.data import digits_arrays
from blindspots.data.names import parse_classes
from blindspots.errors import InputError
from blindspots.experiments.universal.apply import apply_perturbation
from blindspots.experiments.universal.file import Perturbation, perturbation_bytes
from test_class_names import LEVELS, SHUFFLED, WORDS, Y, in_folders

NET = '''
import torch
import blindspots as bs

class Rows(torch.nn.Module):
    """The digits network on (8, 8) without channels."""
    def __init__(self):
        super().__init__()
        self.net = bs.load_model("digits").net
    def forward(self, x):
        assert x.ndim == 3
        return self.net(x[:, None])

def rows() -> bs.Model:
    return bs.Model(Rows(), name="rows")

def rows_too() -> bs.Model:
    return bs.Model(Rows(), name="rows too")
'''
COMMANDS = [
    "evaluate net.py:rows --data {data} --threat linf:0.02 --rows 8",
    "attack net.py:rows --data {data} --threat linf:0.02 --attack fgsm",
    "universal net.py:rows --data {data} --threat linf:0.02 --method sgd:passes=1,batch=8 --heldout {other}",
    "transfer net.py:rows net.py:rows_too --data {data} --threat linf:0.02 --attack fgsm",
    "certify net.py:rows --data {data} --sigma 0.05 --samples 20 --draws 0 --rows 8",
    "harden net.py:rows --data {data} --test {other} --threat linf:0.02 --epochs 1 --no-controls --study-rows 0",
]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    x, y = (t[:60] for t in digits_arrays("train"))
    np.savez("data.npz", x=LEVELS, y=np.array([WORDS[k] for k in Y.tolist()]))
    np.savez("other.npz", x=(x * 255).round().to(torch.uint8)[:, 0].numpy(), y=np.array([WORDS[k] for k in y.tolist()]))
    Path("classes.txt").write_text("\n".join(WORDS) + "\n\n")
    return tmp_path


def blindspots(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_layout_and_classes(command: str) -> None:
    line = command.format(data="data.npz", other="other.npz") + " --out run --layout as-is --classes classes.txt"
    result = blindspots(line)
    assert result.exit_code == 0, result.output
    manifest = json.loads(Path("run/run.json").read_text())["manifest"]["world"]
    assert manifest["data"]["shape"] == [8, 8]
    assert manifest["data"]["layout"] == "as-is"
    assert manifest["data"]["class_names"] == WORDS
    again = blindspots("verify run")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize(
    "command", ["evaluate", "attack", "universal", "transfer", "certify", "harden", "detect", "reproduce"]
)
def test_the_options_are_explained(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "--layout" in said
    assert "--classes" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--layout nhwc", "expected x (N, H, W, C) in data.npz for the layout nhwc, got shape (60, 8, 8)"),
        ("--layout grey", "expected a layout among nchw, nhwc, nhw, as-is, got 'grey'"),
        ("--classes zero,one,two", "to be among the list of classes (zero, one, two), got"),
        ("--classes one,one", "at least 2 different names for the classes, got one more than once"),
        ("", "expected labels that are numbers in data.npz, or a model whose classes have names"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(words: str, said: str) -> None:
    result = blindspots(f"attack digits --data data.npz --attack fgsm --threat linf:0.1 {words}")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_classes_are_words_or_a_file() -> None:
    assert parse_classes("a, b,c") == ["a", "b", "c"]
    assert parse_classes("classes.txt") == WORDS
    Path("bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        parse_classes("bad.txt")


def test_folders_are_found_among_the_classes_by_name() -> None:
    in_folders(Path("pictures"))
    for path in Path("pictures/seven").iterdir():
        path.unlink()
    line = "attack digits --data pictures --attack fgsm --threat linf:0.02 --out run --classes classes.txt"
    assert blindspots(line).exit_code == 0
    verdict = json.loads(Path("run/run.json").read_text())["verdict"]
    assert verdict["clean_accuracy"] > 0.9
    said = " ".join(finding["saw"] for finding in verdict["findings"])
    assert "9 class folders: eight=8 (3 images), five=5 (2)" in said
    assert "labels: matched by name to the list of classes; skipped: 1 folder without pictures." in said
    assert verify("run").problems == []
    assert len(SHUFFLED) == 10


# ------------------------------------------------------------------ apply


def perturbation(channels: int) -> Perturbation:
    v = torch.full((1, channels, 6, 4), 10 / 255)
    v[..., 0, 0] = -10 / 255  # so that a turned perturbation would be seen
    return Perturbation(v, "linf:10/255", (0.0, 1.0), "mine", False, None, "0" * 64)


def written(images: dict[str, Image.Image], channels: int, **how: object) -> dict[str, np.ndarray]:
    Path("in").mkdir()
    for name, image in images.items():
        image.save(Path("in") / name, **how)  # type: ignore[arg-type]
    apply_perturbation(perturbation(channels), "in", "out")
    return {path.stem: np.asarray(Image.open(path)).astype(int) for path in sorted(Path("out").iterdir())}


def test_apply_turns_pictures_first() -> None:
    levels = np.random.default_rng(0).integers(20, 200, (6, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(levels)))
    made = written({"a.png": stored}, 1, exif=exif.tobytes())["a"]
    change = made - levels
    assert change[0, 0] == -10
    assert (np.delete(change.ravel(), 0) == 10).all()


def test_apply_takes_grey_pictures_in_any_mode() -> None:
    levels = np.random.default_rng(0).integers(20, 200, (6, 4), dtype=np.uint8)
    grey = Image.fromarray(levels)
    deep = Image.fromarray(levels.astype(np.uint16) * 257)
    made = written({"a.png": grey, "b.png": grey.convert("RGBA"), "c.png": grey.convert("P"), "d.png": deep}, 1)
    assert len(made) == 4
    assert all(np.array_equal(image, made["a"]) for image in made.values())


def test_apply_refuses_to_lose_colours_and_bits() -> None:
    draw = np.random.default_rng(0)
    Path("in").mkdir()
    Image.fromarray(draw.integers(0, 256, (6, 4, 3), dtype=np.uint8)).save("in/a.png")
    with pytest.raises(InputError, match=r"expected a grey picture, got .*a.png"):
        apply_perturbation(perturbation(1), "in", "out")
    Image.fromarray(draw.integers(0, 65536, (6, 4)).astype(np.uint16)).save("in/a.png")
    with pytest.raises(InputError, match="16 bits that 8 cannot hold"):
        apply_perturbation(perturbation(1), "in", "out")
    assert not Path("out").exists()


def test_apply_says_what_it_turned_and_what_it_left_out() -> None:
    image = Image.new("RGBA", (4, 6), (100, 120, 140, 30))
    exif = Image.Exif()
    exif[0x0112] = 3
    Path("in").mkdir()
    image.save("in/a.png", exif=exif.tobytes())
    v = perturbation(3)
    content = perturbation_bytes(
        v.v, threat=Linf(10 / 255), model="mine", per_class=False, target=None, bounds=v.bounds
    )
    Path("v.safetensors").write_bytes(content)
    said = " ".join(blindspots("apply v.safetensors in --out out").output.split())
    assert "1 picture turned as EXIF says." in said
    assert "Alpha left out of 1 picture that are not opaque." in said
