"""Random images in the place of rows."""

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.data.splits import Rows
from blindspots.random import keys, normal


class Proxies(Rows):
    """Random images of the data's range, for methods that see no data: normal around the middle of the box."""

    def __init__(self, data: Dataset, rows: int, bounds: tuple[float, float], seed: int) -> None:
        super().__init__(data, torch.arange(rows))
        self._bounds, self._seed = bounds, seed

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        lo, hi = self._bounds
        key = keys(self._seed, places)
        noise = normal(key, torch.zeros_like(key), 31, self.data.shape)
        return ((lo + hi) / 2 + (hi - lo) / 4 * noise).clamp(lo, hi), torch.zeros_like(places)
