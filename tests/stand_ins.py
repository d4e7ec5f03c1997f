"""Services for tests: blindspots' own server on a free port of the loopback, with faults that the product has not."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar

import numpy as np
import torch

import blindspots as bs
from blindspots.serving import Served, Server
from blindspots.serving.server import Handler
from small_run import Net, inputs

TOKEN = "a-token-that-nobody-may-see"
ROWS = 6
FAULTS = ("429", "500", "time-out", "torn")
SLOW = 0.25  # seconds, more than a client waits
FAST = {"wait": 0.005, "timeout": 0.15, "batch": 4, "concurrency": 3, "retries": 9}


S = TypeVar("S", bound=Server)


class Stand(Server):
    """A server that counts what it would charge for, and what it was asked, by hash.

    Args:
        share: of requests that meet a fault, by their number.
        before: called with every input before it is answered; returns a status to answer with instead, or None.
    """

    def __init__(self, served: Served, share: float = 0.0, before: Callable[[bytes], int | None] | None = None) -> None:
        super().__init__(served, handler=Faulty)
        self.share, self.before, self.lock = share, before, Lock()
        self.requests, self.billed, self.asked, self.met = 0, 0, Counter[str](), Counter[str]()

    def fault(self) -> str | None:
        """Of this request: evenly spread, one kind after the other."""
        with self.lock:
            self.requests += 1
            due = int(self.requests * self.share) - int((self.requests - 1) * self.share)
            kind = FAULTS[sum(self.met.values()) % len(FAULTS)] if due else None
            self.met.update([kind] if kind else [])
            return kind


class Faulty(Handler):
    server: Stand

    def do_POST(self) -> None:  # noqa: N802
        server, fault = self.server, self.server.fault()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": f"{self.headers.get('Authorization')} is no token"})
        elif fault in ("429", "500"):
            self.answer(int(fault), {"error": fault})
        elif (status := server.before(content) if server.before else None) is not None:
            server.billed += status in (403, 406)
            self.answer(status, {"error": "declined"})
        else:
            self._answer(content, fault)

    def _answer(self, content: bytes, fault: str | None) -> None:
        server, way = self.server, self.server.served.post(self.path)
        assert way is not None
        said = way(content, self.headers.get("Content-Type", ""))
        with server.lock:
            server.billed += inputs_in(content)
            server.asked[hashlib.sha256(content).hexdigest()] += 1
        if fault == "time-out":
            time.sleep(SLOW)
        if fault == "torn":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
            self.close_connection = True
            return
        try:
            self.answer(200, said)
        except OSError:  # nobody waits any more
            self.close_connection = True


def inputs_in(content: bytes) -> int:
    """How many a request is about."""
    said = json.loads(content)
    if isinstance(said.get("inputs"), str):
        return 1
    if "instances" in said:
        return len(said["instances"])
    first = said["inputs"][0]
    return int(first["shape"][0]) if isinstance(first, dict) else len(said["inputs"])


def model() -> bs.Model:
    return bs.Model(Net(), name="small")


def data(rows: int = ROWS) -> bs.ArrayData:
    return bs.ArrayData(*inputs(rows))


@contextmanager
def standing(share: float = 0.0, before: Callable[[bytes], int | None] | None = None) -> Iterator[Stand]:
    """A service with faults, that listens until the end of the context."""
    with listening(Stand(Served(model(), data(), "small", TOKEN), share, before)) as server:
        yield server


@contextmanager
def listening(server: S) -> Iterator[S]:
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def template(folder: Path, server: Any, protocol: str, **more: Any) -> str:
    """The name of a template for one of its protocols; the token is in the environment."""
    where = {
        "oip": "/v2/models/small",
        "kserve1": "/v1/models/small",
        "mlflow": "",
        "hf": "/hf/small",
        "json": "/invocations",
    }[protocol]
    said: dict[str, Any] = {"url": f"{server.url}{where}", "protocol": protocol, **FAST, **more}
    if protocol == "json":
        said = {"body": '{"inputs": {xs}}', "scores": "predictions[*]", **said}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{protocol}.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in said.items()]
    path.write_text("\n".join([*lines, "[headers]", 'Authorization = "Bearer ${STAND_TOKEN}"']) + "\n")
    return f"template:{path}"


class AsSent(bs.BlackBox):
    """The model itself, as it answers a protocol that sends pictures of 8 bits and returns probabilities."""

    levels = 255  # type: ignore[assignment]


def itself(protocol: str) -> bs.BlackBox:
    """The model itself, known by the same answers."""
    net = model()

    def ask(x: np.ndarray) -> np.ndarray:
        scores = net.logits(torch.from_numpy(x))
        return (scores.double().softmax(1) if protocol == "hf" else scores).numpy()

    kind = AsSent if protocol == "hf" else bs.BlackBox
    return kind(ask, "probabilities" if protocol == "hf" else "scores", name="small")
