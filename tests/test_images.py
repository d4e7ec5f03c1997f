"""Pictures in files: the same picture gives the same row in every mode, orientation and depth, or a sentence."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import blindspots as bs
from blindspots.data import digits_arrays, load_data
from blindspots.data.images import read_picture
from blindspots.errors import InputError
from blindspots.models import Model, load_model
from blindspots.models.binding import bound

X, Y = (t[:20] for t in digits_arrays("test"))
GREY = (X * 255).round().to(torch.uint8)[:, 0].numpy()
COLOUR = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
ORIENTATION = 0x0112
UPRIGHT: dict[int, Callable[[Any], Any]] = {  # how a camera that is held so stores an upright picture (EXIF 2.3)
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def folder_of(path: Path, save: Callable[[Any, Path], None], levels: Any = GREY) -> str:
    """Each picture in the folder of its label, by a function that is given a file name without its ending."""
    for i, (image, label) in enumerate(zip(levels, Y.tolist(), strict=True)):
        place = path / str(label)
        place.mkdir(parents=True, exist_ok=True)
        save(image, place / f"{i:02d}")
    return str(path)


def rows(spec: str) -> torch.Tensor:
    data = load_data(spec)
    return data.rows(0, len(data))[0]


def notes(spec: Any) -> str:
    return " ".join(str(note) for note in (load_data(spec) if isinstance(spec, str) else spec).notes)


def png(levels: Any, kind: int) -> bytes:
    """A PNG of 16 bits per channel (H, W, C); kinds: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    high, wide = levels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in levels)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", wide, high, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


# ------------------------------------------------------------------ modes


def in_mode(mode: str, suffix: str = ".png", **how: Any) -> Callable[[Any, Path], None]:
    return lambda levels, path: Image.fromarray(levels).convert(mode).save(path.with_suffix(suffix), **how)


def in_palette(levels: Any, path: Path) -> None:
    """With the colours in another order, so that places in the palette are no levels."""
    image = Image.frombytes("P", levels.shape[::-1], (255 - levels).tobytes())
    image.putpalette([k for level in range(255, -1, -1) for k in (level,) * 3])
    image.save(path.with_suffix(".png"))


def in_16_bits(factor: int, kind: int = 0) -> Callable[[Any, Path], None]:
    def save(levels: Any, path: Path) -> None:
        deep = levels.astype(np.uint16) * factor
        deep = np.stack([deep] * (1 if kind in (0, 4) else 3), -1)
        alpha = np.full((*levels.shape, 1), 65535, np.uint16)
        deep = np.concatenate([deep, alpha], -1) if kind > 2 else deep
        path.with_suffix(".png").write_bytes(png(deep, kind))

    return save


MODES: dict[str, Callable[[Any, Path], None]] = {
    "RGB": in_mode("RGB"),
    "RGBA": in_mode("RGBA"),
    "LA": in_mode("LA"),
    "palette": in_palette,
    "palette by Pillow": in_mode("P"),
    "bmp": in_mode("L", ".bmp"),
    "bmp RGB": in_mode("RGB", ".bmp"),
    "webp": in_mode("RGB", ".webp", lossless=True),
    "16 bits, 257 k": in_16_bits(257),
    "16 bits, 256 k": in_16_bits(256),
    "16 bits RGB, 257 k": in_16_bits(257, 2),
    "16 bits RGB, 256 k": in_16_bits(256, 2),
    "16 bits RGBA": in_16_bits(257, 6),
    "PNG called jpg": lambda levels, path: Image.fromarray(levels).save(path.with_suffix(".jpg"), "PNG"),
}


@pytest.mark.parametrize("mode", MODES)
def test_grey_pictures_are_the_same_rows_in_every_mode(mode: str, tmp_path: Path) -> None:
    spec = folder_of(tmp_path / mode, MODES[mode])
    plain = folder_of(tmp_path / "plain", in_mode("L"))
    assert torch.equal(rows(spec), rows(plain))
    assert bs.attack("digits", data=spec, attack=bs.attacks.FGSM(), threat=bs.Linf(0.05)).clean_accuracy >= 0.9
    colour = "RGB" in mode or "palette" in mode or mode == "webp"
    assert ("stored in colour but have none" in notes(spec)) == colour
    assert ("16 bits" in notes(spec)) == ("16 bits" in mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_of_grey_pictures_are_grey(mode: str, tmp_path: Path) -> None:
    spec = folder_of(tmp_path / "jpeg", in_mode(mode, ".jpg", quality=100))
    assert load_data(spec).shape == (1, 8, 8)
    assert (rows(spec) - rows(folder_of(tmp_path / "plain", in_mode("L")))).abs().max() <= 3 / 255


def test_bits_beyond_the_eighth_are_kept(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (20, 6, 5, 3)).astype(np.uint16)
    for kind, levels in ((0, deep[..., :1]), (2, deep)):
        spec = folder_of(
            tmp_path / str(kind), lambda a, path, k=kind: path.with_suffix(".png").write_bytes(png(a, k)), levels
        )
        data = load_data(spec)
        order = np.argsort([int(p.stem) for p in data._files])  # type: ignore[attr-defined]
        found = data.rows(0, 20)[0][torch.from_numpy(order)]
        assert torch.equal(found, torch.from_numpy(levels.astype(np.float32) / 65535).permute(0, 3, 1, 2))
        assert "divided by 65535" in notes(spec)


def test_16_bits_of_grey_and_alpha_are_refused(tmp_path: Path) -> None:
    spec = folder_of(tmp_path, in_16_bits(257, 4))
    with pytest.raises(InputError, match="16 bits per channel in a form that cannot be read"):
        load_data(spec)


def test_alpha_that_is_not_opaque_is_said(tmp_path: Path) -> None:
    def save(levels: Any, path: Path) -> None:
        image = Image.fromarray(levels).convert("RGBA")
        image.putalpha(Image.fromarray(np.tile(np.arange(8, dtype=np.uint8) * 36, (8, 1))))
        image.save(path.with_suffix(".png"))

    spec = folder_of(tmp_path / "clear", save)
    assert torch.equal(rows(spec), rows(folder_of(tmp_path / "plain", in_mode("L"))))
    assert "warning: 20 of 20 images have pixels that are not opaque" in notes(spec)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_colour_that_stands_for_transparency_is_alpha(mode: str, tmp_path: Path) -> None:
    keyed = (0, 0, 0) if mode == "RGB" else 0
    spec = folder_of(tmp_path, in_mode(mode, transparency=keyed))
    assert "20 of 20 images have pixels that are not opaque" in notes(spec)


# ------------------------------------------------------------------ channels


def test_one_picture_in_colour_gives_all_three_channels(tmp_path: Path) -> None:
    def save(levels: Any, path: Path) -> None:
        mode = "L" if path.name != "19" else "RGB"
        Image.fromarray(levels).convert(mode).save(path.with_suffix(".png"))

    spec = folder_of(tmp_path, save, COLOUR)
    data = load_data(spec)
    assert data.shape == (3, 6, 5)
    last = next(i for i, p in enumerate(data._files) if p.stem == "19")  # type: ignore[attr-defined]
    assert torch.equal(data.rows(last, last + 1)[0][0], torch.from_numpy(COLOUR[19]).permute(2, 0, 1).float() / 255)
    assert "19 of 20 images are stored in grey while others have colours" in notes(spec)


def test_grey_pictures_for_a_model_of_three_channels_are_given_in_three(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    for mode in ("L", "RGB"):
        data = load_data(folder_of(tmp_path / mode, in_mode(mode)))
        found = bound(Model(net), data)
        assert torch.equal(found.rows(0, 20)[0], data.rows(0, 20)[0].expand(20, 3, 8, 8))
        assert "in 3 equal channels" in notes(found)
    run = bs.attack(net, data=data, attack=bs.attacks.FGSM(), threat=bs.Linf(0.05), out=tmp_path / "run")
    assert run.manifest.world["data"]["shape"] == [3, 8, 8]


def test_colours_for_a_grey_model_are_refused_with_the_picture(tmp_path: Path) -> None:
    def save(levels: Any, path: Path) -> None:
        image = np.stack([levels] * 3, -1)
        image[0, 0, 0] ^= path.name == "11"
        Image.fromarray(image).save(path.with_suffix(".png"))

    with pytest.raises(InputError, match=r"the only kind that digits takes, got colours in .*11.png"):
        bs.attack("digits", data=folder_of(tmp_path, save), attack=bs.attacks.FGSM(), threat=bs.Linf(0.05))


# ------------------------------------------------------------------ orientation


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_says(orientation: int, suffix: str, tmp_path: Path) -> None:
    def save(levels: Any, path: Path) -> None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = np.ascontiguousarray(UPRIGHT[orientation](levels))
        how = {".jpg": {"quality": 100}, ".webp": {"lossless": True}, ".png": {}}[suffix]
        Image.fromarray(stored).save(path.with_suffix(suffix), exif=exif.tobytes(), **how)  # type: ignore[arg-type]

    spec = folder_of(tmp_path / "turned", save, COLOUR)
    plain = folder_of(tmp_path / "plain", in_mode("RGB"), COLOUR)
    assert load_data(spec).shape == (3, 6, 5)
    if suffix != ".jpg":
        assert torch.equal(rows(spec), rows(plain))
    assert ("20 of 20 images were rotated" in notes(spec)) == (orientation != 1)
    digits = folder_of(tmp_path / "digits", save)
    run = bs.attack("digits", data=digits, attack=bs.attacks.FGSM(), threat=bs.Linf(0.05))
    assert run.clean_accuracy >= 0.9


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA"])
def test_other_modes_are_turned_too(mode: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = folder_of(tmp_path / mode, in_mode(mode, exif=exif.tobytes()), np.rot90(GREY, 1, (1, 2)))
    assert torch.equal(rows(turned), rows(folder_of(tmp_path / "plain", in_mode("L"))))


def test_sizes_are_compared_after_turning(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (tmp_path / "a").mkdir()
    Image.fromarray(COLOUR[0]).save(tmp_path / "a" / "0.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(COLOUR[0]))).save(tmp_path / "a" / "1.png", exif=exif.tobytes())
    x = rows(str(tmp_path))
    assert torch.equal(x[0], x[1])


# ------------------------------------------------------------------ what is no picture


def moving(path: Path) -> None:
    frames = [Image.fromarray(levels) for levels in GREY[:3]]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def bomb(path: Path) -> None:
    """A header that promises ten thousand million pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    raw = png(GREY[0][..., None].astype(np.uint16), 0)
    path.write_bytes(raw[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + raw[33:])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "moving": (moving, "it is animated: it has 3 frames"),
    "bomb": (bomb, "decompression bomb"),
    "empty": (lambda path: path.write_bytes(b""), "cannot identify"),
    "text": (lambda path: path.write_text("a picture"), "cannot identify"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:60]), "truncated|cannot be read"),
    "gif": (lambda path: Image.fromarray(GREY[0]).save(path, "GIF"), "cannot identify"),
    "postscript": (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"),
        "cannot identify",
    ),
    "unreadable": (lambda path: (path.unlink(), path.symlink_to(path)), "cannot be read|got 1 folders"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_picture_is_refused_before_anything_is_computed(damage: str, tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    path = tmp_path / "3" / "a.png"
    Image.fromarray(GREY[0]).save(path)
    act, said = DAMAGES[damage]
    act(path)
    with pytest.raises(InputError, match=said) as error:
        load_data(str(tmp_path))
    assert damage == "unreadable" or str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_large_pictures_are_decoded_beforehand_only_where_that_tells_something(suffix: str, tmp_path: Path) -> None:
    place = tmp_path / "3"
    place.mkdir()
    draw = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(draw.integers(0, 256, (150, 160, 3), dtype=np.uint8)).save(place / f"{i}{suffix}")
    decoded: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "blindspots.data.folder.read_picture",
            lambda path, raw=None: (decoded.append(path), read_picture(path, raw))[1],
        )
        load_data(str(tmp_path))
    assert decoded == [place / f"0{suffix}"]
    raw = (place / f"2{suffix}").read_bytes()
    (place / f"2{suffix}").write_bytes(raw[: len(raw) // 3])
    with pytest.raises(InputError, match=f"2{suffix}.*cannot be read"):
        load_data(str(tmp_path))
    (place / f"2{suffix}").write_bytes(raw[:200] + raw[-12:])
    with pytest.raises(InputError, match=f"2{suffix}.*cannot be read"):
        rows(str(tmp_path))


def test_a_camera_s_picture_with_a_preview_is_its_first_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = Image.fromarray(COLOUR[0]), Image.fromarray(COLOUR[1])
    first.save(path, "MPO", save_all=True, append_images=[second], quality=100)
    first.save(tmp_path / "alone.jpg", quality=100)
    assert np.array_equal(read_picture(path).levels, read_picture(tmp_path / "alone.jpg").levels)


def test_a_folder_that_looks_like_a_picture_is_none(tmp_path: Path) -> None:
    folder_of(tmp_path, in_mode("L"))
    (tmp_path / "3" / "a.png").mkdir()
    assert len(load_data(str(tmp_path))) == 20
    assert "1 folder inside of these" in notes(str(tmp_path))


def test_class_folders_one_level_deeper_are_hinted_at(tmp_path: Path) -> None:
    folder_of(tmp_path / "train", in_mode("L"))
    with pytest.raises(InputError, match=r"they lie one level deeper, so pass e.g. .*train"):
        load_data(str(tmp_path))


def test_linked_folders_and_pictures_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path / "there", in_mode("L"))
    (tmp_path / "here").mkdir()
    for place in (tmp_path / "there").iterdir():
        (tmp_path / "here" / place.name).symlink_to(place)
    assert torch.equal(rows(str(tmp_path / "here")), rows(str(tmp_path / "there")))


# ------------------------------------------------------------------ runs


def test_runs_on_pictures_can_be_verified(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(
        "import torch\ndef net():\n    torch.manual_seed(0)\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), "
        "torch.nn.Flatten(), torch.nn.Linear(144, 10))\n"
    )
    spec = folder_of(tmp_path / "data", in_mode("RGBA"))
    bs.attack(f"{net}:net", data=spec, attack=bs.attacks.FGSM(), threat=bs.Linf(0.05), out=tmp_path / "run")
    assert bs.verify(tmp_path / "run").ok


def test_the_model_decides_between_layouts_where_only_one_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    series = np.random.default_rng(0).random((20, 3, 16), dtype=np.float32)
    np.savez(tmp_path / "series.npz", x=series, y=Y.numpy())
    layers = "torch.nn.Conv1d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(56, 10)"
    code = f"import torch\ndef net():\n    torch.manual_seed(0)\n    return torch.nn.Sequential({layers})\n"
    (tmp_path / "net.py").write_text(code)
    for given in ("series.npz", None):
        data = load_data(str(tmp_path / given)) if given else bs.ArrayData(series, Y)
        run = bs.attack(
            f"{tmp_path / 'net.py'}:net",
            data=data,
            attack=bs.attacks.FGSM(),
            threat=bs.Linf(0.05),
            out=tmp_path / f"run {given}",
        )
        seen = run.manifest.world["data"]
        assert (seen["shape"], seen["layout"]) == ([3, 16], "as-is")
        assert "which the model takes, and not as (1, 3, 16)" in " ".join(f.saw for f in run.findings)
        assert bs.verify(tmp_path / f"run {given}").problems == []
    last = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    assert bound(load_model("digits"), bs.ArrayData(torch.from_numpy(last), Y)).shape == (1, 8, 8)
    assert bound(load_model("digits"), bs.ArrayData(X[:, 0], Y)).shape == (1, 8, 8)
