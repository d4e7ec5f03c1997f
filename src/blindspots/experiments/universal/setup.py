"""The configuration of a universal run with what it names opened."""

from dataclasses import dataclass

from blindspots.ball import Ball, parse_ball
from blindspots.batching import rows_per_call
from blindspots.data.splits import Division, divide
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.file import Perturbation, load_perturbation
from blindspots.experiments.universal.fitting import Wanted
from blindspots.experiments.universal.methods import Method, parse_method
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.runs.world import World

_FIT = 500  # rows that the search sees, unless it is said


@dataclass(frozen=True)
class Divided:
    """Models, and rows divided into those that are searched on and those that judge."""

    config: UniversalConfig
    world: World

    @property
    def model(self) -> Model:
        return self.world.model

    @property
    def others(self) -> list[Model]:
        """The other networks that what is found is tried on."""
        return [self.world.seen(name) for name in self.config.others]

    @property
    def fit_rows(self) -> int:
        if self.config.fit is not None:
            return self.config.fit
        rows = len(self.world.data)
        return min(_FIT, rows if "heldout" in self.world.rows else max(2 * rows // 3, 1))

    @property
    def division(self) -> Division:
        """The rows that are searched on, and those that judge."""
        heldout = self.config.heldout
        held = self.world.rows.get("heldout", heldout if isinstance(heldout, int) else None)
        return self.world.once("division", lambda: divide(self.world.data, self.fit_rows, held, self.config.seed))


class Setup(Divided):
    """Of perturbations, which are added to inputs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.world.data.shape

    @property
    def threat(self) -> Ball:
        """Within the model's bounds."""
        threat: Ball = self.world.thing("threat", parse_ball)
        return threat.within(*self.world.named("model").bounds)

    @property
    def radius(self) -> float:
        return float(self.threat.radius or 0)

    @property
    def method(self) -> Method:
        found: Method = self.world.thing("method", parse_method)
        return found

    @property
    def given(self) -> Perturbation | None:
        """The perturbation that is only measured."""
        if self.config.perturbation is None:
            return None
        return self.world.once("given", lambda: self.world.thing("perturbation", load_perturbation))

    @property
    def per_class(self) -> bool:
        return self.config.per_class or (self.given is not None and self.given.per_class)

    @property
    def searches(self) -> bool:
        """Whether anything is searched for, so that gradients are needed."""
        c = self.config
        return self.given is None or bool(c.images or c.several or c.geometry or c.cross)

    @property
    def chunk(self) -> int:
        """Rows per call of the network."""
        return rows_per_call("universal", self.shape, self.model.device, self.config.chunk)

    def oracle(self, model: Model | None = None) -> Oracle:
        return Oracle(model or self.model, chunk=self.chunk)

    def wanted(self, groups: int, seed: int | None = None) -> Wanted:
        """What is searched for, with the run's own seed or another one."""
        c = self.config
        return Wanted(self.threat, self.shape, groups, c.target, c.clip, c.seed if seed is None else seed)
