"""What `design` can be asked."""

import re
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.naming import meant
from blindspots.runs.config import Config, Number, Words, setting

METHODS = {
    "naive": "naive ascent on one surrogate",
    "ensemble": "ascent on the smallest prediction of several surrogates",
    "trust": "ascent on one surrogate, near the data",
    "conservative": "ascent on a surrogate that was trained against its own ascent",
}


class DesignConfig(Config):
    group: ClassVar[str] = "What is designed"

    task: str = setting(
        ...,
        "branin, hartmann3, hartmann6, ehrlich (in full "
        "ehrlich:positions=32,letters=20,motifs=4,length=4,quantisation=4,seed=0), qed (qed:positions=24), or "
        "file.py:factory or "
        "package.module:factory, a function that returns a blindspots.Task.",
        metavar="TASK",
        argument=True,
    )
    method: Words = setting(
        tuple(METHODS), f"How designs are searched for: {', '.join(METHODS)}. Can be repeated.", metavar="METHOD",
        shown="all of them",
    )  # fmt: skip
    points: int | None = setting(
        None, "Random designs that are measured.", metavar="N", shown="as the task says", ge=5, le=10**6
    )
    keep: Number = setting(0.6, "Share of them that becomes data: the worst.", metavar="SHARE", gt=0, le=1)
    designs: int = setting(128, "Climb from at most N of the data, the best ones.", metavar="N", ge=1, le=10**6)
    steps: int | None = setting(None, "Steps of a climb.", metavar="N", shown="200, of sequences 40", ge=1, le=10**6)
    stride: Number = setting(
        0.05, "Of a step in numbers, times the square root of how many there are.", metavar="LENGTH", gt=0
    )
    ask_every: int = setting(1, "Ask the truth about every N-th step.", metavar="N", ge=1, le=10**6)
    updates: int | None = setting(
        None, "Of the weights of a surrogate.", metavar="N", shown="2000, for sequences 500", ge=1, le=10**7
    )
    members: int = setting(5, "Networks of the ensemble.", metavar="N", ge=2, le=1000)
    trust: Number = setting(
        0.5,
        "The trust region reaches as far as this share of the data is from its neighbour.",
        metavar="SHARE",
        gt=0,
        le=1,
    )
    tau: Number | None = setting(
        None,
        "What conservative training lets a climb promise, in standard deviations above the mean of the data; or what "
        "its start is worth, if that is more.",
        metavar="SD",
        shown="1.5, of sequences -0.5",
    )
    inner_steps: int | None = setting(
        None, "Steps that conservative training climbs before every update.", metavar="N", shown="1, of sequences 4",
        ge=1, le=10**6,
    )  # fmt: skip
    repeats: int | None = setting(
        None, "Draws of data, each with its own surrogates.", metavar="N", shown="20, of sequences 10", ge=1, le=10**4
    )

    @field_validator("method")
    @classmethod
    def _known(cls, method: tuple[str, ...]) -> tuple[str, ...]:
        for name in method:
            if name not in METHODS:
                raise InputError(
                    f"expected methods among {', '.join(METHODS)}, got {name!r}{meant(name, METHODS)}: choose one"
                )
        chosen = method or tuple(METHODS)
        return tuple(
            name for name in METHODS if name in chosen or name == "naive"
        )  # all others are measured against it

    def words(self, kind: str) -> list[str]:
        return [kind, re.sub(r"\.py$", "", Path(self.task.partition(":")[0]).name)]
