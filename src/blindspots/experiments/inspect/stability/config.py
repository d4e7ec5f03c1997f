"""What the study of stability can be asked."""

from typing import ClassVar

from blindspots.experiments.inspect.settings import Inspecting
from blindspots.runs.config import setting


class StabilityConfig(Inspecting):
    group: ClassVar[str] = "Stability"

    bounded: int = setting(16, "Rows by lot at which bounds and the steepest points are looked for.", metavar="N", ge=1)
    perturbed: int = setting(
        100, "Rows by lot whose perturbations are followed from layer to layer.", metavar="N", ge=1
    )
    hidden_size: float = setting(
        0.1, "Size of perturbations made at a hidden layer, as a share of its length.", metavar="SHARE", gt=0, le=10
    )
    begun: tuple[str, ...] = setting((), "Layers at which perturbations are made.", hidden=True)
