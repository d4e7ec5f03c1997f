"""The default protocol against AutoAttack: as strong, at what part of its cost."""

import argparse
from functools import cache
from statistics import median
from typing import Any

import blindspots as bs
from benchmarks.autoattack import autoattack, kept
from benchmarks.cases import NO_ZOO, Case, available, zoo
from benchmarks.clock import clock
from benchmarks.count import Counted
from benchmarks.page import Section, percent, table, versions

ROWS = 500
CASES = [Case(*line.split()) for line in """
    digits-robust            linf 0.15
    mnist_fastadv_pgd_madry  linf 0.3
    mnist_trades_smallcnn    linf 0.3
    mnist_fastadv_fgsm       linf 0.3
    rvb_LPD_MLP_B_01         linf 0.1
    rvb_ADV_MLP_B_01         linf 0.1
    rvb_mnist_MLP_9_100_ADV  linf 0.1
    cifar10_cnn_a_adv        linf 2/255
    cifar10_cnn_a_adv4       linf 4/255
    cifar10_resnet2b_pgd     linf 2/255
    cifar10_vit_pgd_2_3_16   linf 1/255
    rvb_cifar_cnn_small_LPD  linf 2/255
    mnist_fastadv_pgd_madry  l2   1.5
    mnist_trades_smallcnn    l2   1.5
    rvb_ADV_MLP_B_01         l2   1.0
    cifar10_cnn_a_adv        l2   0.25
    cifar10_cnn_a_adv4       l2   0.5
    cifar10_resnet2b_pgd     l2   0.25
    cifar10_vit_pgd_2_3_16   l2   0.15
    cifar10_kw_small_l2_36px l2   36/255
""".strip().splitlines()]  # fmt: skip
HEAD = (
    "model", "threat", "rows", "clean", "robust: AutoAttack", "robust: `fast`", "rows more", "AutoAttack forwards",
    "backwards", "`fast` forwards", "backwards", "cheaper", "cheaper, padding counted", "AutoAttack (s)", "`fast` (s)",
    "faster",
)  # fmt: skip
READ = """Forwards and backwards are per row. "cheaper" compares forwards + 2 backwards of what rows asked for, as a
verdict states it; "padding counted" is for everything that the network computed, preflight included, where calls for a
few last rows are filled up to 16. "rows more" are rows that stand under `fast` and fall under AutoAttack, less the
reverse: 0 or fewer is good. Both see the same rows, the first of the test set. AutoAttack's results are kept in
`benchmarks/results/autoattack.json`, so the two times come from moments of different load: "faster" is a magnitude."""


def measure(args: argparse.Namespace) -> Section:
    numbers = {steps: _numbers(args, steps) for steps in args.steps}
    text = "\n\n".join(_text(steps, *found) for steps, found in numbers.items())
    raw = [n for found, _ in numbers.values() for n in found]
    return Section("Verdict: `fast` against AutoAttack", f"{text}\n\n{READ}" + ("" if zoo() else f" {NO_ZOO}"), raw)


def _numbers(args: argparse.Namespace, steps: int) -> tuple[list[dict[str, Any]], list[str]]:
    """What was compared, and what could not be."""
    rows, missing, numbers = args.rows or ROWS, [], []
    for case in available(CASES, args):
        if args.cached and kept(case, rows, steps) is None:
            missing.append(f"{case.model} {case.norm} {case.eps}")
            continue
        numbers.append(_compare(case, autoattack(case, rows, steps)))
        print(steps, *_row(numbers[-1]), flush=True)
    return numbers, missing


def _compare(case: Case, theirs: dict[str, Any]) -> dict[str, Any]:
    ours = fast(case, theirs["rows"])
    return {
        "model": case.model,
        "threat": f"{case.norm} {case.eps}",
        "rows": theirs["rows"],
        "fast": ours,
        "autoattack": theirs,
        "rows_more": round((ours["robust"] - theirs["robust"]) * theirs["rows"]),
        "cheaper": _cost(theirs) / _cost(ours),
        "cheaper_padded": _cost(theirs) / _cost(ours["computed"]),
        "faster": theirs["wall"] / ours["wall"],
    }


@cache
def fast(case: Case, rows: int) -> dict[str, Any]:
    net, x, y = case.open(rows)
    counted = Counted(net)
    took = clock(lambda: bs.evaluate(counted, x, y, threat=case.threat, protocol="fast"))
    v = took.result.verdict
    return {
        "clean": v.clean_accuracy,
        "robust": v.robust_accuracy,
        "interval": v.interval,
        "forwards": v.forwards,
        "backwards": v.backwards,
        "computed": {"forwards": counted.forwards, "backwards": counted.backwards},
        "wall": round(took.wall, 2),
        "cpu": round(took.cpu, 2),
        "stages": {s.name: [s.rows, s.won, s.forwards, s.backwards] for s in v.stages},
    }


def _cost(n: dict[str, Any]) -> float:
    return float(n["forwards"] + 2 * n["backwards"])


def _row(n: dict[str, Any]) -> list[Any]:
    ours, theirs, rows = n["fast"], n["autoattack"], n["rows"]
    return [n["model"], n["threat"], rows, percent(ours["clean"]), percent(theirs["robust"]), percent(ours["robust"]),
            n["rows_more"], theirs["forwards"] / rows, theirs["backwards"] / rows, ours["forwards"] / rows,
            ours["backwards"] / rows, n["cheaper"], n["cheaper_padded"],
            theirs["wall"], ours["wall"], n["faster"]]  # fmt: skip


def _text(steps: int, numbers: list[dict[str, Any]], missing: list[str]) -> str:
    budget = "as in the original" if steps == 100 else "as torchattacks ships it; the original takes 100"
    head = (
        f'AutoAttack is {versions("torchattacks")}, version="standard", with {steps} steps in APGD, APGD-T and FAB '
        f"({budget}) and 5,000 queries in Square."
    )
    left = f"\n\nAutoAttack has not been run on: {', '.join(missing)}." if missing else ""
    return f"{head}\n\n{table(HEAD, [_row(n) for n in numbers])}\n\n{_sum(numbers)}{left}"


def _sum(numbers: list[dict[str, Any]]) -> str:
    if not numbers:
        return "Nothing was compared."
    cheaper, padded, more = ([n[key] for n in numbers] for key in ("cheaper", "cheaper_padded", "rows_more"))
    return (
        f"In the median of {len(numbers)} `fast` costs {median(cheaper):.0f} times less ({median(padded):.0f} with "
        f"padding), at least {min(cheaper):.1f} times less ({min(padded):.1f}). Its robust accuracy is lower than "
        f"AutoAttack's on {sum(m < 0 for m in more)}, equal on {sum(m == 0 for m in more)}, higher on "
        f"{sum(m > 0 for m in more)} (by {max(*more, 0)} rows at most)."
    )
