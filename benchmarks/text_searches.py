"""Texts: what searches find of what exhaustive search finds, and their order at equal lattice."""

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks.cases import zoo
from benchmarks.page import Section, percent, table
from benchmarks.text_cases import Case, chosen, evaluated, flips_and_costs, fresh, synonyms
from benchmarks.victims import data_of, folder

ROWS = 200
EMBEDDED = ("reviews-lstm", "reviews-cnn", "reviews-transformer")
REAL = ("mr-lstm", "mr-cnn", "sst2-lstm", "sst2-cnn")
STRENGTH = ("victim", "rows", "exhaustive: flips", "forwards per row", "greedy: flips", "beam 8: flips",
            "text-fast: flips", "share found", "evaluations per row")  # fmt: skip


def strength(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Within two words."""
    lines = []
    for name in names:
        candidates = "synonyms" if data_of(name) == "reviews" else synonyms("cf_ppdb_synonyms.txt")
        on, found = Case(name, rows, candidates, radius=2), {}
        for search in ("exhaustive", "greedy", "beam:width=8", "text-fast"):
            flips, _, each = flips_and_costs(evaluated(on, search, fresh(name)))
            found[search] = {"flips": flips, "asked": each}
        lines.append({"victim": name, "rows": len(on.texts.texts), **found})
        print(*_strength_row(lines[-1]), flush=True)
    return lines


def _strength_row(n: dict[str, Any]) -> list[Any]:
    most, fast = n["exhaustive"], n["text-fast"]
    share = percent(fast["flips"] / most["flips"]) if most["flips"] else ""
    return [n["victim"], n["rows"], most["flips"], round(most["asked"], 1), n["greedy"]["flips"],
            n["beam:width=8"]["flips"], fast["flips"], share, round(fast["asked"], 1)]  # fmt: skip


ORDER = ("victim", "search", "rows", "success", "evaluations per success")
ALL = {
    "WIR, gradient": "rankedbygradient", "WIR, random": "ranked:order=random", "WIR, unknown": "ranked:order=unknown",
    "WIR, delete": "ranked:order=delete", "WIR, saliency": "ranked:order=saliency", "greedy": "greedy",
    "beam 8": "beam:width=8", "genetic": "genetic", "swarm": "swarm",
}  # fmt: skip


def order(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    lines = []
    for name in names:
        on = Case(name, rows, f"wordnet:file={folder() / 'oewn_synonyms.json.gz'}", radius=2)
        for search, attack in ALL.items():
            flips, asked, _ = flips_and_costs(evaluated(on, attack, fresh(name)))
            lines.append(
                {"victim": name, "search": search, "rows": len(on.texts.texts), "flips": flips, "asked": asked}
            )
            print(*_order_row(lines[-1]), flush=True)
    return lines


def _order_row(n: dict[str, Any]) -> list[Any]:
    return [n["victim"], n["search"], n["rows"], percent(n["flips"] / n["rows"]), round(n["asked"], 1)]


READ = """Within two words, with the embedded synonyms for the reviews and those of PPDB for MR and SST-2, on rows of
the test set that are right at first. Exhaustive search tells how many rows can be flipped at all. Evaluations are those
that rows are charged for; a text that was asked about before costs no forward."""
ORDERED = """Within two words, with the synonyms of Open English WordNet, on half as many rows. Published (Yoo et al.
2020, WordNet: success and queries per success) for an LSTM on MR: WIR by unknown words 72.0 % with 36, greedy 74.2 %
with 59, swarm 76.6 % with 1,179; for BERT on MR: WIR by gradient 53.4 % with 24, by unknown words 55.6 % with 40, by
saliency 58.2 % with 71, greedy 59.4 % with 69, beam 8 65.8 % with 303, genetic 65.6 % with 1,063, swarm 65.4 % with
2,078. The order is the same here: rankings are cheapest, greedy finds more, beam most. Only the price of beam, genetic
and swarm differs: a row leaves with its first success, and two words leave them little to search."""


def measure(args: argparse.Namespace) -> Section:
    rows, real = args.rows or ROWS, REAL if zoo() else ()
    within, free = strength(rows, chosen((*EMBEDDED, *real), args.models)), order(rows // 2, chosen(real, args.models))
    text = "\n\n".join([
        table(STRENGTH, list(map(_strength_row, within))), READ, table(ORDER, list(map(_order_row, free))), ORDERED,
    ])  # fmt: skip
    return Section("Texts: strength of searches", text, {"two words": within, "WordNet": free})
