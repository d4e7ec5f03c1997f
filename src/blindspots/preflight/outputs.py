"""Checks of the outputs: are they logits, with enough digits?"""

import torch

from blindspots.objective import margin
from blindspots.preflight.check import Check, Observation, of_rows
from blindspots.preflight.sample import Sample, is_zero, largest, rounding_unit


def _nonfinite_output(s: Sample) -> Observation:
    rows = int((~s.finite).sum())
    if not rows:
        return None
    return (
        f"The network's output is NaN or infinite for {of_rows(rows, s)}.",
        "Fix the network, or remove these rows.",
    )


def _outputs_look_like_probabilities(s: Sample) -> Observation:
    within = bool(((s.logits >= 0) & (s.logits <= 1)).all())
    if not within or (s.logits.sum(1) - 1).abs().max() > s.resolution:
        return None
    return (
        "Every row of the network's output is a probability distribution: losses saturate, and gradients vanish.",
        "Use Model(net, output='probabilities'), or remove the softmax from the network.",
    )


def _output_looks_like_a_probability(s: Sample) -> Observation:
    single = s.classes == 2 and torch.equal(s.logits[:, 0], -s.logits[:, 1])
    z = 2 * s.logits[:, -1]
    if not single or z.min() < 0 or z.max() > 1 or not z.min() < 0.5 < z.max():
        return None
    return (
        (
            f"The network's single output, taken as a logit, ranges from {float(z.min()):.3g} to {float(z.max()):.3g}: "
            "it looks like a probability, and class 1 would always be predicted."
        ),
        "Use Model(net, output='probability'), or remove the sigmoid from the network.",
    )


def _saturated_logits(s: Sample) -> Observation:
    if s.gradients is None:
        return None
    saturated = (s.logits.softmax(1).amax(1) == 1) & is_zero(s.gradients.ce)
    if saturated.sum() * 2 <= len(s.x):
        return None
    return (
        (
            f"{of_rows(int(saturated.sum()), s)} have a confidence of exactly 1 and a cross entropy without gradient: "
            f"the logits reach {largest(s.logits):.3g}."
        ),
        "Attack with a margin loss (as the protocols do), or divide the logits by a temperature.",
    )


def _coarse_logits(s: Sample) -> Observation:
    gaps = margin(s.logits, s.logits.argmax(1))[s.finite]
    unit = rounding_unit(s.model, s.logits) * largest(s.logits)
    if not len(gaps) or unit <= 0.1 * float(gaps.median()):
        return None
    return (
        (
            f"Logits as large as {largest(s.logits):.3g} are rounded to steps of {unit:.2g}, and the top two of a row "
            f"are typically {float(gaps.median()):.2g} apart."
        ),
        "Subtract the offset that all classes share inside the network, or compute in float32.",
    )


def _two_classes(s: Sample) -> Observation:
    if s.classes != 2:
        return None
    return (
        "The model has 2 classes.",
        "Nothing to do: where a protocol uses the DLR loss, which needs 3, the margin takes its place.",
    )


def _three_classes(s: Sample) -> Observation:
    if s.classes != 3:
        return None
    return (
        "The model has 3 classes.",
        "Nothing to do: where a protocol uses the targeted DLR loss, which needs 4, the untargeted one stands in.",
    )


CHECKS = (
    Check("nonfinite-output", "error", _nonfinite_output),
    Check("outputs-look-like-probabilities", "warning", _outputs_look_like_probabilities),
    Check("output-looks-like-a-probability", "warning", _output_looks_like_a_probability),
    Check("saturated-logits", "warning", _saturated_logits),
    Check("coarse-logits", "warning", _coarse_logits),
    Check("two-classes", "note", _two_classes),
    Check("three-classes", "note", _three_classes),
)
