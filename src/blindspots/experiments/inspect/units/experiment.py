"""Units against random directions: is there anything special about the axes of a layer?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from blindspots.arguments import checked
from blindspots.data import Data, Dataset
from blindspots.data.splits import cut, shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.layers import Layer, check_has_layers, hidden, layers_of, named, pooled, streamed
from blindspots.experiments.inspect.units.bases import factors, latents, rotations
from blindspots.experiments.inspect.units.comparison import SPACES, Basis, Sample, compared, entropy_by_lot
from blindspots.experiments.inspect.units.conclude import views
from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.inspect.units.findings import findings
from blindspots.experiments.inspect.units.statistics import Likeness, label_entropy
from blindspots.experiments.inspect.units.verdict import UnitsVerdict
from blindspots.findings import Finding
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.packing import pack_inputs
from blindspots.pictures import is_image
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World

_CHUNK = 64  # rows per call
_SHEETS, _ROWS = 6, 8  # directions of either kind that are shown, and rows of each
_NEVER_NEGATIVE = ("ReLU", "ReLU6", "Sigmoid", "Hardsigmoid", "Softplus", "Softmax")
_COARSE = 8  # pixels along each side of what stands for a picture where there is no independent network


class Units(Run[UnitsConfig, UnitsVerdict]):
    """A finished study of units."""

    def __repr__(self) -> str:
        return (
            f"Units({len(self.verdict.purer())} of {len(self.verdict.views)} with units purer than random directions)"
        )


@checked(model=as_model, against=as_model)
def units(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    data: Data | None = None,
    against: Model | nn.Module | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Units:
    """Are the units of a layer purer than random directions of it (Szegedy et al. 2013, 1312.6199, section 3)?

    The paper looked at pictures and saw no difference. Here the labels of the rows that excite a direction most decide,
    and how alike these rows are; random directions are rotations of the whole basis, so that the test is exact (Bau et
    al. 2017, 1704.05796, rotate likewise and count concepts). Learned dictionaries stand beside both.

    Args:
        model: a network whose layers have names.
        x, y: inputs (N, ...) that it was not trained on, and labels (N,). Instead: `data` (see `as_data`).
        against: an independent network whose last hidden layer says which rows are alike; None: coarse pixels do.
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `UnitsConfig`, such as layer, rotations, top, dictionary, seed.

    Raises:
        InputError: the model has no layers that can be read, a layer is unknown, all rows have one label.
    """
    given = {"model": model, "data": rows_of(x, y, data), "against": against}
    done = begin("units", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Units(**vars(done))


class UnitsStudy(Experiment[UnitsConfig, UnitsVerdict]):
    name = "units"
    Config, Verdict = UnitsConfig, UnitsVerdict

    def fitted(self, config: UnitsConfig, world: World) -> UnitsConfig:
        check_has_layers(world.named("model"))
        every = _layers(world)
        wanted = named(every, config.layer) if config.layer else hidden(every, config.most_layers)
        if not wanted:
            raise InputError(
                f"expected a network with layers before its scores, got {world.model.name}, which has none: name one "
                "with --layer, or choose other parts"
            )
        if config.against:
            _last_hidden(world.seen("against"), world.data)
        _check_rows(config, world)
        return config.model_copy(update={"layers": tuple(v for layer in wanted for v in _views(layer))})

    def parts(self, config: UnitsConfig, world: World) -> list[Part]:
        listed = [Part("activations", rows=range(len(world.data)))]
        for i in range(len(config.layers)):
            said = {"view": i}
            listed += [
                Part(f"compared/{i}/{space}", ("activations",), settings={**said, "space": space}) for space in SPACES
            ]
            listed += [Part(f"sheets/{i}", ("activations",), settings=said)]
            listed += [Part(f"learned/{i}", ("activations",), settings=said)] if config.dictionary else []
        return listed

    def make(self, config: UnitsConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        if part.name == "activations":
            return _activations(config, world)
        making = _Making(config, world, part, needs["activations"])
        what = {"compared": making.compared, "sheets": making.sheets, "learned": making.learned}
        return what[part.name.partition("/")[0]]()

    def conclude(self, config: UnitsConfig, world: World, parts: Parts) -> UnitsVerdict:
        judged, fitted = _divided(len(world.data), config)
        y = parts["activations"]["y"]
        return UnitsVerdict(
            rows=len(judged), fitted=len(fitted), by_lot=entropy_by_lot(y[judged], config.top),
            independent=world.seen("against").name if config.against else "", views=views(config, parts),
        )  # fmt: skip

    def findings(self, config: UnitsConfig, world: World, verdict: UnitsVerdict, parts: Parts) -> list[Finding]:
        return [*world.notes, *findings(config, verdict)]


def _layers(world: World) -> list[Layer]:
    return world.once("layers", lambda: layers_of(world.model, world.data.rows(0, 2)[0].to(world.model.device)))


def _views(layer: Layer) -> list[str]:
    """As it is and rectified; what is never negative, such as a ReLU, rectified alone, which is the same."""
    return [f"{layer.name}:pre"] * (layer.kind not in _NEVER_NEGATIVE) + [f"{layer.name}:post"]


def _check_rows(config: UnitsConfig, world: World) -> None:
    rows = len(_divided(len(world.data), config)[0])
    if rows < 2 * config.top:
        raise InputError(
            f"expected at least {2 * config.top} rows to judge directions by their top {config.top}, got {rows}: give "
            "more rows, or a smaller --top"
        )
    if len(set(_labels(world))) < 2:
        raise InputError(
            "expected rows of at least two classes, since labels say how pure a direction is, got one class: give rows "
            "of more"
        )


def _labels(world: World) -> list[int]:
    parts = [world.data.rows(i, min(i + _CHUNK, len(world.data)))[1] for i in range(0, len(world.data), _CHUNK)]
    return [int(y) for y in torch.cat(parts)]


def _divided(rows: int, config: UnitsConfig) -> tuple[Tensor, Tensor]:
    """Places that judge, in an order of lots, and places that dictionaries are learned from."""
    order = shuffled(rows, config.seed, 1)
    if not config.dictionary:
        return order, order[:0]
    fit, _ = cut(order, rows // 2)
    return order[rows // 2 :], fit


def _activations(config: UnitsConfig, world: World) -> Columns:
    """What every layer answers to all rows, and what an independent network makes of them."""
    model, data, chunk = world.model, world.data, config.chunk or _CHUNK
    views = [view.rpartition(":") for view in config.layers]
    wanted = named(_layers(world), list(dict.fromkeys(name for name, _, _ in views)))
    found: dict[str, list[Tensor]] = {view: [] for view in config.layers}
    labels = []
    for y, outs in streamed(model, wanted, data, chunk):
        by_name = {layer.name: (layer, out) for layer, out in zip(wanted, outs, strict=True)}
        for name, _, when in views:
            found[f"{name}:{when}"].append(pooled(*by_name[name], rectified=when == "post").cpu())
        labels.append(y)
        world.tell(Progress("activations", "reading layers", sum(map(len, labels)), len(data)))
    joined = {f"view/{i}": _finite(view, torch.cat(found[view])) for i, view in enumerate(config.layers)}
    return {"y": torch.cat(labels), "embedded": _embedded(config, world, chunk), **joined}


def _finite(view: str, answers: Tensor) -> Tensor:
    """Answers (n, m). Raises InputError: some are NaN or infinite, which nothing can be compared with."""
    bad = (~answers.isfinite().all(1)).nonzero()[:, 0]
    if len(bad):
        raise InputError(
            f"expected finite answers of {view.rpartition(':')[0]}, got NaN or infinity at row {int(bad[0])}: choose "
            "another layer, or leave the row out"
        )
    return answers


def _embedded(config: UnitsConfig, world: World, chunk: int) -> Tensor:
    """Unit vectors (n, d): the last hidden layer of an independent network, or coarse pixels."""
    data = world.data
    if config.against:
        other = world.seen("against")
        last = _last_hidden(other, data)
        parts = [pooled(last[0], out[0], rectified=True).cpu() for _, out in streamed(other, last, data, chunk)]
    else:
        spans = [(i, min(i + chunk, len(data))) for i in range(0, len(data), chunk)]
        parts = [_coarse(data.rows(*span)[0]) for span in spans]
    every = _finite(f"{world.seen('against').name}:" if config.against else "the inputs:", torch.cat(parts))
    return normalize(every - every.mean(0), dim=1)


def _last_hidden(other: Model, data: Dataset) -> list[Layer]:
    found = hidden(layers_of(other, data.rows(0, 2)[0].to(other.device)), 1)
    if not found:
        raise InputError(
            f"expected an independent network with layers before its scores, got {other.name}, which has none: name "
            "another with --against, or none"
        )
    return found


def _coarse(x: Tensor) -> Tensor:
    small = is_image(x.shape[1:]) and min(x.shape[-2:]) > _COARSE
    return (adaptive_avg_pool2d(x, _COARSE) if small else x).flatten(1)


class _Making:
    """One part of a view of a layer."""

    def __init__(self, config: UnitsConfig, world: World, part: Part, activations: Columns) -> None:
        self.config, self.world, self.part = config, world, part
        self.view = int(part.settings["view"])
        self.judged, self.fit = _divided(len(world.data), config)
        self.answers, self.y = activations[f"view/{self.view}"], activations["y"]
        self.sample = Sample(self.answers[self.judged], self.y[self.judged], activations["embedded"][self.judged])

    def compared(self) -> Columns:
        c, space = self.config, str(self.part.settings["space"])
        self.world.tell(Progress(self.part.name, f"{c.layers[self.view]}: {c.rotations} random bases, {space}"))
        return compared(Basis(self.sample, space, c.seed, self.view, c.directions, c.top), c.rotations)

    # -------------------------------------------------------------- learned directions

    def learned(self) -> Columns:
        """Dictionaries of as many, and of four times as many directions as there are units."""
        c, live = self.config, self.sample.live
        self.world.tell(Progress(self.part.name, f"{c.layers[self.view]}: learning dictionaries"))
        fit, held = self.answers[self.fit][:, live], self.sample.answers[:, live]
        count = min(len(live), c.directions)
        nothing = held[:, :0]
        nmf = factors(fit, held, count, c.seed) if c.layers[self.view].endswith(":post") and count > 1 else nothing
        saes = [latents(fit, held, k * count, c.seed) if count > 1 else nothing for k in (1, 4)]
        made = zip(("nmf", "sae", "wide_sae"), (nmf, *saes), strict=True)
        return {f"{name}_{key}": value for name, values in made for key, value in self._judged(values).items()}

    def _judged(self, values: Tensor) -> Columns:
        """Of the directions that answer as many rows as count; NaN for the others."""
        enough = (values > 0).sum(0) >= self.config.top
        judged = values[:, enough]
        nothing = torch.full((values.shape[1],), torch.nan, dtype=torch.float64)
        told = {"entropy": nothing.clone(), "likeness": nothing.clone()}
        if enough.any():
            told["entropy"][enough] = label_entropy(judged, self.sample.labels, self.config.top)
            own = Likeness(judged, self.sample.embedded)
            told["likeness"][enough] = own.of(torch.eye(judged.shape[1]), judged.amin(0), judged.amax(0))
        return told

    # -------------------------------------------------------------- to look at

    def sheets(self) -> Columns:
        """Rows that excite units and random directions most; either are drawn by lot."""
        live, c = self.sample.live, self.config
        answers = self.sample.answers[:, live] - self.sample.answers[:, live].mean(0)
        shown = live[shuffled(len(live), c.seed, self.view)[:_SHEETS]].sort().values
        own = (live[:, None] == shown).float()
        random = next(rotations(c.seed, self.view, 1, len(live), len(shown))) if len(live) else own
        told: Columns = {"units": shown}
        for name, directions in (("unit", own), ("random", random)):
            rows = self.judged[(answers @ directions).T.topk(min(_ROWS, len(answers)), 1).indices]
            told |= {f"{name}_rows": rows, f"{name}_y": self.y[rows], f"{name}_x": self._inputs(rows)}
        return told

    def _inputs(self, rows: Tensor) -> Tensor:
        """(u, t, *shape)"""
        x = [self.world.data.rows(i, i + 1)[0][0] for i in rows.flatten().tolist()]
        stacked = torch.stack(x) if x else torch.zeros(0, *self.world.data.shape)
        return pack_inputs(stacked).view(*rows.shape, *self.world.data.shape)
