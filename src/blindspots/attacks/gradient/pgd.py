"""PGD: steepest steps, each followed by a projection."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, cosine, full, zeros
from blindspots.attacks.directions import ascent, carried, descent
from blindspots.attacks.starts import blocks
from blindspots.objective import LossName
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import pick


@dataclass(frozen=True)
class PGDState(State):
    last: Tensor  # (B, ...) the probe before this one


@dataclass(frozen=True)
class PGD(Attack[PGDState]):
    """Madry et al. 2018 (arXiv 1706.06083), with a random start, momentum and a step schedule as options.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        stride: length of a step in radii; None: 2.5 / steps, as in the paper's follow-up code.
        schedule: "constant", or "cosine": from `stride` down to 0.
        momentum: share of a step that comes from the new direction is `momentum`; the rest repeats the last move
            (APGD's form, Croce and Hein 2020, eq. 3). 1.0: none.
        random_start: begin at a random point of the ball, else at the job's start (the clean input as a rule).
        blocks: the random point has a random pattern of blocks (see `starts.blocks`), else it is uniform.
        coordinates: share of coordinates moved per step in an l1 ball (Tramer and Boneh 2019: 1 %).
    """

    steps: int = 40
    stride: float | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    momentum: float = 1.0
    random_start: bool = True
    blocks: bool = False
    coordinates: float = 0.01

    facts: ClassVar[Facts] = Facts(
        paper="Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks",
        year=2018,
        family="gradient, fixed radius",
        cost="steps + 1 forwards, steps backwards",
        use="the standard inside adversarial training; with restarts a fair first measurement",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> PGDState:
        t = zeros(job)
        x = self._start(problem, job) if self.random_start else job.start
        return PGDState(x, t, x)

    def _start(self, problem: Problem, job: Job) -> Tensor:
        return blocks(problem.threat, job) if self.blocks else problem.threat.sample(job, job.key)

    def step(self, problem: Problem, job: Job, state: PGDState, seen: Seen) -> PGDState:
        assert seen.grad is not None
        x, u = state.probe, ascent(problem.threat, seen.grad, self.coordinates)
        new = descent(problem, job, x, u, self._length(job, state.t))
        if self.momentum < 1:
            new = pick(state.t == 0, new, carried(problem, job, x, state.last, new, self.momentum))
        return PGDState(new, state.t + 1, x)

    def _length(self, job: Job, t: Tensor) -> Tensor:
        stride = 2.5 / self.steps if self.stride is None else self.stride
        return job.r * (full(job, stride) if self.schedule == "constant" else cosine(t, self.steps, stride, 0.0))
