"""Graphs inside of graphs: branches, loops, walks along an axis, and the sequences that loops fill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from blindspots.models import load_model
from blindspots.problem import Need
from onnx_files import onnx, saved

X = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0))
HEAD = '<ir_version: 10, opset_import: ["" : 20]>\ngraph (float[rows, 4, 3] x) => (float[rows, 3] y)\n'


def of_text(body: str) -> Any:
    return onnx.parser.parse_model(HEAD + body)


LOOP = """<int64 n = {3}, float[3] w = {0.5, 2.0, -1.0}, int64[1] one = {1}>
{
  start = ReduceSum <keepdims: int = 0> (x, one)
  end, steps = Loop (n, , start) <body = step (int64 i, bool c, float[rows, 3] h)
      => (bool d, float[rows, 3] g, float[rows, 3] t) {
    d = Identity (c)
    scale = Constant <value_floats = [0.5, 1.0, 0.25]> ()
    a = Mul (h, w)
    b = Mul (a, scale)
    g = Tanh (b)
    t = Mul (g, g)
  }>
  zero = Constant <value_ints = [0]> ()
  squares = ReduceSum <keepdims: int = 0> (steps, zero)
  y = Add (end, squares)
}"""


def loop(x: Tensor) -> Tensor:
    h, squares = x.sum(1), torch.zeros(len(x), 3)
    for _ in range(3):
        h = torch.tanh(h * torch.tensor([0.5, 2.0, -1.0]) * torch.tensor([0.5, 1.0, 0.25]))
        squares = squares + h * h
    return h + squares


UNTIL = """<int64 most = {99}, bool yes = {1}, int64[1] one = {1}, float[1] limit = {2.5}>
{
  start = ReduceSum <keepdims: int = 0> (x, one)
  zeros = Sub (start, start)
  y, ignored = Loop (most, yes, zeros, start) <body = step (int64 i, bool c, float[rows, 3] h, float[rows, 3] s)
      => (bool d, float[rows, 3] g, float[rows, 3] r) {
    g = Add (h, s)
    r = Identity (s)
    steps = Cast <to: int = 1> (i)
    d = Less (steps, limit)
  }>
}"""

SCAN = """<float[3] w = {0.5, 2.0, -1.0}>
{
  turned = Transpose <perm = [1, 0, 2]> (x)
  first = Constant <value_int: int = 0> ()
  row = Gather (turned, first)
  start = Sub (row, row)
  end, kept = Scan <num_scan_inputs: int = 1, scan_input_directions = [1],
      scan_output_axes = [1], scan_output_directions = [1],
    body = step (float[rows, 3] h, float[rows, 3] now) => (float[rows, 3] g, float[rows, 3] t) {
      a = Mul (h, w)
      b = Add (a, now)
      g = Tanh (b)
      t = Mul (g, now)
    }> (start, turned)
  weights = Constant <value_floats = [1.0, 2.0, 3.0, 4.0]> ()
  sides = Constant <value_ints = [1]> ()
  column = Unsqueeze (weights, sides)
  weighted = Mul (kept, column)
  total = ReduceSum <keepdims: int = 0> (weighted, sides)
  y = Add (end, total)
}"""


def scan(x: Tensor) -> Tensor:
    h, kept = torch.zeros(len(x), 3), []
    for now in x.unbind(1)[::-1]:
        h = torch.tanh(h * torch.tensor([0.5, 2.0, -1.0]) + now)
        kept.append(h * now)
    return h + (torch.stack(kept[::-1], 1) * torch.arange(1.0, 5)[:, None]).sum(1)


SEQUENCE = """<int64 n = {4}, int64 second = {1}, int64 single = {1}, int64[1] one = {1}, int64[2] widths = {3, 3}>
{
  empty = SequenceEmpty ()
  filled = Loop (n, , empty) <body = step (int64 i, bool c, seq(float[rows, 3]) before)
      => (bool d, seq(float[rows, 3]) after) {
    d = Identity (c)
    row = Gather <axis: int = 1> (x, i)
    after = SequenceInsert (before, row)
  }>
  three = SequenceErase (filled, second)
  joined = ConcatFromSequence <axis: int = 1, new_axis: int = 1> (three)
  parts = SplitToSequence <axis: int = 1> (joined, single)
  last = SequenceAt (parts, second)
  first = Squeeze (last, one)
  pair = SequenceConstruct (first, first)
  doubled = ConcatFromSequence <axis: int = 1> (pair)
  halves = SplitToSequence <axis: int = 1> (doubled, widths)
  half = SequenceAt (halves, second)
  count = SequenceLength (three)
  times = Cast <to: int = 1> (count)
  y = Mul (half, times)
}"""

BRANCH = """<float[3] w = {0.5, 2.0, -1.0}, int64[1] one = {1}, int64 third = {2}>
{
  sum = ReduceSum <keepdims: int = 0> (x, one)
  shape = Shape (x)
  depth = Gather (shape, third)
  three = Constant <value_int: int = 3> ()
  cond = Equal (depth, three)
  y = If (cond) <then_branch = then () => (float[rows, 3] a) <float[3] v = {VALUES}> { a = Mul (sum, v) },
                 else_branch = other () => (float[rows, 3] b) <float[3] v = {7.0, 7.0, 7.0}> { b = Mul (sum, v) }>
}"""

GRAPHS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "Loop": (LOOP, loop),
    "Loop until": (UNTIL, lambda x: 4 * x.sum(1)),
    "Scan": (SCAN, scan),
    "sequences": (SEQUENCE, lambda x: 3 * x[:, 2]),
    "If": (BRANCH.replace("VALUES", "1.0, 2.0, 3.0"), lambda x: x.sum(1) * torch.tensor([1.0, 2.0, 3.0])),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_graphs_inside_are_computed_with_their_gradients(kind: str, tmp_path: Path) -> None:
    text, wanted = GRAPHS[kind]
    found = load_model(saved(tmp_path, of_text(text)))
    assert found.access is Need.GRAD, found.notes
    x, z = X.clone().requires_grad_(), X.clone().requires_grad_()
    ours, theirs = found.logits(x), wanted(z)
    assert torch.allclose(ours, theirs, atol=1e-5)
    (slope,), (right,) = (torch.autograd.grad((y * y).sum(), at) for y, at in ((ours, x), (theirs, z)))
    assert torch.allclose(slope, right, atol=1e-5)


def test_weights_of_a_branch_are_parameters_and_part_of_the_digest(tmp_path: Path) -> None:
    one, other = (
        load_model(saved(tmp_path, of_text(BRANCH.replace("VALUES", values)), f"{at}.onnx"))
        for at, values in enumerate(("1.0, 2.0, 3.0", "1.0, 2.0, 4.0"))
    )
    assert one.digest != other.digest
    weights = [value.tolist() for value in one.net.parameters()]
    assert [1.0, 2.0, 3.0] in weights


def test_a_loop_without_a_step_that_should_stack_something_is_asked_by_onnxruntime(tmp_path: Path) -> None:
    text = LOOP.replace("int64 n = {3}", "int64 n = {0}").replace(
        "ReduceSum <keepdims: int = 0> (steps, zero)", "Size (steps)"
    )
    text = text.replace("y = Add (end, squares)", "none = Cast <to: int = 1> (squares)\n  y = Add (end, none)")
    found = load_model(saved(tmp_path, of_text(text)))
    assert found.access is Need.VALUE
    assert "a Loop without a step" in found.notes[0].saw
