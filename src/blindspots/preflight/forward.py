"""Checks of the forward pass: is it one function, row by row?"""

import torch

from blindspots.preflight.check import Check, Observation, of_rows
from blindspots.preflight.sample import Sample, largest


def _model_in_training_mode(s: Sample) -> Observation:
    if not s.in_training:
        return None
    more = f" and {len(s.in_training) - 3} more" if len(s.in_training) > 3 else ""
    return (
        f"The model was passed in training mode, which affects {', '.join(s.in_training[:3])}{more}.",
        "Nothing to do: it is evaluated in evaluation mode and then left as it was.",
    )


def _rows_influence_each_other(s: Sample) -> Observation:
    if not s.coupled:
        return None
    return (
        f"A row's logits differ by up to {s.coupling:.2g} (of {largest(s.logits):.2g}) with the rest of the batch.",
        "Compute rows independently: batch norm with stored statistics, no reduction over the batch axis.",
    )


def _randomised_forward(s: Sample) -> Observation:
    if not s.randomised:
        return None
    moved = int(torch.stack([o.argmax(1) != s.logits.argmax(1) for o in s.again]).any(0).sum())
    return (
        (
            f"The same batch gives different logits, by up to {s.spread:.2g} (of {largest(s.logits):.2g}), and the "
            f"prediction changes for {of_rows(moved, s)} in {len(s.again) + 1} passes."
        ),
        "Fix the noise, or average every evaluation over several draws, draws=20 (expectation over transformation).",
    )


def _dynamic(s: Sample) -> Observation:
    if not s.autograd_calls:
        return None
    return (
        f"The forward pass itself called autograd {_times(s.autograd_calls)}: the network adapts to each input.",
        "Attack through the adaptation: gradients that stop at it are not those of the network.",
    )


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


CHECKS = (
    Check("model-in-training-mode", "note", _model_in_training_mode),
    Check("rows-influence-each-other", "error", _rows_influence_each_other),
    Check("randomised-forward", "warning", _randomised_forward),
    Check("dynamic", "warning", _dynamic),
)
