"""Texts: accuracy under attack, raw and of valid changes alone, and memory.

As a program (`python -m benchmarks.text_accuracy ROWS`) it is a process whose memory is measured.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

import blindspots as bs
from benchmarks.cases import zoo
from benchmarks.clock import clock
from benchmarks.memory import peak
from benchmarks.page import ROOT, Section, percent, table
from benchmarks.text_cases import SHARE, chosen, data_set, fresh, synonyms
from benchmarks.victims import Texts, data_of, folder, texts_of

ROWS, PROVED_ROWS = 400, 100
VICTIMS = ("mr-lstm", "mr-cnn", "sst2-lstm", "sst2-cnn", "ag-lstm", "ag-cnn")
UNDER = ("victim", "candidates", "threat", "rows", "clean", "under attack", "interval", "adjusted", "interval",
         "valid flips", "evaluations per row", "forwards per row", "CPU s")  # fmt: skip


def under_attack(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    glove = folder() / "glove_50d_5k.json"
    loose, middle = synonyms("counterfitted_neighbors.json"), _limited()
    strict = f"{middle}+cosine:least=0.9,file={glove}"
    asked = [(name, "neighbours, limits", middle, 0.15) for name in names]
    asked += [(n, said, spec, r) for n in names[:2] for said, spec, r in
              (("neighbours", loose, 0.4), ("neighbours, strict limits", strict, 0.1))]  # fmt: skip
    return [_attacked(rows, *each) for each in asked]


def _limited() -> str:
    antonyms = folder() / "cf_wordnet_antonyms.txt"
    return f"{synonyms('counterfitted_neighbors.json')}+pos+agreement+antonyms:file={antonyms}"


def _attacked(rows: int, name: str, said: str, candidates: str, radius: float) -> dict[str, Any]:
    texts, model = texts_of(data_of(name), "test").first(rows), fresh(name)
    data = data_set(texts)
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


CERTIFIED = ("mr-bag", "mr-cnn", "sst2-bag", "sst2-cnn", "ag-bag", "ag-cnn")
TRAINED_ON, JUDGED_ON, EPOCHS = 1000, 20, 3  # texts of harden, and how often it sees them
PROVED = ("victim", "method", "rows", "clean", "under attack", "interval", "adjusted", "certified", "interval",
          "within 1: attacked", "certified", "CPU s")  # fmt: skip


def certified(rows: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Bare and hardened models, under attack and proved."""
    return [_certified(rows, name, hard) for name in names for hard in (False, True)]


def _certified(rows: int, name: str, hard: bool) -> dict[str, Any]:
    bare, candidates = fresh(name), _limited()
    test, train = (texts_of(data_of(name), part) for part in ("test", "train"))
    how = {"threat": f"words:{SHARE}", "candidates": candidates, "engine": "serial"}
    step = len(train.texts) // TRAINED_ON
    few = Texts(train.texts[::step][:TRAINED_ON], train.labels[::step][:TRAINED_ON], train.classes)
    took = clock(lambda: bs.harden(
        bare, data=data_set(few), test=data_set(test.first(JUDGED_ON)), recipe="exchanged", epochs=EPOCHS, study_rows=0,
        protocol="text-scores", **how,
    ).model if hard else bare)  # fmt: skip
    proved = clock(lambda: bs.certify(took.result, data=data_set(test.first(rows)), radii=(1.0,), **how))
    v, method = proved.result.verdict, proved.result.config.method
    line = {
        "victim": f"{name}{', hardened' if hard else ''}", "method": method, "rows": v.rows, "clean": v.clean_accuracy,
        "robust": v.texts.attacked.share, "interval": list(v.texts.attacked.interval),
        "adjusted": v.texts.adjusted.share, "certified": v.texts.certified.share,
        "certified interval": list(v.texts.certified.interval), "robust 1": dict(v.empirical)[1.0].share,
        "certified 1": dict(v.certified)[1.0].share, "cpu": took.cpu + proved.cpu,
    }  # fmt: skip
    print(*_proved_row(line), flush=True)
    return line


def _proved_row(n: dict[str, Any]) -> list[Any]:
    shares = ("robust", "adjusted", "certified", "robust 1", "certified 1")
    raw, adjusted, proved, one, proved_one = (percent(n[name]) for name in shares)
    ends, proved_ends = (" to ".join(map(percent, n[name])) for name in ("interval", "certified interval"))
    return [n["victim"], n["method"], n["rows"], percent(n["clean"]), raw, ends, adjusted, proved, proved_ends, one,
            proved_one, round(n["cpu"], 1)]  # fmt: skip


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
    data = data_set(Texts(texts, [*first.labels] * (rows // 500), first.classes))
    bs.evaluate("reviews-lstm", data=data, threat="words:0.15", protocol="text-fast", engine="serial", shard_rows=128)


READ = """Rows are the first of the test set (AG News: the part that was not trained on), the protocol is text-fast.
"neighbours" are counter-fitted neighbours; "limits" are part of speech, agreement and antonyms of WordNet; "strict"
adds a cosine of 0.9 in GloVe. "adjusted" counts as flipped only what passes similarity (by the victim's own vectors),
fluency, agreement, antonyms and changed share, with thresholds that are calibrated on paraphrases of the same texts;
intervals are Clopper-Pearson's at 95 %. Evaluations are what rows are charged for, forwards what was really sent."""
CLOSED = f"""`certify` within words:{SHARE} with the same candidates ("neighbours, limits"), by the sharpest method that
the model allows; beside it text-fast on the same rows. Hardened: `harden --recipe exchanged` on {TRAINED_ON:,} training
texts for {EPOCHS} epochs. "within 1" is one exchanged word. CPU seconds include the training of hardened models."""
MEASURED = """Peak resident memory of fresh processes that evaluate `reviews-lstm` with text-fast within words:0.15,
128 rows per shard, without a run folder: 500 reviews, then these four times with another number behind each."""


def measure(args: argparse.Namespace) -> Section:
    attacked = under_attack(args.rows or ROWS, chosen(VICTIMS, args.models)) if zoo() else []
    proved = certified(args.rows or PROVED_ROWS, chosen(CERTIFIED, args.models)) if zoo() else []
    peaks = memory()
    tables = [table(UNDER, list(map(_under_row, attacked))), READ] if attacked else []
    tables += [table(PROVED, list(map(_proved_row, proved))), CLOSED] if proved else []
    tables += [table(MEMORY, [[n["rows"], round(n["peak"])] for n in peaks]), MEASURED]
    return Section("Texts: accuracy under attack", "\n\n".join(tables), {
        "attacked": attacked, "certified": proved, "memory": peaks,
    })  # fmt: skip


if __name__ == "__main__":
    _evaluate(int(sys.argv[1]))
    print(peak())
