"""GBDA: a distribution over the candidates of every place, which gradients move towards what flips."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from blindspots.attacks.adam import Adam
from blindspots.attacks.attack import Facts
from blindspots.attacks.rounds import Rounds, RoundState, first_round, next_codes
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.random import uniform


@dataclass(frozen=True)
class GBDAState(RoundState):
    """Code i asks about sample i of a round. Choice 0 of a place is its own token, choice 1 + c candidate c."""

    theta: Tensor  # (B, P, 1 + C) logits of the choices
    slopes: Tensor  # (B, P, 1 + C) of the loss in them, the sum over the samples of this round
    adam: Adam


@dataclass(frozen=True)
class GBDA(Rounds[GBDAState, Substitutions]):
    """Guo et al. 2021 (arXiv 2104.13733), on the candidates of a lattice in place of the whole vocabulary.

    The paper puts a mixture of embeddings into the network, weighted by a Gumbel-softmax sample, and draws texts once
    it has ended. Here the network sees the text of the sample's largest weights, and the gradient at its embeddings
    goes through the softmax all the same (Jang et al. 2017, arXiv 1611.01144, straight through): so every look is at a
    text of the lattice and may be a success. The paper's penalties for fluency and similarity are left out, for
    candidates stand for these; of the changes of a sample those that lead their place's own token most are kept, as
    many as the threat allows.

    Args:
        steps: of Adam.
        samples: texts that are drawn in a step; 10 in the paper.
        rate: of Adam, in logits; 0.3 in the paper.
        temperature: of the softmax that gradients go through.
        lead: of a place's own token at first, in logits; 12 to 15 in the paper, with 100 steps.
    """

    steps: int = 30
    samples: int = 4
    rate: float = 0.3
    temperature: float = 1.0
    lead: float = 3.0

    facts: ClassVar[Facts] = Facts(
        paper="Guo et al.: Gradient-based Adversarial Attacks against Text Transformers",
        year=2021,
        family="moves",
        cost="steps x samples forwards and backwards",
        use="networks with embeddings: many candidates, many changes at once",
    )
    need: ClassVar[Need] = Need.SLOPES
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.steps * self.samples

    def init(self, problem: Problem[Substitutions], job: Job) -> GBDAState:
        tokens = problem.threat.tokens(job)
        there = pad((tokens == job.start[:, :, None]) & (tokens >= 0), (1, 0)).int().argmax(2)
        theta = self.lead * one_hot(there, 1 + tokens.shape[2]).to(job.x)
        state = GBDAState(**vars(first_round(job, self.samples)), theta=theta, slopes=0 * theta, adam=Adam.blank(theta))
        return self._asking(problem, job, state)

    def _asking(self, problem: Problem[Substitutions], job: Job, state: GBDAState) -> GBDAState:
        codes = torch.arange(self.samples, device=job.y.device).expand_as(state.codes)
        total = torch.where(state.rounds < self.steps, self.samples, 0)
        state = replace(state, codes=codes, total=total, number=torch.zeros_like(total))
        return replace(state, probe=self.proposals(problem, job, state, 1)[:, 0])

    def points(self, problem: Problem[Substitutions], job: Job, state: GBDAState, codes: Tensor) -> Tensor:
        logits = self._drawn(problem, job, state, codes)
        lead, choice = (logits[..., 1:] - logits[..., :1]).max(3)
        rank = lead.argsort(dim=2, descending=True, stable=True).argsort(2)
        changes = (lead > 0) & (rank < job.r[:, None, None])
        tokens = problem.threat.tokens(job)[:, None].expand(-1, codes.shape[1], -1, -1)
        return torch.where(changes, tokens.gather(3, choice[..., None])[..., 0], job.x[:, None])

    def _drawn(self, problem: Problem[Substitutions], job: Job, state: GBDAState, codes: Tensor) -> Tensor:
        """The logits of the samples, with their Gumbel noise, -inf where there is no candidate: (B, K, P, 1 + C)."""
        clock = (state.rounds[:, None] * self.samples + codes).flatten()
        u = uniform(job.key.repeat_interleave(codes.shape[1]), clock, 0, state.theta.shape[1:])
        noise = -(-(u.clamp(1e-7, 1 - 1e-7)).log()).log()
        missing = pad(problem.threat.tokens(job) < 0, (1, 0))[:, None]
        return (state.theta[:, None] + noise.view(*codes.shape, *u.shape[1:])).masked_fill(missing, -math.inf)

    def absorb(
        self, problem: Problem[Substitutions], job: Job, state: GBDAState, seen: Seen, count: Tensor
    ) -> GBDAState:
        if seen.grad is not None:
            lanes = seen.grad.shape[1]
            soft = (self._drawn(problem, job, state, next_codes(state, lanes)) / self.temperature).softmax(3)
            moves = problem.threat.moves(job)
            along, back = seen.grad[..., :moves], seen.grad[..., moves:, None]
            slopes = torch.cat([back, along.view(*along.shape[:2], *job.x.shape[1:], -1)], 3).masked_fill(soft == 0, 0)
            slopes = soft * (slopes - (soft * slopes).sum(3, keepdim=True)) / self.temperature
            answered = torch.arange(lanes, device=count.device) < count[:, None]
            slopes = slopes.masked_fill(~answered[:, :, None, None], 0)
            state = replace(state, slopes=state.slopes + slopes.sum(1))
        return super().absorb(problem, job, state, seen, count)

    def next_round(self, problem: Problem[Substitutions], job: Job, state: GBDAState) -> GBDAState:
        adam = state.adam.take(state.slopes)
        state = replace(state, theta=state.theta - self.rate * adam.direction, slopes=0 * state.slopes, adam=adam)
        total = torch.where(state.rounds + 1 < self.steps, self.samples, 0)
        return replace(state, total=total, losses=torch.full_like(state.losses, math.inf))
