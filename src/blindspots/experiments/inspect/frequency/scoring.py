"""How near points are to an error, by the scores of a model."""

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.splitting import Score
from blindspots.objective import margin
from blindspots.oracle import Oracle


def error_score(oracle: Oracle, truth: Tensor) -> Score:
    """max_{j != y} z_j - z_y of points (L, ...) whose rows (L,) have these truths (B, ...): above 0 it is an error.

    A tie is none, as everywhere. To be called within a session of the oracle, which counts the passes.

    Raises InputError, when called, where the model has a single class.
    """

    def score(x: Tensor, row: Tensor) -> Tensor:
        true = truth[row]
        scores = oracle.goal.scores(oracle.logits(x), true)
        if scores.shape[1] < 2:
            raise InputError("expected a model with at least two classes, got one: a single class cannot be wrong")
        if not 0 <= int(true.min()) <= int(true.max()) < scores.shape[1]:
            raise InputError(
                f"expected labels from 0 to {scores.shape[1] - 1}, the model's classes, got {int(true.max())}: map the "
                "labels to the order in which the network was trained"
            )
        return -margin(scores, oracle.goal.label(true))

    return score


def wrong(score: Score, x: Tensor) -> Tensor:
    """Which rows (B, ...) are errors as they are: (B,) bool."""
    return score(x, torch.arange(len(x), device=x.device)) > 0
