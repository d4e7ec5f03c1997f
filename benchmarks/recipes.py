"""Every recipe on digits: clean and robust accuracy, its price, and how far its held-out figure was off.

As a program (`python -m benchmarks.recipes RECIPE`) it is the process that trains by one of them.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import blindspots as bs
from benchmarks.page import Section, percent, table
from benchmarks.settings import RADIUS, UNION
from blindspots.data import digits, digits_training
from blindspots.experiments.harden.config import FOR_TEXTS
from blindspots.experiments.harden.recipe import names
from blindspots.records import Share
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from blindspots.runs.world import Progress
from blindspots.threats import parse_threat

HEAD = (
    "recipe", "epochs", "clean", "robust", "95 % interval", "union", "95 % interval", "CPU s", "of it checks", "MB",
    "held out", "off",
)  # fmt: skip
READ = """`harden digits --data digits --threat {radius} --recipe R --no-controls --study-rows 0 --threads 1`, one seed,
each in a process of its own. "robust": on the 500 test rows by the protocol `fast`; "union": of the same rows those
that stand in {union}, each by `fast`. Intervals are exact (Clopper-Pearson). "CPU s": of the processor, from the
first step to the weights that were chosen, held-out checks included; their share by the clock beside it. "MB": the most
that the process held. "held out" chose the epoch; "off" is by how many points it lies above "robust" ({held_out}
held-out rows). `multi-norm` trains against
other threats, and so do `universal`, `gaussian` and `natural`."""


RUNS = Path("runs/bench-recipes")  # finished runs there are read, not made again


def measure(args: argparse.Namespace) -> Section:
    wanted = [name for name in names() if name not in FOR_TEXTS and (not args.models or name in args.models)]
    rows = [row(name) for name in wanted]
    rows.sort(key=lambda row: -row["robust"]["share"])
    read = READ.format(radius=RADIUS, union=" and in ".join(UNION), held_out=rows[0]["held_out"]["rows"])
    return Section("Recipes of hardening", f"{table(HEAD, [_line(row) for row in rows])}\n\n{read}", rows)


def row(recipe: str) -> dict[str, Any]:
    """What one recipe came to; it is trained in a process of its own."""
    if not _price(recipe).is_file():
        subprocess.run([sys.executable, "-m", "benchmarks.recipes", recipe], check=True)
    run = opened(Folder(RUNS / recipe))
    v, timing = run.verdict, run.log.timing["training"]
    hits = round(v.after.robust_accuracy * v.after.rows), round(v.after.clean_accuracy * v.after.rows)
    robust, clean = (Share.of(n, v.after.rows) for n in hits)
    found = {"clean": clean, "robust": robust, "union": _union(recipe), "held_out": v.held_out}
    said = {name: share.model_dump() for name, share in found.items()} | {
        "recipe": recipe, "epochs": v.epochs, "off": v.held_out_off, "memory": timing.get("peak_memory"),
        "checks": timing["checks"] / (timing["epochs"] + timing["checks"]), **json.loads(_price(recipe).read_text()),
    }  # fmt: skip
    print(*_line(said), flush=True)
    return said


def _line(row: dict[str, Any]) -> list[Any]:
    robust, union = ([percent(row[k]["share"]), _between(row[k]["interval"])] for k in ("robust", "union"))
    return [
        row["recipe"], row["epochs"], percent(row["clean"]["share"]), *robust, *union, row["seconds"],
        percent(row["checks"]), round(row["memory"] / 1e6) if row["memory"] else None,
        percent(row["held_out"]["share"]), "" if row["off"] is None else f"{row['off']:+.1f}",
    ]  # fmt: skip


def _between(interval: tuple[float, float]) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"


def _price(recipe: str) -> Path:
    return RUNS / f"{recipe}.json"


def _train(recipe: str) -> None:
    """From the embedded network to a run folder, and the seconds of the processor beside it."""
    told: list[tuple[Progress, float]] = []
    bs.harden(
        bs.load_model("digits"), data=digits_training(), test=digits(), threat=parse_threat(RADIUS), recipe=recipe,
        controls=False, study_rows=0, threads=1, engine="serial", out=RUNS / recipe, resume=True,
        watch=lambda progress: told.append((progress, time.process_time())),
    )  # fmt: skip
    began, ended = told[0][1], next(at for progress, at in told if progress.made)  # training is the first part
    seconds = ended - began
    _price(recipe).write_text(json.dumps({"seconds": round(seconds, 1)}))


def _union(recipe: str) -> Share:
    """Of the test rows those that stand in all threats of the union."""
    model, stands = bs.load_model(str(RUNS / recipe / "model.pt2")), []
    for threat in UNION:
        out = RUNS / f"{recipe}-{threat.replace(':', '-')}"
        run = bs.evaluate(model, data=digits(), threat=parse_threat(threat), out=out, resume=True)
        stands.append(torch.cat([columns["right"] & ~columns["won"] for columns in run.shards()]))
    both = torch.stack(stands).all(0)
    return Share.of(int(both.sum()), len(both))


if __name__ == "__main__":
    torch.set_num_threads(1)
    _train(sys.argv[1])
