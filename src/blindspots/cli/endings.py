"""How a command ends: the one place where what was raised becomes a sentence on stderr and an exit code.

It imports nothing slow, and nothing that could be what failed.
"""

import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn, TextIO

from blindspots.errors import InputError

UNMET, BAD_INPUT, DEFECT, INTERRUPTED, CUT_OFF, TERMINATED = 1, 2, 70, 130, 141, 143
DETAILS = "fault.txt"
_LONGEST = 300  # characters of a foreign message in a sentence


class Terminated(KeyboardInterrupt):
    """SIGTERM came: whatever Ctrl-C would do, with an exit code of its own."""


class CutShortError(Exception):
    """What its cause ended was about to write to `folder`, and `again` is the command that takes it up."""

    def __init__(self, folder: Path | None, again: str) -> None:
        super().__init__(again)
        self.folder, self.again = folder, again


@contextmanager
def resumable(folder: Path, command: str) -> Iterator[None]:
    """Whatever ends the command inside, the run in `folder` goes on later, and it is said how."""
    again = command if "--resume" in sys.argv else f"{command} --resume"
    with _cut(folder, f"What is done is kept in {folder}; go on with: {again}"):
        yield


@contextmanager
def repeatable(command: str) -> Iterator[None]:
    """Whatever ends the command inside, it has to begin again, and it is said how."""
    with _cut(None, f"Nothing is kept; begin again with: {command}"):
        yield


@contextmanager
def _cut(folder: Path | None, again: str) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, InputError) or _is_an_ending(error):
            raise
        raise CutShortError(folder, again) from error


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Files that others may have changed are read inside: what does not fit together is their fault, not ours."""
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        if isinstance(error, InputError) or _is_an_ending(error) or _is_about_memory(error):
            raise
        raise InputError(
            f"expected {what} as blindspots wrote it, but its parts do not fit together ({_short(error)}): restore it "
            "or run again"
        ) from error


@contextmanager
def ending(debug: bool = False) -> Iterator[None]:
    """Leave with a sentence and an exit code, whatever is raised inside; `debug` shows the traceback as well."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich's way to say that nobody reads any more
            _leave(CUT_OFF)
        raise
    except BaseException as error:
        if _is_an_ending(error):
            raise
        if debug:
            traceback.print_exception(error)
        _end(error)


def _is_an_ending(error: BaseException) -> bool:
    """Typer's exceptions bring their exit code with them."""
    return hasattr(error, "exit_code")


def _end(raised: BaseException) -> NoReturn:
    cut = raised if isinstance(raised, CutShortError) else None
    error = raised.__cause__ or raised if cut else raised
    again = f" {cut.again}" if cut else ""
    if isinstance(error, KeyboardInterrupt):
        _say(f"Stopped.{again}")
        _leave(TERMINATED if isinstance(error, Terminated) else INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        _leave(CUT_OFF)
    if isinstance(error, InputError | OSError):
        _say(f"blindspots: {error if isinstance(error, InputError) else _about_files(error)}{again and '.' + again}")
        _leave(BAD_INPUT)
    where = _details(error, cut.folder if cut else None)
    _say(f"blindspots: {_blame(error)}. {where}{again}")
    _leave(DEFECT)


def _about_files(error: OSError) -> str:
    place = "files and folders that can be used" if error.filename is None else f"to use {str(error.filename)!r}"
    return (
        f"expected {place}, got: {error.strerror or _short(error)}. Check the path, its permissions and the room left"
    )


def _blame(error: BaseException) -> str:
    if _is_about_memory(error):
        return (
            f"the memory of this machine did not suffice ({_short(error)}); take fewer rows, or fewer at a time with "
            "--chunk where the command has it"
        )
    return f"this is a fault of blindspots, not of what you gave it ({_short(error)})"


def _is_about_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in _short(error))
    )


def _short(error: BaseException) -> str:
    """The kind and the message of an exception on one line. Its own __str__ may fail."""
    said = " ".join("".join(traceback.format_exception_only(error)).split())
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"


def _details(error: BaseException, folder: Path | None) -> str:
    """Write what a developer has to know, and say where it is."""
    for write in (lambda: _beside(folder, error), lambda: _elsewhere(error)):
        with suppress(Exception):
            return f"The details are in {write()}: please report them."
    return "The details could not be written anywhere: `blindspots --debug` shows them."


def _beside(folder: Path | None, error: BaseException) -> Path:
    if folder is None:
        raise FileNotFoundError
    path = folder / DETAILS
    path.write_text(_report(error), encoding="utf-8", errors="backslashreplace")
    return path


def _elsewhere(error: BaseException) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="blindspots-fault-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.write(_report(error))
        return file.name


def _report(error: BaseException) -> str:
    versions = [f"{name} {_version(name)}" for name in ("blindspots", "torch", "numpy", "typer", "rich", "pydantic")]
    head = [datetime.now(UTC).isoformat(timespec="seconds"), " ".join(sys.argv), platform.platform()]
    lines = [*head, f"python {platform.python_version()}", *versions, ""]
    return "\n".join(lines) + "\n" + "".join(traceback.format_exception(error))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"


def _say(text: str) -> None:
    """On one line of stderr, if anybody listens there; names of files may hold anything."""
    line = "".join(c if c.isprintable() or c == "\u00a0" else repr(c)[1:-1] for c in text)
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _leave(code: int) -> NoReturn:
    raise SystemExit(code) from None


# ------------------------------------------------------------------ of the process


def run(command: Callable[[], None]) -> NoReturn:
    """Be the process that runs a command: with streams that can be written, until its output is through."""
    _keep_standard_streams()
    signal.signal(signal.SIGTERM, _terminate)
    code: int | str | None = 0
    try:
        with ending():
            command()
    except SystemExit as error:
        code = error.code
    sys.exit(_flushed(sys.stdout) or _flushed(sys.stderr) or code)


def _terminate(*_: object) -> None:
    raise Terminated


def _keep_standard_streams() -> None:
    """Where a shell closed one, it goes to nowhere: else the next file that is opened would take its place. What the
    locale has no sign for is printed as "?"."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or os.fdopen(descriptor, "w")
        stream.reconfigure(errors="replace")
        setattr(sys, name, stream)


def _flushed(stream: TextIO) -> int:
    """0, or the exit code where what was printed cannot be delivered."""
    try:
        stream.flush()
    except (OSError, ValueError) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python tries again at its end
        if isinstance(error, BrokenPipeError):
            return CUT_OFF
        _say(f"blindspots: expected to print the result, got: {_short(error)}. Make room, or print elsewhere")
        return BAD_INPUT
    return 0
