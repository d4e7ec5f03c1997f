"""Checks of the labels: are they the model's own classes, in its order?"""

import torch
from scipy.stats import binomtest

from blindspots.preflight.check import Check, Observation, of_rows
from blindspots.preflight.sample import Sample
from blindspots.records import clopper_pearson

LEVEL = 0.05  # of the test against chance
CERTAIN = 0.999  # confidence with which a useful accuracy must be ruled out, so that a few rows raise no alarm


def _labels_dtype(s: Sample) -> Observation:
    if s.y.dtype == torch.int64 and s.y.ndim == 1:
        return None
    cure = "y.argmax(1) if they are one-hot" if s.y.ndim == 2 else "y.long() if they are whole numbers"
    return f"The labels are {s.y.dtype} of shape {tuple(s.y.shape)}.", f"Pass one int64 class per row: {cure}."


def _labels_out_of_range(s: Sample) -> Observation:
    if s.y.ndim != 1 or not s.strange_labels.any():
        return None
    low, high, shift = int(s.y.min()), int(s.y.max()), "" if s.y.min() < 1 or s.y.max() > s.classes else "y - 1, or "
    return (
        f"The labels range from {low} to {high}, but the model has {s.classes} classes, 0 to {s.classes - 1}.",
        f"Map the labels to the class order that the network was trained with ({shift}the class list of its data).",
    )


def _one_class(s: Sample) -> Observation:
    if not s.labels_fit or bool((s.y != s.y[0]).any()) or s.classes ** (1 - len(s.y)) > 1e-3:
        return None
    return (
        f"All {len(s.y)} labels are {int(s.y[0])}, although the model has {s.classes} classes.",
        "Shuffle the data if they are sorted by class: accuracy on one class says little about the others.",
    )


def _accuracy_at_chance(s: Sample) -> Observation:
    if not s.labels_fit:
        return None
    right, chance = int((s.logits.argmax(1) == s.y).sum()), 1 / s.classes
    lucky = float(binomtest(right, len(s.y), chance, alternative="greater").pvalue)
    if lucky <= LEVEL or clopper_pearson(right, len(s.y), CERTAIN)[1] > (1 + chance) / 2:
        return None
    return (
        f"{of_rows(right, s)} are classified correctly; guessing does as well with probability {lucky:.2g}.",
        "Check the order of the classes, RGB against BGR, a missing or repeated normalisation, and the layout.",
    )


CHECKS = (
    Check("labels-dtype", "error", _labels_dtype),
    Check("labels-out-of-range", "error", _labels_out_of_range),
    Check("one-class", "warning", _one_class),
    Check("accuracy-at-chance", "warning", _accuracy_at_chance),
)
