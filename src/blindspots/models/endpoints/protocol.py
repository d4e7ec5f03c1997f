"""How services are spoken to: what is sent for an input, what a request is, where answers lie in a reply."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.models.endpoints.reading import Said
from blindspots.models.endpoints.secrets import bare, cleaned
from blindspots.models.endpoints.transport import first_words
from blindspots.pictures import is_image, picture

Array = NDArray[Any]
Get = Callable[[str], bytes | None]
JSON = "application/json"


@dataclass(frozen=True)
class About:
    """What a service says of itself.

    Args:
        kind: what it answers, if that is known before the first query.
        classes: their number.
        class_names: their names, in order.
    """

    kind: Said | None = None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None


class Protocol(ABC):
    """Plain functions of bytes; whoever calls them speaks to the network.

    Attributes:
        levels: how many steps lie between the bounds, where inputs are sent as whole numbers; None: as they are.
        most: inputs per request, at most; None: as many as wanted.
    """

    name: ClassVar[str]
    content: ClassVar[str] = JSON
    levels: int | None = None
    most: int | None = None

    def __init__(self, url: str) -> None:
        self.base, mark, query = url.partition("?")
        self.query = mark + query
        self.shown = bare(url)  # in sentences

    @property
    @abstractmethod
    def url(self) -> str:
        """Where requests go."""

    @property
    def called(self) -> str:
        """What the model is called there."""
        return self.base.rpartition("/")[2]

    def about(self, get: Get) -> About:
        """What is known before the first query. `get` returns what lies at an address, None where there is nothing."""
        return About()

    def row(self, x: Array) -> bytes:
        """What is sent for an input (*shape), within its bounds or in whole levels: what answers are kept by."""
        return json.dumps(x.tolist()).encode()

    @abstractmethod
    def body(self, rows: Sequence[bytes], shape: tuple[int, ...]) -> bytes:
        """A request about these inputs, each of `shape`."""

    @abstractmethod
    def answers(self, reply: Any, inputs: int) -> list[Any]:
        """The answer to each input, in the parsed JSON of a reply. Raises LookupError, TypeError: it is not there."""

    def headers(self, body: bytes) -> dict[str, str]:
        """What has to be said of a request besides."""
        return {"Content-Type": self.content}

    def parsed(self, content: bytes) -> Any:
        """A reply. Raises ValueError: it is not understood."""
        return json.loads(content)

    def split(self, content: bytes, inputs: int, shown: str, secrets: frozenset[str]) -> list[bytes]:
        """The answer to each input as JSON text without secrets. Raises InputError: the reply is not understood."""
        try:
            found = self.answers(self.parsed(content), inputs)
        except (ValueError, LookupError, TypeError, RecursionError):
            raise InputError(
                f"expected an answer as {self.name} gives it from {shown}, got one that begins "
                f"{first_words(content, secrets)}: check the address and the protocol"
            ) from None
        if len(found) != inputs:
            raise InputError(f"expected {inputs} answers to {inputs} inputs from {shown}, got {len(found)}: check it")
        return [cleaned(json.dumps(one), secrets).encode() for one in found]


def checked_picture(x: Array, name: str) -> bytes:
    """An input (channels, height, width) of whole numbers 0 to 255 as the bytes of a PNG file."""
    if not is_image(x.shape):
        raise InputError(f"expected pictures (channels, height, width) for {name}, got inputs of shape {x.shape}")
    file = BytesIO()
    picture(x.astype(np.float64) / 255).save(file, "PNG")
    return file.getvalue()


class HuggingFace(Protocol):
    """Image classification of Hugging Face: one picture as base64; labels with scores come back.

    All labels are asked for; a service that gives the best few alone is understood, too.
    Source: the task's schema, https://huggingface.co/docs/inference-providers/tasks/image-classification
    """

    name: ClassVar[str] = "hf"
    levels = 255
    most = 1
    _ALL: ClassVar[int] = 100_000  # more labels than any model has

    @property
    def url(self) -> str:
        return self.base + self.query

    def row(self, x: Array) -> bytes:
        return base64.b64encode(checked_picture(x, self.name))

    def body(self, rows: Sequence[bytes], shape: tuple[int, ...]) -> bytes:
        return b'{"inputs": "%s", "parameters": {"top_k": %d}}' % (rows[0], self._ALL)

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        found = reply[0] if isinstance(reply[0], list) else reply
        if not all("label" in one and "score" in one for one in found):
            raise LookupError
        return [found]


class Rows(Protocol):
    """A list of inputs under one key, a list of answers under "predictions"."""

    key: ClassVar[bytes]

    def body(self, rows: Sequence[bytes], shape: tuple[int, ...]) -> bytes:
        return b'{"%s": [%s]}' % (self.key, b", ".join(rows))

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        found: list[Any] = reply["predictions"]
        if not isinstance(found, list):
            raise TypeError
        return found


class MLflow(Rows):
    """MLflow's scoring server: /invocations with "inputs". Source: https://mlflow.org/docs (deploy a model locally)."""

    name: ClassVar[str] = "mlflow"
    key = b"inputs"

    @property
    def url(self) -> str:
        return f"{self.base.removesuffix('/invocations')}/invocations{self.query}"

    @property
    def called(self) -> str:
        return "model"

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        """A data frame comes back as a list of records {column: value}, or as columns {column: [values]}."""
        found = reply["predictions"]
        if isinstance(found, dict):
            return [list(one) for one in zip(*found.values(), strict=True)]
        return super().answers(reply, inputs)


class KServe1(Rows):
    """KServe's first protocol and TensorFlow Serving's: MODEL:predict with "instances"."""

    name: ClassVar[str] = "kserve1"
    key = b"instances"

    @property
    def url(self) -> str:
        return f"{self.base.removesuffix(':predict')}:predict{self.query}"

    @property
    def called(self) -> str:
        return self.base.removesuffix(":predict").rpartition("/")[2]

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        """Where a model of TensorFlow has several outputs, each answer names them; those of a single one are taken."""
        return [_only(one) for one in super().answers(reply, inputs)]


def _only(answer: Any) -> Any:
    if isinstance(answer, dict) and len(answer) == 1:
        return next(iter(answer.values()))
    return answer
