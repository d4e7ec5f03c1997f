"""A swarm of texts that fly towards the best they have seen."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from blindspots.attacks.attack import Facts, full
from blindspots.attacks.moves.distinct import first_of_each, marks
from blindspots.attacks.moves.population import kept_within, moved
from blindspots.attacks.rounds import Rounds, RoundState, asking, first_round
from blindspots.capabilities import Substitutes
from blindspots.lattice import Substitutions
from blindspots.problem import Job, Need, Problem
from blindspots.random import uniform
from blindspots.rows import pick

_MOST, _LEAST = 0.8, 0.2  # of the inertia and of the chances to move (section 4.2 of the paper)
_FASTEST = 3.0  # of velocities


@dataclass(frozen=True)
class SwarmState(RoundState):
    """Code 0 asks about the start, code 1 + i about particle i."""

    particles: Tensor  # (B, S, P)
    velocity: Tensor  # (B, S, P)
    first: Tensor  # (B, 1 + S) int64 the code that asks about the same text
    best: Tensor  # (B, S, P) the best that each particle has been
    loss: Tensor  # (B, S) its loss


@dataclass(frozen=True)
class Swarm(Rounds[SwarmState, Substitutions]):
    """Zang et al. 2020 (arXiv 1910.12196), section 4.2: particle swarm optimisation in a space of words.

    A mutation puts in a random candidate. The published code takes one of the best candidates of all places and
    evaluates them all for it, several hundred queries each time. Changes beyond the radius are taken back by lot.

    Args:
        particles: number of them.
        generations: how often they move, with the first mutations of the clean text.
        queries: queries per row.
    """

    particles: int = 60
    generations: int = 20
    queries: int = 20_000

    facts: ClassVar[Facts] = Facts(
        paper="Zang et al.: Word-level Textual Adversarial Attacking as Combinatorial Optimization",
        year=2020,
        family="moves",
        cost="generations x particles forwards at most",
        use="many candidates, many changes",
    )
    need: ClassVar[Need] = Need.VALUE
    requires: ClassVar[type] = Substitutes
    threats: ClassVar[tuple[str, ...]] = ("substitutions", "words", "characters", "edits", "tokens")

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> SwarmState:
        start = job.start[:, None].repeat(1, self.particles, 1)
        first = torch.arange(1 + self.particles, device=job.r.device).repeat(len(job.r), 1)
        loss = full(job, math.inf)[:, None].repeat(1, self.particles)
        return SwarmState(
            **vars(first_round(job, 1 + self.particles)),
            particles=start,
            velocity=torch.zeros_like(start),
            first=first,
            best=start,
            loss=loss,
        )

    def points(self, problem: Problem[Substitutions], job: Job, state: SwarmState, codes: Tensor) -> Tensor:
        row = torch.arange(len(codes), device=codes.device)[:, None]
        return torch.where((codes > 0)[:, :, None], state.particles[row, (codes - 1).clamp_min(0)], job.start[:, None])

    def next_round(self, problem: Problem[Substitutions], job: Job, state: SwarmState) -> SwarmState:
        state = self._remembered(state)
        velocity, there = self._flown(job, state)
        begins = state.rounds == 0
        u = uniform(job.key, state.rounds, 0, (3, self.particles))
        velocity = pick(begins, _FASTEST * (2 * u[:, 0, :, None] - 1).expand_as(velocity), velocity)
        there = kept_within(
            pick(begins, state.particles, there), job, uniform(job.key, state.rounds, 1, there.shape[1:])
        )
        share = (there != job.x[:, None]).sum(2) / there.shape[2]
        mutates = begins[:, None] | (u[:, 1] < 1 - 2 * share)
        move = moved(problem.threat, job, there, state.rounds, 2).masked_fill(~mutates, -1)
        there = problem.threat.leads_each(there, job, move)
        return self._asking(replace(state, particles=there, velocity=velocity))

    def _remembered(self, state: SwarmState) -> SwarmState:
        """With what each particle was at its best."""
        losses, begins = state.losses.gather(1, state.first), (state.rounds == 0)[:, None]
        now = torch.where(begins, losses[:, :1], losses[:, 1:])
        better = now < state.loss
        best = torch.where(better[:, :, None], state.particles, state.best)
        forgotten = torch.full_like(state.losses, math.inf)
        return replace(state, best=best, loss=torch.where(better, now, state.loss), losses=forgotten)

    def _flown(self, job: Job, state: SwarmState) -> tuple[Tensor, Tensor]:
        """The next velocities, eq. 3, and where they lead by way of the particle's and of the swarm's best, eq. 5."""
        spent = ((state.rounds - 1) / self.generations)[:, None]
        inertia = (_MOST - spent * (_MOST - _LEAST))[:, :, None]
        row = torch.arange(len(spent), device=spent.device)
        leader = state.best[row, state.loss.argmin(1)][:, None].expand_as(state.best)
        x = state.particles
        pulls = sum(torch.where(x == elite, -_FASTEST, _FASTEST) for elite in (state.best, leader))
        velocity = inertia * state.velocity + (1 - inertia) * pulls
        for stream, elite, chance in ((3, state.best, inertia[:, 0]), (5, leader, _MOST + _LEAST - inertia[:, 0])):
            goes = uniform(job.key, state.rounds, stream, (self.particles,)) < chance
            stays = uniform(job.key, state.rounds, stream + 1, x.shape[1:]) < velocity.sigmoid()
            x = torch.where(stays | ~goes[:, :, None], x, elite)
        return velocity, x

    def _asking(self, state: SwarmState) -> SwarmState:
        """A round that asks once about every particle, as long as there are generations."""
        first = first_of_each(marks(state.particles)) + 1
        new = first == torch.arange(1, 1 + self.particles, device=first.device)
        codes, total = asking(pad(new & (state.rounds < self.generations)[:, None], (1, 0)))
        return replace(state, codes=codes, total=total, first=pad(first, (1, 0)))
