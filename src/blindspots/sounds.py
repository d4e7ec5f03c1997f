"""Sounds as WAV files of PCM samples, read and written with the standard library."""

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
STEPS = 1 << 16  # of 16 bits, from -1 up to 1
_HALF = STEPS // 2
_EXTENSIBLE = 0xFFFE  # a format tag of WAV files


@dataclass(frozen=True)
class Sound:
    """One sound.

    Attributes:
        samples: int16 (channels, T): a value of -32768 stands for -1.
        rate: samples per second.
        bits: of the file; more than 16 were rounded.
    """

    samples: NDArray[np.int16]
    rate: int
    bits: int


def read_wav(path: Path, raw: bytes) -> Sound:
    """The sound in a WAV file of 8, 16, 24 or 32 bits PCM. Raises InputError: it is another kind of file, or broken."""
    try:
        with wave.open(BytesIO(_plain(raw))) as file:
            channels, width, rate, frames = file.getparams()[:4]
            content = file.readframes(frames)
            if len(content) != frames * channels * width:
                raise wave.Error(f"it ends after {len(content) // (channels * width)} of {frames} samples")
            if not frames:
                raise wave.Error("it holds no samples")
            if width not in _WHOLE:
                raise wave.Error(f"its samples have {8 * width} bits")
    except (wave.Error, EOFError, struct.error, OverflowError) as error:
        said = str(error) or "it ends too early"
        raise InputError(
            f"expected a WAV file of 8, 16, 24 or 32 bits PCM, got {str(path)!r}, which cannot be read ({said}): "
            "convert it, as in ffmpeg -i FILE -c:a pcm_s16le OUT.wav"
        ) from error
    whole: NDArray[np.int64] = _WHOLE[width](content).reshape(frames, channels).T
    return Sound(_in_16_bits(whole, 8 * width), rate, 8 * width)


def write_wav(x: Array, rate: int) -> bytes:
    """A WAV file of 16 bits from samples (channels, T) in [-1, 1], which are rounded to k / 32768."""
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(len(x))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(whole_of(x).T.astype("<i2").tobytes())
    return file.getvalue()


def whole_of(x: Array) -> NDArray[np.int16]:
    """The nearest k of samples k / 32768."""
    return np.rint(np.asarray(x, np.float64) * _HALF).clip(-_HALF, _HALF - 1).astype(np.int16)


def towards(x: Array, x0: Array) -> Array:
    """Samples `x` on the levels of 16 bits, rounded towards those of the original `x0`, which lie on them: float32.

    So no change grows, and what lay inside of a threat still does.
    """
    change = (x.astype(np.float64) - x0) * _HALF
    whole = np.sign(change) * np.floor(np.abs(change) + _NEXT)
    levels = x0.astype(np.float64) * _HALF + whole
    rounded: Array = (levels.clip(-_HALF, _HALF - 1) / _HALF).astype(np.float32)
    return rounded


_NEXT = 1e-3  # of a level: a change that is a whole one but for rounding


def _plain(raw: bytes) -> bytes:
    """An extensible header says the same of PCM samples as a plain one, which `wave` reads."""
    at = raw.find(b"fmt ", 12, 4096)
    if at < 0 or len(raw) < at + 34 or struct.unpack_from("<H", raw, at + 8)[0] != _EXTENSIBLE:
        return raw
    inner = struct.unpack_from("<H", raw, at + 32)[0]
    return raw[: at + 8] + struct.pack("<H", inner) + raw[at + 10 :]


def _in_16_bits(whole: NDArray[np.int64], bits: int) -> NDArray[np.int16]:
    if bits <= 16:
        return (whole << (16 - bits)).astype(np.int16)
    return np.rint(whole / (1 << (bits - 16))).clip(-_HALF, _HALF - 1).astype(np.int16)


def _of_24_bits(content: bytes) -> NDArray[np.int64]:
    three = np.frombuffer(content, np.uint8).reshape(-1, 3).astype(np.int64)
    return ((three[:, 0] | three[:, 1] << 8 | three[:, 2] << 16) ^ (1 << 23)) - (1 << 23)


def _of_8_bits(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, np.uint8).astype(np.int64) - 128


def _of_16_bits(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, "<i2").astype(np.int64)


def _of_32_bits(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, "<i4").astype(np.int64)


_WHOLE = {1: _of_8_bits, 2: _of_16_bits, 3: _of_24_bits, 4: _of_32_bits}  # by bytes of a sample
