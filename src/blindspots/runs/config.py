"""Settings, each of them once: an option of the command line, a keyword in Python, a line of the manifest.

Imports nothing slow: `--help` reads it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from blindspots.errors import InputError
from blindspots.naming import meant
from blindspots.records import Record
from blindspots.texts.triggers import in_words

C = TypeVar("C", bound="Config")
_LONGEST = 60  # characters of a value in a sentence


def _ratio(said: object) -> object:
    """8/255 is a number, too."""
    top, slash, bottom = said.partition("/") if isinstance(said, str) else ("", "", "")
    try:
        return float(top) / float(bottom) if slash else said
    except (ValueError, ZeroDivisionError):
        raise ValueError("a number such as 0.03 or 8/255") from None


def _listed(said: object) -> object:
    return [word for word in said.split(",") if word.strip()] if isinstance(said, str) else said


Number = Annotated[float, BeforeValidator(_ratio), Field(allow_inf_nan=False)]  # also in words: "8/255"
Numbers = Annotated[tuple[Number, ...], BeforeValidator(_listed)]  # also in words: "0.25,0.5,1"
Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]  # also in words: "a,b"
ThreatWords = Annotated[str, BeforeValidator(in_words)]  # of a trigger in a file: the words that are in it


def setting(
    default: Any,
    about: str,
    *,
    metavar: str = "",
    shown: str = "",
    argument: bool = False,
    hidden: bool = False,
    instead: str = "",
    also: str = "",
    **limits: Any,
) -> Any:
    """A field of a configuration.

    Args:
        default: `...` for one that has to be given.
        about: one line for `--help`, the documentation and Python's docstrings.
        metavar: what stands for the value in `--help`.
        shown: in words, what a default of None comes to.
        argument: named by its place on the command line, not by an option.
        hidden: no option: it is filled in.
        instead: of one that has to be given, the setting that it may be taken from.
        also: another name of the option.
        limits: pydantic's, such as gt=0.
    """
    extra: dict[str, Any] = {
        "metavar": metavar,
        "shown": shown,
        "argument": argument,
        "hidden": hidden,
        "instead": instead,
        "also": also,
    }
    return Field(default, description=about, json_schema_extra=extra, **limits)


def is_hidden(field: FieldInfo) -> bool:
    """Whether it is filled in, and nobody asks for it."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("hidden"))


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: its name, its device, what inputs go through before it, and whether a goal reads its
    outputs as they are."""

    spec: str
    device: str | None = None
    through: str | None = None
    values: bool = False


@dataclass(frozen=True)
class DataSource:
    """Where rows come from.

    Attributes:
        training: rows to learn from, which for "digits" are the 1,297 training rows.
        bound: their labels are the model's classes; False: they stay as they are, whatever models call theirs.
        values: y are numbers that a goal compares outputs with, and no classes.
        features: a feature file, which says what the columns of a table are.
    """

    spec: str
    rows: int | None = None
    layout: str | None = None
    classes: str | None = None
    training: bool = False
    bound: bool = True
    values: bool = False
    features: str | None = None

    @property
    def is_digits_to_learn(self) -> bool:
        """The embedded rows that have no name of their own."""
        return self.training and self.spec == "digits" and self.layout is None and self.classes is None


class Config(Record):
    """All that decides the bits of a run. What changes none of them (folder, processes, progress) is no setting.

    Attributes:
        group: heading of the fields that a class declares itself, in `--help`.
        rows_of_data: the field that says how many rows of `data` there are, where these were passed from Python.
    """

    group: ClassVar[str] = "How it is run"
    rows_of_data: ClassVar[str] = "rows"

    seed: int = setting(0, "Decides all randomness.", metavar="N", ge=0, lt=2**63)
    device: str | None = setting(None, "Such as cpu, cuda or cuda:1.", metavar="DEVICE", shown="where the model is")
    threads: int | None = setting(
        None, "CPU threads of a process.", metavar="N", shown="1, or more where that is faster", ge=1, le=1024
    )
    chunk: int | None = setting(
        None, "Rows per call of the network.", metavar="N", shown="by the size of an input", ge=1, le=2**20
    )

    @model_validator(mode="before")
    @classmethod
    def _no_flag_counts(cls, said: Any) -> Any:
        """True is no 1."""
        flags = {n: v for n, v in said.items() if isinstance(v, bool)} if isinstance(said, dict) else {}
        for name, value in flags.items():
            if name in cls.model_fields and _is_number(cls.model_fields[name].annotation):
                raise InputError(f"expected a number for {name}, got {value}: change it")
        return said

    def models(self) -> dict[str, ModelSource]:
        """The models that it names, by the name of their field; of a field with several: model/1, model/2, ..."""
        return {}

    def datasets(self) -> dict[str, DataSource]:
        """The data that it names; labels of all others mean what those of the first mean.

        These are classes of the first model whose classes have names, else of the first model.
        """
        return {}

    def words(self, kind: str) -> list[str]:
        """What tells its folder from others, beside its models."""
        return [kind]


class OnData(Config):
    """One model and its rows."""

    group: ClassVar[str] = "On what"

    model: str = setting(
        ...,
        "digits, digits-robust, reviews, reviews-lstm, reviews-cnn, reviews-transformer, file.pt2, file.pt "
        "(TorchScript), file.onnx, file.skops, model.json, .ubj or .txt with trees, hf:folder, timm:folder, "
        "file.py:factory, package.module:factory, guarded:RUN, the model of a detect run with its detector, "
        "guarded-queries:MODEL, a model behind a guard that remembers queries, or an endpoint: oip:URL, "
        "mlflow:URL, kserve1:URL, hf:URL or template:FILE.toml.",
        metavar="MODEL",
        argument=True,
    )
    data: str = setting(
        ...,
        "digits, reviews, a folder of class folders, an .npz file with x and y, a .csv, .tsv or .parquet file of "
        "a table, or a .csv, .tsv, .txt, .jsonl or .parquet file of texts with labels.",
        metavar="DATA",
    )
    rows: int | None = setting(None, "Use only the first N rows.", metavar="N", shown="all", ge=1)
    layout: str | None = setting(
        None,
        "What the axes of x in an .npz file mean: nchw, nhwc, nhw, or as-is for any others. Which columns of a file to "
        "read: text=review,label=stars of texts, label=target of a table.",
        metavar="LAYOUT",
        shown="recognised, and said",
        also="--columns",
    )
    classes: str | None = setting(
        None,
        "The classes in the order of the model's outputs: a,b,c or a text file, one per line. Folders and labels are "
        "found among them by name.",
        metavar="NAMES",
        shown="the model's own names, if it has any",
    )

    def models(self) -> dict[str, ModelSource]:
        return {"model": ModelSource(self.model, self.device, getattr(self, "through", None))}

    def datasets(self) -> dict[str, DataSource]:
        return {"data": DataSource(self.data, self.rows, self.layout, self.classes)}


def _is_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))


def check_known(kind: type[Config], settings: Mapping[str, Any]) -> None:
    """Raises InputError: a setting is one that is filled in."""
    for name in settings:
        if name in kind.model_fields and is_hidden(kind.model_fields[name]):
            raise InputError(_unknown(kind, name))


def made(kind: type[C], settings: Mapping[str, Any], option: bool = False) -> C:
    """A configuration of these settings; `option`: sentences speak of --options.

    Raises:
        InputError: settings that do not fit, all of them in one sentence.
    """
    try:
        return kind(**settings)
    except ValidationError as error:
        told = [_told(kind, found, option) for found in error.errors()]
        raise InputError("; ".join(dict.fromkeys(told))) from error


def _told(kind: type[Config], error: Any, option: bool) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    called = f"--{name.replace('_', '-')}" if option else name
    if isinstance(sentence := error.get("ctx", {}).get("error"), InputError):
        return str(sentence)
    if error["type"] == "extra_forbidden":
        return _unknown(kind, name)
    if error["type"] == "missing":
        return f"expected {called}, got none: give it"
    said = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    said = re.split(", (?:unable|got) ", said)[0]
    return f"expected {said} for {called}, got {_brief(error['input'])}: change it"


def _unknown(kind: type[Config], name: str) -> str:
    known = [n for n, field in kind.model_fields.items() if not (field.is_required() or is_hidden(field))]
    return f"expected settings among {', '.join(known)}, got {name!r}{meant(name, known)}: leave it out"


def _brief(value: object) -> str:
    """On one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
