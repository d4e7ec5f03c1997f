"""A model behind a guard that remembers what it was asked, and refuses what is too much like it.

Source: Li et al. 2022, Blacklight: scalable defense for neural networks against query-based black-box attacks (USENIX
Security, arXiv 2006.14042). An attack asks many inputs that hardly differ; a user does not. The defaults are those that
Feng et al. 2023 (arXiv 2303.06280) attack.
"""

import hashlib
from array import array
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.models.load import load_model
from blindspots.models.model import Model, Service, Wrapper
from blindspots.problem import Need

_BITS = 255  # levels of a value before it is quantised


class QueryGuard:
    """Fingerprints of all inputs so far.

    Values become whole numbers from 0 to 255, rounded to multiples of `quantisation`; every run of `window` of them is
    hashed; the `hashes` smallest hashes are the fingerprint. An input is refused if it shares more than the share
    `threshold` of them with an earlier one. Refused inputs are remembered, too.

    Args:
        window, hashes, quantisation, threshold: see above.
        salt: makes hashes that nobody can foresee.

    Raises:
        InputError: a value does not fit.
    """

    def __init__(
        self, window: int = 50, hashes: int = 50, quantisation: int = 50, threshold: float = 0.5, salt: str = ""
    ) -> None:
        if min(window, hashes, quantisation) < 1 or not 0 <= threshold < 1:
            raise InputError(
                f"expected a window, hashes and a quantisation of at least 1 and a threshold from 0 to below 1, got "
                f"{window}, {hashes}, {quantisation} and {threshold}: change them"
            )
        self.window, self.hashes, self.quantisation, self.threshold = window, hashes, quantisation, threshold
        self.salt, self.asked, self.refused = salt.encode(), 0, 0
        self._with: dict[bytes, array[int]] = defaultdict(lambda: array("q"))  # the numbers of inputs that have a hash

    def fingerprint(self, unit: Tensor) -> list[bytes]:
        """Of an input (...) with values from 0 to 1."""
        levels = (unit.flatten().double().clamp(0, 1) * _BITS).round().to(torch.int64).numpy()
        coarse = np.round(levels / self.quantisation).astype(np.uint8)
        window = min(self.window, len(coarse))
        runs = np.lib.stride_tricks.sliding_window_view(coarse, window)
        digests = {hashlib.sha256(self.salt + run.tobytes()).digest() for run in runs}
        return sorted(digests)[: self.hashes]

    def refuses(self, unit: Tensor) -> bool:
        """Whether an input (...) with values from 0 to 1 is too much like an earlier one. It is remembered."""
        found = self.fingerprint(unit)
        suspicious = self._shared(found) > self.threshold * len(found)
        for one in found:
            self._with[one].append(self.asked)
        self.asked, self.refused = self.asked + 1, self.refused + suspicious
        return suspicious

    def _shared(self, found: list[bytes]) -> int:
        """With how many of these hashes the input agrees that has most of them."""
        known = [np.frombuffer(self._with[one], np.int64) for one in found if one in self._with]
        return int(np.bincount(np.concatenate(known)).max()) if known else 0


class GuardedQueries(Wrapper):
    """A model behind a `QueryGuard`: known by its scores, (B, C + 1), the last one "reject", asked one after the other.

    What it says depends on all that it was asked before, as that of a service does, so it is asked as one: without
    checks, padding and other processes. A run that goes on after an interruption finds it without its memory, unless it
    is served (`blindspots serve`) and asked over HTTP.
    """

    repeats, failure, silent, spent, classes = 0, "", False, False, None

    def __init__(self, model: Model, guard: QueryGuard | None = None, name: str | None = None) -> None:
        self.guard = guard or QueryGuard()
        super().__init__(model, model.net, name or f"{model.name} behind a guard of queries")
        self.access = Need.LABEL if model.access is Need.LABEL else Need.VALUE

    @property
    def service(self) -> Service:
        return self

    @property
    def rejects(self) -> bool:
        return True

    @property
    def digest(self) -> str:
        g = self.guard
        settings = repr((self.model.digest, g.window, g.hashes, g.quantisation, g.threshold, g.salt))
        return hashlib.sha256(settings.encode()).hexdigest()

    def logits(self, x: Tensor) -> Tensor:
        """Scores (B, C + 1) of inputs x (B, *shape) within the bounds, without gradients."""
        lo, hi = self.box.like(x)
        units = ((x - lo) / (hi - lo)).detach().cpu()
        refused = torch.tensor([self.guard.refuses(one) for one in units], dtype=torch.bool)
        with torch.no_grad():
            scores = self.model.logits(x)
        top = scores.amax(1, keepdim=True)
        return torch.cat([scores, torch.where(refused.to(top.device)[:, None], top + 1, top - 1)], 1)


def open_guarded(spec: str) -> Model:
    """guarded-queries:MODEL"""
    return GuardedQueries(load_model(spec))
