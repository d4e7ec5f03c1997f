"""Image classifiers of Hugging Face transformers from a local folder, with their own preprocessing inside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.files import read_text
from blindspots.models.huggingface import quiet
from blindspots.models.model import Model
from blindspots.models.pictures import Behind, of_pictures
from blindspots.models.preprocessing import FILTERS, Preprocessing

_WARPED = 384  # ConvNeXt's processor only crops below it
_LEVIT = 256 / 224  # by which LeViT's processor resizes to more than the size that it names


def classifies_pictures(folder: str) -> bool:
    """Whether the folder holds an image classifier."""
    config = Path(folder) / "config.json"
    if not config.is_file():
        return False
    try:
        said = json.loads(read_text(config, "a configuration"))
    except json.JSONDecodeError:
        return False
    names = said.get("architectures") if isinstance(said, dict) else None
    return any(str(name).endswith("ForImageClassification") for name in names or [])


def load_folder(folder: str, spec: str) -> Model:
    """The image classifier that `save_pretrained` wrote to a folder, with its image processor beside it.

    Inputs are pictures (B, 3, H, W) in [0, 1] of any size; resize, crop, rescale and normalisation are rebuilt in torch
    from preprocessor_config.json, and compared with the image processor itself (see `of_pictures`).

    Raises InputError: transformers is not installed, a file is missing, or the image processor does more than that.
    """
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise InputError(
            f"expected transformers to be installed, to read {spec!r}: pip install 'blindspots[text]'"
        ) from error
    only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            net = AutoModelForImageClassification.from_pretrained(folder, use_safetensors=True, **only).eval()
            processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", **only)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"expected model.safetensors, config.json and preprocessor_config.json in {folder!r}, got {said[:200]}: "
            "save the model and its image processor there with save_pretrained"
        ) from error
    before, size = _preprocessing(processor, spec)

    def original(picture: Tensor) -> Tensor:
        pixels = processor(np.asarray(picture), input_data_format="channels_last", return_tensors="np").pixel_values
        return torch.from_numpy(np.asarray(pixels[0], np.float32))

    return of_pictures(Behind(before, net, _logits), original, size, Path(folder).name, spec)


def _logits(output: Any) -> Tensor:
    found: Tensor = output.logits
    return found


def _preprocessing(processor: Any, spec: str) -> tuple[Preprocessing, tuple[int, int]]:
    """In torch, and the size of what comes out."""
    size, crop = _resize(processor), _pair(processor.crop_size) if processor.do_center_crop else None
    if isinstance(size, int) and getattr(processor, "crop_pct", None):  # ConvNeXt
        size, crop = _with_margin(size, float(processor.crop_pct))
    resample = int(processor.resample if processor.resample is not None else FILTERS[1])
    out = crop or (size if isinstance(size, tuple) else None)
    if out is None or resample not in FILTERS:
        raise InputError(
            f"expected an image processor that resizes to one size (nearest, bilinear, bicubic, lanczos) in {spec!r}, "
            f"got {processor.size} and filter {resample}: build the model in a file.py:factory"
        )
    scale = 255 * float(processor.rescale_factor) if processor.do_rescale else 255.0
    flipped = bool(getattr(processor, "do_flip_channel_order", False))
    return Preprocessing(size, crop, resample, scale, *_normal(processor), flipped=flipped), out


def _normal(processor: Any) -> tuple[list[float], list[float]]:
    """The mean that is subtracted and the deviation that is divided by.

    EfficientNet's processor may subtract 1 before it, and divide by the deviation once more behind it.
    """
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    before = 1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    behind = processor.image_std if getattr(processor, "include_top", False) else [1.0] * 3
    return [m + before for m in mean], [a * b for a, b in zip(std, behind, strict=True)]


def _resize(processor: Any) -> int | tuple[int, int] | None:
    if not processor.do_resize:
        return None
    shorter = dict(processor.size).get("shortest_edge")
    larger = _LEVIT if type(processor).__name__.startswith("Levit") else 1
    return int(larger * shorter) if shorter else _pair(processor.size)


def _pair(size: Any) -> tuple[int, int] | None:
    height, width = dict(size).get("height"), dict(size).get("width")
    return (int(height), int(width)) if height and width else None


def _with_margin(shorter: int, share: float) -> tuple[int | tuple[int, int], tuple[int, int]]:
    square = (shorter, shorter)
    return (int(shorter / share), square) if shorter < _WARPED else (square, square)
