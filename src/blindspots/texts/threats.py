"""What may change of a text, as threats: searches choose among the candidates of its lattice."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from itertools import compress
from typing import Any, ClassVar, Protocol, Self

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from blindspots.capabilities import Embed
from blindspots.errors import InputError
from blindspots.lattice import Candidates, Substitutions
from blindspots.rows import Around, Rows
from blindspots.texts.builder import Builder
from blindspots.texts.candidates import parse_candidates
from blindspots.texts.codes import as_codes, as_texts
from blindspots.texts.kept import NOTHING
from blindspots.texts.lattice import Lattice
from blindspots.texts.pairs import SEPARATOR, Side, free_of
from blindspots.texts.slopes import Reader, Slopes
from blindspots.texts.sources.phrase import Phrase
from blindspots.texts.triggers import PREFIX, Place, checked_words, parts_of, spelled
from blindspots.texts.words import Span, words
from blindspots.threat import Threat

Array = NDArray[Any]
_KEPT = 512  # lattices: those of a shard, whose searches return to them


@dataclass(frozen=True)
class Choices(Candidates):
    """The candidates of a text's places, by their numbers, and the text itself."""

    text: Tensor  # (B, L) code points


class Builds(Protocol):
    """What makes lattices, such as a `Builder`."""

    @property
    def resources(self) -> Mapping[str, str]:
        """SHA-256 of every file that candidates depend on, by its name."""
        ...

    def lattice(self, text: str) -> Lattice: ...

    def describe(self) -> str:
        """What candidates are, as a clause."""
        ...


@dataclass(frozen=True, eq=False)
class TextThreat(Threat):
    """At most `radius` places of a text are exchanged, each for one of its candidates.

    Inputs are code points (B, L), see `as_codes`. Searches run on choices (B, P): 0 leaves a place as it is, c puts
    its candidate c there.

    Args:
        radius: how many places; below 1 a share of the text's words, rounded down, but at least one; None: as many as
            it takes. Of a pair with a fixed side only the words of the other one count.
        candidates: what may stand at a place, in words as `parse_candidates` reads them, or what builds the lattices;
            None: what is usual for this kind.
        reader: what slopes are taken of; None where the model shows none.
        fixed: the side of a pair that never changes, "first" or "second", see `texts.pairs`.
    """

    radius: float | None = None
    candidates: "str | Builds | None" = None
    reader: Reader | None = None
    fixed: Side | None = None

    unit: ClassVar[str]  # what a place is called
    usual: ClassVar[str]  # candidates

    @classmethod
    def of(cls, said: str | None) -> Self:
        """From what stands behind the colon, if there is one. Raises ValueError: it is no number."""
        return cls(None if said is None else float(said))

    def __post_init__(self) -> None:
        if isinstance(self.candidates, str):
            parse_candidates(self.candidates)
        if self.radius is not None and not (
            0 <= self.radius < 1 or (float(self.radius).is_integer() and self.radius > 0)
        ):
            raise InputError(
                f"expected a number of {self.unit}s, or a share below 1 of them, got {self.radius:g}: write "
                f"{self.name}:2 or {self.name}:0.15"
            )

    def lattice(self, text: str) -> Lattice:
        """What may change of a text, made once."""
        return self._lattices(text)

    @cached_property
    def builder(self) -> "Builds":
        given = self.candidates or self.usual
        if not isinstance(given, str):
            return given
        builder = parse_candidates(given)
        return builder if self.reader is None else builder.on(self.reader.vectors)

    @property
    def said(self) -> str:
        """What candidates are: the words that were given, else as the builder describes them."""
        given = self.candidates or self.usual
        return given if isinstance(given, str) else self.builder.describe()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the files that candidates are from; "" where there are none."""
        files = "".join(f"{name} {content}\n" for name, content in sorted(self.builder.resources.items()))
        return hashlib.sha256(files.encode()).hexdigest() if files else ""

    @cached_property
    def _lattices(self) -> Callable[[str], Lattice]:
        return lru_cache(maxsize=_KEPT)(lambda text: self._of_free_side(self.builder.lattice(text)))

    def _of_free_side(self, lattice: Lattice) -> Lattice:
        """Without what separates the sides of a pair, and the places of the side that does not change."""
        if SEPARATOR not in lattice.text:
            return lattice
        sides = [self._side(lattice.text, span) for span in lattice.spans]
        free = [side is not None and side != self.fixed for side in sides]
        return Lattice(lattice.text, tuple(compress(lattice.spans, free)), tuple(compress(lattice.candidates, free)))

    def _side(self, text: str, span: Span) -> str | None:
        """The side of a pair that a span of it is in; None: it is what separates them."""
        at, (a, b) = text.find(SEPARATOR), span
        return "first" if b <= at else "second" if a > at else None

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # what is made of them is made again

    # ------------------------------------------------------------------ texts

    def reach(self, x: Tensor) -> Tensor:
        allowed = [self.allowed(self.lattice(text)) for text in as_texts(x)]
        return torch.tensor(allowed, dtype=torch.float32, device=x.device)

    def allowed(self, lattice: Lattice) -> float:
        """How many places of it may change."""
        if self.radius is None or self.radius >= 1 or self.radius == 0:
            return torch.inf if self.radius is None else self.radius
        return max(1, int(self.radius * self.units(free_of(lattice.text, self.fixed)) + 1e-9))

    def units(self, text: str) -> int:
        """What a share is of: the number of words."""
        return len(words(text))

    def limits(self, x: Tensor) -> Rows:
        lattices = [self.lattice(text) for text in as_texts(x)]
        places = max((len(lattice.spans) for lattice in lattices), default=0)
        widest = max((len(there) for lattice in lattices for there in lattice.candidates), default=0)
        tokens = torch.full((len(x), max(places, 1), max(widest, 1)), -1.0)
        for row, lattice in zip(tokens, lattices, strict=True):
            for place, there in zip(row, lattice.candidates, strict=False):
                place[: len(there)] = torch.arange(1, len(there) + 1)
        return Choices(tokens.to(x.device), x)

    def immovable(self, around: Around) -> Tensor:
        return self.plain.immovable(around)

    def choice(self, lattice: Lattice, text: str) -> list[int] | None:
        """Which candidates make the text out of the lattice's own; None: none do, or too many would be needed."""
        return [0] * len(lattice.spans) if text == lattice.text else lattice.choice(text, self.allowed(lattice))

    def distance(self, x: Tensor, x0: Tensor) -> Tensor:
        """The number of places that were exchanged; inf for a text that cannot be made in this way."""
        sizes = [self._changes(*pair) for pair in zip(as_texts(x), as_texts(x0), strict=True)]
        return torch.tensor(sizes, dtype=x0.dtype, device=x0.device)

    @cached_property
    def _changes(self) -> Callable[[str, str], float]:
        """Of a text from a clean one; remembered, since an engine asks whether it is allowed and how far it is."""

        def changes(text: str, clean: str) -> float:
            choice = self.choice(self.lattice(clean), text)
            return torch.inf if choice is None else sum(c > 0 for c in choice)

        return lru_cache(maxsize=4096)(changes)

    def measured(self, x: Array, x0: Array) -> Array:
        """As `distance`: proofs read texts back from lattices by code of their own."""
        return self.distance(torch.from_numpy(x), torch.from_numpy(x0)).numpy()

    def holds(self, x: Tensor, around: Around) -> Tensor:
        return self.distance(x, around.x) <= around.r

    # ------------------------------------------------------------------ choices: what searches see

    @property
    def plain(self) -> Substitutions:
        return Substitutions(self.radius)

    def inward(self, around: Around) -> Around:
        return replace(around, x=torch.zeros_like(self._own(around).tokens[:, :, 0]))

    def outward(self, u: Tensor, inner: Around, around: Around) -> Tensor:
        own = self._own(inner)
        texts, choices = as_texts(own.text), u.long().tolist()
        lattices = map(self.lattice, texts)
        made = [lattice.at(choice[: len(lattice.spans)]) for lattice, choice in zip(lattices, choices, strict=True)]
        return as_codes(made, own.text.shape[1]).to(u.device)

    def begun(self, start: Tensor, around: Around) -> Tensor:
        """The choices that make the texts `start`; of others none, so that the search begins at the clean text."""
        own, rows = self._own(around), []
        for text, clean in zip(as_texts(start), as_texts(own.text), strict=True):
            choice = self.choice(self.lattice(clean), text) or []
            rows.append(choice + [0] * (own.tokens.shape[1] - len(choice)))
        return torch.tensor(rows, dtype=start.dtype, device=start.device)

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        """Of every move at the texts `x` (B, L), to first order, and behind these of putting each place back.

        (B, P C + P). Points that are none of a lattice have slopes of 0.
        """
        own, taken = self._own(around), self._taken
        found = pad(torch.zeros_like(own.tokens), (1, 0))
        for row, text, clean, slope in zip(found, as_texts(x), as_texts(own.text), g, strict=True):
            lattice = self.lattice(clean)
            if choice := self.choice(lattice, text):
                slopes = taken.of(text, lattice, choice, slope)
                row[: slopes.shape[0], : slopes.shape[1]] = slopes
        return torch.cat([found[:, :, 1:].flatten(1), found[:, :, 0]], 1)

    @cached_property
    def _taken(self) -> Slopes:
        if self.reader is None:
            raise InputError(f"expected a model with embeddings for slopes in {self.spec}, got none: bind it first")
        return Slopes(self.reader)

    def _own(self, around: Around) -> Choices:
        if not isinstance(around.own, Choices):
            raise InputError("expected the choices of every text, got none: make rows with Samples.within")
        return around.own


class Words(TextThreat):
    """Words are exchanged for others, such as synonyms: at most `radius` of a text, or a share of its words.

    `Words(2)`, `Words(0.15)`; the arguments are those of `TextThreat`. Candidates: the embedded synonyms.
    """

    name: ClassVar[str] = "words"
    title: ClassVar[str] = "words"
    unit: ClassVar[str] = "word"
    usual: ClassVar[str] = "synonyms"
    allowing: ClassVar[str] = "{radius} may be exchanged, each for one of its candidates"


class Characters(TextThreat):
    """Words get one typing error each: swapped, missing, additional or similar-looking characters.

    `Characters(2)`; the arguments are those of `TextThreat`. Candidates: typing errors as people make them.
    """

    name: ClassVar[str] = "chars"
    title: ClassVar[str] = "words with a typing error"
    unit: ClassVar[str] = "word"
    usual: ClassVar[str] = "typo"
    allowing: ClassVar[str] = "{radius} may get one typing error each"


class Edits(TextThreat):
    """Characters are exchanged, inserted and deleted: the Levenshtein distance of the two texts is at most `radius`.

    `Edits(3)`; the arguments are those of `TextThreat`. A share is of the characters.
    """

    name: ClassVar[str] = "edits"
    title: ClassVar[str] = "characters"
    unit: ClassVar[str] = "character"
    usual: ClassVar[str] = "edits"
    allowing: ClassVar[str] = "{radius} may be exchanged, inserted or deleted"

    def units(self, text: str) -> int:
        return len(text)


class Tokens(TextThreat):
    """Words are exchanged for any that the model knows, whatever they mean.

    `Tokens(1)`; the arguments are those of `TextThreat`. Only for models whose words are known, as networks.
    """

    name: ClassVar[str] = "tokens"
    title: ClassVar[str] = "words"
    unit: ClassVar[str] = "word"
    usual: ClassVar[str] = "vocabulary"
    allowing: ClassVar[str] = "{radius} may be exchanged for any other that the model knows"


@dataclass(frozen=True, eq=False)
class Trigger(TextThreat):
    """The same words are put into a text at one place, and nothing else changes: a fixed trigger.

    `Trigger("zoning tapping fiennes")`, `Trigger("zoning tapping fiennes", "front")`.

    Args:
        words: as they stand in the text.
        place: "front", "end" or "anywhere", which is also any gap between two words. Of a pair either side has these.
        candidates: None, or the lattices that another threat with these words builds.
        reader, fixed: as of `TextThreat`.

    Raises InputError: there are no words, or candidates are named.
    """

    words: str
    place: Place = "anywhere"
    radius: float | None = field(default=1.0, init=False)
    candidates: "str | Builds | None" = field(default=None, kw_only=True)
    reader: Reader | None = field(default=None, kw_only=True)
    fixed: Side | None = field(default=None, kw_only=True)

    name: ClassVar[str] = "trigger"
    title: ClassVar[str] = "triggers"
    unit: ClassVar[str] = "trigger"
    usual: ClassVar[str] = "its words"
    allowing: ClassVar[str] = "a fixed trigger may be put in at one place"

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", checked_words(self.words))
        if isinstance(self.candidates, str) and self.candidates != self.said:
            raise InputError(
                f"expected no candidates beside {self.spec!r}, which has its own, got {self.candidates!r}: leave "
                "them out"
            )

    @classmethod
    def of(cls, said: str | None) -> Self:
        return cls(*parts_of(said or ""))

    @property
    def spec(self) -> str:
        return f"{PREFIX}{spelled(self.words, self.place)}"

    @property
    def said(self) -> str:
        return self.builder.describe()

    @cached_property
    def builder(self) -> "Builds":
        if self.candidates is None or isinstance(self.candidates, str):
            return Builder((Phrase(phrase=self.words, place=self.place),), (), NOTHING)
        return self.candidates


TEXTS: dict[str, type[TextThreat]] = {kind.name: kind for kind in (Words, Characters, Edits, Tokens, Trigger)}


def parse_text_threat(text: str) -> TextThreat:
    """A threat of texts from "words:0.15", "chars:2" or, without a number, "words"; its candidates are still missing.

    A trigger is "trigger:WORDS", "trigger:front:WORDS", "trigger:end:WORDS" or "trigger:FILE.json".

    Raises InputError for anything else.
    """
    name, colon, said = text.strip().partition(":")
    try:
        return TEXTS[name.lower()].of(said if colon else None)
    except InputError:
        raise
    except (KeyError, ValueError) as error:
        forms = "one of " + ", ".join(TEXTS) + ", alone or with a number or a share"
        raise InputError(f"expected a threat, {forms} as in words:2 or words:0.15, got {text!r}") from error
