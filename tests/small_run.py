"""A small evaluation of several shards and stages, and, as a program, one that is killed again and again."""

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import PGD, Bisect, Square
from blindspots.engine.cascade import Stage
from blindspots.engine.targets import Closest
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.runs.experiment import Columns
from blindspots.runs.store import LOG

SHAPE = (1, 8, 8)
THREAT = bs.Linf(0.02)
SETTINGS = {"chunk": 8, "slots": 16, "shard_rows": 16, "threads": 1}
STAGES = (
    Stage("first class", PGD(steps=1, stride=0.4), "a start", Objective(directed=True), Closest(1)),
    Stage("restarts", PGD(steps=5, random_start=True), "what stands", Objective(loss="ce"), restarts=2),
    Stage("square", Square(12), "without gradients", start="near"),
    Stage("shorten", Bisect(4), "broken rows", start="found", who="broken"),
)


def network() -> Model:
    """Fixed weights; load_model finds it by this file's path."""
    return Model(Net(), name="small", spec=SPEC)


SPEC = f"{__file__}:network"


class Net(nn.Sequential):
    def __init__(self, classes: int = 5) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            layers = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, classes)
        super().__init__(*layers)


def inputs(rows: int, classes: int = 5) -> tuple[Tensor, Tensor]:
    """8-bit values, so they are stored in 8 bits, and labels of which every seventh is not what `Net` says."""
    x = torch.randint(0, 256, (rows, *SHAPE), generator=torch.Generator().manual_seed(1)) / 255
    with torch.no_grad():
        y = Net(classes)(x).argmax(1)
    y[::7] = (y[::7] + 1) % classes
    return x, y


def run(out: Path | None = None, rows: int = 48, **changed: Any) -> Evaluation:
    """Evaluate; `changed` replaces arguments and settings of `evaluate`."""
    usual = {"threat": THREAT, "protocol": STAGES, "data": bs.ArrayData(*inputs(rows)), **SETTINGS}
    return bs.evaluate(changed.pop("model", None) or network(), out=out, **{**usual, **changed})


def everything(folder: Path) -> dict[str, bytes]:
    """All that a run wrote, but for what its log tells of clocks."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOG)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows_of(result: Evaluation) -> Columns:
    """Of all rows, in order: every column that has one entry per row."""
    parts = list(result.shards())
    return {k: torch.cat([p[k] for p in parts]) for k in parts[0] if all(len(p[k]) == len(p["id"]) for p in parts)}


def same_columns(a: Columns, b: Columns) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: a full disk, as far as a writer can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ------------------------------------------------------------------ as a program: FOLDER KILLS SEED


def _begin(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child


def main(folder: Path, kills: int, seed: int) -> None:
    """An undisturbed run in FOLDER/whole, and one in FOLDER/killed; all in children, that start in no time."""
    began = time.monotonic()
    os.waitpid(_begin(lambda: run(folder / "whole", rows=96)), 0)
    took, draw = time.monotonic() - began, random.Random(seed)
    for _ in range(kills):
        child = _begin(lambda: run(folder / "killed", rows=96, resume=True))
        time.sleep(draw.uniform(0, 2 * took / kills))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    _, status = os.waitpid(_begin(lambda: run(folder / "killed", rows=96, resume=True)), 0)
    sys.exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
