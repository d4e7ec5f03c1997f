"""Every recipe on digits: clean and robust accuracy, its price, and how far its held-out figure was off.

As a program (`python -m benchmarks.recipes RECIPE`) it is the process that trains by one of them.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

import blindspots as bs
from benchmarks.page import ROOT, Section, percent, table
from benchmarks.settings import RADIUS, UNION
from blindspots.data import digits, digits_training
from blindspots.defend.hardening import HardenOptions, Watch
from blindspots.defend.hardening.recipe import names
from blindspots.evaluate import Evaluation
from blindspots.threat import parse_threat
from blindspots.verdict import Share

HEAD = (
    "recipe", "epochs", "clean", "robust", "95 % interval", "union", "95 % interval", "CPU s", "of it checks", "MB",
    "held out", "off",
)  # fmt: skip
READ = """`harden digits --data digits --threat {radius} --recipe R --no-controls --study-rows 0 --threads 1`, one seed,
each in a process of its own. "robust": on the 500 test rows by the protocol `fast`; "union": of the same rows those
that stand in {union}, each by `fast`. Intervals are exact (Clopper-Pearson). "CPU s": of the processor, from the
first step to the weights that were chosen, held-out checks included; their share by the clock beside it. "MB": the most
that the process held. "held out" chose the epoch; "off" is by how many points it lies above "robust" ({held_out}
held-out rows). For `multi-norm`, `universal`, `gaussian` and `natural`, {radius} is not what they train against."""


@dataclass(frozen=True)
class Row:
    """What one recipe came to."""

    recipe: str
    epochs: int
    clean: Share
    robust: Share
    union: Share
    seconds: float
    checks: float  # share of the seconds
    memory: int | None
    held_out: Share
    off: float


def measure(args: argparse.Namespace) -> Section:
    wanted = [name for name in names() if not args.models or name in args.models]
    rows = [_fresh(name) for name in wanted]
    rows.sort(key=lambda row: -row["robust"]["share"])
    read = READ.format(radius=RADIUS, union=" and in ".join(UNION), held_out=rows[0]["held_out"]["rows"])
    return Section("Recipes of hardening", f"{table(HEAD, [_line(row) for row in rows])}\n\n{read}", rows)


def _fresh(recipe: str) -> dict[str, Any]:
    """Trained and judged in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.recipes", recipe]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(*_line(row), flush=True)
    return row


def _line(row: dict[str, Any]) -> list[Any]:
    robust, union = ([percent(row[k]["share"]), _between(row[k]["interval"])] for k in ("robust", "union"))
    return [
        row["recipe"], row["epochs"], percent(row["clean"]["share"]), *robust, *union, row["seconds"],
        percent(row["checks"]), round(row["memory"] / 1e6) if row["memory"] else None,
        percent(row["held_out"]["share"]), f"{row['off']:+.1f}",
    ]  # fmt: skip


def _between(interval: tuple[float, float]) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"


def carry_out(recipe: str) -> Row:
    """One recipe, from the embedded network to the figures."""
    phases: list[tuple[str, float]] = []
    run = bs.harden(
        bs.load_model("digits"), data=digits_training(), test=digits(), threat=parse_threat(RADIUS), recipe=recipe,
        controls=False, study_rows=0, options=HardenOptions(threads=1),
        watch=Watch(phase=lambda text: phases.append((text, time.process_time()))),
    )  # fmt: skip
    v = run.verdict
    began = next(i for i, (text, _) in enumerate(phases) if text.startswith("Training"))
    return Row(
        recipe, v.epochs, _share(run.after, broken=False), _share(run.after), _union(run.model),
        round(phases[began + 1][1] - phases[began][1], 1), v.seconds_checks / (v.seconds + v.seconds_checks),
        v.peak_memory, v.held_out, v.held_out_off,
    )  # fmt: skip


def _union(model: bs.Model) -> Share:
    runs = [bs.evaluate(model, data=digits(), threat=parse_threat(threat)) for threat in UNION]
    stands = torch.stack([_stands(run) for run in runs]).all(0)
    return Share.of(int(stands.sum()), len(stands))


def _share(run: Evaluation, *, broken: bool = True) -> Share:
    """Of the test rows those that are right, and unless `broken` is False stay so."""
    hits = _stands(run) if broken else _right(run)
    return Share.of(int(hits.sum()), len(hits))


def _right(run: Evaluation) -> torch.Tensor:
    return torch.cat([columns["right"] for columns in run.shards()])


def _stands(run: Evaluation) -> torch.Tensor:
    return _right(run) & ~run.won


def _main() -> None:
    torch.set_num_threads(1)
    row = asdict(carry_out(sys.argv[1]))
    print(json.dumps({k: v.model_dump() if isinstance(v, Share) else v for k, v in row.items()}))


if __name__ == "__main__":
    _main()
