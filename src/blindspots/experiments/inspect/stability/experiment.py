"""How far a network can stretch a small change, and how far it does: bounds, steepest points, growth by layer."""

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.attacks import APGD
from blindspots.ball import Ball
from blindspots.crafting import Plan, craft
from blindspots.data import Data
from blindspots.data.splits import shuffled
from blindspots.errors import InputError
from blindspots.experiments.inspect.layers import check_has_layers
from blindspots.experiments.inspect.stability.amplification import Growth, adversarial_at, amplification
from blindspots.experiments.inspect.stability.bounds import (
    Layer,
    affordable,
    eclipse_fast,
    gains,
    layered,
    margins,
)
from blindspots.experiments.inspect.stability.conclude import conclude
from blindspots.experiments.inspect.stability.config import StabilityConfig
from blindspots.experiments.inspect.stability.findings import findings
from blindspots.experiments.inspect.stability.folding import folded
from blindspots.experiments.inspect.stability.graph import Graph, Step, trace
from blindspots.experiments.inspect.stability.layers import Gain
from blindspots.experiments.inspect.stability.network import slope
from blindspots.experiments.inspect.stability.verdict import WEIGHTED, StabilityVerdict
from blindspots.experiments.inspect.threats import ball_of, with_threat
from blindspots.findings import Finding
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.naming import meant
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs, packed_text, unpacked_text
from blindspots.random import keys
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part, shards
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World

_CALL = 8  # rows in every call of the traced network, at most
_SHARD = 64  # rows that are perturbed in one part
_KEPT = 2  # rows of every part whose changes of a hidden layer are kept
_ATTACK = APGD(steps=40)
_LISTED = 12  # names in a sentence


class Stability(Run[StabilityConfig, StabilityVerdict]):
    """A finished study of stability."""

    def __repr__(self) -> str:
        v = self.verdict
        return f"Stability(product={v.product}, local={v.local}, found={v.found:.4g})"


@checked(model=as_model)
def stability(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Stability:
    """How far a network can stretch a small change, and how far it does (Szegedy et al. 2013, 1312.6199, section 4.3).

    The paper multiplies the norms of layers, which bounds from above. Here every norm is known from both sides, and
    the product stands beside better bounds (ECLipsE-Fast, one that holds in the ball around a row) and beside what was
    found: the steepest point of the ball and of the box, the slopes at the data. Perturbations are followed from layer
    to layer, adversarial ones and noise of the same size, from the input and from hidden layers on.

    Args:
        model: a network with gradients.
        x, y: inputs (N, ...) that it was not trained on, and labels (N,). Instead: `data` (see `as_data`).
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `StabilityConfig`, such as layer, threat (linf or l2), bounded, perturbed, seed.

    Raises:
        InputError: the model has no gradients or reads texts, its operations cannot be listed, a layer is unknown, the
            threat is no ball in linf or l2.
    """
    given = {"model": model, "data": rows_of(x, y, data)}
    done = begin("stability", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Stability(**vars(done))


class StabilityStudy(Experiment[StabilityConfig, StabilityVerdict]):
    name = "stability"
    Config, Verdict = StabilityConfig, StabilityVerdict

    def fitted(self, config: StabilityConfig, world: World) -> StabilityConfig:
        check_has_layers(world.named("model"))
        config = config.model_copy(update={"threat": with_threat(config, world)})
        if (ball := ball_of(config, world)).p not in (2, inf):
            raise InputError(
                f"expected a threat in linf or l2, in which bounds are known, got {ball.spec}: give e.g. l2:0.5"
            )
        graph = _walked(config, world)
        inside = {name for name, _ in world.model.net.named_modules()}
        begun = [_resulting(graph, name, name in inside) for name in config.layer] or _middle(graph)
        return config.model_copy(update={"begun": tuple(begun)})

    def parts(self, config: StabilityConfig, world: World) -> list[Part]:
        blocks = _blocks(_folded(config, world))
        norms = [Part(f"norms/{i:03d}", settings={"steps": (b.start, b.stop)}) for i, b in enumerate(blocks)]
        above = ("graph", *(part.name for part in norms))
        around = [
            Part(p.name, ("whole", *above), p.rows)
            for p in shards("around", _count(config.bounded, world), _call(config))
        ]
        moved = shards("moved", _count(config.perturbed, world), _SHARD)
        inner = [
            Part(f"hidden/{k}/{p.name.rpartition('/')[2]}", rows=p.rows, settings={"at": name})
            for k, name in enumerate(config.begun)
            for p in moved
        ]
        return [Part("graph"), *norms, Part("whole", above), *around, *moved, *inner]

    def make(self, config: StabilityConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = _Making(config, world, part, needs)
        what = {
            "graph": making.graph, "norms": making.norms, "whole": making.whole, "around": making.around,
            "moved": making.moved, "hidden": making.hidden,
        }  # fmt: skip
        return what[part.name.partition("/")[0]]()

    def conclude(self, config: StabilityConfig, world: World, parts: Parts) -> StabilityVerdict:
        return conclude(config.begun, parts)

    def findings(self, config: StabilityConfig, world: World, verdict: StabilityVerdict, parts: Parts) -> list[Finding]:
        return [*world.notes, *findings(verdict)]


# ------------------------------------------------------------------ rows and layers


def _order(config: StabilityConfig, world: World) -> Tensor:
    """Places in the data, by lot: the first are looked at."""
    return shuffled(len(world.data), config.seed, 1)


def _count(wanted: int, world: World) -> int:
    return min(wanted, len(world.data))


def _inputs(world: World, at: Tensor) -> tuple[Tensor, Tensor]:
    x, y = zip(*(world.data.rows(i, i + 1) for i in at.tolist()), strict=True)
    return torch.cat(x), torch.cat(y)


def _call(config: StabilityConfig) -> int:
    return min(_CALL, config.bounded)


def _first(config: StabilityConfig, world: World) -> Tensor:
    """The rows on which the network is traced, and of which a call always has as many."""
    return _inputs(world, _order(config, world)[: _call(config)])[0]


def _walked(config: StabilityConfig, world: World) -> Graph:
    return world.once("graph", lambda: trace(world.model, _first(config, world)))


def _folded(config: StabilityConfig, world: World) -> Graph:
    return world.once("folded", lambda: folded(_walked(config, world)))


def _blocks(graph: Graph) -> list[range]:
    """Steps but the input, each block with one weighted layer at its end, or what follows the last."""
    ends = [i + 1 for i, step in enumerate(graph.steps) if step.op in WEIGHTED and i]
    ends = sorted({*ends, len(graph.steps)})
    return [range(a, b) for a, b in zip([1, *ends], ends, strict=False)]


def _middle(graph: Graph) -> list[str]:
    """The weighted layer in the middle, of those with another behind them."""
    *weighted, _ = [step for step in graph.steps if step.op in WEIGHTED] or [graph.steps[-1]]
    moved = [step.name for step in weighted if _can_be_moved(graph, step)]
    return moved[len(moved) // 2 :][:1]


def _can_be_moved(graph: Graph, step: Step) -> bool:
    """Whether it has one result of real numbers for every row, and something behind it."""
    return step is not graph.steps[-1] and step.real and step.axis == 0 and step.shape[0] == graph.rows


def _resulting(graph: Graph, name: str, is_module: bool) -> str:
    """The operation that gives the result of a layer: its own, or of a module the last one inside it."""
    inside = [s for s in graph.steps[1:] if s.name == name or (is_module and s.name.startswith(f"{name}."))]
    if not inside:
        names = [step.name for step in graph.steps[1:]]
        more = f" and {len(names) - _LISTED} others" if len(names) > _LISTED else ""
        raise InputError(
            f"expected a layer among {', '.join(names[:_LISTED])}{more}, got {name!r}{meant(name, names)}: choose one"
        )
    if not _can_be_moved(graph, inside[-1]):
        raise InputError(
            f"expected a layer of one result for every row, with others behind it, got {name!r}: choose another"
        )
    return inside[-1].name


class _Making:
    """One part of a run."""

    def __init__(self, config: StabilityConfig, world: World, part: Part, needs: Parts) -> None:
        self.config, self.world, self.part, self.needs = config, world, part, needs
        self.plain, self.network = _walked(config, world), _folded(config, world)

    def _tell(self, said: str, done: int = 0) -> None:
        self.world.tell(Progress(self.part.name, said, done, len(self.part.rows)))

    # -------------------------------------------------------------- bounds

    def graph(self) -> Columns:
        steps, plain = self.network.steps, self.plain.steps
        most = max(len(step.reads) for step in steps)
        return {
            "names": _lines([s.name for s in steps]), "ops": _lines([s.op for s in steps]),
            "reads": torch.tensor([[*s.reads, *[-1] * (most - len(s.reads))] for s in steps]),
            "followed": _lines([s.name for s in plain]), "followed_ops": _lines([s.op for s in plain]),
        }  # fmt: skip

    def norms(self) -> Columns:
        steps, proved = range(*self.part.settings["steps"]), self.world.once("proved", lambda: affordable(self.network))
        self._tell(f"norms of {self.network.steps[steps[-1]].name}")
        found = list(gains(self.network, _first(self.config, self.world), steps, proved))
        most = max(len(step.reads) for step in self.network.steps)
        return {
            "upper": _padded([g.upper for g in found], most), "local": _padded([g.local for g in found], most),
            "lower": torch.tensor([g.lower for g in found], dtype=torch.float64),
            "joint": torch.tensor([g.joint for g in found]), "notes": _lines([g.note for g in found]),
        }  # fmt: skip

    def _layers(self) -> list[Layer]:
        made = [self.needs[name] for name in self.needs if name.startswith("norms/")]
        return layered(self.network, [g for columns in made for g in _gains(self.network, columns)])

    def whole(self) -> Columns:
        layers, better = self._layers(), eclipse_fast(self.network)
        return {
            "eclipse_fast": torch.tensor([torch.nan if better is None else better], dtype=torch.float64),
            "margins": margins(self.network, layers, better),
        }

    def around(self) -> Columns:
        c, at = self.config, _order(self.config, self.world)[self.part.rows.start : self.part.rows.stop]
        x, _ = _inputs(self.world, at)
        self._tell("steepest points and local bounds")
        layers, better, ball = self._layers(), float(self.needs["whole"]["eclipse_fast"]), self._ball
        best = min(layers[-1].upper, inf if better != better else better)
        assert ball.radius is not None
        rows = torch.arange(self.network.rows).clamp_max(len(x) - 1)  # the last call is filled up
        found = slope(
            self.network, layers, x[rows], self.world.model.box, ball.radius, ball.p, best, keys(c.seed, at[rows], 2)
        )
        return {"id": at, "x": pack_inputs(x), **{name: t[: len(x)].contiguous() for name, t in vars(found).items()}}

    @property
    def _ball(self) -> Ball:
        return ball_of(self.config, self.world)

    # -------------------------------------------------------------- growth

    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        at = _order(self.config, self.world)[self.part.rows.start : self.part.rows.stop]
        return at, *_inputs(self.world, at)

    def moved(self) -> Columns:
        (at, x, y), graph = self._rows(), self.plain
        self._tell("attacking rows")
        seed, model = self.config.seed, self.world.model
        plan = Plan(self._ball, Objective(), None, 1, seed, 32, _SHARD)
        oracle = Oracle(model, chunk=32)
        moved = craft(oracle, _ATTACK, plan, x, y, self.part.rows.start).moved
        with oracle.session():
            clean, attacked = (oracle.logits(z.to(model.device)).argmax(1).cpu() for z in (x, moved))
        self._tell("following perturbations")
        grown = amplification(graph, x, moved, keys(seed, at, 3))
        return {
            "id": at,
            "x": pack_inputs(x),
            "moved": moved,
            "clean": clean,
            "attacked": attacked,
            **_sizes(graph, grown),
        }

    def hidden(self) -> Columns:
        (at, x, _), name = self._rows(), str(self.part.settings["at"])
        self._tell(f"following perturbations of {name}")
        place, graph = [step.name for step in self.plain.steps].index(name), self.plain
        moved, changes = [], []
        for some in torch.split(torch.arange(len(x)), graph.rows):
            rows = some[torch.arange(graph.rows).clamp_max(len(some) - 1)]
            made = adversarial_at(graph, x[rows], place, self.config.hidden_size)
            clean = next(v for i, v in graph.run(x[rows]) if i == place)
            moved.append(made[: len(some)])
            changes.append((made - clean)[: len(some)].float())
        grown = amplification(graph, x, torch.cat(moved), keys(self.config.seed, at, 4), place)
        return {"id": at, "changes": torch.cat(changes)[:_KEPT].contiguous(), **_sizes(graph, grown)}


def _lines(words: Sequence[str]) -> Tensor:
    return packed_text("\n".join(words))


def _padded(numbers: Sequence[Sequence[float]], most: int) -> Tensor:
    return torch.tensor([[*n, *[torch.nan] * (most - len(n))] for n in numbers], dtype=torch.float64)


def _gains(graph: Graph, c: Columns) -> list[Gain]:
    """What `norms` stored, as it was."""
    notes = unpacked_text(c["notes"]).split("\n")
    rows = zip(c["upper"].tolist(), c["lower"].tolist(), c["local"].tolist(), c["joint"].tolist(), notes, strict=True)
    return [Gain(_real(upper), low, _real(local), joint, note) for upper, low, local, joint, note in rows]


def _real(numbers: Sequence[float]) -> tuple[float, ...]:
    return tuple(n for n in numbers if n == n)


def _sizes(graph: Graph, grown: Sequence[Growth]) -> Columns:
    places = {step.name: i for i, step in enumerate(graph.steps)}
    told = {name: torch.stack([getattr(g, name) for g in grown], 1) for name in ("adversarial", "noise")}
    return {"steps": torch.tensor([places[g.name] for g in grown]), **told}
