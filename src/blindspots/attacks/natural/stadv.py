"""stAdv: a smooth flow that moves pixels a short way."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import Attack, Facts, State, cosine, full, zeros
from blindspots.attacks.images import pulled, sampled
from blindspots.attacks.starts import as_images
from blindspots.ball import Linf
from blindspots.geometry import TINY
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import col, pick

_EPS = 1e-8


_MAXIMUM = Linf()


@dataclass(frozen=True)
class StAdvState(State):
    flow: Tensor  # (B, 2, H, W) pixels down and right: where each pixel of `probe` comes from
    tau: Tensor  # (B,) weight of the roughness
    adam: Adam  # of the flow's slope


@dataclass(frozen=True)
class StAdv(Attack[StAdvState]):
    """Xiao et al. 2018 (arXiv 1801.02612): descends adversarial loss + tau * roughness of a flow field (eq. 2 to 4).

    The roughness is the sum over neighbouring pixels of the length of the difference of their flows. Where a probe has
    succeeded, its loss is flat, as in the paper with kappa = 0: the flow only gets smoother. The paper keeps tau
    at 0.05 and uses L-BFGS. Here the adversarial gradient is scaled to a largest entry of 1, so that the scale of the
    scores is of no importance, and every row has a tau of its own that grows while its probes succeed and shrinks
    while they do not (40 rows of an MNIST network: 98 % broken instead of 75 %). Steps are Adam's. The limit is the
    attack's own, so it is usually run without a radius; of all successful probes, the nearest counts.

    Args:
        steps: gradient steps; a row costs `steps` gradients and one last evaluation.
        lr: Adam's first step in pixels; it falls along half a cosine to 0.
        tau: weight of the roughness at first.
        gamma: share by which it grows and shrinks per step.
        most: largest flow in each direction, as a share of the side; None: as far as it takes.
    """

    steps: int = 100
    lr: float = 0.2
    tau: float = 0.05
    gamma: float = 0.2
    most: float | None = None

    facts: ClassVar[Facts] = Facts(
        paper="Xiao et al.: Spatially Transformed Adversarial Examples",
        year=2018,
        family="natural changes",
        cost="steps + 1 forwards, steps backwards",
        use="smooth local warps; run it without a radius",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    even: ClassVar[bool] = True
    minimal: ClassVar[bool] = True

    @property
    def looks(self) -> int:
        return self.steps + 1

    def init(self, problem: Problem, job: Job) -> StAdvState:
        none = torch.zeros_like(as_images(job.x)[:, :1]).tile(2, 1, 1)
        return StAdvState(job.x, zeros(job), none, full(job, self.tau), Adam.blank(none))

    def step(self, problem: Problem, job: Job, state: StAdvState, seen: Seen) -> StAdvState:
        assert seen.grad is not None
        with torch.enable_grad():
            flow = state.flow.detach().requires_grad_()
            towards = pulled(carried(problem, job, flow), flow, seen.grad)
            smoother = pulled(roughness(flow), flow, torch.ones_like(job.r))
        towards = towards / col(_MAXIMUM.norm(towards).clamp_min(TINY), flow)
        slope = pick(seen.won, 0 * flow, towards).detach() + col(state.tau, flow) * smoother
        t, tau = state.t + 1, state.tau * torch.where(seen.won, 1 + self.gamma, 1 - self.gamma)
        adam, rate = state.adam.take(slope), col(cosine(state.t, self.steps, self.lr, 0.0), flow)
        there = self._limited(state.flow - rate * adam.usual / (adam.size + _EPS))
        return StAdvState(carried(problem, job, there), t, there, tau, adam)

    def _limited(self, flow: Tensor) -> Tensor:
        if self.most is None:
            return flow
        room = self.most * torch.tensor(flow.shape[2:], dtype=flow.dtype, device=flow.device)[:, None, None]
        return flow.clamp(-room, room)


def carried(problem: Problem, job: Job, flow: Tensor) -> Tensor:
    """The clean input (B, ...) with each pixel taken from where `flow` (B, 2, H, W) points, linearly interpolated."""
    height, width = flow.shape[2:]
    line = torch.arange(height, device=flow.device)[:, None] + flow[:, 0]
    column = torch.arange(width, device=flow.device) + flow[:, 1]
    return problem.threat.clip(sampled(job.x, line, column, "border"), job)


def roughness(flow: Tensor) -> Tensor:
    """Sum of |f(p) - f(q)| over all pairs of neighbours of each flow (B, 2, H, W): (B,)."""
    steps = (flow.diff(dim=2), flow.diff(dim=3))
    lengths = [(d.square().sum(1) + _EPS).sqrt().flatten(1).sum(1) for d in steps]
    return lengths[0] + lengths[1]
