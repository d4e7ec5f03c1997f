"""What `universal` can be asked."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from blindspots.errors import InputError
from blindspots.runs.config import DataSource, ModelSource, OnData, setting


def _listed(said: Any) -> Any:
    return [word for word in said.split(",") if word.strip()] if isinstance(said, str) else said


def _counted(said: Any) -> Any:
    return int(said) if isinstance(said, str) and said.isdecimal() else said


Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_listed)]  # also in words: "10,50,100"
_USUAL = "periodic"  # method


class Studied(OnData):
    group: ClassVar[str] = "Additional studies"

    images: Counts = setting((), "Search again with so many fit rows, e.g. 10,50,100.", metavar="N,N", shown="none")
    several: int = setting(0, "Search N times, and compare what is found.", metavar="N", ge=0, le=10**4)
    geometry: bool = setting(False, "Singular values, spans and curvatures of the decision boundary.")
    norms: bool = setting(True, "Scale the perturbation to other sizes.")
    on: tuple[str, ...] = setting((), "Also try it on this network. Can be repeated.", metavar="MODEL", shown="none")
    cross: bool = setting(False, "Also search on each of these networks: the matrix of who fools whom.")


class UniversalConfig(Studied):
    group: ClassVar[str] = "What is searched for"

    threat: str = setting(
        ...,
        "How large it may be: linf:10/255 or l2:8; for texts of how many words, in front or at the end: trigger:3 or "
        "trigger:end:3.",
        metavar="THREAT",
    )
    method: str = setting(
        "",
        "periodic, sgd, sga, uap or data-free, or for texts hotflip or coordinates, with settings as in uap:delta=0.2; "
        "see docs/universal.md.",
        metavar="METHOD",
        shown="periodic; for texts hotflip, or coordinates where there are no gradients",
    )
    fit: int | None = setting(
        None, "Rows that the search sees, drawn by lot.", metavar="N", shown="500, at most two thirds of them", ge=1
    )
    heldout: Annotated[int | str, BeforeValidator(_counted)] | None = setting(
        None, "How many of the other rows judge it, or other data.", metavar="N|DATA", shown="all the others"
    )
    perturbation: str | None = setting(
        None,
        "Search for none, measure this one: perturbation.safetensors or trigger.json of a run, or file.npz:KEY.",
        metavar="FILE",
        shown="none",
    )
    target: int | None = setting(
        None, "The class that all inputs are to be taken for.", metavar="CLASS", shown="any but their own", ge=0
    )
    per_class: bool = setting(False, "One for each predicted class.")
    clip: bool = setting(True, "Keep x + v in the valid range during the search.")
    search: str = setting("", "All settings of the method, as it is run; nothing where it is not.", hidden=True)
    measured: str | None = setting(None, "SHA-256 of the file with the perturbation, or the trigger.", hidden=True)

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, said: Any) -> Any:
        """Of texts the method follows from the model, and there is no norm to scale."""
        if not isinstance(said, Mapping):
            return said
        if _of_texts(said.get("threat")):
            return {**said, "norms": False}
        return said if said.get("method") else {**said, "method": _USUAL}

    @model_validator(mode="after")
    def _others_fit_together(self) -> Self:
        if self.on and self.per_class:
            raise InputError(
                "expected one perturbation for all classes where it is tried on other networks, got one per class: "
                "leave one of the two out"
            )
        if self.cross and not self.on:
            raise InputError("expected other networks for a matrix, got none: name them with --on")
        return self

    @property
    def of_texts(self) -> bool:
        """Whether a trigger is searched for, see `experiments.universal.triggers`."""
        return _of_texts(self.threat)

    @property
    def others(self) -> list[str]:
        """The names of the other networks."""
        return [f"on/{i}" for i in range(1, len(self.on) + 1)]

    def models(self) -> dict[str, ModelSource]:
        others = zip(self.others, self.on, strict=True)
        return {**super().models(), **{name: ModelSource(spec, self.device) for name, spec in others}}

    def datasets(self) -> dict[str, DataSource]:
        if not isinstance(self.heldout, str):
            return super().datasets()
        other = DataSource(self.heldout, None, self.layout, self.classes)
        return {**super().datasets(), "heldout": other}

    def words(self, kind: str) -> list[str]:
        return [kind, self.threat]


def _of_texts(threat: object) -> bool:
    return str(threat).strip().lower().startswith("trigger")
