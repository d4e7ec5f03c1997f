"""The parts of a run, what they come to, and the page."""

import torch
from torch import Tensor

from blindspots.oracle import Oracle
from blindspots.random import keys, normal
from blindspots.records import Share
from blindspots.report.experiment import Page, Table
from blindspots.report.words import interval, percent
from blindspots.runs.experiment import Columns, Experiment, Part, shards
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World
from noise_flips.config import FlipsConfig
from noise_flips.verdict import FlipsVerdict


class Flips(Experiment[FlipsConfig, FlipsVerdict]):
    name = "flips"
    Config, Verdict = FlipsConfig, FlipsVerdict

    def fitted(self, config: FlipsConfig, world: World) -> FlipsConfig:
        return config.model_copy(update={"chunk": config.chunk or 16})

    def passes(self, config: FlipsConfig, world: World) -> float:
        return float(len(world.data) * config.draws)

    def parts(self, config: FlipsConfig, world: World) -> list[Part]:
        return shards("rows", len(world.data), 64)

    def make(self, config: FlipsConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Columns:
        """Noise is a function of the seed, the row and the draw, so that any process makes the same."""
        x, at = world.data.rows(part.rows.start, part.rows.stop)[0], torch.tensor(part.rows)
        oracle = Oracle(world.model, chunk=config.chunk or 16)
        with oracle.session():
            prediction, flips = classes(oracle, x), torch.zeros(len(x), dtype=torch.int64)
            for draw in range(config.draws):
                key = keys(config.seed, at, draw)
                noise = config.sigma * normal(key, torch.zeros_like(at), 0, x.shape[1:])
                flips += classes(oracle, x + noise) != prediction
                world.tell(Progress(part.name, f"draw {draw + 1} of {config.draws}"))
        return {"prediction": prediction, "flips": flips}

    def conclude(self, config: FlipsConfig, world: World, parts: Parts) -> FlipsVerdict:
        flips = parts.joined("rows")["flips"]
        unstable = Share.of(int((flips > 0).sum()), len(flips))
        return FlipsVerdict(rows=len(flips), unstable=unstable, flip_rate=float(flips.double().mean()) / config.draws)


def classes(oracle: Oracle, x: Tensor) -> Tensor:
    """(n,) predictions."""
    return oracle.logits(x.to(oracle.device)).argmax(1).cpu()


def page(run: Run[FlipsConfig, FlipsVerdict]) -> Page:
    """What the terminal and the report show."""
    c, v = run.config, run.verdict
    model, unstable = run.manifest.world["model"]["name"], percent(v.unstable.share)
    rows = [
        ("rows that change at least once", unstable, interval(v.unstable.interval)),
        ("draws that change a row", percent(v.flip_rate), "–"),
    ]
    return Page(
        kicker="Noise",
        headline=f"Noise of sigma {c.sigma:g} changes the prediction of {model} on {unstable} of the rows",
        text=f"Of {v.rows:,} rows, each with {c.draws:,} draws.",
        tables=[Table(("", "Share", "95 % interval"), rows)],
    )
