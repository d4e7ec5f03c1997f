"""Thrift: changes of an adversarial row are taken back, one column after the other, as far as it stays adversarial."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.capabilities import Tabular
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import pick
from blindspots.tables.threat import TableThreat

_SHARES = (0.0, 0.5, 0.75, 0.9)  # of a column's change that are kept, tried in this order


@dataclass(frozen=True)
class ThriftState(State):
    best: Tensor  # (B, D) the cheapest adversarial row
    size: Tensor  # (B,) its distance; inf until there is one
    tried: Tensor  # (B,) int64 how many proposals in a row saved nothing


@dataclass(frozen=True)
class Thrift(Attack[ThriftState, TableThreat]):
    """The smallest change in the threat's own unit, which may be money (after Kireev et al. 2023, arXiv 2208.13058).

    Their best-first search over all changes is exact for a few categories; this begins at an example that another
    attack found and undoes all of a column's change, or a half, a quarter or a tenth of it, from the dearest column to
    the cheapest, until a whole round saves nothing.

    Args:
        queries: queries per row at most.
    """

    queries: int = 200

    facts: ClassVar[Facts] = Facts(
        paper="Kireev, Kulynych, Troncoso: Adversarial Robustness for Tabular Data through Cost and Utility Awareness",
        year=2023,
        family="tables",
        cost="up to queries forwards",
        use="what an example of a table costs at least: after another attack",
    )
    need: ClassVar[Need] = Need.LABEL
    requires: ClassVar[type] = Tabular
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0", "cost")
    minimal: ClassVar[bool] = True
    alone: ClassVar[bool] = False

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[TableThreat], job: Job) -> ThriftState:
        return ThriftState(job.start, zeros(job), job.start, torch.full_like(job.r, torch.inf), zeros(job))

    def step(self, problem: Problem[TableThreat], job: Job, state: ThriftState, seen: Seen) -> ThriftState:
        size = problem.threat.distance(state.probe, job.x)
        cheaper = seen.won & (size < state.size)
        best = pick(cheaper, state.probe, state.best)
        tried = torch.where(cheaper, 0, state.tried + 1)
        probe = self._proposal(problem, job, best, tried)
        return ThriftState(probe, state.t + 1, best, torch.where(cheaper, size, state.size), tried)

    def _proposal(self, problem: Problem[TableThreat], job: Job, best: Tensor, tried: Tensor) -> Tensor:
        """With one column's change taken back in part: the dearest first, all of it first."""
        column = problem.threat.column_of.to(best.device)
        alone = self._each_alone(problem, job, best, column)
        count = (alone > 0).sum(1).clamp_min(1)
        order = alone.argsort(dim=1, descending=True, stable=True)
        chosen = order.gather(1, (tried % count)[:, None])
        share = torch.tensor(_SHARES, device=best.device)[(tried // count).clamp_max(len(_SHARES) - 1)]
        back = job.x + share[:, None] * (best - job.x)
        return problem.threat.project(torch.where(column == chosen, back, best), job)

    @staticmethod
    def _each_alone(problem: Problem[TableThreat], job: Job, best: Tensor, column: Tensor) -> Tensor:
        """The distance of each column's change by itself: (B, P)."""
        return torch.stack([
            problem.threat.distance(torch.where(column == k, best, job.x), job.x) for k in range(int(column.max()) + 1)
        ], 1)  # fmt: skip

    def exhausted(self, state: ThriftState) -> Tensor:
        columns = state.probe.shape[1]
        return super().exhausted(state) | (state.tried > columns * len(_SHARES)) | self.unstarted(state)

    def unstarted(self, state: ThriftState) -> Tensor:
        """Where the first look was at no example."""
        return (state.t > 0) & state.size.isinf()
