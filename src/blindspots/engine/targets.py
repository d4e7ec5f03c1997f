"""Which classes a search runs towards: rules from the scores of the clean input to classes (N, K)."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from blindspots.engine.jobs import Samples
from blindspots.engine.ledger import Ledger
from blindspots.errors import InputError
from blindspots.oracle import Oracle
from blindspots.problem import Need, Problem, Question
from blindspots.random import keys, uniform
from blindspots.spec import build


class Targets(Protocol):
    """A rule. It may query the oracle, and then charges the rows `at` (K,) in the ledger for it."""

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        """Target classes (N, K) of all samples; those outside `at` do not matter. K may be 0."""
        ...


def wrong_classes(logits: Tensor, y: Tensor) -> Tensor:
    """All classes but the label, the most likely one first: (N, C - 1)."""
    order = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, :-1]


@dataclass(frozen=True)
class Closest:
    """The `count` wrong classes with the largest scores, after the first `skip` of them."""

    count: int = 1
    skip: int = 0

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        return wrong_classes(logits, samples.y)[:, self.skip : self.skip + self.count]


@dataclass(frozen=True)
class OneClass:
    """The same class for every row; rows that have it already are not searched."""

    number: int

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        if not 0 <= self.number < logits.shape[1]:
            raise InputError(
                f"expected a target class from 0 to {logits.shape[1] - 1}, got {self.number}: name a class of the model"
            )
        return torch.full_like(samples.y, self.number)[:, None]


@dataclass(frozen=True)
class EveryClass:
    """All wrong classes, the most likely one first."""

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        return wrong_classes(logits, samples.y)


@dataclass(frozen=True)
class LeastLikely:
    """The class with the smallest score (Kurakin et al. 2017)."""

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        return wrong_classes(logits, samples.y)[:, -1:]


@dataclass(frozen=True)
class RandomClass:
    """A uniformly drawn wrong class, the same in every run with this seed."""

    seed: int = 0

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        key = keys(self.seed, samples.id)
        drawn = (uniform(key, torch.zeros_like(key), 0, (1,)) * (logits.shape[1] - 1)).long()
        return drawn + (drawn >= samples.y[:, None])


@dataclass(frozen=True)
class Given:
    """One class per row of the data, by the row's index."""

    classes: tuple[int, ...]

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        last, classes = int(samples.id.max()), logits.shape[1]
        if last >= len(self.classes):
            raise InputError(f"expected a target for every row, got {len(self.classes)} classes: give one per row")
        chosen = torch.tensor(self.classes, device=samples.id.device)[samples.id]
        strange = ((chosen < 0) | (chosen >= classes)).nonzero()[:, 0]
        if len(strange):
            row, target = int(samples.id[strange[0]]), int(chosen[strange[0]])
            raise InputError(
                f"expected targets from 0 to {classes - 1}, got {target} for row {row}: name a class of the model"
            )
        return chosen[:, None]


@dataclass(frozen=True)
class Malt:
    """The `count` nearest of the `among` likeliest wrong classes, by margin over the dual norm of its gradient.

    Melamed, Yehudai, Shamir 2024 (MALT, arXiv 2407.02240): the distance at which a linear model would change sides.
    Costs one forward and `among` + 1 backwards per row (the published code: one forward per class).
    """

    count: int = 3
    among: int = 5

    def choose(
        self, oracle: Oracle, problem: Problem[Any], samples: Samples, logits: Tensor, ledger: Ledger, at: Tensor
    ) -> Tensor:
        candidates = wrong_classes(logits, samples.y)[:, : self.among]
        chosen = candidates[:, : self.count].clone()
        if len(at) and candidates.shape[1] > 1:
            chosen[at] = self._nearest(oracle, problem, samples[at], candidates[at])
            ledger.charge_at_(at, oracle.draws, oracle.draws * (candidates.shape[1] + 1))
        return chosen

    def _nearest(self, oracle: Oracle, problem: Problem[Any], rows: Samples, candidates: Tensor) -> Tensor:
        classes = torch.cat([rows.y[:, None], candidates], 1)
        seen = oracle.look(problem, Question(rows.truth, rows.y), rows.x, Need.JACOBIAN, classes)
        assert seen.grad is not None
        towards = seen.grad[:, :1] - seen.grad[:, 1:]
        slope = problem.threat.dual(towards.flatten(0, 1)).view_as(candidates)
        gap = seen.logits.gather(1, rows.y[:, None]) - seen.logits.gather(1, candidates)
        nearest = (gap / slope.clamp_min(1e-12)).argsort(dim=1, stable=True)[:, : self.count]
        return candidates.gather(1, nearest)


TARGETS: dict[str, type[Targets]] = {
    "runner-up": Closest,
    "closest": Closest,
    "malt": Malt,
    "least-likely": LeastLikely,
    "random": RandomClass,
    "class": OneClass,
    "all": EveryClass,
}


def as_targets(given: Any) -> Any:
    """Text becomes a rule for targets, a rule is returned as it is. Raises InputError for anything else."""
    if isinstance(given, str):
        return parse_targets(given)
    if isinstance(given, type) or not callable(getattr(given, "choose", None)):
        raise InputError(
            f"expected a rule for targets, got a {type(given).__name__}: pass e.g. Closest() or the words 'closest'"
        )
    return given


def parse_targets(text: str) -> Targets:
    """The rule that e.g. "runner-up", "closest:count=9", "malt:count=3,among=4" or "class:number=7" describes.

    Raises InputError: there is no such rule, or it has no such setting.
    """
    return build("a rule for targets", TARGETS, text)
