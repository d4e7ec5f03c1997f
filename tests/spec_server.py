"""A server of four protocols, written from their public descriptions and not from blindspots' own: the other side.

Open Inference Protocol 2 with its binary extension, MLflow's scoring server, TensorFlow Serving's predict API, and
image classification of Hugging Face; with the ways in which real servers differ.
"""

import base64
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
SHAPE, CLASSES = (3, 4, 5), 4
NAMES = ["ночь", "día", "朝", "soir"]
TYPES = {"FP64": "<f8", "FP32": "<f4", "FP16": "<f2", "UINT8": "u1"}


def scores(x: Array) -> Array:
    """Of one input: a small network of its own."""
    draw = torch.Generator().manual_seed(4)
    first, second = torch.randn(60, 16, generator=draw) / 3, torch.randn(16, CLASSES, generator=draw)
    flat = torch.from_numpy(np.ascontiguousarray(x, np.float32)).reshape(1, -1) - 0.5
    answer: Array = (torch.tanh(flat @ first) @ second)[0].numpy()
    return answer


def softmax(logits: Array) -> Array:
    e = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    probabilities: Array = e / e.sum(-1, keepdims=True)
    return probabilities


@dataclass
class Ways:
    """How this server answers."""

    metadata: dict[str, Any] = field(default_factory=dict)
    answer: str = "logits"  # of MLflow: logits, probabilities, labels, names, records
    signature: str = "serving_default"  # of TensorFlow Serving
    several: bool = False  # outputs of TensorFlow Serving
    most: int = 10**9  # labels of Hugging Face
    status: Callable[[int], tuple[int, dict[str, str]] | None] = lambda number: None  # in place of an answer
    drip: float = 0.0  # seconds between two bytes of an answer


def tensors(
    datatype: str = "FP32", shape: tuple[int, ...] = (-1, *SHAPE), outputs: tuple[str, ...] = ("logits",)
) -> dict[str, Any]:
    """Metadata of the Open Inference Protocol."""
    kinds = {"logits": ("FP32", [-1, CLASSES]), "half": ("FP16", [-1, CLASSES]), "label": ("INT64", [-1])}
    return {
        "name": "m",
        "versions": ["1"],
        "platform": "spec",
        "inputs": [{"name": "image", "datatype": datatype, "shape": list(shape)}],
        "outputs": [{"name": n, "datatype": kinds[n][0], "shape": kinds[n][1]} for n in outputs],
    }


class SpecServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, ways: Ways) -> None:
        ways.metadata = ways.metadata or tensors()
        self.ways, self.asked, self.requests, self.times = ways, Counter[bytes](), 0, list[float]()
        super().__init__(("127.0.0.1", 0), Talk)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def all_scores(self, x: Array) -> Array:
        self.asked.update(one.tobytes() for one in x)
        return np.stack([scores(one) for one in x])


class Talk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SpecServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send(200, self.server.ways.metadata) if self.path == "/v2/models/m" else self.send(404, {"error": "?"})

    def do_POST(self) -> None:
        content, server = self.rfile.read(int(self.headers["Content-Length"])), self.server
        server.requests += 1
        server.times.append(time.monotonic())
        if instead := server.ways.status(server.requests):
            self.send(instead[0], {"error": "not now"}, instead[1])
            return
        ways = {
            "/v2/models/m/infer": self.infer,
            "/invocations": self.invocations,
            "/v1/models/m:predict": self.predict,
        }
        try:
            said = self.classify(content) if self.path == "/hf" else ways[self.path](content)
        except (LookupError, ValueError, TypeError) as error:
            self.send(400, {"error": repr(error)})
            return
        self.send(200, said)

    def send(self, status: int, said: Any, headers: dict[str, str] | None = None) -> None:
        content = said if isinstance(said, bytes) else json.dumps(said, ensure_ascii=False).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if not self.server.ways.drip:
            self.wfile.write(content)
            return
        try:
            for byte in content:
                self.wfile.write(bytes([byte]))
                time.sleep(self.server.ways.drip)
        except OSError:  # nobody waits any more
            self.close_connection = True

    # ------------------------------------------------------------------ protocols

    def infer(self, content: bytes) -> Any:
        length = self.headers.get("Inference-Header-Content-Length")
        head, tail = (content, b"") if length is None else (content[: int(length)], content[int(length) :])
        said = json.loads(head)
        (tensor,) = said["inputs"]
        x = self._input(tensor, tail)
        declared = self.server.ways.metadata
        pixels = x / np.float32(255) if tensor["datatype"] == "UINT8" else x.astype(np.float32)
        logits = self.server.all_scores(pixels.transpose(0, 3, 1, 2) if x.shape[1:] == (4, 5, 3) else pixels)
        listed = [{"name": one["name"]} for one in declared["outputs"]] or [{"name": "label"}]
        wanted = said.get("outputs") or listed
        if wanted == [{"name": "half", "parameters": {"binary_data": True}}]:
            return self._binary(logits)
        return {"model_name": "m", "outputs": [self._output(one["name"], logits) for one in wanted]}

    def _input(self, tensor: Any, tail: bytes) -> Array:
        declared = (self.server.ways.metadata["inputs"] or [{**tensor, "shape": [-1] * len(tensor["shape"])}])[0]
        if tensor["name"] != declared["name"] or tensor["datatype"] != declared["datatype"]:
            raise ValueError("unexpected tensor")
        if any(w not in (-1, n) for w, n in zip(declared["shape"], tensor["shape"], strict=True)):
            raise ValueError("unexpected shape")
        size = tensor.get("parameters", {}).get("binary_data_size")
        if tensor["datatype"] == "FP16" and size is None:
            raise ValueError("FP16 has no form in JSON")
        x = np.array(tensor["data"]) if size is None else np.frombuffer(tail[:size], TYPES[tensor["datatype"]])
        if tensor["datatype"] == "UINT8" and not np.issubdtype(x.dtype, np.integer):
            raise ValueError("not whole")
        return x.astype(TYPES[tensor["datatype"]]).reshape(tensor["shape"])

    def _output(self, name: str, logits: Array) -> dict[str, Any]:
        if name == "label":
            return {"name": name, "datatype": "INT64", "shape": [len(logits)], "data": logits.argmax(1).tolist()}
        return {"name": name, "datatype": "FP32", "shape": list(logits.shape), "data": logits.ravel().tolist()}

    def _binary(self, logits: Array) -> bytes:
        data = logits.astype("<f2").tobytes()
        about = {"binary_data_size": len(data)}
        output = {"name": "half", "datatype": "FP16", "shape": list(logits.shape), "parameters": about}
        return json.dumps({"model_name": "m", "outputs": [output]}).encode() + data

    def invocations(self, content: bytes) -> Any:
        said = json.loads(content)
        (key,) = set(said) & {"inputs", "instances", "dataframe_split", "dataframe_records"}
        rows = said[key]["data"] if key == "dataframe_split" else said[key]
        logits = self.server.all_scores(np.array(rows, np.float32).reshape(-1, *SHAPE))
        best = logits.argmax(1)
        return {
            "predictions": {
                "logits": logits.tolist(),
                "probabilities": softmax(logits).tolist(),
                "labels": best.tolist(),
                "names": [NAMES[i] for i in best],
                "records": [dict(zip(NAMES, row, strict=True)) for row in softmax(logits).tolist()],
            }[self.server.ways.answer]
        }

    def predict(self, content: bytes) -> Any:
        said, ways = json.loads(content), self.server.ways
        if said.get("signature_name", "serving_default") != ways.signature:
            raise ValueError("no such signature")
        column = "inputs" in said
        rows = said["inputs"] if column else said["instances"]
        rows = rows["image"] if isinstance(rows, dict) else rows
        logits = self.server.all_scores(np.array(rows, np.float32).reshape(-1, *SHAPE))
        if column:
            return {"outputs": {"p": softmax(logits).tolist(), "class": logits.argmax(1).tolist()}}
        each = [{"p": p, "class": int(c)} for p, c in zip(softmax(logits).tolist(), logits.argmax(1), strict=True)]
        return {"predictions": each if ways.several else logits.tolist()}

    def classify(self, content: bytes) -> Any:
        said = json.loads(content)
        picture = Image.open(io.BytesIO(base64.b64decode(said["inputs"]))).convert("RGB")
        x = (np.asarray(picture, np.float32) / np.float32(255)).transpose(2, 0, 1)
        p = softmax(self.server.all_scores(x[None]))[0]
        best = np.argsort(-p)[: min(said.get("parameters", {}).get("top_k", 5), self.server.ways.most)]
        return [{"label": NAMES[i], "score": float(p[i])} for i in best]


@contextmanager
def speaking(**ways: Any) -> Iterator[SpecServer]:
    """The server, until the end of the context."""
    with SpecServer(Ways(**ways)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
