"""Nodes with graphs inside: a branch that is taken, a loop, a walk along an axis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from blindspots.models.onnx.node import Node, UntranslatedError

Values = Mapping[str, Any]
Run = Callable[[Any, Sequence[Any], Values], list[Any]]  # of a graph, its inputs and the values around it


def _branch(node: Node, values: Values, run: Run) -> tuple[Any, ...]:
    taken = "then_branch" if values[node.inputs[0]].item() else "else_branch"
    return tuple(run(node.attributes[taken], (), values))


def _loop(node: Node, values: Values, run: Run) -> tuple[Any, ...]:
    """The last state, and what each step gave besides, stacked."""
    body = node.attributes["body"]
    most, first, *state = (values[name] if name else None for name in node.inputs[: len(body.inputs)])
    device = next((one.device for one in state if isinstance(one, Tensor)), None)
    runs, more, step = first is None or bool(first), [], 0
    while runs and (most is None or step < int(most)):
        runs, *found = run(body, [torch.tensor(step, device=device), torch.tensor(True, device=device), *state], values)
        state = found[: len(state)]
        more.append(found[len(state) :])
        step += 1
    if not step and len(node.outputs) > len(state):
        raise UntranslatedError("a Loop without a step, of which outputs are wanted")
    return (*state, *(torch.stack(one) for one in zip(*more, strict=True)))


def _scan(node: Node, values: Values, run: Run) -> tuple[Any, ...]:
    """The last state, and what each step gave besides, along an axis."""
    if node.opset < 9:
        raise UntranslatedError("Scan before opset 9")
    body, count = node.attributes["body"], node.get("num_scan_inputs")
    given = [values[name] for name in node.inputs[: len(body.inputs)]]
    state, walked = given[:-count], given[-count:]
    kept = len(body.outputs) - len(state)
    rows: list[list[Tensor]] = [[] for _ in range(kept)]
    for now in zip(*_steps(node, walked), strict=True):
        found = run(body, [*state, *now], values)
        state = found[: len(state)]
        for row, one in zip(rows, found[len(state) :], strict=True):
            row.append(one)
    axes, backwards = node.get("scan_output_axes", [0] * kept), node.get("scan_output_directions", [0] * kept)
    ends = (
        torch.stack(row[::-1] if back else row, axis) for row, axis, back in zip(rows, axes, backwards, strict=True)
    )
    return (*state, *ends)


def _steps(node: Node, walked: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Of every input the slices along its axis, in the order in which they are walked."""
    zeros = [0] * len(walked)
    for x, axis, back in zip(
        walked, node.get("scan_input_axes", zeros), node.get("scan_input_directions", zeros), strict=True
    ):
        parts = x.unbind(axis)
        yield parts[::-1] if back else parts


CONTROL: Mapping[str, Callable[[Node, Values, Run], tuple[Any, ...]]] = {"If": _branch, "Loop": _loop, "Scan": _scan}
