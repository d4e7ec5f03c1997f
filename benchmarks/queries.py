"""Black-box attacks: how many questions a success takes, side by side with other libraries."""

import argparse
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import blindspots as bs
from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import clock
from benchmarks.page import Section, percent, store, stored, table, versions
from benchmarks.peers import QUERIES, QueryPeer
from blindspots.attacks import parse_attack
from blindspots.engine.cascade import Stage
from blindspots.objective import Objective
from blindspots.rows import Around
from blindspots.threat import Threat

ROWS, BUDGET, MARKS = 12, 5000, (100, 1000, 5000)
CASES = [Case(*line.split()) for line in """
    mnist_advertorch_lenet5_clean linf 0.15
    mnist_advertorch_lenet5_clean l2   2.0
    cifar10_marabou_small         linf 3/255
    cifar10_marabou_small         l2   0.5
    digits-robust                 linf 0.15
""".strip().splitlines()]  # fmt: skip
SCORES = {
    "linf": ("square:steps=5000", "bandits", "nes", "spsa"),
    "l2": ("square:steps=5000", "simba", "bandits", "nes"),
}
LABELS = {
    "linf": ("rays:queries=5000", "hopskipjump:queries=5000", "geoda:queries=5000"),
    "l2": ("hopskipjump:queries=5000", "signopt:queries=5000", "geoda:queries=5000", "boundary:queries=5000"),
}
HEAD = ("model", "threat", "answers", "library", "attack", "success at 100", "at 1,000", "at 5,000", "median queries",
        "seconds")  # fmt: skip
READ = """Success: share of {rows} rows, all right at first, for which a point that is misclassified and lies within the
radius was asked for among the first so many queries; queries are counted by the network's wrapper, from the first one
on, looking for a start included. The median counts rows without success as infinite. Every library attacks one row at a
time here, ours all rows together; a row of ours is charged for its own queries alone. Label-only attacks look for the
smallest distance; they succeed when it falls below the radius. ART's GeoDA does not run on NumPy 2, and
its SimBA refuses networks that return logits. Peers' results are kept in `benchmarks/results/queries-peers.json`."""


@dataclass(frozen=True)
class Asked:
    """What one attack came to: queries up to the success of every row, inf without one."""

    package: str
    attack: str
    answers: str
    queries: list[float]
    seconds: float


class Counter(nn.Module):
    """A network that is asked about one row, and remembers at which query it first gave in."""

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> None:
        super().__init__()
        self.net, self.x, self.y, self.threat = net.requires_grad_(False), x, y, threat
        self.count, self.first = 0, math.inf
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # some libraries hand float64 over
        out = self.net(x)
        around = Around(self.x.expand_as(x), torch.full((len(x),), self.threat.radius or 0.0))
        won = (out.argmax(1) != self.y) & self.threat.holds(x, around)
        if self.first == math.inf and bool(won.any()):
            self.first = self.count + int(won.nonzero()[0]) + 1
        self.count += len(x)
        if self.count >= BUDGET or self.first < math.inf:
            raise _StopAskingError
        return out


class _StopAskingError(Exception):
    """Nothing that is asked from here on matters."""


def measure(args: argparse.Namespace) -> Section:
    rows = args.rows or ROWS
    lines = [line for case in available(CASES, args) for line in _on(case, rows, args.cached)]
    text = "\n\n".join([
        versions("foolbox", "torchattacks", "adversarial-robustness-toolbox") + ".",
        table(HEAD, [_row(line) for line in lines]),
        READ.format(rows=rows) + ("" if zoo() else f" {NO_ZOO}"),
    ])  # fmt: skip
    return Section("Black box: queries to success", text, lines)


def _on(case: Case, rows: int, cached: bool) -> list[dict[str, Any]]:
    net, x, y = case.open(3 * rows)
    net = net.eval().requires_grad_(False)
    with torch.no_grad():
        right = (net(x).argmax(1) == y).nonzero()[:rows, 0]
    x, y = x[right], y[right]
    ours = [(name, "scores") for name in SCORES[case.norm]] + [(name, "labels") for name in LABELS[case.norm]]
    found = [_ours(net, x, y, case.threat, *named) for named in ours]
    found += [f for p in QUERIES if p.norm == case.norm and (f := _theirs(case, net, x, y, p, cached))]
    lines = [_line(case, f) for f in sorted(found, key=lambda f: f.answers)]
    for line in lines:
        print(*_row(line), flush=True)
    return lines


def _ours(net: nn.Module, x: Tensor, y: Tensor, threat: Threat, name: str, answers: str) -> Asked:
    attack = parse_attack(name)
    stage = Stage(name, attack, "alone", Objective(loss=attack.loss), stop_early=True)
    box = bs.BlackBox(_answering(net, answers), answers, classes=10)  # type: ignore[arg-type]
    took = clock(lambda: bs.evaluate(box, x, y, threat=threat, protocol=(stage,), row_budget=BUDGET))
    done: bs.Evaluation = took.result
    spent = torch.cat([columns["forwards"] for columns in done.shards()]).double()
    queries = torch.where(done.success, spent, math.inf)
    return Asked("blindspots", name, answers, queries.tolist(), round(took.wall, 1))


def _answering(net: nn.Module, answers: str) -> Callable[[Any], Any]:
    def answer(x: Any) -> Any:
        with torch.no_grad():
            scores = net(torch.from_numpy(x))
        return (scores.argmax(1) if answers == "labels" else scores).numpy()

    return answer


def _theirs(case: Case, net: nn.Module, x: Tensor, y: Tensor, peer: QueryPeer, cached: bool) -> Asked | None:
    key = f"{case.model} {case.norm} {case.eps} {peer.package} {peer.attack} rows={len(x)}"
    kept = stored("queries-peers").get(key)
    if kept is None and not cached:
        try:
            took = clock(lambda: [_first(net, x[i : i + 1], y[i : i + 1], case.threat, peer) for i in range(len(x))])
        except Exception as error:  # noqa: BLE001 - whatever another library raises
            print(f"{peer.package} {peer.attack} on {case.model}: {error!r}", flush=True)
            return None
        kept = vars(Asked(peer.package, peer.attack, peer.answers, took.result, round(took.wall, 1)))
        store("queries-peers", stored("queries-peers") | {key: kept})
    return Asked(**kept) if kept else None


def _first(net: nn.Module, x: Tensor, y: Tensor, threat: Threat, peer: QueryPeer) -> float:
    torch.manual_seed(0)
    counter = Counter(net, x, y, threat)
    with suppress(_StopAskingError):
        peer.run(counter, x, y, threat.radius or 0.0)
    return counter.first if counter.first <= BUDGET else math.inf


def _line(case: Case, f: Asked) -> dict[str, Any]:
    success = [sum(q <= mark for q in f.queries) / len(f.queries) for mark in MARKS]
    return {"model": case.model, "threat": f"{case.norm} {case.eps}", "answers": f.answers, "package": f.package,
            "attack": f.attack, "success": success, "median": median(f.queries), "seconds": f.seconds}  # fmt: skip


def _row(n: dict[str, Any]) -> list[Any]:
    return [n["model"], n["threat"], n["answers"], n["package"], n["attack"], *map(percent, n["success"]),
            n["median"], n["seconds"]]  # fmt: skip
