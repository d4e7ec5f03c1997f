"""From what users and attacks asked to a verdict on the guard."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Self

import torch
from torch import Tensor

from blindspots.experiments.detect.measure import Scores, auc
from blindspots.experiments.detect.queries.verdict import Asked, Near, QueriesVerdict
from blindspots.models.guarded_queries import QueryGuard
from blindspots.packing import unpacked_text
from blindspots.records import Share
from blindspots.runs.store import Parts

_BYTES = 8  # of a hash


@dataclass(frozen=True)
class Told:
    """What a run inside the run found out: of rows (n,) bool, and of the queries of each row (q,) float64."""

    right: Tensor
    won: Tensor
    shared: list[Tensor]

    @classmethod
    def of(cls, parts: Parts, name: str) -> Self:
        shards = list(parts.run(name).parts.below("shards"))
        right, won = (torch.cat([columns[what] for columns in shards]) for what in ("right", "won"))
        return cls(right, won, [columns["shared"] for columns in shards if "shared" in columns])

    @property
    def later(self) -> Tensor:
        """What was shared by all queries but the first of each row, which nothing comes before."""
        return torch.cat([shared[1:] for shared in self.shared])


def conclude(parts: Parts, specs: Mapping[str, str], guard: QueryGuard) -> QueriesVerdict:
    """`specs`: the constructor call of every attack, by its name."""
    users = parts["users"]
    bare, guarded = ([Told.of(parts, f"{side}/{name}") for name in specs] for side in ("bare", "guarded"))
    held = _standing(guarded)
    return QueriesVerdict(
        rows=len(bare[0].right),
        clean=_share(bare[0].right),
        robust=_standing(bare),
        adaptive_accuracy=held.share,
        adaptive_interval=held.interval,
        rejected=_share(users["shared"] > guard.threshold),
        auc=_area(users["shared"], torch.cat([told.later for told in guarded])),
        near=[
            Near(kind=kind, refused=_share(near > guard.threshold))
            for kind, near in zip(unpacked_text(users["kinds"]).splitlines(), users["near"], strict=True)
        ],
        attacks=[
            _asked(name, spec, without, past, users["shared"], guard.threshold)
            for (name, spec), without, past in zip(specs.items(), bare, guarded, strict=True)
        ],
        bytes_per_query=_BYTES * guard.hashes,
    )


def _asked(name: str, spec: str, bare: Told, guarded: Told, users: Tensor, threshold: float) -> Asked:
    queries = [shared > threshold for shared in guarded.shared]
    first = [int(refused.int().argmax()) + 1 for refused in queries if refused.any()]
    noticed = torch.tensor([bool(refused.any()) for refused in queries])
    return Asked(
        attack=name,
        spec=spec,
        bare=_share(bare.won[bare.right]),
        guarded=_share(guarded.won[guarded.right]),
        queries=sum(map(len, queries)),
        refused=_share(torch.cat(queries)),
        first=float(median(first)) if first else None,
        unnoticed=_share(~noticed[guarded.won]),
        auc=_area(users, guarded.later),
    )


def _standing(told: list[Told]) -> Share:
    """Rows that are right and fell to none of the attacks."""
    return _share(torch.stack([one.right & ~one.won for one in told]).all(0))


def _area(users: Tensor, attack: Tensor) -> float | None:
    scores = Scores.of(users.numpy(), attack.numpy())
    return auc(scores) if scores else None


def _share(hits: Tensor) -> Share:
    return Share.of(int(hits.sum()), len(hits))
