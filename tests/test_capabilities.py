"""A threat that is no ball, and an attack that requires what it can do."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from blindspots.attacks import PGD, Attack
from blindspots.attacks.attack import Facts, State, zeros
from blindspots.ball import Linf
from blindspots.capabilities import Embed, Enumerates, Projects, Samples, Steers, lacking
from blindspots.engine.jobs import Jobs, fixed
from blindspots.engine.jobs import Samples as Rows
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings
from blindspots.errors import InputError
from blindspots.fit import check_fit
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import Around
from blindspots.threat import Threat


@dataclass(frozen=True)
class Switches(Threat):
    """At most `radius` of the values 0 and 1 are switched."""

    radius: float | None = None

    name: ClassVar[str] = "switches"
    title: ClassVar[str] = "switches"
    allowing: ClassVar[str] = "up to {radius} switches may be turned"

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        return (x != x0).sum(1).float()

    def measured(self, x: Any, x0: Any) -> Any:
        return np.count_nonzero(x != x0, axis=1)

    def holds(self, x: Tensor, around: Around) -> Tensor:
        return ((x == 0) | (x == 1)).all(1) & (self.distance(x, around.x) <= around.r)

    def legal(self, x: Tensor, around: Around) -> Tensor:
        return (x != around.x) | (self.distance(x, around.x) < around.r)[:, None]

    def move(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        return x.scatter(1, m[:, None], 1 - x.gather(1, m[:, None]))

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        return g * (1 - 2 * x)


@dataclass(frozen=True)
class Greedy(Attack[State, Any]):
    """The move that the slope likes best, again and again."""

    steps: int = 6

    facts: ClassVar[Facts] = Facts("own", 2025, "own", "steps", "tests")
    need: ClassVar[Need] = Need.SLOPES
    requires: ClassVar[type] = Enumerates
    threats: ClassVar[tuple[str, ...]] = ()

    @property
    def looks(self) -> int:
        return self.steps

    def init(self, problem: Problem[Any], job: Job) -> State:
        return State(job.start, zeros(job))

    def step(self, problem: Problem[Any], job: Job, state: State, seen: Seen) -> State:
        assert seen.grad is not None
        best = seen.grad.masked_fill(~problem.threat.legal(state.probe, job), torch.inf).argmin(1)
        return State(problem.threat.move(state.probe, job, best), state.t + 1)


def test_a_threat_offers_what_it_has_methods_for() -> None:
    assert isinstance(Switches(), Enumerates)
    assert not isinstance(Switches(), Projects | Steers | Samples)
    assert isinstance(Linf(), Projects)
    assert isinstance(Linf(), Steers)
    assert isinstance(Linf(), Samples)
    assert lacking(Enumerates, Linf()) == ["lists the neighbours of a point"]
    assert lacking(PGD.requires, Switches()) == ["is a ball of a norm"]


def test_a_mismatch_is_refused_with_those_that_would_do() -> None:
    with pytest.raises(InputError, match=r"lists the neighbours.*use one of FGSM, "):
        check_fit(Greedy(), Linf(0.1), Need.GRAD, Objective())
    with pytest.raises(InputError, match=r"is a ball of a norm for PGD.*got switches"):
        check_fit(PGD(), Switches(2), Need.GRAD, Objective())
    check_fit(Greedy(), Switches(2), Need.GRAD, Objective())


def test_the_engine_runs_in_any_threat() -> None:
    g = torch.Generator().manual_seed(0)
    x, w = (torch.rand(40, 10, generator=g) > 0.5).float(), torch.randn(10, generator=g)

    def net(x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), (x * w).sum(1)], 1)

    oracle, rows = Oracle(Model(net)), torch.arange(40)
    with oracle.session():
        scores = oracle.logits(x)
        y = scores.argmax(1)
        samples = Rows(rows, x, y, torch.full((40,), 2.0))
        problem: Problem[Any] = Problem(Objective(loss="margin"), Switches(2))
        jobs = Jobs(samples, scores, fixed(x), None, 1, 0, 0)
        ledger = Ledger.blank(x, problem.objective.margin(scores, y, y))
        Search(Greedy(), oracle, problem, jobs, ledger, rows, Settings()).run()
    gain = ((1 - 2 * x) * w * (1 - 2 * y)[:, None]).clamp_min(0).topk(2, dim=1).values.sum(1)
    assert torch.equal(ledger.won, gain > scores[:, 1].abs())
    assert Switches(2).holds(ledger.best, Around(x, samples.r)).all()
