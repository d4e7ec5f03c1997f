"""Adapters that give the oracle its model."""

from blindspots.models.load import load_model
from blindspots.models.model import Model, Output

__all__ = ["Model", "Output", "load_model"]
