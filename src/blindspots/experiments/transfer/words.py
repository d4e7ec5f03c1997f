"""Sizes and label orders in words: what `--resize` and `--labels` are given."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blindspots.errors import InputError
from blindspots.files import read_text


def parse_sizes(texts: Sequence[str]) -> dict[str | None, tuple[int, int]]:
    """From "224x224", for every model that does not take the data's size, and "NAME=128x128", for one, to sizes."""
    sizes: dict[str | None, tuple[int, int]] = {}
    for text in texts:
        name, equals, size = text.rpartition("=")
        found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size.strip())
        if found is None:
            raise InputError(f"expected a size as in 224x224 or NAME=224x224, got {text!r}: write HEIGHTxWIDTH")
        sizes[name if equals else None] = (int(found[1]), int(found[2]))
    return sizes


def size_words(said: Any) -> tuple[str, ...]:
    """What `parse_sizes` reads, of these words, of (height, width), or of {name: (height, width)}."""
    if isinstance(said, Mapping):
        return tuple(f"{name}={'x'.join(map(str, size))}" for name, size in said.items())
    if not isinstance(said, str | Sequence):
        raise InputError(f"expected sizes for resize, got a {type(said).__name__}: pass (224, 224) or NAME=224x224")
    words = [said] if isinstance(said, str) else list(said)
    return tuple(words) if all(isinstance(word, str) for word in words) else ("x".join(map(str, words)),)


def read_labels(path: Path) -> dict[str, list[int | None]]:
    """Which of the data's labels each output of a model stands for.

    JSON: {"NAME": [label of output 0, of output 1, ...]}, null for an output to drop. CSV: the columns model, output
    and label, a line per output, without a label for an output to drop.

    Raises:
        InputError: the file is not there, or not one of these.
    """
    forms = "a .json file {NAME: [labels]} or a .csv file with the columns model, output, label"
    try:
        text = read_text(path, forms)
        found = _from_csv(text) if path.suffix.lower() == ".csv" else json.loads(text)
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise InputError(f"expected {forms}, got {str(path)!r}, which cannot be read so: {error}") from error
    if not (isinstance(found, dict) and all(map(_is_mapping, found.values()))):
        raise InputError(f"expected {forms}, got other things in {str(path)!r}: list a label or null per output")
    return found


def _from_csv(text: str) -> dict[str, list[int | None]]:
    pairs: dict[str, dict[int, int | None]] = {}
    for line in csv.DictReader(text.splitlines()):
        label = line["label"].strip()
        pairs.setdefault(line["model"].strip(), {})[int(line["output"])] = int(label) if label else None
    return {name: [of[i] for i in range(len(of))] for name, of in pairs.items()}


def _is_mapping(labels: Any) -> bool:
    return isinstance(labels, list) and all(k is None or (type(k) is int and k >= 0) for k in labels)
