"""What a kind of run supplies. Everything else (resume, processes, verification, gates, pages) is the frame's."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from blindspots.errors import InputError
from blindspots.naming import meant

if TYPE_CHECKING:  # help reads this module
    from torch import Tensor

    from blindspots.findings import Finding
    from blindspots.runs.config import Config
    from blindspots.runs.metric import Verdict
    from blindspots.runs.store import Parts
    from blindspots.runs.world import World

Columns = dict[str, "Tensor"]
Made = Columns | Generator[Columns, None, Columns]
C = TypeVar("C", bound="Config")
V = TypeVar("V", bound="Verdict")
GROUP = "blindspots.experiments"  # of entry points in other packages


class Check(NamedTuple):
    """A claim of `verify`, and what speaks against it: nothing where it holds."""

    claim: str
    problems: list[str]


@dataclass(frozen=True)
class Part:
    """The unit of resume, digests and distribution: the file NAME.safetensors, or a whole run in the folder NAME.

    Args:
        name: with slashes for folders.
        needs: names of the parts that it is made of; these are made before it.
        rows: places in the data that it is about, for progress.
        run: kind and configuration of a run inside the run.
        settings: plain values that tell the parts of a kind apart.
    """

    name: str
    needs: tuple[str, ...] = ()
    rows: range = range(0)
    run: "tuple[str, Config] | None" = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def shards(name: str, rows: int, size: int) -> list[Part]:
    """Rows in parts of `size`: NAME/00000, NAME/00001, ..."""
    spans = [range(first, min(first + size, rows)) for first in range(0, rows, size)]
    return [Part(f"{name}/{i:05d}", rows=span) for i, span in enumerate(spans)]


class Experiment(ABC, Generic[C, V]):
    """A kind of run: functions without state, so that any process can call them.

    Attributes:
        name: its row in the table of kinds.
        Config, Verdict: its settings and what it concludes.
        together: names of parts that all processes which torchrun started make together, without needs; all other
            parts are made by the first of them, which alone keeps files.
    """

    name: ClassVar[str]
    together: ClassVar[frozenset[str]] = frozenset()
    Config: type[C]
    Verdict: type[V]

    def fitted(self, config: C, world: "World") -> C:
        """The configuration with everything filled in that was left open. Raises InputError: it cannot be done."""
        return config

    @abstractmethod
    def parts(self, config: C, world: "World") -> list[Part]:
        """What has to be made, each part after those that it needs."""

    def further(self, config: C, world: "World", parts: "Parts") -> list[Part]:
        """Parts of which it is only known that they are wanted once all `parts` are made: a function of these alone."""
        return []

    def passes(self, config: C, world: "World") -> float:
        """About how many forwards the run takes, which decides whether workers are worth their start; 0: unknown."""
        return 0.0

    @abstractmethod
    def make(self, config: C, world: "World", part: Part, needs: "Parts", kept: Columns | None) -> Made:
        """The columns of a part, from the configuration, the world and the parts that it needs alone.

        A long part yields states that it can go on from, and gets the last one back as `kept`.
        """

    def inside(self, config: C, world: "World", part: Part, needs: "Parts") -> Mapping[str, Any]:
        """Python objects that a run inside the run is given, by the names of its fields."""
        return {}

    @abstractmethod
    def conclude(self, config: C, world: "World", parts: "Parts") -> V:
        """The verdict, without findings. Counts; asks no model and searches nothing."""

    def findings(self, config: C, world: "World", verdict: V, parts: "Parts") -> "list[Finding]":
        """What a reader of the verdict should know."""
        return []

    def exports(self, config: C, world: "World", verdict: V, parts: "Parts") -> Mapping[str, bytes]:
        """Further files for people, by name, such as a model; their digests are recorded beside those of the parts."""
        return {}


@dataclass(frozen=True)
class Kind:
    """Where a kind is found, as "module:name": its settings are read without its science, its proof without both.

    Args:
        about: what its command does, one line or more; the first is shown in the list of commands.
        config: its `Config`.
        experiment: its `Experiment`.
        verdict: its `Verdict`.
        checks: a function (config, verdict, parts, world) -> Check, Check, ...: what `verify` looks at. It shares no
            code with `make` and `conclude`.
        page: a function (run) -> `blindspots.report.Page`.
        inside: a function (run, part, world) -> Python objects, by the names of fields, that a run inside such a run
            was given; "" where it needs none.
        several: its `page` takes several runs, too, and compares them.
        unseen: what verification of such a run cannot show.
        texts, queries: what takes its place where a configuration is `of_texts`, or `of_queries`: other parts, another
            verdict, the same command.
        within: the kind whose command makes such runs as its parts; "" where it has a command of its own.
    """

    name: str
    about: str
    config: str
    experiment: str
    verdict: str
    checks: str
    page: str
    inside: str = ""
    unseen: str = ""
    several: bool = False
    within: str = ""
    texts: "Kind | None" = None
    queries: "Kind | None" = None

    def of(self, config: "Config") -> "Kind":
        """The kind that makes, reads, proves and shows runs of this configuration."""
        others = {"of_texts": self.texts, "of_queries": self.queries}
        return next((other for such, other in others.items() if other and getattr(config, such, False)), self)

    def load(self, what: str) -> Any:
        """Its `config`, `experiment`, `verdict`, `checks`, `page` or `inside`."""
        module, _, name = getattr(self, what).partition(":")
        return getattr(import_module(module), name)


@cache
def kinds() -> dict[str, Kind]:
    """All kinds of runs: our own, and those that other packages offer as entry points of `GROUP`."""
    own: tuple[Kind, ...] = import_module("blindspots.experiments").KINDS
    others = [point.load() for point in entry_points(group=GROUP)]
    return {kind.name: kind for kind in (*own, *others, *own)}  # ours first, and ours where names are the same


def kind(name: str, config: "Config | None" = None) -> Kind:
    """The kind of that name, or what it is for such a configuration. Raises InputError: there is none of that name."""
    if name not in kinds():
        raise InputError(
            f"expected a kind of run among {', '.join(kinds())}, got {name!r}{meant(name, kinds())}: install the "
            "package that brings it"
        )
    return kinds()[name] if config is None else kinds()[name].of(config)
