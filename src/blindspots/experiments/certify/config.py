"""What `certify` can be asked."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from blindspots.errors import InputError
from blindspots.runs.config import Number, Numbers, OnData, setting

JUDGED = 1000  # draws that judge what an attack found, at most
SAMPLES, SAMPLES_OF_TEXTS = 100_000, 2000
Method = Literal["auto", "exact", "interval", "votes"]


def _is_nothing(value: object) -> bool:
    return value in (None, "")


class CertifyConfig(OnData):
    group: ClassVar[str] = "What is certified"

    sigma: Number | None = setting(
        None, "Of numbers: standard deviation of the noise, in the units of the input.", metavar="SIGMA",
        shown="none, which is for texts", gt=0,
    )  # fmt: skip
    threat: str | None = setting(
        None, "Of texts: what may be exchanged, such as words:2 or words:0.15.", metavar="THREAT",
        shown="none, which is for numbers", exclude_if=_is_nothing,
    )  # fmt: skip
    candidates: str | None = setting(
        None, "Of texts: what may stand in the place of a word, as `evaluate` takes it.", metavar="SOURCES",
        shown="synonyms", exclude_if=_is_nothing,
    )  # fmt: skip
    method: Method | None = setting(
        None, "Of texts: exact for bags of words, interval for networks of convolutions and maxima, votes under random "
        "exchanges for any model, or auto, the first of these that the model allows.",
        shown="auto", exclude_if=_is_nothing,
    )  # fmt: skip
    samples: int = setting(
        None, "Noisy copies of every row that bound the top class's share.", metavar="N",
        shown=f"{SAMPLES:,}, of texts {SAMPLES_OF_TEXTS:,}", ge=1, le=10**10,
    )  # fmt: skip
    alpha: Number = setting(0.001, "How often a certificate may be wrong, at most.", metavar="SHARE", gt=0, lt=1)
    radii: Numbers | None = setting(
        None, "L2 radii of the curve, e.g. 0.25,0.5,1, or numbers of exchanges; 0 is always among them.", metavar="R,R",
        shown="1/2, 1, 3/2, 2 and 3 sigma, as far as so many samples can certify a row; 1, 2, 3, 5 and 8 exchanges",
    )  # fmt: skip
    n0: int = setting(100, "Noisy copies that choose the class.", metavar="N", ge=1, le=10**6)
    draws: int = setting(16, "Noisy copies that the attack averages over; 0: no attack.", metavar="N", ge=0, le=10**6)
    steps: int = setting(20, "Steps of the attack, at every radius.", metavar="N", ge=1, le=10**6)
    limits: str = setting("", "Digest of the files that candidates are from.", hidden=True, exclude_if=_is_nothing)

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        of_texts = said.get("threat") is not None
        usual = {"samples": SAMPLES_OF_TEXTS, "method": "auto"} if of_texts else {"samples": SAMPLES}
        return {**said, **{name: value for name, value in usual.items() if said.get(name) is None}}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(r < 0 for r in self.radii or ()):
            raise InputError(f"expected radii of at least 0, got {list(self.radii or ())}: change them")
        if (self.sigma is None) == (self.threat is None):
            raise InputError(
                "expected sigma for a model of numbers or a threat for one of texts, got "
                f"{'neither' if self.sigma is None else 'both'}: give one, such as sigma 0.25 or threat words:2"
            )
        if self.threat is None and (self.candidates or self.method):
            raise InputError("expected a threat beside candidates or a method, which are for texts, got none: give it")
        return self

    @property
    def noise(self) -> float:
        """The standard deviation, in a run on numbers."""
        assert self.sigma is not None
        return self.sigma

    @property
    def judged(self) -> int:
        """Draws that judge what an attack found."""
        return min(JUDGED, self.samples)

    def words(self, kind: str) -> list[str]:
        return [kind, f"{self.sigma:g}" if self.threat is None else self.threat]
