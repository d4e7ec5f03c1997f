"""Whether a run that was killed and resumed is the run that was left alone, byte by byte.

As a program (`python -m benchmarks.resume FOLDER ROWS`) it is one attempt at that run.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from blindspots.evaluate import Progress

import blindspots as bs
from benchmarks.page import ROOT, Section, table

ROWS, KILLS, SHARD = 300, 20, 64
BEGUN = "begun"
HEAD = ("kills", "shards finished at the kill", "verdicts equal", "stored bytes equal", "undisturbed run, s")
READ = """A run of the default protocol on digits-robust, linf 0.15, with {rows} rows in shards of {shard}, is killed
(SIGKILL) at a moment drawn uniformly from its length, then resumed to its end; each time in a fresh folder. Compared
with the run that nobody disturbed: run.json without the times, and every other file in the folder by its bytes.
All of them must be equal."""


def measure(args: argparse.Namespace) -> Section:
    rows, kills = args.rows or ROWS, args.repeats or KILLS
    with TemporaryDirectory(prefix="blindspots-resume-") as name:
        folder = Path(name)
        seconds = _undisturbed(folder / "whole", rows)
        moments = random.Random(0)
        trials = [_trial(folder / str(i), folder / "whole", rows, moments, seconds) for i in range(kills)]
    row = [kills, ", ".join(str(t["shards"]) for t in trials), f"{sum(t['verdict'] for t in trials)} of {kills}",
           f"{sum(t['bytes'] for t in trials)} of {kills}", seconds]  # fmt: skip
    text = f"{table(HEAD, [row])}\n\n{READ.format(rows=rows, shard=SHARD)}"
    return Section("Killed and resumed", text, {"rows": rows, "seconds": seconds, "trials": trials})


def _undisturbed(folder: Path, rows: int) -> float:
    attempt = _start(folder, rows)
    began = time.monotonic()
    attempt.communicate()
    assert attempt.returncode == 0
    return round(time.monotonic() - began, 2)


def _start(folder: Path, rows: int) -> "subprocess.Popen[str]":
    """An attempt that has just begun its first shard."""
    command = [sys.executable, "-m", "benchmarks.resume", str(folder), str(rows)]
    attempt = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert attempt.stdout is not None
    assert attempt.stdout.readline().strip() == BEGUN
    return attempt


def _trial(folder: Path, whole: Path, rows: int, moments: random.Random, seconds: float) -> dict[str, Any]:
    """Kill it once on its way, then resume it. Drawn again if it was faster than the bullet."""
    while True:
        after = moments.uniform(0, seconds)
        attempt = _start(folder, rows)
        time.sleep(after)
        attempt.send_signal(signal.SIGKILL)
        attempt.communicate()
        if attempt.returncode == -signal.SIGKILL:
            break
        _remove(folder)
    shards = len(list((folder / "shards").glob("*.safetensors")))
    leftovers = sorted(_files(folder) - _files(whole))
    _start(folder, rows).communicate()
    same = {"verdict": _said(folder)["verdict"] == _said(whole)["verdict"], "bytes": _stored(folder) == _stored(whole)}
    print(f"killed after {after:.2f} s with {shards} shards and {leftovers}: {same}", flush=True)
    return {"after": round(after, 2), "shards": shards, **same}


def _remove(folder: Path) -> None:
    for name in _files(folder):
        (folder / name).unlink()


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def _stored(folder: Path) -> dict[str, Any]:
    """The digest of each file; of run.json what it says."""
    digests: dict[str, Any] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _files(folder) - {"run.json"}
    }
    return digests | {"run.json": _said(folder)}


def _said(folder: Path) -> Any:
    return _timeless(json.loads((folder / "run.json").read_text()))


def _timeless(value: Any) -> Any:
    """Without times, and without the seal, which covers them."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("seconds", "started", "seal")}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _attempt(folder: Path, rows: int) -> None:
    told = False

    def watch(progress: Progress) -> None:
        nonlocal told
        if not told:
            print(BEGUN, flush=True)
        told = True

    model, data = bs.load_model("digits-robust"), bs.load_data("digits", rows)
    options = bs.Options(shard_rows=SHARD, slots=SHARD, threads=1)
    bs.evaluate(model, data=data, threat=bs.Linf(0.15), out=folder, resume=True, options=options, watch=watch)


if __name__ == "__main__":
    _attempt(Path(sys.argv[1]), int(sys.argv[2]))
