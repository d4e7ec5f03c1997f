"""Who makes the parts: this process or several. Executors call tasks and know neither runs nor kinds."""

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from blindspots.errors import InputError

Tell = Callable[[Any], None]
Task = Callable[[Tell], Any]  # makes a part, writes its bytes to the store, returns something small


class Ended(NamedTuple):
    """A task that is over: what it returned; None where its worker was lost."""

    name: str
    outcome: Any


class Executor(Protocol):
    """Three functions, and how many tasks it has use for at once."""

    slots: int

    def submit(self, name: str, task: Task) -> None: ...

    def next(self, tell: Tell) -> Ended:
        """Wait for any task to end; `tell` hears what tasks say meanwhile. Raises what the task raised."""

    def close(self) -> None:
        """Stop what has not ended. It can be used again."""


class Serial:
    """One task after the other, here."""

    slots = 1

    def __init__(self) -> None:
        self._queue = deque[tuple[str, Task]]()

    def __str__(self) -> str:
        return "serial"

    def submit(self, name: str, task: Task) -> None:
        self._queue.append((name, task))

    def next(self, tell: Tell) -> Ended:
        name, task = self._queue.popleft()
        return Ended(name, task(tell))

    def close(self) -> None:
        self._queue.clear()


class Processes:
    """Workers with a pipe each and one task at a time: one that is killed loses that task, and nothing else.

    They are fresh interpreters (`python -m blindspots.runs.worker`), so that no script of a user runs twice.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise InputError(f"expected processes:N with N of at least 1, got {workers}: give a positive number")
        if sys.platform == "win32":
            raise InputError("expected Linux or macOS for processes, got Windows: use engine='serial'")
        self.slots = workers
        self._workers = dict[Connection, subprocess.Popen[bytes]]()
        self._idle, self._busy = list[Connection](), dict[Connection, str]()

    def __str__(self) -> str:
        return f"processes:{self.slots}"

    def submit(self, name: str, task: Task) -> None:
        content = _pickled(task)
        pipe = self._idle.pop() if self._idle else self._hired()
        self._busy[pipe] = name
        with suppress(BrokenPipeError, ConnectionResetError):  # killed while it was idle: `next` finds it lost
            pipe.send_bytes(content)

    def next(self, tell: Tell) -> Ended:
        while True:
            pipe: Any = wait(list(self._busy))[0]
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionResetError):
                return self._lost(pipe)
            if kind == "told":
                tell(content)
                continue
            name = self._busy.pop(pipe)
            self._idle.append(pipe)
            if kind == "raised":
                raise content
            return Ended(name, content)

    def _lost(self, pipe: Connection) -> Ended:
        self._workers.pop(pipe).wait()
        pipe.close()
        return Ended(self._busy.pop(pipe), None)

    def close(self) -> None:
        for pipe, worker in self._workers.items():
            worker.kill()  # whatever it is writing is only a draft
            worker.wait()
            pipe.close()
        self._workers, self._idle, self._busy = {}, [], {}

    def _hired(self) -> Connection:
        ours, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        command = [sys.executable, "-m", "blindspots.runs.worker", str(descriptor), *sys.path]
        worker = subprocess.Popen(
            command, pass_fds=[descriptor], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
        )  # nothing but the run's own process may write to its stdout
        theirs.close()
        pipe = Connection(ours.detach())
        self._workers[pipe] = worker
        return pipe


def _pickled(task: Task) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"expected settings that can be sent to other processes, got: {error}: use engine='serial', or define them "
            "in a module"
        ) from error


def serve(pipe: Connection) -> None:
    """Be a worker: tasks come in, outcomes and what they tell go out, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver
    with suppress(EOFError, OSError):
        while True:
            task: Task = pipe.recv()
            try:
                outcome = task(lambda event: pipe.send(("told", event)))
            except Exception as error:  # noqa: BLE001 - raised again by `next`
                pipe.send(("raised", _sendable(error)))
            else:
                pipe.send(("made", outcome))


def _sendable(error: Exception) -> Exception:
    """The exception, or where it cannot be sent, one of the same words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever classes of users raise
        return (InputError if isinstance(error, InputError) else RuntimeError)(str(error))
    return error
