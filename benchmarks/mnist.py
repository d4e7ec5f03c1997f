"""A network hardened on MNIST from scratch, beside published ones, under the same protocol on the same rows."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.page import Section, percent, table
from blindspots.data import ArrayData
from blindspots.defend.hardening import Hardened, HardenOptions

RADIUS, ROWS, THREADS = 0.3, 1000, 2
RECIPE = Path(__file__).parent / "mnist.toml"
PUBLISHED = {
    "mnist_trades_smallcnn": "TRADES (Zhang et al. 2019)",
    "mnist_fastadv_pgd_madry": "PGD (Wong et al. 2020)",
    "mnist_fastadv_fgsm": "fast FGSM (Wong et al. 2020)",
}
HEAD = ("network", "trained by", "parameters", "clean", "robust", "95 % interval")
READ = """`{command}` from scratch on 60,000 rows, {epochs} epochs of the recipe `benchmarks/mnist.toml`: {minutes:.1f}
minutes of training on {threads} threads ({seconds:.0f} s an epoch, {natural:.0f} s without an adversary) and
{checks:.0f} s of held-out checks; one seed. All networks are judged by `evaluate --protocol fast`, linf
{radius}, on the first {rows} test rows."""


def network() -> nn.Sequential:
    """28x28 grey images to 10 logits."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2352, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def measure(args: argparse.Namespace) -> Section | None:
    z = zoo()
    if z is None:
        return None
    test = ArrayData(*z.images("mnist", "test", args.rows or ROWS))
    run = _hardened(z, test)
    v = run.verdict
    lines = [_line("ours", "`harden`, mnist.toml", run.model, v.after)]
    for name, how in PUBLISHED.items():
        model = bs.Model(z.load(name))
        lines.append(_line(name, how, model, _judged(model, test)))
        print(*lines[-1], flush=True)
    text = READ.format(
        command="blindspots harden", epochs=v.epochs, minutes=v.seconds / 60, threads=THREADS, seconds=v.seconds_epoch,
        natural=v.seconds_natural_epoch, checks=v.seconds_checks, radius=RADIUS, rows=len(test),
    )  # fmt: skip
    kept = {"lines": lines, "history": [e.model_dump() for e in v.history], "seconds": v.seconds}
    return Section("Hardening on MNIST beside published networks", f"{table(HEAD, lines)}\n\n{text}", [kept])


def _hardened(z: Any, test: ArrayData) -> Hardened:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return bs.harden(
            network(), *z.images("mnist", "train"), test=test, threat=bs.Linf(RADIUS), recipe=str(RECIPE),
            controls=False, study_rows=0, out=Path(folder) / "run", options=HardenOptions(threads=THREADS),
        )  # fmt: skip


def _judged(model: bs.Model, test: ArrayData) -> Any:
    return bs.evaluate(model, data=test, threat=bs.Linf(RADIUS), options=bs.Options(threads=THREADS)).verdict


def _line(name: str, how: str, model: bs.Model, v: Any) -> list[str]:
    low, high = v.interval
    between = f"{percent(low)} to {percent(high)}"
    return [name, how, f"{model.parameters:,}", percent(v.clean_accuracy), percent(v.robust_accuracy), between]
