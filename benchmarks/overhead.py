"""What the engine costs on top of the network: PGD-40 through it against a bare loop."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import Took, clock, interleaved, middle, ratio
from benchmarks.page import Section, table
from blindspots.attacks import PGD
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings
from blindspots.models import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Problem

STEPS, BATCH, REPEATS = 40, 256, 7
CASES = {Case("digits-robust", "linf", "0.15"): 1.25, Case("cifar10_resnet20", "linf", "8/255"): 1.05}
HEAD = (
    "model", "batch", "bare loop (CPU s)", "its network alone", "engine (CPU s)", "engine / bare, CPU", "wall", "goal",
    "engine / network alone, CPU", "engine as users get it / bare, CPU",
)  # fmt: skip
READ = f"""Medians of interleaved rounds on the same model and batch. The bare loop is PGD-{STEPS} as one would write
it: forward, gradient of the summed cross entropy, signed step, clamp; "its network alone" is the share of forwards and
gradients in it. The engine runs the same attack with everything that a verdict needs: it judges every point, keeps the
best, counts, and has a clock per row. It also takes one last look, 1/{STEPS} of the forwards, that the bare loop does
not. Both call the network with the whole batch at once; the last column is the engine with its usual calls of 16 rows.
"""


def measure(args: argparse.Namespace) -> Section:
    cases = available(CASES, args)
    numbers = [_compare(case, args.rows or BATCH, args.repeats or REPEATS) for case in cases]
    text = table(HEAD, [_row(n) for n in numbers])
    return Section("Engine overhead", f"{text}\n\n{READ.strip()}" + ("" if zoo() else f" {NO_ZOO}"), numbers)


def _row(n: dict[str, Any]) -> list[Any]:
    return [n["model"], n["batch"], n["bare"]["cpu"], n["network"]["cpu"], n["engine"]["cpu"], n["ratio"]["cpu"],
            n["ratio"]["wall"], n["goal"], n["ratio_to_network"]["cpu"], n["usual_ratio"]["cpu"]]  # fmt: skip


def _compare(case: Case, batch: int, repeats: int) -> dict[str, Any]:
    net, x, y = case.open(batch)
    radius = float(case.threat.radius or 0)
    model = Model(net)
    contenders: dict[str, Callable[[], Took | None]] = {
        "bare": lambda: bare_pgd(net, x, y, radius),
        "engine": engine(model, x, y, case, chunk=len(x), slots=len(x)),
        "usual": engine(model, x, y, case, chunk=16, slots=128),
    }
    with model.borrowed():
        interleaved(contenders, 1)  # warm up
        took = interleaved(contenders, repeats)
    took["network"] = [t.result for t in took["bare"]]
    return _numbers(case, len(x), repeats, took)


def _numbers(case: Case, batch: int, repeats: int, took: dict[str, list[Took]]) -> dict[str, Any]:
    said = {name: _said(middle(t)) for name, t in took.items()}
    return {
        "model": case.model, "batch": batch, "steps": STEPS, "repeats": repeats, "goal": CASES[case], **said,
        "ratio": _said(ratio(took["engine"], took["bare"])),
        "ratio_to_network": _said(ratio(took["engine"], took["network"])),
        "usual_ratio": _said(ratio(took["usual"], took["bare"])),
    }  # fmt: skip


def _said(took: Took) -> dict[str, float]:
    return {"wall": round(took.wall, 4), "cpu": round(took.cpu, 4)}


def _gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x.requires_grad_()
    return torch.autograd.grad(F.cross_entropy(net(x), y, reduction="sum"), x)[0]


def bare_pgd(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Took:
    """What forwards and gradients alone took of it."""
    z, lo, hi = x.clone(), (x - radius).clamp_min(0), (x + radius).clamp_max(1)
    wall = cpu = 0.0
    for _ in range(STEPS):
        took = clock(partial(_gradient, net, z, y))
        wall, cpu = wall + took.wall, cpu + took.cpu
        z = (z.detach() + 2.5 / STEPS * radius * took.result.sign()).clamp(lo, hi)
    return Took(wall, cpu)


def engine(model: Model, x: Tensor, y: Tensor, case: Case, *, chunk: int, slots: int) -> Callable[[], None]:
    """PGD on all rows to its end, without the first look that a protocol takes once."""
    oracle, problem = Oracle(model, chunk=chunk), Problem(Objective(loss="ce"), case.threat)
    at = torch.arange(len(x))
    samples = Samples(at, x, y, torch.full((len(x),), float(case.threat.radius or 0)))

    def run() -> None:
        ledger = Ledger.blank(x, torch.ones(len(x)))
        jobs = Jobs(samples, torch.zeros(len(x), 2), fixed(x), None, 1, seed=0, stream=0)
        Search(PGD(STEPS), oracle, problem, jobs, ledger, at, Settings(slots, stop_early=False)).run()

    return run
