"""Running users' code (a forward pass, a service, a factory) so that its side effects end with the call."""

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError

T = TypeVar("T")


class ModelError(InputError):
    """The code of a model raised an exception."""


def call(function: Callable[[Any], T], x: Any, what: str) -> T:
    """`function(x)`, with its side effects contained.

    Args:
        what: what is called, for the error message.

    Raises:
        ModelError: it raised something. Out-of-memory errors pass unchanged: the caller may retry with fewer rows.
    """
    if torch.compiler.is_compiling():  # a graph cannot hold what is restored below
        return function(x)
    try:
        with contained():
            return function(x)
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise
        raise ModelError(
            f"expected {what} that takes {_given(x)}, got {told(error)}: check which shape and type it expects"
        ) from error


def _given(x: Any) -> str:
    return f"inputs of shape {tuple(x.shape)}" if hasattr(x, "shape") else f"a list of {len(x)}"


@contextmanager
def contained(prints: bool = False) -> Iterator[None]:
    """A context for users' code: what it prints goes to stderr, unless it `prints`, and what it changes is restored.

    Random generators are not restored, as for any caller: see `own_randomness`.
    """
    before, stdout = _state(), sys.stdout
    filters = warnings.filters[:]
    sys.stdout = stdout if prints else sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]  # as catch_warnings does
        for (read, write), value in zip(_STATE, before, strict=True):
            if read() != value:
                write(value)


@contextmanager
def own_state() -> Iterator[None]:
    """Shields what runs inside from the caller's default dtype and device, no_grad, inference mode and autocast.

    So a run's numbers are the same wherever it is called. Afterwards everything is as the caller had it.
    """
    with ExitStack() as stack:
        stack.enter_context(contained(prints=True))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_dtype() is not torch.float32:
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(torch.device("cpu"))
        yield


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as it is, and fast
    except OSError:  # it was deleted
        return ""


def _back_to(folder: str) -> None:
    if folder:
        os.chdir(folder)


def _set_numpy_errors(kinds: dict[str, Any]) -> None:
    np.seterr(**kinds)


# What is read and restored: grad mode first, without which nothing else of torch is sure to work.
_STATE: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    (lambda: torch.is_autocast_enabled("cuda"), lambda on: torch.set_autocast_enabled("cuda", on)),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (np.geterr, _set_numpy_errors),
    (_folder, _back_to),
)


def _state() -> list[Any]:
    return [read() for read, _ in _STATE]


@contextmanager
def own_randomness(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Restores all global generators that users' code draws from; inside, they may begin at `seed`."""
    numbers, words = np.random.get_state(), random.getstate()  # noqa: NPY002 - users' code draws from it
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            if seed is not None:
                seed_everything(seed)
            yield
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(words)


def seed_everything(seed: int) -> None:
    """Seed all global generators: those of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def out_of_memory(error: BaseException) -> bool:
    """Whether fewer rows per call may help."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def told(error: BaseException) -> str:
    """An exception in one line."""
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return kind + (" ".join(str(error).split())[:300].rstrip(".") or "no message")


def own_copy(x: Tensor, given: Tensor) -> Tensor:
    """`x`, or a copy where it is the very tensor that was given: the recipient may write into it."""
    return x.clone() if x is given else x
