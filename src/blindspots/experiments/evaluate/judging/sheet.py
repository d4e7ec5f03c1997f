"""Which texts a person is shown, in which order: drawn from the run alone, so that nothing needs to be kept."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any, Literal

import numpy as np

from blindspots.errors import InputError
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.records import Share
from blindspots.runs.store import Run, place
from blindspots.texts.codes import as_texts
from blindspots.texts.threats import TextThreat
from blindspots.threats import parse_threat

Kind = Literal["adversarial", "clean", "decoy"]


@dataclass(frozen=True)
class Item:
    """A text to be read.

    Attributes:
        id: says nothing of what it is.
        kind: adversarial; clean, of the same row; or a decoy, a clean text of another class.
        row: its place in the run.
        claimed: the class that is asked about: of the row, or, for a decoy, one that it does not have.
    """

    id: str
    kind: Kind
    row: int
    claimed: int
    text: str


@dataclass(frozen=True)
class Sheet:
    """What a person is shown.

    Attributes:
        items: in the order in which they are shown.
        classes: names, by label.
        successes: rows of the run that were broken, of those that the model read right.
        seed, texts: what it was drawn with; `texts` are the adversarial ones that were asked for.
    """

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    successes: Share
    seed: int
    texts: int

    @cached_property
    def digest(self) -> str:
        """Tells this sheet from others: SHA-256 of what is shown, its first 16 digits."""
        shown = [[item.id, item.text] for item in self.items]
        return hashlib.sha256(repr((self.classes, shown)).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def of(self, kind: Kind) -> list[Item]:
        return [item for item in self.items if item.kind == kind]


def drawn(run: Run[Any, Any], texts: int, seed: int) -> Sheet:
    """At most `texts` adversarial texts by lot, the clean texts of their rows, and as many decoys of other rows.

    A row's two texts are shown in different halves, which first is drawn, so that they are hardly compared.

    Raises InputError: the run is no evaluation of texts with classes, or nothing was broken.
    """
    evidence = _evidence(run)
    draw = Random(f"{run.manifest.model_dump_json()} {seed}")
    broken = np.flatnonzero(evidence.rows.broken).tolist()
    chosen = draw.sample(broken, min(texts, len(broken)))
    halves: tuple[list[tuple[Kind, int, int]], ...] = ([], [])
    for row in chosen:
        first, y = draw.randrange(2), int(evidence.rows.y[row])
        halves[first].append(("adversarial", row, y))
        halves[1 - first].append(("clean", row, y))
    for i, (row, claimed) in enumerate(_decoys(evidence, chosen, draw)):
        halves[i % 2].append(("decoy", row, claimed))
    shown = [one for half in halves for one in draw.sample(half, len(half))]
    items = (Item(f"{draw.getrandbits(64):016x}", *one, _text(evidence, *one[:2])) for one in shown)
    successes = Share.of(len(broken), int(evidence.rows.right.sum()))
    return Sheet(tuple(items), _classes(evidence), successes, seed, texts)


def clean_texts(run: Run[Any, Any]) -> list[str]:
    """All texts of the run, as they were."""
    return [text for shard in run.parts.below("shards") for text in as_texts(shard["x"])]


def _evidence(run: Run[Any, Any]) -> Evidence:
    kind = run.manifest.kind
    if kind not in ("evaluate", "attack") or not isinstance(parse_threat(run.config.threat), TextThreat):
        raise InputError(
            f"expected an evaluation of texts in {place(run.files)}, got one of another kind: judge texts only"
        )
    evidence = Evidence(run)
    if not evidence.rows.broken.any():
        raise InputError(f"expected adversarial texts in {place(run.files)}, got none: there is nothing to judge")
    return evidence


def _decoys(evidence: Evidence, chosen: Sequence[int], draw: Random) -> Iterator[tuple[int, int]]:
    """For each chosen row another one of another class, and the class of the chosen one; each row once."""
    y, taken = evidence.rows.y, set(chosen)
    free = [row for row in draw.sample(range(len(y)), len(y)) if row not in taken]
    for claimed in y[list(chosen)].tolist():
        row = next((row for row in free if y[row] != claimed), None)
        if row is not None:
            free.remove(row)
            yield row, claimed


def _text(evidence: Evidence, kind: Kind, row: int) -> str:
    return evidence.adversarial_text(row) if kind == "adversarial" else evidence.text(row)


def _classes(evidence: Evidence) -> tuple[str, ...]:
    last = int(max(evidence.rows.y.max(), evidence.rows.adversarial_prediction.max()))
    return tuple(evidence.class_names or map(str, range(last + 1)))
