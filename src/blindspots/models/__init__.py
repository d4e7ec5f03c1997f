"""Adapters that give the oracle its model."""

from blindspots.models.blackbox import BlackBox
from blindspots.models.load import load_model
from blindspots.models.model import Model, Output

__all__ = ["BlackBox", "Model", "Output", "load_model"]
