"""The Open Inference Protocol, version 2: KServe, Triton, MLServer, OpenVINO, TorchServe. It describes itself.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from blindspots.data.names import checked
from blindspots.errors import InputError
from blindspots.models.endpoints.protocol import About, Array, Get, Protocol
from blindspots.models.endpoints.reading import Said
from blindspots.models.endpoints.transport import first_words

_FLOATS, _WHOLE = ("FP32", "FP64", "FP16", "BF16"), ("INT8", "INT16", "INT32", "INT64", "UINT16", "UINT32", "UINT64")
_LABELS = (*_WHOLE, "UINT8", "BYTES")  # as an output


class OpenInference(Protocol):
    """A named tensor goes in, a named tensor comes back; both are in the model's metadata.

    Args:
        url: of the model, http://host/v2/models/NAME, also with /versions/V.
        input, output: names of the tensors, where there are several.
    """

    name: ClassVar[str] = "oip"

    def __init__(self, url: str, input: str | None = None, output: str | None = None) -> None:
        super().__init__(url.removesuffix("/infer"))
        self._input, self._output, self.datatype = input, output, "FP32"
        self.shape: tuple[int, ...] = ()

    @property
    def url(self) -> str:
        return f"{self.base}/infer"

    @property
    def called(self) -> str:
        return self.base.partition("/versions/")[0].rpartition("/")[2]

    def about(self, get: Get) -> About:
        content = get(self.base)
        if content is None:
            raise InputError(
                f"expected a model of the Open Inference Protocol at {self.base}, got status 404: name it as in "
                "oip:http://host:8000/v2/models/NAME"
            )
        try:
            said = json.loads(content)
            input, output = _one(said["inputs"], self._input), _one(said["outputs"], self._output)
            self._input, self.datatype, self.shape = input["name"], input["datatype"], tuple(map(int, input["shape"]))
            self._output, shape = output["name"], [int(n) for n in output["shape"]]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise InputError(
                f"expected the metadata of a model with one input and one output at {self.base}, got "
                f"{first_words(content)}: name its tensors, input and output, in a template:FILE.toml"
            ) from None
        self._check_type()
        names = said.get("parameters", {}).get("class_names")
        classes = shape[-1] if len(shape) == 2 and shape[-1] > 1 else None
        kind: Said | None = "labels" if output["datatype"] in _LABELS and classes is None else None
        return About(kind, classes, None if names is None else tuple(checked(names, f"the classes of {self.base}")))

    def _check_type(self) -> None:
        if self.datatype == "UINT8":
            self.levels = 255
        elif self.datatype not in _FLOATS:
            raise InputError(
                f"expected a model that takes FP32, FP64 or UINT8, got {self.datatype} at {self.base}: put one that "
                "takes pixels or numbers before it"
            )

    def row(self, x: Array) -> bytes:
        """The numbers of the tensor in the order in which it wants them, without brackets."""
        return json.dumps(self._arranged(x).ravel().tolist())[1:-1].encode()

    def _arranged(self, x: Array) -> Array:
        """In the shape that the metadata tell, which may have the channels last, or all numbers in one line."""
        wanted = self.shape[1:]
        if fits(x.shape, wanted):
            return x
        if x.ndim == 3 and fits(x.transpose(1, 2, 0).shape, wanted):
            return x.transpose(1, 2, 0)
        if len(wanted) == 1 and wanted[0] in (-1, prod(x.shape)):
            return x.reshape(-1)
        raise InputError(
            f"expected inputs of shape {list(wanted)} for {self.base}, as its metadata say, got {list(x.shape)}: use "
            "data in that shape"
        )

    def body(self, rows: Sequence[bytes], shape: tuple[int, ...]) -> bytes:
        sizes = (len(rows), *self._arranged(_empty(shape)).shape)
        head = {"name": self._input, "shape": sizes, "datatype": self.datatype}
        tensor = json.dumps(head)[:-1].encode() + b', "data": [' + b", ".join(rows) + b"]}"
        wanted = json.dumps([{"name": self._output}]).encode()
        return b'{"inputs": [' + tensor + b'], "outputs": ' + wanted + b"}"

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        """Data are flat or nested, row after row."""
        output = _one(reply["outputs"], self._output)
        flat = list(_flat(output["data"]))
        each = prod(map(int, output["shape"][1:]))
        if len(flat) != each * int(output["shape"][0]):
            raise LookupError
        return [flat[i : i + each] for i in range(0, len(flat), each)]


def _one(tensors: Any, name: str | None) -> Mapping[str, Any]:
    """The tensor of that name, or the only one."""
    found = [one for one in tensors if name is None or one["name"] == name]
    if len(found) != 1:
        raise LookupError
    one: Mapping[str, Any] = found[0]
    return one


def fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a shape is the wanted one, where -1 stands for any size."""
    return len(shape) == len(wanted) and all(w in (-1, n) for n, w in zip(shape, wanted, strict=True))


def _flat(data: Any) -> Any:
    for one in data:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def _empty(shape: tuple[int, ...]) -> Array:
    return np.empty(shape, np.uint8)
