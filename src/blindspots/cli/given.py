"""What no command can be given, refused in one place before one begins."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blindspots.errors import InputError
from blindspots.files import check_place, refuse_files_of_others

_MOST = {  # of counts; the seed is a 64-bit number
    "seed": 2**63 - 1, "threads": 1024, "chunk": 2**20, "slots": 2**20, "shard_rows": 2**20, "draws": 10**6,
    "restarts": 10**6, "epochs": 10**6, "several": 10**6, "samples": 10**10,
}  # fmt: skip
_USUALLY = 10**15


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
    """Raises InputError: a number that no option can mean, a run that would become part of its own data, or a folder
    that cannot be written."""
    for name, value in _numbers(given):
        _check_number(f"--{name.replace('_', '-')}", value, _MOST.get(name, _USUALLY))
    out = given.get("out")
    for name in ("data", "test", "extra", "heldout"):
        data = given.get(name)
        if out and data and Path(data).is_dir() and _is_inside(out, data):
            raise InputError(f"expected --out outside of the data in {data!r}, got {str(out)!r}: name another folder")
    if out and "runs" not in given:  # the file of a report is no folder
        check_place(out)
        _refuse_files_of_others(out)


def _refuse_files_of_others(out: Path) -> None:
    from blindspots.journal import LEFT_BEHIND  # here: help does without torch

    if not (out / "run.json").exists():
        refuse_files_of_others(out, LEFT_BEHIND)


def _numbers(given: Mapping[str, Any]) -> Iterator[tuple[str, int | float]]:
    for name, value in given.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, int | float) and not isinstance(one, bool):
                yield name, one


def _check_number(option: str, value: int | float, most: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"expected a finite number for {option}, got {value}: change it")
    if abs(value) > most:
        raise InputError(f"expected a number of at most {most:,} for {option}, got {value:,}: change it")


def _is_inside(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
