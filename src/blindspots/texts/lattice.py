"""What a text may become: its places, and what may stand at each of them."""

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

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

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """What stands before, between and behind the places."""
        edges = [0, *(edge for span in self.spans for edge in span), len(self.text)]
        return tuple(self.text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))

    @cached_property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """At each place what is there, followed by its candidates."""
        places = zip(self.spans, self.candidates, strict=True)
        return tuple((self.text[a:b], *candidates) for (a, b), candidates in places)

    def at(self, choice: Sequence[int]) -> str:
        """The text of a choice: for every place 0, as it is, c, its candidate c - 1, or what stands for no candidate.

        Searches ask what a place matters by leaving it out (`lattice.BLANK`, -1) or putting a word there that no model
        knows (`lattice.UNKNOWN`, -2).

        Raises InputError: there are more or fewer choices than places, or a place has no such candidate.
        """
        try:
            places = zip(self.choices, choice, self.fixed[1:], strict=True)
            return self.fixed[0] + "".join(
                [(words[c] if c >= 0 else _INSTEAD[c]) + behind for words, c, behind in places]
            )
        except (ValueError, IndexError) as error:
            raise self._refusal(choice) from error

    def spans_at(self, choice: Sequence[int]) -> list[Span]:
        """Where the places are in the text of this choice."""
        spans, end = [], 0
        for before, words, c in zip(self.fixed, self.choices, choice, strict=False):
            start = end + len(before)
            end = start + len(words[c] if c >= 0 else _INSTEAD[c])
            spans.append((start, end))
        return spans

    def choice(self, text: str, most: float = inf) -> list[int] | None:
        """What was chosen, with as few changes as possible; None: no choice with at most `most` makes the text."""
        if not text.startswith(self.fixed[0]):
            return None
        if self._numbers is not None:
            return self._read_off(text, self._numbers, most)
        ways: _Ways = {len(self.fixed[0]): (0, None)}
        for (a, b), candidates, behind in zip(self.spans, self.candidates, self.fixed[1:], strict=True):
            ways = _read_on(text, ways, self.text[a:b], candidates, behind, most)
        return _listed(ways[len(text)][1]) if len(text) in ways else None

    @cached_property
    def _numbers(self) -> tuple[dict[str, int], ...] | None:
        """What may stand at each place, by its number, where texts show where a place ends; None: where they do not.

        They do if nothing at a place has the character that comes behind it, as a blank behind a word.
        """
        inner = zip(self.choices, self.fixed[1:-1], strict=False)
        if any(not behind or any(behind[0] in word for word in words) for words, behind in inner):
            return None
        return tuple({word: c for c, word in enumerate(words)} for words in self.choices)

    def _read_off(self, text: str, numbers: tuple[dict[str, int], ...], most: float) -> list[int] | None:
        """`choice` where only one can be meant."""
        found, at, last = [], len(self.fixed[0]), len(self.spans) - 1
        for place, (known, behind) in enumerate(zip(numbers, self.fixed[1:], strict=True)):
            stop = len(text) - len(behind) if place == last else text.find(behind[0], at)
            c = known.get(text[at:stop]) if stop >= at else None
            if c is None or not text.startswith(behind, stop):
                return None
            found.append(c)
            at = stop + len(behind)
        return found if at == len(text) and sum(map(bool, found)) <= most else None

    def size(self, k: int | None = None) -> int:
        """How many choices change at most `k` places, exactly; the text as it is counts. None: any number of places.

        With c_p candidates at place p it is the sum of the first k + 1 coefficients of prod_p (1 + c_p z). Where two
        choices spell the same text, as edits of characters may, both count.
        """
        if k is None:
            return math.prod(len(candidates) + 1 for candidates in self.candidates)
        most = min(k, len(self.spans))
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
        return file.lattice

    def _refusal(self, choice: Sequence[int]) -> InputError:
        if len(choice) != len(self.spans):
            return InputError(
                f"expected a choice for each of {len(self.spans)} places, got {len(choice)}: give one each"
            )
        most = map(len, self.candidates)
        place, c, n = next((i, c, n) for i, (c, n) in enumerate(zip(choice, most, strict=True)) if not -2 <= c <= n)
        return InputError(f"expected a choice of 0 to {n} at place {place}, got {c}: choose one of these")


_INSTEAD = ("", "\N{CURRENCY SIGN}", "")  # by the numbers -2 and -1
_Chain = tuple[Any, int] | None  # of choices, the last one first
_Ways = dict[int, tuple[int, _Chain]]  # where reading has come to -> the fewest changes, and the choices that led there


def _read_on(text: str, ways: _Ways, now: str, candidates: tuple[str, ...], behind: str, most: float) -> _Ways:
    """One place further, with what stands behind it."""
    further: _Ways = {}
    lengths, numbers = _by_word(candidates)
    for end, (changes, so_far) in ways.items():
        found = [(numbers.get(text[end : end + n], 0), n) for n in lengths] if changes < most else []
        as_it_is = [(0, len(now))] if text.startswith(now, end) else []
        for c, length in [*as_it_is, *(one for one in found if one[0])]:
            stop, count = end + length + len(behind), changes + (c > 0)
            if text.startswith(behind, end + length) and (stop not in further or count < further[stop][0]):
                further[stop] = (count, (so_far, c))
    return further


@lru_cache(maxsize=4096)
def _by_word(candidates: tuple[str, ...]) -> tuple[list[int], dict[str, int]]:
    """The lengths of candidates, and their numbers, from 1."""
    return sorted(set(map(len, candidates))), {word: c for c, word in enumerate(candidates, 1)}


def _listed(chain: _Chain) -> list[int]:
    found = []
    while chain is not None:
        chain, choice = chain
        found.append(choice)
    return found[::-1]


def packed(lattices: Iterable[Lattice]) -> bytes:
    """Lattices as a list in JSON, compressed by zlib."""
    return zlib.compress(f"[{','.join(lattice.to_json() for lattice in lattices)}]".encode())


def unpacked(content: bytes) -> list[Lattice]:
    """The lattices that `packed` was given."""
    return [file.lattice for file in _FILES.validate_json(zlib.decompress(content))]


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    span: Span
    now: str = Field(alias="is")  # for people: the span says it
    may_be: tuple[str, ...] = Field(alias="may be")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    places: tuple[_Place, ...]

    @property
    def lattice(self) -> Lattice:
        return Lattice(self.text, tuple(p.span for p in self.places), tuple(p.may_be for p in self.places))


_FILES = TypeAdapter(list[_File])


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
