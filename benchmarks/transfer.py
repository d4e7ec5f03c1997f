"""Who fools whom among twelve networks: one call of ours, and the loop that one writes with torchattacks."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.count import Counted
from benchmarks.page import Section, percent, table, versions
from blindspots.attacks import parse_attack

ROWS, MODELS = 200, 12
SETS = {"mnist": 0.2, "cifar10": 8 / 255}
OURS = ("mifgsm", "mifgsm+di", "mifgsm+di+ti", "vmifgsm")
PEERS = ("MIFGSM", "DIFGSM", "TIFGSM", "VMIFGSM")
HEAD = ("networks", "by", "attack", "others err", "noise", "own errs", "CPU s", "forwards", "backwards")
READ = """Each network's examples are made once and fed to all twelve. "Others err": mean over the cells off the
diagonal of the share of rows that the other network gets wrong; "own errs": on the diagonal; "noise": what noise of
the same size does off the diagonal (torchattacks has none; its TIFGSM takes colour images alone). Both sides take 10
steps of a quarter of the radius; where they look at several views per step, as many as the library does by itself.
Time and passes are of everything: making and feeding, and here the noise and the clean rows, too."""

Errors = list[list[float]]


def measure(args: argparse.Namespace) -> Section | None:
    if zoo() is None:
        return None
    numbers = [n for task, radius in SETS.items() for n in _task(task, radius, args.rows or ROWS)]
    text = f"{table(HEAD, [_row(n) for n in numbers])}\n\n{READ} {versions('torchattacks')}."
    return Section("Transfer", text, numbers)


def _task(task: str, radius: float, rows: int) -> list[dict[str, Any]]:
    loader = zoo()
    assert loader is not None
    x, y = loader.images(task, "test", rows)
    nets = {name: loader.load(name) for name in loader.names(task)[:MODELS]}
    ways: list[tuple[str, str, Callable[[Sequence[nn.Module]], tuple[Errors, float | None]]]]
    ways = [("blindspots", name, partial(_ours, name, x, y, radius)) for name in OURS]
    ways += [
        ("torchattacks", name, partial(_theirs, name, x, y, radius))
        for name in PEERS
        if x.shape[1] == 3 or name != "TIFGSM"
    ]
    return [
        _measured(f"{len(nets)} {task}, linf {radius:.3g}", by, name, list(nets.values()), way)
        for by, name, way in ways
    ]


def _measured(
    title: str, by: str, name: str, nets: Sequence[nn.Module], way: Callable[[Sequence[nn.Module]], Any]
) -> dict[str, Any]:
    counted = [Counted(net) for net in nets]
    took = clock(lambda: way(counted))
    error, noise = took.result
    return {
        "networks": title, "by": by, "attack": name, "others": _mean(error, False), "noise": noise,
        "own": _mean(error, True), "cpu": took.cpu, "wall": took.wall,
        "forwards": sum(n.forwards for n in counted), "backwards": sum(n.backwards for n in counted), "error": error,
    }  # fmt: skip


def _ours(name: str, x: Tensor, y: Tensor, radius: float, nets: Sequence[nn.Module]) -> tuple[Errors, float | None]:
    models = [bs.Model(net, name=str(i)) for i, net in enumerate(nets)]
    run = bs.transfer(models, x, y, threat=bs.Linf(radius), attack=parse_attack(name), threads=torch.get_num_threads())
    return run.verdict.error, _mean(run.verdict.noise, False)


def _theirs(name: str, x: Tensor, y: Tensor, radius: float, nets: Sequence[nn.Module]) -> tuple[Errors, float | None]:
    import torchattacks

    def fed(source: nn.Module) -> list[float]:
        attack = getattr(torchattacks, name)(source, eps=radius, alpha=radius / 4, steps=10)
        moved = torch.cat([attack(a, b) for a, b in zip(x.split(50), y.split(50), strict=True)])
        with torch.no_grad():
            return [float((net(moved).argmax(1) != y).float().mean()) for net in nets]

    torch.manual_seed(0)
    return [fed(net) for net in nets], None


def _mean(matrix: Errors, own: bool) -> float:
    cells = [v for i, row in enumerate(matrix) for j, v in enumerate(row) if (i == j) == own]
    return sum(cells) / len(cells)


def _row(n: dict[str, Any]) -> list[Any]:
    noise = "" if n["noise"] is None else percent(n["noise"])
    return [
        n["networks"], n["by"], n["attack"], percent(n["others"]), noise, percent(n["own"]), round(n["cpu"], 1),
        n["forwards"], n["backwards"],
    ]  # fmt: skip
