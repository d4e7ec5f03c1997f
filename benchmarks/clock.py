"""Times that can be compared on a machine that others use too."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Took:
    """Seconds on the wall and of this process's processors, and what was returned."""

    wall: float
    cpu: float
    result: Any = None


def clock(f: Callable[[], Any]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    result = f()
    return Took(time.perf_counter() - wall, time.process_time() - cpu, result)


def interleaved(contenders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[Took]]:
    """Every contender once per round, so that what slows the machine down for a while slows all of them down."""
    took: dict[str, list[Took]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, f in contenders.items():
            took[name].append(clock(f))
    return took


def middle(took: list[Took]) -> Took:
    """Medians."""
    return Took(median(t.wall for t in took), median(t.cpu for t in took))


def ratio(took: list[Took], base: list[Took]) -> Took:
    """Median over the rounds of `took` over `base`."""
    pairs = list(zip(took, base, strict=True))
    return Took(median(t.wall / b.wall for t, b in pairs), median(t.cpu / b.cpu for t, b in pairs))
