"""Tasks that worker processes find by their names."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindspots.errors import InputError
from blindspots.runs.executors import Tell


class FaultError(Exception):
    """Can be sent to other processes."""


class StubbornError(Exception):
    """Cannot: it takes two arguments, and keeps one."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


@dataclass(frozen=True)
class Double:
    number: int
    pause: float = 0.0

    def __call__(self, tell: Tell) -> int:
        tell(f"doubling {self.number}")
        time.sleep(self.pause)
        return 2 * self.number


@dataclass(frozen=True)
class Raising:
    kind: str

    def __call__(self, tell: Tell) -> Any:
        if self.kind == "input":
            raise InputError("expected rows, got none: pass some")
        raise FaultError("a fault") if self.kind == "fault" else StubbornError("stuck", "row 3")


@dataclass(frozen=True)
class Dying:
    """Kills the worker the first `times` times."""

    deaths: Path
    times: int

    def __call__(self, tell: Tell) -> str:
        before = self.deaths.stat().st_size if self.deaths.exists() else 0
        if before < self.times:
            self.deaths.write_bytes(bytes(before + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"


@dataclass(frozen=True)
class Where:
    def __call__(self, tell: Tell) -> tuple[int, str]:
        return os.getpid(), os.environ["OMP_NUM_THREADS"]
