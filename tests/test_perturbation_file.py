"""Perturbations as files, and on folders of pictures: what is written is within the radius, level by level."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from blindspots.ball import L2, Linf
from blindspots.cli.app import app
from blindspots.errors import InputError
from blindspots.experiments.universal.apply import apply_perturbation, rounded_l2, rounded_linf
from blindspots.experiments.universal.file import Perturbation, load_perturbation, perturbation_bytes
from blindspots.threat import Threat


def _drawn(shape: tuple[int, ...], radius: float, groups: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(0)
    v = (torch.rand(groups, *shape, generator=g) * 2 - 1) * radius
    v.view(-1)[0] = radius
    return v


def _saved(path: Path, v: Tensor, threat: Threat, bounds: tuple[float, float] = (0.0, 1.0)) -> Perturbation:
    target = 3 if len(v) == 1 else None
    content = perturbation_bytes(v, threat=threat, model="net", per_class=len(v) > 1, target=target, bounds=bounds)
    path.write_bytes(content)
    return load_perturbation(path)


def _folder(path: Path, sizes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random pictures, by name with their shapes (H, W) or (H, W, 3); 0 and 255 among their values."""
    random = np.random.default_rng(0)
    made = {}
    for name, size in sizes.items():
        pixels = random.integers(0, 256, size, dtype=np.uint8)
        pixels.flat[:2] = 0, 255
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path / name)
        made[name] = pixels
    return made


# ------------------------------------------------------------------ files


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    v = _drawn((3, 4, 5), 0.1, groups=2)
    content = perturbation_bytes(v, threat=Linf(0.1), model="a net", per_class=True, target=None, bounds=(-1.0, 1.0))
    (tmp_path / "p").write_bytes(content)
    read = load_perturbation(tmp_path / "p")
    assert torch.equal(read.v, v)
    assert (read.threat, read.bounds, read.model, read.per_class) == ("linf:0.1", (-1.0, 1.0), "a net", True)
    assert (read.target, read.sha, read.shape, read.notes) == (None, hashlib.sha256(content).hexdigest(), (3, 4, 5), ())
    assert _saved(tmp_path / "q", v[:1], Linf(0.1)).target == 3


def test_a_perturbation_beyond_its_radius_is_neither_written_nor_read(tmp_path: Path) -> None:
    v = _drawn((4,), 0.1)
    _saved(tmp_path / "p", v, Linf(0.1))
    with pytest.raises(InputError, match=r"within linf:0\.09, got one of norm"):
        _saved(tmp_path / "p", v, Linf(0.09))
    assert torch.equal(load_perturbation(tmp_path / "p").v, v)  # what was there is untouched
    said = {"kind": "blindspots perturbation 1", "threat": "l2:0.1", "model": "", "per_class": "False", "target": "",
            "lo": "0.0", "hi": "1.0"}  # fmt: skip
    save_file({"v": v}, tmp_path / "p", said)
    with pytest.raises(InputError, match=r"within l2:0\.1, got one of norm"):
        load_perturbation(tmp_path / "p")
    with pytest.raises(InputError, match="finite"):
        _saved(tmp_path / "q", v / 0, Linf(0.1))
    with pytest.raises(InputError, match="add an axis"):
        _saved(tmp_path / "q", v[0], Linf(0.1))


def test_other_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is not a file"):
        load_perturbation(tmp_path / "nothing")
    (tmp_path / "text").write_text("no perturbation")
    with pytest.raises(InputError, match="cannot be read"):
        load_perturbation(tmp_path / "text")
    save_file({"weight": torch.zeros(3), "bias": torch.zeros(1)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"with (bias, weight|weight, bias): name a perturbation"):
        load_perturbation(tmp_path / "net.safetensors")
    save_file({"v": torch.zeros(1, 3)}, tmp_path / "v", {"kind": "blindspots perturbation 1"})
    with pytest.raises(InputError, match="cannot be read"):
        load_perturbation(tmp_path / "v")


@pytest.mark.parametrize("order", ["HWC", "CHW", "1HWC", "1CHW", "HW"])
@pytest.mark.parametrize(("most", "levels"), [(10.0, True), (0.04, False)])
def test_published_arrays_are_recognised(tmp_path: Path, order: str, most: float, levels: bool) -> None:
    chw = _drawn((1 if order == "HW" else 3, 5, 7), most)[0].numpy()
    stored = {"HWC": chw.transpose(1, 2, 0), "CHW": chw, "1HWC": chw.transpose(1, 2, 0)[None], "1CHW": chw[None],
              "HW": chw[0]}[order]  # fmt: skip
    np.savez(tmp_path / "uaps.npz", one=stored, two=stored * 0)
    read = load_perturbation(f"{tmp_path / 'uaps.npz'}:one")
    assert read.shape == chw.shape
    np.testing.assert_allclose(read.v[0].numpy(), chw / 255 if levels else chw, rtol=1e-6)
    assert read.bounds == (0, 1)
    assert read.threat.startswith("linf:")
    assert float(read.threat[5:]) == pytest.approx(most / 255 if levels else most)
    assert ("divided by 255" in read.notes[0].saw) is levels


def test_archives_without_the_key_or_with_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, vgg16=np.ones((4, 4, 3)), vgg19=np.ones((4, 4, 3)), picture=np.ones((4, 4, 3), np.uint8),
             five=np.ones((5, 5, 5, 5)), objects=np.array([{}], dtype=object))  # fmt: skip
    with pytest.raises(InputError, match=r"vgg16, vgg19.* got no key"):
        load_perturbation(path)
    with pytest.raises(InputError, match="did you mean 'vgg16'"):
        load_perturbation(f"{path}:vgg-16")
    with pytest.raises(InputError, match="not a picture of it"):
        load_perturbation(f"{path}:picture")
    with pytest.raises(InputError, match=r"got \(5, 5, 5, 5\)"):
        load_perturbation(f"{path}:five")
    with pytest.raises(InputError, match="cannot be read"):  # pickled: never opened
        load_perturbation(f"{path}:objects")
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read"):
        load_perturbation(f"{tmp_path / 'b.npz'}:v")
    np.savez(tmp_path / "c.npz", only=np.ones((4, 4, 3)))
    assert load_perturbation(tmp_path / "c.npz").shape == (3, 4, 4)  # a single array needs no key


def test_the_published_perturbations_are_read(zoo: Path) -> None:
    archive = zoo / "data" / "images" / "imagenet_uaps_224.npz"
    if not archive.is_file():
        pytest.skip(f"no {archive.name}")
    read = load_perturbation(f"{archive}:lts4_VGG-16")
    assert read.shape == (3, 224, 224)
    assert float(read.v.abs().max()) == pytest.approx(10 / 255)


# ------------------------------------------------------------------ levels


@given(arrays(np.float64, (3, 4), elements=st.floats(-20, 20)))
def test_rounded_linf_is_the_nearest_within_the_radius(exact: np.ndarray) -> None:
    radius = float(np.abs(exact).max())
    levels = rounded_linf(exact, radius)
    assert np.abs(levels).max() <= radius * (1 + 1e-5)
    free = np.abs(np.rint(exact)) <= radius
    assert np.array_equal(levels[free], np.rint(exact)[free])
    assert (np.abs(levels - exact) < 1).all()


@given(arrays(np.float64, (3, 4), elements=st.floats(-20, 20)), st.floats(1, 1.5))
def test_rounded_l2_is_within_the_radius_and_next_to_the_exact_values(exact: np.ndarray, slack: float) -> None:
    radius = slack * float(np.sqrt((exact**2).sum()))
    levels = rounded_l2(exact, radius)
    assert math.sqrt(float((levels.astype(float) ** 2).sum())) <= radius * (1 + 1e-5)
    assert (np.abs(levels - exact) < 1).all()
    nearest = np.rint(exact)
    if (nearest**2).sum() <= radius**2:
        assert np.array_equal(levels, nearest)  # nothing is given away


def test_rounded_l2_gives_back_no_more_than_it_must() -> None:
    exact = np.array([0.9, 0.8, 0.7, 0.6])
    assert rounded_l2(exact, float(np.sqrt((exact**2).sum()))).tolist() == [1, 1, 0, 0]  # 1.517: two levels fit
    assert rounded_l2(exact, 1.8).tolist() == [1, 1, 1, 0]


# ------------------------------------------------------------------ folders


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["linf", "l2"])
def test_pictures_are_changed_by_whole_levels_within_the_radius(
    tmp_path: Path, bounds: tuple[float, float], channels: int, name: str
) -> None:
    width = bounds[1] - bounds[0]
    v = _drawn((channels, 6, 9), 0.0301 * width)
    threat: Threat = Linf(0.0301 * width) if name == "linf" else L2(float(v.norm()))
    p = _saved(tmp_path / "p", v, threat, bounds)
    shape = (6, 9) if channels == 1 else (6, 9, 3)
    before = _folder(tmp_path / "in", {"a.png": shape, "b/c.bmp": shape, "b/d/E.PNG": shape})
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    done = apply_perturbation(p, tmp_path / "in", tmp_path / "out")
    written = sorted(q.relative_to(tmp_path / "out").as_posix() for q in (tmp_path / "out").rglob("*") if q.is_file())
    assert written == ["a.png", "b/c.png", "b/d/E.png"]
    assert done.pictures == 3
    exact = v[0].permute(1, 2, 0).numpy().reshape(shape) * 255 / width
    largest = 0.0
    for source, target in zip(before, ("a.png", "b/c.png", "b/d/E.png"), strict=True):
        after = np.asarray(Image.open(tmp_path / "out" / target)).astype(int)
        change = after - before[source].astype(int)
        inside = (after > 0) & (after < 255)
        assert (np.abs(change - exact)[inside] < 1).all()
        assert (change * exact >= 0).all()
        size = threat.norm(torch.from_numpy(change * width / 255)[None])
        assert float(size) <= float(threat.radius or 0) * (1 + 1e-5)
        largest = max(largest, float(size))
    assert done.norm == pytest.approx(largest)
    assert done.largest == (7 if name == "linf" else 8)  # 0.0301 is 7.7 levels, of which linf allows 7
    assert not done.resized


def test_a_perturbation_of_another_size_is_refused_or_resized_within_the_radius(tmp_path: Path) -> None:
    before = _folder(tmp_path / "in", {"a.png": (6, 9, 3), "b.png": (12, 18, 3)})
    v = _drawn((3, 6, 9), 0.04)
    p = _saved(tmp_path / "p", v, Linf(0.04))
    with pytest.raises(InputError, match=r"pictures of 9 x 6 pixels, got 18 x 12 in .*b\.png"):
        apply_perturbation(p, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for threat in (Linf(0.04), L2(float(v.norm()))):
        p, out = _saved(tmp_path / "p", v, threat), tmp_path / threat.name
        done = apply_perturbation(p, tmp_path / "in", out, resize=True)
        assert done.resized
        for name, pixels in before.items():
            after = np.asarray(Image.open(out / name))
            assert after.shape == pixels.shape
            change = torch.from_numpy(after.astype(float) - pixels.astype(float)) / 255
            assert 0 < float(threat.norm(change[None])) <= float(threat.radius or 0) * (1 + 1e-5)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    _folder(tmp_path / "in", {"a.png": (4, 4, 3), "b.png": (4, 4, 3)})
    p = _saved(tmp_path / "p", _drawn((3, 4, 4), 0.1), Linf(0.1))
    (tmp_path / "in" / "b.png").write_bytes((tmp_path / "in" / "b.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"b\.png.*cannot be read"):
        apply_perturbation(p, tmp_path / "in", tmp_path / "out")
    assert sorted(q.name for q in tmp_path.iterdir()) == ["in", "p"]
    (tmp_path / "in" / "b.png").unlink()
    (tmp_path / "out").mkdir()
    assert apply_perturbation(p, tmp_path / "in", tmp_path / "out").pictures == 1  # an empty folder will do
    with pytest.raises(InputError, match="new or an empty folder"):
        apply_perturbation(p, tmp_path / "in", tmp_path / "out")
    assert sorted(q.name for q in tmp_path.iterdir()) == ["in", "out", "p"]


def test_what_cannot_be_applied_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path / "in", {"a.png": (4, 4, 3), "a.bmp": (4, 4, 3)})
    p = _saved(tmp_path / "p", _drawn((3, 4, 4), 0.1), Linf(0.1))
    with pytest.raises(InputError, match="both would be written as PNG"):
        apply_perturbation(p, tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "a.bmp").unlink()
    with pytest.raises(InputError, match="outside of"):
        apply_perturbation(p, tmp_path / "in", tmp_path / "in" / "out")
    with pytest.raises(InputError, match="which is not one"):
        apply_perturbation(p, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="got none"):
        apply_perturbation(p, tmp_path / "empty", tmp_path / "out")
    table = _saved(tmp_path / "t", _drawn((4,), 0.1), Linf(0.1))
    with pytest.raises(InputError, match="perturbation of pictures"):
        apply_perturbation(table, tmp_path / "in", tmp_path / "out")
    faint = _saved(tmp_path / "f", _drawn((3, 4, 4), 0.001), Linf(0.001))
    with pytest.raises(InputError, match="nothing is left"):
        apply_perturbation(faint, tmp_path / "in", tmp_path / "out")
    several = _saved(tmp_path / "s", _drawn((3, 4, 4), 0.1, groups=2), Linf(0.1))
    with pytest.raises(InputError, match="one for each of 2 classes"):
        apply_perturbation(several, tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="from 0 to 1, got 2"):
        apply_perturbation(several, tmp_path / "in", tmp_path / "out", group=2)
    assert not (tmp_path / "out").exists()
    assert apply_perturbation(several, tmp_path / "in", tmp_path / "out", group=1).pictures == 1


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    _folder(tmp_path / "in", {"k/a.png": (4, 4, 3)})
    np.savez(tmp_path / "u.npz", v=_drawn((4, 4, 3), 10.0)[0].numpy())
    command = ["apply", f"{tmp_path / 'u.npz'}:v", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "1\u00a0picture with the perturbation" in done.stdout
    assert "10\u00a0levels" in done.stdout
    assert "divided by 255" in " ".join(done.stderr.split())
    assert (tmp_path / "out" / "k" / "a.png").is_file()
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2
    assert "new or an empty folder" in again.stderr
