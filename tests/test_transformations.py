"""Transformations of the input: what they do, what an attack sees of them, and that a run can be proved again."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import median_filter
from torch import Tensor, nn
from typer.testing import CliRunner

import blindspots as bs
import small_run
from blindspots.attacks import PGD
from blindspots.cli.app import app
from blindspots.models.blackbox import BlackBox
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.models.transformations import (
    TRANSFORMATIONS,
    Bits,
    Jpeg,
    Median,
    Noise,
    Transformation,
    Transformed,
    parse_chain,
)
from blindspots.problem import Need
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened

FIXED = (Bits(3), Median(3), Jpeg(60))


def images(rows: int = 4, channels: int = 1, side: int = 8) -> Tensor:
    return torch.rand(rows, channels, side, side, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------ what they do


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_bits_leave_as_many_levels_as_they_say(depth: int) -> None:
    x = torch.linspace(0, 1, 4001)[:, None]
    changed = Bits(depth)(x)
    assert len(changed.unique()) == 2**depth
    assert float((changed - x).abs().max()) <= 0.5 / (2**depth - 1) + 1e-6


def test_bits_keep_to_the_bounds_of_the_model() -> None:
    x = torch.linspace(-1, 3, 101)[:, None]
    assert Bits(1)(x, (-1.0, 3.0)).unique().tolist() == [-1.0, 3.0]


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_median_is_scipys_with_the_mode_reflect(size: int, channels: int) -> None:
    x = images(channels=channels, side=5)
    expected = median_filter(x.numpy(), (1, 1, size, size), mode="reflect")
    assert torch.equal(Median(size)(x), torch.from_numpy(expected))


def test_median_has_the_gradient_of_the_pixel_that_it_takes() -> None:
    x = images(1, side=4).double().requires_grad_()
    assert torch.autograd.gradcheck(Median(3), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows_codec(channels: int) -> None:
    x = images(2, channels)
    pixels = np.rint(x[1].numpy() * 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0).squeeze()).save(file, "JPEG", quality=30)
    decoded = np.array(Image.open(file)).reshape(8, 8, channels).transpose(2, 0, 1)
    assert torch.equal((Jpeg(30)(x)[1] * 255).round(), torch.from_numpy(decoded).float())


def test_jpeg_keeps_to_the_bounds_of_the_model() -> None:
    x = images(2)
    assert torch.allclose(Jpeg(50)(2 * x - 1, (-1.0, 1.0)), 2 * Jpeg(50)(x) - 1, atol=1e-6)


def test_noise_has_its_sigma_and_is_drawn_anew() -> None:
    x = torch.zeros(100, 1000)
    torch.manual_seed(0)
    one, other = Noise(0.2)(x), Noise(0.2)(x)
    torch.manual_seed(0)
    assert torch.equal(Noise(0.2)(x), one)
    assert not torch.equal(one, other)
    assert float(one.std()) == pytest.approx(0.2, rel=0.01)
    assert abs(float(one.mean())) < 0.003


@pytest.mark.parametrize("change", [Bits(2), Jpeg(40), Noise(0.1)], ids=str)
def test_the_gradient_passes_unchanged_where_there_is_no_other(change: Transformation) -> None:
    x = images().requires_grad_()
    weights = images()
    (gradient,) = torch.autograd.grad((change(x) * weights).sum(), x)
    assert torch.equal(gradient, weights)


@pytest.mark.parametrize("change", FIXED, ids=str)
def test_rows_do_not_see_each_other(change: Transformation) -> None:
    x = images()
    assert torch.equal(change(x.flip(0)).flip(0), change(x))
    assert torch.equal(change(x[2:3]), change(x)[2:3])
    assert change(x[:0]).shape == x[:0].shape


# ------------------------------------------------------------------ words


@pytest.mark.parametrize("change", [*FIXED, Noise(0.25)], ids=str)
def test_words_build_the_same_again(change: Transformation) -> None:
    assert parse_chain(str(change)) == (change,)
    assert parse_chain(f"{change}+bits:depth=7") == (change, Bits(7))
    assert change.name in TRANSFORMATIONS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bit:depth=3", "did you mean 'bits'"),
        ("bits:depth=0", "expected a depth of 1 to 8 bits, got 0"),
        ("bits:depth=9", "expected a depth of 1 to 8 bits, got 9"),
        ("bits:levels=4", "expected settings among depth"),
        ("median:size=4", "expected an odd window"),
        ("jpeg:quality=0", "expected a JPEG quality of 1 to 100"),
        ("noise:sigma=0", "expected noise with sigma above 0"),
        ("bits:depth=4+", "expected a transformation among"),
    ],
)
def test_wrong_words_are_refused_in_a_sentence(words: str, said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        parse_chain(words)


@pytest.mark.parametrize("change", [Median(3), Jpeg(75)], ids=str)
def test_features_are_no_images(change: Transformation) -> None:
    with pytest.raises(bs.InputError, match="expected images"):
        change(torch.zeros(3, 10))


# ------------------------------------------------------------------ as a model


def test_the_whole_is_the_model_behind_its_transformations_in_order() -> None:
    model, x = small_run.network(), images()
    whole = Transformed(model, "median:size=3+bits:depth=2")
    assert torch.equal(whole.logits(x), model.logits(Bits(2)(Median(3)(x))))
    assert (whole.name, whole.parameters) == ("small through median:size=3+bits:depth=2", model.parameters)
    assert Transformed(model, Median(3), Bits(2)).digest == whole.digest
    assert Transformed(model, Bits(2), Median(3)).digest != whole.digest
    assert len({Transformed(model, Bits(k)).digest for k in (2, 3)} | {model.digest}) == 3


def test_it_has_the_preprocessing_bounds_and_access_of_the_model() -> None:
    inner = Model(nn.Flatten(), bounds=(-1.0, 1.0), mean=0.5, std=2.0)
    whole = Transformed(inner, Bits(1))
    assert torch.equal(whole.logits(torch.full((1, 2), 0.3)), torch.full((1, 2), 0.25))
    assert whole.bounds == (-1.0, 1.0)
    asked = BlackBox(lambda x: x.argmax(1), "labels", 2)
    assert Transformed(asked, Bits(1)).access is Need.LABEL
    with pytest.raises(bs.InputError, match="expected a transformation, got none"):
        Transformed(inner)


def test_it_is_borrowed_as_a_whole() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Dropout(0.5)).train()
    whole = Transformed(Model(net), Bits(4))
    with whole.borrowed():
        assert not net[2].training
        assert not any(p.requires_grad for p in net.parameters())
    assert net[2].training
    assert all(p.requires_grad for p in net.parameters())


def test_a_model_is_named_with_what_stands_before_it() -> None:
    whole = load_model(f"{small_run.SPEC}|bits:depth=3|median:size=3")
    assert whole.spec == f"{small_run.SPEC}|bits:depth=3|median:size=3"
    x = images()
    assert torch.equal(whole.logits(x), small_run.network().logits(Bits(3)(Median(3)(x))))
    with pytest.raises(bs.InputError, match="did you mean 'bits'"):
        load_model("nothing|bit:depth=3")


# ------------------------------------------------------------------ attacked


class Rounds(nn.Module):
    """Rounding as it is: its true gradient is 0."""

    def __init__(self, net: nn.Module, depth: int) -> None:
        super().__init__()
        self.net, self.steps = net, 2**depth - 1

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net((x * self.steps).round() / self.steps)
        return scores


def _stands(make: Callable[[Model], Model]) -> tuple[float, float, set[str]]:
    """Clean and robust accuracy under PGD, and the codes of what was found."""
    x, y = small_run.inputs(40)
    found = bs.attack(
        make(small_run.network()), x, y, PGD(10), threat=bs.Linf(0.15), threads=1
    )  # fmt: skip
    return found.clean_accuracy, found.robust_accuracy, {f.code for f in found.findings}


def test_straight_through_breaks_what_the_true_gradient_seems_to_guard() -> None:
    clean, masked, said = _stands(lambda model: Model(Rounds(model.net, 3)))
    same, robust, warned = _stands(lambda model: Transformed(model, Bits(3)))
    assert clean == same
    assert masked > 0.7 * clean
    assert robust < 0.3 * clean
    assert "zero-gradient" in said
    assert "zero-gradient" not in warned
    assert "gradient-misleads" in warned


@pytest.mark.parametrize("words", ["bits:depth=4", "jpeg:quality=50", "median:size=3"])
def test_a_run_is_proved_again_with_the_transformation_that_it_names(tmp_path: Path, words: str) -> None:
    small_run.run(tmp_path / "run", rows=16, model=Transformed(small_run.network(), words))
    proved = bs.verify(tmp_path / "run", data=bs.ArrayData(*small_run.inputs(16)))
    assert proved.ok, proved.problems


def test_of_a_randomised_run_all_but_the_answers_is_proved_again(tmp_path: Path) -> None:
    small_run.run(tmp_path / "run", rows=16, model=Transformed(small_run.network(), Noise(0.1)), draws=3)
    proved = bs.verify(tmp_path / "run", data=bs.ArrayData(*small_run.inputs(16)))
    assert proved.ok, proved.problems
    assert any("randomised" in note for note in proved.notes)


def test_from_the_shell_inputs_go_through_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("import small_run\n\ndef ten():\n    return small_run.Net(10)\n")
    line = "attack net.py:ten --through bits:depth=5 --attack pgd:steps=2 --data digits --rows 8 --threat linf:0.1"
    for command in (f"{line} --out run --pictures 0", "verify run", "report run"):
        assert CliRunner().invoke(app, command.split()).exit_code == 0
    made = opened(Folder(tmp_path / "run"))
    assert made.manifest.world["model"]["spec"] == "net.py:ten|bits:depth=5"
    assert made.config.through == "bits:depth=5"
    refused = CliRunner().invoke(app, f"{line}0".replace("bits:depth=5", "bits:depth=50").split())
    assert refused.exit_code == 2
    assert "expected a depth of 1 to 8 bits, got 50" in refused.stderr
