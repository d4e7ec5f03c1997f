"""Image classifiers of timm from a local folder, behind the preprocessing that their own configuration names."""

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from blindspots.errors import InputError
from blindspots.files import read_bytes, read_text
from blindspots.models.model import Model
from blindspots.models.pictures import Behind, of_pictures
from blindspots.models.preprocessing import FILTERS, Preprocessing

_MOST = 1 << 34  # bytes of weights
_CROPS = ("center", "squash")


def load_folder(folder: str, spec: str) -> Model:
    """The image classifier that `timm.models.save_for_hf` wrote to a folder: config.json and model.safetensors.

    Inputs are pictures (B, 3, H, W) in [0, 1] of any size; the resize and the crop of timm's evaluation follow, with
    the size, crop, interpolation, mean and standard deviation in `pretrained_cfg`. They are rebuilt in torch, and
    compared with timm's own (see `of_pictures`).

    Raises InputError: timm is not installed, a file is missing, or it names a preprocessing that is not known.
    """
    try:
        timm: Any = import_module("timm")
        timm_data: Any = import_module("timm.data")
    except ImportError as error:
        raise InputError(f"expected timm to be installed, to read {spec!r}: pip install 'blindspots[timm]'") from error
    said = _configuration(Path(folder))
    settings = {"num_classes": said["num_classes"], **said.get("model_args", {})}
    net = timm.create_model(said["architecture"], pretrained=False, pretrained_cfg=said["pretrained_cfg"], **settings)
    try:
        net.load_state_dict(load(read_bytes(Path(folder) / "model.safetensors", "weights", _MOST)))
    except (SafetensorError, RuntimeError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected the weights of {said['architecture']} in {folder!r}, got others ({told})"
        ) from error
    data = timm_data.resolve_data_config({}, model=net)
    transform = timm_data.create_transform(**data)

    def original(picture: Tensor) -> Tensor:
        made: Tensor = transform(Image.fromarray(picture.numpy()))
        return made

    before, size = _preprocessing(data, spec)
    names = said.get("label_names")
    return of_pictures(
        Behind(before, net.eval(), _itself), original, size, said["architecture"], spec,
        [str(name) for name in names] if isinstance(names, list) else None,
    )  # fmt: skip


def _itself(output: Any) -> Tensor:
    found: Tensor = output
    return found


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        said = json.loads(read_text(folder / "config.json", "the configuration of a timm model"))
    except json.JSONDecodeError as error:
        raise InputError(
            f"expected JSON in {str(folder / 'config.json')!r}, got: {error}: save the model again"
        ) from error
    missing = {"architecture", "num_classes", "pretrained_cfg"} - {*(said if isinstance(said, dict) else ())}
    if missing:
        raise InputError(
            f"expected a config.json of timm.models.save_for_hf in {str(folder)!r}, got one without "
            f"{', '.join(sorted(missing))}: save the model again"
        )
    found: dict[str, Any] = said
    return found


def _preprocessing(data: dict[str, Any], spec: str) -> tuple[Preprocessing, tuple[int, int]]:
    """In torch, and the size of what comes out."""
    _, height, width = data["input_size"]
    resample = Image.Resampling[str(data["interpolation"]).upper()]
    if (
        data["crop_mode"] not in _CROPS
        or resample not in FILTERS
        or (height != width and data["crop_mode"] == "center")
    ):
        raise InputError(
            f"expected crop_mode {' or '.join(_CROPS)} of square pictures in {spec!r}, got {data['crop_mode']!r} with "
            f"{data['input_size']} and {data['interpolation']}: build the model in a file.py:factory"
        )
    larger = tuple(math.floor(n / data["crop_pct"]) for n in (height, width))
    size = larger[0] if data["crop_mode"] == "center" else (larger[0], larger[1])
    scale, normal = 1.0, (list(data["mean"]), list(data["std"]))
    return Preprocessing(size, (height, width), int(resample), scale, *normal, rounded=True), (height, width)
