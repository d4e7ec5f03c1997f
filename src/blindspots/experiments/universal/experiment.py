"""A universal perturbation: made on some rows, judged on others."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.ball import Ball
from blindspots.data import Data, as_data, one_of
from blindspots.experiments.universal.checks import check
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.count import count
from blindspots.experiments.universal.exports import pictures
from blindspots.experiments.universal.file import Perturbation, perturbation_bytes
from blindspots.experiments.universal.findings import findings
from blindspots.experiments.universal.making import Making
from blindspots.experiments.universal.methods import Method
from blindspots.experiments.universal.setup import Setup
from blindspots.experiments.universal.verdict import UniversalVerdict
from blindspots.findings import Finding
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.runs.entry import begin
from blindspots.runs.experiment import Columns, Experiment, Made, Part, shards
from blindspots.runs.findings import unpacked
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import World
from blindspots.threats import as_plain_threat

_ROWS = 512  # per part; a multiple of what is read at once


class UniversalRun(Run[UniversalConfig, UniversalVerdict]):
    """A finished run."""

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"UniversalRun(fooling_rate_heldout={v.fooling_rate_heldout:.4f}, interval=({v.interval[0]:.4f}, "
            f"{v.interval[1]:.4f}), fooling_rate_fit={v.fooling_rate_fit:.4f}, norm={v.norm:.4g})"
        )

    @property
    def perturbation(self) -> Tensor:
        """(groups, *shape) float32, one group unless there is one perturbation per class."""
        return self.parts["search"]["v"]


@checked(threat=as_plain_threat, model=as_model)
def universal(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Ball,
    method: Method | str | None = None,
    data: Data | None = None,
    heldout: int | Data | None = None,
    perturbation: Perturbation | str | None = None,
    on: Sequence[Any] = (),
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> UniversalRun:
    """Search for one change that fools a model on most inputs, and say on how many unseen ones it does.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data` (see `as_data`).
        threat: linf or l2 with a radius, e.g. `Linf(10 / 255)`.
        method: such as `Periodic()`, `UAP(delta=0.2)` or words; None: `Periodic()`.
        heldout: how many of the rows that are not fitted judge it, or other data; None: all others.
        perturbation: only measure this one, made within the threat and the model's bounds; the method is not run, so
            the model may be one that only answers. One per class is measured as such.
        on: networks that it is tried on, too.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A search goes on after its last whole pass.
        engine: "serial", "processes" or "processes:N"; None: what is faster for the model.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `UniversalConfig`, such as fit, target, per_class, clip, images, several, geometry, norms,
            cross, seed, threads, chunk.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    given = {
        "model": model,
        "data": one_of(x, y, data),
        "threat": threat,
        "method": method,
        "heldout": heldout if isinstance(heldout, int | None) else as_data(heldout),
        "perturbation": perturbation,
        "on": [as_model(other) for other in on],
    }
    done = begin("universal", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return UniversalRun(**vars(done))


class Universal(Experiment[UniversalConfig, UniversalVerdict]):
    name = "universal"
    Config, Verdict = UniversalConfig, UniversalVerdict

    def fitted(self, config: UniversalConfig, world: World) -> UniversalConfig:
        s = Setup(config, world)
        check(s)
        given = s.given
        return config.model_copy(
            update={
                "fit": s.fit_rows,
                "per_class": s.per_class,
                "chunk": s.chunk,
                "search": repr(s.method) if given is None else "",
                "measured": None if given is None else given.sha,
            }
        )

    def passes(self, config: UniversalConfig, world: World) -> float:
        """Searches do not share their work, so workers are of use where there are several."""
        searches = (not config.measured) + len(config.images) + config.several + len(config.on) * config.cross
        return float(searches * (config.fit or 0) * Setup(config, world).method.passes) if searches > 1 else 0.0

    def parts(self, config: UniversalConfig, world: World) -> list[Part]:
        s = Setup(config, world)
        fit, heldout = (
            [Part(p.name, ("search",), p.rows) for p in shards(name, len(rows), _ROWS)]
            for name, rows in (("fit", s.division.fit), ("heldout", s.division.heldout))
        )
        looks = range(len(s.division.fit) * s.method.passes)
        first = [Part("preflight"), Part("search", rows=range(0) if config.measured else looks), *fit, *heldout]
        shown = Part("shown", ("search", *(p.name for p in heldout)))
        return [*first, shown, Part("controls"), *_studies(config)]

    def make(self, config: UniversalConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        return Making(config, world, part, needs, kept).columns()

    def conclude(self, config: UniversalConfig, world: World, parts: Parts) -> UniversalVerdict:
        s = Setup(config, world)
        return count(config, parts, s.threat, [s.model, *s.others])

    def findings(self, config: UniversalConfig, world: World, verdict: UniversalVerdict, parts: Parts) -> list[Finding]:
        return [*unpacked(parts["preflight"]["findings"]), *findings(config, verdict)]

    def exports(
        self, config: UniversalConfig, world: World, verdict: UniversalVerdict, parts: Parts
    ) -> Mapping[str, bytes]:
        s, v = Setup(config, world), parts["search"]["v"]
        file = perturbation_bytes(
            v, threat=s.threat, model=s.model.name, per_class=config.per_class, target=config.target,
            bounds=s.model.bounds,
        )  # fmt: skip
        return {"perturbation.safetensors": file, **pictures(v, parts["shown"], s.model.bounds)}


def _studies(config: UniversalConfig) -> list[Part]:
    """The additional ones."""
    networks = ["model", *config.others]
    cross = [Part(f"cross/{i}", settings={"model": name}) for i, name in enumerate(config.others * config.cross, 1)]
    needs = ("search", *(part.name for part in cross))
    return [
        *([Part("norms", ("search",))] if config.norms and not config.per_class else []),
        *(Part(f"images/{n}", settings={"images": n}) for n in config.images),
        *(Part(f"several/{k}", settings={"number": k}) for k in range(1, config.several)),
        *(Part(f"models/{i}", ("search",), settings={"model": m}) for i, m in enumerate(config.others, 1)),
        *cross,
        *(Part(f"crossed/{i}", needs, settings={"model": m}) for i, m in enumerate(networks * config.cross)),
        *([Part("geometry", ("search",))] if config.geometry else []),
    ]
