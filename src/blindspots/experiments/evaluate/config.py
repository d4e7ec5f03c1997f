"""What `evaluate` can be asked, and what `attack` has in common with it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from blindspots.runs.config import DataSource, ModelSource, Number, OnData, ThreatWords, setting

_BY_SIZE = "by the size of an input"
_NEXT_FILE = re.compile(r",(?=\s*\w+=)")  # a comma in a path is no end


def file_words(said: Any) -> Any:
    """{"vectors": path}, "vectors=PATH,wordnet=PATH" and several of these as ("vectors=PATH", "wordnet=PATH")."""
    if isinstance(said, Mapping):
        return tuple(f"{name}={path}" for name, path in said.items())
    words = [said] if isinstance(said, str) else said
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        return said
    return tuple(part.strip() for word in words for part in _NEXT_FILE.split(word))


class Threatened(OnData):
    """Within which threat."""

    group: ClassVar[str] = "Within which threat"

    threat: ThreatWords = setting(
        ...,
        "What may change: linf:8/255, l2:0.5, l1:12, l0:10, of tables also cost:30, of sounds snr:20 or peak:-30 (in "
        "dB), or of texts words:0.15, chars:2, edits:3 or trigger:WORDS.",
        metavar="THREAT",
    )
    where: str | None = setting(
        None,
        "What may change: a picture in the size of the inputs, white where values may change, or an .npy or .npz file "
        "of True and False.",
        metavar="FILE",
        shown="everything",
    )
    scale: str | None = setting(
        None,
        "The unit of the radius in every feature: std or mad of the data, or an .npy file of units; 0 for what may not "
        "change.",
        metavar="UNIT",
        shown="that of the inputs",
    )
    padding: Number | None = setting(
        None,
        "The value that fills up the end of shorter rows: from where on a row holds nothing else, it may not change.",
        metavar="VALUE",
        shown="no row is filled up",
    )
    candidates: str | None = setting(
        None,
        "What may stand in the place of a word or character of a text: sources such as synonyms:file=FILE or typo, "
        "limits, and keep with what never changes, joined by +.",
        metavar="SOURCES",
        shown="synonyms for words, typo for chars, edits for edits",
    )
    validity: str | None = setting(
        None,
        "What a changed text has to pass to count as valid: similarity, fluency, agreement, antonyms, changed, with "
        "settings such as changed:most=0.2, joined by +.",
        metavar="CHECKS",
        shown="all of these, or antonyms+changed for chars and edits",
    )
    features: str | None = setting(
        None,
        "A .toml file that says of every column of a table what it is, what may change in it, and what has to hold "
        "between columns; `blindspots features DATA` proposes one.",
        metavar="FILE",
        shown="every number may change",
    )
    limits: str = setting("", "Digest of the threat's bounds, units and mask of features.", hidden=True)
    rate: int | None = setting(None, "Samples per second, where the data are sounds.", hidden=True)
    depth: str | None = setting(None, "What files keep of a sample, where the data are sounds.", hidden=True)
    goal: str | None = setting(
        None,
        "What counts as a success, for a model of numbers: move:TOLERANCE, error:TOLERANCE, up:TOLERANCE, "
        "down:TOLERANCE, above:VALUE, below:VALUE, to:VALUE or to:VALUE,TOLERANCE; TOLERANCE may be a multiple of the "
        "standard deviation of y, as in move:0.5sd. For pixels:SHARE or missed:SHARE see docs/goals.md.",
        metavar="GOAL",
        shown="another class",
    )
    through: str | None = setting(
        None,
        "What inputs go through before the model: bits:depth=3, median:size=3, jpeg:quality=75 or noise:sigma=0.25, "
        "or texts: unicode, spell or synonyms; several joined by +.",
        metavar="CHANGES",
        shown="nothing",
    )

    @property
    def of_values(self) -> bool:
        """Whether a goal reads the model's outputs, which are no scores of classes."""
        return self.goal not in (None, "class")

    def models(self) -> dict[str, ModelSource]:
        return {name: replace(source, values=self.of_values) for name, source in super().models().items()}

    def datasets(self) -> dict[str, DataSource]:
        values, features = self.of_values, self.features
        return {name: replace(one, values=values, features=features) for name, one in super().datasets().items()}


class Searched(Threatened):
    """At what cost."""

    group: ClassVar[str] = "What it may cost"

    row_budget: int | None = setting(
        None, "Forwards and backwards per row.", metavar="N", shown="no limit", ge=1, le=10**15
    )
    max_forwards: int | None = setting(
        None, "Forwards of the run, shared out among its shards in advance.", metavar="N", shown="no limit", ge=1
    )
    max_backwards: int | None = setting(
        None, "Backwards of the run, shared out among its shards in advance.", metavar="N", shown="no limit", ge=1
    )
    max_seconds: Number | None = setting(
        None, "Seconds of the run, shared out in advance. Gives up determinism.", metavar="N", shown="no limit", ge=0
    )


class Paid(Searched):
    """At what price, for models behind addresses."""

    group: ClassVar[str] = "What an endpoint may cost"

    price: Decimal | None = setting(
        None, "Money per input of an endpoint, in any currency.", metavar="MONEY", shown="that of the template, or 0",
        ge=0,
    )  # fmt: skip
    max_queries: int | None = setting(
        None, "Inputs that may be sent to an endpoint, repetitions included.", metavar="N", shown="no limit", ge=1
    )
    max_paid: Decimal | None = setting(
        None, "Money that an endpoint may cost.", metavar="MONEY", shown="no limit", ge=0
    )
    answers: str | None = setting(
        None, "An sqlite file with answers of endpoints, which runs may share.", metavar="FILE",
        shown="answers.sqlite in the run folder",
    )  # fmt: skip
    rehearse: str | None = setting(
        None, "A model here that may be like the endpoint: the run is rehearsed on it, to forecast what it will cost.",
        metavar="MODEL", shown="none",
    )  # fmt: skip
    free: int = setting(0, "Inputs that cost nothing, the first ones.", hidden=True)
    expected: int | None = setting(None, "Queries of the rehearsal.", hidden=True)
    at_most: int | None = setting(None, "Queries where no row falls.", hidden=True)


class Batched(Paid):
    """How searches share calls of the network."""

    group: ClassVar[str] = "How searches share the network"

    slots: int | None = setting(None, "Rows in flight.", metavar="N", shown=_BY_SIZE, ge=1, le=2**20)
    shard_rows: int | None = setting(None, "Rows per part.", metavar="N", shown=_BY_SIZE, ge=1, le=2**20)
    precision: Literal["float32", "bf16"] = setting("float32", "Of the search; successes are confirmed in float32.")
    channels_last: bool = setting(False, "Memory layout of images.")
    compile: bool = setting(False, "Use torch.compile.")
    whole: bool = setting(False, "Shards are as large as memory allows: no other process will share them.", hidden=True)
    stages: tuple[str, ...] = setting((), "Every stage of the protocol, as it is run.", hidden=True)
    draws: int | None = setting(
        None, "Answers of a randomised model to average over.", metavar="N", shown="what the protocol says", ge=1,
        le=10**6,
    )  # fmt: skip


class EvaluateConfig(Batched):
    group: ClassVar[str] = "What is measured"

    threat: ThreatWords = setting(
        ...,
        "What may change: linf:8/255, l2:0.5, l1:12, l0:10, of tables also cost:30, of sounds snr:20 or peak:-30 (in "
        "dB), or of texts words:0.15, chars:2, edits:3 or trigger:WORDS.",
        metavar="THREAT",
        shown="that of the recipe",
        instead="recipe",
    )
    recipe: str | None = setting(
        None,
        "A published attack on texts, or a .toml file: threat, candidates and search, where they are not named; "
        "`blindspots list` shows them.",
        metavar="NAME",
        shown="none",
    )
    files: Annotated[tuple[str, ...], BeforeValidator(file_words)] = setting(
        (), "What the recipe reads: vectors=PATH, wordnet=PATH or model=FOLDER.", metavar="NAME=PATH", shown="none"
    )

    protocol: str | None = setting(
        None, "Which attacks, in which order; `blindspots list` shows them.", metavar="NAME",
        shown="exact where it can be proved, else fast, or blackbox-* for a model without gradients",
    )  # fmt: skip
    chosen: bool = setting(False, "No protocol was named.", hidden=True)
    radii: int | None = setting(
        None,
        "For a model of numbers: within how many smaller radii outputs are moved, too, beside noise of that size.",
        metavar="N",
        shown="3, or 0 where every query counts",
        ge=0,
        le=100,
    )

    @model_validator(mode="before")
    @classmethod
    def _of_recipe(cls, said: Any) -> Any:
        if not isinstance(said, Mapping) or not any(_is_said(said.get(name)) for name in ("recipe", "files")):
            return said
        from blindspots.experiments.evaluate.recipes import filled  # slow, and `--help` has no time

        return filled(said)

    def words(self, kind: str) -> list[str]:
        return [*([Path(self.recipe).stem] if self.recipe else []), self.threat]


def _is_said(value: Any) -> bool:
    """Whether it is words, one or several; anything else is refused by its field."""
    return isinstance(value, str | list | tuple) and len(value) > 0
