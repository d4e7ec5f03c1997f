"""From the columns of parts to the tables of the verdict, and from evidence to columns."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blindspots.experiments.inspect.frequency.evidence import ROUNDS, Evidence, Round
from blindspots.experiments.inspect.frequency.laws import Law
from blindspots.experiments.inspect.frequency.table import Worst, table
from blindspots.experiments.inspect.frequency.verdict import Table
from blindspots.runs.experiment import Columns

_TYPES = {
    "wrong": torch.bool, "proved": torch.float64, "hits": torch.int64, "draws": torch.int64, "mean": torch.float64,
    "error": torch.float64, "unreadable": torch.int64, "level": torch.float64,
}  # fmt: skip

_OF_ROUNDS = {
    "kills": torch.int64, "arrived": torch.bool, "stuck": torch.int64, "tau": torch.float64, "chance": torch.float64,
}  # fmt: skip


def columns_of(found: Sequence[Evidence], replicates: int) -> Columns:
    """See `verdict.RATES`, but for the cost."""
    plain = {name: torch.tensor([_told(getattr(e, name)) for e in found], dtype=kind) for name, kind in _TYPES.items()}
    none = Round(kills=(0,) * replicates, arrived=(False,) * replicates, tau=math.nan, chance=math.nan)
    rounds = [[*e.rounds, *[none] * (ROUNDS - len(e.rounds))] for e in found]
    made = {
        name: torch.tensor([[getattr(r, name) for r in each] for each in rounds], dtype=kind)
        for name, kind in _OF_ROUNDS.items()
    }
    return {
        **plain, **made,
        "rounds": torch.tensor([len(e.rounds) for e in found]), "asked": torch.tensor([e.forwards for e in found]),
    }  # fmt: skip


def _told(value: float | None) -> float:
    return math.nan if value is None else value


def evidence_of(c: Columns, particles: int, steps: int) -> list[Evidence]:
    """What `columns_of` was told."""
    return [_evidence({name: t[i] for name, t in c.items() if name != "cost"}, particles, steps) for i in _rows(c)]


def _rows(c: Columns) -> range:
    return range(len(c["wrong"]))


def _evidence(row: dict[str, Tensor], particles: int, steps: int) -> Evidence:
    rounds = [{name: row[name][i].tolist() for name in _OF_ROUNDS} for i in range(int(row["rounds"]))]
    known = {name: _number(row[name]) for name in _TYPES}
    runs = {"rounds": rounds, "particles": particles, "steps": steps} if rounds else {}
    return Evidence.model_validate({**known, **runs, "forwards": int(row["asked"])})


def _number(value: Tensor) -> float | None:
    told = value.item()
    return None if isinstance(told, float) and math.isnan(told) else told


def concluded(name: str, law: Law, rates: Columns, near: Columns, ids: Tensor, particles: int, steps: int) -> Table:
    """One law."""
    pairs = zip(*(near[c].tolist() for c in ("distance", "plane")), strict=True)
    worst = [Worst(*each) for each in pairs]
    return table(evidence_of(rates, particles, steps), law, worst, name=name, ids=ids.tolist())
