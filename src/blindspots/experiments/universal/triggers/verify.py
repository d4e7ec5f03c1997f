"""Proves a trigger again: it is put into the texts anew, by other code, and no search has a say."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score
from torch import Tensor

from blindspots.data.splits import Rows, divide
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.triggers import verdict as tables
from blindspots.experiments.universal.triggers.verdict import CONTROLS_NAMED, RANDOM, TriggerVerdict
from blindspots.experiments.universal.verify_numbers import Labels
from blindspots.models.model import Model
from blindspots.models.texts import TokenModel
from blindspots.packing import unpacked_text
from blindspots.random import keys, uniform
from blindspots.runs.again import predictions, share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check, Columns
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.texts.codes import as_codes, as_texts
from blindspots.texts.words import words

Array = NDArray[Any]
Problems = Iterator[str]
_TABLES = {
    "preflight": {"findings": "(n,) uint8 JSON"}, "search": tables.FOUND, "fit": tables.ROWS, "heldout": tables.ROWS,
    "shown": tables.SHOWN, "controls": tables.CONTROLS, "models": tables.OTHER,
}  # fmt: skip
_GIVEN = "That the search finds this trigger was not shown: it was taken, and tried again."
_ROUNDING = 1e-4  # of probabilities


def checks(config: UniversalConfig, verdict: TriggerVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at. Rates and intervals are those of scipy and scikit-learn."""
    for name in parts:
        check_columns(parts[name], _TABLES[name.partition("/")[0]], name)
    records = [parts.begun.manifest.world[name] for name in config.others]
    yield Check("the trigger is as long as was asked for, and the file is the one that was found", [
        *_length(config, parts), *_file(config, parts),
    ])  # fmt: skip
    numbers = _Numbers(config, parts).all([(r["name"], r["digest"]) for r in records])
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), numbers)
    yield note(_GIVEN)
    if not all(world.same.get(name) for name in config.models()):
        return
    if "data" not in world.same:
        yield note("The data are not at hand, so the trigger was not tried again.")
        return
    if not world.same["data"]:
        return
    proof = _Proof(config, parts, world)
    yield Check("the rows are those that were drawn by lot, and no text is in both parts", list(proof.rows()))
    yield Check("random words came out again, and the commonest ones are these", list(proof.words()))
    for what, problems in proof.looks():
        world.say(f"asking about {what}")
        yield Check(f"{what} came out again", list(problems))


# ------------------------------------------------------------------ from the parts


def _trigger(parts: Parts) -> str:
    return unpacked_text(parts["search"]["words"])


def _length(config: UniversalConfig, parts: Parts) -> Problems:
    wanted, found = int(config.threat.rpartition(":")[2]), len(_trigger(parts).split(" "))
    if wanted != found:
        yield f"expected a trigger of {wanted} words, found {_trigger(parts)!r}"
    if config.measured not in (None, _trigger(parts)):
        yield f"expected the trigger {config.measured!r} to be measured, found {_trigger(parts)!r}"


def _file(config: UniversalConfig, parts: Parts) -> Problems:
    content = parts.files.get(f"{parts.at}trigger.json")
    if not content:
        return  # the frame says that it is gone
    said, name = json.loads(content), parts.begun.manifest.world["model"]["name"]
    wanted = {"words": _trigger(parts), "place": _place(config), "model": name, "target": config.target}
    if {key: said.get(key) for key in wanted} != wanted:
        yield f"expected a trigger.json for {wanted}, found {said}"


def _place(config: UniversalConfig) -> str:
    return "end" if ":end:" in config.threat.replace(" ", "").lower() else "front"


class _Numbers:
    """Of one run: numpy, scipy and scikit-learn alone."""

    def __init__(self, config: UniversalConfig, parts: Parts) -> None:
        self.config, self.parts = config, parts
        self.fit, self.held = (_arrays(parts.joined(name)) for name in ("fit", "heldout"))
        self.found = _arrays(parts["search"])

    def all(self, others: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The verdict again; `others`: names and digests of other models."""
        fit, heldout = self._effect(self.fit), self._effect(self.held)
        passes, rates = self.found["passes"].tolist(), self.found["fooled"].tolist()
        controls = dict(zip(CONTROLS_NAMED, map(self._heldout, self.parts["controls"]["moved"].numpy()), strict=True))
        clean, moved = (np.concatenate([self.held[name], self.fit[name]]) for name in ("clean", "moved"))
        return {
            "trigger": _trigger(self.parts),
            "place": _place(self.config),
            "fooling_rate_fit": fit["fooled"]["share"],
            "fooling_rate_heldout": heldout["fooled"]["share"],
            "interval": heldout["fooled"]["interval"],
            "control_rates": {name: one["share"] for name, one in controls.items()},
            "passes": len(passes),
            "forwards": passes[-1][0] if passes else 0,
            "backwards": passes[-1][1] if passes else 0,
            "fit": fit,
            "heldout": heldout,
            "per_class": list(self._per_class()),
            "controls": controls,
            "history": [
                {"number": i, "fooled_fit": rate, "forwards": f, "backwards": b}
                for i, (rate, (f, b)) in enumerate(zip(rates, passes, strict=True), 1)
            ],
            "labels": Labels(clean, moved).all(),
            "on_models": list(self._on_models(others)),
        }

    def _fooled(self, clean: Array, moved: Array) -> dict[str, Any]:
        """Pairs (before, after) that count as fooled, of those that count."""
        target, pairs = self.config.target, Counter(zip(clean.tolist(), moved.tolist(), strict=True))
        counted = {pair: n for pair, n in pairs.items() if target is None or pair[0] != target}
        hits = sum(n for (a, b), n in counted.items() if (a != b if target is None else b == target))
        return share(hits, sum(counted.values()))

    def _heldout(self, moved: Array) -> dict[str, Any]:
        return self._fooled(self.held["clean"], moved)

    def _effect(self, rows: dict[str, Array]) -> dict[str, Any]:
        right, still = (int(accuracy_score(rows["y"], rows[c], normalize=False)) for c in ("clean", "moved"))
        n = len(rows["y"])
        return {
            "fooled": self._fooled(rows["clean"], rows["moved"]),
            "clean_accuracy": share(right, n),
            "accuracy": share(still, n),
        }

    def _per_class(self) -> Iterator[dict[str, Any]]:
        clean = self.held["clean"]
        for label in sorted(set(clean.tolist()) - {self.config.target}):
            mine = clean == label
            yield {"label": label, "fooled": self._fooled(clean[mine], self.held["moved"][mine])}

    def _on_models(self, others: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        for (name, digest), columns in zip(others, self.parts.below("models"), strict=True):
            c = _arrays(columns)
            fooled, random = (self._fooled(c["clean"], c[column]) for column in ("moved", "random"))
            yield {"model": name, "digest": digest, "fooled": fooled, "random": random}


def _arrays(columns: Columns) -> dict[str, Array]:
    return {name: t.numpy() for name, t in columns.items()}


# ------------------------------------------------------------------ from the data and the model


class _Proof:
    def __init__(self, config: UniversalConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        held = None if config.heldout is None else int(config.heldout)
        division = divide(world.data, config.fit or 0, held, config.seed)
        self.fit, self.held = division.fit, division.heldout
        self.fixed = getattr(world.data, "fixed", None)

    def rows(self) -> Problems:
        for name, rows in (("fit", self.fit), ("heldout", self.held)):
            stored = self.parts.joined(name)
            if not torch.equal(stored["row"], rows.at):
                yield f"expected the {len(rows):,} {name} rows that the seed draws, found other rows"
            elif not torch.equal(stored["y"], rows.take(torch.arange(len(rows)))[1]):
                yield f"expected the labels of the data in {name}, found others"
        if set(_texts(self.fit)) & set(_texts(self.held)):
            yield "expected held-out texts that are no fit texts, found some that are"

    def words(self) -> Problems:
        """Controls, drawn and counted by hand."""
        stored, known, long = self._controls(), self._known(), len(_trigger(self.parts).split(" "))
        for i in range(RANDOM):
            draws = uniform(keys(self.config.seed, torch.tensor([i])), torch.tensor([0]), 40, (long,))[0]
            lot = " ".join(known[int(u * len(known))] for u in draws.double().tolist())
            if stored[i] != lot:
                yield f"expected the random words {lot!r} that the seed draws, found {stored[i]!r}"
        counts = Counter(text[a:b].lower() for text in _texts(self.fit) for a, b in words(text))
        common = " ".join(sorted(known, key=lambda word: (-counts[word], word))[:long])
        if stored[RANDOM:] != [common]:
            yield f"expected the commonest words {common!r}, found {stored[RANDOM:]}"

    def _known(self) -> list[str]:
        """The words that a trigger may have, in their order."""
        model = self.world.model
        if isinstance(model, TokenModel):
            return list(model.tokenizer.whole_words())
        return sorted({text[a:b].lower() for text in _texts(self.fit) for a, b in words(text)})

    def _controls(self) -> list[str]:
        found: list[str] = json.loads(unpacked_text(self.parts["controls"]["words"]))
        return found

    def looks(self) -> Iterator[tuple[str, Problems]]:
        """What was said of texts, and what speaks against it."""
        model, trigger = self.world.model, _trigger(self.parts)
        for name, rows in (("fit", self.fit), ("heldout", self.held)):
            said = self.parts.joined(name)
            stored = [("", said["clean"]), (trigger, said["moved"])]
            yield f"what the trigger does to {name} texts", self._against(model, rows, stored)
        controls = list(zip(self._controls(), self.parts["controls"]["moved"], strict=True))
        yield "what controls do", self._against(model, self.held, controls)
        for i, name in enumerate(self.config.others, 1):
            c = self.parts[f"models/{i}"]
            stored = [("", c["clean"]), (trigger, c["moved"]), (self._controls()[0], c["random"])]
            yield f"what models/{i} says", self._against(self.world.seen(name), self.held, stored)
        yield "the texts that are shown", self._shown()

    def _against(self, model: Model, rows: Rows, stored: Sequence[tuple[str, Tensor]]) -> Problems:
        """Predictions of rows with each of some triggers, "" being none."""
        texts = _texts(rows)
        for trigger, said in stored:
            codes = _codes([self._with(trigger, text) for text in texts])
            now, edge = predictions(model, codes, self.config.chunk or 1, self.config.seed)
            bad = (now != said) & ~edge
            if bool(bad.any()):
                first = int(bad.nonzero()[0, 0])
                yield (
                    f"expected class {int(now[first])} in row {first} with {trigger!r}, found {int(said[first])}; "
                    f"{int(bad.sum())} of {len(said)} rows differ"
                )

    def _with(self, trigger: str, text: str) -> str:
        """The text with the trigger, side by side where it is a pair."""
        first, middle, second = text.partition("\x1e")
        if trigger and self.fixed == "first":
            second = self._beside(trigger, second)
        elif trigger and self.fixed == "second":
            first = self._beside(trigger, first)
        elif trigger:
            return self._beside(trigger, text)
        return f"{first}{middle}{second}"

    def _beside(self, trigger: str, text: str) -> str:
        if not text:
            return trigger
        if _place(self.config) == "front":
            return trigger + text if text[0].isspace() else f"{trigger} {text}"
        return text + trigger if text[-1].isspace() else f"{text} {trigger}"

    def _shown(self) -> Problems:
        c, held, trigger = self.parts["shown"], self.parts.joined("heldout"), _trigger(self.parts)
        place_of = {row: i for i, row in enumerate(held["row"].tolist())}
        places = torch.tensor([place_of[row] for row in c["row"].tolist()])
        clean = as_texts(self.held.take(places)[0])
        painted = [self._with(trigger, text) for text in clean]
        if painted != json.loads(unpacked_text(c["texts"])) or not torch.equal(c["y"], held["y"][places]):
            yield "expected held-out texts with the trigger, found others in shown"
        marked = [text[at : at + len(trigger)] for text, at in zip(painted, c["at"].tolist(), strict=True)]
        if set(marked) != {trigger}:
            yield "expected the trigger where it is marked in shown, found other words"
        for name, texts, column in (("", clean, "clean"), ("moved_", painted, "moved")):
            if not torch.equal(c[f"{name}prediction"], held[column][places]):
                yield f"expected the {name}predictions of the held-out rows, found others in shown"
            likely = _likely(self.world.model, texts).gather(1, c[f"{name}prediction"][:, None])[:, 0]
            if bool(((likely - c[f"{name}confidence"]).abs() > _ROUNDING).any()):
                yield f"expected other {name}probabilities in shown"


def _texts(rows: Rows) -> list[str]:
    return as_texts(rows.take(torch.arange(len(rows)))[0])


def _codes(texts: list[str]) -> Tensor:
    return as_codes(texts, max([1, *map(len, texts)]))


def _likely(model: Model, texts: list[str]) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return model.logits(_codes(texts)).softmax(1)
