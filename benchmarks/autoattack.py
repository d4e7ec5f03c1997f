"""AutoAttack as it can be installed: torchattacks' version, whose results are kept, because they take minutes."""

from datetime import UTC, datetime
from typing import Any

import torch

from benchmarks.cases import Case
from benchmarks.clock import clock
from benchmarks.count import Counted
from benchmarks.page import store, stored, versions
from blindspots.rows import Around

BATCH = 250


def key(case: Case, rows: int, steps: int) -> str:
    return f"{case.model} {case.norm}:{case.eps} rows={rows} steps={steps}"


def kept(case: Case, rows: int, steps: int) -> dict[str, Any] | None:
    """The stored result of a run that was asked for so many rows; a slow one may have been cut short."""
    result: dict[str, Any] | None = stored("autoattack").get(key(case, rows, steps))
    return result


def autoattack(case: Case, rows: int, steps: int) -> dict[str, Any]:
    """Stored if there is one, else run now and stored. `steps`: of APGD, APGD-T and FAB; 10 is what is shipped."""
    found = kept(case, rows, steps)
    if found is None:
        found = _run(case, rows, steps)
        store("autoattack", stored("autoattack") | {key(case, rows, steps): found})
    return found


def _run(case: Case, rows: int, steps: int) -> dict[str, Any]:
    net, x, y = case.open(rows)
    counted = Counted(net)
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    took = clock(lambda: torch.cat([_attack(counted, case, steps, *batch) for batch in batches]))
    adversarial, threat = took.result, case.threat
    with torch.no_grad():
        right = net(x).argmax(1) == y
        inside = threat.holds(adversarial, Around(x, torch.full((len(x),), threat.radius or 0.0)))
        fooled = right & inside & (net(adversarial).argmax(1) != y)
    return {
        "case": [case.model, case.norm, case.eps], "rows": len(x), "steps": steps, "library": versions("torchattacks"),
        "clean": int(right.sum()) / len(x), "robust": int((right & ~fooled).sum()) / len(x),
        "forwards": counted.forwards, "backwards": counted.backwards,
        "wall": round(took.wall, 1), "cpu": round(took.cpu, 1), "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }  # fmt: skip


def _attack(net: Counted, case: Case, steps: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    import torchattacks

    norm = {"linf": "Linf", "l2": "L2"}[case.norm]
    attack = torchattacks.AutoAttack(net, norm=norm, eps=case.threat.radius, version="standard", n_classes=10, seed=0)
    for part in attack._autoattack.attacks[:3]:  # APGD, APGD-T, FAB-T; the fourth is Square with its 5,000 queries
        part.steps = steps
    return attack(x, y).detach()
