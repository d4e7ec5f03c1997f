"""What the study of rates can be asked."""

from typing import ClassVar

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.experiments.inspect.settings import Inspecting
from blindspots.naming import meant
from blindspots.runs.config import Number, Words, setting

LAWS = {
    "ball": "uniform in the ball of --threat",
    "sphere": "uniform on the sphere around it (l2)",
    "noise": "normal noise of --noise",
}


class FrequencyConfig(Inspecting):
    group: ClassVar[str] = "How often errors occur"

    law: Words = setting(
        (),
        f"Which random points: {', '.join(f'{name}, {said}' for name, said in LAWS.items())}. Can be repeated.",
        metavar="LAW",
        shown="ball, with --noise also noise",
    )
    noise: Number | None = setting(
        None, "Standard deviation of the noise.", metavar="SD", shown="0.1 of the range of the inputs", gt=0
    )
    frequency_rows: int | None = setting(
        None, "Rows whose rates are measured, by lot.", metavar="N", shown="30, or all where there are fewer", ge=1
    )
    certified: str | None = setting(
        None,
        "An .npy file with a radius for each row of the data, in the norm of --threat, within which a verifier proved "
        "that the prediction does not change.",
        metavar="FILE",
        shown="none; of inspect, with --part stability, what that proves",
    )
    draws: int = setting(1000, "Random points per row that are counted first.", metavar="N", ge=10, le=10**8)
    splitting: bool = setting(True, "Also split rows whose draws hit less than ten times, which takes scores.")
    particles: int = setting(2, "Particles of a run: with more, intervals are narrower.", metavar="N", ge=2, le=10_000)
    replicates: int = setting(10, "Independent runs of a row, which are compared.", metavar="N", ge=2, le=1000)
    walk: int = setting(
        20,
        "Steps that a clone walks; up to 16 times as many where clones stay like their parents.",
        metavar="N",
        ge=1,
        le=10_000,
    )
    floor: Number = setting(1e-20, "Rows whose rate is certain to be lower are given up.", metavar="P", gt=0, lt=1)

    @field_validator("law")
    @classmethod
    def _known(cls, law: tuple[str, ...]) -> tuple[str, ...]:
        for name in law:
            if name not in LAWS:
                raise InputError(f"expected laws among {', '.join(LAWS)}, got {name!r}{meant(name, LAWS)}: choose one")
        return tuple(dict.fromkeys(law))
