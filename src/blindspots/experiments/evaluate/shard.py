"""The rows of one part of an evaluation, from the clean inputs to the columns that are stored."""

import math
import time
from collections.abc import Generator

import torch
from torch import Tensor

from blindspots.engine.cascade import Board, Cascade, Live, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.loop import Allowance, Settings, patience_of
from blindspots.engine.shard import looks_after, shard_columns
from blindspots.errors import InputError
from blindspots.experiments.evaluate.asking import foreseen, seconds_left
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.setup import check_box, goal_of, threat_of
from blindspots.models.endpoints import Endpoint
from blindspots.models.guarded_queries import GuardedQueries
from blindspots.oracle import Oracle
from blindspots.records import Share
from blindspots.runs.experiment import Columns, Part
from blindspots.runs.folder import Folder
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World
from blindspots.sounds import DEPTHS

_SEARCHING = 0.9  # of the time: after it, successes are looked at once more


class ShardSearch:
    """The rows of one part, from the clean inputs to the columns that are stored."""

    def __init__(self, config: Batched, world: World, part: Part, stages: tuple[Stage, ...], needs: Parts) -> None:
        self.config, self.world, self.part, self.stages = config, world, part, stages
        self.waits = isinstance(needs.files, Folder)

    def columns(self, kept: Columns | None) -> Generator[Columns, None, Columns]:
        """Stage after stage; the state between two of them is what an interrupted part goes on from."""
        c, world = self.config, self.world
        self._begin_service()
        oracle = Oracle(
            world.model, bf16=c.precision == "bf16", channels_last=c.channels_last, compile=c.compile,
            chunk=c.chunk or 1, draws=c.draws or 1, goal=goal_of(world, c),
        )  # fmt: skip
        patience = patience_of(world.model.device)
        cascade = Cascade(
            oracle, threat_of(world), self.stages, seed=c.seed,
            settings=Settings(c.slots or 1, row_budget=c.row_budget, patience=patience),
            allowance=self._allowance(oracle), watch=self._tell,
        )  # fmt: skip
        with oracle.session():
            samples = self._samples()
            board, seconds = yield from self.searched(cascade, samples, kept)
            columns = shard_columns(oracle, samples, board, c.seed, depth=DEPTHS[c.depth] if c.depth else None)
        self._check_service()
        for stage, took in zip(self.stages, seconds, strict=True):
            world.timing[stage.name] = world.timing.get(stage.name, 0.0) + took
        columns |= self.more(samples, columns) | self._watched()
        return {**columns, "chunk": torch.tensor([oracle.chunk if oracle.shrunk else c.chunk])}

    def searched(
        self, cascade: Cascade, samples: Samples, kept: Columns | None
    ) -> Generator[Columns, None, tuple[Board, list[float]]]:
        """The board after all stages and the seconds of each; yields states in between."""
        return cascade.stages_of(samples, kept)

    def more(self, samples: Samples, columns: Columns) -> Columns:
        """What is kept besides of rows of this kind."""
        return {}

    def _watched(self) -> Columns:
        """What a guard of queries found."""
        model = self.world.model
        return {"shared": model.history["shared"]} if isinstance(model, GuardedQueries) else {}

    def _samples(self) -> Samples:
        rows, device = self.part.rows, self.world.model.device
        x, y = (t.to(device) for t in self.world.data.rows(rows.start, rows.stop))
        threat = threat_of(self.world)
        if self.config.of_values or isinstance(self.world.model.box.lo, Tensor):  # else preflight says so
            check_box(x, threat, rows.start)
        return Samples.within(threat, torch.arange(rows.start, rows.stop, device=x.device), x, y)

    def _tell(self, live: Live) -> None:
        self._check_service()
        done = live.rows - live.standing
        stand = Share.of(live.standing, live.rows)
        said = f"stage {live.stage}, {live.left:,} of {live.entered:,} rows through; at most {stand.share:.1%} robust"
        self.world.tell(Progress(self.part.name, said + self._foreseen(live), done, len(self.part.rows)))

    def _foreseen(self, live: Live) -> str:
        """What an endpoint will have been asked in the end."""
        service = self.world.model.service
        if not isinstance(service, Endpoint):
            return ""
        forecasts = foreseen(self.config, self.world, service, self.stages)
        now = forecasts.now(self.part.name, live)
        words = forecasts.in_words(now)
        if forecasts.is_due(now):
            self.world.say(f"Forecast: {words}.")
        return f"; {words}"

    def _allowance(self, oracle: Oracle) -> Allowance:
        """What the search of these rows may cost: a share fixed in advance, less what has to be looked at later."""
        c, rows, of = self.config, len(self.part.rows), len(self.world.data)
        later = oracle.cost(rows) * looks_after(oracle.goal)
        forwards = None if c.max_forwards is None else c.max_forwards * rows // of - later
        backwards = None if c.max_backwards is None else c.max_backwards * rows // of
        service = self.world.model.service
        share = self._seconds * (_SEARCHING if service else 1.0)
        return Allowance(forwards, backwards, None if share == math.inf else time.monotonic() + share)

    @property
    def _seconds(self) -> float:
        """What the search of these rows may take: their share of all."""
        c, service, share = self.config, self.world.model.service, len(self.part.rows) / len(self.world.data)
        if isinstance(service, Endpoint):
            return share * seconds_left(c, service)
        return math.inf if c.max_seconds is None else share * c.max_seconds

    def _begin_service(self) -> None:
        """An endpoint does not go on with its patience for longer than these rows may take."""
        if isinstance(service := self.world.model.service, Endpoint):
            service.begin(time.monotonic() + self._seconds)

    def _check_service(self) -> None:
        """A folder waits for a service that comes back; a run in memory ends with what it has."""
        service = self.world.model.service
        if self.waits and service and service.silent and not service.spent:
            raise InputError(
                f"expected answers from {self.world.model.name}, got none ({service.failure}): what was finished "
                "before is kept, so go on with --resume once it answers"
            )
