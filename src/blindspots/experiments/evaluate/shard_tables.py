"""The rows of one part of an evaluation of a table: beside the verdict, what an attack finds that ignores the rules."""

from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from blindspots.engine.cascade import Board, Cascade
from blindspots.engine.jobs import Samples
from blindspots.experiments.evaluate.setup import threat_of
from blindspots.experiments.evaluate.shard import ShardSearch
from blindspots.rows import Around
from blindspots.runs.experiment import Columns
from blindspots.tables.threat import TableThreat


class TableShardSearch(ShardSearch):
    """Runs the protocol's first attack that ignores the rules once more, in the ball alone, and keeps what it finds."""

    _found: Columns

    def searched(
        self, cascade: Cascade, samples: Samples, kept: Columns | None
    ) -> Generator[Columns, None, tuple[Board, list[float]]]:
        board, seconds = yield from cascade.stages_of(samples, kept)
        oracle = cascade.oracle
        before = oracle.forwards, oracle.backwards
        self._found = self._ignorant(cascade, samples)
        spent = torch.tensor([oracle.forwards - before[0], oracle.backwards - before[1]])
        board.unbilled.add_(spent.to(board.unbilled.device))
        return board, seconds

    def more(self, samples: Samples, columns: Columns) -> Columns:
        return self._found

    def _ignorant(self, cascade: Cascade, samples: Samples) -> Columns:
        stages = tuple(replace(stage, ignores=False) for stage in self.stages if stage.ignores)[:1]
        threat = threat_of(self.world)
        assert isinstance(threat, TableThreat)
        if not stages:
            return {}
        around = threat.loosened(Around(samples.x, samples.r))
        alone = Cascade(
            cascade.oracle, threat.ball, stages, seed=cascade.seed, settings=cascade.settings,
            allowance=cascade.allowance,
        )  # fmt: skip
        board, _ = alone.run(replace(samples, r=around.r, own=None))
        fell = board.right & board.ledger.won & threat.in_ball(board.ledger.best, Around(samples.x, samples.r))
        return _columns(threat, samples, board.ledger.best, fell)


def _columns(threat: TableThreat, samples: Samples, best: Tensor, fell: Tensor) -> Columns:
    at = fell.nonzero()[:, 0]
    kept = threat.rules.kept(best[at], samples.x[at])
    found = {"ignoring_rows": at, "ignoring": best[at], "ignoring_kept": kept}
    return {name: t.cpu().contiguous() for name, t in found.items()}
