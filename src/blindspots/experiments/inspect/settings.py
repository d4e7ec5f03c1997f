"""What all studies of a model have in common."""

from typing import ClassVar

from blindspots.runs.config import ModelSource, OnData, Words, setting


class Inspecting(OnData):
    """A model, rows that it was not trained on, and what to look at."""

    group: ClassVar[str] = "Where to look"

    layer: Words = setting(
        (),
        "A layer by its name, also several; one that does not exist lists those that do.",
        metavar="NAME",
        shown="chosen by every part",
    )
    against: str | None = setting(
        None,
        "An independently trained model of the same inputs and classes, for what needs a second opinion.",
        metavar="MODEL",
        shown="none",
    )
    threat: str | None = setting(
        None,
        "How far inputs may move where that matters, e.g. linf:8/255 or l2:0.5.",
        metavar="THREAT",
        shown="linf of 0.1 of the range, of pictures in colour 8/255 of it",
    )

    def models(self) -> dict[str, ModelSource]:
        second = {"against": ModelSource(self.against, self.device)} if self.against else {}
        return {**super().models(), **second}
