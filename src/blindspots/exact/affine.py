"""The scores of a model that is linear in its inputs, and how far its own arithmetic can stray from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from blindspots.models.classifiers import Flatten
from blindspots.models.model import Model
from blindspots.models.translate import Affine, Scale

Array = NDArray[Any]
UNIT = 2.0**-24  # the relative rounding of float32
_ROUNDING = {torch.float32: UNIT, torch.float64: 2.0**-53}
_HERE = 2.0**-52  # of what is computed here, in float64


@dataclass(frozen=True)
class Step:
    """One layer: times a matrix (out, in), or times a number for each feature (in,), plus an offset (out,).

    `rounding`: the relative rounding of a single operation.
    """

    factor: Array
    offset: Array
    rounding: float

    def times(self, x: Array) -> Array:
        """The factor times x (in,)."""
        found: Array = self.factor @ x if self.factor.ndim == 2 else self.factor * x
        return found

    def sizes(self, x: Array) -> Array:
        """The sizes of all terms but the offset, added up, of inputs of at most these sizes (in,): (out,)."""
        return Step(np.abs(self.factor), self.offset, 0.0).times(x)

    def after(self, factor: Array) -> Array:
        """The factor of both layers, of this one and, before it, one with this factor, (in,) or (in, n)."""
        if self.factor.ndim == 2:
            return self.factor @ factor if factor.ndim == 2 else self.factor * factor
        found: Array = self.factor[:, None] * factor if factor.ndim == 2 else self.factor * factor
        return found

    @property
    def operations(self) -> int:
        """On the way to a number; any order of a sum is within this."""
        return self.factor.shape[-1] + 2 if self.factor.ndim == 2 else 3


@dataclass(frozen=True)
class Scores:
    """weight (C, features) x + bias (C,), and the layers by which a model computes it."""

    weight: Array
    bias: Array
    steps: tuple[Step, ...] = ()

    def of(self, x: Array) -> Array:
        """(C,) of a row (features,)."""
        scores: Array = self.weight @ x + self.bias
        return scores

    def stray(self, reach: Array) -> Array:
        """How far the model's own scores can be from these, for inputs of at most these sizes (features,): (C,).

        The running error bound of sums in any order (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
        chapter 3), carried from layer to layer.
        """
        size, error = reach, np.zeros_like(reach)
        for step in self.steps:
            size, carried = step.sizes(size) + np.abs(step.offset), step.sizes(error)
            error = carried + step.operations * (step.rounding + _HERE) * (size + carried)
            size = size + error
        return error if self.steps else np.zeros(len(self.bias))

    @classmethod
    def through(cls, steps: tuple[Step, ...], features: int) -> "Scores":
        """What layers come to, one after the other."""
        weight, bias = np.ones(features), np.zeros(features)
        for step in steps:
            weight, bias = step.after(weight), step.times(bias) + step.offset
        return cls(weight, bias, steps)


def scores_of(model: Model, shape: tuple[int, ...]) -> Scores | None:
    """The scores, or values, of a model that is linear in its inputs; None: it is not, or not known to be.

    A single logit z counts as the scores (-z / 2, z / 2).
    """
    if type(model) is not Model or model.take is not None or model.table is not None:
        return None
    layers, rounding = _layers(model.net), _precision(model.net)
    if layers is None or rounding is None or model.output not in ("auto", "logits", "logit", "values"):
        return None
    found = _composed([*_normalised(model, shape), *layers], int(np.prod(shape)), rounding)
    if found is None or len(found.bias) > 1 or model.output == "values":
        return found
    halves = Step(np.array([[-0.5], [0.5]]), np.zeros(2), 0.0)
    return Scores.through((*found.steps, halves), found.weight.shape[1])


def _precision(net: nn.Module) -> float | None:
    """Of all its numbers; None where they differ, or are coarser than those of its inputs."""
    found = {p.dtype for p in net.parameters()}
    return _ROUNDING.get(found.pop()) if len(found) == 1 else None


def _normalised(model: Model, shape: tuple[int, ...]) -> list[Step]:
    """What `Model` does before the network, in float32."""
    if model.mean is None and model.std is None:
        return []
    axes = (-1, *(1 for _ in shape[1:]))

    def flat(given: tuple[float, ...] | None, default: float) -> Array:
        values = np.array((default,) if given is None else given, np.float32).astype(np.float64)
        return np.broadcast_to(values.reshape(axes), shape).ravel()

    mean, std = flat(model.mean, 0.0), flat(model.std, 1.0)
    return [Step(1 / std, -mean / std, UNIT)]


def _layers(net: Any) -> list[nn.Module] | None:
    """The layers of a network one after the other; None where one of them is not linear."""
    if type(net) is nn.Sequential and not (net._forward_hooks or net._forward_pre_hooks):
        parts = [_layers(part) for part in net]
        return None if None in parts else [layer for part in parts for layer in part or []]
    return [net] if _is_linear(net) and not (net._forward_hooks or net._forward_pre_hooks) else None


def _is_linear(net: Any) -> bool:
    if type(net) is nn.Flatten:
        return bool(net.start_dim == 1 and net.end_dim == -1)
    return type(net) in (Flatten, nn.Identity, Affine, Scale, nn.Linear)


def _composed(layers: list[Any], features: int, rounding: float) -> Scores | None:
    """None without a matrix among the layers, or with one that takes another number of features."""
    steps: list[Step] = []
    width = features
    for layer in layers:
        step = layer if isinstance(layer, Step) else _step(layer, rounding)
        if step is not None:
            if step.factor.shape[-1] != width:
                return None
            steps.append(step)
            width = len(step.offset)
    return Scores.through(tuple(steps), features) if any(s.factor.ndim == 2 for s in steps) else None


def _step(layer: nn.Module, rounding: float) -> Step | None:
    if isinstance(layer, Scale):
        return Step(numbers_of(layer.factor), numbers_of(layer.offset), rounding)
    if isinstance(layer, Affine | nn.Linear):
        matrix = numbers_of(layer.weight)
        return Step(matrix, np.zeros(len(matrix)) if layer.bias is None else numbers_of(layer.bias), rounding)
    return None


def numbers_of(parameter: Any) -> Array:
    """Of a layer, in float64."""
    found: Array = parameter.detach().cpu().double().numpy()
    return found
