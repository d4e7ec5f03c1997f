"""What is random between an input and a model: where a patch hangs, its light, the picture that it is put on.

An expectation over transformations (Athalye et al. 2018, arXiv 1707.07397) whose draws are numbered, so that every one
can be made again: those that a search saw, those behind a claim of success, and those behind what is reported.
"""

from abc import ABC, abstractmethod

from torch import Tensor

GATE = 1 << 40  # the first of the draws that a success has to hold on before it counts,
FINAL = 1 << 41  # of those that decide what is reported: no search has seen either,
CLEAN = 1 << 42  # and of those that the clean input is looked at on


class Scene(ABC):
    """Pure: what is shown depends on the input, the row's key and the number of the draw alone."""

    @abstractmethod
    def show(self, x: Tensor, key: Tensor, draw: Tensor) -> Tensor:
        """What the model gets, (B, *shape), for inputs x (B, ...), keys and draws (B,) int64. Autograd runs through."""
