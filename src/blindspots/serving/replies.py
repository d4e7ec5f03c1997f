"""What is said to each kind of request: from parsed JSON to inputs, and from scores to JSON."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Array = NDArray[Any]
Ask = Callable[[Array], Array]
_FLOATS = {"FP32": np.float32, "FP64": np.float64}


class RequestError(ValueError):
    """A request that cannot be answered: status 400."""

    status = 400


class SeveralError(RequestError):
    """More than one input, where each may be refused."""

    status = 413


class RefusedError(RequestError):
    """The model refuses to answer."""

    status = 403


def metadata(name: str, shape: Sequence[int], classes: int, class_names: Sequence[str] | None) -> dict[str, Any]:
    """Of the Open Inference Protocol."""
    return {
        "name": name,
        "versions": ["1"],
        "platform": "blindspots",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, *shape]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, classes]}],
        "parameters": {} if class_names is None else {"class_names": list(class_names)},
    }


def open_inference(content: bytes, name: str, shape: Sequence[int], ask: Ask) -> dict[str, Any]:
    """POST v2/models/NAME/infer"""
    said = _json(content)
    try:
        (tensor,) = said["inputs"]
        x = np.asarray(tensor["data"], _FLOATS[tensor["datatype"]]).reshape(tensor["shape"])
    except (LookupError, TypeError, ValueError) as error:
        raise RequestError(f"expected one tensor of FP32 or FP64 with its shape ({error})") from None
    scores = ask(_shaped(x, shape))
    output = {"name": "scores", "datatype": "FP32", "shape": list(scores.shape), "data": scores.ravel().tolist()}
    return {"model_name": name, "model_version": "1", "outputs": [output]}


def predictions(content: bytes, key: str, shape: Sequence[int], ask: Ask) -> dict[str, Any]:
    """MLflow's /invocations with "inputs", KServe's MODEL:predict with "instances"."""
    said = _json(content)
    try:
        x = np.asarray(said[key], np.float32)
    except (LookupError, TypeError, ValueError) as error:
        raise RequestError(f'expected numbers under "{key}" ({error})') from None
    return {"predictions": ask(_shaped(x, shape)).tolist()}


def labelled(content: bytes, kind: str, names: Sequence[str], shape: Sequence[int], ask: Ask) -> list[dict[str, Any]]:
    """Image classification: the bytes of a picture, or base64 of them in JSON. Best first, five unless top_k says."""
    few = 5
    if kind.startswith("application/json"):
        said = _json(content)
        try:
            content = base64.b64decode(said["inputs"], validate=True)
            few = int(said.get("parameters", {}).get("top_k", few))
        except (LookupError, TypeError, AttributeError, ValueError, binascii.Error) as error:
            raise RequestError(f'expected base64 under "inputs" ({error})') from None
    (scores,) = ask(_picture(content, shape)[None])
    p = np.exp(scores - scores.max())
    p = p / p.sum()
    best = np.argsort(-p, kind="stable")[: max(1, few)]
    return [{"label": names[i], "score": float(p[i])} for i in best]


def _json(content: bytes) -> Any:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"expected JSON ({error})") from None
    if not isinstance(said, dict):
        raise RequestError("expected a JSON object")
    return said


def _shaped(x: Array, shape: Sequence[int]) -> Array:
    if x.shape[1:] != tuple(shape) or not np.isfinite(x).all():
        raise RequestError(f"expected finite inputs of shape {list(shape)}, got {list(x.shape[1:])}")
    return x.astype(np.float32)


def _picture(content: bytes, shape: Sequence[int]) -> Array:
    """(channels, height, width) in [0, 1]."""
    try:
        image = Image.open(BytesIO(content)).convert("L" if shape[0] == 1 else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"expected the bytes of a picture ({error})") from None
    pixels = np.asarray(image, np.float32) / 255
    x = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    only: Array = _shaped(x[None], shape)[0]
    return only
