"""How runs are kept: files that are whole at every moment, sealed, found again, and refused in words."""

import errno
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

import blindspots as bs
import small_run
from blindspots.box import to_8bit
from blindspots.errors import InputError
from blindspots.files import write_whole
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Part
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sealed, sealed_part
from blindspots.runs.store import Manifest, Parts, RunFile, begun, opened, read_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    small_run.run(folder)
    return folder


@pytest.fixture
def manifest(finished: Path) -> Manifest:
    return read_run(Folder(finished)).manifest


def begin(folder: Path, manifest: Manifest, resume: bool = False) -> Parts:
    files = Folder(folder)
    return Parts(files, "", begun(files, "", RunFile(manifest=manifest), resume), ("a", "b"))


def columns(rows: int = 3) -> dict[str, torch.Tensor]:
    return {"id": torch.arange(rows)}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_was_there_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full_disk) if step == "fsync" else monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(InputError, match=r"expected to write 5 bytes to .*run.json, got: No space left on device"):
        write_whole(path, b"after")
    assert small_run.everything(tmp_path) == {"run.json": b"before"}


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    with small_run.at_most(1000), pytest.raises(InputError, match="got: File too large"):
        write_whole(tmp_path / "run.json", bytes(2000))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "run.json", b"after")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_a_mapping_of_names_to_bytes(tmp_path: Path) -> None:
    files = Folder(tmp_path)
    files["shards/00000.safetensors"] = b"one"
    files["run.json"] = b"two"
    assert dict(files) == {"run.json": b"two", "shards/00000.safetensors": b"one"}
    assert "run.json" in files
    assert "shards" not in files
    del files["run.json"]
    assert files.get("run.json") is files.get("run.json/below") is None
    with pytest.raises(KeyError):
        del files["run.json"]


@pytest.mark.parametrize("name", ["../secret", "shards/../../secret", "/etc/passwd", "./run.json", ""])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    with pytest.raises(InputError, match="expected the name of a file inside"):
        Folder(tmp_path / "run")[name]


# ------------------------------------------------------------------ seals


@given(st.binary(max_size=80), st.binary(max_size=80), st.data())
def test_a_seal_covers_every_byte(before: bytes, after: bytes, data: st.DataObject) -> None:
    content = sealed(before + b'"seal": "' + b"0" * 64 + b'"' + after)
    assert sealed(content) == content
    changed = flipped(content, data)
    assert sealed(changed) != changed


@given(st.lists(st.integers(0, 255), max_size=80), st.data())
def test_the_seal_of_a_part_covers_every_byte_and_whose_it_is(values: list[int], data: st.DataObject) -> None:
    saved = save({"x": torch.tensor(values, dtype=torch.uint8)}, {"seal": "0" * 64})
    content = sealed_part(saved, "run", "part")
    assert sealed_part(content, "run", "part") == content
    changed = flipped(content, data)
    assert sealed_part(changed, "run", "part") != changed
    assert sealed_part(content, "another run", "part") != content
    assert sealed_part(content, "run", "another part") != content


def flipped(content: bytes, data: st.DataObject) -> bytes:
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def test_what_has_no_seal_is_never_intact() -> None:
    assert sealed(b"{}") != b"{}"


def test_the_seal_of_a_run_covers_every_byte_but_itself(finished: Path) -> None:
    content, file = (finished / "run.json").read_bytes(), read_run(Folder(finished))
    assert content == file.text == file.model_copy(update={"seal": "1" * 64}).text
    assert sealed(content) == content
    for changed in (content.replace(b'"rows": 48', b'"rows": 49'), content + b"\n", content.replace(b"  ", b"\t", 1)):
        assert sealed(changed) != changed


def test_a_part_of_another_run_or_of_another_name_is_none_of_this_one(tmp_path: Path, manifest: Manifest) -> None:
    parts = begin(tmp_path / "one", manifest)
    parts.keep("a", columns())
    content = parts.files["a.safetensors"]
    parts.files["b.safetensors"] = content
    assert parts.kept("a") is not None
    assert parts.kept("b") is None
    other = begin(tmp_path / "two", manifest.model_copy(update={"kind": "attack"}))
    other.files["a.safetensors"] = content
    assert other.kept("a") is None


def test_bytes_of_a_tensor_that_look_like_a_seal_are_not_taken_for_one(tmp_path: Path, manifest: Manifest) -> None:
    parts = begin(tmp_path / "run", manifest)
    looks = torch.tensor(list(b'"seal":"' + b"a" * 64 + b'"'), dtype=torch.uint8)
    parts.keep("a", {"bytes": looks})
    found = parts.kept("a")
    assert found is not None
    assert torch.equal(found["bytes"], looks)


# ------------------------------------------------------------------ parts


def test_run_json_is_written_with_the_first_part(tmp_path: Path, manifest: Manifest) -> None:
    parts = begin(tmp_path / "run", manifest)
    assert not (tmp_path / "run" / "run.json").exists()
    parts.keep_state("a", columns())
    assert read_run(parts.files).manifest == manifest
    state = begin(tmp_path / "run", manifest, resume=True).state("a")
    assert state is not None
    assert torch.equal(state["id"], columns()["id"])
    parts.forget_state("a")
    assert parts.state("a") is None
    parts.forget_state("a")  # a second time is nothing


@pytest.mark.parametrize("damage", ["missing", "changed", "cut", "nonsense"])
def test_a_part_that_is_not_what_was_written_is_made_again_or_refused(
    tmp_path: Path, manifest: Manifest, damage: str
) -> None:
    parts = begin(tmp_path / "run", manifest)
    parts.keep("a", columns())
    digests = {"a": parts.digest(Part("a"))}
    done = Parts(parts.files, "", parts.begun, ("a",), digests)
    assert torch.equal(done["a"]["id"], columns()["id"])
    content = parts.files["a.safetensors"]
    parts.files["a.safetensors"] = {
        "changed": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-1], "nonsense": b"nonsense",
        "missing": b"",
    }[damage]  # fmt: skip
    assert done.kept("a") is None
    with pytest.raises(InputError, match="expected a as it was written, found it gone or changed: run again"):
        done["a"]


def test_parts_that_a_task_does_not_need_are_out_of_its_reach(tmp_path: Path, manifest: Manifest) -> None:
    parts = begin(tmp_path / "run", manifest)
    parts.keep("a", columns())
    assert list(parts.only(("a",))) == ["a"]
    with pytest.raises(InputError):
        parts.only(("b",))["a"]


COLUMNS = {"id": "(n,) int64 place", "x": "(n, ...) input", "scores": "(n, classes) float32", "again": "(n, ...) input"}


def table(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    whole = {"id": torch.arange(3), "x": torch.rand(3, 2, 2), "scores": torch.rand(3, 5), "again": torch.rand(3, 2, 2)}
    return {**whole, **changed}


def test_columns_are_those_of_their_table() -> None:
    assert check_columns(table(), COLUMNS, "a").keys() == COLUMNS.keys()
    for changed, said in (
        ({"id": torch.arange(4)}, "for x in a"),
        ({"id": torch.rand(3)}, r"expected \(n,\) int64 for id in a, found torch.float32"),
        ({"scores": torch.rand(3)}, "for scores in a"),
        ({"again": torch.rand(3, 2, 3)}, "for again in a"),
        ({"more": torch.rand(3)}, "expected the columns id, x, scores, again in a, found"),
    ):
        with pytest.raises(InputError, match=said):
            check_columns(table(**changed), COLUMNS, "a")


# ------------------------------------------------------------------ run folders that are none


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"{", "it is no JSON"),
        (b"{}", "manifest is wrong"),
        (b"\xff", "it is no JSON"),
        (b"[]", "first bytes is wrong"),
        (b'{"manifest": NaN}', "NaN is no number"),
        (b"[" * 100_000, "it is no JSON"),
    ],
)
def test_a_run_file_that_is_none_is_refused_with_a_reason(tmp_path: Path, content: bytes, wrong: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    for use in (lambda: read_run(Folder(tmp_path)), lambda: bs.write_report(tmp_path)):
        with pytest.raises(InputError, match=wrong):
            use()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for use in (opened, read_run):
        with pytest.raises(InputError, match=r"expected a run folder with a run\.json, found none in"):
            use(Folder(tmp_path))


OLD: dict[str, Any] = {
    "manifest": {"blindspots": "0.1.0", "torch": "2.7.1", "seed": 0, "threat": "linf:0.1", "stages": []},
    "shards": [],
    "verdict": {"rows": 500, "robust_accuracy": 0.2},
    "seal": "0" * 64,
}


@pytest.mark.parametrize(
    "use",
    [bs.write_report, bs.verify, lambda folder: small_run.run(folder, resume=True)],
    ids=["report", "verify", "resume"],
)
def test_a_run_of_0_1_0_is_refused_with_the_version_that_reads_it(tmp_path: Path, use: Any) -> None:
    (tmp_path / "run.json").write_text(json.dumps(OLD))
    before = small_run.everything(tmp_path)
    with pytest.raises(
        InputError, match=r"found one of 0\.1\.0: read it with that version \(pip install blindspots==0\.1"
    ):
        use(tmp_path)
    assert small_run.everything(tmp_path) == before


def test_a_kind_that_is_not_installed_is_named(tmp_path: Path, finished: Path) -> None:
    content = (finished / "run.json").read_bytes().replace(b'"kind": "evaluate"', b'"kind": "evaluator"')
    (tmp_path / "run.json").write_bytes(sealed(content))
    with pytest.raises(InputError, match=r"got 'evaluator' \(did you mean 'evaluate'\?\): install the package"):
        opened(Folder(tmp_path))


def test_settings_that_this_version_does_not_know_are_named(tmp_path: Path, finished: Path) -> None:
    content = (finished / "run.json").read_bytes().replace(b'"row_budget"', b'"cow_budget"')
    (tmp_path / "run.json").write_bytes(sealed(content))
    with pytest.raises(InputError, match="as blindspots writes it, but cow_budget is wrong"):
        opened(Folder(tmp_path))


# ------------------------------------------------------------------ to go on


def test_drafts_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path, manifest: Manifest) -> None:
    begin(tmp_path, manifest).keep("a", columns())
    (tmp_path / "notes.txt").write_bytes(b"mine")
    before = small_run.everything(tmp_path)
    (tmp_path / "shards").mkdir()
    for name in ("run.json.123.draft", "b.unfinished.safetensors.123.draft", "shards/00001.safetensors.123.draft"):
        (tmp_path / name).write_bytes(b"half")
    begin(tmp_path, manifest, resume=True)
    assert small_run.everything(tmp_path) == before


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(finished: Path, manifest: Manifest) -> None:
    before = small_run.everything(finished)
    with pytest.raises(InputError, match="resume it with --resume or name another folder"):
        begin(finished, manifest)
    assert small_run.everything(finished) == before


def changed(manifest: Manifest, **groups: dict[str, Any]) -> Manifest:
    plain = manifest.model_dump(mode="json")
    return Manifest(**{**plain, **{group: {**plain[group], **values} for group, values in groups.items()}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": {"seed": 7}}, "the seed changed from 0 to 7"),
        ({"config": {"threat": "linf:0.5"}}, "the threat changed from linf:0.02 to linf:0.5"),
        ({"config": {"max_backwards": 3}}, "the max backwards changed from none to 3"),
        (
            {"made_by": {"threads": 9, "blindspots": "9.9"}},
            f"the version of blindspots changed from {version('blindspots')} to 9.9; the threads changed",
        ),
        ({"config": {"chunk": 4, "slots": 4}}, "the chunk changed from 8 to 4; the slots changed from 16 to 4"),
        ({"config": {"stages": ["one"]}}, "the stages changed (1: Stage("),
    ],
)
def test_a_run_that_differs_is_refused_with_all_that_differs(
    finished: Path, manifest: Manifest, change: dict[str, dict[str, Any]], said: str
) -> None:
    before = small_run.everything(finished)
    with pytest.raises(InputError) as refused:
        begin(finished, changed(manifest, **change), resume=True)
    assert said in str(refused.value)
    assert small_run.everything(finished) == before


def test_a_run_of_another_kind_is_refused(finished: Path, manifest: Manifest) -> None:
    with pytest.raises(InputError, match="it is a run of `blindspots evaluate`, not of `blindspots attack`"):
        begin(finished, manifest.model_copy(update={"kind": "attack"}), resume=True)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, manifest: Manifest, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected a folder that can be written to"):
        begin(tmp_path / place, manifest)
    assert small_run.everything(tmp_path) == {"file": b"in the way"}


def test_a_folder_with_files_of_others_is_refused(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match=r"holds thesis\.tex: name another one"):
            begin(tmp_path, manifest, resume)


# ------------------------------------------------------------------ inputs


@given(st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_8_bit_inputs_are_stored_in_8_bits_and_come_back_exactly(levels: list[int]) -> None:
    x = torch.tensor(levels)[:, None] / 255
    packed = pack_inputs(x)
    assert packed.dtype is torch.uint8
    assert torch.equal(unpack_inputs(packed), x)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_all_other_inputs_come_back_exactly_too(values: list[float]) -> None:
    x = torch.tensor(values)[:, None]
    assert torch.equal(unpack_inputs(pack_inputs(x)), x)


@given(st.floats(-3, 0), st.floats(0.5, 3), st.floats(0, 1))
def test_rounding_to_8_bits_goes_to_the_nearest_level(lo: float, span: float, share: float) -> None:
    x = torch.tensor([lo + share * span], dtype=torch.float32)
    levels = lo + torch.arange(256, dtype=torch.float64) / 255 * span
    rounded = to_8bit(x, (lo, lo + span)).double()
    assert (rounded - levels).abs().min() < 1e-5
    assert abs(rounded - x) <= span / 255 / 2 + 1e-5
