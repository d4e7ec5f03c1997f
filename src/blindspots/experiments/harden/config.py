"""What `harden` can be asked."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from blindspots.runs.config import DataSource, Number, OnData, ThreatWords, setting
from blindspots.texts.threats import TEXTS

FOR_TEXTS = ("sampled", "exchanged")  # recipes; the first one is usual
MOST_TEST = 1000  # rows that judge
_USUAL = {"recipe": "fast", "protocol": "fast"}
_USUAL_FOR_TEXTS = {"recipe": FOR_TEXTS[0], "protocol": "text-fast"}


class Trained(OnData):
    group: ClassVar[str] = "How it is trained"

    recipe: str = setting(
        "", "A recipe that `blindspots list` shows, or a .toml file of your own.", metavar="NAME",
        shown="fast, or sampled for texts",
    )  # fmt: skip
    epochs: int | None = setting(None, "How long.", metavar="N", shown="as the recipe says", ge=1, le=10**9)
    from_scratch: bool = setting(False, "Begin with fresh weights, not the model's.")
    extra: str | None = setting(None, "Extra or generated rows that fill up batches.", metavar="DATA", shown="none")
    precision: Literal["float32", "bf16"] = setting("float32", "Of training; evaluations are in float32.")
    settings: str = setting("", "The whole recipe, as JSON.", hidden=True)
    devices: int = setting(1, "Processes that train together, as torchrun started them.", hidden=True)


class Judged(Trained):
    group: ClassVar[str] = "How it is judged"

    test: str | None = setting(
        None, "Rows that judge and are never trained on.", metavar="DATA",
        shown="a fifth of the data by lot; of digits, its test rows",
    )  # fmt: skip
    test_rows: int = setting(MOST_TEST, "Use at most N of them.", metavar="N", ge=1)
    protocol: str = setting(
        "", "Of the evaluations before and after.", metavar="NAME", shown="fast, or text-fast for texts"
    )
    controls: bool = setting(
        True, "Train the same network on noise, with augmentation, and for as long without either."
    )
    study_rows: int = setting(
        100, "Test rows for other norms, attacks, transfer and corruptions; 0: none.", metavar="N", ge=0
    )


class HardenConfig(Judged):
    group: ClassVar[str] = "On what"

    threat: ThreatWords = setting(
        ...,
        "What is to be withstood: linf:8/255, l2:0.5 or l1:12, or of texts words:0.15 or chars:2.",
        metavar="THREAT",
    )
    padding: Number | None = setting(
        None,
        "The value that fills up the end of shorter rows: from where on a row holds nothing else, it may not change.",
        metavar="VALUE",
        shown="no row is filled up",
    )
    candidates: str | None = setting(
        None, "What may stand in the place of a word or character of a text, as for `evaluate`.", metavar="SOURCES",
        shown="synonyms for words, typo for chars, edits for edits",
    )  # fmt: skip
    training: bool = setting(False, "Data named digits are its training rows.", hidden=True)

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, said: Any) -> Any:
        """What is usual for images and tables, or for texts; studies and controls are not made for texts."""
        if not isinstance(said, dict):
            return said
        chosen = {name: value for name, value in said.items() if name not in _USUAL or _is_said(value)}
        if _of_texts(said.get("threat")):
            return {**_USUAL_FOR_TEXTS, **chosen, "controls": False, "study_rows": 0}
        return {**_USUAL, **chosen}

    @property
    def of_texts(self) -> bool:
        return _of_texts(self.threat)

    def datasets(self) -> dict[str, DataSource]:
        asked = {"test": (self.test, self.test_rows), "extra": (self.extra, None)}
        others = {n: DataSource(s, rows, self.layout, self.classes) for n, (s, rows) in asked.items() if s is not None}
        return {"data": DataSource(self.data, self.rows, self.layout, self.classes, self.training), **others}

    def words(self, kind: str) -> list[str]:
        return [Path(self.recipe).stem, self.threat]


def _of_texts(threat: object) -> bool:
    return str(threat).partition(":")[0].strip().lower() in TEXTS


def _is_said(value: Any) -> bool:
    return value is not None and not (isinstance(value, str | list | tuple) and not value)
