"""What a text may become: its places, and what may stand at each of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blindspots.errors import InputError
from blindspots.texts.words import Span


@dataclass(frozen=True)
class Lattice:
    """A text with its places and their candidates.

    Args:
        text: as it is, without NUL.
        spans: places in their order, disjoint: text[a:b] may be replaced; (a, a) is the gap before character a.
        candidates: for every place what may stand there instead, best first: each once, never what is there already.
            "" deletes.

    Raises InputError: the places are not in order inside the text, or candidates do not fit them.
    """

    text: str
    spans: tuple[Span, ...]
    candidates: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        _check_spans(self.spans, len(self.text))
        if len(self.candidates) != len(self.spans):
            raise InputError(
                f"expected candidates for each of {len(self.spans)} places, got {len(self.candidates)} lists: give one "
                "list for every place"
            )
        for (a, b), candidates in zip(self.spans, self.candidates, strict=True):
            _check_candidates(self.text[a:b], candidates)

    def at(self, choice: Sequence[int]) -> str:
        """The text of a choice: for every place 0, as it is, or c, its candidate c - 1.

        Raises InputError: there are more or fewer choices than places, or a place has no such candidate.
        """
        self._check_choice(choice)
        pieces, end = [], 0
        for (a, b), candidates, c in zip(self.spans, self.candidates, choice, strict=True):
            pieces += [self.text[end:a], candidates[c - 1] if c else self.text[a:b]]
            end = b
        return "".join([*pieces, self.text[end:]])

    def size(self, k: int | None = None) -> int:
        """How many choices change at most `k` places, exactly; the text as it is counts. None: any number of places.

        With c_p candidates at place p it is the sum of the first k + 1 coefficients of prod_p (1 + c_p z). Where two
        choices spell the same text, as edits of characters may, both count.
        """
        most = len(self.spans) if k is None else min(k, len(self.spans))
        ways = [1] + [0] * most  # ways[j]: choices that change j of the places so far
        for count in map(len, self.candidates):
            for j in range(most, 0, -1):
                ways[j] += ways[j - 1] * count
        return sum(ways)

    def to_json(self) -> str:
        """The lattice as text for people and programs, a place per line; `from_json` reads it."""
        places = (
            json.dumps({"span": span, "is": self.text[slice(*span)], "may be": candidates}, ensure_ascii=False)
            for span, candidates in zip(self.spans, self.candidates, strict=True)
        )
        return f'{{"text": {json.dumps(self.text, ensure_ascii=False)}, "places": [\n' + ",\n".join(places) + "\n]}\n"

    @classmethod
    def from_json(cls, content: str) -> "Lattice":
        """The lattice that `to_json` wrote. Raises InputError: the content is something else."""
        try:
            file = _File.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(f"expected a lattice as JSON, got {first['msg']} at {where}: mend that place") from error
        return cls(file.text, tuple(p.span for p in file.places), tuple(p.may_be for p in file.places))

    def _check_choice(self, choice: Sequence[int]) -> None:
        if len(choice) != len(self.spans):
            raise InputError(
                f"expected a choice for each of {len(self.spans)} places, got {len(choice)}: give one each"
            )
        for place, (c, candidates) in enumerate(zip(choice, self.candidates, strict=True)):
            if not 0 <= c <= len(candidates):
                raise InputError(
                    f"expected a choice of 0 to {len(candidates)} at place {place}, got {c}: choose one of these"
                )


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    span: Span
    now: str = Field(alias="is")  # for people: the span says it
    may_be: tuple[str, ...] = Field(alias="may be")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    places: tuple[_Place, ...]


def _check_spans(spans: Sequence[Span], length: int) -> None:
    before = (0, 0)
    for place, (a, b) in enumerate(spans):
        if not before[1] <= a <= b <= length or (place and (a, b) == before):
            raise InputError(
                f"expected places one after the other among {length} characters, got {(a, b)} after {before}: sort "
                "them and leave out what overlaps"
            )
        before = (a, b)


def _check_candidates(now: str, candidates: Sequence[str]) -> None:
    if now in candidates or len(set(candidates)) < len(candidates) or "\0" in "".join(candidates):
        raise InputError(
            f"expected candidates for {now!r} that are not the same, each once and without NUL, got "
            f"{', '.join(map(repr, candidates[:10]))}: leave the others out"
        )
