"""What is searched for, how long and where: "trigger:3"."""

from dataclasses import dataclass
from typing import Literal

from blindspots.errors import InputError
from blindspots.texts.triggers import PREFIX, Place

_MOST = 50  # words
_PLACES: dict[str, Literal["front", "end"]] = {"front": "front", "end": "end"}


@dataclass(frozen=True)
class Sought:
    """So many words, in front of every text or at its end.

    Raises InputError: fewer words than one, or more than 50.
    """

    words: int
    place: Place = "front"

    def __post_init__(self) -> None:
        if not 1 <= self.words <= _MOST:
            raise InputError(f"expected a trigger of 1 to {_MOST} words, got {self.words}: write trigger:3")

    @property
    def spec(self) -> str:
        return f"{PREFIX}{self.words}" if self.place == "front" else f"{PREFIX}{self.place}:{self.words}"

    @property
    def where(self) -> str:
        """In a sentence."""
        return "in front" if self.place == "front" else "at the end"


def parse_sought(text: str) -> Sought:
    """From "trigger:3", "trigger:front:3" or "trigger:end:3". Raises InputError for anything else."""
    head, *place, count = text.strip().lower().split(":")
    known = head == PREFIX[:-1] and (not place or (len(place) == 1 and place[0].strip() in _PLACES))
    if not known or not count.strip().isdecimal():
        raise InputError(
            f"expected how many words a trigger for all texts has, as in trigger:3 or trigger:end:3, got {text!r}: "
            "write a number; what given words do to each text `blindspots evaluate` measures"
        )
    return Sought(int(count), _PLACES[place[0].strip()] if place else "front")
