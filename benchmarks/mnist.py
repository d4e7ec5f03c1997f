"""A network hardened on MNIST from scratch, beside published ones, under the same protocol on the same rows."""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.page import Section, percent, table
from blindspots.data import ArrayData
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened

RADIUS, ROWS, PROCESSES = 0.3, 1000, 2
RUN = Path("runs/bench-mnist")  # a finished run there is read, not made again
PUBLISHED = {
    "mnist_trades_smallcnn": "TRADES (Zhang et al. 2019)",
    "mnist_fastadv_pgd_madry": "PGD (Wong et al. 2020)",
    "mnist_fastadv_fgsm": "fast FGSM (Wong et al. 2020)",
}
HEAD = ("network", "trained by", "parameters", "clean", "robust", "95 % interval")
READ = """From scratch on 60,000 rows of MNIST, of which 1,000 are held out, by {epochs} epochs of
`benchmarks/mnist.toml` on {processes} processes with one thread each: {minutes:.1f} minutes of training
({seconds:.0f} s an epoch) and {checks:.0f} s of held-out checks, one seed. All networks are judged by `evaluate
--protocol fast`, linf {radius}, on the first {rows} test rows."""


def network() -> nn.Sequential:
    """28x28 grey images to 10 logits."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2352, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def fresh() -> nn.Sequential:
    """With the same first weights in every process."""
    torch.manual_seed(0)
    return network()


def measure(args: argparse.Namespace) -> Section | None:
    z = zoo()
    if z is None:
        return None
    _harden(Path(z.HERE) / "data" / "images")
    done = opened(Folder(RUN))
    verdict, took = done.verdict, done.log.timing["training"]
    test = ArrayData(*z.images("mnist", "test", args.rows or ROWS))
    models = {"ours": ("`harden`, benchmarks/mnist.toml", bs.load_model(str(RUN / "model.pt2")))}
    models |= {name: (how, bs.Model(z.load(name))) for name, how in PUBLISHED.items()}
    lines = [_line(name, how, model, test) for name, (how, model) in models.items()]
    text = READ.format(
        processes=PROCESSES, epochs=verdict.epochs, minutes=took["epochs"] / 60, seconds=took["epoch"],
        checks=took["checks"], radius=RADIUS, rows=len(test),
    )  # fmt: skip
    kept = {"lines": lines, "history": [e.model_dump() for e in verdict.history], "seconds": took["epochs"]}
    return Section("Hardening on MNIST beside published networks", f"{table(HEAD, lines)}\n\n{text}", [kept])


def _harden(images: Path) -> None:
    """As a user would: two processes with a thread each, since more threads hardly help such small layers."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES), "-m"]
    command = (
        f"blindspots harden benchmarks.mnist:fresh --data {images}/mnist_train.npz --test {images}/mnist_test.npz "
        f"--test-rows {ROWS} --threat linf:{RADIUS} --recipe benchmarks/mnist.toml --no-controls --study-rows 0 "
        f"--threads 1 --out {RUN} --resume"
    )
    if not (RUN / "model.pt2").exists():
        subprocess.run([*torchrun, *command.split()], check=True)


def _line(name: str, how: str, model: bs.Model, test: ArrayData) -> list[str]:
    v = bs.evaluate(model, data=test, threat=bs.Linf(RADIUS)).verdict
    between = f"{percent(v.interval[0])} to {percent(v.interval[1])}"
    line = [name, how, f"{model.parameters:,}", percent(v.clean_accuracy), percent(v.robust_accuracy), between]
    print(*line, flush=True)
    return line
