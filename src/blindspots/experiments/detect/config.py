"""What `detect` can be asked."""

from typing import Any, ClassVar

from pydantic import model_validator

from blindspots.errors import InputError
from blindspots.runs.config import DataSource, Number, OnData, setting

GUARDED = "guarded-queries:"  # begins the name of a model behind a guard of queries
_DIGITS = "linf:0.15"  # as the robust network for digits was trained


class Attacked(OnData):
    """Whose examples detectors learn from, are tested on, and have to withstand."""

    group: ClassVar[str] = "What detectors learn from, and are tested and attacked by"

    train_attack: tuple[str, ...] | None = setting(
        None, "Detectors learn from what it makes. Can be repeated.", metavar="ATTACK", shown="fgsm and pgd"
    )
    test_attack: tuple[str, ...] | None = setting(
        None, "Detectors are tested on what it makes. Can be repeated.", metavar="ATTACK",
        shown="two or three others, by the threat",
    )  # fmt: skip
    protocol: str = setting(
        "adaptive", "Of the attacks that know the detector; `blindspots list` shows them.", metavar="NAME"
    )
    bare_protocol: str = setting("fast", "Of the attacks on the model alone.", metavar="NAME")


class DetectConfig(Attacked):
    group: ClassVar[str] = "What is fitted and measured"
    rows_of_data: ClassVar[str] = "data_rows"  # `rows` are those that are measured

    data: str = setting(
        ..., "Rows to fit on: digits (its training rows), a folder of class folders, or an .npz file with x and y.",
        metavar="DATA",
    )  # fmt: skip
    test: str | None = setting(
        None, "Rows to measure on.", metavar="DATA", shown="digits: its test rows; else two fifths of --data, by lot"
    )
    threat: str = setting(
        "", "What may change: linf:8/255, l2:0.5, l1:12 or l0:10.", metavar="THREAT", shown=f"digits: {_DIGITS}"
    )
    detector: tuple[str, ...] | None = setting(
        None,
        "network, activations, density, mahalanobis, dropout, squeezing, lid or mmd, with settings as in "
        "density:rows=500. Can be repeated.",
        metavar="DETECTOR",
        shown="all that can be fitted",
    )
    rows: int | None = setting(
        None, "Measure on N rows at most.", metavar="N", shown="all, of a guard of queries 100", ge=1
    )
    fit: int | None = setting(
        None, "Fit on N rows, a quarter of which sets the threshold.", metavar="N", shown="at most 2000", ge=1
    )
    fpr: Number = setting(
        0.05, "Share of clean rows, of those that set the threshold, that may be rejected.", metavar="SHARE", gt=0, lt=1
    )
    distortion_rows: int = setting(
        200, "Search for the smallest change of the first N rows.", metavar="N", ge=1, le=10**9
    )
    queries: int = setting(
        1000, "Of a guard of queries: how often an attack may ask about each row.", metavar="N", ge=2, le=10**6
    )
    data_rows: int | None = setting(None, "Rows of `data`, where it was passed from Python.", hidden=True)

    @model_validator(mode="before")
    @classmethod
    def _digits(cls, said: Any) -> Any:
        """Digits have a threat that is usual; other data have none."""
        if not isinstance(said, dict) or said.get("threat") or "data" not in said:
            return said
        if said["data"] != "digits":
            raise InputError(f"expected --threat for {said['data']}, got none: say what may change, such as linf:8/255")
        return {**said, "threat": _DIGITS}

    @property
    def _learns_from_digits(self) -> bool:
        """Named "digits" are two sets of rows: one to learn from, one to measure on."""
        return self.data == "digits" and self.data_rows is None and self.test in (None, "digits")

    def datasets(self) -> dict[str, DataSource]:
        fit = DataSource(self.data, self.data_rows, self.layout, self.classes, self._learns_from_digits)
        test = "digits" if self._learns_from_digits else self.test
        if test is None:
            return {"data": fit}
        return {"data": fit, "test": DataSource(test, self.rows, self.layout, self.classes)}

    @property
    def of_queries(self) -> bool:
        """Whether the model is behind a guard that remembers queries: then this guard is what is measured."""
        return self.model.startswith(GUARDED)

    def words(self, kind: str) -> list[str]:
        return [kind, self.threat]
