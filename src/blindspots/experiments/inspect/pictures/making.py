"""The parts of a study of pictures, one after the other."""

import math
from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

from blindspots.batching import rows_per_call
from blindspots.errors import InputError
from blindspots.experiments.inspect.pictures.ascent import Ascent, Job, Recipe, levels, pixels
from blindspots.experiments.inspect.pictures.chosen import chosen, class_count, group_of, number_of
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.evolution import evolved
from blindspots.experiments.inspect.pictures.objectives import Group
from blindspots.experiments.inspect.pictures.parametrisations import Fourier, Maco, Pixels, Plain, magnitudes
from blindspots.experiments.inspect.pictures.reading import matched, tops, valued, values
from blindspots.experiments.inspect.pictures.transformations import UNSEEN, Disturbance
from blindspots.models.model import Model
from blindspots.packing import unpack_inputs
from blindspots.random import keys
from blindspots.runs.experiment import Columns, Part
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World

T = TypeVar("T")
_RATES = {"fourier": 0.05, "pixels": 0.05, "maco": 0.3}  # of Adam
_PATH = 400  # steps of a plain ascent from one corner of the box to the opposite one
_SURE = 64  # steps of an ascent from nothing
_CHUNK = 64  # rows per call
_SPECTRA = 1024  # rows whose spectra are averaged


class Making:
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
        group = group_of(c, self.world, self.i)
        found = values(self.model, group, data, c.chunk, self._reading(c.groups[self.i]))
        return {"targets": chosen(c, self.world, self.i)[2], "values": found, **tops(found, data)}

    # -------------------------------------------------------------- ascents

    def pictures(self) -> Generator[Columns, None, Columns]:
        group, answers = group_of(self.config, self.world, self.i), self.needs[f"answers/{self.i}"]
        spread = float(answers["values"].std(0, correction=0).mean())
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
        other, group = self.world.seen("beside"), group_of(self.config, self.world, self.i)
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
        targets = chosen(c, self.world, self.i)[2][which]
        job = Job(keys(c.seed, targets, number, number_of(c.groups[self.i])), which, c.diverse, spread)
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
        c, classes = self.config, class_count(self.world)
        going = evolved(self.model, self.shape, classes, c.generations, c.seed, self.kept)
        archive = yield from self._through(going, "from nothing by evolution: generation", c.generations)
        return self._fooled(archive[list(c.numbers)])

    def _fooled(self, image: Tensor) -> Columns:
        """Images (K, C, H, W) in [0, 1], one for every class that is drawn."""
        classes, model = torch.tensor(self.config.numbers), self.model
        image = image.view(-1, *self.shape)
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
    if bool(sure.isnan().any()):
        raise InputError(
            f"expected scores of {model.name} for images that were made from nothing, got NaN: leave them out with "
            "--no-fooling"
        )
    return sure.gather(1, classes[:, None])[:, 0], sure.argmax(1)
