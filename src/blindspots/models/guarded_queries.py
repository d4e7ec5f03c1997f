"""A model behind a guard that remembers what it was asked, and refuses what is too much like it.

Source: Li et al. 2022, Blacklight: scalable defense for neural networks against query-based black-box attacks (USENIX
Security, arXiv 2006.14042). An attack asks many inputs that hardly differ; a user does not. The defaults are those that
Feng et al. 2023 (arXiv 2303.06280) attack, in their code.
"""

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blindspots.errors import InputError
from blindspots.models.load import load_model
from blindspots.models.model import Model, Service, Wrapper
from blindspots.problem import Need

_LEVELS = 256  # of a value before it is quantised
_SMALL = 10_000  # values of an input from which on windows are longer
_WINDOWS = (20, 50)  # values in a window of small inputs, and of others

Hashes = NDArray[np.int64]


class QueryGuard:
    """Fingerprints of all inputs so far.

    Values become whole numbers from 0 to 255, are shifted around by a secret amount each, and rounded to multiples of
    `quantisation`; every run of `window` of them is hashed; the `hashes` smallest hashes are the fingerprint. An input
    is refused if it shares more than the share `threshold` of them with an earlier one. Refused inputs are remembered,
    too. Blacklight's code hashes with SHA-256; here a run is hashed to 64 bits with secret factors, which is a hundred
    times faster and tells runs apart as surely.

    Args:
        window: None: 20 for inputs of at most 10,000 values, 50 for larger ones.
        hashes, quantisation, threshold: see above.
        salt: what the secret shifts and factors are drawn from.

    Attributes:
        asked, refused: how many inputs so far.
        shared: the largest share that each of them had in common with an earlier one.

    Raises:
        InputError: a value does not fit.
    """

    def __init__(
        self,
        window: int | None = None,
        hashes: int = 50,
        quantisation: int = 50,
        threshold: float = 0.5,
        salt: int = 0,
    ) -> None:
        least = min(1 if window is None else window, hashes, quantisation)
        if least < 1 or not 0 <= threshold < 1 or salt < 0:
            raise InputError(
                f"expected a window, hashes and a quantisation of at least 1, a threshold from 0 to below 1 and a salt "
                f"of at least 0, got {window}, {hashes}, {quantisation}, {threshold} and {salt}: change them"
            )
        self.window, self.hashes, self.quantisation, self.threshold = window, hashes, quantisation, threshold
        self.salt = salt
        self.forget()

    def forget(self) -> None:
        """As if nothing had been asked."""
        self.prints: list[Hashes] = []
        self.shared: list[float] = []
        self._with: dict[int, array[int]] = defaultdict(lambda: array("q"))  # the numbers of inputs that have a hash

    @property
    def asked(self) -> int:
        return len(self.prints)

    @property
    def refused(self) -> int:
        return sum(share > self.threshold for share in self.shared)

    def fingerprint(self, unit: Tensor) -> Hashes:
        """Of an input (...) with values from 0 to 1: (h,) in ascending order, h at most `hashes`."""
        levels = (unit.flatten().double().clamp(0, 1) * (_LEVELS - 1)).round().to(torch.int64).numpy()
        shifts, factors = self.secrets(len(levels))
        coarse = np.round((levels + shifts) % _LEVELS / self.quantisation).astype(np.int64)
        runs = np.lib.stride_tricks.sliding_window_view(coarse, len(factors))
        return np.unique(_mixed(runs @ factors))[: self.hashes]

    def refuses(self, unit: Tensor) -> bool:
        """Whether an input (...) with values from 0 to 1 is too much like an earlier one. It is remembered."""
        found = self.fingerprint(unit)
        share = self._common(found) / len(found)
        self._remember(found, share)
        return share > self.threshold

    def remember(self, prints: Tensor, shared: Tensor) -> None:
        """Fingerprints (n, h), filled up with their last hash, and what they had in common (n,): see `shared`."""
        for row, share in zip(prints.numpy(), shared.tolist(), strict=True):
            self._remember(np.unique(row), share)

    def _remember(self, found: Hashes, share: float) -> None:
        for one in found.tolist():
            self._with[one].append(self.asked)
        self.prints.append(found)
        self.shared.append(share)

    def _common(self, found: Hashes) -> int:
        """With how many of these hashes the input agrees that has most of them."""
        known = [np.frombuffer(self._with[one], np.int64) for one in found.tolist() if one in self._with]
        return int(np.bincount(np.concatenate(known)).max()) if known else 0

    def secrets(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A shift of every value, and odd factors of the values in a window."""
        window = self.window or _WINDOWS[size > _SMALL]
        draws = np.random.Generator(np.random.PCG64([self.salt, size]))
        shifts = draws.integers(0, _LEVELS, size)
        return shifts, draws.integers(-(2**62), 2**62, min(window, size)) * 2 + 1


def _mixed(h: NDArray[np.int64]) -> Hashes:
    """Bits spread evenly, so that the smallest hashes are a random choice (the last steps of splitmix64)."""
    z = h.view(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.int64)


class GuardedQueries(Wrapper):
    """A model behind a `QueryGuard`: known by its scores, (B, C + 1), the last one "reject", asked one after the other.

    The guard watches what attacks ask, inside `watched()`; what is looked at besides, as the clean inputs and the
    successes once more, is no query. An evaluation begins with an empty memory in every shard, keeps it from stage to
    stage, and stores it with the state that an interrupted run goes on from. So what it says depends on the rows of a
    shard alone, whoever makes it; with a row per shard (`shard_rows=1`) every row has a guard of its own.
    """

    repeats, failure, silent, spent, classes = 0, "", False, False, None

    def __init__(self, model: Model, guard: QueryGuard | None = None, name: str | None = None) -> None:
        self.guard, self._watching = guard or QueryGuard(), False
        super().__init__(model, model.net, name or f"guarded-queries:{model.name}")
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

    @contextmanager
    def watched(self) -> Iterator[None]:
        before, self._watching = self._watching, True
        try:
            yield
        finally:
            self._watching = before

    @property
    def history(self) -> dict[str, Tensor]:
        prints = [np.pad(one, (0, self.guard.hashes - len(one)), mode="edge") for one in self.guard.prints]
        filled = np.array(prints, np.int64).reshape(len(prints), self.guard.hashes)
        return {"prints": torch.from_numpy(filled), "shared": torch.tensor(self.guard.shared, dtype=torch.float64)}

    def go_on_from(self, history: Mapping[str, Tensor]) -> None:
        self.guard.forget()
        if history:
            self.guard.remember(history["prints"], history["shared"])

    def logits(self, x: Tensor) -> Tensor:
        """Scores (B, C + 1) of inputs x (B, *shape) within the bounds, without gradients."""
        with torch.no_grad():
            scores = self.model.logits(x)
        refused = self._refused(x).to(scores.device)
        top = scores.amax(1, keepdim=True)
        return torch.cat([scores, torch.where(refused[:, None], top + 1, top - 1)], 1)

    def _refused(self, x: Tensor) -> Tensor:
        if not self._watching:
            return torch.zeros(len(x), dtype=torch.bool)
        lo, hi = self.box.like(x)
        units: Any = ((x - lo) / (hi - lo)).detach().cpu()
        return torch.tensor([self.guard.refuses(one) for one in units], dtype=torch.bool)


def open_guarded(spec: str) -> Model:
    """guarded-queries:MODEL"""
    return GuardedQueries(load_model(spec))
