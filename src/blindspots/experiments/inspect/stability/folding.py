"""The same network with fewer operations: normalisation inside the weights before it, circular padding inside them."""

from collections import Counter
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.experiments.inspect.stability.graph import Graph, Ref, Step, reaching
from blindspots.experiments.inspect.stability.layers import CIRCULAR, CONVOLUTIONS, arguments, batch_scale

_PLAIN = CONVOLUTIONS[:3]


def folded(graph: Graph) -> Graph:
    """The same function: batch normalisations (in evaluation) are part of the convolution or linear layer before them.

    Only where nothing else reads that layer's result. Circular padding becomes part of its convolution.
    """
    steps, readers = list(graph.steps), Counter(read for step in graph.steps for read in step.reads)
    for i, step in enumerate(steps):
        before = step.reads[0] if len(step.reads) == 1 else 0
        if readers[before] != 1 or not before:
            continue
        if step.op == "batch_norm" and (merged := _normalised(steps[before], step)):
            steps[before], steps[i] = merged, _nothing(step)
        elif step.op in _PLAIN and (merged := _circular(steps[before], step)):
            steps[i] = merged
    return Graph(tuple(reaching(steps, len(steps) - 1)))


def _nothing(step: Step) -> Step:
    return replace(step, op="alias", function=torch.ops.aten.alias.default, args=(Ref(step.reads[0]),), kwargs={})


def _normalised(layer: Step, norm: Step) -> Step | None:
    given, normal = arguments(layer), arguments(norm)
    weight = given.get("weight")
    fits = layer.op in CONVOLUTIONS or (layer.op == "linear" and len(layer.shape) == 2)
    if not fits or not isinstance(weight, Tensor) or normal["training"] or normal["running_var"] is None:
        return None
    if "transpose" in layer.op and given["groups"] > 1:
        return None
    scale = batch_scale(normal)
    bias = -normal["running_mean"] if given["bias"] is None else given["bias"] - normal["running_mean"]
    shift = 0.0 if normal["bias"] is None else normal["bias"]
    channels = (1, -1) if "transpose" in layer.op else (-1, 1)
    shape = [*channels, *[1] * (weight.ndim - 2)]
    return replace(layer, args=(), kwargs={**given, "weight": weight * scale.view(shape), "bias": bias * scale + shift})


def _circular(pad: Step, layer: Step) -> Step | None:
    """The convolution of what was padded, if it sees every input as often as any other."""
    given, padding, axes = arguments(layer), arguments(pad), len(layer.shape) - 2
    ends = list(padding["pad"]) if pad.op == "pad" and padding["mode"] == "circular" else []
    if len(ends) != 2 * axes or isinstance(given["padding"], str) or any(given["padding"]) or len(pad.shape) < 3:
        return None
    before, after = ends[::2][::-1], ends[1::2][::-1]
    size = [n - b - a for n, b, a in zip(pad.shape[2:], before, after, strict=True)]
    strides = list(given["stride"]) * (axes if len(given["stride"]) == 1 else 1)
    if [m * s for m, s in zip(layer.shape[2:], strides, strict=True)] != size:
        return None
    kwargs = {**given, "input": Ref(pad.reads[0]), "padding": before, "ends": ends}
    return Step(layer.name, CIRCULAR, _Circular(layer.function), (), kwargs, layer.shape)


class _Circular:
    """A convolution of periodically continued inputs."""

    def __init__(self, convolve: Any) -> None:
        self.convolve = convolve

    def __call__(self, *, input: Tensor, ends: list[int], padding: list[int], **others: Any) -> Tensor:
        padded = F.pad(input, ends, "circular")
        found: Tensor = self.convolve(padded, padding=[0] * len(padding), **others)
        return found
