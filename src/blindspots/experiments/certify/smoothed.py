"""A model that answers what its network would say most often under normal noise, and how far that answer holds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blindspots.batching import draws_per_call
from blindspots.errors import InputError
from blindspots.experiments.certify.bounds import ABSTAINS, fewest, needed, radius, voted
from blindspots.experiments.certify.noise import COUNTING, JUDGING, SELECTING, SOFTLY, block_of, gaussian
from blindspots.models.model import Model, Wrapper
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.rows import Rows


@dataclass(frozen=True)
class Certificates(Rows):
    """Of B rows: what is proved, and the votes that prove it."""

    prediction: Tensor  # (B,) int64, -1: it abstains
    radius: Tensor  # (B,) float64, L2: every change shorter than that leaves the prediction; 0 where it abstains
    selected: Tensor  # (B, C) int64 votes of the n0 draws that choose the class
    counts: Tensor  # (B, C) int64 votes of the draws that bound its probability
    draws: Tensor  # (B,) int64 how many those were: n, or fewer where the row could only abstain


class Smoothed(Wrapper):
    """The class that `model` gives most often to x + N(0, sigma^2 I) (Cohen, Rosenfeld and Kolter 2019, 1902.02918).

    `predict` and `certify` take votes under noise that is drawn for every row by its own number: neither other rows nor
    the size of a call (`chunk`) change them. As a `Model` it is soft and deterministic, to be attacked: its scores are
    the logarithms of the mean probabilities under `draws` fixed draws, whose cross entropy is what Salman et al. 2019
    (arXiv 1906.04584) descend. The noise is not cut off at the bounds.

    Args:
        model: a `Model`; labels alone will do for `predict` and `certify`.
        sigma: standard deviation of the noise, in the units of the input.
        draws: of the soft scores.
        seed: decides all noise.
        chunk: draws per call of the network; None: by the size of an input.

    Raises:
        InputError: a value does not fit.
    """

    def __init__(self, model: Model, sigma: float, *, draws: int = 16, seed: int = 0, chunk: int | None = None) -> None:
        check_sigma(sigma)
        check_count("draws", draws)
        check_count("chunk", 1 if chunk is None else chunk)
        if model.rejects:
            raise InputError(
                "expected a model that answers every input, got one that may reject: use the classifier inside it"
            )
        self.sigma, self.draws, self.seed, self.chunk = float(sigma), draws, seed, chunk
        net = _Soft(model, self.sigma, draws, seed)
        super().__init__(model, net, f"{model.name} smoothed with sigma {sigma:g}")
        self.access = Need.GRAD if model.access is Need.GRAD else Need.VALUE  # a share of labels is a score

    def predict(self, x: Tensor, n: int = 1000, alpha: float = 0.001, ids: Tensor | None = None) -> Tensor:
        """Classes (B,) int64 of inputs x (B, *shape) by a vote of n draws; -1 where it is too close to call.

        A class other than the true majority is returned with a probability of at most `alpha`.
        `ids`: (B,) int64 numbers of the rows, which their noise hangs on; None: 0 to B - 1.
        """
        check_count("n", n)
        check_alpha(alpha)
        with self.asked(x.shape[1:]) as oracle:
            counts = [self.votes(oracle, row, key, n) for row, key in self._rows(x, ids, JUDGING)]
        return torch.tensor([voted(c.numpy(), alpha) for c in counts], dtype=torch.int64)

    def certify(
        self, x: Tensor, n0: int = 100, n: int = 100_000, alpha: float = 0.001, ids: Tensor | None = None
    ) -> Certificates:
        """For every row of x (B, *shape), on its own: a class and an L2 radius that hold with probability 1 - alpha.

        n0 draws choose the class, n others bound its probability (CERTIFY). Draws stop early where even a vote of all
        that are left could not certify the row any more: it abstains, as it would have at the end.
        """
        for name, value in (("n0", n0), ("n", n)):
            check_count(name, value)
        check_alpha(alpha)
        with self.asked(x.shape[1:]) as oracle:
            choosing, counting = (self._rows(x, ids, purpose) for purpose in (SELECTING, COUNTING))
            rows = [
                self.certificate(oracle, row, (key, other), (n0, n), alpha)
                for (row, key), (_, other) in zip(choosing, counting, strict=True)
            ]
        return joined(rows)

    @contextmanager
    def asked(self, shape: tuple[int, ...]) -> Iterator[Oracle]:
        """The oracle that votes on inputs of this shape are taken with."""
        oracle = Oracle(self.model, chunk=self.chunk or draws_per_call(block_of(shape), self.model.device))
        with oracle.session():
            yield oracle

    def _rows(self, x: Tensor, ids: Tensor | None, purpose: int) -> Iterator[tuple[Tensor, Tensor]]:
        ids = torch.arange(len(x)) if ids is None else ids
        return zip(x, keys(self.seed, ids.cpu(), purpose), strict=True)

    def certificate(
        self, oracle: Oracle, x: Tensor, key: tuple[Tensor, Tensor], n: tuple[int, int], alpha: float
    ) -> Certificates:
        """Of one row x (*shape): keys and numbers of the draws that choose, and of those that count."""
        selected = self.votes(oracle, x, key[0], n[0])
        top, least, block = int(selected.argmax()), needed(n[1], alpha), block_of(x.shape)
        counts, used = torch.zeros_like(selected), 0
        while used < n[1] and int(counts[top]) + n[1] - used >= least:
            more = min(block, n[1] - used)
            counts, used = counts + self.votes(oracle, x, key[1], more, used // block), used + more
        certain = radius(int(counts[top]), n[1], self.sigma, alpha)
        return Certificates(
            torch.tensor([top if certain > 0 else ABSTAINS]), torch.tensor([certain], dtype=torch.float64),
            selected[None], counts[None], torch.tensor([used]),
        )  # fmt: skip

    def votes(self, oracle: Oracle, x: Tensor, key: Tensor, n: int, first: int = 0) -> Tensor:
        """(C,) int64 how often each class is said of x (*shape) under n draws of the key from block `first` on.

        Scores that are not finite are no vote.
        """
        total: Tensor | int = 0
        for logits in self.answers(oracle, x, key, n, first):
            said = logits.argmax(1)[logits.isfinite().all(1)]
            total = total + said.bincount(minlength=logits.shape[1])
        assert isinstance(total, Tensor)
        return total.cpu()

    def answers(self, oracle: Oracle, x: Tensor, key: Tensor, n: int, first: int = 0) -> Iterator[Tensor]:
        """Scores (at most a block of draws, C) under these draws, block after block."""
        x, size = x.to(oracle.device), block_of(x.shape)
        for k in range(-(-n // size)):
            noise = gaussian(int(keys(int(key), torch.tensor([first + k]))[0]), (size, *x.shape), oracle.device)
            yield oracle.logits(x + self.sigma * noise[: n - k * size])


class _Soft(nn.Module):
    """log of the mean probabilities of x + noise: (B, C). All rows and calls see the same draws."""

    def __init__(self, model: Model, sigma: float, draws: int, seed: int) -> None:
        super().__init__()
        self.model, self.sigma, self.draws, self.seed, self.net = model, sigma, draws, seed, model.net

    def forward(self, x: Tensor) -> Tensor:
        seed = int(keys(self.seed, torch.tensor([SOFTLY]))[0])
        noise = gaussian(seed, (self.draws, *x.shape[1:]), x.device)
        moved = x[:, None] + self.sigma * noise
        logits = self.model.logits(moved.flatten(0, 1)).view(len(x), self.draws, -1)
        return logits.log_softmax(2).logsumexp(1) - math.log(self.draws)

    def extra_repr(self) -> str:
        m = self.model
        return f"sigma={self.sigma}, draws={self.draws}, seed={self.seed}, {(m.bounds, m.mean, m.std, m.output)}"


def joined(rows: list[Certificates]) -> Certificates:
    """Certificates of several rows as one struct."""
    names = Certificates.__dataclass_fields__
    return Certificates(*(torch.cat([getattr(row, name) for row in rows]) for name in names))


def check_sigma(sigma: float) -> None:
    """Raises InputError unless it is a positive number."""
    if not (sigma > 0 and math.isfinite(sigma)):
        raise InputError(
            f"expected noise with sigma above 0, got {sigma:g}: without noise nothing is certified, choose e.g. 0.25"
        )


def check_count(name: str, value: int) -> None:
    """Raises InputError unless it is at least 1."""
    if value < 1:
        raise InputError(f"expected {name} of at least 1, got {value}: give a positive number")


def check_samples(draws: int, alpha: float) -> None:
    """Raises InputError where nothing can be certified, whatever the network says in so many draws."""
    if draws < fewest(alpha):
        raise InputError(
            f"expected at least {fewest(alpha):,} samples, with which at alpha {alpha:g} a radius above 0 can be "
            f"proved if all of them agree, got {draws:,}: take more, 100,000 say"
        )


def check_alpha(alpha: float) -> None:
    """Raises InputError unless it is a probability, 0 and 1 apart."""
    if not 0 < alpha < 1:
        raise InputError(f"expected alpha between 0 and 1, got {alpha:g}: it is how often a certificate may be wrong")
