"""What the study of pictures can be asked."""

from typing import ClassVar, Literal

from pydantic import field_validator

from blindspots.errors import InputError
from blindspots.experiments.inspect.settings import Inspecting
from blindspots.naming import meant
from blindspots.runs.config import ModelSource, Words, setting

KINDS = ("channel", "unit", "direction", "class", "caricature")


class PicturesConfig(Inspecting):
    group: ClassVar[str] = "Pictures"
    compares: ClassVar[bool] = True

    picture: Words = setting(
        (),
        f"What pictures are made of: {', '.join(KINDS)} (of the activations of rows). Can be repeated.",
        metavar="KIND",
        shown="channels and classes",
    )
    class_: Words = setting(
        (), "A class by its name or number, also several, of which pictures are made.", metavar="CLASS",
        shown="all, up to 10",
    )  # fmt: skip
    unit: Words = setting((), "Numbers of the channels that are drawn.", metavar="N,...", shown="by lot")
    picture_units: int = setting(
        8, "Channels, units, directions or rows of every layer that are drawn.", metavar="N", ge=1, le=4096
    )
    picture_layers: int = setting(
        3, "Layers that are drawn where none is named, spread over the depth.", metavar="N", ge=1
    )
    pictures_by: Literal["fourier", "pixels", "maco", "plain"] = setting(
        "fourier",
        "fourier: spectra, under transformations; pixels: the same without spectra; maco: the magnitudes of your data, "
        "phases alone; plain: no regulariser, readable on robust networks.",
    )
    ascent_steps: int = setting(256, "Steps of every ascent.", metavar="N", ge=1, le=100_000)
    diverse: int = setting(1, "Pictures of every objective, kept unlike each other.", metavar="N", ge=1, le=64)
    fooling: bool = setting(True, "Also make images from nothing that the model takes for its classes.")
    generations: int = setting(
        300, "Generations of the images that are evolved, 32 images each.", metavar="N", ge=1, le=1_000_000
    )
    beside: str | None = setting(
        None,
        "A model whose pictures of classes stand beside those of MODEL, as a robust one beside a natural one; "
        "--against judges both.",
        metavar="MODEL",
        shown="none",
    )
    groups: tuple[str, ...] = setting((), "Kinds of pictures and the layers that they are made of.", hidden=True)
    numbers: tuple[int, ...] = setting((), "Classes that are drawn.", hidden=True)

    @field_validator("picture")
    @classmethod
    def _kinds(cls, picture: tuple[str, ...]) -> tuple[str, ...]:
        for kind in picture:
            if kind not in KINDS:
                raise InputError(f"expected pictures of {', '.join(KINDS)}, got {kind!r}{meant(kind, KINDS)}: pick one")
        return tuple(dict.fromkeys(picture))

    @field_validator("unit")
    @classmethod
    def _whole(cls, unit: tuple[str, ...]) -> tuple[str, ...]:
        for word in unit:
            if not word.strip().isdecimal():
                raise InputError(f"expected numbers of channels such as 0,5,17 for unit, got {word!r}: change it")
        return unit

    def models(self) -> dict[str, ModelSource]:
        second = {"beside": ModelSource(self.beside, self.device)} if self.beside else {}
        return {**super().models(), **second}
