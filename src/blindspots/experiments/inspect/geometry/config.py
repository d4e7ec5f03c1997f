"""What the study of geometry can be asked."""

from typing import ClassVar

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.experiments.inspect.settings import Learning
from blindspots.runs.config import DataSource, Numbers, setting

FEWEST = 4  # rows: one half says what is universal for the other


class GeometryConfig(Learning):
    group: ClassVar[str] = "Geometry"
    compares: ClassVar[bool] = True

    geometry_rows: int | None = setting(
        None, "Rows that are measured, by lot.", metavar="N", shown="500, or 32 of large inputs", ge=FEWEST
    )
    slices: int = setting(4, "Rows by lot through which slices are drawn.", metavar="N", ge=0, le=64)
    resolution: int = setting(64, "Cells along each side of a slice: a power of two.", metavar="N", ge=8, le=1024)
    curvature_scales: Numbers = setting(
        (0.01, 0.1, 1.0),
        "How far gradients are compared, as shares of the l2 length of a full step of the threat.",
        metavar="H,H",
    )
    orthogonal: int = setting(
        16, "Directions at right angles, all of them adversarial, that are tried per row at most.", metavar="N", ge=1
    )
    permutations: int = setting(999, "Permutations of a test of correlation.", metavar="N", ge=19, le=100_000)
    relearn: bool = setting(
        True,
        "Also train networks on adversarial examples with the labels that they were made for, where there are rows to "
        "train on.",
    )
    learner: str | None = setting(
        None,
        "What learns from these: softmax, fc:100-100, file.py:factory or package.module:factory.",
        metavar="NETWORK",
        shown="the model's own layers with fresh weights",
    )
    learning_steps: int | None = setting(
        None, "Batches in this training.", metavar="N", shown="20 times through the rows", ge=10
    )

    @field_validator("resolution")
    @classmethod
    def _halved(cls, cells: int) -> int:
        if cells & (cells - 1):
            raise InputError(f"expected a power of two for resolution, as cells are halved, got {cells}: use 64, say")
        return cells

    @field_validator("curvature_scales")
    @classmethod
    def _positive(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or min(scales) <= 0:
            raise InputError(f"expected positive curvature_scales, got {scales}: use 0.01,0.1,1, say")
        return scales

    def datasets(self) -> dict[str, DataSource]:
        found = super().datasets()
        return found if self.relearn else {name: rows for name, rows in found.items() if name != "training_data"}
