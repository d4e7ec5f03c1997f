"""What label-only attacks share: an adversarial start, and bisection from it towards the clean input."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Literal, TypeVar, cast

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State, full, zeros
from blindspots.attacks.starts import as_images
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import randint, uniform
from blindspots.rows import Rows, pick, tree

SEEK, LINE, COMPARE, LOST, OWN = range(5)  # phases of a row; an attack's own begin at OWN
S = TypeVar("S", bound=Rows)
_CELLS = 8  # most blocks per side of a random image
_WORTH = 0.05  # another start has to be nearer by this share of the distance


@dataclass(frozen=True)
class LineState(State):
    phase: Tensor  # (B,) int64
    tried: Tensor  # (B,) int64: points evaluated for a start
    far: Tensor  # (B, ...) where a line begins that leads to the clean input
    low: Tensor  # (B,) a distance on it at which no success is known
    high: Tensor  # (B,) a distance at which there is one
    compared: Tensor  # (B,) int64: random images that were compared with it


L = TypeVar("L", bound=LineState)
Turn = Callable[[Problem, Job, L, Seen], L]


@dataclass(frozen=True)
class LabelSearch(Attack[L], Generic[L]):
    """An attack that sees only labels and minimises the distance: one query per turn.

    A row begins at `job.start`. If that is not adversarial, it tries random images, and ends without a result after
    `tries` of them. From the first adversarial one it bisects towards the clean input: along the straight line in l2,
    else along the projections to smaller and smaller balls. Ten random images get one query each at a little less than
    that distance, and the line of one that succeeds is followed instead. Then `arrive` takes over.

    Args:
        queries: queries per row, in total.
        tries: random images evaluated for a start.
    """

    queries: int = 1000
    tries: int = 100

    need: ClassVar[Need] = Need.LABEL
    minimal: ClassVar[bool] = True
    begins: ClassVar[Literal["clean", "other"]] = "other"
    compares: ClassVar[int] = 10

    @property
    def looks(self) -> int:
        return self.queries

    @abstractmethod
    def dress(self, problem: Problem, job: Job, state: LineState) -> L:
        """The attack's own first state, around the part that all of them share."""

    @abstractmethod
    def arrive(self, problem: Problem, job: Job, state: L) -> L:
        """The next state, after the boundary has been located between the distances `low` and `high`."""

    @abstractmethod
    def turns(self) -> dict[int, Turn[L]]:
        """The next state after a query in each of the attack's own phases."""

    def tolerance(self, job: Job) -> float:
        """Bisection ends when `high` - `low` is at most this share of `high`."""
        return 0.01

    def init(self, problem: Problem, job: Job) -> L:
        there = (job.start != job.x).flatten(1).any(1)
        probe, none = pick(there, job.start, noise(problem, job, zeros(job))), full(job, 0)
        first = LineState(probe, zeros(job), zeros(job), (~there).long(), probe, none, none, zeros(job))
        return self.dress(problem, job, first)

    def step(self, problem: Problem, job: Job, state: L, seen: Seen) -> L:
        after = cast(L, tree(torch.clone, state))
        for phase, turn in {SEEK: self._seek, LINE: self._halve, COMPARE: self._compared, **self.turns()}.items():
            at = (state.phase == phase).nonzero()[:, 0]  # only the rows concerned: the others cost nothing
            if len(at):
                after.put_(at, turn(problem, job[at], state[at], seen[at]))
        return replace(after, t=state.t + 1)

    def exhausted(self, state: L) -> Tensor:
        return (state.t >= self.queries) | (state.phase == LOST)

    def unstarted(self, state: L) -> Tensor:
        return (state.phase == SEEK) | (state.phase == LOST)

    def aim(self, problem: Problem, job: Job, state: L, far: Tensor, high: Tensor) -> L:
        """Begin to bisect on the line from `far` (B, ...), where the distance `high` (B,) succeeds."""
        probe = problem.threat.project(far, job.within(high / 2))
        return at_phase(replace(state, probe=probe, far=far, low=torch.zeros_like(high), high=high), LINE)

    def reached(self, problem: Problem, job: Job, state: L) -> Tensor:
        """The nearest success on the line: (B, ...)."""
        return problem.threat.project(state.far, job.within(state.high))

    def _seek(self, problem: Problem, job: Job, state: L, seen: Seen) -> L:
        phase = torch.where(state.tried < self.tries, SEEK, LOST)
        again = replace(state, probe=noise(problem, job, state.tried), phase=phase, tried=state.tried + 1)
        distance = problem.threat.distance(state.probe, job.x)
        return choose(seen.won, self.aim(problem, job, state, state.probe, distance), again)

    def _halve(self, problem: Problem, job: Job, state: L, seen: Seen) -> L:
        middle = (state.low + state.high) / 2
        low, high = torch.where(seen.won, state.low, middle), torch.where(seen.won, middle, state.high)
        on = replace(state, probe=problem.threat.project(state.far, job.within((low + high) / 2)), low=low, high=high)
        return only(high - low <= self.tolerance(job) * high, self._settle, problem, job, on)

    def _settle(self, problem: Problem, job: Job, state: L) -> L:
        nearer = problem.threat.project(noise(problem, job, state.tried), job.within((1 - _WORTH) * state.high))
        compare = at_phase(replace(state, probe=nearer, tried=state.tried + 1), COMPARE)
        return choose(state.compared < self.compares, compare, self.arrive(problem, job, state))

    def _compared(self, problem: Problem, job: Job, state: L, seen: Seen) -> L:
        state = replace(state, compared=state.compared + 1)
        nearer = self.aim(problem, job, state, state.probe, problem.threat.distance(state.probe, job.x))
        return choose(seen.won, nearer, self._settle(problem, job, state))


def at_phase(state: L, phase: int) -> L:
    """The state with all rows in the same phase."""
    return replace(state, phase=torch.full_like(state.phase, phase))


def only(mask: Tensor, turn: Callable[[Problem, Job, S], S], problem: Problem, job: Job, state: S) -> S:
    """What `turn` makes of the rows in `mask` (B,), and the others as they are."""
    at = mask.nonzero()[:, 0]
    return state.put(at, turn(problem, job[at], state[at])) if len(at) else state


def choose(mask: Tensor, a: S, b: S) -> S:
    """Row-wise choice between two states: `a` where `mask` (B,), else `b`."""
    return cast(S, tree(lambda s, t: pick(mask, s, t), a, b))


def noise(problem: Problem, job: Job, number: Tensor) -> Tensor:
    """Random image `number` (B,): uniform pixels for even numbers, for odd ones uniform blocks, 1 to 8 per side.

    Images of independent pixels look alike to most networks and get the same label again and again; blocks do not.
    """
    image = as_images(job.x)
    cells = randint(job.key, number, 21, _CELLS, (1,)) + 1
    line, column = (torch.arange(n, device=image.device) * cells // n for n in image.shape[2:])
    values = uniform(job.key, number, 22, (_CELLS, _CELLS, image.shape[1]))
    row = torch.arange(len(image), device=image.device)[:, None, None]
    blocks = values[row, line[:, :, None], column[:, None, :]].movedim(-1, 1).reshape(job.x.shape)
    drawn = pick(number % 2 == 0, uniform(job.key, number, 23, job.x.shape[1:]), blocks)
    box = problem.threat.box(job)
    return box.clip(box.lo + box.width * drawn)
