"""Points drawn by lot, for models that show labels alone."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, State, zeros
from blindspots.attacks.rounds import Ahead
from blindspots.capabilities import Samples, Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import keys
from blindspots.rows import tree


class Drawable(Substitutes, Samples):
    """Replaces tokens by candidates, and can be drawn from."""


@dataclass(frozen=True)
class Sampling(Ahead[State, Substitutions]):
    """One random point after the other, each with as many changes as are allowed, places and candidates by lot.

    All points are known ahead, so they share calls of the model. It learns nothing from its answers: what it does not
    find may well be there.

    Args:
        queries: queries per row.
    """

    queries: int = 500

    facts: ClassVar[Facts] = Facts(
        paper="random search",
        year=2026,
        family="moves",
        cost="queries forwards at most",
        use="texts, where labels are all that is seen; what chance finds, beside what other searches do",
    )
    need: ClassVar[Need] = Need.LABEL
    requires: ClassVar[type] = Drawable
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> State:
        state = State(job.x, zeros(job))
        return replace(state, probe=self.proposals(problem, job, state, 1)[:, 0])

    def proposals(self, problem: Problem[Substitutions], job: Job, state: State, lanes: int) -> Tensor:
        number = state.t[:, None] + torch.arange(lanes, device=state.t.device)
        wide = tree(lambda t: t.repeat_interleave(lanes, 0), job)
        drawn = problem.threat.sample(wide, keys(0, wide.key, number.flatten()))
        return drawn.view(len(number), lanes, *drawn.shape[1:])

    def absorb(self, problem: Problem[Substitutions], job: Job, state: State, seen: Seen, count: Tensor) -> State:
        state = replace(state, t=state.t + count)
        return replace(state, probe=self.proposals(problem, job, state, 1)[:, 0])

    def ahead(self, state: State) -> Tensor:
        return (self.looks - state.t - 1).clamp_min(0)
