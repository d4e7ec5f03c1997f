"""The rows of one part where they are texts: their lattices are kept, and what changed of them is checked."""

from collections.abc import Generator, Sequence

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
        """What every exchange of the adversarial texts does, one after the other: first those that alone do most."""
        lattices = [threat.lattice(text) for text in as_texts(x[columns["broken"]])]
        pairs = zip(lattices, as_texts(columns["adversarial"]), strict=True)
        made = [(lattice, threat.choice(lattice, changed) or []) for lattice, changed in pairs]
        labels = columns["y"][columns["broken"]].tolist()
        places = [[p for p, c in enumerate(choice) if c > 0] for _, choice in made]
        alone = self._probabilities(made, [[[p] for p in each] for each in places], labels)
        orders = [[p for _, p in sorted(zip(*pair, strict=True))] for pair in zip(alone, places, strict=True)]
        after = self._probabilities(made, [[o[: k + 1] for k in range(len(o))] for o in orders], labels)
        steps = [(i, p, made[i][1][p]) for i, order in enumerate(orders) for p in order]
        whole = torch.tensor(steps).long().view(-1, 3).T
        return dict(zip(("path_of", "path_place", "path_choice"), map(torch.clone, whole), strict=True)) | {
            "path_score": torch.tensor([score for each in after for score in each], dtype=torch.float32)
        }

    def _probabilities(
        self, made: list[tuple[Lattice, list[int]]], sets: list[list[list[int]]], labels: list[int]
    ) -> list[list[float]]:
        """Of each label, once each set of places of its text is exchanged."""
        texts = [
            [_only(lattice, choice, places) for places in each]
            for (lattice, choice), each in zip(made, sets, strict=True)
        ]
        self.model.of([text for each in texts for text in each])  # in one call, after which they are remembered
        return [self.model.of(each).softmax(1)[:, y].tolist() for each, y in zip(texts, labels, strict=True)]


def _only(lattice: Lattice, choice: Sequence[int], places: Sequence[int]) -> str:
    """The text in which these places alone are exchanged."""
    return lattice.at([c if p in places else 0 for p, c in enumerate(choice)])
