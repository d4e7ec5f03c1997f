"""The parts of a search for a trigger: the search, what the trigger does to rows, and controls."""

import json
from collections.abc import Callable, Generator, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.data.splits import Rows
from blindspots.experiments.evaluate.texts import examined_texts
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.fitting import packed_passes
from blindspots.experiments.universal.measure import fooled
from blindspots.experiments.universal.search import Stage
from blindspots.experiments.universal.triggers.looks import scores_of
from blindspots.experiments.universal.triggers.search import fit
from blindspots.experiments.universal.triggers.setup import Setup
from blindspots.experiments.universal.triggers.verdict import RANDOM
from blindspots.oracle import Oracle
from blindspots.packing import packed_text, unpacked_text
from blindspots.runs.experiment import Columns, Made, Part
from blindspots.runs.findings import packed
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World
from blindspots.texts.codes import as_texts

_SHOWN = 12
_CONTROLS = 40  # stream of random words


class Making:
    """One part. A method for each kind of part, found by the first word of its name."""

    def __init__(self, config: UniversalConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> None:
        self.config, self.world, self.part, self.needs, self.kept = config, world, part, needs, kept
        self.setup = Setup(config, world)
        self.fit, self.heldout = self.setup.division.fit, self.setup.division.heldout
        self.oracle = self.setup.oracle()

    def columns(self) -> Made:
        return self.MAKERS[self.part.name.partition("/")[0]](self)

    def preflight(self) -> Columns:
        s = self.setup
        examined = examined_texts(self.world).findings
        return {"findings": packed([*examined, *self.world.notes, *s.division.findings])}

    def search(self) -> Generator[Columns, None, Columns]:
        s = self.setup
        if s.given is not None:
            return {"words": packed_text(s.given.words), **packed_passes([])}
        with self.oracle.session():
            task = s.task(self.oracle)
            found = yield from fit(task, s.method, task.texts(self.fit), s.sought.words, self._tell, self.kept)
        return {"words": packed_text(task.vocabulary.phrase(found.best)), **packed_passes(found.history)}

    def _tell(self, stage: Stage) -> None:
        done = (stage.number - 1) * stage.rows + stage.seen
        self.world.tell(Progress(self.part.name, stage.said, done, len(self.part.rows)))

    # -------------------------------------------------------------- what it does

    @property
    def trigger(self) -> str:
        return unpacked_text(self.needs["search"]["words"])

    def rows(self) -> Columns:
        """Rows of the fit or held out: what the model makes of them, without and with the trigger."""
        whole = self.fit if self.part.name.startswith("fit/") else self.heldout
        rows = whole.only(list(self.part.rows))
        clean, moved = self._said(self.oracle, rows, "", self.trigger)
        return {"row": rows.at, "y": rows.take(torch.arange(len(rows)))[1], "clean": clean, "moved": moved}

    def controls(self) -> Columns:
        words = list(self._controls())
        said = self._said(self.oracle, self.heldout, *words)
        return {"words": packed_text(json.dumps(words)), "moved": torch.stack(list(said))}

    def _controls(self) -> Iterator[str]:
        """See `verdict.CONTROLS_NAMED`."""
        known, count = self.setup.vocabulary, len(self.trigger.split())
        for i in range(RANDOM):
            yield known.phrase(known.drawn(self.config.seed, i, count, _CONTROLS))
        yield known.phrase(torch.tensor(known.commonest[:count]))

    def models(self) -> Columns:
        """The trigger on another model."""
        model = self.world.seen(self.part.settings["model"])
        lot = json.loads(unpacked_text(self.needs["controls"]["words"]))[0]
        said = self._said(self.setup.oracle(model), self.heldout, "", self.trigger, lot)
        return dict(zip(("clean", "moved", "random"), said, strict=True))

    def shown(self) -> Columns:
        """Some held-out rows, fooled ones first."""
        held = self.needs.joined("heldout")
        hit = fooled(held["clean"], held["moved"], self.config.target)
        places = torch.cat([hit.nonzero()[:, 0], (~hit).nonzero()[:, 0]])[:_SHOWN]
        x, y = self.heldout.take(places)
        texts, placing = as_texts(x), self.setup.placing
        painted = placing.paint(self.trigger, texts)
        before, after = self._likely(texts), self._likely(painted)
        at = torch.tensor([placing.spans(self.trigger, text)[0][0] for text in painted])
        return {
            "row": self.heldout.at[places], "y": y, "texts": packed_text(json.dumps(painted)), "at": at,
            "prediction": before.indices, "moved_prediction": after.indices,
            "confidence": before.values, "moved_confidence": after.values,
        }  # fmt: skip

    def _likely(self, texts: list[str]) -> torch.return_types.max:
        with self.oracle.session():
            return scores_of(self.oracle, texts).softmax(1).max(1)

    def _said(self, oracle: Oracle, rows: Rows, *triggers: str) -> Iterator[Tensor]:
        """What a model makes of the rows with each trigger, "" being none: (N,) int64 each."""
        texts = as_texts(rows.take(torch.arange(len(rows)))[0])
        with oracle.session():
            for painted in self._painted(texts, *triggers):
                yield scores_of(oracle, painted).argmax(1)

    def _painted(self, texts: list[str], *triggers: str) -> Iterator[list[str]]:
        return (self.setup.placing.paint(words, texts) if words else texts for words in triggers)

    MAKERS: ClassVar[dict[str, Callable[["Making"], Made]]] = {
        "preflight": preflight, "search": search, "fit": rows, "heldout": rows, "controls": controls, "shown": shown,
        "models": models,
    }  # fmt: skip
