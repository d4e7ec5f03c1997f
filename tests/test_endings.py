"""How commands end: every exception is a sentence and an exit code, and nothing is lost."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from blindspots.cli import running
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sha256
from blindspots.runs.store import RUN, opened, read_run
from small_run import at_most
from test_cli import QUICK, attack, blindspots, digests, finished, in_one_sentence, plain

NET = "import torch\nfrom torch import nn\n\n\ndef linear():\n    torch.manual_seed(0)\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"  # noqa: E501


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder, and are as wide as a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def raising(error: BaseException) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


# ---------------------------------------------------------------- faults of ours


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TypeError("two\nlines"), "this is a fault of blindspots, not of what you gave it (TypeError: two lines)"),
        (RecursionError("too deep"), "a fault of blindspots"),
        (AssertionError(), "a fault of blindspots"),
        (MuteError(), "a fault of blindspots"),
        (MemoryError(), "the memory of this machine did not suffice"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "take fewer rows"),
    ],
)
def test_a_fault_of_ours_has_a_code_of_its_own_and_says_where_its_details_are(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(running, "run", raising(error))
    Path("r").mkdir()
    result = attack("--out=r --require=1")
    assert result.exit_code == 70
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert said in line
    assert "The details are in r/fault.txt: please report them. What is done is kept in r; go on with: " in line
    assert line.endswith("--resume")
    details = Path("r/fault.txt").read_text()
    assert "Traceback" in details
    assert re.search(r"^torch \d", details, re.MULTILINE)


@pytest.mark.parametrize("rest", ["list", "verify r", "evaluate net.py:linear --data=digits --threat=linf:0.1"])
def test_a_fault_before_anything_is_written_leaves_its_details_in_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rest: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "read_bytes", raising(KeyError("x")))
    for module in ("catalogue", "checking", "running"):
        monkeypatch.setitem(sys.modules, f"blindspots.cli.{module}", None)  # its import fails
    result = blindspots(rest)
    assert result.exit_code == 70
    (kept,) = tmp_path.glob("blindspots-fault-*.txt")
    assert str(kept) in result.stderr


def test_where_details_cannot_be_written_the_command_still_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run", raising(TypeError("x")))
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    result = attack("--out=r")  # there is no folder r
    assert result.exit_code == 70
    assert "could not be written anywhere: `blindspots --debug` shows them" in result.stderr


def test_after_a_fault_the_run_goes_on_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(running, "write_report", raising(KeyError("x")))
        assert attack("--out=r").exit_code == 70
    assert attack("--out=r --resume").exit_code == 0
    assert attack("--out=whole").exit_code == 0
    assert digests("r") == digests("whole")


def test_debug_shows_the_traceback_and_keeps_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run", raising(TypeError("x")))
    result = blindspots(f"--debug attack net.py:linear {QUICK} --threads=1")
    assert result.exit_code == 70
    assert "Traceback" in result.stderr


# ---------------------------------------------------------------- interrupts, files


@pytest.mark.parametrize("rest", ["list", "demo", "report r", "evaluate net.py:linear --data=digits --threat=linf:0.1"])
def test_ctrl_c_is_130_wherever_it_comes(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    from blindspots.cli import catalogue, checking
    from blindspots.cli import demo as demonstration

    for module, name in (
        (catalogue, "_attacks"), (demonstration, "run"), (checking, "write_report"), (running, "run"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, raising(KeyboardInterrupt()))
    result = blindspots(rest)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("Stopped.")


def test_an_error_of_files_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run", raising(PermissionError(13, "Permission denied", "/root/x")))
    assert "expected to use '/root/x', got: Permission denied" in in_one_sentence(attack("--out=r"))


def test_signs_that_steer_a_terminal_are_not_sent_to_it() -> None:
    assert r"\x1b[2J" in in_one_sentence(blindspots("report \x1b[2J"))


# ---------------------------------------------------------------- the process itself

COMMAND = [sys.executable, "-m", "blindspots"]
WORDS = "net.py:linear --attack=square:steps=150 --data=digits --threat=linf:0.02 --rows=96 --shard-rows=16 --threads=1"


def test_nobody_reads_any_more() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m blindspots list | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "141"
    assert done.stderr == ""


def test_a_disk_without_room_for_the_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "list", "--markdown"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_streams_and_a_plain_locale_break_nothing() -> None:
    plain_locale = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "100"}
    line = f"attack net.py:linear {QUICK} --threads=1"
    shell = f"{' '.join(COMMAND)} {line} --out=r >&- && {' '.join(COMMAND)} {line} --out=s"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=plain_locale, check=False)
    assert done.returncode == 0, done.stderr
    assert "Robust" in done.stdout
    assert finished("r").verdict.rows == 24


def test_sigterm_loses_nothing_and_has_a_code_of_its_own() -> None:
    process = subprocess.Popen([*COMMAND, "attack", *WORDS.split(), "--out=r"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(Path("r").glob("shards/*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 143), said
    if process.returncode:
        assert "go on with: " in said
    assert blindspots(f"attack {WORDS} --out=r --resume").exit_code == 0
    assert blindspots(f"attack {WORDS} --out=whole").exit_code == 0
    assert digests("r") == digests("whole")


# ---------------------------------------------------------------- places that cannot be written

RUNS = {
    "attack": f"net.py:linear {QUICK} --shard-rows=8",
    "evaluate": "net.py:linear --data=digits --threat=linf:0.05 --rows=24 --shard-rows=8",
    "universal": "net.py:linear --data=digits --threat=linf:0.15 --rows=60",
    "transfer": "net.py:linear net.py:linear --data=digits --threat=linf:0.15 --rows=12",
    "certify": "net.py:linear --data=digits --sigma=0.25 --samples=50 --draws=0 --rows=8",
    "harden": "net.py:linear --data=digits --threat=linf:0.15 --epochs=1 --rows=200 --test-rows=10 --study-rows=0 "
    "--no-controls",
}  # fmt: skip


def timeless(folder: str) -> dict[str, bytes]:
    """The files of a run whose bytes no clock decides."""
    found = sorted(p for p in Path(folder).rglob("*.safetensors") if p.name != "training.safetensors")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("command", RUNS)
def test_a_full_disk_ends_in_a_sentence_and_the_run_goes_on_to_the_same_bytes(command: str) -> None:
    line = f"{command} {RUNS[command]} --threads=1"
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        sizes = iter((100, 1500, 3000, 6000, 12_000, 25_000, 50_000, 100_000, 1 << 20, 1 << 26))
        said = []
        for size in sizes:
            with at_most(size):
                result = blindspots(f"{line} --out=r --resume")
            if result.exit_code == 0:
                break
            said.append(in_one_sentence_of_a_full_disk(result.exit_code, result.stderr))
            assert not list(Path("r").rglob("*.draft"))
    finally:
        signal.signal(signal.SIGXFSZ, before)
    assert said
    assert result.exit_code == 0, result.stderr
    assert blindspots(f"{line} --out=whole").exit_code == 0
    assert timeless("r") == timeless("whole")


def in_one_sentence_of_a_full_disk(code: int, stderr: str) -> str:
    last = stderr.strip().splitlines()[-1]
    assert code == 2, stderr
    assert re.search("File too large|No space left on device", last), stderr
    assert last.startswith("blindspots: expected"), stderr
    return last


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this process may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount")
def test_a_disk_that_fills_up_loses_nothing() -> None:
    with small_disk(Path("disk"), "120k"):
        words = f"{QUICK} --rows=160 --shard-rows=32 --threads=1 --out=disk/r".replace("--rows=24 ", "")
        full = blindspots(f"attack net.py:linear {words}")
        assert "No space left on device" in in_one_sentence_of_a_full_disk(full.exit_code, full.stderr)
        before = timeless("disk/r")
        assert len(before) >= 1
        again = blindspots(f"attack net.py:linear {words} --resume")
        assert again.exit_code == 2
        assert timeless("disk/r").items() >= {k: v for k, v in before.items() if "unfinished" not in k}.items()
        subprocess.run(["mount", "-o", "remount,size=8m", "disk"], check=True)
        assert blindspots(f"attack net.py:linear {words} --resume").exit_code == 0
        whole = words.replace("disk/r", "whole")
        assert blindspots(f"attack net.py:linear {whole}").exit_code == 0
        assert timeless("disk/r") == timeless("whole")


@pytest.mark.parametrize("command", [*RUNS, "detect"])
@pytest.mark.parametrize(
    ("out", "part"),
    [
        ("", "expected a value for --out, got an empty one"),
        (".", "but . holds file, loop"),
        ("file", "expected a folder that can be written to"),
        ("file/below", "expected a folder that can be written to"),
        ("mine", "holds notes.txt"),
        ("loop", ""),
        ("pipe", "expected a folder that can be written to"),
        ("x" * 300, "too long"),
        ("/proc/run", "expected a folder that can be written to"),
    ],
)
def test_a_place_for_a_run_that_is_none_is_said_before_the_run(
    monkeypatch: pytest.MonkeyPatch, command: str, out: str, part: str
) -> None:
    Path("file").write_text("mine")
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    words = RUNS.get(command, "net.py:linear --data=digits --rows=40 --fit=100 --detector=squeezing")
    monkeypatch.setattr("blindspots.oracle.Oracle.logits", raising(AssertionError("the run began")))
    assert part in in_one_sentence(blindspots(f"{command} {words} --threads=1 --out={out}"))
    assert Path("file").read_text() == Path("mine/notes.txt").read_text() == "mine"
    assert sorted(p.name for p in Path.cwd().iterdir()) == ["file", "loop", "mine", "net.py", "pipe"]


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root gives up its rights")
def test_an_ordinary_user_without_a_home_is_told_where_nothing_can_be_written() -> None:
    Path("locked").mkdir(mode=0o755)
    Path("locked").chmod(0o555)
    caps = "-dac_override,-dac_read_search"  # what lets root write where others may not
    shell = f"setpriv --bounding-set={caps} --inh-caps={caps} env -u HOME XDG_CACHE_HOME=locked {sys.executable}"
    words = f"-m blindspots attack net.py:linear {QUICK} --threads=1 --out=locked/r"
    done = subprocess.run([*shell.split(), *words.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "expected a folder that can be written to, got locked/r: Permission denied" in done.stderr


# ---------------------------------------------------------------- what no command can be given


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("evaluate net.py:linear --data=digits --threat=linf:0.1 --require=nan", "expected a gate"),
        ("evaluate net.py:linear --data=digits --threat=linf:0.1 --max-seconds=nan", "a finite number for --max-sec"),
        ("evaluate net.py:linear --data=digits --threat=linf:0.1 --max-seconds=1e999", "a finite number for --max-"),
        (f"evaluate net.py:linear --data=digits --threat=linf:0.1 --seed={2**63}", "for --seed"),
        ("evaluate net.py:linear --data=digits --threat=linf:0.1 --threads=2147483648", "for --threads"),
        (f"attack net.py:linear {QUICK} --restarts={10**30}", "for --restarts"),
        (f"attack net.py:linear {QUICK} --chunk={2**31}", "for --chunk"),
        (f"attack net.py:linear {QUICK} --engine=processes:0", "expected processes:N with N of at least 1, got 0"),
        (f"attack net.py:linear {QUICK} --engine=cluster", "expected serial, processes or processes:N"),
        (f"certify net.py:linear --data=digits --sigma=0.2 --samples={10**30}", "for --samples"),
        ("certify net.py:linear --data=digits --sigma=nan", "for --sigma, got 'nan'"),
        ("certify net.py:linear --data=digits --sigma=1/0", "such as 0.03 or 8/255 for --sigma"),
        ("certify net.py:linear --data=digits --sigma=0.2 --alpha=inf", "for --alpha, got 'inf'"),
        ("certify net.py:linear --data=digits --sigma=0.2 --radii=0.1,x", "for --radii"),
        ("certify net.py:linear --data=digits --sigma=0.2 --radii=-1", "expected radii of at least 0"),
        ("transfer net.py:linear net.py:linear --data=digits --threat=linf:0.1 --amplify=nan", "for --amplify"),
        ("evaluate net.py:linear --data= --threat=linf:0.1", "a value for --data"),
        ("evaluate net.py:linear --data=pictures --threat=linf:0.1 --out=pictures/run", "outside of the data"),
        ("report net.py --out=run.json", ""),
    ],
)
def test_what_no_option_can_mean_is_refused(words: str, part: str) -> None:
    Path("pictures").mkdir()
    result = blindspots(words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert part in plain(result.stderr)
    assert "Traceback" not in result.stderr
    assert sorted(p.name for p in Path.cwd().iterdir()) == ["net.py", "pictures"]


KINDS = ["missing", "empty", "binary", "huge", "folder", "pipe", "device", "loop", "deep", "ä"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        "evaluate {}.pt2 --data=digits --threat=linf:0.1",
        "evaluate {}.py:f --data=digits --threat=linf:0.1",
        "evaluate sklearn:{}.skops --data=digits --threat=linf:0.1",
        "evaluate guarded:{}.run --data=digits --threat=linf:0.1",
        "evaluate net.py:linear --data={}.npz --threat=linf:0.1",
        "evaluate net.py:linear --data=digits --threat=linf:0.1 --protocol={}.toml",
        "harden net.py:linear --data=digits --threat=linf:0.1 --recipe={}.toml",
        "harden net.py:linear --data=digits --threat=linf:0.1 --extra={}.npz",
        "transfer net.py:linear net.py:linear --data=digits --threat=linf:0.1 --labels={}.json",
        "universal net.py:linear --data=digits --threat=linf:0.1 --perturbation={}.npz:v",
        "apply {}.safetensors pictures --out=o",
        "verify {}.run",
        "report {}.run",
    ],
)
def test_a_file_that_is_no_such_file_ends_in_a_sentence(words: str, kind: str) -> None:
    suffix = re.findall(r"\{\}(\.\w+)", words)[0]
    hostile(Path(f"hostile{suffix}"), kind)
    result = blindspots(words.format("hostile"))
    assert result.exit_code == 2, result.stderr
    assert plain(result.stderr.splitlines()[-1]).startswith("blindspots: ")
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()


def hostile(path: Path, kind: str) -> None:
    contents = {"empty": b"", "binary": bytes(range(256)) * 9, "deep": b"[" * 100_000, "ä": "ä = 'ß'".encode("utf-16")}
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 36)  # takes no room
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path.name)


# ---------------------------------------------------------------- terminals, hints, documents


def test_tables_stay_readable_on_narrow_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = attack("--out=r").stdout
    assert re.search(r"^Robust  +\S", wide, re.MULTILINE)
    for width in ("20", "40"):
        monkeypatch.setenv("COLUMNS", width)
        narrow = attack("--out=r --resume").stdout
        assert "Right" in narrow
        assert "Entered: 1" in plain(narrow)
        assert not re.search(r"^(\S ?\n){4}", narrow, re.MULTILINE)  # a letter a line
        listed = blindspots("list").stdout
        assert "deepfool" in listed
        assert "…" not in listed


def test_hints_are_given_only_where_they_help() -> None:
    for name in ("un", ".hidden.npz", "notes.md", "_private.npz"):
        Path(name).write_text("")
    for spec in ("run", "hidden.npz", "notes", "private.npz"):
        said = in_one_sentence(blindspots(f"evaluate net.py:linear --data={spec} --threat=linf:0.1"))
        assert "did you mean" not in said
    Path("mnist.npz").write_text("")
    assert "did you mean 'mnist.npz'?" in blindspots("evaluate net.py:linear --data=mnst.npz --threat=linf:0.1").stderr


@pytest.mark.parametrize("command", [*RUNS, "detect"])
def test_json_is_one_strict_document_whatever_a_model_prints(command: str) -> None:
    Path("net.py").write_text(NET.replace("    torch.manual_seed", "    print('loud ä')\n    torch.manual_seed"))
    words = RUNS.get(command, "net.py:linear --data=digits --rows=40 --fit=100 --detector=squeezing")
    result = blindspots(f"{command} {words} --threads=1 --out=r --json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.isascii()

    def refuse(token: str) -> None:
        raise AssertionError(token)

    assert isinstance(json.loads(result.stdout, parse_constant=refuse), dict)
    assert "loud" in result.stderr
    assert "Report: r/report.html" in result.stderr


# ---------------------------------------------------------------- runs that others changed


@pytest.mark.parametrize("line", ["verify r", "report r", f"attack net.py:linear {QUICK} --threads=1 --out=r --resume"])
@pytest.mark.parametrize(
    "change", [("right", torch.zeros(3)), ("norm", None), ("broken", torch.full((1,), 99)), ("x", torch.zeros(24, 1))]
)
def test_a_shard_that_was_made_otherwise_is_never_a_fault_of_ours(line: str, change: tuple[str, torch.Tensor]) -> None:
    attack("--out=r")
    files, (name, value) = Folder(Path("r")), change
    parts = opened(files).parts
    columns = {k: v for k, v in parts["shards/00000"].items() if k != name} | ({} if value is None else {name: value})
    parts.keep("shards/00000", columns)
    file = read_run(files)
    digest = {"shards/00000": sha256(files["shards/00000.safetensors"])}
    files[RUN] = file.model_copy(update={"parts": {**file.parts, **digest}}).text
    result = blindspots(line)
    assert result.exit_code == (1 if line.startswith("verify") and result.exit_code == 1 else 2), result.stderr


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"manifest": ' * 50_000, b"{}", b"null", b"\xff", b'{"a": NaN}'])
@pytest.mark.parametrize(
    "line",
    [
        "report r",
        f"attack net.py:linear {QUICK} --out=r --resume",
        "certify net.py:linear --data=digits --sigma=1 --out=r --resume",
        "evaluate guarded:r --data=digits --threat=l2:1",
    ],
)
def test_a_run_json_that_is_none_ends_in_a_sentence(line: str, content: bytes) -> None:
    Path("r").mkdir()
    Path("r/run.json").write_bytes(content)
    in_one_sentence(blindspots(line))
    assert Path("r/run.json").read_bytes() == content


def test_a_run_of_another_kind_is_named() -> None:
    attack("--out=r")
    said = in_one_sentence(blindspots("certify net.py:linear --data=digits --sigma=1 --rows=4 --out=r --resume"))
    assert "it is a run of `blindspots attack`, not of `blindspots certify`" in said
