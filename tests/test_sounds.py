"""Sounds: WAV files of all kinds, limits in decibels, and examples that are what a file of their depth holds."""

import base64
import csv
import io
import math
import re
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import blindspots as bs
from blindspots.attacks import FMN, PGD
from blindspots.ball import L2, Linf
from blindspots.decibels import DECIBELS, SNR, Peak, Relative
from blindspots.errors import InputError
from blindspots.experiments.evaluate import heard as heard_module
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.features import kept, restored
from blindspots.experiments.evaluate.gallery import chosen
from blindspots.experiments.evaluate.heard import audible, heard
from blindspots.report.words import ThreatWords
from blindspots.rows import Around
from blindspots.sounds import DEPTHS, Depth, read_wav, towards, whole_of, write_wav
from blindspots.threats import absolute, parse_threat
from closed_form import Linear
from tones import CLASSES, RATE, trained, write_tones


def wav(whole: np.ndarray, bits: int, rate: int = 8000, channels: int = 1) -> bytes:
    """A file of whole samples (T,) or (T, channels), as `wave` writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(bits // 8)
        out.setframerate(rate)
        shifted = whole + 128 if bits == 8 else whole
        four = shifted.astype("<i4").tobytes()
        out.writeframes(b"".join(four[i : i + bits // 8] for i in range(0, len(four), 4)))
    return file.getvalue()


def extensible(raw: bytes) -> bytes:
    """The same samples under the header that many programs write for more than 16 bits."""
    head = bytearray(raw[20:36])
    struct.pack_into("<H", head, 0, 0xFFFE)
    bits = struct.unpack_from("<H", raw, 34)[0]
    more = struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    chunk = b"fmt " + struct.pack("<I", 40) + bytes(head) + more
    return b"RIFF" + struct.pack("<I", len(raw) + 16) + b"WAVE" + chunk + raw[36:]


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("header", [bytes, extensible])
def test_files_of_all_widths_are_read_exactly(bits: int, channels: int, header: object) -> None:
    ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1, 0, -1, 1, 100], np.int64)
    whole = np.stack([ends, -ends // 3], 1)[:, :channels]
    sound = read_wav(Path("a.wav"), header(wav(whole.ravel(), bits, channels=channels)))  # type: ignore[operator]
    exact = whole.T / 2.0 ** (bits - 1)
    assert (sound.samples.shape, sound.rate, sound.depth) == ((channels, 6), 8000, Depth(bits))
    assert np.array_equal(sound.samples, exact.astype(np.float32))
    assert np.array_equal(sound.samples, exact) or bits == 32  # whose 32 bits no float32 holds


def floats(values: np.ndarray) -> bytes:
    """A file of floats as wide as the values, one channel, at 8000 Hz, with a chunk before its header's."""
    width = values.dtype.itemsize
    fmt = struct.pack("<HHIIHH", 3, 1, 8000, 8000 * width, width, 8 * width)
    said = b"LIST" + struct.pack("<I", 7) + b"fmt 123" + b"\0"  # of odd size, and no header
    content = said + b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", values.nbytes)
    return b"RIFF" + struct.pack("<I", 4 + len(content) + values.nbytes) + b"WAVE" + content + values.tobytes()


@pytest.mark.parametrize("width", ["<f4", "<f8"])
def test_floats_are_read_and_written_as_they_are(width: str) -> None:
    x = np.array([0.1, -1.5, 1e-30, 1.0], width)
    sound = read_wav(Path("a.wav"), floats(x))
    assert (sound.depth, sound.rate) == (DEPTHS["f32"], 8000)
    assert np.array_equal(sound.samples, x.astype(np.float32)[None])
    assert np.array_equal(read_wav(Path("b.wav"), write_wav(sound.samples, 8000, sound.depth)).samples, sound.samples)


@pytest.mark.parametrize("name", DEPTHS)
def test_what_is_written_is_read_again(name: str) -> None:
    depth, rng = DEPTHS[name], np.random.default_rng(0)
    whole = rng.integers(-depth.half, depth.half, (2, 50)) >> rng.integers(0, depth.bits, (2, 50))
    x = (whole / depth.half).astype(np.float32)
    again = read_wav(Path("a"), write_wav(x, 44100, depth))
    assert np.array_equal(again.samples, x)
    assert (again.rate, again.depth) == (44100, depth)
    assert whole_of(np.array([1.0, -1.0, 2.0]), DEPTHS["s16"]).tolist() == [32767, -32768, 32767]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it ends too early"),
        (b"RIFF0000WAVE", "cannot be read"),
        (b"ID3" + bytes(100), "does not start with RIFF id"),
        (wav(np.arange(100), 16)[:-50], "it ends after 75 of 100 samples"),
        (wav(np.zeros(0, np.int64), 16), "it holds no samples"),
        (wav(np.arange(9), 32)[:20] + b"\x07\0" + wav(np.arange(9), 32)[22:], "unknown format: 7"),
        (wav(np.arange(9), 32)[:24] + bytes(4) + wav(np.arange(9), 32)[28:], "its sample rate is 0"),
        (wav(np.arange(9), 32)[:24] + b"\xff" * 4 + wav(np.arange(9), 32)[28:], "its sample rate is 4294967295"),
        (wav(np.arange(9), 16)[:20] + b"\x03\0" + wav(np.arange(9), 16)[22:], "its floats have 16 bits"),
        (wav(np.arange(9), 16)[:36] + b"LIST\xf0\xff\xff\xff" + wav(np.arange(9), 16)[36:], "it ends too early"),
        (floats(np.array([0.0, np.nan], "<f4")), "it holds values that are not finite"),
        (floats(np.array([0.0, 1e300], "<f8")), "it holds values that are not finite"),
    ],
)
def test_other_files_are_refused_in_a_sentence(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"WAV file of 8, 16, 24 or 32 bits PCM or of floats.*{said}"):
        read_wav(Path("a.wav"), content)


@given(st.sampled_from(sorted(DEPTHS)), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 255)), max_size=3))
def test_a_broken_header_is_read_and_written_again_or_refused(name: str, flips: list[tuple[int, int]]) -> None:
    raw = bytearray(write_wav(np.linspace(-0.9, 0.9, 40, dtype=np.float32).reshape(2, 20), 8000, DEPTHS[name]))
    for at, value in flips:
        raw[at] = value
    try:
        sound = read_wav(Path("a.wav"), bytes(raw))
    except InputError:
        return
    again = read_wav(Path("b.wav"), write_wav(sound.samples, sound.rate, sound.depth))
    assert np.array_equal(again.samples, sound.samples)
    assert (again.rate, again.depth) == (sound.rate, sound.depth)


@given(st.sampled_from(sorted(DEPTHS)), st.integers(-(2**31), 2**31 - 1), st.floats(-1, 1, width=32))
def test_rounding_towards_the_original_never_makes_a_change_larger(name: str, k: int, value: float) -> None:
    depth = DEPTHS[name]
    x0 = np.float32([[(k >> 32 - depth.bits) / depth.half]])
    x = np.float32([[value]])
    rounded = towards(x, x0, depth)
    if depth.floating:
        assert np.array_equal(rounded, x)
        return
    change, kept = (t.astype(np.float64) - x0 for t in (x, rounded))
    assert abs(kept) <= abs(change)
    assert abs(kept - change) < 1.001 / depth.half + 2**-24 * (depth.bits == 32)
    assert np.array_equal(read_wav(Path("a"), write_wav(rounded, 8000, depth)).samples, rounded)
    assert np.array_equal(towards(rounded, x0, depth), rounded)


# ------------------------------------------------------------------ folders


def test_a_folder_of_tones_is_data(tmp_path: Path) -> None:
    data = bs.load_data(write_tones(tmp_path / "tones", 12), 7)
    x, y = data.rows(0, 7)
    assert data.class_names == list(CLASSES)
    assert (data.rate, data.shape, data.unit) == (RATE, (1, 400), "sound")  # type: ignore[attr-defined]
    assert y.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert x.abs().max() <= 1
    assert torch.equal(x * 32768, (x * 32768).round())
    lengths = data.lengths  # type: ignore[attr-defined]
    assert min(lengths) < max(lengths) == 400
    assert all(bool((row[:, n:] == 0).all()) for row, n in zip(x, lengths, strict=True))
    assert any("0.16 s to 0.2 s long" in note.saw for note in data.notes)


def test_folders_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    folder = write_tones(tmp_path / "tones", 4)
    (folder / "high" / "z.wav").write_bytes(wav(np.arange(9), 16, rate=16000))
    with pytest.raises(InputError, match=r"sounds of one sample rate, got 2000 Hz in .* and 16000 Hz in"):
        bs.load_data(folder)
    (folder / "high" / "z.wav").write_bytes(wav(np.arange(10), 16, rate=RATE, channels=2))
    with pytest.raises(InputError, match=r"sounds of one number of channels, got mono in .* and stereo in"):
        bs.load_data(folder)
    (folder / "high" / "z.wav").write_bytes(wav(np.arange(9), 24, rate=RATE))
    with pytest.raises(InputError, match=r"sounds of one depth, got 16 bits in .* and 24 bits in"):
        bs.load_data(folder)


def test_what_no_float_holds_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.wav").write_bytes(wav(np.array([1 << 30, 3, (1 << 30) + 1]), 32))
    data = bs.load_data(tmp_path)
    assert data.rows(0, 1)[0].tolist() == [[[0.5, 3 / 2**31, 0.5]]]
    assert any("32 bits, of which models get the nearest 32-bit float" in note.saw for note in data.notes)


# ------------------------------------------------------------------ decibels


@pytest.mark.parametrize(("spec", "ball", "share"), [("snr:20", L2, 0.1), ("peak:-40", Linf, 0.01), ("snr", L2, None)])
def test_limits_in_words(spec: str, ball: type, share: float | None) -> None:
    threat = parse_threat(spec)
    assert isinstance(threat, Relative)
    assert (threat.spec, type(threat.plain), threat.whole) == (spec, ball, (-1.0, 1.0))
    assert threat.radius == (None if share is None else pytest.approx(share))
    assert parse_threat(threat.within(-2, 2).spec) == threat
    assert restored(spec, (-1.0, 1.0), kept(threat)) == threat


@pytest.mark.parametrize(("threat", "order"), [(SNR(20), 2), (Peak(-26), np.inf)])
def test_every_row_has_its_own_radius(threat: Relative, order: float) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 1, 30, generator=g).clamp(-3, 3) / 3 * torch.tensor([1, 0.3, 0.1, 0.01, 0.001])[:, None, None]
    share, sizes = 10 ** (-(20 if order == 2 else 26) / 20), np.linalg.norm(x.flatten(1).numpy(), order, 1)
    assert torch.allclose(threat.reach(x), torch.from_numpy(share * sizes))
    far = x + torch.randn(x.shape, generator=g)
    moved = threat.project(far, around := Around(x, threat.reach(x)))
    assert threat.holds(moved, around).all()
    for found in (threat.distance(moved, x).numpy(), threat.measured(moved.numpy(), x.numpy())):
        assert found == pytest.approx(np.full(5, share), rel=1e-4)
    assert not threat.holds(x + 1.01 * (moved - x), around).any()


def test_silence_may_not_change() -> None:
    x = torch.stack([torch.zeros(1, 10), torch.ones(1, 10) / 2])
    for threat in (SNR(20), Peak(-20)):
        assert threat.immovable(Around(x, threat.reach(x))).tolist() == [True, False]
        assert threat.measured(x.numpy(), x.numpy()).tolist() == [0, 0]


@pytest.mark.parametrize("kind", DECIBELS.values())
def test_a_linear_model_falls_where_the_closed_form_says(kind: type[Relative]) -> None:
    """|w x| <= share |x|_p |w|_q: the limit in dB at which each row falls is known."""
    g = torch.Generator().manual_seed(3)
    weight = torch.randn(40, generator=g)
    x = (torch.rand(30, 40, generator=g) - 0.5) * torch.logspace(-2, 0, 30)[:, None]
    net, y = Linear(torch.stack([weight / 2, -weight / 2]), torch.zeros(2)), (x @ weight < 0).long()
    own, ball = kind(), kind.ball()
    share = (x @ weight).abs() / (ball.norm(x) * ball.dual(weight[None]))
    model, limit = bs.Model(net, bounds=(-9, 9)), kind.in_decibels(float(share.median()))
    run = bs.attack(model, x, y, PGD(20, random_start=False), threat=f"{kind.name}:{limit:.6f}")
    fell = run.adversarial.ne(x).any(1)
    clear = (share / share.median() - 1).abs() > 1e-3
    assert torch.equal(fell[clear], (share < share.median())[clear])
    least = bs.attack(model, x, y, FMN(200), threat=own)
    assert least.verdict.distances is not None
    assert least.verdict.robust_accuracy == 0
    assert least.verdict.distances.smallest == pytest.approx(float(share.min()), rel=0.05)
    assert least.verdict.distances.smallest >= float(share.min()) * (1 - 1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="a number of decibels for snr"):
        parse_threat("snr:loud")
    with pytest.raises(InputError, match="finite number of decibels"):
        SNR(math.inf)
    with pytest.raises(InputError, match="no units of features in peak"):
        Peak(-20, unit=np.ones(3))
    with pytest.raises(InputError, match=r"differs between rows.*give l2:RADIUS"):
        absolute(SNR(20))


def test_sizes_are_said_in_decibels() -> None:
    words = ThreatWords("snr:20", (-1.0, 1.0))
    assert (words.text, words.sized(0.01), words.radius) == ("SNR\xa020\xa0dB", "SNR 40\xa0dB", 0.1)
    assert "stays at 20\xa0dB or more" in words.allows
    assert ThreatWords("peak:-30", (-1.0, 1.0)).text == "peak\xa0−30\xa0dB"


# ------------------------------------------------------------------ from the folder to the files


@pytest.fixture(scope="module")
def ear() -> bs.Model:
    return bs.Model(trained(), bounds=(-1, 1), name="ear")


def decibels(x: np.ndarray, moved: np.ndarray) -> tuple[float, float]:
    """SNR and peak, computed from two files."""
    change = moved.astype(np.float64) - x
    ratio, loudest = (x.astype(np.float64) ** 2).sum() / (change**2).sum(), np.abs(change).max() / np.abs(x).max()
    return 10 * math.log10(ratio), 20 * math.log10(loudest)


@pytest.mark.parametrize(
    ("spec", "at", "depth"), [("snr:6", 0, "u8"), ("snr:6", 0, "s16"), ("peak:-8", 1, "s24"), ("peak:-8", 1, "f32")]
)
def test_every_file_that_is_written_keeps_the_limit(
    ear: bs.Model, spec: str, at: int, depth: str, tmp_path: Path
) -> None:
    data = bs.load_data(write_tones(tmp_path / "tones", 20, depth=depth))
    run = bs.attack(ear, data=data, attack=PGD(20), threat=spec, out=tmp_path / "run")
    v = run.verdict
    assert v.clean_accuracy == 1
    assert 0 < v.robust_accuracy < 1
    if depth != "u8":
        assert v.robust_accuracy_8bit == v.robust_accuracy
    with (tmp_path / "run" / "examples" / "examples.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == round(20 * (1 - v.robust_accuracy))
    exact = load_file(tmp_path / "run" / "examples" / "examples.safetensors")
    undone = 0
    for i, line in enumerate(lines):
        x, moved = (
            read_wav(path := tmp_path / "run" / "examples" / "sounds" / line[name], path.read_bytes())
            for name in ("original", "adversarial")
        )
        row, length = int(line["row"]), data.lengths[int(line["row"])]  # type: ignore[attr-defined]
        assert np.array_equal(x.samples, data.rows(row, row + 1)[0][0, :, :length])
        assert np.array_equal(moved.samples, exact["in_file"][i, :, :length])
        assert (moved.samples.shape, moved.rate, moved.depth) == ((1, length), RATE, DEPTHS[depth])
        found = decibels(x.samples, moved.samples)
        limit = float(spec.partition(":")[2])
        assert found[at] >= limit - 1e-3 if at == 0 else found[at] <= limit + 1e-3
        assert found == pytest.approx((float(line["snr"]), float(line["peak"])), abs=0.01)
        whole = torch.zeros(1, 1, 400)
        whole[..., :length] = torch.from_numpy(moved.samples)
        fools = CLASSES[int(ear.net(whole).argmax())] == line["prediction"] != line["label"]
        assert line["survives"] == str(fools)
        undone += not fools
    assert round(20 * (v.robust_accuracy_8bit - v.robust_accuracy)) == undone


def test_a_run_is_proved_again_and_played_from_its_report(ear: bs.Model, tmp_path: Path) -> None:
    run = bs.evaluate(ear, data=bs.load_data(write_tones(tmp_path / "tones", 12)), threat="snr:6", out=tmp_path / "run")
    assert not bs.verify(tmp_path / "run", ear).problems
    page = bs.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "media-src data:" in page
    assert "Robust after rounding to 16 bits" in page
    assert "SNR" in page
    heard = re.findall(r'src="data:audio/wav;base64,([^"]+)"', page)
    fell = int((~run.adversarial.eq(bs.load_data(tmp_path / "tones").rows(0, 12)[0]).flatten(1).all(1)).sum())
    assert len(heard) == 3 * fell > 0
    for original, change, moved in zip(heard[::3], heard[1::3], heard[2::3], strict=True):
        x, d, y = (read_wav(Path(), base64.b64decode(uri)).samples for uri in (original, change, moved))
        assert abs(abs(d).max() - abs(x).max()) <= 1 / 32768
        assert decibels(x, y)[0] >= 6 - 1e-3


def test_players_of_a_report_are_bounded(ear: bs.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bs.attack(ear, data=bs.load_data(write_tones(tmp_path / "tones", 12)), attack=PGD(20), threat=SNR(3))
    evidence = Evidence(run)
    picks = chosen(evidence)
    rows = {row for pick in picks for row in pick}
    assert audible(evidence, picks) == rows
    one = heard_module._bytes(evidence, picks[0][0])
    assert len(heard(evidence, picks[0][0]).original) == pytest.approx(one, abs=40)
    monkeypatch.setattr(heard_module, "_SIZE", 6 * one)
    assert audible(evidence, picks) < rows
    monkeypatch.setattr(heard_module, "_LONGEST", 0.1)
    short = heard(evidence, picks[0][0])
    assert (short.seconds, short.cut) == (0.1, True)


def test_verify_finds_an_example_that_is_too_loud(ear: bs.Model, tmp_path: Path) -> None:
    from blindspots.experiments.evaluate.verify_rows import _reach

    x = np.float32([[[0.5, -0.5, 0.25, 0.0]], [[0.0, 0.0, 0.0, 0.0]]])
    threat = SNR(20, padding=0.0)
    for factor, inside in ((0.0999, True), (0.101, False)):
        moved = x * np.float32(1 - factor)
        moved[1, 0, 0] = 0.0 if inside else 1e-4
        assert (threat.measured(moved, x) <= _reach(threat, moved, x)).tolist() == [inside, inside]
