"""Proves a run on a guard of queries again: every figure by other code, and fingerprints hash by hash."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from blindspots.data import ArrayData
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.queries.verdict import USERS, QueriesVerdict
from blindspots.models.guarded_queries import GuardedQueries, QueryGuard
from blindspots.packing import unpack_inputs, unpacked_text
from blindspots.runs.again import share
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts, Run
from blindspots.runs.verify import differing
from blindspots.runs.world import World

Array = NDArray[Any]
_AGAIN = 20  # queries of users whose fingerprints are computed once more
_WORD = (1 << 64) - 1


def checks(config: DetectConfig, verdict: QueriesVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """What `verify` looks at; the evaluations inside are proved besides."""
    proof = _Proof(config, verdict, parts, world)
    yield Check("all parts are there, with all their columns", list(proof.shapes()))
    yield differing("every number of the verdict follows from the parts", numbers_of(verdict), proof.numbers())
    yield Check("attacks were given the threat, the rows and the budget of the settings", list(proof.inside()))
    if world.same.get("data") and world.same.get("model"):
        yield Check("the first queries of users have in common what was stored", list(proof.first_users()))


def inside(run: Run[DetectConfig, QueriesVerdict], part: str, world: World) -> Mapping[str, Any]:
    """The model, or the model behind the guard, and the rows that an attack was given."""
    model, users = world.named("model"), run.parts["users"]
    assert isinstance(model, GuardedQueries)
    names = run.manifest.world["test" if "test" in run.manifest.world else "data"]["class_names"]
    data = ArrayData(unpack_inputs(users["x"]), users["y"], "measured rows", class_names=names)
    return {"model": model.model if part.startswith("bare/") else model, "data": data}


class _Proof:
    def __init__(self, config: DetectConfig, verdict: QueriesVerdict, parts: Parts, world: World) -> None:
        self.config, self.verdict, self.parts, self.world = config, verdict, parts, world
        model = world.named("model")
        assert isinstance(model, GuardedQueries)
        self.guard = model.guard
        self.users = {name: column.numpy() for name, column in parts["users"].items()}
        self.attacks = [name.removeprefix("bare/") for name in parts if name.startswith("bare/")]
        self.runs = {name: parts.run(name) for name in parts if name != "users"}
        self.rows = {name: list(run.parts.below("shards")) for name, run in self.runs.items()}

    def shapes(self) -> Iterator[str]:
        check_columns(self.parts["users"], USERS, "users")
        expected = {"users", *(f"{side}/{a}" for side in ("bare", "guarded") for a in self.attacks)}
        if set(self.parts) != expected or len(self.attacks) != len(self.config.test_attack or ()):
            yield f"expected the parts {', '.join(sorted(expected))}, found {', '.join(self.parts)}"

    def inside(self) -> Iterator[str]:
        for name, run in self.runs.items():
            c, asked = run.config, len(self.users["y"])
            if (c.threat, c.row_budget, c.shard_rows, run.verdict.rows) != (
                self.config.threat, 1 + self.config.queries, 1, asked,
            ):  # fmt: skip
                yield f"expected {name} within {self.config.threat}, row by row, found other settings"
            attack = repr(run.verdict.stages[0].attack)
            if name.startswith("bare/") and attack != repr(self._stage(f"guarded/{name.removeprefix('bare/')}")):
                yield f"expected the same attack with and without the guard, found another one in {name}"

    def _stage(self, name: str) -> str:
        return str(self.runs[name].verdict.stages[0].attack)

    # -------------------------------------------------------------- numbers

    def numbers(self) -> dict[str, Any]:
        clean = [bool(c["right"][0]) for c in self.rows[f"bare/{self.attacks[0]}"]]
        held = self._stand("guarded")
        later = [one for a in self.attacks for one in self._later(a)]
        limit = self.guard.threshold
        return {
            "detector": "queries",
            "rows": len(clean),
            "clean": share(sum(clean), len(clean)),
            "robust": self._stand("bare"),
            "adaptive_accuracy": held["share"],
            "adaptive_interval": held["interval"],
            "rejected": share(sum(s > limit for s in self.users["shared"]), len(self.users["shared"])),
            "auc": self._area(later),
            "near": [
                {"kind": kind, "refused": share(sum(s > limit for s in near), len(near))}
                for kind, near in zip(
                    unpacked_text(self.parts["users"]["kinds"]).splitlines(), self.users["near"], strict=True
                )
            ],
            "attacks": list(map(self._asked, self.attacks)),
            "bytes_per_query": 8 * self.guard.hashes,
        }

    def _asked(self, attack: str) -> dict[str, Any]:
        bare, past, limit = self.rows[f"bare/{attack}"], self.rows[f"guarded/{attack}"], self.guard.threshold
        refusals = [[s > limit for s in c["shared"].tolist()] for c in past]
        first = [row.index(True) + 1 for row in refusals if any(row)]
        quiet = [not any(row) for row, c in zip(refusals, past, strict=True) if c["won"][0]]
        return {
            "attack": attack,
            "spec": self._stage(f"guarded/{attack}"),
            "bare": share(sum(int(c["won"][0]) for c in bare), sum(int(c["right"][0]) for c in bare)),
            "guarded": share(sum(int(c["won"][0]) for c in past), sum(int(c["right"][0]) for c in past)),
            "queries": sum(map(len, refusals)),
            "refused": share(sum(map(sum, refusals)), sum(map(len, refusals))),
            "first": float(statistics.median(first)) if first else None,
            "unnoticed": share(sum(quiet), len(quiet)),
            "auc": self._area(self._later(attack)),
        }

    def _stand(self, side: str) -> dict[str, Any]:
        runs = [self.rows[f"{side}/{a}"] for a in self.attacks]
        kept = [all(bool(c["right"][0]) and not bool(c["won"][0]) for c in row) for row in zip(*runs, strict=True)]
        return share(sum(kept), len(kept))

    def _later(self, attack: str) -> list[float]:
        return [one for c in self.rows[f"guarded/{attack}"] for one in c["shared"].tolist()[1:]]

    def _area(self, attack: list[float]) -> float | None:
        users = self.users["shared"].tolist()
        if not attack or not users:
            return None
        return float(roc_auc_score([0] * len(users) + [1] * len(attack), users + attack))

    # -------------------------------------------------------------- users

    def first_users(self) -> Iterator[str]:
        lo, hi = self.world.named("model").box.like(self.world.data.rows(0, 1)[0])
        x = self.world.data.rows(0, min(_AGAIN, len(self.users["shared"])))[0]
        prints = [_fingerprint(self.guard, one) for one in ((x - lo) / (hi - lo)).numpy()]
        for i, mine in enumerate(prints):
            most = max((len(mine & other) for other in prints[:i]), default=0) / len(mine)
            if most != self.users["shared"][i]:
                yield f"expected query {i} of the users to share {most}, found {self.users['shared'][i]}"


def _fingerprint(guard: QueryGuard, unit: Array) -> set[int]:
    """The smallest hashes of an input, in whole numbers of any size."""
    flat = [round(float(v) * 255) for v in unit.reshape(-1)]
    shifts, factors = (list(map(int, some)) for some in guard.secrets(len(flat)))
    coarse = [int(np.round((v + s) % 256 / guard.quantisation)) for v, s in zip(flat, shifts, strict=True)]
    width = len(factors)
    found = {_hash(coarse[i : i + width], factors) for i in range(len(coarse) - width + 1)}
    return set(sorted(found)[: guard.hashes])


def _hash(values: list[int], factors: list[int]) -> int:
    z = sum(v * f for v, f in zip(values, factors, strict=True)) & _WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _WORD
    z ^= z >> 31
    return z - (1 << 64) if z >> 63 else z
