"""Texts: rates and forwards of searches, beside the bare network and TextAttack."""

import argparse
import json
import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.page import ROOT, Section, percent, table
from benchmarks.text_cases import SHARE, Case, case, chosen, evaluated, flips_and_costs, fresh
from blindspots.texts.threats import TextThreat

PEER = os.environ.get("BLINDSPOTS_TEXTATTACK")  # the python of an environment with textattack 0.3.11
NO_PEER = "TextAttack was not measured: BLINDSPOTS_TEXTATTACK, the python of its environment, was not set."
NO_ZOO = "Without the folder of real texts (BLINDSPOTS_ZOO) only networks of the embedded reviews were measured."
ROWS = 60
POPULATIONS = ("genetic", "swarm")
VICTIMS = ("reviews-lstm", "reviews-cnn", "reviews-transformer", "bert")
REAL = ("mr-lstm", "mr-cnn", "imdb-lstm")
SEARCHES = {
    "ranked": "ranked:order=delete",
    "greedy": "greedy",
    "beam": "beam:width=8",
    "genetic": "genetic",
    "swarm": "swarm",
}
ORDERS = {"ranked, saliency": "ranked:order=saliency", "ranked, gradient": "rankedbygradient"}


@dataclass(frozen=True)
class Found:
    """What a search came to on the rows of a case; forwards are texts that the network really was sent."""

    flips: int
    forwards: int
    asked: float  # mean evaluations of a flipped row
    rate: float  # forwards per processor second
    broken: int = 0  # limits that were exceeded, among the flips


SPEED = ("victim", "search", "rows", "rate", "of the bare network's", "flips", "forwards per flip", "TextAttack: rate",
         "flips", "forwards per flip", "over its limit", "rate, times", "forwards, times less")  # fmt: skip


READ = """One thread, processor seconds of each process. Rows are those of the test set, right at first; lattices are
made before, of plain words alone, and are the same for both libraries, as are the networks, their tokenizers and the
limit of {share} of the words. Forwards are texts that the network really was sent: answers are remembered on both
sides. A rate is forwards per processor second of a whole evaluation, from its preflight to its verdict; the bare
network's is that of `TextModel.of` on the very texts that were sent, all at once, with their encoding. TextAttack is
0.3.11 with its own GreedySearch, BeamSearch(8), GreedyWordSwapWIR("delete"), AlzantotGeneticAlgorithm and
ParticleSwarmOptimization (60, 20), UntargetedClassification with its cache, RepeatModification and MaxWordsPerturbed,
padded to the longest of a batch where it is not said otherwise. Forwards of ours include those for the report, the
score after every exchange of an example, and texts of one call that come after a row's first success; TextAttack's
seconds are those of its attacks alone. imdb-lstm is attacked on MR, and its texts are not filled up on the left, as
they were in its training."""


def measure(args: argparse.Namespace) -> Section:
    rows, real = args.rows or ROWS, zoo() is not None
    names = chosen((*VICTIMS, *(REAL if real else ())), args.models)
    lines = speed(rows, names) + (shipped(rows) if "bert" in names else [])
    notes = [said for said, missing in ((NO_PEER, PEER is None), (NO_ZOO, not real)) if missing]
    text = "\n\n".join([table(SPEED, list(map(_row, lines))), READ.format(share=percent(SHARE)), *notes])
    return Section("Texts: rates and forwards", text, lines)


def speed(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of quick networks of short texts five times as many rows; of searches with a population a tenth."""
    lines = []
    for name in names:
        many = 5 * rows if name.startswith("reviews") else rows
        on = {search: case(name, many // 10 if search in POPULATIONS else many) for search in SEARCHES | ORDERS}
        peers = theirs([(on[search], search, False) for search in SEARCHES])
        lines += [_line(name, on[search], search, peers.get(i)) for i, search in enumerate(SEARCHES | ORDERS)]
    return lines


def shipped(rows: int) -> list[dict[str, Any]]:
    """The small BERT as TextAttack's wrapper of transformers pads its texts, to the longest that the network takes."""
    on = case("bert", max(rows // 10, 5))
    peer = theirs([(on, "greedy", True)]).get(0)
    return [_line("bert, padded to 512 there", on, "greedy", peer)] if peer else []


def _line(name: str, on: Case, search: str, peer: Found | None) -> dict[str, Any]:
    rows = len(on.texts.texts)  # the victim is asked which, before anything is counted
    found, ratio = ours(on, (SEARCHES | ORDERS)[search])
    line = {"victim": name, "search": search, "rows": rows, "ratio": ratio, "ours": vars(found),
            "theirs": peer and vars(peer)}  # fmt: skip
    print(*_row(line), flush=True)
    return line


def _row(n: dict[str, Any]) -> list[Any]:
    ours, peer = n["ours"], n["theirs"]
    per_flip = _each(ours["forwards"], ours["flips"])
    line = [n["victim"], n["search"], n["rows"], round(ours["rate"]), round(n["ratio"], 2), ours["flips"], per_flip]
    if peer is None:
        return [*line, *[None] * 6]
    theirs = _each(peer["forwards"], peer["flips"])
    return [*line, round(peer["rate"]), peer["flips"], theirs, peer["broken"], round(ours["rate"] / peer["rate"], 1),
            round(theirs / per_flip, 2) if per_flip else math.nan]  # fmt: skip


def _each(forwards: int, flips: int) -> float:
    return round(forwards / flips, 1) if flips else math.nan


# ------------------------------------------------------------------ one search


class Heard:
    """A tokenizer that remembers what it encoded: the texts that a network was sent."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.texts = inner, list[str]()
        self.pad, self.longest = inner.pad, inner.longest

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        self.texts += texts
        encoded: list[list[int]] = self.inner.encode(texts)
        return encoded


def ours(case: Case, attack: str) -> tuple[Found, float]:
    """What a search of ours found, and its rate beside that of the bare network on the same texts."""
    model = fresh(case.victim)
    model.tokenizer = heard = Heard(model.tokenizer)
    took = clock(lambda: evaluated(case, attack, model))
    sent, model.tokenizer = model.forwarded, heard.inner
    again = fresh(case.victim)
    bare = clock(lambda: again.of(heard.texts))
    flips, asked, _ = flips_and_costs(took.result)
    rate = sent / took.cpu
    return Found(flips, sent, asked, rate), rate * bare.cpu / again.forwarded


def theirs(jobs: Sequence[tuple[Case, str, bool]]) -> dict[int, Found]:
    """TextAttack on the same rows, lattices and limits, by the number of the job; nothing where it is not there.

    Jobs: what is attacked, by which search, and whether texts are padded to the longest that the network takes.
    """
    if PEER is None:
        return {}
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump([case.job(search, shipped) for case, search, shipped in jobs], file)
        file.flush()
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        done = subprocess.run(
            [PEER, "-m", "benchmarks.text_peer", file.name], cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        print(f"textattack on {jobs[0][0].victim}: {done.stderr.strip()[-600:]}", flush=True)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    rows = [[row for row in said if row["job"] == i] for i in range(len(jobs))]
    return {i: _found(case, rows[i]) for i, (case, _, _) in enumerate(jobs) if len(rows[i]) == len(case.texts.texts)}


def _found(case: Case, rows: Sequence[dict[str, Any]]) -> Found:
    """What the other library came to."""
    flips = [
        (text, row)
        for text, row in zip(case.texts.texts, rows, strict=True)
        if row["outcome"] == "SuccessfulAttackResult"
    ]
    over = [not _within(case.threat, text, row["text"]) for text, row in flips]
    sent = sum(row["forwards"] for row in rows)
    asked = sum(row["queries"] for _, row in flips) / len(flips) if flips else math.nan
    return Found(len(flips), sent, asked, sent / sum(row["cpu"] for row in rows), sum(over))


def _within(threat: TextThreat, text: str, changed: str) -> bool:
    lattice = threat.lattice(text)
    choice = threat.choice(lattice, changed)
    return choice is not None and sum(c > 0 for c in choice) <= threat.allowed(lattice)
