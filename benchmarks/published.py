"""The protocol `autoattack` against AutoAttack: the same number, at less cost."""

import argparse
from typing import Any

import blindspots as bs
from benchmarks.autoattack import kept
from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import clock
from benchmarks.count import Counted
from benchmarks.page import Section, percent, table, versions
from benchmarks.verdict import CASES

ROWS, STEPS = 500, 100
HEAD = (
    "model", "threat", "rows", "robust: AutoAttack", "robust: `autoattack`", "difference (points)",
    "AutoAttack forwards", "backwards", "`autoattack` forwards", "backwards", "of a robust row: forwards", "backwards",
    "AutoAttack (CPU s)", "`autoattack` (CPU s)",
)  # fmt: skip
READ = """AutoAttack is {library}, version="standard", with the original's 100 steps; its results are those of the
section above. `autoattack` has the same attacks in the same order with the same budgets. Forwards and backwards are per
row; the original takes 7,864 forwards and 1,910 backwards for a robust row, of which FAB's second look at every step
is 900."""


def measure(args: argparse.Namespace) -> Section:
    found = [(case, kept(case, args.rows or ROWS, STEPS)) for case in available(CASES, args)]
    numbers = [_compare(case, theirs) for case, theirs in found if theirs is not None]
    text = "\n\n".join([
        table(HEAD, [_row(n) for n in numbers]),
        READ.format(library=versions("torchattacks")) + ("" if zoo() else f" {NO_ZOO}"),
    ])  # fmt: skip
    return Section("The protocol `autoattack` against AutoAttack", text, numbers)


def _compare(case: Case, theirs: dict[str, Any]) -> dict[str, Any]:
    net, x, y = case.open(theirs["rows"])
    counted = Counted(net)
    took = clock(lambda: bs.evaluate(counted, x, y, threat=case.threat, protocol="autoattack"))
    done: bs.Evaluation = took.result
    dearest = [[int(c[name].max()) for c in done.shards()] for name in ("forwards", "backwards")]
    n = {
        "model": case.model, "threat": f"{case.norm} {case.eps}", "rows": theirs["rows"],
        "robust": [theirs["robust"], done.robust_accuracy],
        "forwards": [theirs["forwards"] / len(x), done.forwards / len(x)],
        "backwards": [theirs["backwards"] / len(x), done.backwards / len(x)],
        "robust_row": [max(d) for d in dearest], "cpu": [theirs["cpu"], round(took.cpu, 1)],
        "won": {s.name: s.won for s in done.verdict.stages},
    }  # fmt: skip
    print(*_row(n), n["won"], flush=True)
    return n


def _row(n: dict[str, Any]) -> list[Any]:
    theirs, ours = n["robust"]
    costs = n["forwards"][0], n["backwards"][0], n["forwards"][1], n["backwards"][1]
    return [n["model"], n["threat"], n["rows"], percent(theirs), percent(ours), round(100 * (ours - theirs), 2), *costs,
            *n["robust_row"], *n["cpu"]]  # fmt: skip
