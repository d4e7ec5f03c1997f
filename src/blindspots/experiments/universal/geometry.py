"""Why one perturbation fools most inputs: the boundary's normals lie in few dimensions (Moosavi-Dezfooli 2017, 4)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from blindspots.attacks import DeepFool
from blindspots.ball import L2
from blindspots.errors import InputError
from blindspots.experiments.universal.nearest import nearest
from blindspots.experiments.universal.verdict import Geometry
from blindspots.geometry import TINY
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question
from blindspots.random import keys, normal
from blindspots.records import Share
from blindspots.rows import Rows
from blindspots.runs.experiment import Columns

_FIRST, _SPAN = (1, 10, 100), 100
_KEPT = 500  # singular values in the record
_BLOCK = 64  # rows that are attacked at a time
_COLUMNS = 1 << 13  # of the matrix of perturbations that are squared at a time
_NEGLIGIBLE = 1e-3  # of the largest singular value: what rounding x + r(x) to float32 may leave of a zero
_SHARE, _CALIBRATED = 0.1, 128  # of inputs that random vectors fool, and on how many that is found out
_DEEPEST, _NARROW = 1e4, 1.05  # of the box's diagonal; what is left of the interval
_TANGENT = 1e-3  # of a direction's length: a smaller part in the tangent plane is rounding
_NEWTON = 2  # steps from DeepFool's point, which is a little behind the boundary, onto it
_DIRECTIONS = ("singular", "universal", "random")
_PROBED = 10  # singular vectors that curvature is taken along

Field = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Points(Rows):
    """Points of the boundary."""

    at: Tensor  # (k, *shape) x + r(x)
    size: Tensor  # (k,) |r(x)|
    y: Tensor  # (k,) int64 the class on one side,
    other: Tensor  # (k,) int64 and on the other


def geometry(
    model: Model,
    x: Tensor,
    held: Tensor,
    *,
    universal: Tensor,
    norm: float | None = None,
    seed: int = 0,
    chunk: int = 16,
    rows: int = 500,
    span: int | None = None,
    curved_rows: int = 64,
) -> Columns:
    """Singular values, fooling rates and curvatures around the smallest changes of inputs.

    The matrix N of the paper has the rows r(x) / |r(x)|, where r(x) leads from x to the nearest other class: DeepFool's
    smallest l2 change. Where the paper's r may leave the box of valid inputs, this one does
    not. Its singular values are roots of the eigenvalues of N N^T, taken in float64, so that of all matrices only N
    has an entry for every input value. They stand beside those of as many random unit vectors.

    Fooling rates: every held-out row gets a random vector of its own, of l2 norm `norm`, and is kept in the box; so the
    rows are independent, and the intervals are those of the rate over random vectors and inputs. The paper takes one
    vector for all. In the span of the first singular vectors, and in the whole space, vectors are uniform on the
    sphere.

    Curvature: at the boundary points p = x + r(x), taken onto the boundary by two steps of Newton's method. With f the
    score of one class minus that of the other, along a direction t in the tangent plane at p: |t^T H t| / |grad f|, the
    inverse radius of the boundary's section. H t is a central difference of grad f over p - h t and p + h t with
    h = |r(x)|. Networks of linear pieces have no second derivative, so a finite step is meant: how far the boundary has
    turned at the distance at which the input sees it. These points may lie outside of the box. Directions: for one
    point after the other one of the first 10 singular vectors, the universal perturbation, a random vector.

    Args:
        x: (n, *shape) float32 inputs that the perturbation was made from; the first `rows` of them are used.
        held: (m, *shape) float32 inputs that it was not made from.
        universal: (*shape) the perturbation.
        norm: l2 norm of the random vectors; None: the one at which vectors of the whole space fool a tenth of the first
            128 inputs of `x`, as they do in the paper.
        chunk: rows per call of the network.
        span: how many singular vectors span the subspace, at most; those with a singular value of zero do not. None:
            100, or a tenth of the dimensions where that is less.
        curved_rows: at how many boundary points curvature is taken; 0: not at all.

    Returns:
        What `geometry_of` counts, see `verdict.GEOMETRY`.

    Raises:
        InputError: fewer than two rows have a change that leads to another class.
    """
    oracle = Oracle(model, chunk=chunk)
    with oracle.session():
        normals, points = _boundary(model, oracle, x[:rows], curved_rows)
        n, size = normals.shape
        if n < 2:
            raise InputError(
                f"expected at least 2 inputs with a change that leads to another class, got {n} of "
                f"{len(x[:rows])}: use more rows, or a model that answers with more than one class"
            )
        gram = _gram(normals)
        values, left = _spectrum(gram)
        norm = _tenth(oracle, x[:_CALIBRATED], seed) if norm is None else norm
        span = min(_SPAN, max(1, size // 10)) if span is None else span
        spanned = min(span, int((values > _NEGLIGIBLE * values[0]).sum()))
        weights = left[:, :spanned] / values[:spanned]
        curvatures = _curvatures(oracle, points, weights[:, :_PROBED].T.float() @ normals, universal, seed)
        return {
            "gram": gram,
            "random_gram": random_gram(n, size, seed),
            "dimensions": torch.tensor([size]),
            "span": torch.tensor([spanned]),
            "norm": torch.tensor([norm], dtype=torch.float64),
            "clean": torch.cat([_predictions(oracle, held[rows]) for rows in _chunks(oracle, held)]),
            "in_span": _moved(oracle, held, norm, lambda rows: _in_span(normals, weights, rows, seed)),
            "random": _moved(oracle, held, norm, lambda rows: _draws(rows, (size,), 1, seed)),
            **{f"curvature_{name}": values.double() for name, values in curvatures.items()},
        }


def geometry_of(columns: Columns) -> Geometry:
    """What columns of `geometry` say."""
    c = columns
    (values, _), (random, _) = _spectrum(c["gram"]), _spectrum(c["random_gram"])
    n, size = len(values), int(c["dimensions"])
    kept = min(size, _KEPT)
    curvature = {name: c[f"curvature_{name}"] for name in _DIRECTIONS}
    return Geometry(
        rows=n,
        dimensions=size,
        singular_values=values[:kept].tolist(),
        singular_values_random=random[:kept].tolist(),
        energy={str(k): (_energy(values, k), _energy(random, k)) for k in _FIRST if k <= min(n, size)},
        span=int(c["span"]),
        norm=float(c["norm"]),
        fooled_in_span=_fooled(c["clean"], c["in_span"]),
        fooled_random=_fooled(c["clean"], c["random"]),
        curvature={name: float(values.median()) for name, values in curvature.items() if len(values)},
    )


def _fooled(clean: Tensor, moved: Tensor) -> Share:
    return Share.of(int((clean != moved).sum()), len(clean))


def _boundary(model: Model, oracle: Oracle, x: Tensor, curved: int) -> tuple[Tensor, _Points]:
    """N (n, D), filled block by block, so that the search never holds more than a block, and the first points."""
    normals = torch.empty(len(x), x[0].numel())
    points: list[_Points] = []
    found = 0
    for block in torch.split(x, _BLOCK):
        y = _predictions(oracle, block)
        moved = nearest(model, block, y, DeepFool(), oracle.chunk)
        won = (moved != block).flatten(1).any(1)
        change = (moved - block)[won].flatten(1)
        size = change.norm(dim=1)
        normals[found : found + len(change)] = change / size[:, None]
        first = won.nonzero()[: max(0, curved - found), 0]
        points.append(_Points(moved[first], size[: len(first)], y[first], _predictions(oracle, moved[first])))
        found += len(change)
    joined = (torch.cat([getattr(p, f.name) for p in points]) for f in fields(_Points))
    return normals[:found], _Points(*joined)


def _predictions(oracle: Oracle, x: Tensor) -> Tensor:
    if not len(x):
        return torch.zeros(0, dtype=torch.int64)
    return oracle.logits(x.to(oracle.device)).argmax(1).cpu()


# ------------------------------------------------------------------ singular values


def _gram(rows: Tensor) -> Tensor:
    """rows rows^T in float64, some columns after the others: (n, n)."""
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for columns in torch.split(rows, _COLUMNS, dim=1):
        part = columns.double()
        gram += part @ part.T
    return gram


def random_gram(n: int, size: int, seed: int) -> Tensor:
    """The same of n random unit vectors of `size` entries, which are never all in memory."""
    gram = torch.zeros(n, n, dtype=torch.float64)
    key = keys(seed, torch.arange(n), 2)
    for i, start in enumerate(range(0, size, _COLUMNS)):
        part = normal(key, torch.full_like(key, i), 0, (min(_COLUMNS, size - start),)).double()
        gram += part @ part.T
    length = gram.diagonal().sqrt()
    return gram / length[:, None] / length


def _spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values (n,), descending, and left singular vectors (n, n) as columns."""
    squares, left = torch.linalg.eigh(gram)
    return squares.clamp_min(0).sqrt().flip(0), left.flip(1)


def _energy(values: Tensor, k: int) -> float:
    return float(values[:k].square().sum() / values.square().sum())


# ------------------------------------------------------------------ random vectors


def _draws(rows: Tensor, shape: tuple[int, ...], stream: int, seed: int) -> Tensor:
    """Normal numbers (B, *shape) that seed and row decide."""
    key = keys(seed, rows, 3, stream)
    return normal(key, torch.zeros_like(key), 0, shape)


def _in_span(normals: Tensor, weights: Tensor, rows: Tensor, seed: int) -> Tensor:
    """Normal vectors of the span of the right singular vectors N^T U / s, whose weights (n, k) are U / s: (B, D)."""
    return (_draws(rows, weights.shape[1:], 0, seed).double() @ weights.T).float() @ normals


def _moved(oracle: Oracle, x: Tensor, norm: float, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """What rows are taken for with a vector of their own, drawn for their number: (n,)."""
    parts = []
    for rows in _chunks(oracle, x):
        v = draw(rows)
        v = (v * (norm / v.norm(dim=1, keepdim=True).clamp_min(TINY))).view_as(x[rows])
        parts.append(_predictions(oracle, (x[rows] + v).clamp(*oracle.model.bounds)))
    return torch.cat(parts)


def _chunks(oracle: Oracle, x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(len(x)), oracle.chunk)


def _tenth(oracle: Oracle, x: Tensor, seed: int) -> float:
    """The l2 norm at which a random vector of its own takes a tenth of the rows to another class."""
    lo, hi = oracle.model.bounds
    size = x[0].numel()
    most = (hi - lo) * math.sqrt(size)
    low, high = most / _DEEPEST, most
    clean = torch.cat([_predictions(oracle, x[rows]) for rows in _chunks(oracle, x)])
    while high > _NARROW * low:
        middle = math.sqrt(low * high)
        share = _fooled(clean, _moved(oracle, x, middle, lambda rows: _draws(rows, (size,), 4, seed))).share
        low, high = (low, middle) if share >= _SHARE else (middle, high)
    return math.sqrt(low * high)


# ------------------------------------------------------------------ curvature


def _curvatures(
    oracle: Oracle, points: _Points, vectors: Tensor, universal: Tensor, seed: int
) -> dict[str, Tensor]:  # fmt: skip
    """Of every direction, at the boundary points where it has a tangent part."""
    values: dict[str, list[Tensor]] = {name: [] for name in _DIRECTIONS}
    for start in range(0, len(points.y), oracle.chunk):
        rows = torch.arange(start, min(start + oracle.chunk, len(points.y)))
        field, at = _field(oracle, points[rows]), points.at[rows]
        for _ in range(_NEWTON):
            value, slope = field(at)
            at = at - (slope * (value / slope.square().sum(1).clamp_min(TINY))[:, None]).view_as(at)
        directions = {
            "singular": vectors[rows % len(vectors)],
            "universal": universal.flatten().expand(len(rows), -1),
            "random": _draws(rows, (vectors.shape[1],), 2, seed),
        }
        slope = field(at)[1]
        for name, direction in directions.items():
            values[name].append(_curvature(field, at, slope, points.size[rows], direction))
    return {name: torch.cat([torch.zeros(0), *parts]) for name, parts in values.items()}


def _field(oracle: Oracle, points: _Points) -> Field:
    """f (k,) and grad f (k, D) at inputs (k, *shape), f the score of a point's one class minus that of its other."""
    problem = Problem(Objective(directed=True, loss="margin"), L2().within(*oracle.model.bounds))
    y, other = points.y.to(oracle.device), points.other.to(oracle.device)

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        seen = oracle.look(problem, Question(y, other), x.to(oracle.device), Need.GRAD)
        assert seen.grad is not None
        return seen.loss.cpu(), seen.grad.cpu().flatten(1)

    return of


def _curvature(field: Field, at: Tensor, slope: Tensor, h: Tensor, direction: Tensor) -> Tensor:
    """|t^T H t| / |grad f| of the points at which the direction (k, D) has a tangent part: (at most k,)."""
    length = slope.norm(dim=1)
    unit = direction / direction.norm(dim=1, keepdim=True).clamp_min(TINY)
    normal = slope / length[:, None].clamp_min(TINY)
    tangent = unit - (unit * normal).sum(1, keepdim=True) * normal
    part = tangent.norm(dim=1)
    tangent = tangent / part[:, None].clamp_min(TINY)
    step = (tangent * h[:, None]).view_as(at)
    turned = (field(at + step)[1] - field(at - step)[1]) / (2 * h[:, None])
    bent: Tensor = (turned * tangent).sum(1).abs() / length.clamp_min(TINY)
    return bent[(part > _TANGENT) & (length > 0)]
