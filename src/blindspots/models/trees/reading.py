"""What all readers of files have in common: documents whose every field is checked, and what a reader returns."""

import json
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from blindspots.errors import InputError
from blindspots.models.trees.forest import Forest

D = TypeVar("D", bound="Document")


class Read(NamedTuple):
    """A forest, and the names of its classes where the file has them."""

    forest: Forest
    class_names: list[str] | None = None


class Document(BaseModel):
    """Fields of a file; others are passed over."""

    model_config = ConfigDict(extra="ignore")


def from_json(content: bytes, what: str) -> Any:
    """The value that JSON stands for. Raises InputError: it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected {what}, got a file that is no JSON ({error}): save the model again") from error


def parsed(kind: type[D], value: Any, what: str) -> D:
    """The fields of `value`, which should be `what`. Raises InputError: one is missing or of another type."""
    try:
        return kind.model_validate(value)
    except (ValidationError, RecursionError) as error:
        said = "it is too deep"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            said = f"{'.'.join(map(str, first['loc'])) or 'its beginning'} is wrong ({first['msg']})"
        raise InputError(f"expected {what}, but {said}: save the model again") from error


def in_column(values: Any, k: int, outputs: int) -> NDArray[np.float64]:
    """Values (n,) in column k of zeros (n, outputs). Raises InputError: there is no such column."""
    if not 0 <= k < outputs:
        raise InputError(f"expected trees for outputs 0 to {outputs - 1}, got one for {k}: save the model again")
    wide = np.zeros((len(values), outputs))
    wide[:, k] = values
    return wide
