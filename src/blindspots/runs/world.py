"""What a configuration names, opened: here, or by a worker elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from blindspots.data import Dataset, digits_training, is_dataset, load_data, parse_classes
from blindspots.data.levels import InLevels
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.goals import Score
from blindspots.models.binding import bind, like, names_of
from blindspots.models.endpoints import Endpoint, Terms
from blindspots.models.first_look import first_look
from blindspots.models.load import load_model
from blindspots.models.model import Model, to_device
from blindspots.models.ranges import ranged
from blindspots.models.transformations import parse_chain, transformed
from blindspots.records import DataRecord, ModelRecord, Record
from blindspots.runs.config import Config, DataSource, ModelSource
from blindspots.tables.features import Features

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes on.

    Attributes:
        part: the part that is being made, and `done` of `rows`, its own.
        said: a sentence on how far it is; "" once the part is made.
        parts, made: how many parts there are, and how many of them are made.
    """

    part: str
    said: str = ""
    done: int = 0
    rows: int = 0
    made: int = 0
    parts: int = 0
    total: int = 0  # rows of all parts
    finished: int = 0  # rows of the parts that are made
    seconds: float = 0.0  # since the run began


class World:
    """Models and data of a configuration, opened once, when they are first asked for.

    Args:
        config: names them.
        given: Python objects by the name of a field; they take the place of what its words say.
        tell: hears how far a part is.
        say: hears of models that have to be trained or loaded first.
    """

    def __init__(
        self,
        config: Config,
        given: Mapping[str, Any] | None = None,
        tell: Callable[[Progress], None] = lambda progress: None,
        say: Say = lambda text: None,
    ) -> None:
        self.config, self.given, self.tell, self.say = config, dict(given or {}), tell, say
        self.timing: dict[str, float] = {}  # what a part measures of itself: told in the log, never compared
        self.same: dict[str, bool] = {}  # what `verify` found to be what the run saw, by name
        self.hulls: dict[str, tuple[float, float]] = {}  # where data are missing: the bounds that the models had
        self.sent = False  # to another process than the one that began the run
        self.home: Path | None = None  # the folder of the run, if it has one
        self._models: dict[str, Model] = {}
        self._made: dict[str, Any] = {}

    def named(self, name: str) -> Model:
        """A model as it was named or given; one without bounds of its own has those of the first data."""
        model = self._before_data(name)
        if not model.bounded and self.config.datasets():
            self._models[name] = model = self._ranged(name, model)
        return model

    def _ranged(self, name: str, model: Model) -> Model:
        try:
            rows = next(iter(self.rows.values()))
        except InputError as error:
            if name not in self.hulls:
                raise
            if self.hulls[name] != (0.0, 1.0):
                raise InputError(
                    f"expected the rows of the run, since {model.name} has the bounds of these, got none that can be "
                    "opened: pass data"
                ) from error
            return ranged(model, None)
        return ranged(model, rows)

    def _before_data(self, name: str) -> Model:
        """A model as it is until it meets data."""
        if name not in self._models:
            source = self.config.models()[name]
            model = _opened(source, self.given.get(name), self.say)
            self._models[name] = model if self._table is None else model.of_table(self._table)
            self._keep_answers(self._models[name])
        return self._models[name]

    def _keep_answers(self, model: Model) -> None:
        """An endpoint's answers and its account lie in the folder of the run, or where the configuration says."""
        if isinstance(model.service, Endpoint):
            price, queries, paid, shared = (
                getattr(self.config, name, None) for name in ("price", "max_queries", "max_paid", "answers")
            )
            own = model.service.spending.terms
            terms = Terms(own.price if price is None else price, own.free, queries, paid)
            refusals = "max_queries" in type(self.config).model_fields  # other kinds know of no further class
            model.service.keep_in(self.home, None if shared is None else Path(shared), terms, refusals)

    @cached_property
    def _table(self) -> Features | None:
        """What the columns of the first data are, if a feature file says it: its ranges are the bounds of models."""
        sources = self.config.datasets()
        name, source = next(iter(sources.items()), ("", None))
        if source is None or not (source.features or getattr(self.given.get(name), "declared", False)):
            return None
        found: Features = self._unbound[name].table  # type: ignore[attr-defined]
        return found

    @cached_property
    def model(self) -> Model:
        """The model, or the first of several, after its first look at the first data."""
        return self.seen(next(iter(self.config.models())))

    def seen(self, name: str) -> Model:
        """A model after its first look at the first of the data."""
        rows = self.rows
        model = self.named(name)
        return first_look(model, next(iter(rows.values()))) if rows else model

    @cached_property
    def rows(self) -> dict[str, Dataset]:
        """All data, with labels that mean the same in all of them, see `Config.datasets`."""
        sources, opened = self.config.datasets(), self._unbound
        if not all(source.bound for source in sources.values()):
            return opened
        return dict(zip(opened, map(self._sent, self._alike(list(opened.values()))), strict=True))

    def _sent(self, rows: Dataset) -> Dataset:
        """As the models get them: some take whole levels."""
        for name in self.config.models():
            model = self._before_data(name)
            if model.levels is not None and len(rows):
                return InLevels(rows, model.box, model.levels)
        return rows

    @cached_property
    def _unbound(self) -> dict[str, Dataset]:
        """All data as they were opened or given."""
        return {name: self._data(name, source) for name, source in self.config.datasets().items()}

    def _alike(self, rows: list[Dataset]) -> list[Dataset]:
        models = [self._before_data(name) for name in self.config.models()]
        for model in models:
            if rows and len(rows[0]) and isinstance(model.service, Endpoint):
                model.service.meet(rows[0].rows(0, 1)[0], rows[0].class_names)
        if rows and models:
            return list(bind(next((m for m in models if names_of(m)), models[0]), *rows))
        return [*rows[:1], *(like(rows[0], other) for other in rows[1:])]

    def close(self) -> None:
        """Close the files of data until rows are read again, and connections."""
        for model in self._models.values():
            if isinstance(model.service, Endpoint):
                model.service.rest()
        for rows in vars(self).get("rows", {}).values():
            if hasattr(rows, "close"):  # data of users need not have files
                rows.close()

    @property
    def data(self) -> Dataset:
        """The data called "data"."""
        return self.rows["data"]

    def _data(self, name: str, source: DataSource) -> Dataset:
        return self.given[name] if name in self.given else _read(source)

    def thing(self, name: str, read: Callable[[Any], T]) -> T:
        """The Python object that was given for a field, or what `read` makes of its words."""
        found: T = self.given[name] if name in self.given else read(getattr(self.config, name))
        return found

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What is made once in every process, and is no part."""
        if name not in self._made:
            self._made[name] = make()
        found: T = self._made[name]
        return found

    def records(self) -> dict[str, Record]:
        """What models and data are, by the names of their fields: for the manifest."""
        models = {name: ModelRecord.of(self.named(name)) for name in self.config.models()}
        return {**models, **{name: DataRecord.of(rows) for name, rows in self.rows.items()}}

    @property
    def device(self) -> str:
        names = list(self.config.models())
        return str(self.named(names[0]).device) if names else "cpu"

    @property
    def notes(self) -> list[Finding]:
        """What was decided about the model and its data."""
        first, *others = self.rows.values()
        more = [n.model_copy(update={"saw": f"{r.name}: {n.saw}"}) for r in others for n in r.notes]
        return [*self.model.notes, *first.notes, *more]

    # -------------------------------------------------------------- to other processes

    def unsendable(self) -> str:
        """Why no other process could open this; "" where it could."""
        for name, thing in self.given.items():
            if getattr(thing, "spec", "") is None or isinstance(thing, Score):
                return f"{name} was passed from Python and has no name to open it by"
        return ""

    def reopens(self) -> bool:
        """Whether the names that it has open the same models and data again, and not others of that name."""
        try:
            state = self.__getstate__()
            return World(state["config"], state["given"]).records() == self.records()
        except InputError:
            return False

    def __getstate__(self) -> dict[str, Any]:
        """Names and small objects: what a worker opens again."""
        if why := self.unsendable():
            raise InputError(f"expected names that other processes can open, but {why}: use engine='serial'")
        given = {k: v for k, v in self.given.items() if not _is_opened(v)}
        return {"config": self.config, "given": given, "home": self.home}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"], state["given"])  # type: ignore[misc]
        self.sent, self.home = True, state["home"]


def _is_opened(thing: Any) -> bool:
    return isinstance(thing, Model) or is_dataset(thing)


def _opened(source: ModelSource, given: Model | None, say: Say) -> Model:
    model = load_model(source.spec, say) if given is None else given
    if source.device is not None:
        for part in model.parts:
            to_device(part, source.device)
    if not source.values and model.output == "values":
        raise InputError(
            f"expected a model that classifies, got {model.name}, which returns numbers: say what counts as a success, "
            "as in --goal move:0.5, which evaluate and attack take"
        )
    model = model.of_values() if source.values else model
    changes = parse_chain(source.through) if source.through else ()
    return transformed(model, changes) if changes else model


def _read(source: DataSource) -> Dataset:
    if source.is_digits_to_learn:
        return digits_training(source.rows)
    names = parse_classes(source.classes) if source.classes else None
    return load_data(
        source.spec, source.rows, layout=source.layout, classes=names, values=source.values, features=source.features
    )
