"""How many CPU threads to use: all that are free, and never more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def free_threads() -> int:
    """OMP_NUM_THREADS if it is set, else the processors that this process may use, less those that others keep busy.

    Two processes with one thread per processor each wait for each other at every parallel loop, which can make both a
    hundred times slower.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    return max(1, min(processors, torch.get_num_threads()) - busy)


@contextmanager
def set_threads(threads: int | None) -> Iterator[int]:
    """`threads` CPU threads, or as many as are free, inside; what was set before, outside."""
    before = torch.get_num_threads()
    now = threads or free_threads()
    torch.set_num_threads(now)
    try:
        yield now
    finally:
        torch.set_num_threads(before)
