"""Reading pictures: rotated according to EXIF, grey where they have no colour, with all their bits."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB")  # whatever a file's name: for other formats Pillow may run programs
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112  # EXIF's tag
_SMALL = 128 * 128  # pixels: decoding takes no longer than opening, about a millisecond


@dataclass(frozen=True)
class Picture:
    """One picture, decoded.

    Attributes:
        levels: uint8 or uint16, (H, W) where no pixel has a colour, else (H, W, 3).
        stored_in_colour: whether the file has several channels, equal ones or not.
        turned: it was rotated according to EXIF.
        see_through: it has pixels that are not opaque; their colour is kept, their transparency is not.
    """

    levels: NDArray[Any]
    stored_in_colour: bool
    turned: bool
    see_through: bool

    @property
    def coloured(self) -> bool:
        return self.levels.ndim == 3

    @property
    def deep(self) -> bool:
        """Whether it has 16 bits per channel."""
        return self.levels.dtype == np.uint16

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.levels.shape[1], self.levels.shape[0]

    def channels(self, count: int) -> NDArray[Any]:
        """(H, W, count) levels; a picture without colour has equal channels."""
        levels = self.levels if self.coloured else self.levels[..., None]
        return np.broadcast_to(levels, (*levels.shape[:2], count))


def read_picture(path: Path, raw: bytes | None = None) -> Picture:
    """The picture in a file. Raises InputError: it is broken, animated, or too large."""
    with _decoding(path):
        content = path.read_bytes() if raw is None else raw
        with _opened(content) as image:
            packed = _packed(image)  # first: reading EXIF may decode the picture
            turned = _orientation(image, content) in range(2, 9)
            levels, alpha = _channels(content, image, packed)
            return _picture(levels, alpha, image.mode not in _GREY, turned)


@dataclass(frozen=True)
class Glance:
    """What a file reveals of its picture without decoding it.

    Attributes:
        size: width and height after rotation.
        simple: it has 8 bits per channel, no transparency, a complete end, and is too large to decode just to check.
    """

    size: tuple[int, int]
    stored_in_colour: bool
    turned: bool
    simple: bool


def glance_at(path: Path, raw: bytes) -> Glance:
    """Inspect a picture's file. Raises InputError as `read_picture` does, as far as that shows without decoding."""
    with _decoding(path), _opened(raw) as image:
        packed, (width, height) = _packed(image), image.size
        simple = image.mode in ("L", "RGB", "CMYK") and ";16" not in packed and not _keyed(image)
        orientation = _orientation(image, raw)
        size = (height, width) if orientation in range(5, 9) else (width, height)
        return Glance(
            size, image.mode not in _GREY, orientation in range(2, 9),
            simple and width * height > _SMALL and _has_its_end(image, raw),
        )  # fmt: skip


def _orientation(image: "Image", raw: bytes) -> int:
    """The EXIF orientation, 1 where there is none. A PNG is decoded for it only if its header may hold one."""
    silent = image.format == "PNG" and not any(mark in raw for mark in (b"eXIf", b"rientation", b"profile type"))
    return 1 if silent else int(image.getexif().get(_ORIENTATION, 1))


def _has_its_end(image: "Image", raw: bytes) -> bool:
    end = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}.get(str(image.format))
    return end is not None and raw.rfind(end) > len(raw) // 2


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture, rotated according to EXIF. Raises InputError as `read_picture` does."""
    with _decoding(path):
        return glance_at(path, path.read_bytes()).size


def in_8_bits(levels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """The 8-bit levels k that 16-bit levels 257 k or 256 k were made from; None where that would lose something."""
    if levels.dtype == np.uint8:
        return levels
    high, low = (levels >> 8).astype(np.uint8), (levels & 255).astype(np.uint8)
    return high if not low.any() or np.array_equal(high, low) else None


def levels_of(picture: Picture, path: Path, channels: int) -> NDArray[np.uint8]:
    """A picture's 8 bits (H, W, channels). Raises InputError: 16 bits, or its colours, would be lost."""
    levels = in_8_bits(picture.levels)
    if levels is None:
        raise InputError(
            f"expected a picture of 8 bits, got {str(path)!r} with 16 bits that 8 cannot hold: save it with 8 bits"
        )
    if channels == 1 and picture.coloured:
        raise InputError(f"expected a grey picture, got {str(path)!r} with colours: save it in grey")
    return replace(picture, levels=levels).channels(channels)


# ------------------------------------------------------------------ Pillow


def _opened(content: bytes) -> "Image":
    from PIL import Image

    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(BytesIO(content), formats=[f for f in _FORMATS if f in Image.OPEN])
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with an embedded preview
        raise ValueError(f"it is animated: it has {frames} frames")
    return image


def _picture(levels: NDArray[Any], alpha: NDArray[Any] | None, stored_in_colour: bool, turned: bool) -> Picture:
    if levels.ndim == 3 and (levels == levels[..., :1]).all():
        levels = levels[..., 0]
    opaque = alpha is None or bool((alpha == np.iinfo(alpha.dtype).max).all())
    return Picture(np.ascontiguousarray(levels), stored_in_colour, turned, not opaque)


def _channels(content: bytes, image: "Image", packed: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Levels (H, W) or (H, W, 3), rotated, and alpha (H, W), if there is one."""
    if image.mode.startswith("I"):
        return _whole(np.asarray(_turned(image))), None
    if packed in ("RGB;16B", "RGBA;16B"):
        return _split(_deep(content, image, packed))
    if ";16" in packed:
        raise ValueError("it has 16 bits per channel in a form that cannot be read")
    return _split(np.asarray(_turned(_plain(image))))


def _turned(image: "Image") -> "Image":
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _plain(image: "Image") -> "Image":
    """In one of the modes L, LA, RGB and RGBA."""
    if image.mode in ("L", "LA", "RGB", "RGBA") and not _keyed(image):
        return image
    exif = image.getexif()
    grey, clear = image.mode in ("1", "L", "La"), image.mode in ("La", "PA", "RGBa") or _keyed(image)
    plain = image.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB"))
    plain.info["exif"] = exif.tobytes()
    return plain


def _keyed(image: "Image") -> bool:
    """Whether one of its colours stands for transparency."""
    return "transparency" in image.info and image.mode in ("1", "L", "RGB", "P")


def _packed(image: "Image") -> str:
    """How the file packs its levels, as Pillow names it."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if tiles else ""


def _deep(content: bytes, image: "Image", packed: str) -> NDArray[np.uint16]:
    """16 bits per channel, (H, W, C). Pillow keeps the upper 8 of them or, read in the other order, the lower 8."""
    with _opened(content) as other:
        name, box, offset, _ = other.tile[0]  # type: ignore[attr-defined]
        other.tile = [(name, box, offset, f"{packed[:-1]}L")]  # type: ignore[attr-defined]
        low = np.asarray(_turned(other)).astype(np.uint16)
    return (np.asarray(_turned(image)).astype(np.uint16) << np.uint16(8)) | low


def _whole(levels: NDArray[Any]) -> NDArray[np.uint16]:
    if levels.size and not 0 <= int(levels.min()) <= int(levels.max()) < 1 << 16:
        raise ValueError("it has more than 16 bits per channel")
    return levels.astype(np.uint16)


def _split(levels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour or grey, and alpha."""
    if levels.ndim == 2 or levels.shape[2] == 3:
        return levels, None
    colour = levels[..., 0] if levels.shape[2] == 2 else levels[..., :3]
    return colour, levels[..., -1]


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turns what a broken image raises into a sentence."""
    from PIL import Image

    try:
        yield
    except InputError:
        raise
    except (
        OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # fmt: skip
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"expected an image, got {str(path)!r}, which cannot be read ({said}): repair or remove it"
        ) from error
