"""What `blindspots verify` looks at: every number a second time, by other code than that of the run."""

from collections.abc import Iterator

import torch
from scipy.stats import binomtest

from blindspots.random import keys, normal
from blindspots.runs.columns import check_columns
from blindspots.runs.experiment import Check
from blindspots.runs.metric import numbers_of
from blindspots.runs.store import Parts
from blindspots.runs.verify import differing
from blindspots.runs.world import World
from noise_flips.config import FlipsConfig
from noise_flips.verdict import ROWS, FlipsVerdict


def checks(config: FlipsConfig, verdict: FlipsVerdict, parts: Parts, world: World) -> Iterator[Check]:
    """The numbers from the columns, then a row from the model."""
    flips = [n for name in parts for n in check_columns(parts[name], ROWS, name)["flips"].tolist()]
    hits, rows = sum(n > 0 for n in flips), len(flips)
    exact = binomtest(hits, rows).proportion_ci(method="exact")
    share = {"hits": hits, "rows": rows, "share": hits / rows, "interval": [float(exact.low), float(exact.high)]}
    again = {"rows": rows, "unstable": share, "flip_rate": sum(flips) / (rows * config.draws)}
    yield differing("every number of the verdict follows from the rows", numbers_of(verdict), again)
    if world.same.get("model") and world.same.get("data"):
        found = _first(config, world)
        problem = f"expected {found} changed draws of row 0, found {flips[0]}"
        yield Check("the first row comes out again", [] if found == flips[0] else [problem])


@torch.no_grad()
def _first(config: FlipsConfig, world: World) -> int:
    x, at, zero = world.data.rows(0, 1)[0], torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    copies = [x] + [
        x + config.sigma * normal(keys(config.seed, at, draw), zero, 0, x.shape[1:]) for draw in range(config.draws)
    ]
    with world.model.borrowed():
        said = world.model.logits(torch.cat(copies).to(world.model.device)).argmax(1)
    return int((said[1:] != said[0]).sum())
