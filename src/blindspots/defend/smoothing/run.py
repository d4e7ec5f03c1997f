"""A certification: every row on its own, then attacks on the smoothed classifier, in memory or in a run folder."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import Checked, checked
from blindspots.batching import draws_per_call
from blindspots.data import Data, Dataset, one_of
from blindspots.defend.smoothing.attacked import attack
from blindspots.defend.smoothing.bounds import largest
from blindspots.defend.smoothing.conclude import conclude, findings
from blindspots.defend.smoothing.folder import Folder, read_rows
from blindspots.defend.smoothing.record import CertifyFile, CertifyManifest, CertifyVerdict
from blindspots.defend.smoothing.smoothed import (
    COUNTING,
    SELECTING,
    Smoothed,
    block_of,
    check_alpha,
    check_count,
    check_samples,
    check_sigma,
)
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.journal import Columns, provenance, threads_of
from blindspots.models.binding import bound
from blindspots.models.first_look import as_model, first_look
from blindspots.models.foreign import own_state
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.random import keys
from blindspots.sizes import check_curve, check_noise
from blindspots.threat import L2
from blindspots.verdict import DataRecord, ModelRecord

RADII = (0.5, 1.0, 1.5, 2.0, 3.0)  # in units of sigma; with 100,000 samples at most 3.8 can be certified
JUDGED = 1000
_TOGETHER = 256  # rows that are attacked at once
_EVERY = 2.0  # seconds between two times that finished rows are written down


@dataclass(frozen=True)
class Asked(Checked):
    """What is certified, and how.

    Args:
        sigma: standard deviation of the noise, in the units of the input.
        n0, samples: draws that choose the class, and that bound its probability.
        alpha: how often a certificate may be wrong, at most.
        radii: L2 radii of the verdict; 0 is always among them. None: 1/2, 1, 3/2, 2 and 3 sigma, as far as so many
            samples can certify a row, else half of what they can.
        draws: noise draws that the attack averages over; 0: no attack.
        steps: of the attack, at every radius.
        seed: decides all noise.
        threads: CPU threads; None: what is free, or what the run that is resumed was begun with.
        chunk: draws per call of the network; None: by the size of an input.
    """

    sigma: float
    n0: int = 100
    samples: int = 100_000
    alpha: float = 0.001
    radii: Sequence[float] | None = None
    draws: int = 16
    steps: int = 20
    seed: int = 0
    threads: int | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        check_alpha(self.alpha)
        for name in ("n0", "samples", "steps", "chunk", "threads"):
            check_count(name, 1 if getattr(self, name) is None else getattr(self, name))
        check_samples(self.samples, self.alpha)
        if self.draws < 0:
            raise InputError(f"expected draws of at least 0, got {self.draws}: 0 leaves the attack out")
        if any(not 0 <= r < float("inf") for r in self.radii or ()):
            raise InputError(f"expected radii of at least 0, got {list(self.radii or ())}: change them")

    @property
    def at(self) -> list[float]:
        """All radii, ascending, 0 first."""
        most = largest(self.samples, self.sigma, self.alpha)
        usual = [r * self.sigma for r in RADII if r * self.sigma < most] or [most / 2]
        return sorted({0.0, *map(float, usual if self.radii is None else self.radii)})


@dataclass(frozen=True)
class Progress:
    """What a run tells while it goes on: `done` of `rows` are through; `certified` of them at the radius `at`."""

    name: str
    done: int
    rows: int
    certified: int
    at: float
    seconds: float


Watch = Callable[[Progress], None]


class Certified:
    """A finished run.

    Attributes:
        verdict: what run.json says.
        columns: all rows, see `record.COLUMNS`.
        folder: the run folder, None for a run in memory.
    """

    def __init__(self, file: CertifyFile, columns: Columns, folder: Path | None) -> None:
        assert file.verdict is not None
        self.file, self.columns, self.folder = file, columns, folder
        self.verdict: CertifyVerdict = file.verdict

    def __repr__(self) -> str:
        curve = ", ".join(f"{r:g}: {share.share:.3f}" for r, share in self.verdict.certified)
        return f"Certified({{{curve}}}, rows={self.verdict.rows}, mean_radius={self.verdict.mean_radius:.3f})"


@own_state()
@checked(model=as_model)
def certify(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    asked: Asked | None = None,
    sigma: float | None = None,
    data: Data | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    command: str | None = None,
) -> Certified:
    """How often the smoothed model is right within an L2 radius, proved row by row (Cohen et al. 2019, 1902.02918).

    Beside it: how often it stays right under an attack of that radius, which is never less but by bad luck in `alpha`.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and labels (N,). Instead: `data` (see `as_data`).
        asked: what is certified; instead, `sigma` alone with everything else as usual.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. A resumed run has the bits of one that was never stopped.
        watch: is told how far the run has come.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    if (asked is None) == (sigma is None):
        raise InputError("expected either sigma or asked, got both or none: pass e.g. sigma=0.25")
    model = as_model(model)
    data = bound(model, one_of(x, y, data))
    asked = asked or Asked(float(sigma or 0))
    run = _Run(first_look(model, data), data, asked, watch or (lambda progress: None))
    return run.carry_out(None if out is None else Path(out), resume, command)


class _Run:
    """One call of `certify`. What is done is a dictionary of columns, the same in memory and in the folder."""

    def __init__(self, model: Model, data: Dataset, asked: Asked, watch: Watch) -> None:
        self.model, self.data, self.asked, self.watch = model, data, asked, watch
        self.chunk = asked.chunk or draws_per_call(block_of(data.shape), model.device)
        of_noise = check_noise(asked.sigma, model.bounds, data.shape)
        provable = [
            r for r in asked.at if r < largest(asked.samples, asked.sigma, asked.alpha)
        ]  # others are said anyway
        self.doubts = [*of_noise, *check_curve(provable, L2().within(*model.bounds), data.shape)]
        self.smoothed = Smoothed(model, asked.sigma, draws=max(asked.draws, 1), seed=asked.seed, chunk=self.chunk)
        self.attackable = model.access is Need.GRAD
        self.began = self.written = time.monotonic()

    def carry_out(self, path: Path | None, resume: bool, command: str | None) -> Certified:
        with set_threads(self.asked.threads or threads_of(path, resume)) as threads:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            file = CertifyFile(
                manifest=self._manifest(threads), command=command, started=started, rows_sha256=None, verdict=None,
                seal=None,
            )  # fmt: skip
            folder = Folder(path, file, resume) if path else None
            if folder and folder.finished:
                return Certified(folder.finished, read_rows(folder.path, folder.finished), path)
            remember = folder.remember if folder else lambda columns: None
            done = self._attacked(self._certified(folder.unfinished() if folder else None, remember), remember)
            return self._concluded(done, folder, file)

    def _manifest(self, threads: int) -> CertifyManifest:
        a = self.asked
        return CertifyManifest(
            **provenance(str(self.model.device), threads, a.seed), model=ModelRecord.of(self.model),
            data=DataRecord.of(self.data), sigma=a.sigma, n0=a.n0, samples=a.samples, alpha=a.alpha, radii=a.at,
            draws=a.draws if self.attackable else 0, steps=a.steps, judged=min(JUDGED, a.samples), chunk=self.chunk,
        )  # fmt: skip

    # -------------------------------------------------------------- certificates

    def _certified(self, done: Columns | None, remember: Callable[[Columns], None]) -> Columns:
        """Certificates of all rows, one after the other."""
        first = 0 if done is None else len(done["y"])
        with self.smoothed.asked(self.data.shape) as oracle:
            for i in range(first, len(self.data)):
                began = time.monotonic()
                row = self._row(oracle, i)
                row["cost"] = _cost(oracle, began)
                done = row if done is None else _longer(done, row)
                self._tell("certifying", done, len(done["y"]))
                if time.monotonic() - self.written >= _EVERY or i + 1 == len(self.data):
                    remember(done)
                    self.written = time.monotonic()
        assert done is not None
        return done

    def _row(self, oracle: Oracle, i: int) -> Columns:
        oracle.forwards = 0
        x, y = self.data.rows(i, i + 1)
        base = oracle.logits(x.to(oracle.device))
        _check_label(int(y[0]), i, base.shape[1])
        key = tuple(keys(self.asked.seed, torch.tensor([i]), purpose)[0] for purpose in (SELECTING, COUNTING))
        made = self.smoothed.certificate(
            oracle, x[0], (key[0], key[1]), (self.asked.n0, self.asked.samples), self.asked.alpha
        )
        return {
            "y": y, "base": base.argmax(1).cpu(), "prediction": made.prediction, "radius": made.radius,
            "selected": made.selected, "counts": made.counts, "draws": made.draws,
        }  # fmt: skip

    # -------------------------------------------------------------- attacks

    def _attacked(self, done: Columns, remember: Callable[[Columns], None]) -> Columns:
        """At every radius, the rows that are right and still stand."""
        if "broken_at" not in done:
            none = torch.zeros(0, dtype=torch.int64)
            done = {
                **done, "broken_at": torch.full_like(done["radius"], torch.inf), "broken": none,
                "adversarial": torch.zeros(0, *self.data.shape), "votes": done["counts"][:0],
                "attacked": torch.zeros(1, dtype=torch.int64),
            }  # fmt: skip
        radii = [r for r in self.asked.at if r > 0] if self.attackable and self.asked.draws else []
        for radius in radii[int(done["attacked"]) :]:
            done = self._attack(done, radius)
            remember(done)
        return done

    def _attack(self, done: Columns, radius: float) -> Columns:
        standing = ((done["prediction"] == done["y"]) & done["broken_at"].isinf()).nonzero()[:, 0]
        self._tell(f"attacking at {radius:g}", done, len(done["y"]) - len(standing))
        for ids in torch.split(standing, _TOGETHER) if len(standing) else ():
            done = self._with_finds(done, ids, radius)
        return {**done, "attacked": done["attacked"] + 1}

    def _with_finds(self, done: Columns, ids: Tensor, radius: float) -> Columns:
        began, a = time.monotonic(), self.asked
        x = torch.cat([self.data.rows(i, i + 1)[0] for i in ids.tolist()])
        found = attack(self.smoothed, x, done["y"][ids], ids, radius, a.steps, min(JUDGED, a.samples), a.alpha)
        fell = ids[found.fell]
        cost = torch.tensor([found.forwards, found.backwards, time.monotonic() - began, 0.0], dtype=torch.float64)
        return {
            **done, "broken_at": done["broken_at"].index_fill(0, fell, radius),
            "broken": torch.cat([done["broken"], fell]),
            "adversarial": torch.cat([done["adversarial"], found.moved[found.fell]]),
            "votes": torch.cat([done["votes"], found.votes[found.fell]]), "cost": done["cost"] + cost,
        }  # fmt: skip

    # -------------------------------------------------------------- the end

    def _tell(self, name: str, done: Columns, through: int) -> None:
        at = next((r for r in self.asked.at if r > 0), 0.0)
        sure = int(((done["prediction"] == done["y"]) & (done["radius"] > at)).sum())
        self.watch(Progress(name, through, len(self.data), sure, at, time.monotonic() - self.began))

    def _concluded(self, done: Columns, folder: Folder | None, file: CertifyFile) -> Certified:
        forwards, backwards, seconds, certifying = done["cost"].tolist()
        columns = {name: t for name, t in done.items() if name not in ("cost", "attacked")}
        verdict = conclude(columns, file.manifest, (int(forwards), int(backwards), seconds, certifying))
        found = [
            *self.doubts,
            *self.model.notes,
            *self.data.notes,
            *findings(verdict, columns, file.manifest, self.attackable),
        ]
        verdict = verdict.model_copy(update={"findings": found})
        if folder:
            return Certified(folder.conclude(columns, verdict), columns, folder.path)
        return Certified(file.model_copy(update={"verdict": verdict}), columns, None)


def _cost(oracle: Oracle, began: float) -> Tensor:
    """Forwards, backwards, seconds, and seconds of certificates: (4,) float64."""
    took = time.monotonic() - began
    return torch.tensor([oracle.forwards, oracle.backwards, took, took], dtype=torch.float64)


def _longer(done: Columns, row: Columns) -> Columns:
    return {
        name: done[name] + t if name == "cost" else torch.cat([done[name], t])
        for name, t in row.items()
    }  # fmt: skip


def _check_label(y: int, row: int, classes: int) -> None:
    if not 0 <= y < classes:
        raise InputError(
            f"expected labels from 0 to {classes - 1}, the model's classes, got {y} in row {row}: map the labels to "
            "the order in which the network was trained"
        )
