"""What `reproduce` can be asked."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from blindspots.errors import InputError
from blindspots.runs.config import Config, DataSource, Number, setting

Rule = Literal["random", "nearest"]


class ReproduceConfig(Config):
    group: ClassVar[str] = "What is reproduced"

    experiment: Literal["szegedy-2013"] = setting(..., "Which published experiment.", argument=True)
    data: str | None = setting(None, "Training rows, such as MNIST's.", metavar="DATA", shown="scikit-learn's digits")
    test: str | None = setting(None, "Test rows; goes with --data.", metavar="DATA", shown="the other digits")
    rows: int = setting(1000, "Of each, attack at most N rows.", metavar="N", ge=1)
    targets: Rule = setting("random", "The wrong class that examples go towards.")
    decay: Number = setting(1.0, "Multiplies the weight decay of every network.", metavar="FACTOR", ge=0)
    training_steps: int | None = setting(
        None, "Batches that each network is trained on.", metavar="N", shown="by its architecture", ge=10, le=10**7
    )
    layout: str | None = setting(
        None, "What the axes of x in an .npz file mean: nchw, nhwc, nhw, or as-is for any others.", metavar="LAYOUT",
        shown="recognised, and said",
    )  # fmt: skip
    classes: str | None = setting(
        None,
        "The classes in order: a,b,c or a text file, one per line.",
        metavar="NAMES",
        shown="as the data name them",
    )
    class_count: int = setting(0, "How many classes there are.", hidden=True)
    attacks: tuple[str, ...] = setting(
        (), "The next one takes the rows that the one before did not solve.", hidden=True
    )
    recipes: dict[str, str] = setting({}, "How each network is trained.", hidden=True)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.data is None) != (self.test is None):
            raise InputError(
                "expected both --data and --test, or neither, got one of them: name training and test rows"
            )
        return self

    def datasets(self) -> dict[str, DataSource]:
        return {
            "data": DataSource(self.data or "digits", None, self.layout, self.classes, training=True),
            "test": DataSource(self.test or "digits", None, self.layout, self.classes),
        }

    def words(self, kind: str) -> list[str]:
        return [self.experiment]
