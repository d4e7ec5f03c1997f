"""Proves an evaluation again, from the stored bytes alone: none of the code that searched has a say in it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import torch

from blindspots.data import Dataset
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.features import digest_of, restored
from blindspots.experiments.evaluate.validity import read as checks_read
from blindspots.experiments.evaluate.verdict import OUTCOMES, EvaluateVerdict
from blindspots.experiments.evaluate.verify_reach import ReachProof
from blindspots.experiments.evaluate.verify_rows import (
    ALREADY_TARGET,
    PROVED,
    STOOD,
    Look,
    proves,
    shape_problems,
    targeted,
    topics,
)
from blindspots.experiments.evaluate.verify_shard import Problems, Shard
from blindspots.experiments.evaluate.verify_tables import TableShard, Told, ignorant, possible
from blindspots.experiments.evaluate.verify_tables import numbers as table_numbers
from blindspots.experiments.evaluate.verify_texts import TextShard
from blindspots.experiments.evaluate.verify_texts import topics as text_topics
from blindspots.experiments.evaluate.verify_values import Reader, spread
from blindspots.models.endpoints import Endpoint
from blindspots.models.guarded_queries import GuardedQueries, QueryGuard
from blindspots.packing import unpacked_text
from blindspots.runs.again import EDGE, share
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import differing, note
from blindspots.runs.world import World
from blindspots.texts.threats import TEXTS, parse_text_threat

_CURVE = 200  # steps of the curve that are kept, at most


def inside(run: Run[Batched, EvaluateVerdict], part: str, world: World) -> Mapping[str, Any]:
    """What a search within a smaller radius was given."""
    given = {"goal": world.given["goal"]} if "goal" in world.given else {}
    return {"model": world.named("model"), **given, **({"data": world.data} if "data" in world.same else {})}


def checks(config: Batched, verdict: EvaluateVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at: every shard, and every number of the verdict counted again, row by row."""
    proof = _Proof(config, verdict, parts, world)
    yield Check("the protocol of the verdict is that of the manifest", list(proof.protocol()))
    if not proof.texts and (config.limits or proof.threat.features):
        yield Check(
            "bounds, units and mask of features are those of the manifest and the model", list(proof.features())
        )
    if problems := list(proof.shapes()):
        yield Check("every shard has all its columns, and all rows are there", problems)
        return
    yield Check("every shard has all its columns, and all rows are there", [])
    with world.named("model").borrowed(), torch.no_grad():
        found: dict[str, list[str]] = {}
        for shard in proof.shards():
            for topic, looks in proof.topics(shard):
                found.setdefault(topic, []).extend(problem for look in looks for problem in look(shard))
            proof.on_edge += shard.on_edge
            proof.again += shard.again
            proof.undecided += shard.undecided
    yield from (Check(topic, problems) for topic, problems in found.items())
    yield differing("every number of the verdict follows from the shards", numbers_of(verdict), proof.numbers())
    if not proof.texts:
        yield from proof.reached()
    yield from proof.notes()


class _Proof:
    def __init__(self, config: Batched, verdict: EvaluateVerdict, parts: Parts, world: World) -> None:
        self.config, self.verdict, self.parts, self.world = config, verdict, parts, world
        self.names = [name for name in parts if name.startswith("shards/")]
        self.on_edge, self.randomised = 0, False
        self.again, self.undecided = 0, 0
        record = parts.begun.manifest.world
        self.bounds, self.shape = tuple(record["model"]["bounds"]), tuple(record["data"]["shape"])
        self.rows = int(record["data"]["rows"])
        self.reader = Reader(str(config.goal), world.given.get("goal")) if config.of_values else None
        self.reach = ReachProof(config, parts, self.reader, None if self.texts else self.threat.radius)

    @cached_property
    def guard(self) -> QueryGuard | None:
        """What the model is behind."""
        model = self.world.named("model")
        return model.guard if isinstance(model, GuardedQueries) else None

    @cached_property
    def texts(self) -> bool:
        return str(self.config.threat).partition(":")[0] in TEXTS

    @cached_property
    def checks(self) -> int | None:
        """How many checks are made of changed texts."""
        return len(checks_read(self.parts["preflight"]).names) if self.texts else None

    @cached_property
    def told(self) -> Told | None:
        """What a feature file said of the columns of a table."""
        kept = self.parts["preflight"].get("table")
        return None if kept is None else Told(unpacked_text(kept))

    @property
    def ignoring(self) -> list[int]:
        """The stages that ignore the rules of a table."""
        return [k for k, stage in enumerate(self.config.stages) if "ignores=True" in stage]

    def topics(self, shard: Shard) -> Iterator[tuple[str, tuple[Look, ...]]]:
        """What is looked at of a shard."""
        same, data, values, table = (
            self.asks(shard),
            shard.data is not None,
            shard.reader is not None,
            self.told is not None,
        )
        yield from topics(same, data, values, self.texts, proves(self.config), table)
        if table:
            yield "every adversarial example keeps ranges, types, directions and relations", (possible,)
            if same and not values:
                yield "what ignores the rules of the table is misclassified", (ignorant,)
        if self.texts:
            yield from text_topics(self.world, self.parts["preflight"])

    @cached_property
    def threat(self) -> Any:
        """With its tensors as the run kept them."""
        if self.texts:
            return parse_text_threat(str(self.config.threat))
        return restored(str(self.config.threat), self.bounds, self.parts["preflight"])

    def features(self) -> Problems:
        """Whether units, masks and bounds of features are those that the manifest names, and the model's own."""
        if digest_of(self.threat) != self.config.limits:
            yield "expected the bounds, units and mask that the manifest names, found others in the preflight part"
        ball = self.threat.ball if self.told is not None else self.threat
        if self.world.same.get("model") and ball.within(*self.world.named("model").box) != ball:
            yield "expected the bounds of the model, found others in the preflight part"

    def protocol(self) -> Problems:
        stages, reprs = self.verdict.stages, self.config.stages
        if len(stages) != len(reprs):
            yield f"expected the {len(reprs)} stages of the manifest, found {len(stages)} in the verdict"
        for stage, text in zip(stages, reprs, strict=False):
            said = f"name={stage.name!r}, attack={stage.attack}, why={stage.why!r}"
            if said not in text:
                yield f"expected the stage {text}, found {said} in the verdict"

    def shapes(self) -> Problems:
        whole = self.config.shard_rows or 1
        needed = -(-self.rows // whole)
        if self.names != [f"shards/{i:05d}" for i in range(needed)]:
            yield f"expected {needed} shards, one after the other, found {', '.join(self.names) or 'none'}"
            return
        measures = len(self.measures) if self.reader else None
        for i, name in enumerate(self.names):
            rows = min(whole, self.rows - i * whole)
            yield from shape_problems(
                name, rows, self.parts[name], len(self.config.stages), self.shape, measures, self.checks,
                proves(self.config), len(self.told.rules) if self.told is not None and self.ignoring else None,
                self.guard is not None,
            )  # fmt: skip

    def shards(self) -> Iterator[Shard]:
        start = 0
        for i, name in enumerate(self.names):
            self.world.say(f"shard {i + 1} of {len(self.names)}")
            columns = self.parts[name]
            kind = TextShard if self.texts else Shard if self.told is None else TableShard
            shard = kind(
                name, start, columns, self.config, self.threat, self.world.named("model"), self._data,
                self.reader,
            )  # fmt: skip
            if isinstance(shard, TableShard) and self.told is not None:
                shard.table = self.told
            yield shard
            start += len(columns["id"])

    @cached_property
    def measures(self) -> list[str]:
        """Names of the numbers that a goal reports."""
        said = self.parts[self.names[0]].get("measure_names") if self.names else None
        return [] if said is None else unpacked_text(said).splitlines()

    @property
    def _data(self) -> Dataset | None:
        """The data, if they are at hand and the same."""
        return self.world.data if self.world.same.get("data") else None

    def asks(self, shard: Shard) -> bool:
        """Whether the model can be asked again: it is the same, and answers the same question in one way."""
        if not self.world.same["model"]:
            return False
        if isinstance(shard.model.service, Endpoint) and shard.model.service.is_random:
            self.randomised = True  # asking again would only cost money
            return False
        x = shard.x[: self.config.chunk]
        one, other = (shard.model.logits(x) for _ in range(2))
        self.randomised |= bool((one - other).abs().max() > EDGE * one.abs().max())
        return not self.randomised

    def notes(self) -> Iterator[Check]:
        if self.randomised:
            yield note(
                "The model is randomised: it draws anew when it is asked, so its answers were taken as they are stored."
            )
        if self.again or self.undecided:
            yield note(
                f"The bounds of {self.again:,} rows were proved again; for {self.undecided:,} more the time did not do."
            )
        if self.on_edge:
            yield note(
                f"{self.on_edge:,} predictions are on the edge: rounding, up to {EDGE:g} of the largest score, decides "
                "them, and here it decided otherwise than when the run was made."
            )

    def reached(self) -> Iterator[Check]:
        """What is looked at of smaller radii and of noise."""
        model = self.world.named("model")
        with model.borrowed(), torch.no_grad():
            yield from self.reach.checks(model, self.world.same["model"] and not self.randomised, self.threat)

    # -------------------------------------------------------------- numbers

    def numbers(self) -> dict[str, Any]:
        """The verdict, counted again row by row."""
        rows = [row for name in self.names for row in _rows(self.parts[name])]
        counted = [row for row in rows if row["result"] != ALREADY_TARGET]
        right = [row for row in counted if row["right"]]
        stand, whole = [r for r in right if not r["won"]], [r for r in right if not r["fools_8bit"]]
        clean, robust = share(len([r for r in rows if r["right"]]), len(rows)), share(len(stand), len(counted))
        in_8bit = share(len(whole), len(counted))
        ends = Counter(row["result"] for row in rows)
        forwards, backwards = sum(r["forwards"] for r in rows), sum(r["backwards"] for r in rows)
        costs = [self.parts["preflight"]["cost"].tolist(), *(self.parts[n]["unbilled"].tolist() for n in self.names)]
        beside = [sum(column) for column in zip(*costs, strict=True)]
        return {
            "rows": len(rows),
            "counted": len(counted),
            "clean_accuracy": clean["share"],
            "clean_interval": clean["interval"],
            "robust_accuracy": robust["share"],
            "interval": robust["interval"],
            "searched": share(len([r for r in rows if r["result"] in (STOOD, PROVED)]), len(counted)),
            "robust_of_right": share(len(stand), len(right)),
            "reached": share(len([r for r in rows if r["won"]]), len(right)) if targeted(self.config) else None,
            "robust_accuracy_8bit": in_8bit["share"],
            "interval_8bit": in_8bit["interval"],
            "outcomes": {OUTCOMES[result]: ends[result] for result in sorted(ends)},
            "distances": _distances([r["norm"] for r in rows if r["won"]], len(right), len(counted)),
            "forwards": forwards,
            "backwards": backwards,
            "forwards_per_row": forwards / len(rows) if rows else 0.0,
            "backwards_per_row": backwards / len(rows) if rows else 0.0,
            "forwards_unbilled": beside[0],
            "backwards_unbilled": beside[1],
            "stages": self._stages(),
            **self._adjusted(len(right), len(counted)),
            **self._certified(ends[PROVED], len(stand), len(counted)),
            **self._asked(forwards + beside[0]),
            "forwarded": sum(int(self.parts[n]["forwarded"]) for n in self.names) if self.texts else None,
            "table": self._table(),
            "measures": [
                {
                    "name": name,
                    "clean": spread(self._column("measures", i)),
                    "worst": spread(self._column("worst_measures", i)),
                }
                for i, name in enumerate(self.measures)
            ],
            **self.reach.numbers(len(counted), len(stand)),
        }

    def _asked(self, evaluations: int) -> dict[str, Any]:
        """What an endpoint was asked, and what that costs, in fractions."""
        if self.guard is not None:
            shares = [share for name in self.names for share in self.parts[name]["shared"].tolist()]
            found = {"queries": len(shares), "refused": sum(share > self.guard.threshold for share in shares)}
            return {"paid": None, "endpoint": None, **found}
        if "queries" not in self.parts:
            return {"queries": None, "paid": None, "refused": None, "endpoint": None}
        counts = self.parts["queries"]["counts"].tolist()
        answered, refused, failed, lost, open_, _, again = counts
        config, billed = self.config, answered + refused + lost + open_
        return {
            "queries": billed + failed,
            "paid": self._price(billed),
            "refused": refused,
            "endpoint": {
                "answered": answered, "failed": failed, "lost": lost + open_, "again": again,
                "stored": max(0, evaluations - answered - refused), "billed": billed,
                "price": _money(Fraction(config.price or 0)), "expected": config.expected,
                "expected_paid": None if config.expected is None else self._price(config.expected),
                "at_most": config.at_most, "at_most_paid": self._price(config.at_most or 0),
                "forecasts": [
                    dict(zip(("after", "expected", "least", "most"), said, strict=True))
                    for said in self.parts["queries"]["forecasts"].tolist()
                ],
            },
        }  # fmt: skip

    def _price(self, inputs: int) -> str:
        return _money(Fraction(self.config.price or 0) * max(0, inputs - self.config.free))

    def _table(self) -> dict[str, Any] | None:
        if self.told is None:
            return None
        return table_numbers([self.parts[n] for n in self.names], self.told, self.ignoring, not self.config.of_values)

    def _adjusted(self, right: int, counted: int) -> dict[str, Any]:
        """What is left of successes on texts once they have to be valid."""
        if not self.texts:
            return {"valid": None, "adjusted": None}
        columns = [self.parts[name] for name in self.names]
        fell = sum(len(c["broken"]) for c in columns)
        valid = sum(int(one) for c in columns for one in c["valid"].tolist())
        return {"valid": share(valid, fell), "adjusted": share(right - valid, counted)}

    def _certified(self, proved: int, stand: int, counted: int) -> dict[str, Any]:
        """What is said of proofs."""
        if not proves(self.config):
            return dict.fromkeys(("certified_accuracy", "certified_interval", "open", "minimal"))
        found = share(proved, counted)
        columns = [self.parts[name] for name in self.names]
        smallest = [bool(m) for c in columns for m, won in zip(c["minimal"], c["won"], strict=True) if won]
        return {
            "certified_accuracy": found["share"],
            "certified_interval": found["interval"],
            "open": stand - proved,
            "minimal": share(sum(smallest), len(smallest)),
        }

    def _column(self, name: str, place: int) -> Any:
        return np.concatenate([self.parts[shard][name].numpy()[:, place] for shard in self.names])

    def _stages(self) -> list[dict[str, Any]]:
        counts = np.sum([self.parts[name]["stage_counts"].numpy() for name in self.names], 0)
        names = ("rows", "won", "forwards", "backwards")
        return [
            {"name": s.name, "attack": s.attack, "why": s.why, **dict(zip(names, map(int, n), strict=True))}
            for s, n in zip(self.verdict.stages, counts, strict=True)
        ]


def _money(amount: Fraction) -> str:
    """All of its decimals, two at least."""
    digits = 2
    while amount * 10**digits % 1:
        digits += 1
    whole, rest = divmod(int(amount * 10**digits), 10**digits)
    return f"{whole}.{rest:0{digits}d}"


def _rows(columns: Any) -> Iterator[dict[str, Any]]:
    """Row by row, what a verdict counts; `fools_8bit`: its example, rounded to 8 bits, is a success still."""
    names = ("y", "right", "won", "result", "target", "norm", "forwards", "backwards")
    rows = [
        dict(zip(names, values, strict=True), fools_8bit=False)
        for values in zip(*(columns[name].tolist() for name in names), strict=True)
    ]
    for at, said in zip(columns["broken"].tolist(), columns["prediction_8bit"].tolist(), strict=True):
        row = rows[at]
        wrong = said not in (row["y"], -1)
        row["fools_8bit"] = wrong and (row["target"] == -1 or said == row["target"])
    yield from rows


def _distances(norms: list[float], right: int, rows: int) -> dict[str, Any] | None:
    """Sizes of the changes that were found, and the accuracy that is left at each of them."""
    if not norms:
        return None
    sizes = np.sort(np.asarray(norms, np.float32))
    places = np.unique(np.linspace(0, len(sizes) - 1, _CURVE).round().astype(int))
    left = [(float(sizes[i]), (right - sum(size <= sizes[i] for size in sizes.tolist())) / rows) for i in places]
    middle = np.float32(median(sizes.tolist()))  # the sizes are float32, and so is the middle of two of them
    return {
        "smallest": float(min(norms)), "median": float(middle), "largest": float(max(norms)),
        "curve": [(0.0, right / rows), *left],
    }  # fmt: skip
