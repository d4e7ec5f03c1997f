"""Attacks search where all features weigh the same: the one place where inputs become coordinates, and back."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from blindspots.engine.jobs import Jobs
from blindspots.problem import Job, Problem, Seen
from blindspots.rows import Around
from blindspots.threat import Threat


class Coordinates:
    """u = x / unit of a threat; the input itself where there is no unit. Ledgers keep inputs.

    Attributes:
        problem: of the user, on the device of the rows.
        inner: what attacks solve, in their view of the threat.
    """

    def __init__(self, problem: Problem[Any], jobs: Jobs, view: Threat) -> None:
        self._threat, self._jobs = view.to(jobs.samples.x.device), jobs
        self.problem = replace(problem, threat=problem.threat.to(jobs.samples.x.device))
        self.inner = replace(problem, threat=self._threat.plain)
        self._plain = self.inner.threat is self._threat

    def fetch(self, at: Tensor, number: Tensor) -> Job:
        """As `Jobs.fetch`; a search starts with what may not change as it is."""
        job = self._jobs.fetch(at, number)
        inner = self._threat.inward(job)
        return replace(job, x=inner.x, r=inner.r, start=self._threat.begun(job.start, job))

    def around(self, at: Tensor, job: Job) -> Around:
        """The clean inputs of the samples at the places `at` (B,), whose jobs these are."""
        samples = self._jobs.samples
        return job.within(job.r) if self._plain else Around(samples.x[at], samples.r[at], own=job.own)

    def inputs(self, u: Tensor, job: Job, around: Around) -> Tensor:
        """What the model is asked about at the points `u` (B, ...) of a search."""
        point: Tensor = self._threat.outward(u, job, around)
        return point

    def pulled(self, seen: Seen, around: Around) -> Seen:
        """With its gradients in coordinates; zero where nothing may change."""
        return seen if seen.grad is None else replace(seen, grad=self._threat.pulled(seen.grad, around.x))
