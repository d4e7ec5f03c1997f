"""Lanes: how many calls of a service an attack takes when it asks several questions of a row in one batch."""

import argparse
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

import blindspots as bs
from benchmarks.cases import Case
from benchmarks.page import Section, table
from blindspots.attacks import parse_attack
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.loop import Settings
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.threats import parse_threat

BATCH = 64
ALONE = {Need.VALUE: 1000, Need.LABEL: 5000}  # queries of a row that is searched alone,
AMONG = 300  # and of one among others
ATTACKS = {
    "linf": ("nes", "spsa", "bandits", "hopskipjump", "geoda"),
    "l2": ("autozoom", "hopskipjump", "geoda", "signopt"),
}
RADIUS = {"linf": "0.15", "l2": "0.5"}
HEAD = ("threat", "attack", "rows", "queries, one lane", "queries, lanes", "charged to rows", "calls, one lane",
        "calls, lanes", "fewer")  # fmt: skip
READ = f"""On `digits-robust` as a service that takes {BATCH} inputs per call; attacks for the smallest distance have no
radius, the others have linf 0.15 or l2 0.5. One row is searched to the end of its queries, 1,000 of scores or 5,000 of
labels; of 128 rows, with 300 queries each, those leave that have a success, unless the distance counts. "One lane" is
one question of each row per call. With lanes a row asks all that its attack is certain to ask next, as far as a call
has room; adversarial examples, margins and what rows are charged for are the same bits (`check_attack` shows that).
What a batch asked beyond a row's first success was sent all the same: the run's total has it, the row's queries do not.
128 rows fill the calls by themselves, so lanes help only when few of them are left.

`bandits` asks in pairs, `rotatetranslate` for its whole grid. Where every question depends on the answer before, there
are no lanes: `square`, `simba`, `genattack` and `onepixel` (but for their first few), `boundary`, `rays`, and every
bisection, of which `signopt` has many. Square could guess that a proposal fails and ask for the next ones at once,
doubling their number with every failure: counted on its sequences of answers, 7 times fewer calls for 21 % more queries
on this network, where 4 % of the proposals are accepted, and 2 times fewer for 39 % more on `cifar10_marabou_small`,
where 18 % are. Queries are what a service is paid for, so it does not."""


@dataclass
class Service:
    """A network behind a function, and how often it was called."""

    net: torch.nn.Module
    calls: int = 0
    queries: int = 0

    def __call__(self, x: Any) -> Any:
        self.calls, self.queries = self.calls + 1, self.queries + len(x)
        full = torch.zeros(BATCH, *x.shape[1:])  # always as many, since that decides the last bits
        full[: len(x)] = torch.from_numpy(x)
        with torch.no_grad():
            return self.net(full)[: len(x)].numpy()


def measure(args: argparse.Namespace) -> Section:
    rows = [args.rows] if args.rows else [1, 128]
    lines = [_line(norm, name, n) for n, norm in product(rows, ATTACKS) for name in ATTACKS[norm]]
    return Section("Lanes: calls of a service", f"{table(HEAD, [list(n.values()) for n in lines])}\n\n{READ}", lines)


def _line(norm: str, name: str, rows: int) -> dict[str, Any]:
    queries = ALONE[parse_attack(name).need] if rows == 1 else AMONG
    (one, charged), (many, same) = (_asked(f"{name}:queries={queries}", norm, rows, lanes) for lanes in (1, None))
    assert torch.equal(charged, same), "rows are charged for other queries"
    line = {
        "threat": norm, "attack": name, "rows": rows, "queries_before": one.queries, "queries": many.queries,
        "charged": int(charged.sum()), "calls_before": one.calls, "calls": many.calls,
        "fewer": round(one.calls / many.calls, 1),
    }  # fmt: skip
    print(*line.values(), flush=True)
    return line


def _asked(name: str, norm: str, rows: int, lanes: int | None) -> tuple[Service, Tensor]:
    """What the service saw, and how many queries every row is charged for."""
    case, attack = Case("digits-robust", norm, RADIUS[norm]), parse_attack(name)
    net, x, y = _right(case, rows)
    threat = parse_threat(norm) if attack.minimal else case.threat
    stage = Stage(name, attack, "alone", Objective(loss=attack.loss), stop_early=False if rows == 1 else None)
    service = Service(net)
    oracle = Oracle(bs.BlackBox(service, classes=10), chunk=BATCH)
    with oracle.session():
        samples = Samples.within(threat, torch.arange(rows), x, y)
        board, _ = Cascade(oracle, threat, (stage,), settings=Settings(lanes=lanes)).run(samples)
    return service, board.ledger.forwards


def _right(case: Case, rows: int) -> tuple[torch.nn.Module, Tensor, Tensor]:
    net, x, y = case.open(2 * rows + 10)
    with torch.no_grad():
        at = (net.eval()(x).argmax(1) == y).nonzero()[:rows, 0]
    return net.requires_grad_(False), x[at], y[at]
