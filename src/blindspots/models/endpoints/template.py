"""An endpoint described in a TOML file: one of the known protocols with settings, or any JSON with a slot for x."""

import base64
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from blindspots.errors import InputError
from blindspots.files import MOST_TEXT, read_bytes
from blindspots.models.endpoints.oip import OpenInference
from blindspots.models.endpoints.protocol import Array, HuggingFace, KServe1, MLflow, Protocol, checked_picture
from blindspots.models.endpoints.reading import REFUSED, Said
from blindspots.records import Record

SLOT, SLOTS = "{x}", "{xs}"
_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+|\*)\]")


class Template(Record):
    """What such a file says.

    Attributes:
        url: of the service; ${NAME} stands for an environment variable, here, in headers and in the body.
        protocol: oip, mlflow, kserve1 or hf, whose requests need no description; json: as the next lines say.
        body: JSON with {x} for one input or {xs} for a list of them.
        input: what stands there: numbers, or a picture as base64 of a PNG file.
        scores, labels: a path to them in the answer, as in predictions[*].scores; with {xs} [*] is the inputs' axis.
        levels: whole numbers from 0 to this are sent, 255 for pixels.
        answers, classes, class_names: what the numbers mean, how many there are, whose they are.
        bounds: the smallest and the largest value of an input.
        refuses: statuses that mean "refused".
        refused: a path in the answer and a value that mean it, as in {path = "blocked", is = true}.
        price, free: money per input, and inputs that cost nothing.
        batch, concurrency, rate, timeout, retries, wait: how fast it is asked, see `Pace`.
        tensors: names of input and output for oip, where there are several.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    protocol: Literal["oip", "mlflow", "kserve1", "hf", "json"] = "json"
    name: str | None = None
    headers: dict[str, str] = {}  # noqa: RUF012
    body: str | None = None
    input: Literal["numbers", "png"] = "numbers"
    scores: str | None = None
    labels: str | None = None
    levels: int | None = Field(None, ge=1, lt=2**16)
    answers: Said | None = None
    classes: int | None = Field(None, ge=2)
    class_names: tuple[str, ...] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    refuses: tuple[int, ...] = (403, 406)
    refused: "Rule | None" = None
    price: Decimal = Field(Decimal(0), ge=0, allow_inf_nan=False)
    free: int = Field(0, ge=0)
    batch: int = Field(32, ge=1, le=10_000)
    concurrency: int = Field(4, ge=1, le=256)
    rate: float | None = Field(None, gt=0)
    timeout: float = Field(30.0, gt=0, le=3600)
    retries: int = Field(6, ge=0, le=100)
    wait: float = Field(0.25, ge=0, le=60)
    tensors: dict[Literal["input", "output"], str] = {}  # noqa: RUF012

    @model_validator(mode="after")
    def _whole(self) -> "Template":
        described = self.body is not None and (self.scores is None) != (self.labels is None)
        if (self.protocol == "json") != described:
            raise ValueError(
                "a body, and either scores or labels, for a service that follows none of the known protocols; none of "
                "these for one that does"
            )
        if self.body is not None and (self.body.count(SLOT) + self.body.count(SLOTS)) != 1:
            raise ValueError("a body with {x} or {xs} once")
        return self

    def protocol_at(self, url: str, body: str | None) -> Protocol:
        """What speaks to the service; `body` has its variables filled in."""
        if self.protocol == "oip":
            return OpenInference(url, self.tensors.get("input"), self.tensors.get("output"))
        if self.protocol != "json":
            made = KNOWN[self.protocol](url)
            made.levels = self.levels or made.levels
            return made
        return Described(url, self, body or "")


KNOWN: dict[str, Callable[[str], Protocol]] = {"mlflow": MLflow, "kserve1": KServe1, "hf": HuggingFace}


class Rule(Record):
    """A value in an answer that means "refused"."""

    path: str
    is_: str | int | float | bool = Field(alias="is")


class Described(Protocol):
    """Requests and answers as a template describes them."""

    name: ClassVar[str] = "template"

    def __init__(self, url: str, template: Template, body: str) -> None:
        super().__init__(url)
        self.template, self._body = template, body
        self.levels = template.levels or (255 if template.input == "png" else None)
        self.most = 1 if SLOT in body else None
        self._path, self._refused = template.scores or template.labels or "", template.refused

    @property
    def url(self) -> str:
        return self.base + self.query

    def row(self, x: Array) -> bytes:
        if self.template.input == "png":
            return b'"%s"' % base64.b64encode(checked_picture(x, self.name))
        return super().row(x)

    def body(self, rows: Sequence[bytes], shape: tuple[int, ...]) -> bytes:
        if self.most == 1:
            return self._body.encode().replace(SLOT.encode(), rows[0])
        return self._body.encode().replace(SLOTS.encode(), b"[" + b", ".join(rows) + b"]")

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        if self._refused is not None and self._refused.is_ in found(reply, self._refused.path, missing=True):
            return [{REFUSED: 200}] * inputs
        said = found(reply, self._path)
        return said if "[*]" in self._path and self.most != 1 else _single(said, inputs)


def _single(said: list[Any], inputs: int) -> list[Any]:
    """What a path without an axis leads to: the answer to one input, or the list of all."""
    (one,) = said if len(said) == 1 else [said]
    return [one] if inputs == 1 and not (isinstance(one, list) and len(one) == 1) else list(one)


def steps(path: str) -> list[str]:
    """A path such as predictions[*].scores in its steps. Raises InputError."""
    taken, at = [], 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise InputError(f"expected a path such as predictions[*].scores, got {path!r}: mend it at {path[at:]!r}")
        taken.append(step[1] or step[2])
        at = step.end()
    return taken


def found(reply: Any, path: str, missing: bool = False) -> list[Any]:
    """What a path leads to, everything behind [*] in order. Raises LookupError, TypeError: it leads nowhere."""
    at = [reply]
    for step in steps(path):
        try:
            at = [one for thing in at for one in _behind(thing, step)]
        except (LookupError, TypeError):
            if missing:
                return []
            raise
    return at


def _behind(thing: Any, step: str) -> list[Any]:
    if step == "*":
        if not isinstance(thing, list):
            raise TypeError
        return thing
    return [thing[int(step) if isinstance(thing, list) else step]]


def read_template(path: Path) -> Template:
    """Raises InputError: it cannot be read, or is no description of an endpoint."""
    try:
        said = tomllib.loads(read_bytes(path, "a template", MOST_TEXT).decode())
        return Template(**said)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"expected a TOML file, got {str(path)!r}: {error}: mend it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        wanted = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(
            f"expected a description of an endpoint in {str(path)!r}, but {where} does not fit ({wanted}): mend it"
        ) from error


def text_of(template: Template) -> str:
    """All that decides what is asked and which part of a reply is kept, with names of variables, not their values."""
    decisive = {"url", "protocol", "body", "input", "scores", "labels", "levels", "refuses", "refused", "tensors"}
    return json.dumps(template.model_dump(mode="json", include=decisive), sort_keys=True)
