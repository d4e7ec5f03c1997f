"""A model behind a detector: what is suspicious is rejected."""

import math

import torch
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Fitted, scores
from blindspots.models.model import Model, Wrapper


class Guarded(Wrapper):
    """A model behind a detector: one more class, the last one, "reject", which wins exactly where score > threshold.

    Carlini and Wagner 2017 (arXiv 1705.07263) print G_{N+1} = (D + 1) max_i F_i with D > 0 for adversarial inputs. That
    is wrong where all logits F_i are negative, and its slope depends on their size. Here G_{N+1} = max_i F_i +
    (score - threshold) / scale: the same decision, for logits of any sign. Where rounding would make a tie, the next
    number above or below max_i F_i is taken.

    Args:
        model: what is protected.
        detector: fitted to that model.
        threshold: the largest score that passes.
        scale: what a score has to change for a change of 1 in the logits; None: the detector's, see `Fitted`.
        name: how reports call it. Default: the names of both.

    Raises:
        InputError: the detector was fitted to another model, or a number does not fit.
    """

    def __init__(
        self, model: Model, detector: Fitted, threshold: float, scale: float | None = None, name: str | None = None
    ) -> None:
        if detector.model is not model:
            raise InputError(
                f"expected a detector fitted to {model.name}, got one of another model: load or fit it with this one"
            )
        scale = float(detector.scale) if scale is None else scale
        if not math.isfinite(threshold) or not 0 < scale < math.inf:
            raise InputError(
                f"expected a finite threshold and a positive scale, got {threshold} and {scale}: see threshold_at"
            )
        self.detector, self.threshold, self.scale = detector, threshold, scale
        name = name or f"{model.name} guarded by {detector.detector.name}"
        super().__init__(model, _Pair(model, detector, threshold, scale), name)

    @property
    def rejects(self) -> bool:
        return True

    @property
    def parameters(self) -> int:
        """How many numbers the model and the detector have learnt."""
        return self.model.parameters + self.detector.numbers

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, C + 1), the last one of "reject", of inputs x (B, *shape) within the bounds. Keeps autograd."""
        logits: Tensor = self.net(x)
        return logits


class _Pair(nn.Module):
    """Both networks as one: so modes, devices and digests are those of both."""

    def __init__(self, model: Model, detector: Fitted, threshold: float, scale: float) -> None:
        super().__init__()
        self.model, self.net, self.detector = model, model.net, detector
        self.threshold, self.scale = threshold, scale

    def forward(self, x: Tensor) -> Tensor:
        logits, score = self.detector.beside(x)
        return torch.cat([logits, self._reject(logits.amax(1), score)[:, None]], 1)

    def _reject(self, top: Tensor, score: Tensor) -> Tensor:
        value = top + (score - self.threshold) / self.scale
        ends = [torch.nextafter(top.detach(), top.new_tensor(end)) for end in (torch.inf, -torch.inf)]
        strict = torch.where(score > self.threshold, value.detach().maximum(ends[0]), value.detach().minimum(ends[1]))
        return strict + (value - value.detach())

    def extra_repr(self) -> str:
        scaled = self.model.mean, self.model.std, self.model.output
        return f"threshold={self.threshold!r}, scale={self.scale!r}, model={scaled}"


def guard(model: Model, detector: Fitted, x: Tensor, fpr: float = 0.05, name: str | None = None) -> Guarded:
    """The model behind a detector that rejects at most the share `fpr` of these clean inputs x (N, *shape)."""
    return Guarded(model, detector, threshold_at(scores(detector, x), fpr), name=name)


def threshold_at(scores_clean: Tensor, fpr: float) -> float:
    """The lowest threshold, itself a score, that at most the share `fpr` of clean scores (N,) is above.

    Raises InputError for a share outside of 0 to below 1, no scores, and scores that are no numbers.
    """
    if not 0 <= fpr < 1:
        raise InputError(f"expected a share of false alarms from 0 to below 1, got {fpr}: give e.g. 0.05")
    if not len(scores_clean) or bool(scores_clean.isnan().any()):
        raise InputError("expected clean scores that are numbers, at least one, got others: fit the detector anew")
    alarms = math.floor(fpr * len(scores_clean) + 1e-9)  # 0.29 * 100 is 28.999...
    return float(scores_clean.sort(descending=True).values[alarms])
