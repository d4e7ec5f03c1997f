"""Adapters that give the oracle its model."""

from blindspots.models.blackbox import BlackBox
from blindspots.models.columns import from_columns
from blindspots.models.ensemble import Ensemble
from blindspots.models.estimators import from_estimator
from blindspots.models.functions import from_functions
from blindspots.models.load import load_model
from blindspots.models.model import Model, Output
from blindspots.models.onnx import from_onnx
from blindspots.models.skip import skip_gradients
from blindspots.models.transformations import Transformed
from blindspots.models.trees.model import TreeModel

__all__ = [
    "BlackBox",
    "Ensemble",
    "Model",
    "Output",
    "Transformed",
    "TreeModel",
    "from_columns",
    "from_estimator",
    "from_functions",
    "from_onnx",
    "load_model",
    "skip_gradients",
]
