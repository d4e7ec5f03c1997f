"""Fixed triggers, words that are put into texts, as they are written: in words and in files."""

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from blindspots.errors import InputError
from blindspots.files import read_text
from blindspots.texts.pairs import SEPARATOR

Place = Literal["anywhere", "front", "end"]
PREFIX = "trigger:"
_KIND: Literal["blindspots trigger 1"] = "blindspots trigger 1"


class TriggerFile(BaseModel):
    """What a file says of a trigger.

    Attributes:
        words: that are put into texts.
        place: where they were put when they were found.
        model: for which they were found.
        target: the class that texts were to be taken for; None: any but their own.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["blindspots trigger 1"] = _KIND
    words: str
    place: Place
    model: str
    target: int | None

    def to_json(self) -> bytes:
        return (self.model_dump_json(indent=2) + "\n").encode()


def read_trigger(path: Path) -> TriggerFile:
    """The trigger that `TriggerFile.to_json` wrote. Raises InputError: nothing is there, or something else."""
    try:
        return TriggerFile.model_validate_json(read_text(path, "trigger.json of a universal run"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"expected a trigger as `blindspots universal` writes it, got {first['msg']} at {where} of {str(path)!r}: "
            "name a trigger.json"
        ) from error


def spelled(words: str, place: Place) -> str:
    """ "zoning tapping" or "front:zoning tapping": what `parts_of` takes apart."""
    return words if place == "anywhere" else f"{place}:{words}"


def parts_of(said: str) -> tuple[str, Place]:
    """Words and place of "zoning tapping", "front:zoning tapping" or FILE.json. Raises InputError for no words."""
    if said.strip().endswith(".json"):
        found = read_trigger(Path(said.strip()))
        return checked_words(found.words), found.place
    before, colon, words = said.partition(":")
    for place in get_args(Place):
        if colon and before.strip() == place:
            return checked_words(words), place
    return checked_words(said), "anywhere"


def checked_words(words: str) -> str:
    """With one space between them. Raises InputError: there are none, or a character that no text has."""
    found = " ".join(words.split())
    if not found or "\0" in words or SEPARATOR in words:
        raise InputError(
            f"expected the words of a trigger, got {words!r}: write trigger:WORDS, trigger:front:WORDS, "
            "trigger:end:WORDS or trigger:FILE.json"
        )
    return found


def in_words(said: Any) -> Any:
    """A trigger in a file by its words, so that a manifest says them; any other threat, or none, as it is."""
    if isinstance(said, str) and said.strip().lower().startswith(PREFIX) and said.strip().endswith(".json"):
        return f"{PREFIX}{spelled(*parts_of(said.strip()[len(PREFIX) :]))}"
    return said
