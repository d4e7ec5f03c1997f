"""The engine as it is meant: one row after the other, one job after the other, nothing written in place."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.engine.jobs import Jobs
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Settings
from blindspots.engine.result import Result
from blindspots.oracle import Oracle
from blindspots.problem import Job, Need, Problem, Question, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class ReferenceSearch:
    """Takes what `Search` takes; `run` returns the ledger that `Search` leaves."""

    attack: Attack
    oracle: Oracle
    problem: Problem
    jobs: Jobs
    ledger: Ledger
    entering: Tensor
    settings: Settings

    def run(self) -> Ledger:
        ledger = self.ledger
        for at in self.entering[:, None]:
            entry = self._all_jobs(at, ledger[at])
            entry = replace(entry, result=torch.where(entry.won, int(Result.WON), entry.result))
            ledger = ledger.put(at, entry)
        return ledger

    def _all_jobs(self, at: Tensor, entry: Ledger) -> Ledger:
        for number in range(self.jobs.per_sample):
            job = self.jobs.fetch(at, torch.full_like(at, number))
            entry = _remembered(self._one_job(job, entry))
            if entry.result == Result.BUDGET or (entry.won and self.settings.stop_early):
                break
        return entry

    def _one_job(self, job: Job, entry: Ledger) -> Ledger:
        state = self.attack.init(self.problem, job)
        while True:
            backwards = 0 if self.attack.final(state) else self._gradients(state)
            if self._cost(entry) + 1 + backwards > (self.settings.row_budget or torch.inf):
                return _ended(entry, Result.BUDGET)
            seen = self._look(job, state, backwards)
            entry = _charged(self._judged(entry, job, state.probe, seen), backwards)
            entry = replace(entry, looks=entry.looks + 1, moved=entry.moved | _elsewhere(job, state.probe))
            if not _finite(seen):
                return _ended(entry, Result.NONFINITE)
            if self.attack.final(state):
                return _stood(entry)
            if entry.won and self.settings.stop_early:
                return entry
            state = self.attack.step(self.problem, job, state, seen)

    def _gradients(self, state: Any) -> int:
        return state.classes.shape[1] if self.attack.need is Need.JACOBIAN else int(self.attack.need is Need.GRAD)

    def _cost(self, entry: Ledger) -> int:
        return int(entry.forwards + entry.backwards)

    def _look(self, job: Job, state: Any, backwards: int) -> Seen:
        classes, aim, gradients = self.attack.classes_of(state), self.attack.aim_of(state), backwards > 0
        return self.oracle.look(
            self.problem, Question(job.y, job.target), state.probe, self.attack.need, classes, aim, backward=gradients
        )

    def _judged(self, entry: Ledger, job: Job, probe: Tensor, seen: Seen) -> Ledger:
        threat = self.problem.threat
        inside, norm = threat.holds(probe, job), threat.distance(probe, job.x)
        better, nearer = inside & seen.won & (norm < entry.norm), inside & (seen.margin < entry.margin)
        return replace(
            entry,
            best=pick(better, probe, entry.best),
            norm=torch.where(better, norm, entry.norm),
            said=torch.where(better, seen.logits.argmax(1), entry.said),
            near=pick(nearer, probe, entry.near),
            margin=torch.where(nearer, seen.margin, entry.margin),
            low=torch.where(inside, seen.margin.fmin(entry.low), entry.low),
            won=entry.won | better,
        )


def _elsewhere(job: Job, probe: Tensor) -> Tensor:
    return (probe != job.x).flatten(1).any(1) & (job.r > 0)


def _stood(entry: Ledger) -> Ledger:
    """After the last look of a job: it was a search if it looked twice or more, and not only at the clean input."""
    searched = entry.moved & (entry.looks > 1) & (entry.result == Result.UNSEARCHED)
    return replace(entry, result=torch.where(searched, int(Result.STOOD), entry.result))


def _charged(entry: Ledger, backwards: int) -> Ledger:
    return replace(entry, forwards=entry.forwards + 1, backwards=entry.backwards + backwards)


def _remembered(entry: Ledger) -> Ledger:
    """How low the best job so far came, and the second best."""
    once, twice = torch.stack([entry.low, entry.once, entry.twice]).sort(0).values[:2]
    return replace(entry, low=torch.full_like(once, torch.inf), once=once, twice=twice)


def _ended(entry: Ledger, result: Result) -> Ledger:
    return replace(entry, result=torch.full_like(entry.result, int(result)))


def _finite(seen: Seen) -> bool:
    numbers = [seen.loss, seen.margin, *([] if seen.grad is None else [seen.grad])]
    return all(bool(n.isfinite().all()) for n in numbers)
