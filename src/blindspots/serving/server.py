"""The server itself: one thread per connection, one model behind a lock, a token at the door."""

import hmac
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

import torch

from blindspots.data import Dataset
from blindspots.data.names import telling
from blindspots.models.binding import names_of
from blindspots.models.foreign import own_state
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.pictures import is_image
from blindspots.serving.replies import (
    Array,
    RefusedError,
    RequestError,
    SeveralError,
    labelled,
    metadata,
    open_inference,
    predictions,
)

_LONGEST = 1 << 28  # bytes of a request
_CHUNK = 16  # rows in every call of the network, so that an answer does not depend on what it is asked with
_QUIET = 30.0  # seconds until a silent connection is closed


@dataclass(frozen=True)
class Served:
    """A model to be served.

    Args:
        model: it answers with its logits.
        data: tells the shape of inputs and the names of classes; no row of it is shown to anybody.
        name: in addresses.
        token: that requests must bring, as Authorization: Bearer TOKEN; None: anybody may ask.
    """

    model: Model
    data: Dataset
    name: str
    token: str | None

    @cached_property
    def oracle(self) -> Oracle:
        return Oracle(self.model, chunk=_CHUNK)

    @cached_property
    def lock(self) -> Lock:
        return Lock()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.data.shape)

    @cached_property
    def classes(self) -> int:
        """How many there are, by the answer to one row, which is no query."""
        with self.lock, own_state(), self.oracle.session():
            return self.oracle.logits(self.data.rows(0, 1)[0].to(self.oracle.device)).shape[1] - self.model.rejects

    @cached_property
    def class_names(self) -> Sequence[str] | None:
        return names_of(self.model) or telling(self.data.class_names)

    @property
    def paths(self) -> dict[str, str]:
        """How `blindspots evaluate` names it, by protocol, with {url} for the address of the server."""
        found = {
            "oip": f"oip:{{url}}/v2/models/{self.name}",
            "kserve1": f"kserve1:{{url}}/v1/models/{self.name}",
            "mlflow": "mlflow:{url}",
        }
        return {**found, "hf": f"hf:{{url}}/hf/{self.name}"} if is_image(self.shape) else found

    def ask(self, x: Array) -> Array:
        """Logits (N, C) of inputs (N, *shape)."""
        if self.model.rejects and len(x) != 1:
            raise SeveralError("expected one input at a time")
        with self.lock, own_state(), self.oracle.session(), self.model.watched(), torch.no_grad():
            scores = self.oracle.logits(torch.from_numpy(x).to(self.oracle.device)).cpu()
        if self.model.rejects and int(scores.argmax(1)) == scores.shape[1] - 1:
            raise RefusedError("refused")
        answer: Array = (scores[:, :-1] if self.model.rejects else scores).numpy()
        return answer

    def get(self, path: str) -> Any:
        """What lies at a path; None: nothing."""
        if path in ("/v2", "/ping", "/v2/health/live", "/v2/health/ready", f"/v2/models/{self.name}/ready"):
            return {"name": "blindspots"}
        if path == f"/v2/models/{self.name}":
            return metadata(self.name, self.shape, self.classes, self.class_names)
        return None

    def post(self, path: str) -> Callable[[bytes, str], Any] | None:
        """What answers a request's content and type at a path; None: nothing does. It may raise RequestError."""
        names = self.class_names or [f"LABEL_{i}" for i in range(self.classes)]
        ways: dict[str, Callable[[bytes, str], Any]] = {
            f"/v2/models/{self.name}/infer": lambda c, t: open_inference(c, self.name, self.shape, self.ask),
            f"/v1/models/{self.name}:predict": lambda c, t: predictions(c, "instances", self.shape, self.ask),
            "/invocations": lambda c, t: predictions(c, "inputs", self.shape, self.ask),
        }
        if is_image(self.shape):
            ways[f"/hf/{self.name}"] = lambda c, t: labelled(c, t, names, self.shape, self.ask)
        return ways.get(path)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _QUIET
    disable_nagle_algorithm = True
    server: "Server"

    def do_GET(self) -> None:
        if self._may_enter():
            found = self.server.served.get(self.path)
            self.answer(404 if found is None else 200, {"error": "not found"} if found is None else found)

    def do_POST(self) -> None:
        content = self._content()
        if content is None or not self._may_enter():
            return
        way = self.server.served.post(self.path)
        if way is None:
            self.answer(404, {"error": "not found"})
            return
        try:
            self.answer(200, way(content, self.headers.get("Content-Type", "")))
        except RequestError as error:
            self.answer(error.status, {"error": str(error)})

    def _content(self) -> bytes | None:
        """All of it; None: it was refused, since nobody said how long it is, or it is too long."""
        said = self.headers.get("Content-Length", "")
        if not said.isdecimal() or int(said) > _LONGEST:
            self.close_connection = True
            self.answer(411 if not said.isdecimal() else 413, {"error": "expected a shorter request with its length"})
            return None
        return self.rfile.read(int(said))

    def _may_enter(self) -> bool:
        token = self.server.served.token
        if token is None or hmac.compare_digest(
            self.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()
        ):
            return True
        self.answer(401, {"error": "expected a token"})
        return False

    def answer(self, status: int, said: Any) -> None:
        """Send JSON."""
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to do: whoever asks has the report."""


class Server(ThreadingHTTPServer):
    """To be started with `serve_forever`, ended with `shutdown` and `server_close`.

    Args:
        host, port: where it listens; port 0: any that is free.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, served: Served, host: str = "127.0.0.1", port: int = 0, handler: type[Handler] = Handler
    ) -> None:
        self.served = served
        super().__init__((host, port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever leaves in the middle of a request is not worth a word."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Of this server."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"
