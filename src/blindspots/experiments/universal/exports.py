"""The pictures beside a run: the perturbation, amplified to the whole range, and rows before and after."""

from io import BytesIO

from PIL import Image
from torch import Tensor

from blindspots.pictures import is_image, picture, picture_of_change
from blindspots.runs.experiment import Columns

_SIDE, _GAP = 224, 6  # px of a picture in a strip, and between two


def pictures(v: Tensor, shown: Columns, bounds: tuple[float, float]) -> dict[str, bytes]:
    """Of a perturbation (groups, *shape) of images and the part "shown", as PNG; none of other inputs."""
    if not is_image(tuple(v.shape[1:])):
        return {}
    lo, hi = bounds
    rows = [(shown[name] - lo) / (hi - lo) for name in ("x", "moved")]
    return {"perturbation.png": _png(amplified_picture(v[0])), "fooled.png": _png(_strip(rows))}


def amplified_picture(v: Tensor) -> Image.Image:
    """A perturbation (*shape) of an image, so that its largest value has full strength."""
    return picture_of_change((v / v.abs().max().clamp_min(1e-12)).numpy())


def _strip(rows: list[Tensor]) -> Image.Image:
    """Images (k, *shape) in [0, 1], one row of pictures for each entry of `rows`."""
    step = _SIDE + _GAP
    strip = Image.new("RGB", (len(rows[0]) * step + _GAP, len(rows) * step + _GAP), "white")
    for line, images in enumerate(rows):
        for column, image in enumerate(images):
            small = picture(image.numpy()).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            strip.paste(small, (_GAP + column * step, _GAP + line * step))
    return strip


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
