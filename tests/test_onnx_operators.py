"""Every operator of the translation says what the standard's own evaluator and onnxruntime say."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")

from blindspots.models.onnx.graph import Network, folded  # noqa: E402 - needs onnx
from blindspots.models.onnx.operators import OPERATORS  # noqa: E402
from blindspots.models.onnx.operators.sequences import SEQUENCES  # noqa: E402 - see test_onnx_control
from blindspots.models.onnx.reading import graph_of  # noqa: E402

RANDOM = np.random.default_rng(0)
ML, MS = "ai.onnx.ml", "com.microsoft"


def f(*shape: int, low: float = -2, high: float = 2) -> Any:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def i(*values: Any) -> Any:
    return np.array(values, np.int64)


def s(value: Any, dtype: Any = np.float32) -> Any:
    return np.array(value, dtype)


class Case(NamedTuple):
    kind: str
    inputs: tuple[Any, ...]
    opset: int
    outputs: int
    attributes: dict[str, Any]
    evaluated: bool = True  # by the standard's evaluator, which lacks some and gets others wrong
    run: bool = True  # by onnxruntime, which lacks some

    def __str__(self) -> str:
        settings = ",".join(f"{k}={v}" for k, v in self.attributes.items() if not isinstance(v, list) or len(v) < 5)
        return f"{self.kind}-{self.opset}-{settings}"


def case(kind: str, *inputs: Any, opset: int = 20, outputs: int = 1, **attributes: Any) -> Case:
    return Case(kind, inputs, opset, outputs, attributes)


def beyond(*cases: Case) -> list[Case]:
    """For onnxruntime alone: the evaluator has no softmax before opset 13, no lengths, clips and few activations."""
    return [one._replace(evaluated=False) for one in cases]


X, Y, POSITIVE, UNIT = f(3, 4, 5), f(4, 5), f(3, 4, low=0.1), f(3, 4, low=-0.9, high=0.9)
WHOLE, TRUTH = RANDOM.integers(-7, 8, (3, 4)), RANDOM.random((3, 4)) < 0.5
PICTURES = f(2, 4, 7, 6)
UNARY = (
    "Abs Atan Ceil Cos Erf Exp Floor HardSwish Identity IsNaN Mish Neg Relu Round Sigmoid Sign Sin Sinh Cosh Tan Tanh "
    "Softplus Softsign Asinh"
)
ELEMENTWISE = [
    *(case(kind, X) for kind in UNARY.split()),
    *(case(kind, UNIT) for kind in ("Acos", "Asin", "Atanh")),
    *(case(kind, POSITIVE) for kind in ("Log", "Sqrt", "Reciprocal")),
    case("Acosh", POSITIVE + 1),
    *(case(kind, X, Y) for kind in ("Add", "Sub", "Mul", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *(case(kind, WHOLE, WHOLE[::-1] * 2 + 1) for kind in ("Div", "Mod", "Equal", "Sub")),
    case("Mod", X, Y, fmod=1),
    *(case(kind, TRUTH, TRUTH[::-1].copy()) for kind in ("And", "Or", "Xor")),
    case("Not", TRUTH),
    case("BitwiseNot", WHOLE),
    *(case(f"Bitwise{kind}", WHOLE, WHOLE[::-1].copy()) for kind in ("And", "Or", "Xor")),
    case("Pow", POSITIVE, f(3, 4)),
    case("Pow", X, s(2.0)),
    case("Pow", X, s(3, np.int64)),
    *(case(kind, X, Y, f(1, 5)) for kind in ("Max", "Min", "Mean", "Sum")),
    case("Where", TRUTH, f(3, 4), f(4)),
    case("Clip", X, s(-0.5), s(0.7)),
    case("Clip", X, None, s(0.7)),
    case("Clip", X, s(0.1), None, opset=11),
    case("Clip", X, opset=10, min=-1.0, max=0.5),
    case("Cast", X, to=7),
    case("Cast", WHOLE, to=1),
    case("Cast", X, to=9),
    case("CastLike", X, s(1, np.int64)),
    case("IsInf", s([1, np.inf, -np.inf]), detect_negative=0),
    case("Celu", X, alpha=0.5),
    case("Elu", X, alpha=0.5),
    case("Selu", X),
    case("Gelu", X),
    case("Gelu", X, approximate="tanh"),
    case("HardSigmoid", X, alpha=0.3),
    case("LeakyRelu", X, alpha=0.2),
    case("PRelu", X, f(4, 1)),
    case("Shrink", X, bias=0.3, lambd=0.6),
    case("Swish", X, opset=24, alpha=0.7),
    case("ThresholdedRelu", X, alpha=0.6),
    *(case(kind, X, opset=opset) for kind in ("Softmax", "LogSoftmax", "Hardmax") for opset in (13, 20)),
    case("Softmax", X, axis=1),
    *beyond(*(case(kind, X, opset=11) for kind in ("Softmax", "LogSoftmax", "Hardmax"))),
    *beyond(case("Softmax", X, opset=11, axis=2)),
    case("Dropout", X),
]
SHAPES = [
    case("Concat", X, f(3, 2, 5), axis=1),
    case("Constant", value_floats=[1.0, 2.5]),
    case("ConstantOfShape", i(2, 3), value=onnx.helper.make_tensor("v", 1, [1], [2.5])),
    case("DepthToSpace", PICTURES, blocksize=2),
    case("DepthToSpace", PICTURES, blocksize=2, mode="CRD"),
    case("SpaceToDepth", f(2, 2, 4, 6), blocksize=2),
    case("Expand", Y, i(3, 1, 5)),
    case("EyeLike", Y, k=1, dtype=7),
    *(case("Flatten", X, axis=axis) for axis in (0, 1, 2, -1)),
    case("Gather", X, i([0, -1], [2, 1]), axis=1),
    case("Gather", X, s(-1, np.int64), axis=-1),
    *beyond(case("GatherElements", X, i([[0, -1, 1, 2, 3]]), axis=1)),
    case("GatherND", X, i([0, 1], [2, 3])),
    case("GatherND", X, i([1], [0], [3]), batch_dims=1),
    case("NonZero", WHOLE),
    case("OneHot", i(0, 2, -1, 9), s(4, np.int64), s([0.0, 3.0])),
    case("OneHot", i([0, 2], [1, 1]), s(3, np.int64), s([-1.0, 1.0]), axis=1),
    *(case("Pad", X, i(0, 1, 2, 0, 2, 1), mode=mode) for mode in ("reflect", "edge")),
    case("Pad", X, i(0, 1, 2, 0, 2, 1), s(1.5), opset=11),
    *beyond(case("Pad", X, i(0, -1, 2, 0, 2, -1))),
    case("Pad", X, i(1, 2, 2, 1), s(0.5), i(2, 0)),
    case("Pad", X, i(0, 1, 2, 0, 3, 1), mode="wrap"),
    case("Range", s(1, np.int64), s(9, np.int64), s(3, np.int64)),
    case("Range", s(2.0), s(-1.0), s(-0.5)),
    case("Reshape", X, i(0, -1)),
    case("Reshape", X, i(5, 0, 3), opset=11),
    case("ReverseSequence", f(4, 3, 2), i(2, 4, 1), time_axis=0, batch_axis=1),
    *beyond(case("ScatterElements", X, i([[1, 0, 2, 1, 3]]), f(1, 1, 5), axis=1)),
    *beyond(case("ScatterElements", X, i([[1, 0, 2, 1, -1]]), f(1, 1, 5), axis=1, reduction="add")),
    case("ScatterND", X, i([0, 1], [2, 3]), f(2, 5)),
    case("ScatterND", X, i([0, 1], [0, 1]), f(2, 5), reduction="add"),
    case("Shape", X),
    case("Shape", X, start=1, end=-1),
    case("Size", X),
    case("Slice", X, i(1, -3), i(3, 100), i(0, 2)),
    case("Slice", X, i(-1, 3), i(-100, 0), i(1, 2), i(-2, -1)),
    case("Slice", X, opset=9, starts=[0, 1], ends=[2, 3]),
    case("Split", f(6, 2), i(1, 3, 2), outputs=3),
    case("Split", f(7, 2), outputs=3, num_outputs=3),
    case("Split", f(2, 6), opset=11, outputs=2, axis=1, split=[2, 4]),
    case("Split", f(2, 6), opset=13, outputs=2, axis=-1),
    *(case("Squeeze", f(1, 3, 1, 2), opset=11, **axes) for axes in ({}, {"axes": [2]})),
    case("Squeeze", f(1, 3, 1, 2), i(-2)),
    case("Unsqueeze", Y, i(0, -1)),
    case("Unsqueeze", Y, opset=11, axes=[0, 3]),
    case("Tile", Y, i(2, 3)),
    case("Transpose", X, perm=[2, 0, 1]),
    case("Transpose", X),
    case("Trilu", X, s(1, np.int64)),
    case("Trilu", X, s(-1, np.int64), upper=0),
]
REDUCED = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
REDUCTIONS = [
    *(case(kind, f(3, 4, 5, low=0.1), i(1, -1), opset=18, keepdims=0) for kind in REDUCED.split()),
    *(case(kind, f(3, 4, 5, low=0.1), opset=11, axes=[0, 2]) for kind in REDUCED.split()),
    case("ReduceSum", X, i(1), opset=13),
    case("ReduceMean", X),
    case("ReduceMax", X, noop_with_empty_axes=1),
    *(case(kind, WHOLE, axis=1, select_last_index=last) for kind in ("ArgMax", "ArgMin") for last in (0, 1)),
    case("ArgMax", X, keepdims=0),
    case("TopK", X, i(2), outputs=2),
    case("TopK", WHOLE, i(3), outputs=2, axis=0, largest=0),
    *(case("CumSum", X, s(1, np.int64), exclusive=e, reverse=r) for e in (0, 1) for r in (0, 1)),
]
WEIGHT, SAME = f(4, 2, 3, 3), ("SAME_UPPER", "SAME_LOWER", "VALID")
WINDOWS: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
LAYERS = [
    case("MatMul", X, f(5, 2)),
    case("Gemm", f(3, 4), f(2, 4), f(2), transB=1, alpha=0.5, beta=2.0),
    case("Gemm", f(4, 3), f(4, 2), transA=1),
    case("Einsum", X, f(3, 5, 2), equation="bij,bjk->bik"),
    case("Conv", f(2, 3, 9), f(4, 3, 3), f(4), strides=[2], pads=[1, 0]),
    case("Conv", PICTURES, WEIGHT, group=2, dilations=[2, 1], pads=[1, 2, 0, 1]),
    *(case("Conv", PICTURES, f(3, 4, 2, 3), auto_pad=how, strides=[2, 2]) for how in SAME),
    case("Conv", f(1, 2, 4, 5, 4), f(3, 2, 2, 2, 2)),
    case("ConvTranspose", PICTURES, f(4, 3, 3, 2), f(3), strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2]),
    *beyond(case("ConvTranspose", PICTURES, f(4, 2, 3, 3), group=2, dilations=[2, 1])),
    *beyond(case("ConvTranspose", PICTURES, f(4, 2, 3, 3), f(2), strides=[2, 2], auto_pad="SAME_UPPER")),
    *beyond(case("ConvTranspose", f(1, 2, 5), f(2, 2, 3), strides=[2], output_shape=[9])),
    *(case("MaxPool", PICTURES, **WINDOWS, ceil_mode=c) for c in (0, 1)),
    case("MaxPool", PICTURES, kernel_shape=[2, 2], dilations=[2, 2]),
    case("MaxPool", f(2, 3, 9), kernel_shape=[3], auto_pad="SAME_UPPER", strides=[2]),
    *(
        case("AveragePool", PICTURES, **WINDOWS, ceil_mode=c, count_include_pad=p)
        for c in (0, 1) for p in (0, 1)
    ),
    case("AveragePool", PICTURES, kernel_shape=[2, 2], dilations=[2, 3]),
    case("GlobalAveragePool", PICTURES),
    case("GlobalMaxPool", PICTURES),
    case("BatchNormalization", PICTURES, f(4), f(4), f(4), f(4, low=0.5), epsilon=1e-3),
    *beyond(case("BatchNormalization", PICTURES, f(4), f(4), f(4), f(4, low=0.5), opset=11)),
    case("InstanceNormalization", PICTURES, f(4), f(4)),
    case("LayerNormalization", X, f(5), f(5)),
    case("LayerNormalization", X, f(4, 5), axis=1, epsilon=1e-2),
    case("RMSNormalization", X, f(5), opset=23),
    case("GroupNormalization", PICTURES, f(4), f(4), opset=21, num_groups=2),
    case("LRN", f(5, 5, 3, 3), size=3, alpha=0.1, beta=0.6, bias=1.5),
    case("LRN", f(5, 5, 3, 3), size=4, alpha=0.1)._replace(run=False),
    case("LpNormalization", X, axis=1),
    *beyond(case("LpNormalization", X, p=1, axis=1)),
    case("Col2Im", f(2, 3 * 6, 12), i(5, 5), i(2, 3)),
    *beyond(case("Col2Im", f(1, 2 * 4, 9), i(5, 4), i(2, 2), pads=[0, 1, 1, 1], strides=[2, 2])),
]  # fmt: skip
STEPS, ROWS, INPUTS, HIDDEN = 5, 3, 4, 6


def recurrent(kind: str, gates: int, ways: int = 1, rest: tuple[Any, ...] = (), **more: Any) -> Case:
    x, w, r = f(STEPS, ROWS, INPUTS), f(ways, gates * HIDDEN, INPUTS), f(ways, gates * HIDDEN, HIDDEN) / 4
    more = {"hidden_size": HIDDEN, "outputs": 3 if kind == "LSTM" else 2} | more
    return case(kind, x, w, r, f(ways, 2 * gates * HIDDEN), *rest, **more)


LENGTHS, START = s([5, 2, 4], np.int32), f(1, ROWS, HIDDEN)
RECURRENT = [
    *(
        recurrent(kind, gates, opset=opset)
        for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
        for opset in (11, 20)
    ),
    *(recurrent(kind, gates, 2, direction="bidirectional") for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))),
    *(recurrent(kind, gates, direction="reverse") for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))),
    recurrent("GRU", 3, linear_before_reset=1),
    recurrent("LSTM", 4, rest=(None, START, f(1, ROWS, HIDDEN), f(1, 3 * HIDDEN))),
    *beyond(
        recurrent("LSTM", 4, rest=(LENGTHS,)),
        recurrent("GRU", 3, 2, rest=(LENGTHS,), direction="bidirectional"),
        recurrent("GRU", 3, rest=(None, START), clip=0.5),
        recurrent("LSTM", 4, clip=0.7, input_forget=1),
    ),
    *beyond(recurrent("RNN", 1, activations=["LeakyRelu"], activation_alpha=[0.2])),
    *beyond(
        recurrent(
            "LSTM", 4, activations=["HardSigmoid", "Softsign", "Relu"], activation_alpha=[0.3], activation_beta=[0.4]
        ),
    ),
    *beyond(*(recurrent("RNN", 1, activations=[name]) for name in ("Elu", "Softplus"))),
    *beyond(
        *(
            recurrent("RNN", 1, activations=[name], activation_alpha=[0.5], activation_beta=[0.7])
            for name in ("Affine", "ScaledTanh")
        )
    ),
    *beyond(recurrent("RNN", 1, activations=["ThresholdedRelu"], activation_alpha=[0.3])),
]
NEAREST = ("floor", "ceil", "round_prefer_ceil")
MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
GRID = f(2, 5, 3, 2, low=-1.3, high=1.3)
RESIZING = [
    *(case("Resize", PICTURES, None, None, i(2, 4, 5, 9), mode=mode, coordinate_transformation_mode=how)
      for mode in ("nearest", "linear", "cubic") for how in MODES),
    *(case("Resize", PICTURES, None, s([1, 1, 2, 0.5]), mode=mode, opset=opset)
      for mode in ("nearest", "linear", "cubic") for opset in (13, 19)),
    *(case("Resize", PICTURES, None, s([1, 1, 1.5, 1.5]), nearest_mode=how) for how in NEAREST),
    *(case("Resize", PICTURES, None, None, i(2, 4, 3, 4), mode=mode, antialias=1) for mode in ("linear", "cubic")),
    case("Resize", PICTURES, None, s([0.5, 1.5]), axes=[3, 2], mode="linear"),
    case("Resize", PICTURES, None, s([1, 1, 0.5, 2]), mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
    *beyond(
        case("Resize", PICTURES, None, s([1, 1, 0.5, 2]), mode="linear",
             coordinate_transformation_mode="half_pixel_symmetric")),
    case("Upsample", PICTURES, s([1, 1, 2, 3]), opset=9),
    *(case("GridSample", PICTURES, GRID, mode=mode, padding_mode=pad, align_corners=corners)
      for mode in ("linear", "nearest") for pad in ("zeros", "border", "reflection") for corners in (0, 1)),
    *beyond(*(case("GridSample", PICTURES, GRID, mode="cubic", padding_mode=pad, align_corners=corners)
              for pad in ("zeros", "border", "reflection") for corners in (0, 1))),
    *beyond(*(case("GridSample", PICTURES, GRID, opset=16, mode=mode) for mode in ("bilinear", "bicubic"))),
    case("GridSample", f(2, 2, 4, 5, 4), f(2, 3, 2, 2, 3, low=-1, high=1), mode="linear"),
]  # fmt: skip
SOUND, PAIRS = f(2, 16, 1), f(2, 3, 8, 2)
SIGNALS = [
    *(case("DFT", SOUND, opset=opset, onesided=one) for opset in (17, 20) for one in (0, 1)),
    case("DFT", SOUND, s(32, np.int64), s(1, np.int64)),
    *(case("DFT", PAIRS, None, s(axis, np.int64), inverse=back) for axis in (1, -2) for back in (0, 1)),
    case("DFT", PAIRS, opset=17, axis=2, inverse=1),
    *(case("STFT", f(2, 32, 1), s(5, np.int64), f(8), s(8, np.int64), onesided=one) for one in (0, 1)),
]
BYTES = RANDOM.integers(0, 255, (3, 4)).astype(np.uint8)
CLASSICAL = [
    case(f"{ML}:Scaler", f(3, 2), offset=[0.5, 1.0], scale=[2.0, 3.0]),
    *(case(f"{ML}:Normalizer", f(3, 4, low=0.1), norm=norm) for norm in ("L1", "L2", "MAX")),
    case(f"{ML}:ArrayFeatureExtractor", f(3, 4), i(2, 0)),
    *(case(f"{ML}:LinearClassifier", f(5, 2), outputs=2, coefficients=[1.0, -1, 0.5, 2, -2, 1],
           intercepts=[0.1, 0, -0.2], classlabels_ints=[0, 1, 2], multi_class=1, post_transform=how)
      for how in ("NONE", "SOFTMAX", "LOGISTIC")),
    *(case(f"{ML}:LinearClassifier", f(5, 2), outputs=2, coefficients=[-1.0, 2, 1, -2], intercepts=[-0.1, 0.1],
           classlabels_ints=[0, 1], post_transform=how) for how in ("NONE", "LOGISTIC")),
    case(f"{ML}:LinearRegressor", f(3, 2), coefficients=[1.0, -2, 0.5, 3], intercepts=[0.5, 1], targets=2),
]  # fmt: skip
# Weights of 7 bits: without VNNI onnxruntime cuts sums of two products of 8 bits off at 16.
BIAS = RANDOM.integers(-999, 999, 3).astype(np.int32)
SIGNED, ZERO = RANDOM.integers(-60, 60, (4, 3)).astype(np.int8), s(120, np.uint8)
PLANES = RANDOM.integers(0, 255, (2, 3, 6, 5)).astype(np.uint8)
KERNELS = RANDOM.integers(-60, 60, (4, 3, 3, 2)).astype(np.int8)
OF_BYTES, OF_SIGNED = (s(0.02), ZERO), (s(0.01), s(0, np.int8))
QUANTISED = [
    case("DequantizeLinear", BYTES, f(4, low=0.1), s([1, 2, 3, 4], np.uint8)),
    case("DequantizeLinear", RANDOM.integers(-9, 9, (3, 4)).astype(np.int8), s(0.3)),
    case("QuantizeLinear", X, s(0.02), s(100, np.uint8)),
    case("QuantizeLinear", X, f(4, low=0.02, high=0.1), s([0, 1, 2, 3], np.int8), axis=1),
    *(case("DynamicQuantizeLinear", x, outputs=3) for x in (X, POSITIVE)),
    case("MatMulInteger", BYTES, SIGNED, ZERO, s(3, np.int8)),
    *beyond(case("MatMulInteger", BYTES, SIGNED, ZERO, s([3, -1, 2], np.int8))),
    case("ConvInteger", PLANES, KERNELS.view(np.uint8), ZERO, ZERO, pads=[1, 0, 1, 1])._replace(evaluated=False),
    *beyond(case("QLinearMatMul", BYTES, *OF_BYTES, SIGNED, f(3, low=0.01, high=0.02), s([0] * 3, np.int8), s(0.1),
                 ZERO)),
    *beyond(case("QLinearConv", PLANES, *OF_BYTES, KERNELS, f(4, low=0.01, high=0.02), s([0] * 4, np.int8), s(0.2),
                 ZERO,
                 RANDOM.integers(-999, 999, 4).astype(np.int32), strides=[2, 1], pads=[1, 0, 1, 1])),
    *beyond(
        case(f"{MS}:QGemm", BYTES, *OF_BYTES, SIGNED, *OF_SIGNED, BIAS, s(0.1),
             ZERO),
        case(f"{MS}:QGemm", BYTES, *OF_BYTES, SIGNED.T.copy(), *OF_SIGNED, None, s(0.1), ZERO, transB=1),
        *(case(f"{MS}:QLinear{kind}", BYTES, *OF_BYTES, BYTES[::-1].copy(), s(0.01), s(7, np.uint8), s(0.05), ZERO)
          for kind in ("Add", "Mul")),
        case(f"{MS}:QLinearAveragePool", PLANES, *OF_BYTES, s(0.0171), ZERO, kernel_shape=[2, 3], strides=[2, 1]),
        case(f"{MS}:QLinearGlobalAveragePool", PLANES, *OF_BYTES, s(0.005), ZERO, channels_last=0),
        case(f"{MS}:QLinearLeakyRelu", BYTES, *OF_BYTES, s(0.02), ZERO, alpha=0.3),
        case(f"{MS}:QLinearSigmoid", BYTES, *OF_BYTES, s(1 / 256), s(0, np.uint8)),
        case(f"{MS}:QLinearSoftmax", BYTES, *OF_BYTES, s(1 / 256), s(0, np.uint8))._replace(
            attributes={"axis": -1, "opset": 13}),
    ),
    *beyond(case(f"{MS}:QLinearConcat", s(0.03), ZERO, BYTES, *OF_BYTES, BYTES + 1, s(0.01), ZERO, axis=1)),
]  # fmt: skip
CASES = [*ELEMENTWISE, *SHAPES, *REDUCTIONS, *LAYERS, *RECURRENT, *RESIZING, *SIGNALS, *CLASSICAL, *QUANTISED]


VERSIONS = {ML: 3, MS: 1}


FEW_BITS = {c.kind for c in QUANTISED}


def model_of(c: Case) -> Any:
    """A graph of one node: its first input is that of the graph, the others are constants."""
    domain, _, kind = c.kind.rpartition(":")
    names = ["" if value is None else f"x{at}" for at, value in enumerate(c.inputs)]
    ends = [f"y{at}" for at in range(c.outputs)]
    node = onnx.helper.make_node(kind, names, ends, domain=domain, **c.attributes)
    numbers = [
        onnx.numpy_helper.from_array(v, n) for v, n in zip(c.inputs[1:], names[1:], strict=True) if v is not None
    ]
    first = [
        onnx.helper.make_tensor_value_info("x0", onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for v in c.inputs[:1]
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(end) for end in ends]
    graph = onnx.helper.make_graph([node], "one", first, outputs, numbers)
    opsets = [
        onnx.helper.make_opsetid("", c.opset),
        *([onnx.helper.make_opsetid(domain, VERSIONS[domain])] if domain else []),
    ]
    return onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))


def translated(model: Any, x: Any) -> list[Any]:
    graph = folded(graph_of(model))
    if not graph.nodes:  # a constant
        return [graph.constants[name].numpy() for name in graph.outputs]
    with torch.no_grad():
        found = Network(graph)(torch.from_numpy(x))
    return [one.numpy() for one in (found.values() if isinstance(found, dict) else [found])]


def close(found: list[Any], wanted: list[Any], whole: bool = False) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype or whole  # levels in few bits are floats here
        np.testing.assert_allclose(a, b.reshape(a.shape) if b.size == a.size == 1 else b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("c", [c for c in CASES if c.evaluated], ids=str)
def test_an_operator_says_what_the_standards_evaluator_says(c: Case) -> None:
    model = model_of(c)
    x = c.inputs[0] if c.inputs else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, where a number has no logarithm
        wanted = onnx.reference.ReferenceEvaluator(model).run(None, {} if x is None else {"x0": x})
    close(translated(model, x), [np.asarray(one) for one in wanted], c.kind in FEW_BITS)


@pytest.mark.parametrize("c", [c for c in CASES if c.run], ids=str)
def test_an_operator_says_what_onnxruntime_says(c: Case) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = model_of(c)
    x = c.inputs[0] if c.inputs else None
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    close(translated(model, x), session.run(None, {} if x is None else {"x0": x}), c.kind in FEW_BITS)


def test_no_operator_goes_untested() -> None:
    assert {c.kind for c in CASES} | set(SEQUENCES) == set(OPERATORS)
