"""Single attacks, side by side with the same attacks of other libraries."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import blindspots as bs
from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import Took, interleaved, middle
from benchmarks.count import Counted
from benchmarks.page import Section, percent, table, versions
from benchmarks.peers import PEERS, Peer, adv_lib
from blindspots.attacks import ALMA, APGD, DDN, FMN, PGD, Attack, CarliniWagner, DeepFool, Square, SuperDeepFool
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings
from blindspots.models import Model
from blindspots.objective import LossName, Objective
from blindspots.oracle import Oracle
from blindspots.problem import Problem
from blindspots.rows import Around
from blindspots.threat import Threat
from blindspots.threats import parse_threat

ROWS, REPEATS = 200, 3
CASES = [
    Case("digits-robust", "linf", "0.15"),
    Case("cifar10_cnn_a_adv", "linf", "2/255"),
    Case("mnist_fastadv_pgd_madry", "linf", "0.3"),
]
HEAD = (
    "attack", "norm", "library", "success", "median distance", "forwards", "backwards", "CPU s", "wall s", "/ ours",
)  # fmt: skip
READ = """Success: share of the rows that were right at first for which the returned point is misclassified and inside
the threat. Median distance over all rows, those that were wrong at first counting 0, those without an example as
infinite. Forwards and backwards per row. "blindspots" is `bs.attack` as users call it, with preflight and
confirmations; attacks in a ball stop a row at its first success. "to the end" is the same search without that, for
equal counts. The last column is a library's CPU time over that of "blindspots": above 1, ours is faster. All start
once, with the same steps and step sizes, on the first {rows} rows of the test set; the other libraries take them as one
batch. Times are medians of {repeats} interleaved rounds."""


@dataclass(frozen=True)
class Trial:
    name: str
    attack: Attack
    norms: tuple[str, ...]
    loss: LossName | None = None


TRIALS = [
    Trial("PGD-40", PGD(40), ("linf",)),
    Trial("APGD-100 ce", APGD(100), ("linf",), "ce"),
    Trial("APGD-100 dlr", APGD(100), ("linf",), "dlr"),
    Trial("FMN-100", FMN(100), ("linf", "l2", "l1", "l0")),
    Trial("DDN-100", DDN(100), ("l2",)),
    Trial("C&W", CarliniWagner(), ("l2",)),
    Trial("DeepFool", DeepFool(), ("l2", "linf")),
    Trial("SuperDeepFool", SuperDeepFool(), ("l2",)),
    Trial("ALMA-100", ALMA(100), ("l2",)),
    Trial("Square-1000", Square(1000), ("linf",)),
]


@dataclass(frozen=True)
class Scene:
    """A model, its rows, and one attack under one threat. `radius` is infinite for the smallest distance."""

    net: nn.Module
    x: Tensor
    y: Tensor
    right: Tensor
    trial: Trial
    threat: Threat

    @property
    def radius(self) -> float:
        return math.inf if self.threat.radius is None else self.threat.radius


def measure(args: argparse.Namespace) -> Section:
    for library in ("foolbox", "torchattacks", "art.attacks.evasion", "art.estimators.classification"):
        import_module(library)  # not on the clock
    rows, repeats = args.rows or ROWS, args.repeats or REPEATS
    numbers = [n for case in available(CASES, args) for n in _on(case, rows, repeats)]
    parts = [f"### {model}\n\n{table(HEAD, [_row(n) for n in numbers if n['model'] == model])}"
             for model in dict.fromkeys(n["model"] for n in numbers)]  # fmt: skip
    text = "\n\n".join(
        [_libraries(), *parts, READ.format(rows=rows, repeats=repeats) + ("" if zoo() else f" {NO_ZOO}")]
    )
    return Section("Single attacks", text, numbers)


def _libraries() -> str:
    said = versions("foolbox", "torchattacks", "adversarial-robustness-toolbox")
    if not adv_lib():
        return f"{said}. adv-lib was not importable."
    try:
        return f"{said}, {versions('adv-lib')}."
    except PackageNotFoundError:
        return f"{said}, adv-lib from its sources."


def _on(case: Case, rows: int, repeats: int) -> list[dict[str, Any]]:
    net, x, y = case.open(rows)
    with torch.no_grad():
        right = net.eval().requires_grad_(False)(x).argmax(1) == y
    found = []
    for trial in TRIALS:
        for norm in trial.norms:
            threat = parse_threat(norm) if trial.attack.minimal else case.threat
            found += _compare(case, Scene(net, x, y, right, trial, threat), norm, repeats)
    return found


def _compare(case: Case, scene: Scene, norm: str, repeats: int) -> list[dict[str, Any]]:
    contenders: dict[str, Callable[[Counted], Tensor]] = {"blindspots": lambda net: _ours(scene, net)}
    if not scene.trial.attack.minimal:
        contenders["blindspots, to the end"] = lambda net: _to_the_end(scene, net)
    for peer in PEERS:
        if (peer.attack, peer.norm) == (scene.trial.name, norm) and peer.there:
            contenders[peer.package] = _caller(peer, scene)
    took = interleaved({name: partial(_once, f, scene) for name, f in contenders.items()}, repeats)
    base = median(t.cpu for t in took["blindspots"])
    return [_numbers(case, scene, norm, name, runs, base) for name, runs in took.items()]


def _caller(peer: Peer, scene: Scene) -> Callable[[Counted], Tensor]:
    return lambda net: peer.run(net, scene.x, scene.y, scene.radius)


def _once(f: Callable[[Counted], Tensor], scene: Scene) -> tuple[Tensor, Counted]:
    torch.manual_seed(0)
    net = Counted(scene.net)
    return f(net).detach(), net


def _ours(scene: Scene, net: Counted) -> Tensor:
    """As users get it; the nearest example where the distance counts."""
    t = scene.trial
    done: bs.Evaluation = bs.attack(net, scene.x, scene.y, t.attack, threat=scene.threat, loss=t.loss)
    return done.adversarial


def _to_the_end(scene: Scene, net: Counted) -> Tensor:
    trial, x = scene.trial, scene.x
    model, at = Model(net), torch.arange(len(x))
    with model.borrowed():
        ledger = Ledger.blank(x, torch.full((len(x),), math.inf))
        samples = Samples(at, x, scene.y, torch.full((len(x),), scene.radius))
        jobs = Jobs(samples, model.logits(x).detach(), fixed(x), None, 1, seed=0, stream=0)
        problem = Problem(Objective(loss=trial.loss or trial.attack.loss), scene.threat)
        Search(trial.attack, Oracle(model, chunk=16), problem, jobs, ledger, at, Settings(stop_early=False)).run()
    return ledger.near


def _numbers(case: Case, scene: Scene, norm: str, name: str, runs: list[Took], base: float) -> dict[str, Any]:
    adversarial, net = runs[0].result
    won, distance = _judge(scene, adversarial)
    took, rows = middle(runs), len(scene.x)
    return {
        "model": case.model,
        "attack": scene.trial.name,
        "norm": norm,
        "package": name,
        "rows": rows,
        "success": float(won[scene.right].float().mean()),
        "distance": float(distance.median()) if scene.trial.attack.minimal else None,
        "forwards": net.forwards / rows,
        "backwards": net.backwards / rows,
        "cpu": round(took.cpu, 3),
        "wall": round(took.wall, 3),
        "ratio": took.cpu / base,
    }


def _judge(scene: Scene, adversarial: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each returned point succeeds, and its distance; by this function alone, for all libraries."""
    radius = torch.full((len(scene.x),), scene.radius)
    with torch.no_grad():
        wrong = scene.net(adversarial).argmax(1) != scene.y
    won = wrong & scene.threat.holds(adversarial, Around(scene.x, radius))
    norm = scene.threat.distance(adversarial, scene.x)
    return won, torch.where(scene.right, torch.where(won, norm, math.inf), 0.0)


def _row(n: dict[str, Any]) -> list[Any]:
    return [n["attack"], n["norm"], n["package"], percent(n["success"]), n["distance"], n["forwards"], n["backwards"],
            n["cpu"], n["wall"], n["ratio"]]  # fmt: skip
