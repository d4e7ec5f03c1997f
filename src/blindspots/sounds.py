"""Sounds as WAV files, read and written with the standard library: what a file of each depth keeps of a sample."""

import struct
import wave
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError

Array = NDArray[Any]
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # format tags of WAV files


@dataclass(frozen=True)
class Depth:
    """How a WAV file keeps samples: as whole numbers k of so many bits, which stand for k / 2^(bits - 1), or as floats.

    Attributes:
        bits: of a sample, 8, 16, 24 or 32.
        floating: they are floats of 32 bits, and nothing is rounded.
    """

    bits: int
    floating: bool = False

    @property
    def half(self) -> int:
        """Levels from 0 up to 1."""
        return 1 << self.bits - 1

    def __str__(self) -> str:
        return f"{self.bits}-bit floats" if self.floating else f"{self.bits} bits"


DEPTHS = {  # by ffmpeg's names of them
    "u8": Depth(8),
    "s16": Depth(16),
    "s24": Depth(24),
    "s32": Depth(32),
    "f32": Depth(32, floating=True),
}


@dataclass(frozen=True)
class Sound:
    """One sound.

    Attributes:
        samples: float32 (channels, T); of whole numbers of 32 bits the nearest float32, all others are exact.
        rate: samples per second.
        depth: of the file; that of 32-bit floats stands for those of 64, too.
    """

    samples: NDArray[np.float32]
    rate: int
    depth: Depth


def read_wav(path: Path, raw: bytes) -> Sound:
    """The sound in a WAV file of 8, 16, 24 or 32 bits PCM, or of floats.

    Raises InputError: it is another kind of file, or broken.
    """
    try:
        tag, plain = _as_pcm(raw)
        with wave.open(BytesIO(plain)) as file:
            channels, width, rate, frames = file.getparams()[:4]
            content = file.readframes(frames)
        if len(content) != frames * channels * width:
            raise wave.Error(f"it ends after {len(content) // (channels * width)} of {frames} samples")
        if not frames:
            raise wave.Error("it holds no samples")
        if not 0 < rate * channels * width < 1 << 32:
            raise wave.Error(f"its sample rate is {rate}")
        samples = _samples(content, width, tag == _FLOAT)
    except (wave.Error, EOFError, struct.error, OverflowError, RuntimeError) as error:  # of a chunk beyond the end
        said = str(error) or "it ends too early"
        raise InputError(
            f"expected a WAV file of 8, 16, 24 or 32 bits PCM or of floats, got {str(path)!r}, which cannot be read "
            f"({said}): convert it, as in ffmpeg -i FILE -c:a pcm_s16le OUT.wav"
        ) from error
    depth = DEPTHS["f32"] if tag == _FLOAT else Depth(8 * width)
    return Sound(samples.reshape(frames, channels).T, rate, depth)


def write_wav(x: Array, rate: int, depth: Depth) -> bytes:
    """A WAV file of samples (channels, T), which are rounded to what it keeps."""
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(len(x))
        out.setsampwidth(depth.bits // 8)
        out.setframerate(rate)
        out.writeframes(_content(x.T, depth))
    raw = file.getvalue()
    return raw[:20] + struct.pack("<H", _FLOAT) + raw[22:] if depth.floating else raw


def whole_of(x: Array, depth: Depth) -> NDArray[np.int64]:
    """The nearest k of samples k / 2^(bits - 1)."""
    levels: NDArray[np.int64] = np.rint(np.asarray(x, np.float64) * depth.half).astype(np.int64)
    return levels.clip(-depth.half, depth.half - 1)


def towards(x: Array, x0: Array, depth: Depth) -> Array:
    """Samples `x`, float32, as a file keeps them: rounded towards those of the original `x0`, which lies on its levels.

    So no change grows, and what lay inside of a threat still does.
    """
    if depth.floating:
        return x
    whole = np.trunc((x.astype(np.float64) - x0) * depth.half).astype(np.int64)
    levels = (whole_of(x0, depth) + whole).clip(-depth.half, depth.half - 1)
    rounded: Array = (levels / depth.half).astype(np.float32)
    return rounded


def _as_pcm(raw: bytes) -> tuple[int, bytes]:
    """The format tag, and the file as if its samples were whole numbers under a plain header, which `wave` reads."""
    at = _format_at(raw)
    if not at:
        return _PCM, raw
    tag: int = struct.unpack_from("<H", raw, at)[0]
    if tag == _EXTENSIBLE:
        tag = struct.unpack_from("<H", raw, at + 24)[0]
    told = _PCM if tag == _FLOAT else tag
    return tag, raw[:at] + struct.pack("<H", told) + raw[at + 2 :]


def _format_at(raw: bytes) -> int:
    """Where the content of the chunk "fmt " begins; 0 where there is none."""
    at = 12
    while at + 8 <= len(raw):
        name, size = struct.unpack_from("<4sI", raw, at)
        if name == b"fmt ":
            return at + 8
        at += 8 + size + size % 2
    return 0


def _samples(content: bytes, width: int, floating: bool) -> NDArray[np.float32]:
    """Of all channels in turn."""
    if floating:
        return _floats(content, width)
    if width not in _WHOLE:
        raise wave.Error(f"its samples have {8 * width} bits")
    whole: NDArray[np.int64] = _WHOLE[width](content)
    return (whole / Depth(8 * width).half).astype(np.float32)


def _floats(content: bytes, width: int) -> NDArray[np.float32]:
    if width not in (4, 8):
        raise wave.Error(f"its floats have {8 * width} bits")
    with np.errstate(over="ignore"):
        samples = np.frombuffer(content, f"<f{width}").astype(np.float32)
    if not np.isfinite(samples).all():
        raise wave.Error("it holds values that are not finite")
    return samples


def _of_8_bits(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, np.uint8).astype(np.int64) - 128


def _of_16_bits(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, "<i2").astype(np.int64)


def _of_24_bits(content: bytes) -> NDArray[np.int64]:
    three = np.frombuffer(content, np.uint8).reshape(-1, 3).astype(np.int64)
    return ((three[:, 0] | three[:, 1] << 8 | three[:, 2] << 16) ^ (1 << 23)) - (1 << 23)


def _of_32_bits(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, "<i4").astype(np.int64)


_WHOLE = {1: _of_8_bits, 2: _of_16_bits, 3: _of_24_bits, 4: _of_32_bits}  # by bytes of a sample


def _content(x: Array, depth: Depth) -> bytes:
    """Samples (T, channels) as bytes: little-endian, those of 8 bits from 0 to 255."""
    if depth.floating:
        return x.astype("<f4").tobytes()
    whole = whole_of(x, depth) + (128 if depth.bits == 8 else 0)
    eight = np.ascontiguousarray(whole, "<i8").view(np.uint8).reshape(*whole.shape, 8)
    return eight[..., : depth.bits // 8].tobytes()
