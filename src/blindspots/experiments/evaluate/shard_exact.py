"""The rows of one part where a solver proposes: what it proved is kept beside what the engine saw."""

import time
from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from blindspots.attacks import Exact
from blindspots.ball import Ball
from blindspots.engine.cascade import Board, Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.result import Result
from blindspots.exact import Bracket, Frame, Solver, solver_of
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.setup import goal_of, in_units, threat_of
from blindspots.experiments.evaluate.shard import ShardSearch
from blindspots.goals import Classify
from blindspots.goals.numbers import Regress
from blindspots.models.model import Model
from blindspots.runs.experiment import Columns
from blindspots.runs.world import Progress, World
from blindspots.tables.threat import TableThreat
from blindspots.threat import Threat

SAME = 1e-6  # of a distance
BEYOND = 1e-4  # of the radius: this much farther is searched, since float32 lets some points pass that lie outside


def exact_of(stages: Sequence[Stage]) -> Exact | None:
    """The attack among these that asks a solver."""
    return next((stage.attack for stage in stages if isinstance(stage.attack, Exact)), None)


def proves(config: Batched, world: World, model: Model, threat: Threat) -> Solver | None:
    """The solver for what a run asks; None where nothing is proved."""
    goal = goal_of(world, config.model_copy(update=in_units(config, world)))
    if not isinstance(goal, Regress | Classify) or getattr(threat, "padding", None) is not None:
        return None  # a solver knows no rows of several lengths
    aim = goal if isinstance(goal, Regress) else None
    return world.once(f"solver of {id(model)}", lambda: solver_of(model, threat, tuple(world.data.shape), aim))


class ExactShardSearch(ShardSearch):
    """The rows are solved one by one; a point that a solver proposes is looked at like that of any attack."""

    proofs: dict[int, Bracket]

    def searched(
        self, cascade: Cascade, samples: Samples, kept: Columns | None
    ) -> Generator[Columns, None, tuple[Board, list[float]]]:
        self.proofs, self.deadline = {}, cascade.allowance.deadline
        cascade.proposals = self._proposed
        board, seconds = yield from super().searched(cascade, samples, kept)
        samples = samples.judged(goal_of(self.world, self.config), board.output)
        self._solve(samples, board.right.nonzero()[:, 0])  # again, if the stage was over when the run was interrupted
        standing = board.right & ~board.ledger.won
        beyond = torch.from_numpy(self._lower(len(samples.y))) > float(threat_of(self.world).radius or np.inf)
        proved = standing & (beyond | self._none(samples))
        board.ledger.settle_(standing & (board.ledger.result == Result.UNSEARCHED), Result.BUDGET)
        board.ledger.settle_(proved & (board.ledger.result != Result.NONFINITE), Result.PROVED)
        return board, seconds

    def more(self, samples: Samples, columns: Columns) -> Columns:
        rows = range(len(samples.y))
        exact = np.array([self.proofs[i].smallest if i in self.proofs else 0.0 for i in rows])
        return {
            "lower": torch.from_numpy(self._lower(len(rows))),
            "exact": torch.from_numpy(exact),
            "minimal": self._minimal(samples, columns, exact),
        }

    def _minimal(self, samples: Samples, columns: Columns, exact: np.ndarray) -> Tensor:
        """Rows (N,) whose example is at the smallest distance, but for `SAME` of it and the spacing of float32."""
        found = torch.zeros_like(columns["won"])
        at = columns["broken"]
        x, nearest = (t.cpu().flatten(1).numpy() for t in (samples.x[at.to(samples.x.device)], columns["nearest"]))
        frame = Frame(_ball(threat_of(self.world)), tuple(samples.x.shape[1:]))
        near = columns["norm"][at].numpy() <= exact[at.numpy()] * (1 + SAME) + frame.spacing(x, nearest)
        found[at] = torch.from_numpy(near)
        return found

    def _proposed(self, samples: Samples, at: Tensor) -> Tensor:
        """What is looked at of each row, one after the other: (N, K, ...); the clean input where there is nothing."""
        self._solve(samples, at)
        most = max((len(proof.points) for proof in self.proofs.values()), default=0) or 1
        found = samples.x[:, None].repeat_interleave(most, 1)
        for i, proof in self.proofs.items():
            for k in range(most if proof.points else 0):
                point = proof.points[min(k, len(proof.points) - 1)]
                found[i, k] = torch.from_numpy(point).view(found.shape[2:])
        return found

    def _solve(self, samples: Samples, at: Tensor) -> None:
        model, threat = self.world.model, threat_of(self.world)
        solver, attack = proves(self.config, self.world, model, threat), exact_of(self.stages)
        assert solver is not None
        assert attack is not None
        within = np.inf if threat.radius is None else threat.radius * (1 + BEYOND)
        for i in at.tolist():
            if i not in self.proofs:
                x = samples.x[i].flatten().cpu().numpy()
                y = samples.truth[i].cpu().numpy()
                self.proofs[i] = solver.nearest(x, y if y.ndim else y.item(), within, attack.nodes, self._late)
                self._told(len(self.proofs), len(at))

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _told(self, done: int, rows: int) -> None:
        said = f"{done:,} of {rows:,} rows solved"
        self.world.tell(Progress(self.part.name, said, done, len(self.part.rows)))

    def _none(self, samples: Samples) -> Tensor:
        """Rows that have provably no adversarial example at all: (N,) bool."""
        return torch.from_numpy(np.isposinf(self._lower(len(samples.y))))

    def _lower(self, rows: int) -> np.ndarray:
        """(N,) float64: no adversarial example is nearer; 0 for rows that were not solved."""
        return np.array([self.proofs[i].lower if i in self.proofs else 0.0 for i in range(rows)])


def _ball(threat: Threat) -> Ball:
    ball = threat.ball if isinstance(threat, TableThreat) else threat
    assert isinstance(ball, Ball)
    return ball
