"""What is looked at, and made ready, before the first step: the model, its labels, the rows that judge it."""

import copy

import torch
from torch import Tensor, nn

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.experiments.harden.adversaries.adversary import learns
from blindspots.findings import Finding
from blindspots.fit import check_even
from blindspots.models.model import Model
from blindspots.models.texts import TokenModel
from blindspots.models.training import alone
from blindspots.problem import Need

_LOOKED_AT = 8  # rows


def trainable(model: Model, *, from_scratch: bool, seed: int) -> Model:
    """A copy of the model that can be trained; the given one stays as it is. Frozen parameters stay frozen.

    Raises InputError: it has no gradients or nothing to train, or, `from_scratch`, weights that nothing draws anew.
    """
    _check_access(model)
    own = copy.deepcopy(model)
    own.name, own.spec = f"{model.name}-hardened", None
    if from_scratch:
        with alone(seed):
            draw_anew(own.net)
    return own


def draw_anew(net: nn.Module) -> None:
    """Give every layer fresh weights, by its own rule, from torch's generator; frozen parameters keep their values.

    Raises InputError for weights whose module has no such rule.
    """
    kept = [(p, p.detach().clone()) for p in net.parameters() if not p.requires_grad]
    for name, module in net.named_modules():
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        own = [name for name, p in module.named_parameters(recurse=False) if p.requires_grad]
        if callable(reset) and learns(module):
            reset()
        elif own:
            raise InputError(
                f"expected layers that draw their weights anew, for training from scratch, got {own[0]!r} of "
                f"{name or type(module).__name__!r} without such a rule: give its class a reset_parameters(), or pass "
                "a factory of fresh networks without --from-scratch"
            )
    with torch.no_grad():
        for p, value in kept:
            p.copy_(value)


def frozen_part(model: Model) -> list[Finding]:
    """How many parameters are trained, where some are not."""
    learning = sum(p.numel() for p in model.net.parameters() if p.requires_grad)
    if learning == model.parameters:
        return []
    return [
        Finding(
            code="frozen", severity="note",
            saw=f"{learning:,} of {model.parameters:,} parameters learn; the others do not require gradients and stay "
            "as they are.",
            do="Let all parameters require gradients if the whole network is to learn.",
        )
    ]  # fmt: skip


def check_rows(model: Model, data: Dataset) -> None:
    """Raises InputError for inputs outside of the model's bounds, and for labels that are none of its classes."""
    check_even(model, "training")
    x, y = data.rows(0, len(data))
    low, high = model.bounds
    if float(x.min()) < low or float(x.max()) > high:
        raise InputError(
            f"expected inputs between the model's bounds {low} and {high}, got {float(x.min()):g} to "
            f"{float(x.max()):g} in {data.name}: scale them, or give the model its bounds"
        )
    classes = _classes(model, x[:_LOOKED_AT])
    least, most = int(y.min()), int(y.max())
    if least < 0 or most >= classes:
        raise InputError(
            f"expected labels from 0 to {classes - 1}, as {model.name} tells {classes} classes apart, got {least} to "
            f"{most} in {data.name}: give the network one score per class, or number the classes as it does"
        )


def _check_access(model: Model) -> None:
    if model.access is not Need.GRAD and not isinstance(model, TokenModel):
        raise InputError(
            f"expected a model with gradients to train, got {model.name}, which shows its answers alone: pass the "
            "network itself, measure this one with `blindspots evaluate`, or train a substitute with `blindspots "
            "transfer --surrogate`"
        )
    if model.only_backward:
        raise InputError(
            f"expected a network whose gradients can be taken at its inputs alone in training, got {model.name} with "
            "reentrant checkpoints: pass use_reentrant=False to torch.utils.checkpoint"
        )
    if model.rejects:
        raise InputError(
            f"expected a classifier to train, got {model.name}, which may refuse an answer: harden the model without "
            "its detector, then fit a detector to it"
        )
    if not any(p.is_floating_point() for p in model.net.parameters()):
        raise InputError(
            f"expected a network with weights to train, got {model.name}, which has none: pass an nn.Module with "
            "parameters"
        )
    if not any(p.requires_grad for p in model.net.parameters()):
        raise InputError(
            f"expected a network in which something can be trained, got {model.name}, all of whose "
            f"{model.parameters:,} parameters are frozen: call net.requires_grad_(True), or on the layers that shall "
            "learn, before it is passed or exported"
        )


def _classes(model: Model, x: Tensor) -> int:
    """How many the model tells apart. Raises InputError where no gradient reaches its weights."""
    try:
        with torch.enable_grad():
            logits = model.head(model.embed(x), x)
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected a network that takes inputs of shape {tuple(x.shape)}, got {type(error).__name__}: {said}: "
            "check what shape it was made for"
        ) from error
    if not logits.requires_grad:
        raise InputError(
            f"expected scores that come from the weights of {model.name} by differentiable steps, got none that need a "
            "gradient: let its parameters require gradients and leave torch.no_grad() out of its forward"
        )
    return logits.shape[1]
