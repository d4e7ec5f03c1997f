"""How far each operation of a network can stretch a change of its input, in l2: everywhere, and at given rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, prod, sqrt
from typing import Any

import torch
from torch import Tensor

from blindspots.experiments.inspect.stability.convolutions import Convolution
from blindspots.experiments.inspect.stability.definite import Bands, convolution_norm
from blindspots.experiments.inspect.stability.graph import Ref, Step
from blindspots.experiments.inspect.stability.norms import Norm, diagonal_norm, matrix_norm, positive_norm
from blindspots.experiments.inspect.stability.slopes import slopes

Values = Mapping[int, Any]
_CLOSE = 1e-3  # gaps of norms that need no word


@dataclass(frozen=True)
class Gain:
    """By how much one operation stretches a change of its input, at most.

    Args:
        upper: one number per input that it reads; infinite where nothing bounds it everywhere.
        lower: reached somewhere by a change of a single input.
        local: as `upper`, but of its Jacobian at the given rows alone.
        joint: changes of several inputs go to different outputs, so their squares add up.
        note: what a reader should know, in a sentence; "" if nothing.
    """

    upper: tuple[float, ...]
    lower: float
    local: tuple[float, ...]
    joint: bool = False
    note: str = ""

    def of(self, lengths: Sequence[float], gains: Sequence[float]) -> float:
        """How long the change of the result can be, for changes of its inputs of these lengths."""
        parts = [0.0 if 0 in (a, g) else a * g for a, g in zip(lengths, gains, strict=True)]
        return sum(p * p for p in parts) ** 0.5 if self.joint else sum(parts)


def known(norm: Norm, note: str = "") -> Gain:
    """Of an operation with the same constant everywhere."""
    return Gain((norm.upper,), norm.lower, (norm.upper,), note=note)


def gain(step: Step, values: Values, *, prove: bool = True) -> Gain:
    """The gain of a step, given the results of those that it reads at some rows.

    `prove`: of a convolution, also by what takes long.
    """
    found = None if step.masked or not step.real else _gain(step, values, prove)
    found = None if found and any(map(isnan, found.upper)) else found  # of weights that are NaN
    count = len(step.reads)
    nothing = f"{step.name} ({step.op}) is unknown here: no bound"
    found = found or Gain((inf,) * count, 0.0, (inf,) * count, note=nothing)
    return replace(found, local=tuple(inf if isnan(g) else g for g in found.local))  # of rows with answers of NaN


def _gain(step: Step, values: Values, prove: bool) -> Gain | None:
    given = arguments(step)
    rule = _RULES.get(step.op)
    found = rule(step, given, values) if rule and step.reads else None
    if step.reads and (conv := convolution_of(step, given, values)):
        found = _convolution(step, conv, prove)
    if found is None and (slope := slopes(step.op, given)) is not None and len(step.reads) == 1:
        found = known(Norm(*[max(map(abs, slope))] * 2))
    return found


def arguments(step: Step) -> dict[str, Any]:
    """The arguments of a step by their names in ATen."""
    schema = getattr(step.function, "_schema", None)
    if schema is None:
        return {str(i): a for i, a in enumerate(step.args)} | dict(step.kwargs)
    defaults = {a.name: a.default_value for a in schema.arguments}
    return defaults | dict(zip(defaults, step.args, strict=False)) | dict(step.kwargs)


def alone(step: Step) -> Callable[[Tensor], Tensor]:
    """A step as a function of the only result that it reads."""
    (read,) = set(step.reads)
    return lambda x: step.run({read: x})


# ------------------------------------------------------------------ weights


def _convolution(step: Step, conv: Convolution, prove: bool) -> Gain:
    norm = convolution_norm(conv, prove)
    wide = f"{step.name} ({step.op}): known to {norm.gap:.2g} of itself, since a proof of less would take too long"
    return known(norm, "" if prove or norm.gap <= _CLOSE else wide)


def proof_cost(step: Step, values: Values) -> float | None:
    """Multiplications that prove the norm of a convolution; None of other steps, and where nothing can be proved."""
    conv = convolution_of(step, arguments(step), values) if step.reads else None
    bands = None if conv is None else Bands(conv)
    return bands.cost if bands and bands.affordable else None


def convolution_of(step: Step, given: Mapping[str, Any], values: Values) -> Convolution | None:
    """The convolution that a step computes, or whose adjoint it computes; None of any other step.

    Also None if its weight depends on the input.
    """
    if step.op not in (*CONVOLUTIONS, CIRCULAR):
        return None
    weight, read = given["weight"], step.reads[0]
    if not isinstance(weight, Tensor) or len(step.reads) > 1 or not isinstance(values[read], Tensor):
        return None
    size, out, axes = values[read].shape[2:], step.shape[2:], weight.ndim - 2
    stride, dilation = (_each(given[name], axes) for name in ("stride", "dilation"))
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    padding, circular = given["padding"], step.op == CIRCULAR
    if isinstance(padding, str):
        padding = [r // 2 if padding == "same" else 0 for r in reach]
    if "transpose" in step.op:
        size, out = out, size
    return Convolution(weight, size, out, stride, _each(padding, axes), dilation, given["groups"], circular)


def _each(value: Any, axes: int) -> list[int]:
    listed = [value] if isinstance(value, int) else list(value)
    return listed * axes if len(listed) == 1 else listed


def _linear(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    return known(matrix_norm(given["weight"])) if isinstance(given["weight"], Tensor) else None


def _product(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    """Of matrices, one of which is constant, or both of which depend on the input."""
    a, b = ((given["mat1"], given["mat2"]) if "mat1" in given else
            (given["self"], given["mat2"] if "mat2" in given else given["other"]))  # fmt: skip
    if len(step.reads) == 1:
        matrix = a if isinstance(a, Tensor) else b
        if not isinstance(matrix, Tensor) or matrix.ndim < 2 or given.get("alpha", 1) != 1:
            return None
        norms = [matrix_norm(m) for m in matrix.reshape(-1, *matrix.shape[-2:])]
        copies = sqrt(max(1.0, prod(step.shape[:-2]) / prod(values[step.reads[0]].shape[:-2])))
        return known(Norm(copies * max(n.upper for n in norms), max(n.lower for n in norms)))
    first, second = (values[read] for read in step.reads)
    if len(step.reads) > 2 or first.ndim < 2 or second.ndim < 2:
        return None
    return _unbounded(
        step, (_longest(second), _longest(first)), "a product of two results has no bound that holds everywhere"
    )


def _longest(matrices: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrices, 2).amax())


def _unbounded(step: Step, local: tuple[float, ...], why: str) -> Gain:
    at = f"{' + '.join(f'{g:.4g}' for g in local)} at these rows"
    return Gain((inf,) * len(step.reads), 0.0, local, note=f"{step.name} ({step.op}): {why}; {at}")


def _attention(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    """softmax(Q K^T / sqrt d) V: not Lipschitz on all inputs (Kim, Papamakarios and Mnih 2021, arXiv 2006.04710)."""
    read = [given[name] for name in ("query", "key", "value")]
    plain = given["attn_mask"] is None and not any(given.get(k) for k in ("is_causal", "dropout_p", "enable_gqa"))
    if not plain or not all(isinstance(r, Ref) for r in read):
        return None
    q, k, v = (values[r.step] for r in read)
    scale = q.shape[-1] ** -0.5 if given["scale"] is None else given["scale"]
    p = (scale * q @ k.mT).softmax(-1)
    bent = scale * _softmax_at(p) * _longest(v)
    return _unbounded(
        step, (bent * _longest(k), bent * _longest(q), _longest(p)), "attention has no bound that holds everywhere"
    )


# ------------------------------------------------------------------ one input per output, and means


def _selection(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    """Every output is one of the inputs or a constant."""
    x = values[step.reads[0]]
    if len(step.reads) > 1 or not isinstance(x, Tensor):
        return None
    if step.op in _MOVES:
        return known(Norm(1.0, 1.0))
    apply = alone(step)
    offset = apply(torch.zeros_like(x))
    return known(diagonal_norm(lambda v: apply(v[0]) - offset, x.shape))


def _scaled(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    """A product or a quotient with a constant, or with another result."""
    reads = [values[read] for read in step.reads]
    if len(reads) == 1:
        if not is_affine(step):
            return None
        apply = alone(step)
        return known(diagonal_norm(lambda v: apply(v[0]), reads[0].shape))
    if step.op in ("div", "divide"):
        return None
    local = [float(other.abs().amax()) * _spread(step, x) for x, other in zip(reads, reads[::-1], strict=True)]
    return _unbounded(step, tuple(local), "a product of two results has no bound that holds everywhere")


def _sum(step: Step, given: dict[str, Any], values: Values) -> Gain:
    """a + alpha b, either of which may be constant; rsub is b - alpha a."""
    alpha = abs(given.get("alpha") or 1)
    factor = {"self": alpha, "other": 1} if step.op == "rsub" else {"self": 1, "other": alpha}
    factors = [factor[name] for name in ("self", "other") if isinstance(given[name], Ref)]
    gains = tuple(f * _spread(step, values[read]) for f, read in zip(factors, step.reads, strict=True))
    return Gain(gains, max(gains), gains)


def _spread(step: Step, x: Tensor) -> float:
    """The root of how often an input is copied to fit the other one."""
    return sqrt(prod(step.shape) / x.numel())


def _beside(step: Step, given: dict[str, Any], values: Values) -> Gain:
    """Concatenation, and the larger of two: changes of several inputs do not add up in one output."""
    ones = tuple(_spread(step, values[r]) if step.op in ("maximum", "minimum") else 1.0 for r in step.reads)
    return Gain(ones, max(ones), ones, joint=True)


def _mean(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    x = values[step.reads[0]]
    if len(step.reads) > 1:
        return None
    apply = alone(step)
    return known(positive_norm(lambda v: apply(v[0]), x.shape))


# ------------------------------------------------------------------ normalisation


def _batch_norm(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    if given["training"] or given["running_var"] is None:
        return None
    largest = float(batch_scale(given).abs().amax())
    return known(Norm(largest, largest))


def batch_scale(given: Mapping[str, Any]) -> Tensor:
    """What a batch normalisation in evaluation multiplies each channel with: (C,)."""
    scale: Tensor = (given["running_var"] + given["eps"]).rsqrt()
    return scale if given["weight"] is None else scale * given["weight"]


def _row_norm(step: Step, given: dict[str, Any], values: Values) -> Gain | None:
    """LayerNorm, GroupNorm, RMSNorm: x / sigma(x) bends without limit as a row becomes constant."""
    x = values[step.reads[0]]
    if len(step.reads) > 1:
        return None
    if step.op == "group_norm":
        groups = x.reshape(len(x), given["num_groups"], -1)
    else:
        groups = x.flatten(-len(given["normalized_shape"]))
    centred = groups if step.op == "rms_norm" else groups - groups.mean(-1, keepdim=True)
    eps = torch.finfo(torch.float32).eps if given["eps"] is None else given["eps"]
    weight = 1.0 if given["weight"] is None else float(given["weight"].abs().amax())
    local = weight / float((centred.square().mean(-1) + eps).amin()) ** 0.5
    far = f"no useful bound holds everywhere ({weight / eps**0.5 if eps else inf:.4g} where a row is constant)"
    return _unbounded(step, (local,), far)


def _softmax(step: Step, given: dict[str, Any], values: Values) -> Gain:
    """1/2 everywhere; at rows at most max 2 p (1 - p), by Gershgorin's circles of diag(p) - p p^T."""
    p = values[step.reads[0]].softmax(given["dim"])
    return Gain((0.5,), 0.5 if p.shape[given["dim"]] > 1 else 0.0, (_softmax_at(p),))


def _softmax_at(p: Tensor) -> float:
    return float((2 * p * (1 - p)).amax())


def _log_softmax(step: Step, given: dict[str, Any], values: Values) -> Gain:
    """I - 1 p^T is longest at the corners of the simplex: the root of the number of classes."""
    root = float(values[step.reads[0]].shape[given["dim"]]) ** 0.5
    return Gain((root,), 0.0, (root,))


# ------------------------------------------------------------------ pooling


def _max_pool(step: Step, given: dict[str, Any], values: Values) -> Gain:
    """The root of the largest number of windows that share an input; reached where it is the maximum of all of them.

    Every output changes by at most the largest change in its window, and an input is in no more windows than that. So
    it is 1 for disjoint windows and 2 for 3 x 3 with stride 2, where a pixel may be in 2 x 2 of them.
    """
    x = values[step.reads[0]]
    axes = len(_each(given["kernel_size"], 1)) if isinstance(given["kernel_size"], list | tuple) else x.ndim - 2
    k, p, d = (_each(given[name], axes) for name in ("kernel_size", "padding", "dilation"))
    s = _each(given["stride"], axes) if given["stride"] else k
    shares = [_shares(*a) for a in zip(x.shape[2:], step.shape[2:], k, s, p, d, strict=True)]
    root = float(prod(shares)) ** 0.5
    return known(Norm(root, root))


def _shares(n: int, m: int, k: int, s: int, p: int, d: int) -> int:
    """The most windows along an axis that share an input."""
    counts = [0] * n
    for i in (s * j + d * t - p for j in range(m) for t in range(k)):
        if 0 <= i < n:
            counts[i] += 1
    return max(counts)


def _adaptive_max_pool(step: Step, given: dict[str, Any], values: Values) -> Gain:
    x = values[step.reads[0]]
    shares = 1
    for n, m in zip(x.shape[2:], step.shape[2:] or given["output_size"], strict=True):
        windows = [range(n * j // m, -(-n * (j + 1) // m)) for j in range(m)]
        shares *= max(sum(i in window for window in windows) for i in range(n))
    return known(Norm(shares**0.5, shares**0.5))


_MOVES = (
    "view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "transpose", "permute", "t", "movedim",
    "swapaxes", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "alias", "to", "_to_copy", "type_as", "flip",
    "roll", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
)  # fmt: skip
_SELECTIONS = (
    *_MOVES, "slice", "select", "narrow", "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave",
    "pad", "constant_pad_nd", "im2col", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "masked_fill", "where",
    "diagonal", "neg", "index", "index_select", "gather", "split", "split_with_sizes", "unsafe_split", "chunk",
    "tensor_split", "unbind",
)  # fmt: skip
_MEANS = (
    "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
)  # fmt: skip
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
CIRCULAR = "circular_convolution"
_SCALES = ("mul", "multiply", "div", "divide")
_SUMS = ("add", "sub", "rsub", "subtract")
_RULES: dict[str, Callable[[Step, dict[str, Any], Values], Gain | None]] = {
    **dict.fromkeys(_SELECTIONS, _selection),
    **dict.fromkeys(_MEANS, _mean),
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_SCALES, _scaled),
    **dict.fromkeys(("cat", "concat", "stack", "maximum", "minimum"), _beside),
    **dict.fromkeys(("mm", "bmm", "matmul", "addmm"), _product),
    **dict.fromkeys(("layer_norm", "group_norm", "rms_norm"), _row_norm),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), _max_pool),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), _adaptive_max_pool),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "scaled_dot_product_attention": _attention,
}
_MATRICES = ("mm", "matmul", "addmm")
_AFFINE = {
    *_SELECTIONS, *_MEANS, *CONVOLUTIONS, CIRCULAR, *_SUMS, *_SCALES, *_MATRICES, "linear", "batch_norm",
}  # fmt: skip


def is_affine(step: Step) -> bool:
    """Whether it is known to be linear, up to a constant, in the one result that it reads."""
    first = arguments(step).get("self")
    bent = step.op in ("div", "divide") and (not isinstance(first, Ref) or arguments(step).get("rounding_mode"))
    return step.op in _AFFINE and len(step.reads) == 1 and not bent and step.real and not step.masked


def is_matrix(step: Step) -> bool:
    """Whether it is a product with a constant number, vector or matrix."""
    return step.op in (*_SCALES, *_MATRICES)
