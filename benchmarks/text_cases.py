"""Texts to attack: a victim, rows that it is right on, and the lattices of these."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

import blindspots as bs
from benchmarks.victims import Texts, data_of, folder, texts_of, victim
from blindspots.attacks import parse_attack
from blindspots.data.texts import TextData
from blindspots.engine.cascade import Stage
from blindspots.models.texts import TokenModel
from blindspots.objective import Objective
from blindspots.texts.candidates import parse_candidates
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat, Words

SHARE = 0.15  # of the words, where it is not said otherwise


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


def data_set(texts: Texts) -> TextData:
    return TextData(texts.texts, texts.labels, class_names=texts.classes)


def evaluated(case: Case, attack: str, model: TokenModel) -> bs.Evaluation:
    """One attack alone, or a protocol of this name."""
    protocol: Any = attack
    if not attack.startswith("text-"):
        search = parse_attack(attack)
        protocol = (Stage(attack, search, "alone", Objective(loss=search.loss)),)
    return bs.evaluate(
        model, data=data_set(case.texts), threat=case.threat, protocol=protocol, validity="changed", engine="serial"
    )


def flips_and_costs(done: bs.Evaluation) -> tuple[int, float, float]:
    """Flipped rows, and the mean evaluations of these and of all rows."""
    won, spent = (torch.cat([columns[name] for columns in done.shards()]) for name in ("won", "forwards"))
    return (
        int(won.sum()),
        float(spent[won].double().mean()) if bool(won.any()) else math.nan,
        float(spent.double().mean()),
    )


def chosen(names: Iterable[str], models: Sequence[str] | None) -> list[str]:
    """Those that were asked for."""
    return [name for name in names if not models or any(part in name for part in models)]
