"""A model meets its data: what every job has to know before its first query."""

import copy
from typing import Any

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.findings import Finding
from blindspots.goal import margin
from blindspots.models.estimators import from_estimator, is_estimator
from blindspots.models.foreign import out_of_memory, own_randomness, told
from blindspots.models.load import load_model
from blindspots.models.model import Model, is_lazy
from blindspots.problem import Need

_ROWS = 8  # networks that are flat at 6 % of their rows are known: at all of these none is by chance


def as_model(given: Any) -> Model:
    """A `Model` as it is; a network, a function of tensors, a fitted scikit-learn classifier or a name as one.

    Raises InputError: it is none of these.
    """
    if isinstance(given, str):
        return load_model(given)
    if is_estimator(given):
        return from_estimator(given)
    return given if isinstance(given, Model) else Model(given)


def first_look(model: Model, data: Dataset) -> Model:
    """The model after a look at a few rows: lazy layers have their shapes, and it is known whether it has gradients.

    A network whose scores do not lead back to its input by differentiable steps (detached, quantised, under no_grad),
    or whose gradient is exactly 0 at all of the rows (its input is rounded), comes back as a model that shows its scores alone: attacks and protocols by scores run on it, all others are
    refused before anything is asked. A model whose every answer counts is left alone.

    Raises:
        InputError: the network does not take the rows, or what it returns cannot be scores.
    """
    if model.service or not len(data):
        return model
    x = data.rows(0, min(_ROWS, len(data)))[0].to(model.device)
    lazy = [name for name, p in model.net.named_parameters() if is_lazy(p)]
    if lazy:
        with own_randomness(model.device, seed=0), torch.no_grad():
            model.logits(x)  # not borrowed: what has no shape yet cannot be frozen
    refusal = _refusal(model, x) if model.access is Need.GRAD else ""
    if refusal or lazy:
        model = copy.copy(model)
        model.remarks = (*model.remarks, *_remarks(lazy, refusal))
    if refusal:
        model.access = Need.VALUE
    return model


def _refusal(model: Model, x: Tensor) -> str:
    """Why no gradient of its scores reaches the inputs; "" if one does."""
    with model.borrowed(), own_randomness(model.device, seed=0):
        with torch.no_grad():
            model.logits(x)  # what fails here fails for another reason
        try:
            return _flat(model, x.detach().clone().requires_grad_())
        except (RuntimeError, ValueError, TypeError) as error:
            if out_of_memory(error):
                raise
            return told(error.__cause__ or error)


def _flat(model: Model, x: Tensor) -> str:
    with torch.enable_grad():
        logits = model.logits(x)
        if not logits.requires_grad:
            return "no differentiable path leads from its input to its output"
        gradient = model.gradient(margin(logits, logits.argmax(1)).sum(), x)
    return "" if bool((gradient != 0).any()) else f"its gradient is exactly 0 at all of {len(x)} rows"


def _remarks(lazy: list[str], refusal: str) -> list[Finding]:
    found = []
    if lazy:
        found.append(Finding(
            code="weights-drawn", severity="warning",
            saw=f"Layers of the network had no weights before its first input, so they were drawn: {', '.join(lazy)}.",
            do="The network is untrained, unless it is trained now: call it on an input, then load its weights.",
        ))  # fmt: skip
    if refusal:
        found.append(Finding(
            code="non-differentiable", severity="warning",
            saw=f"The network gives no gradients: {refusal}. So it is attacked by its scores alone.",
            do="Where a differentiable form of it is at hand, evaluate that, too: gradients find more.",
        ))  # fmt: skip
    return found
