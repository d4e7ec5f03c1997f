"""What units, directions and classes see, as pictures, each with numbers beside it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.data import Data
from blindspots.data.names import telling
from blindspots.data.splits import shuffled
from blindspots.experiments.inspect.pictures.chosen import (
    check_answers,
    check_pictures,
    check_slopes,
    class_count,
    count_of,
    groups_of,
)
from blindspots.experiments.inspect.pictures.classes import numbers_of
from blindspots.experiments.inspect.pictures.conclude import drawn, fooling, recognised
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.export import files
from blindspots.experiments.inspect.pictures.findings import findings
from blindspots.experiments.inspect.pictures.making import Making
from blindspots.experiments.inspect.pictures.verdict import PicturesVerdict
from blindspots.findings import Finding
from blindspots.models.binding import names_of
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.problem import Need
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import World

_CLASSES = 10  # that are drawn where none is named


class Pictures(Run[PicturesConfig, PicturesVerdict]):
    """A finished study of pictures."""

    def __repr__(self) -> str:
        p = self.verdict.pictures
        return f"Pictures({sum(x.rose for x in p)} of {len(p)} above all rows of the data)"


@checked(model=as_model, against=as_model, beside=as_model)
def pictures(
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
) -> Pictures:
    """Pictures of what units, directions and classes see (Olah et al. 2017), and fooling images (Nguyen et al. 2015).

    Each picture stands beside the rows of the data that excite its objective most, with what it reaches as a quantile
    of the data, what is left under transformations that it was not made with, and how it excites the unit of an
    independent network that answers the data most alike. All numbers are about the pictures as 8 bits.

    Args:
        model: a network; of a model that is known by its scores alone only fooling images are evolved.
        x, y: pictures (N, H, W), (N, 1, H, W) or (N, 3, H, W) that it was not trained on, and labels (N,). Instead:
            `data` (see `as_data`).
        against: an independent model of the same inputs and classes, for a second opinion.
        beside: a model whose pictures of classes stand beside those of `model`, as a robust one beside a natural one.
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `PicturesConfig`, such as layer, class_="ostrich", pictures_by="plain", ascent_steps, seed.

    Raises:
        InputError: inputs are no pictures; a layer or class is unknown; a layer has no gradients.
    """
    given = {"model": model, "data": rows_of(x, y, data), "against": against, "beside": beside}
    done = begin("pictures", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Pictures(**vars(done))


class PicturesStudy(Experiment[PicturesConfig, PicturesVerdict]):
    name = "pictures"
    Config, Verdict = PicturesConfig, PicturesVerdict

    def fitted(self, config: PicturesConfig, world: World) -> PicturesConfig:
        check_pictures(world)
        names = telling(world.data.class_names) or names_of(world.model)
        classes = class_count(world)
        chosen = numbers_of(config.class_, names, classes) or tuple(
            sorted(shuffled(classes, config.seed, 0)[:_CLASSES].tolist())
        )
        config = config.model_copy(update={"numbers": chosen})
        if world.model.access is not Need.GRAD:
            check_answers(config, world)
            return config
        config = config.model_copy(update={"groups": groups_of(config, world)})
        check_slopes(config, world)
        return config

    def parts(self, config: PicturesConfig, world: World) -> list[Part]:
        listed = []
        for i, name in enumerate(config.groups):
            said = {"group": i}
            read, made = (f"answers/{i}",), (f"answers/{i}", f"pictures/{i}")
            count = range(count_of(config, world, i) * config.diverse)
            listed += [Part(f"answers/{i}", settings=said), Part(f"pictures/{i}", read, rows=count, settings=said)]
            if config.against:
                listed += [Part(f"matched/{i}", made, settings=said)]
            if name == "class" and config.against:
                listed += [Part(f"judged/{i}", made, settings=said)]
            if name == "class" and config.beside:
                listed += [Part(f"beside/{i}", rows=count, settings=said)]
        return [*listed, *(Part(f"fooling/{way}") for way in _ways(config))]

    def make(self, config: PicturesConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = Making(config, world, part, needs, kept)
        kind, _, way = part.name.partition("/")
        what: dict[str, Callable[[], Made]] = {
            "answers": making.answers, "pictures": making.pictures, "matched": making.matched,
            "judged": making.judged, "beside": making.beside, "gradient": making.climbed, "cppn": making.evolved,
        }  # fmt: skip
        return what[way if kind == "fooling" else kind]()

    def conclude(self, config: PicturesConfig, world: World, parts: Parts) -> PicturesVerdict:
        return PicturesVerdict(
            rows=len(world.data), independent=world.named("against").name if config.against else "",
            groups=[drawn(config, parts, i) for i in range(len(config.groups))],
            recognised=recognised(config, parts, world.named("model").name, _beside(config, world)),
            fooling=[fooling(parts[f"fooling/{way}"], way, config.numbers) for way in _ways(config)],
        )  # fmt: skip

    def findings(self, config: PicturesConfig, world: World, verdict: PicturesVerdict, parts: Parts) -> list[Finding]:
        return [*world.notes, *findings(config, verdict, world.model.access is Need.GRAD)]

    def exports(
        self, config: PicturesConfig, world: World, verdict: PicturesVerdict, parts: Parts
    ) -> Mapping[str, bytes]:
        return files(config, parts)


def _ways(config: PicturesConfig) -> tuple[str, ...]:
    return ((("gradient",) if config.groups else ()) + ("cppn",)) if config.fooling else ()


def _beside(config: PicturesConfig, world: World) -> str:
    return world.named("beside").name if config.beside else ""
