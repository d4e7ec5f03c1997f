"""Detectors as files: safetensors of what was learnt, with the settings beside it. Nothing is unpickled."""

import json

import safetensors.torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.catalogue import parse_detector
from blindspots.experiments.detect.detectors.detector import Fitted
from blindspots.models.model import Model

_KEY = "blindspots detector 1"
_REMEDY = "name the detector.safetensors of a `blindspots detect` run, or fit the detector anew"


class _Said(BaseModel):
    detector: str  # as `parse_detector` reads it
    shape: tuple[int, ...]  # of one input
    model: str  # digest


def save(fitted: Fitted) -> bytes:
    """The content of a detector's file. The model that it protects is named by its digest, not stored."""
    said = _Said(detector=str(fitted.detector), shape=fitted.shape, model=fitted.model.digest)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.state_dict().items()}
    return safetensors.torch.save(tensors, {_KEY: said.model_dump_json()})


def load(content: bytes, model: Model) -> Fitted:
    """The detector in what `save` made: its scores are the same to the last bit.

    Args:
        model: the model that it protects.

    Raises:
        InputError: the content is something else, or the scores depend on a model that is not this one.
    """
    said = _said(content)
    detector = parse_detector(said.detector)
    if detector.asks_model and said.model != model.digest:
        raise InputError(
            f"expected the model that the detector {said.detector} was fitted to, got another one, {model.name}: name "
            "that model, or fit the detector anew"
        )
    try:
        return detector.restore(model, said.shape, safetensors.torch.load(content))
    except (SafetensorError, RuntimeError, LookupError) as error:
        raise InputError(f"expected what {said.detector} has learnt, got {error}: {_REMEDY}") from error


def _said(content: bytes) -> _Said:
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return _Said.model_validate_json(header["__metadata__"][_KEY])
    except (ValueError, LookupError, TypeError, ValidationError) as error:
        raise InputError(
            f"expected a detector's file, got something else ({type(error).__name__}): {_REMEDY}"
        ) from error
