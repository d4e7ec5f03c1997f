"""Data for a model that gets its inputs in whole levels."""

from typing import Any

from torch import Tensor

from blindspots.box import Box, to_levels
from blindspots.data.dataset import Dataset, note
from blindspots.findings import Finding


class InLevels:
    """Data whose inputs are put on the levels in which a model gets them, so that what is counted is what is sent.

    Args:
        data: anything else of theirs is as it was.
        box: the bounds of inputs.
        steps: how many there are between the bounds: 255 for 8 bits.
    """

    def __init__(self, data: Dataset, box: Box, steps: int) -> None:
        self.data, self.box, self.steps = data, box, steps
        first = data.rows(0, min(_LOOKED_AT, len(data)))[0]
        self.moved = bool((to_levels(first, box, steps) != first).any())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def notes(self) -> list[Finding]:
        if not self.moved:
            return self.data.notes
        saw = f"Inputs were rounded to the {self.steps + 1} levels in which the model gets them, which changed some."
        return [
            *self.data.notes,
            note("inputs-rounded", saw, "Nothing to do: all numbers are those of the rounded inputs."),
        ]

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """See `Dataset.rows`."""
        x, y = self.data.rows(start, stop)
        return to_levels(x, self.box, self.steps), y


_LOOKED_AT = 64  # rows
