"""Smallest distances: how near each attack comes to the least that any attack of any library finds, at equal budget."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import blindspots as bs
from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import clock
from benchmarks.count import Counted
from benchmarks.page import Section, percent, store, stored, table, versions
from benchmarks.peers import MINIMAL, MinimalPeer
from blindspots.attacks import parse_attack
from blindspots.ball import BALLS
from blindspots.rows import Around
from blindspots.threat import Threat

ROWS, BUDGET = 100, 2000  # forwards + backwards per row
CASES = [Case(*line.split()) for line in """
    mnist_fastadv_pgd_madry       linf 0.3
    mnist_fastadv_fgsm            linf 0.3
    mnist_advertorch_lenet5_clean linf 0.3
    cifar10_cnn_a_adv             linf 2/255
    cifar10_resnet2b_pgd          linf 2/255
    digits-robust                 linf 0.15
""".strip().splitlines()]  # fmt: skip
OURS = {
    "l2": ("protocol curve", "carliniwagner:steps=999", "alma:steps=999", "ddn:steps=999", "fmn:steps=999"),
    "linf": ("protocol curve", "carliniwagner:steps=999", "fmn:steps=999"),
    "l1": ("protocol curve", "ead:steps=999", "pdpgd:steps=999", "fmn:steps=999"),
    "l0": ("protocol curve", "sigmazero:steps=999", "carliniwagner:steps=999"),
}
HEAD = ("norm", "library", "attack", "optimality", "success", "forwards", "backwards", "seconds")
READ = """Optimality as AttackBench (Cina et al. 2024) has it: the area under an attack's curve (share of rows broken
against radius) over the area under the best curve that all attacks of all libraries make together, row by row, up to
the radius at which that one has broken every row. 100 %: no row is farther than the best known. The mean over
{models} models, on the first {rows} rows each that were right; budget {budget:,} forwards + backwards per row. Every
returned point is judged here, by the network alone; an attack that raised an error found
nothing on that model. Peers' results are kept in `benchmarks/results/distances.json`."""


@dataclass(frozen=True)
class Found:
    """What one attack came to on one model in one norm."""

    package: str
    attack: str
    distances: list[float]  # inf where nothing was found
    forwards: float
    backwards: float
    seconds: float


def measure(args: argparse.Namespace) -> Section:
    rows, cases = args.rows or ROWS, available(CASES, args)
    found = {(c.model, norm): _on(c, norm, rows, args.cached) for c in cases for norm in BALLS}
    numbers = [_summary(norm, [found[c.model, norm] for c in cases]) for norm in BALLS]
    flat = [line for lines in numbers for line in lines]
    text = "\n\n".join([
        versions("foolbox", "torchattacks", "adversarial-robustness-toolbox") + ", adv-lib.",
        table(HEAD, [_row(n) for n in flat]),
        READ.format(models=len(cases), rows=rows, budget=BUDGET) + ("" if zoo() else f" {NO_ZOO}"),
    ])  # fmt: skip
    return Section("Smallest distances: optimality", text, {"summary": flat, "models": [c.model for c in cases]})


def _on(case: Case, norm: str, rows: int, cached: bool) -> list[Found]:
    net, x, y = case.open(2 * rows)
    net = net.eval().requires_grad_(False)
    with torch.no_grad():
        right = (net(x).argmax(1) == y).nonzero()[:rows, 0]
    x, y, threat = x[right], y[right], BALLS[norm]()
    found = [_ours(net, x, y, threat, name) for name in OURS[norm]]
    found += [_theirs(case, net, x, y, threat, peer, cached) for peer in MINIMAL if peer.norm == norm]
    for f in found:
        print(case.model, norm, f.package, f.attack, f"median {torch.tensor(f.distances).median():.4g}",
              f"F+B {f.forwards + f.backwards:.0f} in {f.seconds:.1f} s", flush=True)  # fmt: skip
    return [f for f in found if f.distances]


def _ours(net: nn.Module, x: Tensor, y: Tensor, threat: Threat, name: str) -> Found:
    if name.startswith("protocol "):
        run = partial(bs.evaluate, protocol=name.removeprefix("protocol "))
    else:
        run = partial(bs.attack, attack=parse_attack(name))
    return _counted(net, x, y, threat, "blindspots", name, lambda n: run(n, x, y, threat=threat).adversarial)


def _theirs(case: Case, net: nn.Module, x: Tensor, y: Tensor, threat: Threat, peer: MinimalPeer, cached: bool) -> Found:
    key = f"{case.model} {peer.norm} {peer.package} {peer.attack} rows={len(x)}"
    kept = stored("distances").get(key)
    if kept is None and not cached:
        try:
            kept = vars(_counted(net, x, y, threat, peer.package, peer.attack, lambda n: peer.run(n, x, y)))
        except Exception as error:  # noqa: BLE001 - whatever another library raises: it found nothing
            print(f"{peer.package} {peer.attack} {peer.norm} on {case.model}: {error!r}", flush=True)
            kept = vars(Found(peer.package, peer.attack, [math.inf] * len(x), 0, 0, 0))
        store("distances", stored("distances") | {key: kept})
    return Found(**kept) if kept else Found(peer.package, peer.attack, [], 0, 0, 0)


def _counted(
    net: nn.Module, x: Tensor, y: Tensor, threat: Threat, package: str, name: str, run: Callable[[Counted], Tensor]
) -> Found:
    torch.manual_seed(0)
    counted = Counted(net)
    took = clock(lambda: run(counted).detach())
    with torch.no_grad():
        won = net(took.result).argmax(1) != y
    inside = threat.holds(took.result, Around(x, torch.full((len(x),), math.inf)))
    distance = torch.where(won & inside, threat.distance(took.result, x), math.inf)
    return Found(package, name, [round(d, 7) for d in distance.tolist()], counted.forwards / len(x),
                 counted.backwards / len(x), round(took.wall, 2))  # fmt: skip


def _summary(norm: str, per_model: list[list[Found]]) -> list[dict[str, Any]]:
    """One line per attack: its mean optimality over the models, the best first."""
    lines: dict[tuple[str, str], list[tuple[float, Found]]] = {}
    for found in per_model:
        for f, score in zip(found, optimality([f.distances for f in found]), strict=True):
            lines.setdefault((f.package, f.attack), []).append((score, f))
    whole = {k: v for k, v in lines.items() if len(v) == len(per_model)}
    summary = [_line(norm, *k, v) for k, v in whole.items()]
    return sorted(summary, key=lambda n: -n["optimality"])


def optimality(distances: list[list[float]]) -> list[float]:
    """Of every attack, from the distances that it found for the same rows."""
    d = torch.tensor(distances, dtype=torch.float64)
    best = d.amin(0)
    end = best[best.isfinite()].max()
    area = (end - d).clamp_min(0).sum(1)
    return (area / (end - best).clamp_min(0).sum()).tolist()


def _line(norm: str, package: str, attack: str, scored: list[tuple[float, Found]]) -> dict[str, Any]:
    n = len(scored)
    return {
        "norm": norm, "package": package, "attack": attack,
        "optimality": sum(s for s, _ in scored) / n,
        "per_model": [round(s, 4) for s, _ in scored],
        "success": sum(torch.tensor(f.distances).isfinite().float().mean().item() for _, f in scored) / n,
        "forwards": sum(f.forwards for _, f in scored) / n,
        "backwards": sum(f.backwards for _, f in scored) / n,
        "seconds": sum(f.seconds for _, f in scored) / n,
    }  # fmt: skip


def _row(n: dict[str, Any]) -> list[Any]:
    return [n["norm"], n["package"], n["attack"], percent(n["optimality"]), percent(n["success"]), n["forwards"],
            n["backwards"], n["seconds"]]  # fmt: skip
