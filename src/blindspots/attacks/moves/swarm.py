"""A swarm of texts that fly towards the best they have seen."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.attacks.attack import Facts, full
from blindspots.attacks.moves.distinct import marks
from blindspots.attacks.moves.population import (
    PopulationState,
    at_place,
    drawn,
    first_generation,
    kept_within,
    next_generation,
)
from blindspots.attacks.rounds import Rounds
from blindspots.capabilities import Substitutes
from blindspots.lattice import SUBSTITUTING, Substitutions
from blindspots.problem import Job, Need, Problem
from blindspots.random import uniform
from blindspots.rows import pick

_MOST, _LEAST = 0.8, 0.2  # of the inertia and of the chances to move (section 4.2 of the paper)
_FASTEST = 3.0  # of velocities


@dataclass(frozen=True)
class SwarmState(PopulationState):
    """Code 0 asks about the start, code 1 + i about particle i."""

    particles: Tensor  # (B, S, P)
    velocity: Tensor  # (B, S, P)
    best: Tensor  # (B, S, P) the best that each particle has been
    loss: Tensor  # (B, S) its loss


@dataclass(frozen=True)
class Swarm(Rounds[SwarmState, Substitutions]):
    """Zang et al. 2020 (arXiv 1910.12196), section 4.2: particle swarm optimisation in a space of words.

    A mutation puts in a random candidate. The published code takes one of the best candidates of all places and
    evaluates them all for it, several hundred queries each time. Changes beyond the radius are taken back by lot. No
    text is asked about twice, as far as the last 1,024 tell.

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
    threats: ClassVar[tuple[str, ...]] = SUBSTITUTING

    @property
    def looks(self) -> int:
        return self.queries

    def init(self, problem: Problem[Substitutions], job: Job) -> SwarmState:
        start = job.start[:, None].repeat(1, self.particles, 1)
        return SwarmState(
            **vars(first_generation(job, 1 + self.particles)),
            particles=start,
            velocity=torch.zeros_like(start),
            best=start,
            loss=full(job, math.inf)[:, None].repeat(1, self.particles),
        )

    def points(self, problem: Problem[Substitutions], job: Job, state: SwarmState, codes: Tensor) -> Tensor:
        row = torch.arange(len(codes), device=codes.device)[:, None]
        return torch.where((codes > 0)[:, :, None], state.particles[row, (codes - 1).clamp_min(0)], job.start[:, None])

    def next_round(self, problem: Problem[Substitutions], job: Job, state: SwarmState) -> SwarmState:
        state = self._remembered(state)
        lots = uniform(job.key, state.rounds, 0, (6, self.particles))
        words = uniform(job.key, state.rounds, 1, (3, *state.best.shape[1:]))
        velocity, there = self._flown(state, lots[:, :2], words[:, :2])
        begins, drawn_speeds = state.rounds == 0, (_FASTEST * (2 * lots[:, 2] - 1))[:, :, None].expand_as(velocity)
        velocity = pick(begins, drawn_speeds, velocity)
        there = kept_within(pick(begins, state.particles, there), job, words[:, 2])
        share = (there != job.x[:, None]).sum(2) / there.shape[2]
        place, here = at_place(problem.threat.legal_each(there, job), lots[:, 3])
        mutates = here.any(2) & (begins[:, None] | (lots[:, 4] < 1 - 2 * share))
        move = place * here.shape[2] + drawn(here.int(), lots[:, 5])
        there = problem.threat.leads_each(there, job, move.masked_fill(~mutates, -1))
        new, going = torch.ones_like(mutates), state.rounds < self.generations
        return next_generation(replace(state, particles=there, velocity=velocity), marks(there), new, going)

    def _remembered(self, state: SwarmState) -> SwarmState:
        """With what each particle was at its best."""
        losses, begins = state.answers, (state.rounds == 0)[:, None]
        now = torch.where(begins, losses[:, :1], losses[:, 1:])
        better = now < state.loss
        best = torch.where(better[:, :, None], state.particles, state.best)
        return replace(state, best=best, loss=torch.where(better, now, state.loss))

    def _flown(self, state: SwarmState, lots: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """The next velocities, eq. 3, and where they lead by way of the particle's and of the swarm's best, eq. 5.

        By the lots (B, 2, S), for one and for the other, and those of each word (B, 2, S, P).
        """
        spent = ((state.rounds - 1) / self.generations)[:, None]
        inertia = _MOST - spent * (_MOST - _LEAST)
        row = torch.arange(len(spent), device=spent.device)
        leader = state.best[row, state.loss.argmin(1)][:, None].expand_as(state.best)
        x, elites = state.particles, (state.best, leader)
        pulls = torch.stack([torch.where(x == elite, -_FASTEST, _FASTEST) for elite in elites]).sum(0)
        velocity = torch.lerp(pulls, state.velocity, inertia[:, :, None])
        for i, (elite, chance) in enumerate(zip(elites, (inertia, _MOST + _LEAST - inertia), strict=True)):
            stays = (words[:, i] < velocity.sigmoid()) | (lots[:, i] >= chance)[:, :, None]
            x = torch.where(stays, x, elite)
        return velocity, x
