"""The rows of one part where they are texts: their lattices are kept, and what changed of them is checked."""

from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from blindspots.engine.cascade import Board, Cascade
from blindspots.engine.jobs import Samples
from blindspots.experiments.evaluate.setup import threat_of
from blindspots.experiments.evaluate.shard import ShardSearch
from blindspots.experiments.evaluate.validity import checks_of, judged
from blindspots.models.texts import TextModel
from blindspots.runs.experiment import Columns
from blindspots.texts.codes import as_texts
from blindspots.texts.lattice import Lattice, packed
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
        lattices = torch.frombuffer(bytearray(packed(map(threat.lattice, as_texts(x)))), dtype=torch.uint8)
        checked, paths = judged(checks_of(self.world), x, columns), self._paths(threat, x, columns)
        return {"lattices": lattices, "forwarded": self._forwarded, **checked, **paths}

    def _paths(self, threat: TextThreat, x: Tensor, columns: Columns) -> Columns:
        """What every exchange of the adversarial texts does, one after the other."""
        clean, labels = as_texts(x[columns["broken"]]), columns["y"][columns["broken"]].tolist()
        pairs = zip(clean, as_texts(columns["adversarial"]), labels, strict=True)
        steps = [(i, *step) for i, pair in enumerate(pairs) for step in self._path(threat, *pair)]
        whole, scores = torch.tensor([step[:3] for step in steps]).long().view(-1, 3), [step[3] for step in steps]
        return dict(zip(("path_of", "path_place", "path_choice"), map(torch.clone, whole.T), strict=True)) | {
            "path_score": torch.tensor(scores, dtype=torch.float32)
        }

    def _path(self, threat: TextThreat, text: str, changed: str, label: int) -> Iterator[tuple[int, int, float]]:
        """Places, candidates and the label's probability after each: the exchange that alone does most comes first."""
        lattice = threat.lattice(text)
        choice = threat.choice(lattice, changed) or []
        places = [p for p, c in enumerate(choice) if c > 0]
        alone = self._probabilities([_only(lattice, choice, [p]) for p in places], label)
        order = [p for _, p in sorted(zip(alone, places, strict=True))]
        after = self._probabilities([_only(lattice, choice, order[: k + 1]) for k in range(len(order))], label)
        yield from ((p, choice[p], score) for p, score in zip(order, after, strict=True))

    def _probabilities(self, texts: list[str], label: int) -> list[float]:
        found: list[float] = self.model.of(texts).softmax(1)[:, label].tolist()
        return found


def _only(lattice: Lattice, choice: Sequence[int], places: Sequence[int]) -> str:
    """The text in which these places alone are exchanged."""
    return lattice.at([c if p in places else 0 for p, c in enumerate(choice)])
