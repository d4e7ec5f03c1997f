"""What all studies of a model have in common."""

from typing import ClassVar

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.runs.config import DataSource, ModelSource, OnData, Words, setting


class Inspecting(OnData):
    """A model, rows that it was not trained on, and what to look at."""

    group: ClassVar[str] = "Where to look"
    compares: ClassVar[bool] = False  # with what another model says

    layer: Words = setting(
        (),
        "A layer by its name, also several; one that does not exist lists those that do.",
        metavar="NAME",
        shown="chosen by every part",
    )
    against: str | None = setting(
        None,
        "An independently trained model of the same inputs and classes, for what needs a second opinion: units, "
        "pictures and geometry.",
        metavar="MODEL",
        shown="none",
    )
    threat: str | None = setting(
        None,
        "How far inputs may move where that matters, e.g. linf:8/255 or l2:0.5.",
        metavar="THREAT",
        shown="linf of 0.1 of the range, of pictures in colour 8/255 of it",
    )

    @field_validator("against")
    @classmethod
    def _compared(cls, against: str | None) -> str | None:
        if against is not None and not cls.compares:
            raise InputError(
                f"expected one model for what only units, pictures and geometry compare two for, got {against} to "
                "compare with: leave out against"
            )
        return against

    def models(self) -> dict[str, ModelSource]:
        second = {"against": ModelSource(self.against, self.device)} if self.against else {}
        return {**super().models(), **second}


class Learning(Inspecting):
    """Also rows that networks learn from."""

    group: ClassVar[str] = "What networks learn from"

    training_data: str | None = setting(
        None,
        "Rows to train networks on, such as those that the model was trained on.",
        metavar="DATA",
        shown="of digits the other digits; else the part training takes half of --data by lot",
    )

    def datasets(self) -> dict[str, DataSource]:
        found = super().datasets()
        words = self.training_data or ("digits" if self.data == "digits" else None)
        if words is None:
            return found
        return {**found, "training_data": DataSource(words, None, self.layout, self.classes, training=True)}
