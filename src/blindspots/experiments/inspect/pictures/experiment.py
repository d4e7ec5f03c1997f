"""What units, directions and classes see, as pictures, each with numbers beside it."""

import math
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.batching import rows_per_call
from blindspots.data import Data
from blindspots.data.names import telling
from blindspots.data.splits import shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.layers import Layer, hidden, layers_of, named
from blindspots.experiments.inspect.pictures.ascent import Ascent, Job, Recipe, levels, pixels
from blindspots.experiments.inspect.pictures.classes import numbers_of
from blindspots.experiments.inspect.pictures.conclude import drawn, fooling, recognised
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.evolution import evolved
from blindspots.experiments.inspect.pictures.export import files
from blindspots.experiments.inspect.pictures.findings import findings
from blindspots.experiments.inspect.pictures.objectives import Group, answered
from blindspots.experiments.inspect.pictures.parametrisations import Fourier, Maco, Pixels, Plain, magnitudes
from blindspots.experiments.inspect.pictures.reading import matched, tops, valued, values
from blindspots.experiments.inspect.pictures.transformations import UNSEEN, Disturbance
from blindspots.experiments.inspect.pictures.verdict import PicturesVerdict
from blindspots.experiments.inspect.units.bases import rotations
from blindspots.findings import Finding
from blindspots.models.binding import names_of
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.packing import unpack_inputs
from blindspots.pictures import is_image
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World

T = TypeVar("T")
_RATES = {"fourier": 0.05, "pixels": 0.05, "maco": 0.15}  # of Adam
_PATH = 400  # steps of a plain ascent from one corner of the box to the opposite one
_CLASSES = 10  # that are drawn where none is named
_SURE = 64  # steps of an ascent from nothing
_CHUNK = 64  # rows per call
_SPECTRA = 1024  # rows whose spectra are averaged


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
        _check_pictures(world)
        names = telling(world.data.class_names) or names_of(world.model)
        classes = _class_count(world)
        chosen = numbers_of(config.class_, names, classes) or tuple(
            sorted(shuffled(classes, config.seed, 0)[:_CLASSES].tolist())
        )
        config = config.model_copy(update={"numbers": chosen})
        if world.model.access is not Need.GRAD:
            _check_answers(config, world)
            return config
        config = config.model_copy(update={"groups": _groups(config, world)})
        for i in range(len(config.groups)):
            _check_slope(_group(config, world, i), world)
        return config

    def parts(self, config: PicturesConfig, world: World) -> list[Part]:
        listed = []
        for i, name in enumerate(config.groups):
            said = {"group": i}
            read, made = (f"answers/{i}",), (f"answers/{i}", f"pictures/{i}")
            count = range(_count(config, world, i) * config.diverse)
            listed += [Part(f"answers/{i}", settings=said), Part(f"pictures/{i}", read, rows=count, settings=said)]
            if config.against:
                listed += [Part(f"matched/{i}", made, settings=said)]
            if name == "class" and config.against:
                listed += [Part(f"judged/{i}", made, settings=said)]
            if name == "class" and config.beside:
                listed += [Part(f"beside/{i}", rows=count, settings=said)]
        return [*listed, *(Part(f"fooling/{way}") for way in _ways(config))]

    def make(self, config: PicturesConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = _Making(config, world, part, needs, kept)
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


# ------------------------------------------------------------------ what is drawn


def _check_pictures(world: World) -> None:
    model = world.named("model")
    if isinstance(model, TextModel) or not is_image(world.data.shape):
        got = "texts" if isinstance(model, TextModel) else f"inputs of shape {tuple(world.data.shape)}"
        raise InputError(
            f"expected pictures of shape (H, W), (1, H, W) or (3, H, W), got {got}: leave out --part pictures, or say "
            "what the axes mean with --layout"
        )


def _class_count(world: World) -> int:
    model = world.model
    with model.borrowed(), torch.no_grad():
        return model.logits(world.data.rows(0, 1)[0].to(model.device)).shape[1] - model.rejects


def _check_answers(config: PicturesConfig, world: World) -> None:
    """Of a model without gradients images can be evolved, as long as it says how sure it is."""
    model = world.model
    if config.layer or config.picture or config.beside:
        raise InputError(
            f"expected a network with gradients for pictures of its layers and classes, got {model.name}, which is "
            "known by its answers alone: leave out layer, picture and beside, and fooling images are evolved"
        )
    if model.access is Need.LABEL or not config.fooling:
        raise InputError(
            f"expected a network with gradients, or a model that answers with scores to evolve fooling images for, got "
            f"{model.name}: wrap its scores, or leave out --part pictures"
        )


def _layers(world: World) -> list[Layer]:
    return world.once("layers", lambda: layers_of(world.model, world.data.rows(0, 2)[0].to(world.model.device)))


def _groups(config: PicturesConfig, world: World) -> tuple[str, ...]:
    """ "channel@conv1", ..., "class": where layers are named these alone, where classes are, these alone."""
    both = not (config.layer or config.class_)
    kinds = config.picture or (("channel",) if both or config.layer else ()) + (
        ("class",) if both or config.class_ else ()
    )
    layers = _wanted(config, world) if set(kinds) - {"class"} else []
    return tuple(f"{kind}@{layer.name}" for kind in kinds if kind != "class" for layer in layers) + (
        ("class",) if "class" in kinds else ()
    )


def _wanted(config: PicturesConfig, world: World) -> list[Layer]:
    every = _layers(world)
    return named(every, config.layer) if config.layer else hidden(every, config.picture_layers)


def _chosen(config: PicturesConfig, world: World, i: int) -> tuple[str, Layer | None, Tensor]:
    """Kind, layer, and channels, classes, rows or places of directions, (T,)."""
    kind, _, name = config.groups[i].partition("@")
    place = _number_of(config.groups[i])
    if kind == "class":
        return kind, None, torch.tensor(config.numbers)
    layer = named(_layers(world), [name])[0]
    if kind == "direction":
        return kind, layer, torch.arange(min(config.picture_units, layer.units))
    if kind == "caricature":
        return kind, layer, shuffled(len(world.data), config.seed, place)[: config.picture_units]
    return kind, layer, _channels(config, layer, place)


def _channels(config: PicturesConfig, layer: Layer, place: int) -> Tensor:
    asked = [int(word) for word in config.unit]
    for unit in asked:
        if unit >= layer.units:
            raise InputError(f"expected a channel of {layer.name} from 0 to {layer.units - 1}, got {unit}: choose one")
    by_lot = shuffled(layer.units, config.seed, place)[: config.picture_units]
    return torch.tensor(asked) if asked else by_lot.sort().values


def _number_of(group: str) -> int:
    """That its draws depend on, so that nothing else that is drawn changes its pictures."""
    return crc32(group.encode())


def _count(config: PicturesConfig, world: World, i: int) -> int:
    return len(_chosen(config, world, i)[2])


def _group(config: PicturesConfig, world: World, i: int) -> Group:
    kind, layer, at = _chosen(config, world, i)
    if layer is not None and kind == "direction":
        return Group(kind, layer, next(rotations(config.seed, _number_of(config.groups[i]), 1, layer.units, len(at))).T)
    if kind == "caricature":
        x = torch.cat([world.data.rows(row, row + 1)[0] for row in at.tolist()])
        with world.model.borrowed(), torch.no_grad():
            out = answered(world.model, layer, x.to(world.model.device)).flatten(1).cpu()
        return Group(kind, layer, out / out.norm(dim=1, keepdim=True).clamp_min(1e-12))
    return Group(kind, layer, at)


def _check_slope(group: Group, world: World) -> None:
    """Raises InputError: no gradient can reach the inputs from there."""
    model = world.model
    x = world.data.rows(0, 1)[0].to(model.device).clone().requires_grad_()
    with model.borrowed(), torch.enable_grad():
        out = answered(model, group.layer, x)
        if not out.requires_grad:
            raise InputError(
                f"expected a layer with gradients, got {group.layer}, whose answers were cut off from the inputs: "
                "choose another"
            )


def _ways(config: PicturesConfig) -> tuple[str, ...]:
    return ((("gradient",) if config.groups else ()) + ("cppn",)) if config.fooling else ()


def _beside(config: PicturesConfig, world: World) -> str:
    return world.named("beside").name if config.beside else ""


# ------------------------------------------------------------------ parts


class _Making:
    """One part."""

    def __init__(self, config: PicturesConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> None:
        self.config, self.world, self.part, self.needs, self.kept = config, world, part, needs, kept
        self.i, self.shape = int(part.settings.get("group", -1)), tuple(world.data.shape)
        self.model = world.model

    def tell(self, said: str, done: int = 0) -> None:
        self.world.tell(Progress(self.part.name, said, done, len(self.part.rows)))

    def _reading(self, whose: str) -> Callable[[int], None]:
        rows = len(self.world.data)
        return lambda done: self.tell(f"{whose}: {done:,} of {rows:,} rows")

    def answers(self) -> Columns:
        c, data = self.config, self.world.data
        group = _group(c, self.world, self.i)
        found = values(self.model, group, data, c.chunk, self._reading(c.groups[self.i]))
        return {"targets": _chosen(c, self.world, self.i)[2], "values": found, **tops(found, data)}

    # -------------------------------------------------------------- ascents

    def pictures(self) -> Generator[Columns, None, Columns]:
        group, answers = _group(self.config, self.world, self.i), self.needs[f"answers/{self.i}"]
        spread = float(answers["values"].std(0).mean())
        made = yield from self._drawn(self.model, group, spread)
        x = self._inputs(made, self.model)
        d = self.config.diverse
        own = torch.arange(len(group)).repeat_interleave(d)
        unseen = torch.stack([self._own(group, one, own) for one in self._transformed(x)], 1)
        top = unpack_inputs(answers["top_x"][:, 0])
        after = [self._own(group, one, torch.arange(len(group))) for one in self._transformed(top)]
        return {
            "levels": made.view(len(group), d, *self.shape), "value": self._own(group, x, own).view(-1, d),
            "unseen": unseen.view(-1, d, len(UNSEEN)), "top_unseen": torch.stack(after, 1),
            "says": _says(self.model, x).view(-1, d),
        }  # fmt: skip

    def beside(self) -> Generator[Columns, None, Columns]:
        """The same classes on another model, by the same recipe."""
        other, group = self.world.seen("beside"), _group(self.config, self.world, self.i)
        made = yield from self._drawn(other, group, 1.0)
        x, d = self._inputs(made, other), self.config.diverse
        second = self.world.seen("against") if self.config.against else None
        none = torch.full((len(made),), -1)
        return {
            "levels": made.view(len(group), d, *self.shape), "says": _says(other, x).view(-1, d),
            "second": (_says(second, x) if second else none).view(-1, d),
        }  # fmt: skip

    def _drawn(self, model: Model, group: Group, spread: float) -> Generator[Columns, None, Tensor]:
        """Pictures (T * D, C, H, W) uint8, those of an objective one after the other."""
        c = self.config
        which = torch.arange(len(group)).repeat_interleave(c.diverse)
        number = torch.arange(c.diverse).repeat(len(group))
        targets = _chosen(c, self.world, self.i)[2][which]
        job = Job(keys(c.seed, targets, number, _number_of(c.groups[self.i])), which, c.diverse, spread)
        going = Ascent(model, group, self._recipe(), self.shape, self._chunk).run(job, c.ascent_steps, self.kept)
        state = yield from self._through(going, f"{c.groups[self.i]}: step", c.ascent_steps)
        return state["best"]

    def _through(
        self, going: Generator[tuple[int, Columns], None, T], said: str, steps: int
    ) -> Generator[Columns, None, T]:
        """Tell how far it is, and hand on the states."""
        while True:
            try:
                step, state = next(going)
            except StopIteration as end:
                found: T = end.value
                return found
            self.tell(f"{said} {step} of {steps}", len(self.part.rows) * step // steps)
            yield state

    @property
    def _chunk(self) -> int:
        return rows_per_call("search", self.shape, self.model.device, self.config.chunk)

    def _recipe(self) -> Recipe:
        by, size = self.config.pictures_by, self.shape[-2:]
        if by == "plain":
            return Recipe(Plain(), math.sqrt(math.prod(self.shape)) / _PATH, None, adam=False)
        if by == "maco":
            crops = Disturbance(shift=0.1, zoom=(1.0, 1.6), turn=0.0, noise=0.08)
            return Recipe(Maco(size, self._magnitude()), _RATES[by], crops)
        return Recipe(Fourier(size) if by == "fourier" else Pixels(), _RATES[by], Disturbance())

    def _magnitude(self) -> Tensor:
        """Mean spectrum of the data, (C, H, W // 2 + 1)."""
        data, box = self.world.data, self.model.box
        rows = min(len(data), _SPECTRA)
        total: Tensor | None = None
        for first in range(0, rows, _CHUNK):
            x = (data.rows(first, min(first + _CHUNK, rows))[0] - box.lo) / box.width
            found = magnitudes(x.view(len(x), -1, *self.shape[-2:]))
            total = found if total is None else total + found
        assert total is not None
        return total / rows

    def _inputs(self, made: Tensor, model: Model) -> Tensor:
        return pixels(made.view(-1, *self.shape), model.box)

    def _transformed(self, x: Tensor) -> list[Tensor]:
        """Inputs (B, *shape) under every unseen transformation; noise by the row's place alone."""
        box, key = self.model.box, keys(self.config.seed, torch.arange(len(x)))
        image = ((x - box.lo) / box.width).view(len(x), -1, *self.shape[-2:])
        return [box.lo + f(image, key).view(-1, *self.shape) * box.width for f in UNSEEN.values()]

    def _own(self, group: Group, x: Tensor, which: Tensor) -> Tensor:
        """What objective `which` (B,) is of each input."""
        found = torch.cat([valued(self.model, group, part) for part in torch.split(x, self._chunk)])
        return found.gather(1, which[:, None])[:, 0]

    # -------------------------------------------------------------- second opinions

    def matched(self) -> Columns:
        answers, made = self.needs[f"answers/{self.i}"], self.needs[f"pictures/{self.i}"]
        x = pixels(made["levels"], self.model.box)
        other, c = self.world.seen("against"), self.config
        return matched(other, answers["values"], x, self.world.data, c.chunk, self._reading(other.name))

    def judged(self) -> Columns:
        made = self.needs[f"pictures/{self.i}"]["levels"]
        says = _says(self.world.seen("against"), self._inputs(made.flatten(0, 1), self.model))
        return {"says": says.view(made.shape[:2])}

    # -------------------------------------------------------------- from nothing

    def climbed(self) -> Generator[Columns, None, Columns]:
        """From grey and a little noise, along the gradient of the class's log-odds."""
        c = self.config
        classes = torch.tensor(c.numbers)
        group = Group("odds", None, classes)
        job = Job(keys(c.seed, classes, -1), torch.arange(len(classes)))
        recipe = Recipe(Plain(), math.sqrt(math.prod(self.shape)) / _PATH, None, adam=False)
        going = Ascent(self.model, group, recipe, self.shape, self._chunk).run(job, _SURE, self.kept)
        state = yield from self._through(going, "from nothing by gradient: step", _SURE)
        return self._fooled(state["numbers"])

    def evolved(self) -> Generator[Columns, None, Columns]:
        c, classes = self.config, _class_count(self.world)
        going = evolved(self.model, self.shape, classes, c.generations, c.seed, self.kept)
        archive = yield from self._through(going, "from nothing by evolution: generation", c.generations)
        return self._fooled(archive[list(c.numbers)])

    def _fooled(self, image: Tensor) -> Columns:
        """Images (K, C, H, W) in [0, 1], one for every class that is drawn."""
        classes, model = torch.tensor(self.config.numbers), self.model
        image = image.detach().view(-1, *self.shape)
        rounded = levels(image)
        second = self.world.seen("against") if self.config.against else None
        x = pixels(rounded, model.box)
        nothing = torch.full((len(image),), torch.nan), torch.full((len(image),), -1)
        own = _confidence(second, x, classes) if second else nothing
        return {
            "x": image, "confidence": _confidence(model, model.box.lo + image * model.box.width, classes)[0],
            "levels": rounded, "confidence_8bit": _confidence(model, x, classes)[0], "second": own[0],
            "second_says": own[1],
        }  # fmt: skip


def _says(model: Model, x: Tensor) -> Tensor:
    with model.borrowed(), torch.no_grad():
        return torch.cat([model.logits(part.to(model.device)).argmax(1).cpu() for part in torch.split(x, _CHUNK)])


def _confidence(model: Model, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each row's class, and the class with the highest: (K,) each."""
    with model.borrowed(), torch.no_grad():
        sure = torch.cat([model.logits(part.to(model.device)).softmax(1).cpu() for part in torch.split(x, _CHUNK)])
    return sure.gather(1, classes[:, None])[:, 0], sure.argmax(1)
