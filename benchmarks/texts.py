"""Texts: rates and queries beside TextAttack, strength beside exhaustive search, accuracy under attack, memory.

As a program (`python -m benchmarks.texts ROWS`) it is a process whose memory is measured.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from tempfile import NamedTemporaryFile
from typing import Any

import torch

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.memory import peak
from benchmarks.page import ROOT, Section, percent, table
from benchmarks.victims import Texts, data_of, folder, texts_of, victim
from blindspots.attacks import parse_attack
from blindspots.data.texts import TextData
from blindspots.engine.cascade import Stage
from blindspots.models.texts import TokenModel
from blindspots.objective import Objective
from blindspots.texts.candidates import parse_candidates
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat, Words

PEER = os.environ.get("BLINDSPOTS_TEXTATTACK")  # the python of an environment with textattack 0.3.11
NO_PEER = "TextAttack was not measured: BLINDSPOTS_TEXTATTACK, the python of its environment, was not set."
NO_ZOO = "Without the folder of real texts (BLINDSPOTS_ZOO) only networks of the embedded reviews were measured."
ROWS, OF_POPULATIONS, SHARE = 100, 20, 0.15
EMBEDDED = ("reviews-lstm", "reviews-cnn", "reviews-transformer", "bert")
REAL = ("mr-lstm", "mr-cnn", "sst2-lstm", "sst2-cnn", "imdb-lstm")
SEARCHES = {
    "ranked": "ranked:order=delete",
    "greedy": "greedy",
    "beam": "beam:width=8",
    "genetic": "genetic",
    "swarm": "swarm",
}
ORDERS = {"ranked, saliency": "ranked:order=saliency", "ranked, gradient": "rankedbygradient"}


# ------------------------------------------------------------------ what is attacked


class Given:
    """Lattices that were made before, of plain words alone: every library means the same by these."""

    resources: Mapping[str, str] = {}

    def __init__(self, texts: Sequence[str], candidates: str) -> None:
        builder = parse_candidates(candidates)
        self.known = {text: _plain(builder.lattice(text)) for text in texts}

    def lattice(self, text: str) -> Lattice:
        return self.known[text]

    def describe(self) -> str:
        return "lattices made before"


def _plain(lattice: Lattice) -> Lattice:
    """The places with a whole word of letters, between spaces, and candidates of letters."""
    places = [
        (span, kept)
        for span, words in zip(lattice.spans, lattice.candidates, strict=True)
        if _alone(lattice.text, *span) and (kept := tuple(filter(_letters, words)))
    ]
    return Lattice(lattice.text, tuple(span for span, _ in places), tuple(kept for _, kept in places))


def _alone(text: str, a: int, b: int) -> bool:
    return _letters(text[a:b]) and text[a - 1 : a] in ("", " ") and text[b : b + 1] in ("", " ")


def _letters(word: str) -> bool:
    return word.isascii() and word.isalpha()


@dataclass(frozen=True)
class Case:
    """A victim, rows that it is right on, and what may stand in them."""

    victim: str
    rows: int
    candidates: str = "synonyms"
    radius: float | None = SHARE

    @cached_property
    def texts(self) -> Texts:
        data = texts_of(data_of(self.victim), "test").first(4 * self.rows)
        right = (victim(self.victim).of(list(data.texts)).argmax(1) == torch.tensor(data.labels)).tolist()
        kept = [pair for pair, good in zip(zip(data.texts, data.labels, strict=True), right, strict=True) if good]
        return Texts(*map(list, zip(*kept[: self.rows], strict=True)), data.classes)

    @cached_property
    def threat(self) -> TextThreat:
        return Words(self.radius, candidates=Given(self.texts.texts, self.candidates))

    def job(self, search: str, shipped: bool) -> dict[str, Any]:
        """For the other library."""
        threat = self.threat
        rows = [
            {"text": text, "label": label, "lattice": threat.lattice(text).to_json(),
             "most": int(min(threat.allowed(threat.lattice(text)), 10**6))}
            for text, label in zip(self.texts.texts, self.texts.labels, strict=True)
        ]  # fmt: skip
        return {"victim": self.victim, "search": search, "shipped": shipped, "rows": rows}


def case(name: str, rows: int) -> Case:
    """The embedded reviews with the embedded synonyms, other texts with counter-fitted neighbours."""
    return (
        Case(name, rows) if data_of(name) == "reviews" else Case(name, rows, synonyms("counterfitted_neighbors.json"))
    )


def synonyms(file: str) -> str:
    return f"synonyms:file={folder() / file}"


def fresh(name: str) -> TokenModel:
    """The victim, without what it remembers."""
    model = victim(name)
    model.forget()
    model.forwarded = 0
    return model


# ------------------------------------------------------------------ one search


@dataclass(frozen=True)
class Found:
    """What a search came to on the rows of a case; forwards are texts that the network really was sent."""

    flips: int
    forwards: int
    asked: float  # mean evaluations of a flipped row
    rate: float  # forwards per processor second
    broken: int = 0  # limits that were exceeded, among the flips


class Heard:
    """A tokenizer that remembers what it encoded: the texts that a network was sent."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.texts = inner, list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        self.texts += texts
        encoded: list[list[int]] = self._inner.encode(texts)
        return encoded


def ours(case: Case, attack: str) -> tuple[Found, float]:
    """What a search of ours found, and its rate beside that of the bare network on the same texts."""
    model, data = fresh(case.victim), case.texts
    model.tokenizer = heard = Heard(model.tokenizer)
    _evaluated(case, attack, model)
    model.tokenizer = heard._inner
    ratios, rates = [], []
    for _ in range(3):  # in turns, so that what slows the machine down slows both down
        model = fresh(case.victim)
        took = clock(lambda: _evaluated(case, attack, model))  # noqa: B023 - called at once
        forwards = model.forwarded
        model = fresh(case.victim)
        bare = clock(lambda: model.of(heard.texts))  # noqa: B023
        rates.append(forwards / took.cpu)
        ratios.append(rates[-1] / (model.forwarded / bare.cpu))
    done: bs.Evaluation = took.result
    won, spent = (torch.cat([columns[name] for columns in done.shards()]) for name in ("won", "forwards"))
    asked = float(spent[won].double().mean()) if bool(won.any()) else math.nan
    assert len(won) == len(data.texts)
    return Found(int(won.sum()), forwards, asked, sorted(rates)[1]), sorted(ratios)[1]


def _evaluated(case: Case, attack: str, model: TokenModel) -> bs.Evaluation:
    data = TextData(case.texts.texts, case.texts.labels, class_names=case.texts.classes)
    search = parse_attack(attack)
    stage = Stage(attack, search, "alone", Objective(loss=search.loss))
    return bs.evaluate(model, data=data, threat=case.threat, protocol=(stage,), validity="changed", engine="serial")


def theirs(case: Case, search: str, shipped: bool = False) -> Found | None:
    """TextAttack on the same rows, lattices and limits; None where it is not there."""
    if PEER is None:
        return None
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(case.job(search, shipped), file)
        file.flush()
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        done = subprocess.run(
            [PEER, "-m", "benchmarks.text_peer", file.name], cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        print(f"textattack, {search} on {case.victim}: {done.stderr.strip()[-600:]}", flush=True)
        return None
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    won = [row["outcome"] == "SuccessfulAttackResult" for row in rows]
    flips = [row for row, good in zip(rows, won, strict=True) if good]
    texts = [text for text, good in zip(case.texts.texts, won, strict=True) if good]
    over = [not _within(case.threat, text, row["text"]) for text, row in zip(texts, flips, strict=True)]
    sent = sum(row["forwards"] for row in rows)
    asked = sum(row["queries"] for row in flips) / len(flips) if flips else math.nan
    return Found(len(flips), sent, asked, sent / sum(row["cpu"] for row in rows), sum(over))


def _within(threat: TextThreat, text: str, changed: str) -> bool:
    lattice = threat.lattice(text)
    choice = threat.choice(lattice, changed)
    return choice is not None and sum(c > 0 for c in choice) <= threat.allowed(lattice)


# ------------------------------------------------------------------ sections


SPEED = ("victim", "search", "rows", "rate", "of the bare network's", "flips", "forwards per flip", "TextAttack: rate",
         "flips", "forwards per flip", "over its limit", "rate, times", "forwards, times less")  # fmt: skip


def speed(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    lines = []
    for name in names:
        for search in [*SEARCHES, *ORDERS]:
            many = search in ("genetic", "swarm")
            on = case(name, min(rows, OF_POPULATIONS) if many else rows)
            found, ratio = ours(on, (SEARCHES | ORDERS)[search])
            peer = theirs(on, search) if search in SEARCHES else None
            lines.append({"victim": name, "search": search, "rows": len(on.texts.texts), "ratio": ratio,
                          "ours": vars(found), "theirs": peer and vars(peer)})  # fmt: skip
            print(*_speed_row(lines[-1]), flush=True)
    return lines


def shipped(rows: int) -> list[dict[str, Any]]:
    """The small BERT as TextAttack's wrapper of transformers pads its texts, to the longest that the network takes."""
    on = case("bert", max(rows // 10, 5))
    peer = theirs(on, "greedy", shipped=True)
    if peer is None:
        return []
    found, ratio = ours(on, "greedy")
    line = {"victim": "bert, padded to 512 there", "search": "greedy", "rows": len(on.texts.texts), "ratio": ratio,
            "ours": vars(found), "theirs": vars(peer)}  # fmt: skip
    print(*_speed_row(line), flush=True)
    return [line]


def _speed_row(n: dict[str, Any]) -> list[Any]:
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


STRENGTH = ("victim", "rows", "exhaustive: flips", "forwards per row", "greedy: flips", "beam 8: flips",
            "text-fast: flips", "share found", "evaluations per row")  # fmt: skip


def strength(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Within two words."""
    lines = []
    for name in names:
        candidates = "synonyms" if data_of(name) == "reviews" else synonyms("cf_ppdb_synonyms.txt")
        on, found = Case(name, rows, candidates, radius=2), {}
        for search in ("exhaustive", "greedy", "beam:width=8", "text-fast"):
            model = fresh(name)
            done = _evaluated(on, search, model) if search != "text-fast" else _cascade(on, model)
            won, spent = (torch.cat([c[key] for c in done.shards()]) for key in ("won", "forwards"))
            found[search] = {"flips": int(won.sum()), "asked": float(spent.double().mean())}
        lines.append({"victim": name, "rows": len(on.texts.texts), **found})
        print(*_strength_row(lines[-1]), flush=True)
    return lines


def _cascade(case: Case, model: TokenModel) -> bs.Evaluation:
    data = TextData(case.texts.texts, case.texts.labels, class_names=case.texts.classes)
    return bs.evaluate(model, data=data, threat=case.threat, protocol="text-fast", validity="changed", engine="serial")


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
        on = Case(name, rows, synonyms("oewn_synonyms.json.gz"), radius=None)
        for search, attack in ALL.items():
            done = _evaluated(on, attack, fresh(name))
            won, spent = (torch.cat([c[key] for c in done.shards()]) for key in ("won", "forwards"))
            asked = float(spent[won].double().mean())
            lines.append({"victim": name, "search": search, "rows": len(won), "flips": int(won.sum()), "asked": asked})
            print(*_order_row(lines[-1]), flush=True)
    return lines


def _order_row(n: dict[str, Any]) -> list[Any]:
    return [n["victim"], n["search"], n["rows"], percent(n["flips"] / n["rows"]), round(n["asked"], 1)]


UNDER = ("victim", "candidates", "threat", "rows", "clean", "under attack", "interval", "adjusted", "interval",
         "valid flips", "evaluations per row", "forwards per row", "CPU s")  # fmt: skip


def under_attack(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    antonyms, glove = folder() / "cf_wordnet_antonyms.txt", folder() / "glove_50d_5k.json"
    loose = synonyms("counterfitted_neighbors.json")
    middle = f"{loose}+pos+agreement+antonyms:file={antonyms}"
    strict = f"{middle}+cosine:least=0.9,file={glove}"
    asked = [(name, "neighbours, limits", middle, 0.15) for name in names]
    asked += [(n, said, spec, r) for n in names[:2] for said, spec, r in
              (("neighbours", loose, 0.4), ("neighbours, strict limits", strict, 0.1))]  # fmt: skip
    return [_attacked(rows, *each) for each in asked]


def _attacked(rows: int, name: str, said: str, candidates: str, radius: float) -> dict[str, Any]:
    texts, model = texts_of(data_of(name), "test").first(rows), fresh(name)
    data = TextData(texts.texts, texts.labels, class_names=texts.classes)
    took = clock(lambda: bs.evaluate(
        model, data=data, threat=f"words:{radius}", candidates=candidates, protocol="text-fast", engine="serial"
    ))  # fmt: skip
    v = took.result.verdict
    line = {
        "victim": name, "candidates": said, "threat": f"words:{radius}", "rows": v.rows, "clean": v.clean_accuracy,
        "robust": v.robust_accuracy, "interval": list(v.interval), "adjusted": v.adjusted.share,
        "adjusted interval": list(v.adjusted.interval), "valid": v.valid.share, "asked": v.forwards_per_row,
        "forwards": model.forwarded / v.rows, "cpu": took.cpu,
    }  # fmt: skip
    print(*_under_row(line), flush=True)
    return line


def _under_row(n: dict[str, Any]) -> list[Any]:
    low, high = map(percent, n["interval"]), map(percent, n["adjusted interval"])
    return [n["victim"], n["candidates"], n["threat"], n["rows"], percent(n["clean"]), percent(n["robust"]),
            " to ".join(low), percent(n["adjusted"]), " to ".join(high), percent(n["valid"]), round(n["asked"], 1),
            round(n["forwards"], 1), round(n["cpu"], 1)]  # fmt: skip


MEMORY = ("texts", "peak memory, MB")


def memory() -> list[dict[str, Any]]:
    return [{"rows": rows, "peak": _peak_of(rows)} for rows in (500, 2000)]


def _peak_of(rows: int) -> float:
    command = [sys.executable, "-m", "benchmarks.texts", str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1000


def _evaluate(rows: int) -> None:
    """One process whose memory is measured: 500 texts, again and again with another number at the end."""
    torch.set_num_threads(1)
    first = texts_of("reviews", "train").first(500)
    texts = [f"{text} {i:04}" for i in range(rows // 500) for text in first.texts]
    data = TextData(texts, [*first.labels] * (rows // 500), class_names=first.classes)
    bs.evaluate("reviews-lstm", data=data, threat="words:0.15", protocol="text-fast", engine="serial", shard_rows=128)


# ------------------------------------------------------------------ the page


READ = """One thread, processor seconds of each process. Rows are those of the test set, right at first; lattices are
made before, of plain words alone, and are the same for both libraries, as are the networks, their tokenizers and the
limit of {share:.0%} of the words. Forwards are texts that the network really was sent: answers are remembered on both
sides. A rate is forwards per processor second of a whole evaluation, from its preflight to its verdict; the bare
network's is that of `TextModel.of` on the very texts that were sent, all at once, with their encoding. TextAttack is
0.3.11 with its own GreedySearch, BeamSearch(8), GreedyWordSwapWIR("delete"), AlzantotGeneticAlgorithm and
ParticleSwarmOptimization (60, 20), UntargetedClassification with its cache, RepeatModification and MaxWordsPerturbed,
padded to the longest of a batch where it is not said otherwise."""


def measure(args: argparse.Namespace) -> Section:
    rows, real = args.rows or ROWS, zoo() is not None
    chosen = [n for n in (*EMBEDDED, *(REAL if real else ())) if not args.models or any(m in n for m in args.models)]
    both = [n for n in ("mr-lstm", "mr-cnn", "sst2-lstm", "sst2-cnn", "ag-lstm", "ag-cnn") if real]
    parts: dict[str, tuple[Sequence[str], Callable[[dict[str, Any]], list[Any]], list[dict[str, Any]], str]] = {
        "Rates and forwards": (SPEED, _speed_row, speed(rows, chosen) + shipped(rows), READ.format(share=SHARE)),
        "Strength within two words": (STRENGTH, _strength_row, strength(2 * rows, [*EMBEDDED, *both[:2]]), ""),
        "Orders and searches": (ORDER, _order_row, order(rows // 2, both[:4]), ""),
        "Accuracy under attack": (UNDER, _under_row, under_attack(4 * rows, both) if real else [], ""),
        "Memory": (MEMORY, lambda n: [n["rows"], round(n["peak"])], memory(), ""),
    }
    text = [f"### {title}\n\n{table(head, list(map(row, lines)))}\n\n{read}".strip()
            for title, (head, row, lines, read) in parts.items() if lines]  # fmt: skip
    text += [said for said, missing in ((NO_PEER, PEER is None), (NO_ZOO, not real)) if missing]
    return Section("Texts", "\n\n".join(text), {title: lines for title, (_, _, lines, _) in parts.items()})


if __name__ == "__main__":
    _evaluate(int(sys.argv[1]))
    print(peak())
