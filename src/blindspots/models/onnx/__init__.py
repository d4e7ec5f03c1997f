"""Models in ONNX files, translated to torch."""

from blindspots.models.onnx.loading import from_onnx

__all__ = ["from_onnx"]
