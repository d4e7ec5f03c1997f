"""Checks of the gradients: can an attack follow them?"""

from blindspots.preflight.check import Check, Said, of_rows
from blindspots.preflight.sample import Sample, is_zero
from blindspots.records import clopper_pearson

# How far a gradient may be off, as a mean over rows: at most 0.1 was measured; 0.6 when half of the input is detached.
MISLED = 0.3
# Up to this share rows without gradient are single cases (a provably trained network had 6 %), beyond it a pattern.
MANY = 0.1


def _non_differentiable(s: Sample) -> Said:
    if s.gradients is not None or not s.refusal:  # the first look may have said it already
        return None
    return (
        f"The network cannot be differentiated: {s.refusal}.",
        "Use attacks that need no gradient, or put a differentiable stand-in where the chain breaks.",
    )


def _nonfinite_gradient(s: Sample) -> Said:
    if s.gradients is None:
        return None
    bad = ~(s.gradients.ce.isfinite() & s.gradients.margin.isfinite()).flatten(1).all(1) & s.finite
    if not bad.any():
        return None
    return (
        f"The gradient is NaN or infinite for {of_rows(int(bad.sum()), s)} whose logits are finite.",
        "Look for a square root, norm or logarithm at 0, or a division by 0, and keep it away from 0.",
    )


def _zero_gradient(s: Sample) -> Said:
    rows, many = _rows_without_gradient(s)
    if not many:
        return None
    return (
        f"The gradient is exactly 0 for {of_rows(rows, s)}: it is masked there, which is not robustness.",
        "Look for rounding, thresholds or saturation; use a differentiable stand-in, or attacks without gradients.",
    )


def _some_zero_gradients(s: Sample) -> Said:
    rows, many = _rows_without_gradient(s)
    if many or not rows:
        return None
    return (
        f"The gradient is exactly 0 for {of_rows(rows, s)}: the network is flat there.",
        "Nothing, if the attack has random starts; else believe these rows only after an attack without gradients.",
    )


def _gradient_misleads(s: Sample) -> Said:
    if s.gradients is None or s.randomised or s.coupled:
        return None
    deviation = s.gradients.deviation
    rows = deviation.isfinite().sum(0)
    off = float((deviation.nansum(0) / (rows + 1)).max())  # with one sound row more: a single odd one is no alarm
    if off < MISLED:
        return None
    return (
        (
            f"Small steps change the margin otherwise than its gradient foretells: by {off:.0%} of the change that is "
            f"typical, on average over {int(rows.max())} rows."
        ),
        "Look for rounding, straight-through gradients or detached parts; also attack without gradients.",
    )


def _rows_without_gradient(s: Sample) -> tuple[int, bool]:
    """How many, and whether they are too many to be single rows' affair.

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
