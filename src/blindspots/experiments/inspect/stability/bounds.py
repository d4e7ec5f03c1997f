"""How far a network as a whole can stretch a change of its input in l2: bounds that hold everywhere, and at rows."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, prod, sqrt

import torch
from torch import Tensor

from blindspots.experiments.inspect.stability.graph import Graph, Step
from blindspots.experiments.inspect.stability.layers import Gain, arguments, gain, is_affine, proof_cost
from blindspots.experiments.inspect.stability.slopes import slopes

_WIDTH, _NUMBERS = 2048, 1 << 27  # of layers as dense matrices
_ROUNDING = 1e-9
_PROOFS = 1e11  # multiplications, of all proofs together: a quarter of a minute on one core


@dataclass(frozen=True)
class Layer:
    """One operation and what it adds to the product bound.

    Args:
        upper, local: how long a change of the result of this operation can be, per unit of change of the network's
            input: everywhere, and in the Jacobian at the given rows.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    gain: Gain
    upper: float
    local: float


def gains(graph: Graph, x: Tensor, steps: range, proved: Collection[int]) -> Iterator[Gain]:
    """The gain of each of these steps; results before them are dropped as soon as nothing reads them.

    Args:
        x: rows (`graph.rows`, *shape) at which local constants are taken.
        proved: convolutions whose bound is made tight by a proof where that helps, see `affordable`.
    """
    values, last = {0: x.double()}, graph.last
    for i, step in enumerate(graph.steps[1 : steps.stop], 1):
        if i in steps:
            yield gain(step, values, prove=i in proved)
        values[i] = step.run(values)
        for read in {r for r in step.reads if last[r] == i}:
            del values[read]


def affordable(graph: Graph) -> frozenset[int]:
    """Convolutions whose norms can be proved at most 5e-4 above a lower bound, within a budget for all of them.

    The cheapest first, until together they take 1e11 multiplications; so what a proof gives does not depend on clocks.
    """
    shapes = {i: torch.empty(step.shape, device="meta") for i, step in enumerate(graph.steps)}
    costs = {i: proof_cost(step, shapes) for i, step in enumerate(graph.steps) if i}
    known = sorted((cost, i) for i, cost in costs.items() if cost is not None)
    totals = accumulate(cost for cost, _ in known)
    return frozenset(i for (_, i), total in zip(known, totals, strict=True) if total <= _PROOFS)


def layered(graph: Graph, gains: Iterable[Gain]) -> list[Layer]:
    """The layers of a network, each with the product bound of everything up to it; the last one has that of the scores.

    Sequences multiply, sums add, concatenations add squares. What has no bound makes all that follows infinite, and
    its gain has a note that says so.

    Args:
        gains: of every step but the input.
    """
    uppers, locals_, layers = [1.0], [1.0], list[Layer]()
    for i, (step, found) in enumerate(zip(graph.steps[1:], gains, strict=True), 1):
        uppers.append(found.of([uppers[r] for r in step.reads], found.upper))
        locals_.append(found.of([locals_[r] for r in step.reads], found.local))
        layers.append(Layer(step.name, step.op, step.shape[1:], found, uppers[i], locals_[i]))
    return layers


def margins(graph: Graph, layers: Sequence[Layer], whole: float | None = None) -> Tensor:
    """Bounds of how fast z_y - z_j can change, (C, C) float64, for the score z_y of every class y and every other j.

    ||w_y - w_j|| times the bound of what the last layer reads, where the scores come from a linear layer; else sqrt(2)
    times the bound of the scores. The latter also where it is less.

    Args:
        whole: a better bound of the scores than the product, such as `eclipse_fast`.
    """
    whole = layers[-1].upper if whole is None else min(whole, layers[-1].upper)
    classes = graph.steps[-1].shape[1]
    made = torch.full((classes, classes), 2**0.5 * whole, dtype=torch.float64).fill_diagonal_(0)
    head = _head(graph)
    if head is None:
        return made
    weight, read = arguments(graph.steps[head])["weight"], graph.steps[head].reads[0]
    before = 1.0 if read == 0 else layers[read - 1].upper
    between = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist") * (1 + _ROUNDING)
    return made.minimum(between.fill_diagonal_(0) * before) if before < inf else made


def _head(graph: Graph) -> int | None:
    """The linear layer whose results are the scores."""
    at = len(graph.steps) - 1
    step = graph.steps[at]
    return (
        at if step.op == "linear" and len(step.shape) == 2 and isinstance(arguments(step)["weight"], Tensor) else None
    )


def eclipse_fast(graph: Graph) -> float | None:
    """The bound of the scores by ECLipsE-Fast (Xu and Sivaranjani 2024, arXiv 2404.04375), in closed form.

    X_0 = I, l_i = 2 / lambda_max(W_i X^-1 W_i^T), X_i = l_i I - l_i^2 / 4 W_i X^-1 W_i^T;
    L = sqrt(lambda_max(W_L X^-1 W_L^T)). Slopes up to b in place of 1 are a factor b of the next weights.

    Returns: None where it does not apply: the network is no sequence of linear layers and activations whose slopes are
    in [0, b], or a layer is wider than 2,048.
    """
    chain = _chain(graph)
    if chain is None:
        return None
    inverse: Tensor | None = None
    for weight in chain[:-1]:
        m = _between(weight, inverse)
        step = 2 / torch.linalg.eigvalsh(m)[-1]
        x = step * torch.eye(len(m), dtype=m.dtype) - step**2 / 4 * m
        inverse = torch.linalg.inv(x)
    return sqrt(max(0.0, float(torch.linalg.eigvalsh(_between(chain[-1], inverse))[-1]))) * (1 + _ROUNDING)


def _between(weight: Tensor, inverse: Tensor | None) -> Tensor:
    m = weight @ weight.T if inverse is None else weight @ inverse @ weight.T
    return (m + m.T) / 2


def _chain(graph: Graph) -> list[Tensor] | None:
    """Dense matrices between activations, the largest slopes of these inside the matrix that follows."""
    steps, at, widths = graph.steps, len(graph.steps) - 1, [prod(step.shape[1:]) for step in graph.steps]
    found, rows = [], torch.eye(widths[-1], dtype=torch.float64) if widths[-1] <= _WIDTH else None
    while at and rows is not None:
        step = steps[at]
        slope = slopes(step.op, arguments(step)) if len(step.reads) == 1 else None
        if is_affine(step):
            rows = _pulled(step, rows, steps[step.reads[0]].shape)
        elif slope is not None and slope[0] >= 0 and widths[at] <= _WIDTH:
            found.append(rows * slope[1])
            rows = torch.eye(widths[at], dtype=torch.float64)
        else:
            return None
        at = step.reads[0]
    return None if rows is None else [*found, rows][::-1]


def _pulled(step: Step, rows: Tensor, shape: Sequence[int]) -> Tensor | None:
    """Rows (R, outputs of a step) times its matrix: (R, inputs of the step); None where that is too large."""
    if len(rows) * prod(shape[1:]) > _NUMBERS:
        return None
    (read,) = step.reads
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        out = step.run({read: x})
    made = []
    for part in torch.split(rows, len(out)):
        full = torch.cat([part, part.new_zeros(len(out) - len(part), part.shape[1])])
        (back,) = torch.autograd.grad(out, x, full.view_as(out), retain_graph=True)
        made.append(back.flatten(1)[: len(part)])
    return torch.cat(made)
