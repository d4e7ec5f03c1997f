"""Operators of ONNX as functions of torch, by their names; those of other domains as "domain:name"."""

from blindspots.models.onnx.node import Operators
from blindspots.models.onnx.operators.classical import CLASSICAL
from blindspots.models.onnx.operators.elementwise import ELEMENTWISE
from blindspots.models.onnx.operators.layers import LAYERS
from blindspots.models.onnx.operators.quantised import QUANTISED
from blindspots.models.onnx.operators.recurrent import RECURRENT
from blindspots.models.onnx.operators.reductions import REDUCTIONS
from blindspots.models.onnx.operators.resizing import RESIZING
from blindspots.models.onnx.operators.sequences import SEQUENCES
from blindspots.models.onnx.operators.shapes import SHAPES
from blindspots.models.onnx.operators.signals import SIGNALS

OPERATORS: Operators = {
    **ELEMENTWISE, **SHAPES, **SEQUENCES, **REDUCTIONS, **LAYERS, **RECURRENT, **RESIZING, **SIGNALS, **CLASSICAL,
    **QUANTISED,
}  # fmt: skip
