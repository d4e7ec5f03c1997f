"""What `certify` can be asked."""

from typing import ClassVar, Self

from pydantic import model_validator

from blindspots.errors import InputError
from blindspots.runs.config import Number, Numbers, OnData, setting

JUDGED = 1000  # draws that judge what an attack found, at most


class CertifyConfig(OnData):
    group: ClassVar[str] = "What is certified"

    sigma: Number = setting(..., "Standard deviation of the noise, in the units of the input.", metavar="SIGMA", gt=0)
    samples: int = setting(
        100_000, "Noisy copies of every row that bound the top class's share.", metavar="N", ge=1, le=10**10
    )
    alpha: Number = setting(0.001, "How often a certificate may be wrong, at most.", metavar="SHARE", gt=0, lt=1)
    radii: Numbers | None = setting(
        None, "L2 radii of the curve, e.g. 0.25,0.5,1; 0 is always among them.", metavar="R,R",
        shown="1/2, 1, 3/2, 2 and 3 sigma, as far as so many samples can certify a row",
    )  # fmt: skip
    n0: int = setting(100, "Noisy copies that choose the class.", metavar="N", ge=1, le=10**6)
    draws: int = setting(16, "Noisy copies that the attack averages over; 0: no attack.", metavar="N", ge=0, le=10**6)
    steps: int = setting(20, "Steps of the attack, at every radius.", metavar="N", ge=1, le=10**6)

    @model_validator(mode="after")
    def _radii_are_sizes(self) -> Self:
        if any(r < 0 for r in self.radii or ()):
            raise InputError(f"expected radii of at least 0, got {list(self.radii or ())}: change them")
        return self

    @property
    def judged(self) -> int:
        """Draws that judge what an attack found."""
        return min(JUDGED, self.samples)

    def words(self, kind: str) -> list[str]:
        return [kind, f"{self.sigma:g}"]
