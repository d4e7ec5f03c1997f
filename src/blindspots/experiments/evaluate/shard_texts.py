"""The rows of one part where they are texts: their lattices are kept, and what changed of them is checked."""

import zlib
from collections.abc import Generator

import torch

from blindspots.engine.cascade import Board, Cascade
from blindspots.engine.jobs import Samples
from blindspots.experiments.evaluate.honest import checks_of, judged
from blindspots.experiments.evaluate.setup import threat_of
from blindspots.experiments.evaluate.shard import ShardSearch
from blindspots.models.texts import TextModel
from blindspots.runs.experiment import Columns
from blindspots.texts.codes import as_texts
from blindspots.texts.threats import TextThreat


class TextShardSearch(ShardSearch):
    """As `ShardSearch`; counts the texts that were really sent to the model, whose answers are remembered."""

    @property
    def model(self) -> TextModel:
        assert isinstance(self.world.model, TextModel)
        return self.world.model

    def searched(
        self, cascade: Cascade, samples: Samples, kept: Columns | None
    ) -> Generator[Columns, None, tuple[Board, list[float]]]:
        self._uncounted = self.model.forwarded - self._sent_before(samples, kept)
        states = cascade.stages_of(samples, kept)
        while True:
            try:
                state = next(states)
            except StopIteration as end:
                found: tuple[Board, list[float]] = end.value
                return found
            yield {**state, "forwarded": self._forwarded}

    def _sent_before(self, samples: Samples, kept: Columns | None) -> int:
        """By the attempt that is gone on with, less the clean texts, which are asked about once more."""
        return 0 if kept is None else int(kept["forwarded"]) - len(set(as_texts(samples.x)))

    @property
    def _forwarded(self) -> torch.Tensor:
        return torch.tensor([self.model.forwarded - self._uncounted])

    def more(self, samples: Samples, columns: Columns) -> Columns:
        threat, x = threat_of(self.world), samples.x.cpu()
        assert isinstance(threat, TextThreat)
        said = ",".join(threat.lattice(text).to_json() for text in as_texts(x))
        lattices = torch.frombuffer(bytearray(zlib.compress(f"[{said}]".encode())), dtype=torch.uint8)
        checked = judged(checks_of(self.world), x, columns)
        return {"lattices": lattices, "forwarded": self._forwarded, **checked}
