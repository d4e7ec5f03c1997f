"""The configuration of a search for a trigger with what it names opened."""

from functools import partial
from pathlib import Path

from blindspots.batching import TEXTS_PER_CALL
from blindspots.errors import InputError
from blindspots.experiments.universal.setup import Divided
from blindspots.experiments.universal.triggers.methods import TriggerMethod, parse_trigger_method, usual_method
from blindspots.experiments.universal.triggers.placing import Placing
from blindspots.experiments.universal.triggers.sought import Sought, parse_sought
from blindspots.experiments.universal.triggers.task import TriggerTask
from blindspots.experiments.universal.triggers.vocabulary import Vocabulary, vocabulary_of
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.oracle import Oracle
from blindspots.texts.codes import as_texts
from blindspots.texts.triggers import TriggerFile, read_trigger


class Setup(Divided):
    """Of triggers, which are put into texts."""

    @property
    def model(self) -> TextModel:
        return of_texts(self.world.model)

    @property
    def sought(self) -> Sought:
        return parse_sought(self.config.threat)

    @property
    def method(self) -> TriggerMethod:
        named = self.config.method or "method" in self.world.given
        found: TriggerMethod = self.world.thing("method", parse_trigger_method) if named else usual_method(self.model)
        return found

    @property
    def given(self) -> TriggerFile | None:
        """The trigger that is only measured."""
        path = self.config.perturbation
        return None if path is None else self.world.once("given", partial(read_trigger, Path(path)))

    @property
    def placing(self) -> Placing:
        return Placing(self.sought.place, getattr(self.world.data, "fixed", None))

    @property
    def vocabulary(self) -> Vocabulary:
        return self.world.once("vocabulary", self._vocabulary)

    def _vocabulary(self) -> Vocabulary:
        places = self.division.fit.blocks()
        texts = [text for at in places for text in as_texts(self.division.fit.take(at)[0])]
        return vocabulary_of(self.model, texts)

    @property
    def chunk(self) -> int:
        """Texts at a time, which a model of texts sorts by their lengths."""
        return self.config.chunk or TEXTS_PER_CALL

    def oracle(self, model: Model | None = None) -> Oracle:
        """Of a model that remembers nothing: the bits of a part hang on no other part."""
        asked = self.model if model is None else of_texts(model)
        asked.forget()
        return Oracle(asked, chunk=self.chunk)

    def task(self, oracle: Oracle) -> TriggerTask:
        return TriggerTask(oracle, self.model, self.placing, self.vocabulary, self.config.target, self.config.seed)


def of_texts(model: Model) -> TextModel:
    """Raises InputError: it is for numbers."""
    if not isinstance(model, TextModel):
        raise InputError(
            f"expected models of texts for a trigger, got {model.name}: name one of texts, or use linf:10/255 for "
            "images"
        )
    return model
