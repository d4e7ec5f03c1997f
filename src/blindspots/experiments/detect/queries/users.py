"""What honest users ask of a guard: rows that differ, and some that hardly do."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from blindspots.models.guarded_queries import QueryGuard
from blindspots.random import keys, normal

Change = Callable[[Tensor, Tensor], Tensor]
_LEVEL = 1 / 255


def _noisy(levels: float) -> Change:
    """Sensor noise: normal, of so many levels of 255."""
    return lambda x, key: x + levels * _LEVEL * normal(key, torch.zeros_like(key), 0, x.shape[1:])


def near(shape: tuple[int, ...]) -> dict[str, Change]:
    """Changes of inputs (B, *shape) with values from 0 to 1 that a camera makes from one frame to the next, by name."""
    changes: dict[str, Change] = {
        "unchanged": lambda x, key: x,
        "with noise of 1 level": _noisy(1),
        "with noise of 4 levels": _noisy(4),
        "brighter by 8 levels": lambda x, key: x + 8 * _LEVEL,
    }
    if len(shape) > 1:
        changes["moved by a pixel"] = lambda x, key: torch.cat([x[..., :1], x[..., :-1]], -1)
    return changes


def shares(guard: QueryGuard, x: Tensor) -> Tensor:
    """Of queries (n, ...), one after the other and with values from 0 to 1, what `guard.shared` says: (n,) float64."""
    guard.forget()
    for one in x:
        guard.refuses(one)
    return torch.tensor(guard.shared, dtype=torch.float64)


def pairs(guard: QueryGuard, x: Tensor, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Names of changes, and what is shared by each row of x (m, ...) and by what comes right after it: (m,)."""
    key = keys(seed, torch.arange(len(x)))
    for name, change in near(tuple(x.shape[1:])).items():
        after = change(x, key).clamp(0, 1)
        yield name, torch.stack([shares(guard, torch.stack(pair))[1] for pair in zip(x, after, strict=True)])
