"""Which reader a file of trees is for: by a word before its name, or by its content."""

import json
from collections.abc import Callable
from pathlib import Path

from blindspots.files import read_bytes
from blindspots.models.trees import catboost, lightgbm, onnx, xgboost
from blindspots.models.trees.reading import Read

Reader = Callable[[bytes], Read]

MOST = 1 << 31  # bytes of a file
SNIFFED = (".json", ".ubj", ".txt", ".onnx")
READERS: dict[str, Reader] = {
    "xgboost": xgboost.read,
    "lightgbm": lightgbm.read,
    "catboost": catboost.read,
    "onnx": onnx.read,
}


def sniffed(path: Path) -> Reader | None:
    """The reader for the content of a file; None where it holds no trees."""
    if path.suffix.lower() == ".ubj":
        return xgboost.read
    content = read_bytes(path, "trees", MOST)
    if path.suffix.lower() == ".txt":
        return lightgbm.read if lightgbm.is_lightgbm(content) else None
    if path.suffix.lower() == ".onnx":
        return onnx.read if onnx.has_trees(content) else None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if xgboost.is_xgboost(document):
        return xgboost.read
    return catboost.read if catboost.is_catboost(document) else None
