"""Operators of sequences of tensors, which loops fill; a sequence is a list that is never changed."""

import torch
from torch import Tensor

from blindspots.models.onnx.node import Node, Operators, numbers

Sequence = list[Tensor]


def _construct(node: Node, *parts: Tensor) -> Sequence:
    return list(parts)


def _empty(node: Node) -> Sequence:
    return []


def _insert(node: Node, sequence: Sequence, one: Tensor, place: Tensor | None = None) -> Sequence:
    at = len(sequence) if place is None else int(place)
    at += len(sequence) if at < 0 else 0
    return [*sequence[:at], one, *sequence[at:]]


def _erase(node: Node, sequence: Sequence, place: Tensor | None = None) -> Sequence:
    at = (-1 if place is None else int(place)) % len(sequence)
    return [*sequence[:at], *sequence[at + 1 :]]


def _at(node: Node, sequence: Sequence, place: Tensor) -> Tensor:
    return sequence[int(place)]


def _length(node: Node, sequence: Sequence) -> Tensor:
    return torch.tensor(len(sequence))


def _concat(node: Node, sequence: Sequence) -> Tensor:
    axis = node.get("axis")
    return torch.stack(sequence, axis) if node.get("new_axis", 0) else torch.cat(sequence, axis)


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> Sequence:
    """Into single places without their axis, unless it is kept; into parts of one size, or of the sizes given."""
    axis = node.get("axis", 0)
    if sizes is None:
        return list(torch.split(x, 1, axis) if node.get("keepdims", 1) else x.unbind(axis))
    return list(torch.split(x, numbers(sizes) if sizes.ndim else int(sizes), axis))


SEQUENCES: Operators = {
    "ConcatFromSequence": _concat,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SplitToSequence": _split,
}
