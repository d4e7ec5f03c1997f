"""What is checked before an attack: can a verdict on this model and these data mean anything?

All checks share one set of passes over a few rows. Gradients are taken for the classes that the model itself predicts,
so wrong labels cannot distort what is found about the network. The flags of AutoAttack (Croce and Hein 2020:
randomised, probabilities, zero gradients, autograd in the forward pass, too few classes) and the unavailable gradients
of Pintor et al. (2022, indicator I1) are included. docs/findings.md explains every finding.
"""

from dataclasses import dataclass

from torch import Tensor

from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.model import Model
from blindspots.preflight import forward, gradients, inputs, labels, outputs
from blindspots.preflight.measure import measure

__all__ = ["CHECKS", "NOT_EXAMINED", "Preflight", "examine"]

CHECKS = (*inputs.CHECKS, *labels.CHECKS, *outputs.CHECKS, *forward.CHECKS, *gradients.CHECKS)

NOT_EXAMINED = Finding(
    code="not-examined",
    severity="note",
    saw="The model is known only through its outputs, so nothing was checked before the attack.",
    do="If you have its weights, evaluate those: gradients find more, and the checks show what the numbers are worth.",
)


@dataclass(frozen=True)
class Preflight:
    """The findings, errors first, and the cost of the checks: rows passed forward and backward in total.

    Attributes:
        classes: of the model; 0 where it was not called.
    """

    findings: list[Finding]
    forwards: int
    backwards: int
    classes: int = 0


def examine(model: Model, x: Tensor, y: Tensor, *, seed: int = 0) -> Preflight:
    """Check a model on a few rows before it is attacked.

    Args:
        model: any model; it is left as it was, and so is the global random state.
        x: (n, *shape), rows to check, within the model's bounds if all is well. They form a single batch, so pass about
            64 at most.
        y: their labels, int64 (n,) if all is well.
        seed: decides the points and directions at which gradients are compared with the network.

    Returns:
        The findings, and the cost: 12 forwards and 3 backwards per row; 7 forwards and no backwards if no gradient
        reaches the input.

    Raises:
        InputError: no rows, not as many labels as rows, or the network fails on the rows.
    """
    _check_shapes(x, y)
    sample, network = measure(model, x.to(model.device).float(), y.to(model.device), seed)
    findings = [found for check in CHECKS if (found := check(sample))]
    findings.sort(key=lambda f: ("error", "warning", "note").index(f.severity))
    return Preflight(findings, network.forwards, network.backwards, sample.classes)


def _check_shapes(x: Tensor, y: Tensor) -> None:
    if x.ndim < 2:
        raise InputError(f"expected inputs (rows, *shape), got shape {tuple(x.shape)}: put the rows on the first axis")
    if len(x) == 0:
        raise InputError("expected at least one row to check, got none: pass some inputs")
    if y.ndim == 0 or len(y) != len(x):
        raise InputError(f"expected one label per input, got {y.numel()} labels for {len(x)} inputs: pair them up")
