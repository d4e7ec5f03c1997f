"""What `transfer` can be asked."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, model_validator

from blindspots.errors import InputError
from blindspots.experiments.transfer.words import parse_sizes, read_labels, size_words
from blindspots.records import Record
from blindspots.runs.config import Config, DataSource, ModelSource, Number, ThreatWords, setting

LabelsOf = dict[str, tuple[int | None, ...]]  # by model: the data's label of each of its outputs; None: dropped


def _sizes(said: Any) -> Any:
    """(8, 8), {"net": (8, 8)} and words in the words of the command line."""
    words = size_words(said)
    parse_sizes(words)
    return words


def _labels(said: Any) -> Any:
    return read_labels(Path(said)) if isinstance(said, str | Path) else said


class Source(Record):
    """Whose examples are made, and how."""

    name: str
    members: tuple[int, ...]  # places of the models whose scores are averaged; one: the model itself
    attack: str  # the constructor call
    access: str  # what the attack looks at: gradients, scores or labels
    queries: int | None  # labels that its substitute is trained from; None: no substitute


class Matched(Config):
    """Several models that are fed the same rows."""

    group: ClassVar[str] = "Which models and rows"

    model: tuple[str, ...] = setting(
        ...,
        "Two or more, each of them digits, digits-robust, file.pt2, file.pt (TorchScript), file.onnx, "
        "file.skops, file.py:factory or package.module:factory. With --split, architectures.",
        metavar="MODEL MODEL...",
        argument=True,
    )
    data: str = setting(
        ...,
        "The rows to attack: digits, a folder of class folders, or an .npz file with x and y. With --split, the rows "
        "to train on.",
        metavar="DATA",
    )
    rows: int | None = setting(None, "Attack only the first N rows.", metavar="N", shown="all", ge=1)
    layout: str | None = setting(
        None, "What the axes of x in an .npz file mean: nchw, nhwc, nhw, or as-is for any others.", metavar="LAYOUT",
        shown="recognised, and said",
    )  # fmt: skip
    classes: str | None = setting(
        None, "The classes in the order of the models' outputs: a,b,c or a text file, one per line.", metavar="NAMES",
        shown="the models' own names, if they have any",
    )  # fmt: skip
    split: Literal["disjoint"] | None = setting(
        None,
        "MODELs are architectures (softmax, fc:100-100, file.py:factory), each trained on both halves of --data; "
        "--test names the rows to attack.",
        shown="MODELs are trained",
    )
    test: str | None = setting(None, "With --split: the rows to attack.", metavar="DATA", shown="none")
    training_steps: int | None = setting(
        None, "With --split: batches that each network is trained on.", metavar="N", shown="by its architecture",
        ge=10, le=10**7,
    )  # fmt: skip
    resize: Annotated[tuple[str, ...], BeforeValidator(_sizes)] = setting(
        (), "HxW for models that do not take the data's size, or NAME=HxW for one. Can be repeated.", metavar="SIZE",
        shown="none: refuse these",
    )  # fmt: skip
    labels: Annotated[LabelsOf, BeforeValidator(_labels)] | None = setting(
        None,
        "The data's label of each output of a model: a .json file of lists by NAME, or a .csv file with the columns "
        "model, output, label.",
        metavar="FILE",
        shown="as they are",
    )
    sizes: tuple[tuple[int, int] | None, ...] = setting(
        (), "The size that each model is given; None: that of the data.", hidden=True
    )
    outputs: tuple[tuple[int | None, ...] | None, ...] = setting(
        (), "The label of each output of each model; None: as they are.", hidden=True
    )
    bounds: tuple[float, float] = setting((0.0, 1.0), "Of the inputs of all models.", hidden=True)
    class_count: int = setting(0, "How many classes the models tell apart.", hidden=True)

    @model_validator(mode="after")
    def _split_has_rows_to_attack(self) -> Self:
        if (self.split is None) != (self.test is None):
            raise InputError(
                "expected --split disjoint together with --test DATA, got one without the other: --data is what is "
                "trained on, --test what is attacked"
            )
        return self

    @property
    def attacked(self) -> str:
        """Which of the data."""
        return "test" if self.split else "data"

    def models(self) -> dict[str, ModelSource]:
        named = () if self.split else self.model
        return {f"model/{i}": ModelSource(spec, self.device) for i, spec in enumerate(named, 1)}

    def datasets(self) -> dict[str, DataSource]:
        if self.test is None:
            return {"data": self._source(self.data, self.rows)}
        return {"data": self._source(self.data, None), "test": self._source(self.test, self.rows)}

    def _source(self, spec: str, rows: int | None) -> DataSource:
        return DataSource(spec, rows, self.layout, self.classes, bound=not self.labels)


class TransferConfig(Matched):
    group: ClassVar[str] = "How examples are made"

    threat: ThreatWords = setting(
        ..., "What may change: linf:8/255, l2:0.5, l1:12 or l0:10; without a radius, the smallest change. Of texts "
        "words:0.15, chars:2, edits:3 or trigger:WORDS.",
        metavar="THREAT",
    )  # fmt: skip
    candidates: str | None = setting(
        None, "What may stand in the place of a word or character of a text, the same for all models.",
        metavar="SOURCES", shown="synonyms for words, typo for chars, edits for edits",
    )  # fmt: skip
    limits: str = setting("", "Digest of the files that candidates are from.", hidden=True)
    attack: str | None = setting(
        None, "Of models with gradients; see `blindspots list`. The others get one that fits them.", metavar="ATTACK",
        shown="mifgsm with a radius, fmn without, greedy for texts",
    )  # fmt: skip
    amplify: Number | None = setting(
        None, "Bring the smallest changes to this root mean square per value, such as 0.1.", metavar="RMS",
        shown="as found",
    )  # fmt: skip
    targeted: bool = setting(False, "Towards one wrong class per row.")
    targets: str | None = setting(
        None, "Which wrong class: random, runner-up, least-likely or class:number=7.", metavar="RULE",
        shown="random if targeted",
    )  # fmt: skip
    restarts: int = setting(1, "Searches per row; the best is fed.", metavar="N", ge=1, le=10**6)
    ensemble: bool = setting(False, "Also for the average of all models' scores, and of all but each one.")
    surrogate: int | None = setting(
        None, "Make the examples of models without gradients on a substitute, trained from N of their labels.",
        metavar="N", shown="by asking them", ge=1, le=10**15,
    )  # fmt: skip
    slots: int | None = setting(None, "Rows in flight.", metavar="N", shown="by the size of an input", ge=1, le=2**20)
    sources: tuple[Source, ...] = setting((), "For whom examples are made: models, then their averages.", hidden=True)

    @property
    def names(self) -> list[str]:
        """Of the models, in the order of the matrix."""
        return [source.name for source in self.sources[: len(self.sizes)]]

    def words(self, kind: str) -> list[str]:
        return [kind, Path(self.test or self.data).name, self.threat]
