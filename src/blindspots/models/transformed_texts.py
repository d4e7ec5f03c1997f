"""Text models behind front ends."""

import hashlib
from collections.abc import Sequence

from torch import Tensor, nn

from blindspots.models.texts import TextModel, TokenModel
from blindspots.problem import Need
from blindspots.texts.frontends.frontend import FrontEnd


class TransformedTexts(TextModel):
    """A text model behind changes of its texts: the defence as a model, to be attacked as a whole.

    It shows its answers alone, also where the model shows gradients: the changes have none, and searches among
    candidates look through them.

    Args:
        model: receives the changed texts.
        frontends: at least one, in order.
    """

    def __init__(self, model: TextModel, *frontends: FrontEnd) -> None:
        known = list(model.tokenizer.whole_words()) if isinstance(model, TokenModel) else []
        self.model, self.frontends = model, frontends
        self.changes = tuple(frontend.on(known) for frontend in frontends)
        words = "+".join(map(str, frontends))
        super().__init__(
            Behind(model),
            classes=model.classes,
            name=f"{model.name} through {words}",
            spec=None if model.spec is None else f"{model.spec}|{words}",
            class_names=model.class_names,
        )
        self.access = Need.LABEL if model.access is Need.LABEL else Need.VALUE

    @property
    def digest(self) -> str:
        parts = [self.model.digest, *(frontend.digest for frontend in self.frontends)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def forget(self) -> None:
        super().forget()
        self.model.forget()

    def changed(self, texts: Sequence[str]) -> list[str]:
        """What the model is asked about in the place of these texts."""
        for change in self.changes:
            texts = [change(text) for text in texts]
        return list(texts)

    def _asked(self, texts: list[str]) -> Tensor:
        """Different texts may become one, which is asked about once."""
        before = self.model.forwarded
        scores = self.model.of(self.changed(texts))
        self.forwarded += self.model.forwarded - before
        return scores


class Behind(nn.Module):
    """The network of the model inside another one as a submodule, so that modes and devices cover it."""

    def __init__(self, model: TextModel) -> None:
        super().__init__()
        self.net = model.net
