"""Checks of the inputs: are they on the scale of the model's bounds?"""

from blindspots.preflight.check import Check, Observation, of_rows
from blindspots.preflight.sample import Sample


def _nonfinite_input(s: Sample) -> Observation:
    rows = int((~s.x.flatten(1).isfinite().all(1)).sum())
    if not rows:
        return None
    return f"{of_rows(rows, s)} contain NaN or infinity.", "Remove these rows, or fix the code that reads them."


def _inputs_outside_bounds(s: Sample) -> Observation:
    (lo, hi), low, high = s.model.bounds, float(s.x.min()), float(s.x.max())
    rows = int(((s.x < lo) | (s.x > hi)).flatten(1).any(1).sum())
    if not rows:
        return None
    return (
        f"{of_rows(rows, s)} leave the model's bounds ({lo:g}, {hi:g}): values range from {low:.6g} to {high:.6g}.",
        "Scale the inputs into the bounds, or give the right bounds: Model(net, bounds=(low, high)).",
    )


def _inputs_look_normalised(s: Sample) -> Observation:
    low, high, mean, std = float(s.x.min()), float(s.x.max()), float(s.x.mean()), float(s.x.std(correction=0))
    standardised = -5 < low < -0.05 and high < 5 and std > 0.25  # any (x - mean) / std of [0, 1]
    if s.model.bounds != (0, 1) or not standardised:
        return None
    return (
        f"The inputs look normalised: mean {mean:.2f}, standard deviation {std:.2f}, smallest value {low:.2f}.",
        "Pass images in [0, 1] and let the model normalise: Model(net, mean=..., std=...).",
    )


def _inputs_look_0_255(s: Sample) -> Observation:
    whole = bool((s.x == s.x.round()).all())
    if s.model.bounds != (0, 1) or not whole or s.x.min() < 0 or not 2 < s.x.max() <= 255:
        return None
    return (
        f"The inputs look like 8-bit images: whole numbers up to {float(s.x.max()):g}.",
        "Divide them by 255, or use Model(net, bounds=(0, 255)) if that is what the network expects.",
    )


def _inputs_nearly_constant(s: Sample) -> Observation:
    (lo, hi), low, high = s.model.bounds, float(s.x.min()), float(s.x.max())
    if not high - low < 0.01 * (hi - lo):
        return None
    return (
        f"All input values lie between {low:.4g} and {high:.4g}, a range of under 1 % of the bounds ({lo:g}, {hi:g}).",
        "Check that the data were read correctly, and that the bounds are on the scale of the data.",
    )


CHECKS = (
    Check("nonfinite-input", "error", _nonfinite_input),
    Check("inputs-outside-bounds", "error", _inputs_outside_bounds),
    Check("inputs-look-normalised", "warning", _inputs_look_normalised),
    Check("inputs-look-0-255", "warning", _inputs_look_0_255),
    Check("inputs-nearly-constant", "warning", _inputs_nearly_constant),
)
