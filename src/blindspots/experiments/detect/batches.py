"""A test of whole batches: how often it rejects clean ones, attacked ones, and ones that hide what was attacked."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from blindspots.experiments.detect.verdict import BatchPower
from blindspots.records import Share
from blindspots.runs.experiment import Columns

SIZES = (5, 10, 20, 50)
BATCHES = 50  # of each kind and size
DILUTED = (1.0, 0.5, 0.2)  # shares of a batch that are adversarial
LEVEL = 0.05
_PERMUTATIONS = 200


@runtime_checkable
class TestsBatches(Protocol):
    """A fitted detector that tests batches, such as MMD's."""

    def p_value(self, batch: Tensor, seed: int = 0, permutations: int = 1000) -> float: ...


def p_values(test: TestsBatches, clean: Tensor, made: dict[str, Tensor], seed: int) -> Columns:
    """Of batches drawn from clean rows (n, ...) and examples (k, ...) that fool: per kind (shares, sizes, batches).

    The kind "clean" has the share 0 alone; kinds without an example are left out. A batch has no row twice, which the
    test would take for a discrepancy: NaN where there are too few. Different batches share rows.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = {"clean": clean[:0], **{name: x for name, x in made.items() if len(x)}}
    columns = {}
    for name, examples in kinds.items():
        shares = DILUTED if len(examples) else (0.0,)
        values = [
            [[_one(test, clean, examples, share, size, generator, seed) for _ in range(BATCHES)] for size in SIZES]
            for share in shares
        ]
        columns[name] = torch.tensor(values, dtype=torch.float64)
    return columns


def _one(
    test: TestsBatches, clean: Tensor, examples: Tensor, share: float, size: int, generator: torch.Generator, seed: int
) -> float:
    bad = round(share * size)
    if bad > len(examples) or size - bad > len(clean):
        return float("nan")
    rows = [x[torch.randperm(len(x), generator=generator)[:n]] for x, n in ((examples, bad), (clean, size - bad))]
    return test.p_value(torch.cat(rows), seed=seed, permutations=_PERMUTATIONS)


def powers(columns: Columns) -> Iterator[BatchPower]:
    """At level 5 %, of every kind, share and size that there are rows for, the clean ones first."""
    for kind in sorted(columns, key=lambda name: (name != "clean", name)):
        shares = DILUTED if len(columns[kind]) > 1 else (0.0,)
        for share, by_size in zip(shares, columns[kind], strict=True):
            for size, p in zip(SIZES, by_size, strict=True):
                if not bool(p.isnan().any()):
                    yield _power(kind, share, size, p)


def _power(kind: str, share: float, size: int, p: Tensor) -> BatchPower:
    rejected = int((p <= LEVEL).sum())
    missed = (len(p) - rejected) * round(share * size)
    return BatchPower(
        kind=kind, share=share, size=size, rejected=Share.of(rejected, len(p)), accuracy=1 - missed / (len(p) * size)
    )
