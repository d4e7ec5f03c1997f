"""The parts of a universal run: the search, what the perturbation does to rows, and the additional studies."""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from blindspots.data.splits import Rows
from blindspots.experiments.universal.checks import groups_of
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.controls import controls
from blindspots.experiments.universal.fitting import Found, Wanted, fit
from blindspots.experiments.universal.geometry import geometry
from blindspots.experiments.universal.measure import Change, fooled, predictions, random_signs, scaled
from blindspots.experiments.universal.methods import Method
from blindspots.experiments.universal.parametrisation import Additive
from blindspots.experiments.universal.search import Stage
from blindspots.experiments.universal.setup import Setup
from blindspots.experiments.universal.verdict import CONTROLS_NAMED
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.preflight import examine
from blindspots.runs.experiment import Columns, Made, Part
from blindspots.runs.findings import packed
from blindspots.runs.store import Parts
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_radius

_EXAMINED = 16  # rows that the checks beforehand look at
_SHOWN = 12
_GEOMETRY = 500  # rows that geometry is taken from
_NORMS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of the radius


class Making:
    """One part. A method for each kind of part, found by the first word of its name."""

    def __init__(self, config: UniversalConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> None:
        self.config, self.world, self.part, self.needs, self.kept = config, world, part, needs, kept
        self.setup = Setup(config, world)
        self.fit, self.heldout = self.setup.division.fit, self.setup.division.heldout
        self.oracle = self.setup.oracle()

    def columns(self) -> Made:
        return self.MAKERS[self.part.name.partition("/")[0]](self)

    # -------------------------------------------------------------- before the search, and the search

    def preflight(self) -> Columns:
        s = self.setup
        with self.oracle.session():
            first = self.fit.take(torch.arange(min(_EXAMINED, len(self.fit))))
            examined = examine(s.model, *first, seed=self.config.seed).findings
        read = s.given.notes if s.given is not None else ()
        doubts = check_radius(s.threat, s.shape)
        return {"findings": packed([*examined, *doubts, *read, *self.world.notes, *s.division.findings])}

    def search(self) -> Generator[Columns, None, Columns]:
        if self.setup.given is not None:
            return Found(self.setup.given.v).columns
        with self.oracle.session():
            wanted = self.setup.wanted(groups_of(self.setup, self.oracle))
            found = yield from self._searched(self.oracle, self.setup.method, self.fit, wanted)
        return found.columns

    def _searched(self, oracle: Oracle, method: Method, rows: Rows, wanted: Wanted) -> Generator[Columns, None, Found]:
        return (yield from fit(oracle, method, rows, wanted, self._tell, self.kept))

    def _tell(self, stage: Stage) -> None:
        done = (stage.number - 1) * stage.rows + stage.seen if stage.name == "search" else 0
        self.world.tell(Progress(self.part.name, stage.said, done, len(self.part.rows)))

    # -------------------------------------------------------------- what it does

    @property
    def v(self) -> Tensor:
        """(groups, *shape) on the model's device."""
        return self.needs["search"]["v"].to(self.oracle.device)

    def rows(self) -> Columns:
        """Rows of the fit or held out: what the model makes of them, without and with the perturbation."""
        whole = self.fit if self.part.name.startswith("fit/") else self.heldout
        rows = whole.only(list(self.part.rows))
        with self.oracle.session():
            clean = predictions(self.oracle, rows)
            moved, unclipped = (
                predictions(self.oracle, rows, self._painted(self.v, clip), clean) for clip in (True, False)
            )
        y = rows.take(torch.arange(len(rows)))[1]
        return {"row": rows.at, "y": y, "clean": clean, "moved": moved, "unclipped": unclipped}

    def controls(self) -> Columns:
        s = self.setup
        made = controls(s.model, self.fit, s.threat, self.config.seed, s.chunk)
        return {
            "kind": torch.tensor([CONTROLS_NAMED.index(name) for name in made]),
            "v": torch.cat(list(made.values())),
            "moved": self._heldout(self.oracle, *made.values()),
        }

    def shown(self) -> Columns:
        """Some held-out rows, fooled ones first."""
        held = self.needs.joined("heldout")
        hit = fooled(held["clean"], held["moved"], self.config.target)
        places = torch.cat([hit.nonzero()[:, 0], (~hit).nonzero()[:, 0]])[:_SHOWN]
        x, y = self.heldout.take(places)
        clean, x = held["clean"][places].to(self.oracle.device), x.to(self.oracle.device)
        painted = self._painted(self.v)(x, clean)
        with self.oracle.session():
            before, after = (self.oracle.logits(t).softmax(1).max(1) for t in (x, painted))
        return {
            "row": self.heldout.at[places], "y": y, "x": x.cpu(), "moved": painted.cpu(),
            "prediction": before.indices.cpu(), "moved_prediction": after.indices.cpu(),
            "confidence": before.values.cpu(), "moved_confidence": after.values.cpu(),
        }  # fmt: skip

    def _painted(self, v: Tensor, clip: bool = True) -> Change:
        space = Additive(self.setup.threat, self.setup.shape, len(v), None, clip)
        return lambda x, clean: space.paint(v.to(x.device), x, clean if len(v) > 1 else torch.zeros_like(clean))

    def _heldout(self, oracle: Oracle, *vs: Tensor) -> Tensor:
        """What a network makes of the held-out rows with each perturbation: (k, n)."""
        with oracle.session():
            clean = predictions(oracle, self.heldout) if len(vs[0]) > 1 else None
            return torch.stack([predictions(oracle, self.heldout, self._painted(v), clean) for v in vs])

    # -------------------------------------------------------------- additional studies

    def norms(self) -> Columns:
        """The perturbation scaled, and random signs."""
        s = self.setup
        radii = [s.radius * share for share in _NORMS]
        moved, random = (
            self._heldout(self.oracle, *(scaled(v, s.threat, r) for r in radii)) for v in (self.v, self._random())
        )
        return {"radius": torch.tensor(radii, dtype=torch.float64), "moved": moved, "random": random}

    def _random(self) -> Tensor:
        """What chance is compared with: random signs, in l2 they are a random corner of the sphere."""
        return random_signs(Additive(self.setup.threat, self.setup.shape), self.config.seed)

    def images(self) -> Generator[Columns, None, Columns]:
        """The search with fewer fit rows."""
        images = self.part.settings["images"]
        method = self.setup.method
        method = replace(method, batch=min(method.batch, images))  # type: ignore[type-var]
        return (yield from self._again(method, self.fit.only(list(range(images))), self.config.seed))

    def several(self) -> Generator[Columns, None, Columns]:
        """The search with another order of the rows."""
        return (yield from self._again(self.setup.method, self.fit, self.config.seed + self.part.settings["number"]))

    def _again(self, method: Method, rows: Rows, seed: int) -> Generator[Columns, None, Columns]:
        with self.oracle.session():
            wanted = self.setup.wanted(groups_of(self.setup, self.oracle), seed)
            found = yield from self._searched(self.oracle, method, rows, wanted)
        return {"v": found.v, "moved": self._heldout(self.oracle, found.v)[0]}

    def models(self) -> Columns:
        """The perturbation on another network."""
        oracle = self.setup.oracle(self._network())
        moved, random = self._heldout(oracle, self.v, self._random())
        return {"clean": self._clean(oracle), "moved": moved, "random": random}

    def cross(self) -> Generator[Columns, None, Columns]:
        """A perturbation for another network."""
        oracle = self.setup.oracle(self._network())
        with oracle.session():
            found = yield from self._searched(oracle, self.setup.method, self.fit, self.setup.wanted(1))
        return {"v": found.v}

    def crossed(self) -> Columns:
        """The perturbations of all networks on one of them."""
        oracle = self.setup.oracle(self._network())
        vs = [self.v, *(made["v"] for made in self.needs.below("cross"))]
        return {"clean": self._clean(oracle), "moved": self._heldout(oracle, *vs)}

    def _network(self) -> Model:
        return self.world.seen(self.part.settings["model"])

    def _clean(self, oracle: Oracle) -> Tensor:
        with oracle.session():
            return predictions(oracle, self.heldout)

    def geometry(self) -> Columns:
        x, held = (rows.take(torch.arange(min(_GEOMETRY, len(rows))))[0] for rows in (self.fit, self.heldout))
        return geometry(
            self.setup.model, x, held, universal=self.v[0].cpu(), seed=self.config.seed, chunk=self.setup.chunk
        )

    MAKERS: ClassVar[dict[str, Callable[["Making"], Made]]] = {
        "preflight": preflight, "search": search, "fit": rows, "heldout": rows, "controls": controls, "shown": shown,
        "norms": norms, "images": images, "several": several, "models": models, "cross": cross, "crossed": crossed,
        "geometry": geometry,
    }  # fmt: skip
