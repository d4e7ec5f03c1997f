"""One trigger for all texts: made on some rows, judged on others."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from blindspots.arguments import checked
from blindspots.data import Data
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.triggers.checks import check
from blindspots.experiments.universal.triggers.count import count
from blindspots.experiments.universal.triggers.findings import findings
from blindspots.experiments.universal.triggers.making import Making
from blindspots.experiments.universal.triggers.methods import TriggerMethod
from blindspots.experiments.universal.triggers.setup import Setup
from blindspots.experiments.universal.triggers.verdict import TriggerVerdict
from blindspots.findings import Finding
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part, shards
from blindspots.runs.findings import unpacked
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import World
from blindspots.texts.triggers import TriggerFile

_ROWS = 512  # per part


class TriggerRun(Run[UniversalConfig, TriggerVerdict]):
    """A finished run."""

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"TriggerRun(trigger={v.trigger!r}, fooling_rate_heldout={v.fooling_rate_heldout:.4f}, "
            f"interval=({v.interval[0]:.4f}, {v.interval[1]:.4f}), fooling_rate_fit={v.fooling_rate_fit:.4f})"
        )

    @property
    def trigger(self) -> str:
        """The words."""
        return self.verdict.trigger


@checked(model=as_model)
def universal_trigger(
    model: Model | nn.Module | Callable[[list[str]], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: str = "trigger:3",
    method: TriggerMethod | str | None = None,
    data: Data | None = None,
    heldout: int | None = None,
    perturbation: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> TriggerRun:
    """Search for the words whose presence fools a model on most texts, and say on how many unseen ones they do.

    Wallace et al. 2019 (EMNLP, arXiv 1908.07125).

    Args:
        model: of texts, as `evaluate` takes it.
        x, y: texts and labels (N,). Instead: `data`.
        threat: how many words, and where: "trigger:3" in front, or "trigger:end:3".
        method: `HotFlip()`, `Coordinates()` or words; None: the first where the model shows its embeddings, else the
            second.
        heldout: how many of the rows that are not fitted judge it; None: all others.
        perturbation: only measure this one: trigger.json of a run.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A search goes on after its last whole pass.
        engine: "serial", "processes" or "processes:N"; None: what is faster for the model.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `UniversalConfig` that mean something for texts: fit, target, on, rows, seed, threads, chunk.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    given = {
        "model": model,
        "data": rows_of(x, y, data),
        "threat": threat,
        "method": method,
        "heldout": heldout,
        "perturbation": perturbation,
        "on": [as_model(other) for other in settings.pop("on", ())],
    }
    done = begin("universal", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return TriggerRun(**vars(done))


class UniversalTrigger(Experiment[UniversalConfig, TriggerVerdict]):
    name = "universal"
    Config, Verdict = UniversalConfig, TriggerVerdict

    def fitted(self, config: UniversalConfig, world: World) -> UniversalConfig:
        s = Setup(config, world)
        check(s)
        given = s.given
        return config.model_copy(
            update={
                "fit": s.fit_rows,
                "chunk": s.chunk,
                "search": repr(s.method) if given is None else "",
                "measured": None if given is None else given.words,
            }
        )

    def parts(self, config: UniversalConfig, world: World) -> list[Part]:
        s = Setup(config, world)
        fit, heldout = (
            [Part(p.name, ("search",), p.rows) for p in shards(name, len(rows), _ROWS)]
            for name, rows in (("fit", s.division.fit), ("heldout", s.division.heldout))
        )
        looks = range(0 if config.measured else len(s.division.fit) * s.method.passes)
        shown = Part("shown", ("search", *(p.name for p in heldout)))
        needs = ("search", "controls")
        models = (Part(f"models/{i}", needs, settings={"model": m}) for i, m in enumerate(config.others, 1))
        first = [Part("preflight"), Part("search", rows=looks), *fit, *heldout]
        return [*first, shown, Part("controls", ("search",)), *models]

    def make(self, config: UniversalConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        return Making(config, world, part, needs, kept).columns()

    def conclude(self, config: UniversalConfig, world: World, parts: Parts) -> TriggerVerdict:
        return count(config, parts, Setup(config, world).others)

    def findings(self, config: UniversalConfig, world: World, verdict: TriggerVerdict, parts: Parts) -> list[Finding]:
        return [*unpacked(parts["preflight"]["findings"]), *findings(Setup(config, world), verdict)]

    def exports(
        self, config: UniversalConfig, world: World, verdict: TriggerVerdict, parts: Parts
    ) -> Mapping[str, bytes]:
        s = Setup(config, world)
        file = TriggerFile(
            words=verdict.trigger, place=s.sought.place, model=s.model.name, target=config.target
        )  # fmt: skip
        return {"trigger.json": file.to_json()}
