"""Pictures as files, pixel by pixel as they were judged."""

from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor

from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.pictures import picture
from blindspots.runs.store import Parts


def files(config: PicturesConfig, parts: Parts) -> dict[str, bytes]:
    """PNG files by name: pictures/GROUP/TARGET-NUMBER.png and fooling/WAY/CLASS.png."""
    found: dict[str, bytes] = {}
    for i, name in enumerate(config.groups):
        targets = parts[f"answers/{i}"]["targets"].tolist()
        folder = f"pictures/{i}-{name.partition('@')[0]}"
        for target, several in zip(targets, parts[f"pictures/{i}"]["levels"], strict=True):
            found |= {f"{folder}/{target}-{k + 1}.png": _png(one) for k, one in enumerate(several)}
    for way in [name.partition("/")[2] for name in parts if name.startswith("fooling/")]:
        images = zip(config.numbers, parts[f"fooling/{way}"]["levels"], strict=True)
        found |= {f"fooling/{way}/{label}.png": _png(image) for label, image in images}
    return found


def shown(levels: Tensor) -> Image.Image:
    """A picture of 8 bits (H, W) or (C, H, W)."""
    return picture(levels.numpy().astype(np.float32) / 255)


def _png(levels: Tensor) -> bytes:
    buffer = BytesIO()
    shown(levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
