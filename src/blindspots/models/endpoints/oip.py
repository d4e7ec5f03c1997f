"""The Open Inference Protocol, version 2: KServe, Triton, MLServer, OpenVINO, TorchServe. It describes itself.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch

from blindspots.data.names import checked
from blindspots.errors import InputError
from blindspots.models.endpoints.protocol import About, Array, Get, Protocol
from blindspots.models.endpoints.reading import Said
from blindspots.models.endpoints.transport import first_words

_BINARY = {"FP16": torch.float16, "BF16": torch.bfloat16}  # JSON has no form for them
_FLOATS = ("FP32", "FP64", *_BINARY)
_WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT16", "UINT32", "UINT64")
_LABELS = (*_WHOLE, "UINT8", "BYTES", "BOOL")  # as an output


class OpenInference(Protocol):
    """A named tensor goes in, a named tensor comes back; both are in the model's metadata, as far as it has any.

    Numbers of 16 bits travel in the protocol's binary form, all others as JSON. A server that lists no tensors
    (MLServer lists only those that were written down for it) gets an input of FP32 in the shape of the data.

    Args:
        url: of the model, http://host/v2/models/NAME, also with /versions/V.
        input, output: names of the tensors, where there are several.
    """

    name: ClassVar[str] = "oip"

    def __init__(self, url: str, input: str | None = None, output: str | None = None) -> None:
        super().__init__(url)
        self.base = self.base.removesuffix("/infer")
        self._input, self._output, self.datatype = input, output, "FP32"
        self.shape: tuple[int, ...] = ()  # of a batch; none where the metadata do not tell it
        self._binary = False  # what comes back

    @property
    def url(self) -> str:
        return f"{self.base}/infer{self.query}"

    @property
    def called(self) -> str:
        return self.base.partition("/versions/")[0].rpartition("/")[2]

    def about(self, get: Get) -> About:
        content = get(self.base + self.query)
        if content is None:
            raise InputError(
                f"expected a model of the Open Inference Protocol at {self.shown}, got status 404: name it as in "
                "oip:http://host:8000/v2/models/NAME"
            )
        try:
            said = json.loads(content)
            input, output = self._tensor(said, "input", self._input), self._tensor(said, "output", self._output)
            return self._about(said, input, output)
        except InputError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError):
            raise InputError(
                f"expected the metadata of a model at {self.shown}, got {first_words(content)}: name it as in "
                "oip:http://host:8000/v2/models/NAME"
            ) from None

    def _tensor(self, said: Any, which: str, name: str | None) -> Mapping[str, Any]:
        """The tensor of that name, or the only one; nothing where no tensors are listed."""
        listed = said.get(f"{which}s") or []
        found = [one for one in listed if name in (None, one["name"])]
        if listed and len(found) != 1:
            names = ", ".join(str(one["name"]) for one in listed)
            raise InputError(
                f"expected one {which}{'' if name is None else f' {name!r}'} of the model at {self.shown}, got {names}"
                ': name an output, as in tensors = {output = "NAME"} in a template:FILE.toml, and write out a request '
                "with several inputs as its body"
            )
        tensor: Mapping[str, Any] = found[0] if found else {}
        return tensor

    def _about(self, said: Any, input: Mapping[str, Any], output: Mapping[str, Any]) -> About:
        self._input = input.get("name", self._input or "input")
        self._output = output.get("name", self._output)
        self.datatype, self._binary = input.get("datatype", "FP32"), output.get("datatype") in _BINARY
        self.shape, shape = (tuple(map(int, one.get("shape", ()))) for one in (input, output))
        self.most = self.shape[0] if self.shape and self.shape[0] > 0 else None
        self._check_type()
        names = (said.get("parameters") or {}).get("class_names")
        classes = shape[-1] if len(shape) == 2 and shape[-1] > 1 else None
        kind: Said | None = "labels" if output.get("datatype") in _LABELS and classes is None else None
        return About(kind, classes, None if names is None else tuple(checked(names, f"the classes of {self.shown}")))

    def _check_type(self) -> None:
        if self.datatype == "UINT8":
            self.levels = 255
        elif self.datatype not in _FLOATS:
            raise InputError(
                f"expected a model that takes UINT8, FP16, BF16, FP32 or FP64, got {self.datatype} at {self.shown}: "
                "put one that takes pixels or numbers before it"
            )

    def row(self, x: Array) -> bytes:
        """The numbers of the tensor in the order in which it wants them: as JSON without brackets, or binary."""
        flat = self._arranged(x).ravel()
        if kind := _BINARY.get(self.datatype):
            return torch.from_numpy(flat.copy()).to(kind).view(torch.int16).numpy().astype("<i2").tobytes()
        return json.dumps(flat.tolist())[1:-1].encode()

    def _arranged(self, x: Array) -> Array:
        """In the shape that the metadata tell, which may have the channels last, or all numbers in one line."""
        wanted = self.shape[1:]
        if not self.shape or fits(x.shape, wanted):
            return x
        if x.ndim == 3 and fits(x.transpose(1, 2, 0).shape, wanted):
            return x.transpose(1, 2, 0)
        if len(wanted) == 1 and wanted[0] in (-1, prod(x.shape)):
            return x.reshape(-1)
        raise InputError(
            f"expected inputs of shape {list(wanted)} for {self.shown}, as its metadata say, got {list(x.shape)}: use "
            "data in that shape"
        )

    def headers(self, body: bytes) -> dict[str, str]:
        if self.datatype not in _BINARY:
            return super().headers(body)
        return {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(_head(body))}

    def body(self, rows: Sequence[bytes], shape: tuple[int, ...]) -> bytes:
        sizes = (len(rows), *self._arranged(_empty(shape)).shape)
        tensor = json.dumps({"name": self._input, "shape": sizes, "datatype": self.datatype})[:-1].encode()
        output = {"name": self._output} | ({"parameters": {"binary_data": True}} if self._binary else {})
        wanted = b"" if self._output is None else b', "outputs": [' + json.dumps(output).encode() + b"]"
        if self.datatype in _BINARY:
            data = b"".join(rows)
            return b'{"inputs": [%s, "parameters": {"binary_data_size": %d}}]%s}%s' % (tensor, len(data), wanted, data)
        return b'{"inputs": [%s, "data": [%s]}]%s}' % (tensor, b", ".join(rows), wanted)

    def parsed(self, content: bytes) -> Any:
        """JSON, and behind it what came back in binary form: into the data of its tensor."""
        if not self._binary:
            return super().parsed(content)
        end = _head(content)
        reply, rest = json.loads(content[:end]), content[end:]
        for output in reply["outputs"]:
            if size := (output.get("parameters") or {}).get("binary_data_size"):
                output["data"], rest = _numbers(rest[:size], output["datatype"]), rest[size:]
        return reply

    def answers(self, reply: Any, inputs: int) -> list[Any]:
        """Data are flat or nested, row after row."""
        found = [one for one in reply["outputs"] if self._output in (None, one["name"])]
        if len(found) != 1:
            raise LookupError
        flat = list(_flat(found[0]["data"]))
        each = prod(map(int, found[0]["shape"][1:]))
        if len(flat) != each * int(found[0]["shape"][0]):
            raise LookupError
        return [flat[i : i + each] for i in range(0, len(flat), each)]


def _head(content: bytes) -> int:
    """How many bytes of JSON there are before what is binary. Raises ValueError: none."""
    return json.JSONDecoder().raw_decode(content.decode("latin-1"))[1]


def _numbers(content: bytes, datatype: str) -> list[float]:
    """Of a tensor in binary form. Raises LookupError: another one was asked for."""
    whole = torch.from_numpy(np.frombuffer(content, "<i2").astype(np.int16))
    numbers: list[float] = whole.view(_BINARY[datatype]).float().tolist()
    return numbers


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
