"""Checks of the gradients: can an attack follow them?"""

from blindspots.preflight.check import Check, Observation, of_rows
from blindspots.preflight.sample import Sample, is_zero
from blindspots.records import clopper_pearson

# How far gradients may be off on average over rows. Measured: at most 0.1, and 0.6 when half of the input is detached.
MISLED = 0.3
# Up to this share, rows without gradient are isolated cases (a provably trained network had 6 %); beyond, a pattern.
MANY = 0.1


def _non_differentiable(s: Sample) -> Observation:
    if s.gradients is not None or not s.refusal:  # `first_look` may have reported it already
        return None
    return (
        f"The network cannot be differentiated: {s.refusal}.",
        "Use gradient-free attacks, or a differentiable substitute for the part that breaks the chain.",
    )


def _nonfinite_gradient(s: Sample) -> Observation:
    if s.gradients is None:
        return None
    bad = ~(s.gradients.ce.isfinite() & s.gradients.margin.isfinite()).flatten(1).all(1) & s.finite
    if not bad.any():
        return None
    return (
        f"The gradient is NaN or infinite for {of_rows(int(bad.sum()), s)} whose logits are finite.",
        "Look for a square root, norm or logarithm at 0, or a division by 0, and keep the argument away from 0.",
    )


def _zero_gradient(s: Sample) -> Observation:
    rows, many = _rows_without_gradient(s)
    if not many:
        return None
    return (
        f"The gradient is exactly 0 for {of_rows(rows, s)}: it is masked, which is not robustness.",
        "Look for rounding, thresholds or saturation; use a differentiable substitute, or gradient-free attacks.",
    )


def _some_zero_gradients(s: Sample) -> Observation:
    rows, many = _rows_without_gradient(s)
    if many or not rows:
        return None
    return (
        f"The gradient is exactly 0 for {of_rows(rows, s)}: the network is flat there.",
        "Nothing, if the attack has random starts; otherwise trust these rows only after a gradient-free attack.",
    )


def _gradient_misleads(s: Sample) -> Observation:
    if s.gradients is None or s.randomised or s.coupled:
        return None
    deviation = s.gradients.deviation
    rows = deviation.isfinite().sum(0)
    off = float((deviation.nansum(0) / (rows + 1)).max())  # one sound row added: a single odd row is no alarm
    if off < MISLED:
        return None
    return (
        (
            f"The gradient does not predict how small steps change the margin: it is off by {off:.0%} of the typical "
            f"change, on average over {int(rows.max())} rows."
        ),
        "Look for rounding, straight-through gradients or detached parts; also run gradient-free attacks.",
    )


def _rows_without_gradient(s: Sample) -> tuple[int, bool]:
    """How many there are, and whether they are too many to be isolated cases.

    The margin's gradient is exactly 0, or the cross entropy's although the confidence is below 1.
    """
    if s.gradients is None:
        return 0, False
    unsaturated = s.logits.softmax(1).amax(1) < 1
    rows = int((is_zero(s.gradients.margin) | (is_zero(s.gradients.ce) & unsaturated)).sum())
    return rows, clopper_pearson(rows, len(s.x))[0] > MANY


CHECKS = (
    Check("non-differentiable", "warning", _non_differentiable),
    Check("nonfinite-gradient", "warning", _nonfinite_gradient),
    Check("zero-gradient", "warning", _zero_gradient),
    Check("some-zero-gradients", "note", _some_zero_gradients),
    Check("gradient-misleads", "warning", _gradient_misleads),
)
