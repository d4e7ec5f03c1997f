"""Files: nothing is trusted in those that are read, and ours are written whole or not at all."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from blindspots.errors import InputError

MOST_TEXT = 1 << 26  # bytes of a file that a person or a run writes as text
LEFT_BEHIND = (
    "*.draft",
    "*.unfinished.safetensors",
    "shards",
    "tensorboard",
    "log.json",
    "fault.txt",
    "answers.sqlite*",
    "queries.sqlite*",
)  # of a killed run
_SHOWN = 3  # names of files in a sentence


def check_regular(path: Path, what: str, most: int | None = None) -> None:
    """Raises InputError: there is none, it is a folder, a pipe or a device, or it has more than `most` bytes."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(f"expected {what} in {str(path)!r}, got: {said}: check the path") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"expected {what} in {str(path)!r}, which is not a regular file: name a file")
    if most is not None and found.st_size > most:
        raise InputError(
            f"expected {what} of at most {most:,} bytes, got {found.st_size:,} in {str(path)!r}: name another"
        )


def names_beside(path: Path, *endings: str) -> list[str]:
    """Names in the same folder that have one of these endings; folders have the ending "/"."""
    try:
        beside = [p.name + "/" * p.is_dir() for p in path.parent.iterdir()]
    except (OSError, ValueError):
        return []
    return sorted(name.rstrip("/") for name in beside if name.lower().endswith(endings))


def read_bytes(path: Path, what: str, most: int = MOST_TEXT) -> bytes:
    """The content of a regular file. Raises InputError: there is none, it cannot be read, or it is too large."""
    check_regular(path, what, most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"expected {what} in {str(path)!r}, got: {error.strerror}: check its permissions") from error


def read_text(path: Path, what: str) -> str:
    """The content of a UTF-8 text file. Raises InputError: it is blank, not UTF-8, or cannot be read."""
    try:
        text = read_bytes(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"expected {what} in UTF-8, but {str(path)!r} is not ({error}): save it as UTF-8") from error
    if not text.strip():
        raise InputError(f"expected {what} in {str(path)!r}, which is empty: name another file")
    return text


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either what it held before or all of it, even if the power fails."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise InputError(
            f"expected to write {len(content):,} bytes to {path}, got: {error.strerror}. "
            "What was there before is untouched: make room or name another folder, then --resume"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create it if necessary. Raises InputError where that is impossible, or nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"?")
    except (OSError, ValueError) as error:
        raise _no_place(folder, error) from error


def check_place(folder: Path) -> None:
    """Raises InputError where `make_folder` would, without creating the folder."""
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
        with TemporaryFile(dir=nearest) as file:
            file.write(b"?")
    except (OSError, ValueError) as error:
        raise _no_place(folder, error) from error


def _no_place(folder: Path, error: Exception) -> InputError:
    said = getattr(error, "strerror", None) or error
    return InputError(f"expected a folder that can be written to, got {folder}: {said}. Name another one")


def refuse_files_of_others(folder: Path, ours: Iterable[str]) -> None:
    """Raises InputError for a folder that holds anything but hidden files and names that match a pattern of `ours`."""
    if not folder.is_dir():
        return
    own = {path for pattern in ours for path in folder.glob(pattern)}
    others = sorted(path.name for path in folder.iterdir() if path not in own and not path.name.startswith("."))
    if others:
        said = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else "")
        raise InputError(f"expected a new or an empty folder for the run, but {folder} holds {said}: name another one")
