"""What a threat can do, and an attack may require."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from blindspots.ball import Ball
from blindspots.rows import Around
from blindspots.threat import Threat

Embed = Callable[[Tensor], Tensor]


@runtime_checkable
class Projects(Protocol):
    def project(self, x: Tensor, around: Around) -> Tensor:
        """The nearest allowed point of each row of `x` (B, ...)."""
        ...


@runtime_checkable
class Steers(Protocol):
    def steepest(self, g: Tensor) -> Tensor:
        """The step of size 1 that gains most along gradients `g` (B, ...)."""
        ...


@runtime_checkable
class Samples(Protocol):
    def sample(self, around: Around, key: Tensor) -> Tensor:
        """A random allowed point of each row; `key`: int64 (B,)."""
        ...


@runtime_checkable
class Tabular(Projects, Steers, Samples, Protocol):
    """Rows of a table: several inputs may be one column, and what is projected is a possible row."""

    @property
    def column_of(self) -> Tensor:
        """The number of the column that each input belongs to: (D,) int64."""
        ...


@runtime_checkable
class Enumerates(Protocol):
    """Neighbours by number, so that (B, M) numbers stand for (B, M, ...) points."""

    def legal(self, x: Tensor, around: Around) -> Tensor:
        """The moves that lead from `x` to another allowed point: (B, M) bool."""
        ...

    def move(self, x: Tensor, around: Around, m: Tensor) -> Tensor:
        """Where the moves `m` (B,) lead."""
        ...

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        """What each move does to the loss whose gradient at the embeddings is `g`, to first order: (B, M)."""
        ...


@runtime_checkable
class Substitutes(Enumerates, Protocol):
    """Move c + C p puts candidate c at place p of (B, P) tokens."""

    def tokens(self, around: Around) -> Tensor:
        """The candidates of every place (B, P, C), -1 where one is missing."""
        ...

    def slopes(self, x: Tensor, around: Around, g: Tensor, embed: Embed) -> Tensor:
        """As of all that enumerate, and behind these of putting back each place's own token: (B, M + P)."""
        ...


_WORDS: dict[type, str] = {
    Projects: "has a nearest allowed point",
    Steers: "has a steepest step",
    Samples: "can be drawn from",
    Tabular: "has columns, which a feature file describes",
    Enumerates: "lists the neighbours of a point",
    Substitutes: "replaces tokens by candidates",
    Ball: "is a ball of a norm",
}


def lacking(requires: type, threat: Threat) -> list[str]:
    """What a threat lacks for attacks with these requirements: a capability, a class that joins several, or `Ball`.

    Attacks search in the `plain` coordinates of their view, so it is these that count.
    """
    plain = threat.view(requires).plain
    return [words for c, words in _WORDS.items() if c in requires.__mro__ and not isinstance(plain, c)]
