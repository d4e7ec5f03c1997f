"""Published attacks on texts as data: TOML files, those in this folder by their name."""

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from blindspots.errors import InputError
from blindspots.files import read_text
from blindspots.naming import meant
from blindspots.texts.candidates import terms
from blindspots.texts.threats import parse_text_threat

_HOME = Path(__file__).parent
_NEED = re.compile(r"\{(\w+)\}")
NAMES = (
    "textfooler", "pwws", "deepwordbug", "textbugger", "bae", "bert-attack", "clare", "a2t", "alzantot", "hotflip",
    "pruthi", "bad-characters",
)  # fmt: skip


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Difference(_Table):
    """Where a paper, the code released with it or the one that is usually run, and this recipe part."""

    what: str
    paper: str
    code: str
    here: str


class Sentence(_Table):
    """How similar an encoder must find the two texts: `least` of 1, by cosine, or 1 minus the angle over pi."""

    least: float = Field(ge=0, le=1)
    by: Literal["cosine", "angle"] = "cosine"
    window: int | None = Field(None, ge=1)  # words around the change that are compared; all without it


class Recipe(_Table):
    """A published attack.

    Attributes:
        about: what it does, in a sentence.
        paper: who, when and where.
        threat: what may change, in words.
        candidates: by what, as `parse_candidates` reads it, with {names} of files that only the user has.
        search: an attack of the catalogue, in words.
        sentence: the similarity that the paper asks of whole sentences.
        differs: where paper and code differ.
    """

    about: str
    paper: str
    threat: str
    candidates: str
    search: str
    sentence: Sentence | None = None
    differs: list[Difference] = []

    @field_validator("threat")
    @classmethod
    def _known_threat(cls, value: str) -> str:
        parse_text_threat(value)
        return value

    @field_validator("candidates")
    @classmethod
    def _known_candidates(cls, value: str) -> str:
        terms(value)
        return value

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the files that candidates come from, each once."""
        return tuple(dict.fromkeys(_NEED.findall(self.candidates)))

    def candidates_from(self, **files: str) -> str:
        """Candidates in words, with the paths of what the recipe `needs`. Raises InputError: one is missing."""
        missing = [name for name in self.needs if name not in files]
        if missing:
            raise InputError(f"expected files for {', '.join(missing)}, got none: write {missing[0]}=PATH")
        return self.candidates.format(**files)


def recipe(name: str) -> Recipe:
    """A recipe by its name, or of a TOML file.

    Raises InputError: there is no such recipe or file, or the file says something that cannot be run.
    """
    path = _path(name)
    try:
        return Recipe.model_validate(tomllib.loads(read_text(path, "a recipe")))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"expected TOML in {path}, but it cannot be read ({error}): mend that place") from error
    except ValidationError as error:
        unknown_first = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        raise InputError(_sentence(path, unknown_first[0])) from error


def _path(name: str) -> Path:
    if name in NAMES:
        return _HOME / f"{name}.toml"
    if name.endswith(".toml"):
        return Path(name)
    raise InputError(
        f"expected a recipe among {', '.join(NAMES)}, or a .toml file, got {name!r}{meant(name, NAMES)}: choose one"
    )


def _sentence(path: Path, error: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"expected no key {place!r} in {path}{meant(place, Recipe.model_fields)}: leave it out"
    if error["type"] == "missing":
        return f"expected {place!r} in {path}, which is missing: add it"
    if isinstance(said := error.get("ctx", {}).get("error"), InputError):
        return f"{said} ({place} in {path})"
    said = str(error["msg"]).removeprefix("Input should be ")
    return f"expected {said} for {place!r} in {path}, got {error['input']!r}: change it"
