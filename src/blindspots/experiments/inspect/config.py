"""What `inspect` can be asked: which parts, and the settings of each."""

from typing import ClassVar

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.experiments.inspect.frequency.config import FrequencyConfig
from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.settings import Inspecting
from blindspots.experiments.inspect.stability.config import StabilityConfig
from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.naming import meant
from blindspots.runs.config import Words, is_hidden, setting

STUDIES: dict[str, type[Inspecting]] = {
    "pictures": PicturesConfig,
    "units": UnitsConfig,
    "stability": StabilityConfig,
    "geometry": GeometryConfig,
    "frequency": FrequencyConfig,
    "training": TrainingConfig,
}
USUAL = tuple(name for name in STUDIES if name != "training")  # which is about other networks, and takes minutes
OF_LAYERS = ("units", "stability")  # parts that a model without layers cannot have


class InspectConfig(UnitsConfig, PicturesConfig, StabilityConfig, GeometryConfig, FrequencyConfig, TrainingConfig):
    group: ClassVar[str] = "What to look at"

    part: Words = setting(
        (),
        f"Which part: {', '.join(STUDIES)}. Can be repeated.",
        metavar="PART",
        shown="all that the model allows but training",
    )

    @field_validator("part")
    @classmethod
    def _known(cls, part: tuple[str, ...]) -> tuple[str, ...]:
        for name in part:
            if name not in STUDIES:
                raise InputError(
                    f"expected parts among {', '.join(STUDIES)}, got {name!r}{meant(name, STUDIES)}: choose one"
                )
        return tuple(dict.fromkeys(part))

    def of(self, study: str) -> Inspecting:
        """The settings of one part."""
        kind = STUDIES[study]
        asked = {n: getattr(self, n) for n, field in kind.model_fields.items() if not is_hidden(field)}
        asked |= {} if kind.compares else {"against": None}
        return kind(**(asked | {"certified": "stability"} if self.is_certified(study) else asked))

    def is_certified(self, study: str) -> bool:
        """Whether rates are proved by what the part stability proves: where both are made and no file is named."""
        return study == "frequency" and "stability" in self.part and self.certified is None

    def handed(self, study: str) -> list[str]:
        """The data of a part that it is given as they were opened here; those without a name it opens itself."""
        return [name for name, source in self.of(study).datasets().items() if not source.is_digits_to_learn]
