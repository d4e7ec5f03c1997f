"""A certification: every row on its own, then attacks on what was certified."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.ball import L2
from blindspots.batching import draws_per_call
from blindspots.data import Data
from blindspots.errors import InputError
from blindspots.experiments.certify import texts
from blindspots.experiments.certify.attacked import attack
from blindspots.experiments.certify.bounds import ABSTAINS, largest
from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.certify.findings import findings, findings_of_texts
from blindspots.experiments.certify.noise import COUNTING, SELECTING, block_of
from blindspots.experiments.certify.smoothed import Smoothed, check_samples
from blindspots.experiments.certify.verdict import CertifyVerdict
from blindspots.findings import Finding
from blindspots.fit import check_even, check_lengths
from blindspots.models.first_look import as_model
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.records import Share
from blindspots.runs.entry import begin, rows_of
from blindspots.runs.experiment import Columns, Experiment, Made, Part, shards
from blindspots.runs.run import Watch
from blindspots.runs.store import Parts, Run
from blindspots.runs.world import Progress, World
from blindspots.sizes import check_curve, check_noise
from blindspots.threat import Threat
from blindspots.threats import as_threat

RADII = (0.5, 1.0, 1.5, 2.0, 3.0)  # in units of sigma; with 100,000 samples at most 3.8 can be certified
_ROWS, _TOGETHER = 32, 256  # rows per part that are certified, and that are attacked at once


class Certified(Run[CertifyConfig, CertifyVerdict]):
    """A finished certification."""

    def __repr__(self) -> str:
        curve = ", ".join(f"{r:g}: {share.share:.3f}" for r, share in self.verdict.certified)
        return f"Certified({{{curve}}}, rows={self.verdict.rows}, mean_radius={self.verdict.mean_radius:.3f})"

    @property
    def columns(self) -> Columns:
        """All rows, see `verdict.ROWS`."""
        return self.parts.joined("rows")


@checked(model=as_model, threat=as_threat)
def certify(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    sigma: float | None = None,
    threat: Threat | None = None,
    data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    engine: str | None = None,
    watch: Watch | None = None,
    command: str | None = None,
    **settings: Any,
) -> Certified:
    """How often a model is proved to stay right, row by row, and how often it stays right under an attack.

    Of numbers: the model smoothed by noise, within an L2 radius (Cohen et al. 2019, 1902.02918). Of texts: within a
    number of exchanged words, exactly for bags of words, by interval bounds for convolutional networks (Jia et al.
    2019, 1909.00986), by votes under random exchanges for any other model (Ye et al. 2020, 2005.14424). The second
    share is never less than the first, for votes but by bad luck in `alpha`.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data` (see `as_data`).
        sigma: of numbers: standard deviation of the noise, in the units of the input.
        threat: of texts: what may be exchanged, such as "words:2" or "words:0.15".
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A resumed run has the bits of one that was never stopped.
        engine: "serial", "processes" or "processes:N"; None: what is faster for the model.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.
        settings: those of `CertifyConfig`, such as samples, alpha, radii, draws, seed, threads, chunk; of texts
            candidates and method.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    given = {"model": model, "data": rows_of(x, y, data), "sigma": sigma, "threat": threat}
    done = begin("certify", given, settings, out=out, resume=resume, engine=engine, watch=watch, command=command)
    return Certified(**vars(done))


class Certify(Experiment[CertifyConfig, CertifyVerdict]):
    name = "certify"
    Config, Verdict = CertifyConfig, CertifyVerdict

    def fitted(self, config: CertifyConfig, world: World) -> CertifyConfig:
        if config.threat is not None:
            return texts.fitted(config, world)
        _check_numbers(world.named("model"))
        check_samples(config.samples, config.alpha)
        _ = _doubts(config, world)  # sizes that cannot be meant are refused before the first part
        draws = config.draws if world.model.access is Need.GRAD else 0
        chunk = config.chunk or draws_per_call(block_of(world.data.shape), world.model.device)
        return config.model_copy(update={"radii": _radii(config), "draws": draws, "chunk": chunk})

    def passes(self, config: CertifyConfig, world: World) -> float:
        if config.threat is not None:
            return texts.passes(config, world)
        return float(len(world.data) * config.samples)

    def parts(self, config: CertifyConfig, world: World) -> list[Part]:
        if config.threat is not None:
            return texts.parts(config, world)
        rows = shards("rows", len(world.data), _ROWS)
        attacks = [
            Part(p.name, tuple(r.name for r in rows if r.rows.start in p.rows), p.rows)
            for p in shards("attacks", len(world.data), _TOGETHER)
        ]
        return rows + attacks

    def inside(self, config: CertifyConfig, world: World, part: Part, needs: Parts) -> Mapping[str, Any]:
        return texts.inside(config, world)

    def make(self, config: CertifyConfig, world: World, part: Part, needs: Parts, kept: Columns | None) -> Made:
        if config.threat is not None:
            return texts.judged(config, world, needs) if needs else texts.rows(config, world, part)
        making = _Making(config, world, part)
        return making.attacks(needs.joined("rows"), kept) if needs else making.certificates(kept)

    def conclude(self, config: CertifyConfig, world: World, parts: Parts) -> CertifyVerdict:
        if config.threat is not None:
            return texts.conclude(config, parts)
        c = {name: t.numpy() for name, t in parts.joined("rows").items()}
        broken_at = np.concatenate([part["broken_at"].numpy() for part in parts.below("attacks")])
        rows, right = len(c["y"]), c["prediction"] == c["y"]
        clean = Share.of(int(right.sum()), rows)
        sure = np.where(right, c["radius"], 0.0)
        hits = np.take_along_axis(c["counts"], c["y"][:, None], 1)[:, 0]
        radii = config.radii or ()
        standing = [(r, Share.of(int((right & (broken_at > r)).sum()), rows)) for r in radii]
        cost = sum(parts[name]["cost"] for name in parts)
        assert isinstance(cost, Tensor)
        return CertifyVerdict(
            rows=rows,
            clean_accuracy=clean.share,
            clean_interval=clean.interval,
            abstained=Share.of(int((c["prediction"] == ABSTAINS).sum()), rows),
            base=Share.of(int((c["base"] == c["y"]).sum()), rows),
            noisy_accuracy=float(hits.sum() / c["draws"].sum()),
            certified=[(r, Share.of(int((sure > r).sum()), rows)) for r in radii],
            empirical=standing if config.draws else [],
            mean_radius=float(sure.mean()),
            forwards=int(cost[0]),
            backwards=int(cost[1]),
        )

    def findings(self, config: CertifyConfig, world: World, verdict: CertifyVerdict, parts: Parts) -> list[Finding]:
        if config.threat is not None:
            return [*world.notes, *findings_of_texts(config, verdict, parts)]
        return [*_doubts(config, world), *world.notes, *findings(config, verdict, parts, world.model.access)]


def _check_numbers(model: Model) -> None:
    if isinstance(model, TextModel):
        raise InputError(
            f"expected a model of numbers for certificates under noise, got {model.name}, which reads texts: say what "
            "may be exchanged in the place of sigma, such as threat words:2"
        )


def _radii(config: CertifyConfig) -> tuple[float, ...]:
    """All radii, ascending, 0 first."""
    most = largest(config.samples, config.noise, config.alpha)
    usual = [r * config.noise for r in RADII if r * config.noise < most] or [most / 2]
    return tuple(sorted({0.0, *(usual if config.radii is None else config.radii)}))


def _doubts(config: CertifyConfig, world: World) -> list[Finding]:
    most = largest(config.samples, config.noise, config.alpha)
    provable = [r for r in _radii(config) if r < most]  # others are said anyway
    check_even(world.model, "a certificate")
    check_lengths(world.data, "a certificate under noise, which falls on all of a row")
    bounds, shape = world.model.bounds, world.data.shape
    return [*check_noise(config.noise, bounds, shape), *check_curve(provable, L2().within(*bounds), shape)]


class _Making:
    """One part of a certification."""

    def __init__(self, config: CertifyConfig, world: World, part: Part) -> None:
        self.config, self.world, self.part, self.data = config, world, part, world.data
        draws = max(config.draws, 1)
        self.smoothed = Smoothed(world.model, config.noise, draws=draws, seed=config.seed, chunk=config.chunk)

    def _tell(self, said: str, done: int) -> None:
        self.world.tell(Progress(self.part.name, said, done, len(self.part.rows)))

    # -------------------------------------------------------------- certificates

    def certificates(self, done: Columns | None) -> Generator[Columns, None, Columns]:
        """Certificates of the rows, one after the other."""
        first = 0 if done is None else len(done["y"])
        with self.smoothed.asked(self.data.shape) as oracle:
            for k, i in enumerate(self.part.rows[first:], first + 1):
                done = _longer(done, self._row(oracle, i))
                self._tell("certifying", k)
                yield done
        assert done is not None
        return done

    def _row(self, oracle: Oracle, i: int) -> Columns:
        c, before = self.config, oracle.forwards
        x, y = self.data.rows(i, i + 1)
        base = oracle.logits(x.to(oracle.device))
        _check_label(int(y[0]), i, base.shape[1])
        key = [keys(c.seed, torch.tensor([i]), purpose)[0] for purpose in (SELECTING, COUNTING)]
        made = self.smoothed.certificate(oracle, x[0], (key[0], key[1]), (c.n0, c.samples), c.alpha)
        return {
            "y": y, "base": base.argmax(1).cpu(), "prediction": made.prediction, "radius": made.radius,
            "selected": made.selected, "counts": made.counts, "draws": made.draws,
            "cost": torch.tensor([oracle.forwards - before, 0]),
        }  # fmt: skip

    # -------------------------------------------------------------- attacks

    def attacks(self, rows: Columns, done: Columns | None) -> Generator[Columns, None, Columns]:
        """At every radius, the rows that are right and still stand."""
        done = done or self._untouched(rows)
        radii = [r for r in self.config.radii or () if r > 0] if self.config.draws else []
        for radius in radii[int(done["attacked"]) :]:
            standing = (rows["prediction"] == rows["y"]) & done["broken_at"].isinf()
            self._tell(f"attacking at {radius:g}", int((~standing).sum()))
            if standing.any():
                done = self._attacked(rows, done, standing.nonzero()[:, 0], radius)
            done = {**done, "attacked": done["attacked"] + 1}
            yield done
        return done

    def _untouched(self, rows: Columns) -> Columns:
        return {
            "broken_at": torch.full_like(rows["radius"], torch.inf), "broken": torch.zeros(0, dtype=torch.int64),
            "adversarial": torch.zeros(0, *self.data.shape), "votes": rows["counts"][:0],
            "attacked": torch.zeros(1, dtype=torch.int64), "cost": torch.zeros(2, dtype=torch.int64),
        }  # fmt: skip

    def _attacked(self, rows: Columns, done: Columns, at: Tensor, radius: float) -> Columns:
        c, ids = self.config, at + self.part.rows.start
        x = torch.cat([self.data.rows(i, i + 1)[0] for i in ids.tolist()])
        found = attack(self.smoothed, x, rows["y"][at], ids, radius, c.steps, c.judged, c.alpha)
        return {
            **done, "broken_at": done["broken_at"].index_fill(0, at[found.fell], radius),
            "broken": torch.cat([done["broken"], ids[found.fell]]),
            "adversarial": torch.cat([done["adversarial"], found.moved[found.fell]]),
            "votes": torch.cat([done["votes"], found.votes[found.fell]]),
            "cost": done["cost"] + torch.tensor([found.forwards, found.backwards]),
        }  # fmt: skip


def _longer(done: Columns | None, row: Columns) -> Columns:
    if done is None:
        return row
    return {name: done[name] + t if name == "cost" else torch.cat([done[name], t]) for name, t in row.items()}


def _check_label(y: int, row: int, classes: int) -> None:
    if not 0 <= y < classes:
        raise InputError(
            f"expected labels from 0 to {classes - 1}, the model's classes, got {y} in row {row}: map the labels to "
            "the order in which the network was trained"
        )
