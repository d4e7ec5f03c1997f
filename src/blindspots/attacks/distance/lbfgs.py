"""L-BFGS: a penalty on the distance plus the loss, minimised in the box, for the largest penalty that succeeds."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, full, zeros
from blindspots.attacks.distance.lbfgs_solver import Memory, Objective, Spot, dot, length
from blindspots.objective import LossName, own
from blindspots.problem import Job, Need, Problem, Seen

_TINY, _SMALLEST, _LARGEST = 1e-30, 1e-12, 1e12  # keeps quotients within the range of float32
_EXPONENT = 80.0  # the largest whose power float32 holds
_PAST = 1.02  # a step to the linearised boundary ends behind it, since the boundary itself is a tie
_BEHIND = 1.002  # and so do the minimisers that are aimed at
_CLOSE = 0.003  # a minimiser that lies no farther behind the linearised boundary, in |r|, ends the search
_BOLDER = 1.2  # factor from one such step to the next: they may circle before a boundary that bends
_LATEST = 50  # step from which they grow no further
_NEAREST, _FARTHEST = 1e-4, 0.3  # length of such a step, in diagonals of the box: a tie must be left, too
_SHORTENED = 6  # failures on one line after which the solver takes its point for the minimiser


@dataclass(frozen=True)
class LBFGSState(State):
    at: Spot  # where the solver stands
    best: Spot  # minimiser for the largest c that succeeded; the first success as long as none is known
    memory: Memory
    move: Tensor  # (B, D) that is searched along
    share: Tensor  # (B,) of the move that leads to the probe
    shortened: Tensor  # (B,) int64: failures on this line
    c: Tensor  # (B,) weight of the squared distance; 0 until it is chosen
    inner: Tensor  # (B,) int64: evaluations for this c
    tries: Tensor  # (B,) int64: values of c that are settled
    wins: Tensor  # (B,) largest c whose minimiser succeeds; 0 until there is one
    fails: Tensor  # (B,) smallest c whose minimiser fails; inf until there is one


@dataclass(frozen=True)
class LBFGS(Attack[LBFGSState]):
    """Szegedy et al. 2013 (arXiv 1312.6199), section 4.1: min c |r|^2 + loss(x + r) in the box, with a search for c.

    The paper prints |r| and asks for the minimum c that succeeds. Here the norm is squared, since L-BFGS needs a smooth
    objective, and the largest c that succeeds is sought, since a larger c gives a shorter r: the paper must mean that.

    Beyond the paper:
        - Towards a target the loss is the paper's -log p_target. Without one it is -log(1 - p_y): log p_y is concave
          in the margin, so its minimisers would jump across the boundary of a confident row. Other losses are taken
          as they are.
        - Steps to the linearised boundary lead to a first success, where the first c is read off: at the nearest
          point of the boundary the pulls of distance and loss cancel. The same rule proposes each next c, inside the
          bracket of successes and failures.
        - A solve starts at the best minimiser so far with the curvature that was learnt for other c, and ends as soon
          as it is clear on which side its minimiser lies. So a row costs some 20 to 40 evaluations on most
          networks, where a search that solves every c from scratch costs over 1000 for the same distance. Where
          gradients mislead (networks hardened by thresholds), it uses up its steps.

    The solver is a two-metric projection (Bertsekas 1982): L-BFGS among the coordinates that the box does not stop,
    and Armijo's rule along the projected path.

    Args:
        steps: gradients per row at most.
        c: first weight of the squared distance, in the loss's units over squared input units; None: see above.
        tries: values of c at most; 1: minimise for the given c only.
        inner: evaluations for one c at most.
        accuracy: a solve ends when a step lowers the objective by less than this share of c |r|^2.
        tolerance: the search ends when c is known up to this share.
        memory: pairs that the solver remembers.
    """

    steps: int = 100
    c: float | None = None
    tries: int = 20
    inner: int = 20
    accuracy: float = 1e-3
    tolerance: float = 0.005
    memory: int = 8

    facts: ClassVar[Facts] = Facts(
        paper="Szegedy et al.: Intriguing Properties of Neural Networks",
        year=2013,
        family="gradient, smallest distance",
        cost="up to steps + 1 forwards, steps backwards; 20 to 40 of each on most networks",
        use="the first attack of all; short l2 perturbations for a quarter of what DDN costs",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("l2",)
    minimal: ClassVar[bool] = True
    loss: ClassVar[LossName] = "ce"

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> LBFGSState:
        x, none, t = job.start.flatten(1), full(job, 0.0), zeros(job)
        nowhere, unknown = torch.zeros_like(x), full(job, torch.inf)
        spot = Spot(x, none, nowhere, unknown, none + 1)
        memory = Memory.blank(x, self.memory)
        return LBFGSState(job.start, t, spot, spot, memory, nowhere, none, t, none, t, t, none, unknown)

    def exhausted(self, state: LBFGSState) -> Tensor:
        closed = state.fails <= (1 + self.tolerance) * state.wins
        return (state.t >= self.looks) | (state.tries >= self.tries) | closed

    def step(self, problem: Problem, job: Job, state: LBFGSState, seen: Seen) -> LBFGSState:
        box = problem.threat.box(job).over(job.x, lambda bound: bound.flatten(1))
        task = Objective(job.x.flatten(1), state.c, box, problem.threat.span)
        before = task.value(state.at)
        state = _arrive(task, state, _spot(problem, job, state.probe, seen))
        settled = self._settled(task, state, before - task.value(state.at))
        state = self._begin(task, self._judge(task, state, settled))
        return _propose(replace(task, c=state.c), state)

    def _settled(self, task: Objective, state: LBFGSState, fell: Tensor) -> Tensor:
        """(B,) whether the solver is near enough to the minimiser for this c. `fell`: what its last step brought."""
        at, g = state.at, task.free_grad(state.at)
        small = self.accuracy * task.c * dot(at.x - task.x0, at.x - task.x0)
        promise = -0.5 * state.share * dot(g, state.move)
        stuck = (promise <= small) | (state.shortened > _SHORTENED)
        off = length(g) / (2 * task.c)  # where the loss is convex, the minimiser is no farther than this
        clear = (self.tries > 1) & (state.inner > 1) & (at.gap.abs() > _steepness(task, at) * off)
        done = torch.where(state.shortened == 0, (fell <= small) | clear, stuck) | (state.inner >= self.inner)
        return done & (state.inner > 0)

    def _judge(self, task: Objective, state: LBFGSState, settled: Tensor) -> LBFGSState:
        """Where a solve has ended: narrow the bracket, take the next c, and go back after a failure."""
        at, c = state.at, task.c
        won, lost = settled & at.won, settled & ~at.won
        reached = won & (-at.gap <= _CLOSE * _steepness(task, at) * length(at.x - task.x0))
        wins, fails = torch.where(won, c, state.wins), torch.where(lost | reached, c, state.fails)
        best = at.where(won, state.best)
        return replace(
            state,
            at=best.where(lost & best.won, at),
            best=best,
            shortened=torch.where(settled, 0, state.shortened),
            c=torch.where(settled, _between(wins, fails, _balancing(task, at)), state.c),
            inner=torch.where(settled, 0, state.inner),
            tries=state.tries + settled,
            wins=wins,
            fails=fails,
        )

    def _begin(self, task: Objective, state: LBFGSState) -> LBFGSState:
        """The first c: the given one at once, else one that fits the first success."""
        if self.c is not None:
            return replace(state, c=torch.where(state.c == 0, self.c, state.c))
        begins = (state.c == 0) & state.at.won
        c = torch.where(begins, _balancing(task, state.at), state.c)
        return replace(state, best=state.at.where(begins, state.best), c=c)


def _spot(problem: Problem, job: Job, probe: Tensor, seen: Seen) -> Spot:
    assert seen.grad is not None
    x, grad, objective = probe.flatten(1), seen.grad.flatten(1), problem.objective
    if objective.loss != "ce":
        return Spot(x, seen.loss, grad, seen.loss.copysign(seen.margin), torch.ones_like(seen.loss))
    towards = objective.targeted or objective.directed
    k = job.target if towards else job.y
    odds = own(seen.logits, k) - seen.logits.scatter(1, k[:, None], -torch.inf).logsumexp(1)  # of k, as a logarithm
    if not towards:  # the gradient of log p_y becomes that of -log(1 - p_y)
        grad = grad * odds.clamp_max(_EXPONENT).exp()[:, None]
    u = -odds if towards else odds
    return Spot(x, F.softplus(u), grad, seen.margin / 2, (2 * u.sigmoid()).clamp_min(_SMALLEST))


def _steepness(task: Objective, at: Spot) -> Tensor:
    """Length of the loss's gradient as it would be at the boundary, where the box leaves room: (B,)."""
    return length(task.free_grad(at, at.grad)) / at.slope


def _balancing(task: Objective, at: Spot) -> Tensor:
    """The c whose minimiser lies just behind the boundary, if that is a plane: 2 c |r| = |grad loss| there.

    Only coordinates count that the box leaves room to.
    """
    steep, r = _steepness(task, at), length((at.x - task.x0) * task.free(at.x, at.grad))
    wanted = (_BEHIND * (r + at.gap / steep)).maximum(0.2 * r).minimum(5 * r)
    return (steep / (2 * wanted)).nan_to_num(1.0).clamp(_SMALLEST, _LARGEST)


def _between(wins: Tensor, fails: Tensor, c: Tensor) -> Tensor:
    """`c` if it lies well inside the bracket, else the bracket's middle; while it is open, well beyond its only end."""
    closed = (wins > 0) & fails.isfinite()
    share = (c / wins).log() / (fails / wins).log()  # of the way from success to failure
    inside = torch.where((share > 0.1) & (share < 0.9), c, (wins * fails).sqrt())
    beyond = torch.where(
        wins > 0, c.maximum(1.1 * wins).minimum(100 * wins), c.maximum(fails / 100).minimum(0.9 * fails)
    )
    return torch.where(closed, inside, beyond).clamp(_SMALLEST, _LARGEST)


def _arrive(task: Objective, state: LBFGSState, new: Spot) -> LBFGSState:
    """Accept the probe, or shorten the step to it. On the way to a first success everything is accepted."""
    old, solving = state.at, state.c > 0
    good = ~solving | task.falls_enough(old, new)
    return replace(
        state,
        t=state.t + 1,
        at=new.where(good, old),
        memory=state.memory.push(good & (state.t > 0), old, new),
        share=torch.where(good, 1.0, state.share * task.shorter(old, new)),
        shortened=torch.where(good, 0, state.shortened + 1),
        inner=state.inner + solving,
    )


def _propose(task: Objective, state: LBFGSState) -> LBFGSState:
    fresh, solving = state.shortened == 0, task.c > 0
    move = torch.where(solving[:, None], task.direction(state.at, state.memory), _outwards(task, state.at, state.t))
    move, share = torch.where(fresh[:, None], move, state.move), torch.where(fresh, 1.0, state.share)
    probe = task.box.clip(state.at.x + share[:, None] * move)
    return replace(state, probe=probe.view_as(state.probe), move=move, share=share)


def _outwards(task: Objective, at: Spot, t: Tensor) -> Tensor:
    """A step to the linearised boundary."""
    g = task.free_grad(at, at.grad)
    unit = g / length(g).clamp_min(_TINY)[:, None]
    far = _PAST * _BOLDER ** (t - 1).clamp_max(_LATEST) * at.gap / _steepness(task, at).clamp_min(_TINY)
    diagonal = task.span * g.shape[1] ** 0.5
    return -far.clamp(_NEAREST * diagonal, _FARTHEST * diagonal)[:, None] * unit
