"""Goals of outputs of any kind: functions of the user's, and shares of the draws of a scene."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.goals.goal import Goal, Measures
from blindspots.objective import margin


@dataclass(frozen=True)
class Score(Goal):
    """A function of the user's, for outputs of any kind: counts, masks, sequences.

    Args:
        function: from outputs (B, ...) and truths (B, ...), the data's y, to margins (B,), negative exactly where an
            adversary has succeeded, or to margins and a dict of further numbers (B,) to report. It must treat every
            row alone, and autograd has to run through the margins for attacks with gradients.
        name: what reports call it.
    """

    function: Callable[[Tensor, Tensor], Any]
    name: str = ""

    ways: ClassVar[tuple[str, ...]] = ("reached",)

    @property
    def kept(self) -> str:
        return f"does not reach the goal {self.spec}"

    @property
    def spec(self) -> str:
        return self.name or getattr(self.function, "__name__", type(self.function).__name__)

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        margins, _ = self._called(output, truth)
        return torch.stack([margins, torch.zeros_like(margins)], 1)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        return self._called(output, y)[1]

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        margins, _ = self._called(output, y)
        strange = margins.isnan().nonzero()[:, 0]
        if len(strange):
            raise InputError(
                f"expected a margin for every row from the goal {self.spec!r}, got NaN for row "
                f"{int(rows[strange[0]])} as it is: let it return a number, above 0 where all is well"
            )

    def _called(self, output: Tensor, truth: Tensor) -> tuple[Tensor, Measures]:
        answer = self.function(output, truth)
        margins, measures = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, {})
        if not isinstance(measures, Mapping):
            raise InputError(
                f"expected (margins, a dict of numbers) from the goal {self.spec!r}, got {type(measures).__name__} in "
                "second place: return margins (B,) alone or with a dict"
            )
        named = {str(name): _row_numbers(t, len(output), f"{self.spec}[{name!r}]") for name, t in measures.items()}
        return _row_numbers(margins, len(output), self.spec), named


@dataclass(frozen=True)
class Share(Goal):
    """A goal that is reached in at least this share of the draws of a scene: outputs are (B, draws, ...).

    The margin is that of the draw that decides, so it is negative exactly where enough others are; its gradient is
    that of the mean over all draws, which has more to say.

    Args:
        goal: of a single output.
        least: share of the draws, above 0 and at most 1.
        towards: the class of the goal's scores that has to be reached; None: any but the label.
    """

    goal: Goal
    least: float
    towards: int | None = None

    ways: ClassVar[tuple[str, ...]] = ("reached",)

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise InputError(f"expected a share of draws above 0 and at most 1, got {self.least}: change least")

    @property
    def spec(self) -> str:
        return f"share {self.least:g} of {self.goal.spec}"

    @property
    def kept(self) -> str:
        return f"{self.goal.kept} in more than {1 - self.least:.0%} of the draws"

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        margins, draws = self._margins(output, truth), output.shape[1]
        decides = margins.kthvalue(max(1, math.ceil(self.least * draws - 1e-9)), 1).values
        mean = margins.mean(1)
        lowest = decides.detach() + (mean - mean.detach())  # to the last bit the margin that decides
        return torch.stack([lowest, torch.zeros_like(lowest)], 1)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """`share`: of the draws on which the goal is reached."""
        return {"share": (self._margins(output, y) < 0).float().mean(1)}

    def _margins(self, output: Tensor, truth: Tensor) -> Tensor:
        """Of every draw: (B, draws)."""
        each, wide = output.flatten(0, 1), truth.repeat_interleave(output.shape[1], 0)
        scores = self.goal.scores(each, wide)
        label = self.goal.label(wide)
        found = margin(scores, label) if self.towards is None else -margin(scores, torch.full_like(label, self.towards))
        return found.view(len(output), output.shape[1])


def _row_numbers(given: Any, rows: int, what: str) -> Tensor:
    if not isinstance(given, Tensor) or given.shape != (rows,) or given.is_complex():
        form = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise InputError(
            f"expected one number per row, a tensor ({rows},), from the goal {what!r}, got {form}: reduce it over all "
            "axes but the first"
        )
    return given.float()
