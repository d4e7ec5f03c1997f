"""Which is faster for a model: one thread or several, this process or workers. Decided by timing a few calls."""

import os
import time
from dataclasses import dataclass

import torch

from blindspots.engine.threads import free_threads, set_threads
from blindspots.errors import InputError
from blindspots.models.foreign import own_randomness
from blindspots.models.model import Model
from blindspots.objective import margin
from blindspots.problem import Need
from blindspots.runs.executors import Executor, Processes, Serial
from blindspots.runs.world import World

START = 5.0  # seconds until workers have imported torch and opened the model
_WORTH = 1.15  # by how much more threads have to be faster
_CALLS = 3
_ROWS = 16


@dataclass(frozen=True)
class Pace:
    """How a run is made, and why.

    Attributes:
        threads: CPU threads of every process.
        said: the reason in one sentence; "" where it was asked for.
    """

    executor: Executor
    threads: int
    said: str = ""


def chosen(engine: str | None, threads: int | None, world: World, independent: int, passes: float) -> Pace:
    """The executor and the threads for a run.

    Args:
        engine: "serial", "processes" or "processes:N"; None: what is faster.
        threads: of a process; None: what is faster.
        independent: parts that can be made at the same time.
        passes: about how many forwards the whole run takes; 0: nobody knows.
    """
    if engine is not None:
        executor = executor_of(engine)
        alone = isinstance(executor, Serial)
        return Pace(executor, threads or (_fitting_threads(world) if alone else 1))
    processors = processors_of()
    workers = min(processors, independent)
    if workers < 2 or not passes or threads not in (None, 1) or _must_stay(world):
        return Pace(Serial(), threads or _fitting_threads(world))
    seconds = passes * seconds_per_row(world.model, world, 1)
    parallel = START + seconds / workers
    told = f"about {seconds:.0f} s with one process, {parallel:.0f} s with {workers}"
    if parallel < seconds and world.reopens():
        return Pace(Processes(workers), 1, f"{workers} processes of one thread each: {told}")
    return Pace(Serial(), threads or _fitting_threads(world), f"one process: {told}" if seconds > START else "")


def executor_of(engine: str) -> Executor:
    """Raises InputError: it is neither "serial" nor "processes" nor "processes:N"."""
    name, _, count = engine.partition(":")
    if engine == "serial":
        return Serial()
    if name == "processes" and (count.isdecimal() or engine == name):
        return Processes(int(count) if count else processors_of())
    raise InputError(f"expected serial, processes or processes:N as the engine, got {engine!r}: choose one of these")


def processors_of() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _must_stay(world: World) -> bool:
    return world.device != "cpu" or bool(world.model.service) or bool(world.unsendable())


def _fitting_threads(world: World) -> int:
    """1, or all that are free where these are clearly faster."""
    free = free_threads()
    if free == 1 or not world.config.models() or not world.config.datasets() or world.model.service:
        return free
    if world.device != "cpu":
        return free
    one, many = (seconds_per_row(world.model, world, threads) for threads in (1, free))
    return free if one > _WORTH * many else 1


def seconds_per_row(model: Model, world: World, threads: int) -> float:
    """Of a forward (and of a backward, where there is one), the least of a few calls."""
    rows = next(iter(world.rows.values()))
    x = rows.rows(0, min(_ROWS, len(rows)))[0].to(model.device)
    with set_threads(threads), model.borrowed(), own_randomness(model.device, seed=0):
        return min(_timed(model, x) for _ in range(_CALLS)) / len(x)


def _timed(model: Model, x: torch.Tensor) -> float:
    model.forget()
    began = time.perf_counter()
    if model.access is Need.GRAD:
        with torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            logits = model.logits(at)
            total = logits if model.output == "values" else margin(logits, logits.argmax(1))
            model.gradient(total.sum(), at)
    else:
        with torch.no_grad():
            model.logits(x)
    return time.perf_counter() - began
