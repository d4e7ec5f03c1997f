"""Runs on texts that were changed and sealed anew: a proof finds what was made up."""

import json
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import blindspots as bs
from blindspots.packing import packed_text, unpacked_text
from blindspots.runs.experiment import Columns
from blindspots.runs.folder import Folder
from blindspots.runs.verify import verify_files
from blindspots.texts.codes import as_codes, as_texts
from test_verify import forge

Change = Callable[[Columns], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("texts") / "run"
    bs.evaluate("reviews", data=bs.load_data("reviews", rows=40), threat="words:0.15", out=place, shard_rows=20)
    return place


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def another_candidate(columns: Columns) -> None:
    """The lattice of a broken row gets a candidate, and its adversarial text that one alone."""
    lattices = json.loads(zlib.decompress(columns["lattices"].numpy().tobytes()))
    lattice = lattices[int(columns["broken"][0])]
    first, text = lattice["places"][0], lattice["text"]
    first["may be"].append("made-up")
    (a, b), width = first["span"], columns["adversarial"].shape[1]
    columns["adversarial"][0] = as_codes([f"{text[:a]}made-up{text[b:]}"], width)[0]
    packed = zlib.compress(json.dumps(lattices).encode())
    columns["lattices"] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def zero_inside(columns: Columns) -> None:
    text = as_texts(columns["adversarial"][:1])[0]
    row = as_codes([f"{text[:3]} {text[3:]}"], columns["adversarial"].shape[1])[0]
    row[3] = 0
    columns["adversarial"][0] = row


def no_path(columns: Columns) -> None:
    kept = columns["path_of"] != 0
    for name in ("path_of", "path_place", "path_choice", "path_score"):
        columns[name] = columns[name][kept]


def put(name: str, value: float) -> Change:
    return lambda columns: columns[name].__setitem__(0, value)


def flip(name: str) -> Change:
    return lambda columns: columns.update({name: ~columns[name]})


def looser(columns: Columns) -> None:
    file = json.loads(unpacked_text(columns["validity"]))
    file["thresholds"]["similarity"]["value"] -= 0.2
    columns["validity"] = packed_text(json.dumps(file))


FORGERIES: dict[str, tuple[Change, str]] = {
    "another candidate": (another_candidate, "made of the candidates of its text"),
    "zero inside": (zero_inside, "made by exchanges"),
    "no path": (no_path, "effect of every exchange"),
    "no such candidate": (put("path_choice", 999), "effect of every exchange"),
    "no exchange": (put("path_choice", 0), "effect of every exchange"),
    "no such place": (put("path_place", -1), "effect of every exchange"),
    "no such row": (put("path_of", 99), "broken rows alone"),
    "other validity": (flip("valid"), "the stored validity"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_shard_of_texts_is_found(copy: Path, name: str) -> None:
    change, said = FORGERIES[name]
    forge(copy, change)
    problems = verify_files(Folder(copy)).problems
    assert any(re.search(said, problem) for problem in problems), problems
    assert all(problem.startswith("expected ") for problem in problems)


def test_forged_thresholds_are_found(copy: Path) -> None:
    forge(copy, looser, recount=False, part="preflight")
    problems = verify_files(Folder(copy)).problems
    assert any(re.search(r"a threshold of \S+ for similarity", problem) for problem in problems), problems
