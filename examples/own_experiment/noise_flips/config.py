"""The settings: options of the command, keywords in Python, and lines of the manifest."""

from typing import ClassVar

from blindspots.runs.config import Number, OnData, setting


class FlipsConfig(OnData):
    group: ClassVar[str] = "What is measured"

    sigma: Number = setting(0.1, "Standard deviation of the noise, in the units of the input.", metavar="SIGMA", gt=0)
    draws: int = setting(100, "Noisy copies of every row.", metavar="N", ge=1, le=10**6)
