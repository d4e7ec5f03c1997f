"""What no command can be given, refused in one place before one begins."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blindspots.errors import InputError
from blindspots.files import LEFT_BEHIND, check_place, refuse_files_of_others


def check_words(words: Sequence[str]) -> None:
    """Raises InputError: a word of the command line is empty, or no file could have that name."""
    for before, word in zip(["", *words], words, strict=False):
        option = word if word.startswith("--") and word.endswith("=") else before if before.startswith("--") else ""
        if not word or option == word:
            what = f"a value for {option.rstrip('=')}" if option else "words"
            raise InputError(f"expected {what}, got an empty one: give it, or leave it out")
        if "\0" in word:
            raise InputError(f"expected words without a null byte, got {word!r}: change it")


def check_values(given: Mapping[str, Any]) -> None:
    """Raises InputError: a run that would become part of its own data, or a folder that cannot be written."""
    out = given.get("out")
    for name in ("data", "test", "extra", "heldout"):
        data = given.get(name)
        if out and data and Path(data).is_dir() and _is_inside(out, data):
            raise InputError(f"expected --out outside of the data in {data!r}, got {str(out)!r}: name another folder")
    if out and "runs" not in given:  # the file of a report is no folder
        check_place(out)
        _refuse_files_of_others(out)


def _refuse_files_of_others(out: Path) -> None:
    if not (out / "run.json").exists():
        refuse_files_of_others(out, LEFT_BEHIND)


def _is_inside(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
