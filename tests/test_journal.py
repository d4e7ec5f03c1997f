import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch
from blindspots.journal import Journal, read_run_file, read_shard, seal, text_of
from blindspots.verdict import Manifest, ShardRecord
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

import small_run
from blindspots import journal
from blindspots.errors import InputError
from blindspots.packing import pack_inputs, unpack_inputs
from blindspots.threat import to_8bit

CONTENT = st.binary(min_size=1, max_size=200)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    small_run.run(folder)
    return folder


@pytest.fixture
def manifest(finished) -> Manifest:
    return read_run_file(finished).manifest


def begin(folder: Path, manifest: Manifest, resume: bool = False) -> Journal:
    return Journal(folder, manifest, None, "2025-01-31T12:00:00Z", resume)


def columns(rows: int = 3) -> dict[str, torch.Tensor]:
    return {"id": torch.arange(rows)}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_was_there_survives_a_full_disk(tmp_path, monkeypatch, step):
    path = tmp_path / "run.json"
    path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full_disk) if step == "fsync" else monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(InputError, match=r"expected to write 5 bytes to .*run.json, got: No space left on device"):
        journal.write_whole(path, b"after")
    assert small_run.everything(tmp_path) == {"run.json": b"before"}


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path):
    with small_run.at_most(1000), pytest.raises(InputError, match="got: File too large"):
        journal.write_whole(tmp_path / "run.json", bytes(2000))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_no_draft(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        journal.write_whole(tmp_path / "run.json", b"after")
    assert not list(tmp_path.iterdir())


def test_the_seal_covers_every_byte_but_itself(finished):
    content, file = (finished / "run.json").read_bytes(), read_run_file(finished)
    assert content == text_of(file)
    assert seal(content) == file.seal
    assert seal(text_of(file.model_copy(update={"seal": None}))) == file.seal
    assert seal(content.replace(b'"rows": 48', b'"rows": 49')) != file.seal
    assert seal(content + b"\n") != file.seal


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(b"", "first bytes is wrong"), (b"{}", "manifest is wrong"), (b"\xff", "first bytes"), (b"[]", "first bytes")],
)
def test_a_run_file_that_is_none_is_refused_with_a_reason(tmp_path, content, wrong):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=wrong):
        read_run_file(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="found none at"):
        read_run_file(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_a_shard_that_is_not_what_was_written_is_refused(tmp_path, finished, damage):
    record = read_run_file(finished).shards[0]
    content = (finished / "shards" / record.name).read_bytes()
    (tmp_path / "shards").mkdir()
    if damage != "missing":
        changed = content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1])
        (tmp_path / "shards" / record.name).write_bytes(changed)
    with pytest.raises(InputError, match="missing" if damage == "missing" else "found others"):
        read_shard(tmp_path, record)


def test_a_recorded_digest_does_not_make_safetensors_of_anything(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.safetensors").write_bytes(b"nonsense")
    digest = hashlib.sha256(b"nonsense").hexdigest()
    record = ShardRecord(name="00000.safetensors", rows=1, sha256=digest, seconds=[])
    with pytest.raises(InputError, match="expected a whole safetensors file"):
        read_shard(tmp_path, record)


def test_run_json_does_not_lead_out_of_its_folder(tmp_path):
    record = ShardRecord(name="../../secret", rows=1, sha256="", seconds=[])
    assert journal.shard_path(tmp_path, record) == tmp_path / "shards" / "secret"


# ------------------------------------------------------------------ inputs


@given(st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_8_bit_inputs_are_stored_in_8_bits_and_come_back_exactly(levels):
    x = torch.tensor(levels)[:, None] / 255
    packed = pack_inputs(x)
    assert packed.dtype is torch.uint8
    assert torch.equal(unpack_inputs(packed), x)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_all_other_inputs_come_back_exactly_too(values):
    x = torch.tensor(values)[:, None]
    assert torch.equal(unpack_inputs(pack_inputs(x)), x)


@given(st.floats(-3, 0), st.floats(0.5, 3), st.floats(0, 1))
def test_rounding_to_8_bits_goes_to_the_nearest_level(lo, span, share):
    x = torch.tensor([lo + share * span], dtype=torch.float32)
    levels = lo + torch.arange(256, dtype=torch.float64) / 255 * span
    rounded = to_8bit(x, (lo, lo + span)).double()
    assert (rounded - levels).abs().min() < 1e-5
    assert abs(rounded - x) <= span / 255 / 2 + 1e-5


# ------------------------------------------------------------------ the journal


def test_run_json_is_written_with_what_the_first_stage_found(tmp_path, manifest):
    begun = begin(tmp_path, manifest)
    assert not (tmp_path / "run.json").exists()
    begun.save_unfinished(columns())
    assert read_run_file(tmp_path).manifest == manifest
    assert torch.equal(begin(tmp_path, manifest, resume=True).unfinished()["id"], columns()["id"])


def test_what_is_unfinished_belongs_to_the_shard_in_hand(tmp_path, manifest):
    begun = begin(tmp_path, manifest)
    begun.save_unfinished(columns())
    left = (tmp_path / "unfinished.safetensors").read_bytes()
    begun.save(columns(), [0.0])
    assert not (tmp_path / "unfinished.safetensors").exists()
    (tmp_path / "unfinished.safetensors").write_bytes(left)  # killed before it was removed
    assert begin(tmp_path, manifest, resume=True).unfinished() is None


def test_what_is_unfinished_of_no_run_is_not_taken_up(tmp_path, manifest):
    (tmp_path / "unfinished.safetensors").write_bytes(save(columns(), {"shard": "0"}))
    assert begin(tmp_path, manifest).unfinished() is None


def test_a_broken_unfinished_file_says_what_to_do(tmp_path, manifest):
    begun = begin(tmp_path, manifest)
    begun.save_unfinished(columns())
    (tmp_path / "unfinished.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="delete it, then the shard in hand begins again"):
        begun.unfinished()


def test_drafts_of_a_killed_process_are_removed_and_nothing_else(tmp_path, manifest):
    begin(tmp_path, manifest).save(columns(), [0.0])
    before = small_run.everything(tmp_path) | {"notes.draft": b"mine"}
    (tmp_path / "notes.draft").write_bytes(b"mine")
    for name in ("run.json.123.draft", "unfinished.safetensors.123.draft", "shards/00001.safetensors.123.draft"):
        (tmp_path / name).write_bytes(b"half")
    begin(tmp_path, manifest, resume=True)
    assert small_run.everything(tmp_path) == before


def test_a_finished_run_keeps_its_verdict_until_the_next_one_is_there(tmp_path, finished, manifest):
    begun = begin(tmp_path, manifest)
    begun.save(columns(), [0.0])
    begun.conclude(read_run_file(finished).verdict)
    before = small_run.everything(tmp_path)
    resumed = begin(tmp_path, manifest, resume=True)
    assert resumed.file.verdict is None
    assert small_run.everything(tmp_path) == before


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(finished, manifest):
    before = small_run.everything(finished)
    with pytest.raises(InputError, match="resume it with --resume or name another folder"):
        begin(finished, manifest)
    assert small_run.everything(finished) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 7}, "the seed changed from 0 to 7"),
        ({"threat": "linf:0.5"}, "the threat changed from linf:0.02 to linf:0.5"),
        ({"limits": [None, None, 3.0, None]}, "the limits changed (backwards: none then, 3.0 now)"),
        (
            {"threads": 9, "blindspots": "9.9"},
            "the version of blindspots changed from 0.1.0 to 9.9; the threads",
        ),
        ({"chunk": 4, "slots": 4}, "the slots changed from 16 to 4; the chunk changed from 8 to 4"),
    ],
)
def test_a_manifest_that_differs_is_refused_with_all_that_differs(finished, manifest, change, said):
    before = small_run.everything(finished)
    with pytest.raises(InputError) as refused:
        begin(finished, manifest.model_copy(update=change), resume=True)
    assert said in str(refused.value)
    assert small_run.everything(finished) == before


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, manifest, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected a folder that can be written to"):
        begin(tmp_path / place, manifest)
    assert small_run.everything(tmp_path) == {"file": b"in the way"}
