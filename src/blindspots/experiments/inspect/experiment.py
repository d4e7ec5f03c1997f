"""A look into a model: every part of it is a run of its own."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.data import Data
from blindspots.errors import InputError
from blindspots.experiments.inspect.certificates import certified
from blindspots.experiments.inspect.config import OF_LAYERS, STUDIES, USUAL, InspectConfig
from blindspots.experiments.inspect.layers import has_hidden
from blindspots.experiments.inspect.verdict import InspectVerdict
from blindspots.findings import Finding
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.pictures import is_image
from blindspots.problem import Need
from blindspots.report.words import listing
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import World


class Inspected(Run[InspectConfig, InspectVerdict]):
    """A finished look into a model."""

    def __repr__(self) -> str:
        return f"Inspected({', '.join(self.config.part)})"

    def of(self, part: str) -> Run[Any, Any]:
        """What one part found."""
        return self.parts.run(part)


@checked(model=as_model, against=as_model, beside=as_model)
def inspect(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    data: Data | None = None,
    against: Model | nn.Module | str | None = None,
    beside: Model | nn.Module | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Inspected:
    """What a model sees, and why small changes move it so far.

    Args:
        model: a network; parts that need no layers take any model.
        x, y: inputs (N, ...) that it was not trained on, and labels (N,). Instead: `data` (see `as_data`).
        against: an independently trained model of the same inputs and classes.
        beside: a model whose pictures of classes stand beside those of `model`.
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `InspectConfig`, such as part=("units",), layer, threat, seed.

    Raises:
        InputError: a part cannot be done on this model; the sentence says why.
    """
    given = {"model": model, "data": rows_of(x, y, data), "against": against, "beside": beside}
    done = begin("inspect", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Inspected(**vars(done))


class Inspect(Experiment[InspectConfig, InspectVerdict]):
    name = "inspect"
    Config, Verdict = InspectConfig, InspectVerdict

    def fitted(self, config: InspectConfig, world: World) -> InspectConfig:
        """With the parts that are usual for such a model, where none was named."""
        if isinstance(world.named("model"), TextModel):
            raise InputError(
                f"expected a model of numbers to look into, got {world.named('model').name}, which reads texts: "
                "evaluate, certify and universal take those"
            )
        if not config.part:
            config = config.model_copy(update={"part": tuple(name for name in USUAL if name not in _unfit(world))})
        if config.against and not any(STUDIES[name].compares for name in config.part):
            raise InputError(
                f"expected a part that compares two models (units, pictures or geometry), got {config.against} to "
                f"compare with for {' and '.join(config.part)}: leave out against, or name such a part"
            )
        return config

    def parts(self, config: InspectConfig, world: World) -> list[Part]:
        rows = range(len(world.data))
        needs = {name: ("stability",) if config.is_certified(name) else () for name in config.part}
        return [Part(name, needs[name], rows, run=(name, config.of(name))) for name in config.part]

    def inside(self, config: InspectConfig, world: World, part: Part, needs: Parts) -> Mapping[str, Any]:
        rows: dict[str, Any] = {name: world.rows[name] for name in config.handed(part.name) if name in world.rows}
        given = {name: world.named(name) for name in config.models()} | rows
        if config.is_certified(part.name):
            given["certified"] = certified(needs.run("stability"), len(world.data))
        return given

    def make(self, config: InspectConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        raise AssertionError("every part is a run")

    def conclude(self, config: InspectConfig, world: World, parts: Parts) -> InspectVerdict:
        return InspectVerdict(parts={name: parts.run(name).verdict.metrics() for name in parts})

    def findings(self, config: InspectConfig, world: World, verdict: InspectVerdict, parts: Parts) -> list[Finding]:
        told = {f"{f.code} {f.saw}": f for name in parts for f in parts.run(name).findings}
        return [*_left_out(config, world), *told.values()]


def _unfit(world: World) -> dict[str, str]:
    """Usual parts that such a model or such data cannot have, and why."""
    model, no_pictures = world.model, "inputs are no pictures"
    closed = {name: "the model is known by its answers alone" for name in OF_LAYERS if model.access is not Need.GRAD}
    bare = (
        {}
        if closed or has_hidden(model, world.data.rows(0, 2)[0])
        else {"units": "no layer before the scores has a name"}
    )
    told = {"pictures": "the model tells its labels alone"} if model.access is Need.LABEL else {}
    return told | ({} if is_image(world.data.shape) else {"pictures": no_pictures}) | bare | closed


def _left_out(config: InspectConfig, world: World) -> Iterator[Finding]:
    unfit = _unfit(world)
    if unfit and set(config.part) == set(USUAL) - set(unfit):
        yield Finding(
            code="parts-left-out", severity="note",
            saw=f"Left out were {listing([f'{name} ({why})' for name, why in unfit.items()])}.",
            do="",
        )  # fmt: skip
