"""Operators of ai.onnx.ml that converters of scikit-learn write, but for trees."""

import torch
from torch import Tensor

from blindspots.models.onnx.node import Node, Operators, UntranslatedError


def _scaler(node: Node, x: Tensor) -> Tensor:
    offset, factor = (
        torch.tensor(node.get(name), dtype=torch.float32, device=x.device) for name in ("offset", "scale")
    )
    return (x.float() - offset) * factor


def _normalizer(node: Node, x: Tensor) -> Tensor:
    """By the largest number (which may be negative), the sum of sizes or the length of each row."""
    how = node.get("norm", "MAX")
    size = x.amax(-1, True) if how == "MAX" else torch.linalg.vector_norm(x, int(how[1]), -1, keepdim=True)
    return x / torch.where(size == 0, 1, size)


def _linear_classifier(node: Node, x: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (as places among the classes) and scores (B, C)."""
    scores = _linear(node, x, "intercepts")
    if scores.shape[1] == 1:  # of the second of two classes
        scores = torch.cat([-scores, scores], 1)
        if node.get("post_transform", "NONE") == "LOGISTIC":
            scores = torch.cat([1 - scores[:, 1:].sigmoid(), scores[:, 1:].sigmoid()], 1)
            return scores.argmax(1), scores
    return scores.argmax(1), _transformed(node, scores)


def _linear_regressor(node: Node, x: Tensor) -> Tensor:
    return _transformed(node, _linear(node, x, "intercepts"))


def _linear(node: Node, x: Tensor, intercepts: str) -> Tensor:
    weight = torch.tensor(node.get("coefficients"), dtype=torch.float32, device=x.device).reshape(-1, x.shape[-1])
    found = x.float() @ weight.T
    return found if node.get(intercepts) is None else found + torch.tensor(node.get(intercepts), device=x.device)


def _transformed(node: Node, scores: Tensor) -> Tensor:
    how = node.get("post_transform", "NONE")
    if how == "SOFTMAX":
        return scores.softmax(1)
    if how == "LOGISTIC":
        return scores.sigmoid()
    if how != "NONE":
        raise UntranslatedError(f"{node.kind} with post_transform={how}")
    return scores


def _feature_extractor(node: Node, x: Tensor, places: Tensor) -> Tensor:
    return x.index_select(-1, places.reshape(-1).long())


CLASSICAL: Operators = {
    "ai.onnx.ml:ArrayFeatureExtractor": _feature_extractor,
    "ai.onnx.ml:LinearClassifier": _linear_classifier,
    "ai.onnx.ml:LinearRegressor": _linear_regressor,
    "ai.onnx.ml:Normalizer": _normalizer,
    "ai.onnx.ml:Scaler": _scaler,
}
