"""Designs that a learned objective calls good: predicted, true, and the gap between the two."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.experiments.design.climbing import Region, climb_of, climbed
from blindspots.experiments.design.conclude import conclude, scale
from blindspots.experiments.design.config import DesignConfig
from blindspots.experiments.design.findings import findings
from blindspots.experiments.design.opening import parse_task
from blindspots.experiments.design.surrogates import Networks, Surrogates, fit, fit_conservatively
from blindspots.experiments.design.tasks import Designs, Task
from blindspots.experiments.design.verdict import NETWORKS, DesignVerdict
from blindspots.findings import Finding
from blindspots.runs.entry import begin
from blindspots.runs.experiment import Columns, Experiment, Made, Part
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World


class Designed(Run[DesignConfig, DesignVerdict]):
    """A finished run of designs."""

    def __repr__(self) -> str:
        gaps = ", ".join(f"{m.name} {m.chosen.sd.gap.mean:.2f}" for m in self.verdict.methods)
        return f"Designed({self.config.task!r}, gap of the chosen design in sd: {gaps})"


@checked()
def design(
    task: Task | str,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Designed:
    """Search for designs on a learned objective, then ask what they are really worth.

    Random designs are measured, and the worst of them (`keep`) are all that surrogates learn from. From the best of
    these a climb follows a surrogate upwards, which finds its adversarial examples as well as good designs. The truth
    is asked about every step once the climbs are over: predicted minus true is the gap.

    Args:
        task: "branin", "hartmann3", "hartmann6", "ehrlich", "qed", "file.py:factory", or a `Task` with a truth of your
            own.
        out, resume, engine, watch, command: as of `bs.evaluate`.
        settings: those of `DesignConfig`, such as method, points, tau, repeats, seed.

    Raises:
        InputError: a task has no truth, or its truth does not answer twice alike; a setting does not fit.
    """
    given = {"task": task}
    done = begin("design", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Designed(**vars(done))


class Design(Experiment[DesignConfig, DesignVerdict]):
    name = "design"
    Config, Verdict = DesignConfig, DesignVerdict

    def fitted(self, config: DesignConfig, world: World) -> DesignConfig:
        if config.device not in (None, "cpu") or config.chunk is not None:
            raise InputError("expected neither device nor chunk, as surrogates are small networks here: leave them out")
        task = task_of(world)
        usual = {
            "points": task.points, "threads": 1, "steps": 40 if task.letters else 200,
            "updates": 500 if task.letters else 2000, "repeats": 10 if task.letters else 20,
            "tau": -0.5 if task.letters else 1.5, "inner_steps": 4 if task.letters else 1,
        }  # fmt: skip
        config = config.model_copy(update={k: v for k, v in usual.items() if getattr(config, k) is None})
        if _rows(config) < 2:
            raise InputError(f"expected at least 2 designs as data, got {_rows(config)}: raise points or keep")
        return config

    def parts(self, config: DesignConfig, world: World) -> list[Part]:
        climbs = [Part(f"climbs/{name}", ("data", _networks(name))) for name in config.method]
        learned = dict.fromkeys(_networks(name) for name in config.method)
        return [Part("task"), Part("data"), *(Part(name, ("data",)) for name in learned), *climbs]

    def make(self, config: DesignConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        making = _Making(config, world, needs)
        what, _, name = part.name.partition("/")
        return making.climb(name) if what == "climbs" else getattr(making, name or what)()

    def conclude(self, config: DesignConfig, world: World, parts: Parts) -> DesignVerdict:
        task = task_of(world)
        return conclude(parts, config.method, task.optimum, task.unit)

    def findings(self, config: DesignConfig, world: World, verdict: DesignVerdict, parts: Parts) -> list[Finding]:
        return list(findings(config, verdict, parts))


def task_of(world: World) -> Designs:
    """The task that is named, or was given."""
    return world.once("task", lambda: world.thing("task", parse_task))


def _networks(method: str) -> str:
    return f"networks/{'conservative' if method == 'conservative' else 'plain'}"


def _rows(config: DesignConfig) -> int:
    return int(config.keep * (config.points or 0) + 1e-9)


class _Making:
    """One part of a run. Repeats are made together, as rows that do not look at each other."""

    def __init__(self, config: DesignConfig, world: World, needs: Parts) -> None:
        self.config, self.world, self.needs, self.of = config, world, needs, task_of(world)
        self.stride = config.stride * math.sqrt(self.of.size)
        self.members = config.members if "ensemble" in config.method else 1

    def _values(self, designs: Tensor) -> Tensor:
        """True values (...) of designs (..., size)."""
        return self.of.values(designs.flatten(0, -2)).view(designs.shape[:-1])

    def _check_same(self, first: Tensor, again: Tensor) -> None:
        """A truth that batches its designs may round differently."""
        if not torch.allclose(first, again, rtol=1e-9, atol=0):
            raise InputError(
                f"expected the same value when the same design is asked about again, got another from {self.of.name}: "
                "pass a truth without noise, such as a mean, and go on with the one that the run was begun with"
            )

    def task(self) -> Columns:
        return self.of.columns()

    def data(self) -> Columns:
        c, repeats = self.config, range(self.config.repeats or 0)
        drawn = torch.stack([self.of.drawn(c.seed, i, c.points or 0) for i in repeats])
        values = self._values(drawn)
        self._check_same(values[0, :2], self._values(drawn[0, :2]))
        found = {"drawn": drawn, "values": values, "kept": values.argsort(dim=1, stable=True)[:, : _rows(c)]}
        sd = scale(found)[1]
        if (wrong := ~(sd.isfinite() & (sd > 0))).any():
            raise InputError(
                "expected data whose true values differ, and whose squares a float holds, got a repeat with the "
                f"standard deviation {sd[wrong][0]:g}: raise points, or give values in another unit"
            )
        return found

    def _learned(self) -> tuple[Tensor, Tensor]:
        """The data (r, k, size), and their values (r, k)."""
        data = self.needs["data"]
        kept = data["kept"]
        designs = data["drawn"].gather(1, kept[..., None].expand(-1, -1, self.of.size))
        return designs, data["values"].gather(1, kept)

    def _taught(self) -> tuple[Tensor, Tensor]:
        """The data as surrogates see them (r, k, f), and standardised values (r, k)."""
        (designs, values), (mean, sd) = self._learned(), scale(self.needs["data"])
        return self._seen(designs), ((values - mean) / sd).float()

    def _seen(self, x: Tensor) -> Tensor:
        return self.of.seen(x.flatten(0, 1)).view(*x.shape[:2], -1)

    def plain(self) -> Columns:
        self._tell("networks/plain", f"training {self.members} surrogates of every repeat")
        return fit(*self._taught(), self.members, self.config.seed, self.config.updates or 0).weights

    def conservative(self) -> Columns:
        self._tell("networks/conservative", "training surrogates against their own ascent")
        c = self.config
        steps, inner = c.steps or 1, c.inner_steps or 1
        climb, rounds = climb_of(self.of, inner, self.stride), math.ceil(steps / inner)
        nets, over, alpha = fit_conservatively(*self._taught(), c.seed, c.updates or 0, c.tau or 0.0, climb, rounds)
        return {**nets.weights, "over": over, "alpha": alpha}

    def climb(self, method: str) -> Columns:
        c, steps = self.config, self.config.steps or 0
        surrogates = self._surrogates(method)
        data, worth = self._learned()
        region = Region.around(data, c.trust) if method == "trust" else None
        found = []
        starts = data.flip(1)[:, : c.designs]  # the best first
        self._check_same(worth.flip(1)[:, : c.designs], self._values(starts))
        for step, x in enumerate(climbed(self.of, surrogates, starts, steps, self.stride, region)):
            if step % c.ask_every == 0 or step == steps:
                self._tell(f"climbs/{method}", f"step {step} of {steps}")
                found.append((step, x, self._predicted(surrogates, x), self._values(x)))
        at, designs, predicted, true = zip(*found, strict=True)
        return {
            "step": torch.tensor(at), "designs": torch.stack(designs), "predicted": torch.stack(predicted),
            "true": torch.stack(true),
        }  # fmt: skip

    def _predicted(self, surrogates: Surrogates, x: Tensor) -> Tensor:
        mean, sd = scale(self.needs["data"])
        return mean + sd * surrogates.exactly(self._seen(x))

    def _surrogates(self, method: str) -> Surrogates:
        columns = self.needs[_networks(method)]
        nets = Networks(**{name: columns[name] for name in NETWORKS})
        if method == "ensemble":
            return Surrogates(nets, self.members)
        every = 1 if method == "conservative" else self.members
        return Surrogates(nets.mapped(lambda w: w[::every].contiguous()))

    def _tell(self, part: str, said: str) -> None:
        self.world.tell(Progress(part, said))
