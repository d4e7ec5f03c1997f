"""`fast` where the truth is known: networks whose robust error was computed or bracketed exactly on all of MNIST."""

import argparse
import math
from typing import Any

from benchmarks.cases import Case, zoo
from benchmarks.page import Section, table
from benchmarks.verdict import fast
from blindspots.records import clopper_pearson

ROWS, TEST_SET = 8000, 10_000
# Robust error in % on the full test set: least and most possible (MILP), and what published PGD found.
TRUTHS = {
    Case("rvb_LPD_MLP_B_01", "linf", "0.1"): (14.45, 14.45, 13.39),
    Case("rvb_ADV_MLP_B_01", "linf", "0.1"): (16.25, 34.37, 15.86),
    Case("rvb_NOR_MLP_B", "linf", "0.02"): (10.16, 13.48, 10.06),
}
HEAD = ("model", "linf", "rows", "clean error %", "robust error % by `fast`", "95 % interval", "exact, all 10,000 %",
        "published PGD %", "forwards per row, padding counted", "backwards", "seconds")  # fmt: skip
READ = """The truths come from mixed-integer programming on the full test set (Salman, Yang, Zhang, Hsieh, Zhang 2019,
"A Convex Relaxation Barrier to Tight Robustness Verification of Neural Networks"); a bracket means that the solver left
rows undecided. Here the first rows of a shuffled copy are used, so an error above the exact one is luck of the sample,
and one below it that the interval does not explain is a weakness of the attack."""


def measure(args: argparse.Namespace) -> Section | None:
    if zoo() is None:
        return None
    cases = [c for c in TRUTHS if not args.models or any(m in c.model for m in args.models)]
    numbers = [_found(case, args.rows or ROWS) for case in cases]
    return Section("Known truths", f"{table(HEAD, [_row(n) for n in numbers])}\n\n{READ}", numbers)


def _found(case: Case, rows: int) -> dict[str, Any]:
    n = fast(case, rows)
    least, most, pgd = TRUTHS[case]
    robust = round(n["robust"] * rows)
    low, high = clopper_pearson(rows - robust, rows)
    print(case.model, 100 - 100 * n["robust"], flush=True)
    return {
        "model": case.model, "eps": case.eps, "rows": rows, "clean_error": 100 - 100 * n["clean"],
        "robust_error": 100 - 100 * n["robust"], "interval": [100 * low, 100 * high], "exact": [least, most],
        "published_pgd": pgd, **n["computed"], **{k: n[k] for k in ("wall", "cpu", "stages")},
    }  # fmt: skip


def _row(n: dict[str, Any]) -> list[Any]:
    low, high = n["interval"]
    least, most = n["exact"]
    truth = f"{least}" if math.isclose(least, most) else f"{least} to {most}"
    return [n["model"], n["eps"], n["rows"], f"{n['clean_error']:.2f}", f"{n['robust_error']:.2f}",
            f"{low:.2f} to {high:.2f}", truth, n["published_pgd"], n["forwards"] / n["rows"],
            n["backwards"] / n["rows"], n["wall"]]  # fmt: skip
