"""The shape of decision regions around rows, and what two models share of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.attacks import Attack
from blindspots.ball import Ball
from blindspots.batching import is_large, rows_per_call
from blindspots.crafting import fitting
from blindspots.data import Data, as_data
from blindspots.data.splits import refuse_overlap
from blindspots.errors import InputError
from blindspots.experiments.inspect.geometry.conclude import concluded
from blindspots.experiments.inspect.geometry.config import FEWEST, GeometryConfig
from blindspots.experiments.inspect.geometry.features import KINDS, learner_of
from blindspots.experiments.inspect.geometry.findings import findings
from blindspots.experiments.inspect.geometry.making import Making
from blindspots.experiments.inspect.geometry.sight import has_gradients
from blindspots.experiments.inspect.geometry.verdict import GeometryVerdict
from blindspots.experiments.inspect.threats import ball_of, with_threat
from blindspots.findings import Finding
from blindspots.fit import check_answers
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.objective import Objective
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import World

_ROWS, _LARGE_ROWS = 500, 32
_NORMS = ("linf", "l2", "l1")


class Geometry(Run[GeometryConfig, GeometryVerdict]):
    """A finished study of geometry."""

    def __repr__(self) -> str:
        crossed = ", ".join(f"{c.kind} {c.crossed.share:.1%}" for c in self.verdict.crossings)
        return f"Geometry({self.verdict.rows} rows; crossed: {crossed})"


@checked(model=as_model, against=as_model, training_data=as_data)
def geometry(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    data: Data | None = None,
    against: Model | nn.Module | str | None = None,
    training_data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Geometry:
    """What do decision regions look like around rows, and why do adversarial examples generalise across models?

    Slices through rows (church windows, Warde-Farley and Goodfellow 2016) with the share of ways that cross a boundary
    within the threat, of all rows; how far gradients turn; the nearest boundary in l2 against confidence; the
    dimensions that its normals span (Moosavi-Dezfooli et al. 2017, 1610.08401, section 4); how many orthogonal
    directions are adversarial (Tramer et al. 2017, 1704.03453); angles between the gradients of two models, and
    transfer; and whether a network learns from relabelled adversarial examples (Ilyas et al. 2019, 1905.02175).

    Args:
        model: of numbers. Of one that is known by its answers alone, slices and ways along random directions and
            towards other rows are shown; all else needs gradients and is left out.
        x, y: inputs (N, ...) that it was not trained on, and labels (N,). Instead: `data` (see `as_data`).
        against: an independent model with gradients, of the same inputs and classes.
        training_data: rows, such as those that the model was trained on, whose examples new networks learn from.
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `GeometryConfig`, such as threat ("linf:0.1"), geometry_rows, slices, resolution, seed.

    Raises:
        InputError: the model reads texts, the threat is no ball with a radius, models do not fit together, rows to
            learn from are among those that judge.
    """
    given = {"model": model, "data": rows_of(x, y, data), "against": against, "training_data": training_data}
    done = begin("geometry", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Geometry(**vars(done))


class GeometryStudy(Experiment[GeometryConfig, GeometryVerdict]):
    name = "geometry"
    Config, Verdict = GeometryConfig, GeometryVerdict

    def fitted(self, config: GeometryConfig, world: World) -> GeometryConfig:
        _check_models(config, world)
        shape = world.data.shape
        if len(world.data) < FEWEST:
            raise InputError(
                f"expected at least {FEWEST} rows, half of which say what is universal for the others, got "
                f"{len(world.data)}: give more"
            )
        wanted = config.geometry_rows or (_LARGE_ROWS if is_large(shape) else _ROWS)
        fitted = config.model_copy(
            update={
                "relearn": config.relearn and _can_learn(config, world),
                "threat": with_threat(config, world),
                "geometry_rows": min(wanted, len(world.data)),
                "chunk": rows_per_call("search", shape, world.model.device, config.chunk),
            }
        )
        _threat(fitted, world)
        if not fitted.relearn:
            world.rows.pop("training_data", None)  # as in a world that the fitted configuration opens
        return fitted

    def parts(self, config: GeometryConfig, world: World) -> list[Part]:
        rows, slopes = range(config.geometry_rows or 0), has_gradients(world.model)
        listed = [Part("rows", rows=rows)]
        if slopes:
            listed += [Part(f"moved/{name}", ("rows",), rows) for name in _models(config)]
            listed += [Part("universal", ("rows", "moved/model"))]
        listed += [Part(f"crossings/{kind}", ("rows", *_needs(kind)), rows) for kind in kinds_of(config, slopes)]
        listed += [
            Part(f"slices/{i}/{kind}", ("rows", *_needs("adversarial" if slopes else kind), *_needs(kind)), settings={
                "row": i, "kind": kind,
            })
            for i in range(min(config.slices, len(rows))) for kind in axes_of(config, slopes)
        ]  # fmt: skip
        return [*listed, *(_of_gradients(config) if slopes else [])]

    def make(self, config: GeometryConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = Making(config, world, part, needs, _threat(config, world), _attack(config, world))
        return making.made()

    def conclude(self, config: GeometryConfig, world: World, parts: Parts) -> GeometryVerdict:
        return concluded(config, parts)

    def findings(self, config: GeometryConfig, world: World, verdict: GeometryVerdict, parts: Parts) -> list[Finding]:
        return [*world.notes, *findings(config, verdict, has_gradients(world.model))]


def kinds_of(config: GeometryConfig, slopes: bool) -> list[str]:
    """The kinds of ways that can be gone."""
    if not slopes:
        return ["random", "rows"]
    return ["adversarial", *(["against"] if config.against else []), "universal", "random", "rows"]


def axes_of(config: GeometryConfig, slopes: bool) -> list[str]:
    """What the second axis of a slice can be; the first is adversarial, or without gradients a random direction."""
    if not slopes:
        return ["random"]
    return ["random", *(["against"] if config.against else []), "universal"]


def _models(config: GeometryConfig) -> list[str]:
    return ["model", "against"] if config.against else ["model"]


def _needs(kind: str) -> list[str]:
    return {"adversarial": ["moved/model"], "against": ["moved/against"], "universal": ["universal"]}.get(kind, [])


def _of_gradients(config: GeometryConfig) -> list[Part]:
    listed = [Part("curvature", ("rows", "moved/model")), Part("boundary", ("rows",)), Part("subspace", ("rows",))]
    if config.against:
        listed.append(Part("angles", ("rows", "moved/model", "moved/against")))
    if config.relearn:
        listed += [Part(f"features/{kind}", settings={"kind": kind}) for kind in KINDS]
    return listed


def _check_models(config: GeometryConfig, world: World) -> None:
    for name in config.models():
        if isinstance(world.named(name), TextModel):
            raise InputError(
                f"expected a model of numbers, got {world.named(name).name}, which reads texts: no plane goes through "
                "texts, so choose other parts"
            )
        check_answers(world.named(name), "slices of decision regions")
    if config.against:
        _check_alike(world.model, world.seen("against"), world)


def _check_alike(model: Model, other: Model, world: World) -> None:
    if not has_gradients(other):
        raise InputError(
            f"expected another model with gradients, got {other.name}, which is known by its answers alone: leave "
            "--against out"
        )
    x = world.data.rows(0, 1)[0]
    with torch.no_grad(), model.borrowed(), other.borrowed():
        counts = [m.logits(x.to(m.device)).shape[1] for m in (model, other)]
    if counts[0] != counts[1] or model.bounds != other.bounds:
        raise InputError(
            f"expected two models of the same classes and bounds, got {counts[0]} classes in {model.bounds} and "
            f"{counts[1]} in {other.bounds}: name another with --against"
        )


def _can_learn(config: GeometryConfig, world: World) -> bool:
    """Whether there are rows and layers to train. Raises InputError: the network that was named cannot be, or rows to
    train on are among those that judge.
    """
    if "training_data" not in world.rows or not has_gradients(world.model):
        return False
    refuse_overlap(world.rows["training_data"], world.data)
    try:
        learner_of(config.learner, world.model).build(world.data.shape, 2)
    except InputError:
        if config.learner is not None or config.training_data is not None:
            raise
        return False
    return True


def _threat(config: GeometryConfig, world: World) -> Ball:
    threat = ball_of(config, world)
    if threat.name not in _NORMS:
        raise InputError(f"expected a threat in {', '.join(_NORMS)}, got {threat.spec}: ways need lengths")
    return threat


def _attack(config: GeometryConfig, world: World) -> Attack | None:
    """The search for adversarial directions, where there are gradients."""
    threat = _threat(config, world)
    return fitting(None, threat, world.model.access, Objective()) if has_gradients(world.model) else None
