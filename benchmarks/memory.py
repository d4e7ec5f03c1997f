"""How the memory of a run grows with its rows: peak resident memory of fresh processes.

As a program (`python -m benchmarks.memory api|command FOLDER`) it is one of these processes.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import blindspots as bs
from benchmarks.clock import clock
from benchmarks.page import ROOT, Section, percent, table
from benchmarks.tiny_net import factory
from blindspots.attacks import PGD
from blindspots.cli import main as blindspots
from blindspots.engine.cascade import Stage
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened

FEW, MANY, GOAL = 2000, 20_000, 200
THREAT, BUDGET = "linf:0.0005", 16  # enough to search every row, little enough for many rows
NET = f"{Path(__file__).with_name('tiny_net.py')}:factory"
WAYS = {
    "api": "`bs.evaluate(model, data=load_data(file), out=folder)`, PGD(5)",
    "command": f"`blindspots evaluate --row-budget {BUDGET}`",
}
HEAD = ("how", "rows", "inputs, MB", "robust accuracy", "seconds", "run folder, MB", "peak memory, MB", "more", "goal")
READ = f"""Peak resident memory of fresh processes that evaluate a small network on 3x64x64 8-bit images from an .npz
file and write a run folder: {FEW:,} rows, then {MANY:,}. "more" is what the additional rows cost; at most {GOAL} MB is
good."""


def measure(args: argparse.Namespace) -> Section:
    many = args.rows or MANY
    few = min(FEW, many // 2)
    numbers = [n for way in WAYS for n in _both(way, few, many)]
    return Section("Memory", f"{table(HEAD, [_row(n) for n in numbers])}\n\n{READ}", numbers)


def _both(way: str, few: int, many: int) -> list[dict[str, Any]]:
    first, second = _fresh(way, few), _fresh(way, many)
    if first is None or second is None:
        return []
    return [first, second | {"more": second["peak"] - first["peak"], "goal": GOAL}]


def _row(n: dict[str, Any]) -> list[Any]:
    return [WAYS[n["way"]], n["rows"], n["rows"] * 3 * 64 * 64 / 1e6, percent(n["robust"]), n["seconds"], n["written"],
            n["peak"], n.get("more"), n.get("goal")]  # fmt: skip


def _fresh(way: str, rows: int) -> dict[str, Any] | None:
    with TemporaryDirectory(prefix="blindspots-memory-") as name:
        folder = Path(name)
        _write_inputs(folder / "x.npz", rows)
        command = [sys.executable, "-m", "benchmarks.memory", way, name]
        took = clock(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))
        done = took.result
        if done.returncode:
            print(f"memory, {way}: skipped, it ended with {done.returncode}: {done.stderr.strip()[-500:]}")
            return None
        verdict = opened(Folder(folder / "run")).verdict
        written = sum(file.stat().st_size for file in (folder / "run").rglob("*") if file.is_file()) / 1e6
        peak = int(done.stdout.split()[-1]) / 1000
    return {"way": way, "rows": rows, "robust": verdict.robust_accuracy, "seconds": round(took.wall, 1),
            "written": written, "peak": peak}  # fmt: skip


def _write_inputs(path: Path, rows: int) -> None:
    """Noise, labelled by the network itself, so that every row is searched."""
    rng, net = np.random.default_rng(0), factory()
    x = rng.integers(0, 256, (rows, 3, 64, 64), dtype=np.uint8)
    with torch.no_grad():
        y = torch.cat([net(torch.from_numpy(part).float() / 255).argmax(1) for part in np.array_split(x, 100)])
    np.savez(path, x=x, y=y.numpy())


def _evaluate(way: str, folder: Path) -> None:
    """One measured process."""
    if way == "command":
        given = {"--data": folder / "x.npz", "--threat": THREAT, "--out": folder / "run", "--row-budget": BUDGET}
        sys.argv = ["blindspots", "evaluate", NET, *(str(part) for pair in given.items() for part in pair)]
        blindspots()
        return
    stages = (Stage("descent", PGD(5), "a short one: memory is what is measured"),)
    data = bs.load_data(str(folder / "x.npz"))
    bs.evaluate(bs.load_model(NET), data=data, threat=bs.parse_threat(THREAT), protocol=stages, out=folder / "run")


def peak() -> int:
    """Of this process, in kB. Where the system tells no more, getrusage, which counts what the parent had before."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    try:
        _evaluate(sys.argv[1], Path(sys.argv[2]))
    except SystemExit as exit_:
        if exit_.code:
            raise
    print(peak())
