"""A first forward and backward pass: what every run has to know about a model before its first query."""

import copy
from typing import Any

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.findings import Finding
from blindspots.models.estimators import from_estimator, is_estimator
from blindspots.models.foreign import out_of_memory, own_randomness, told
from blindspots.models.load import load_model
from blindspots.models.model import Model, is_lazy
from blindspots.objective import margin
from blindspots.problem import Need

LOOKED_AT = 8  # some networks are flat at 6 % of their rows: none is flat at all of these by chance


def as_model(given: Any) -> Model:
    """A `Model` as it is; a network, a function of tensors, a fitted scikit-learn classifier or a name as a `Model`.

    Raises InputError: it is none of these.
    """
    if isinstance(given, str):
        return load_model(given)
    if is_estimator(given):
        return from_estimator(given)
    return given if isinstance(given, Model) else Model(given)


def first_look(model: Model, data: Dataset) -> Model:
    """The model after a pass over a few rows: lazy layers have their shapes, and it is known whether it has gradients.

    A network without a differentiable path from its input to its scores (detached, quantised, under no_grad) is
    returned as a model with access to its scores only: score-based attacks and protocols run on it, all others are
    refused before the first query. One whose gradient is exactly 0 at all of these rows (its input is rounded) is
    returned as `flat`. A model whose every query counts, or whose inputs are tokens, is left alone. Costs a forward and
    a backward per row.

    Raises:
        InputError: the network does not take the rows, or what it returns cannot be scores.
    """
    if model.service or not len(data) or model.access is Need.SLOPES:
        return model
    x = data.rows(0, min(LOOKED_AT, len(data)))[0].to(model.device)
    lazy = [name for name, p in model.net.named_parameters() if is_lazy(p)]
    if lazy:
        with own_randomness(model.device, seed=0), torch.no_grad():
            model.logits(x)  # not borrowed: parameters without a shape cannot be frozen
        model = _remarked(model, _drawn(lazy))
    return _with_gradients(model, x) if model.access is Need.GRAD else model


def _with_gradients(model: Model, x: Tensor) -> Model:
    with model.borrowed(), own_randomness(model.device, seed=0):
        try:
            flat = _is_flat(model, x.detach().clone().requires_grad_())
        except (RuntimeError, ValueError, TypeError) as error:
            if out_of_memory(error):
                raise
            with torch.no_grad():
                model.logits(x)  # if this fails too, gradients are not the reason
            model = _remarked(model, _without(told(error.__cause__ or error)))
            model.access = Need.VALUE
            return model
    if flat and not model.flat:
        model = copy.copy(model)
        model.flat = True
    return model


def _is_flat(model: Model, x: Tensor) -> bool:
    with torch.enable_grad():
        logits = model.logits(x)
        if not logits.requires_grad:
            raise RuntimeError("no differentiable path leads from its input to its output")
        total = _uneven(logits) if model.output == "values" else margin(logits, logits.argmax(1))
        gradient = model.gradient(total.sum(), x)
    return not bool((gradient != 0).any())


def _uneven(values: Tensor) -> Tensor:
    """With a weight of its own for every output: what always adds up to the same, as probabilities do, is not flat."""
    each = values.reshape(len(values), -1)
    return each * torch.linspace(1, 2, each.shape[1], device=each.device)


def _remarked(model: Model, finding: Finding) -> Model:
    model = copy.copy(model)
    model.remarks = (*model.remarks, finding)
    return model


def _drawn(lazy: list[str]) -> Finding:
    return Finding(
        code="weights-drawn",
        severity="warning",
        saw=f"Layers had no weights before the first input, so these were initialised at random: {', '.join(lazy)}.",
        do="Unless this run trains it, the network is untrained: call it on an input, then load its weights.",
    )


def _without(refusal: str) -> Finding:
    return Finding(
        code="non-differentiable",
        severity="warning",
        saw=f"The network cannot be differentiated: {refusal.removeprefix('RuntimeError: ')}. It is attacked "
        "through its scores only.",
        do="If you have a differentiable version of it, evaluate that as well: gradients find more.",
    )
