"""The experiment: a universal perturbation is made on some rows and judged on others, in memory or in a run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.data import Dataset, one_of
from blindspots.engine.threads import set_threads
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.journal import provenance, threads_of
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.preflight import examine
from blindspots.problem import Need
from blindspots.threat import RELATIVE_SLACK, Threat
from blindspots.universal.controls import controls
from blindspots.universal.file import Perturbation
from blindspots.universal.fitting import Found, Memory, Stage, Wanted, fit
from blindspots.universal.folder import Folder, Shown
from blindspots.universal.geometry import geometry
from blindspots.universal.labels import dominant_labels
from blindspots.universal.measure import (
    Predictions,
    effect,
    fooled,
    moved,
    predictions,
    random_signs,
    scaled,
    share,
)
from blindspots.universal.methods import Method, Periodic, parse_method
from blindspots.universal.parametrisation import Additive
from blindspots.universal.record import (
    AtImages,
    AtNorm,
    Cross,
    DominantLabels,
    Effect,
    OnModel,
    UniversalFile,
    UniversalManifest,
    UniversalVerdict,
)
from blindspots.universal.stream import Division, Rows, divide
from blindspots.verdict import DataRecord, ModelRecord, Share

_LARGE = 1 << 14  # numbers in an input
_MOST = 1 << 27  # numbers in all perturbations of a run
_FIT = 500
_SHOWN = 12
_NORMS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of the radius


@dataclass(frozen=True)
class UniversalOptions:
    """How a run is carried out.

    Args:
        seed: decides which rows are fitted, their order, and all draws.
        threads: CPU threads; None: what is free.
        chunk: rows per call of the network; None: by the size of an input.
    """

    seed: int = 0
    threads: int | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class Studies:
    """What else is found out, besides the perturbation and its controls.

    Args:
        images: the search again with so many fit images, for each number.
        several: perturbations from so many other shuffles, and their inner products.
        geometry: singular values, spans and curvatures (see `Geometry`).
        norms: the perturbation scaled to other sizes.
        others: networks that the perturbation is tried on, too.
        cross: a perturbation for each of these, tried on all: the matrix of who fools whom.
    """

    images: tuple[int, ...] = ()
    several: int = 0
    geometry: bool = False
    norms: bool = True
    others: tuple[Model, ...] = ()
    cross: bool = False

    def words(self) -> list[str]:
        """What was asked for, for the manifest."""
        asked = [f"images {','.join(map(str, self.images))}"] if self.images else []
        asked += [f"several {self.several}"] if self.several else []
        asked += ["geometry"] * self.geometry + ["norms"] * self.norms + ["cross"] * self.cross
        return asked + [f"on {m.name} {m.digest}" for m in self.others]


class Universal:
    """A finished run.

    Attributes:
        perturbation: (groups, *shape) float32, one group unless there is one perturbation per class.
        verdict: what run.json says.
        folder: the run folder, None for a run in memory.
    """

    def __init__(self, file: UniversalFile, perturbation: Tensor, folder: Path | None) -> None:
        assert file.verdict is not None
        self.file, self.perturbation, self.folder = file, perturbation, folder
        self.verdict: UniversalVerdict = file.verdict

    def __repr__(self) -> str:
        v = self.verdict
        return (
            f"Universal(fooling_rate_heldout={v.fooling_rate_heldout:.4f}, interval=({v.interval[0]:.4f}, "
            f"{v.interval[1]:.4f}), fooling_rate_fit={v.fooling_rate_fit:.4f}, norm={v.norm:.4g})"
        )


def universal(
    model: Model | nn.Module | Callable[[Tensor], Any],
    x: Any = None,
    y: Any = None,
    *,
    threat: Threat,
    method: Method | str | None = None,
    data: Dataset | None = None,
    fit: int | None = None,
    heldout: int | Dataset | None = None,
    target: int | None = None,
    per_class: bool = False,
    clip: bool = True,
    perturbation: Perturbation | None = None,
    studies: Studies | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    options: UniversalOptions | None = None,
    watch: Callable[[Stage], None] | None = None,
    command: str | None = None,
) -> Universal:
    """Search for one change that fools a model on most inputs, and say on how many unseen ones it does.

    Args:
        model: a `Model`, or a network whose inputs lie in [0, 1] and which returns logits (B, C).
        x, y: inputs (N, ...) within the model's bounds, and int labels (N,). Instead: `data`.
        threat: linf or l2 with a radius, e.g. `Linf(10 / 255)`.
        method: such as `Periodic()`, `UAP(delta=0.2)` or words; None: `Periodic()`.
        fit: how many rows the search sees, drawn by lot; None: 500, but at most two thirds of them.
        heldout: how many of the other rows judge it, or other data; None: all others.
        target: the class that every input is to be taken for; None: any but its own.
        per_class: a perturbation for each predicted class.
        clip: search with x + v kept in the box. What is reported says both.
        perturbation: only measure this one, made within the threat and the model's bounds; the method is not run, so
            the model may be one that only answers. One per class is measured as such.
        studies: what else is found out.
        out: run folder to write; None: keep everything in memory.
        resume: go on with the run in `out`, or begin it. The search goes on after its last whole pass.
        watch: is told how far the search has come.
        command: what to put in the report as the way to repeat the run.

    Raises:
        InputError: something that was given cannot be used; the sentence says what to do.
    """
    model = model if isinstance(model, Model) else Model(model)
    given = one_of(x, y, data)
    method = parse_method(method) if isinstance(method, str) else method or Periodic()
    rows = _usual(len(given), heldout) if fit is None else fit
    per_class = per_class or (perturbation is not None and perturbation.per_class)
    run = _Run(
        model, given, threat.within(*model.bounds), method, rows, heldout, target, per_class, clip, perturbation,
        studies or Studies(), options or UniversalOptions(), watch or (lambda stage: None),
    )  # fmt: skip
    return run.carry_out(None if out is None else Path(out), resume, command)


def _usual(rows: int, heldout: int | Dataset | None) -> int:
    return min(_FIT, rows if heldout is not None and not isinstance(heldout, int) else max(2 * rows // 3, 1))


@dataclass
class _Run:
    """One call of `universal`."""

    model: Model
    data: Dataset
    threat: Threat
    method: Method
    fit_rows: int
    heldout: int | Dataset | None
    target: int | None
    per_class: bool
    clip: bool
    given: Perturbation | None
    studies: Studies
    options: UniversalOptions
    watch: Callable[[Stage], None]
    findings: list[Finding] = field(default_factory=list)

    def carry_out(self, folder: Path | None, resume: bool, command: str | None) -> Universal:
        self._check()
        division = divide(self.data, self.fit_rows, self.heldout, self.options.seed)
        self._check_fit(division.fit)
        self.findings += [*self.data.notes, *division.findings]
        with set_threads(self.options.threads or threads_of(folder, resume)) as threads:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            file = UniversalFile(
                manifest=self._manifest(threads, division), command=command, started=started,
                perturbation_sha256=None, verdict=None, seal=None,
            )  # fmt: skip
            kept = Folder(folder, file, resume) if folder else None
            return self._found_out(division, kept, file)

    def _found_out(self, division: Division, folder: Folder | None, file: UniversalFile) -> Universal:
        oracle = Oracle(self.model, chunk=self._chunk)
        with oracle.session():
            first = division.fit.take(torch.arange(min(16, len(division.fit))))
            self.findings = [*examine(self.model, *first, seed=self.options.seed).findings, *self.findings]
            groups = self._groups(oracle, first[0])
            memory = folder.memory() if folder else Memory()
            found = self._search(oracle, division.fit, groups, self.watch, memory)
            verdict, shown = _Judge(self, oracle, division, found).verdict()
        file = file.model_copy(update={"verdict": verdict})
        if folder:
            file = folder.conclude(found.v, self.threat, shown, verdict)
        return Universal(file, found.v, folder.path if folder else None)

    def _search(self, oracle: Oracle, rows: Rows, groups: int, tell: Callable[[Stage], None], memory: Memory) -> Found:
        if self.given is not None:
            return Found.given(self.given.v)
        return fit(oracle, self.method, rows, self.wanted(groups), tell, memory)

    def wanted(self, groups: int, seed: int | None = None) -> Wanted:
        """What is searched for, with the run's own seed or another one."""
        seed = self.options.seed if seed is None else seed
        return Wanted(self.threat, self.data.shape, groups, self.target, self.clip, seed)

    def _groups(self, oracle: Oracle, x: Tensor) -> int:
        """As many as the model has classes, or one."""
        classes = oracle.logits(x[:1].to(oracle.device)).shape[1]
        if self.target is not None and not 0 <= self.target < classes:
            raise InputError(f"expected a target class from 0 to {classes - 1}, got {self.target}: name one of these")
        groups = classes if self.per_class else 1
        if self.given is not None and len(self.given.v) != groups:
            raise InputError(
                f"expected {groups} perturbations, one {'per class' if self.per_class else 'for all'}, got "
                f"{len(self.given.v)}: use a model with the classes of the one that they were made for"
            )
        if not self.per_class:
            return 1
        numbers = classes * x[0].numel()
        if numbers > _MOST:
            raise InputError(
                f"expected at most {_MOST:,} numbers in all perturbations, got {numbers:,} for {classes} classes: "
                "make one perturbation for all, or use smaller inputs"
            )
        return classes

    @property
    def _chunk(self) -> int:
        size = torch.Size(self.data.shape).numel()
        small = 8 if size > _LARGE else 16
        return self.options.chunk or (128 if self.model.device.type == "cuda" else small)

    def _check(self) -> None:
        if self.threat.radius is None or self.threat.name not in self.method.threats:
            raise InputError(
                f"expected a threat linf or l2 with a radius, as in linf:10/255, got {self.threat.spec!r}: write one"
            )
        self.method.check(self.data.shape)
        if self.model.access is not Need.GRAD and self._searches:
            raise InputError(
                f"expected a model whose gradients can be taken, got {self.model.name}, which only answers: make the "
                "perturbation on a network like it, and measure it here by naming the file"
            )
        self._check_others()
        if self.target is not None and not self.method.targeted:
            raise InputError(
                f"expected a method that can run towards a class, got {self.method!r}: leave the target out"
            )
        if self.given is not None:
            self._check_given(self.given)

    @property
    def _searches(self) -> bool:
        s = self.studies
        return self.given is None or bool(s.images or s.several or s.geometry or s.cross)

    def _check_given(self, given: Perturbation) -> None:
        if given.shape != self.data.shape:
            raise InputError(
                f"expected a perturbation of shape {self.data.shape}, got {given.shape}: use inputs of its size"
            )
        if given.bounds != self.model.bounds:
            raise InputError(
                f"expected a perturbation of inputs within {self.model.bounds}, got one for {given.bounds}: scale it "
                "to the model's inputs, or use a model with its bounds"
            )
        largest = float(self.threat.norm(given.v).max())
        if largest > float(self.threat.radius or 0) * (1 + RELATIVE_SLACK):
            raise InputError(
                f"expected a perturbation within {self.threat.spec}, got one of norm {largest:g} made for "
                f"{given.threat}: state the threat that it was made for"
            )

    def _check_others(self) -> None:
        others = self.studies.others
        if others and self.per_class:
            raise InputError(
                "expected one perturbation for all classes where it is tried on other networks, got one per class: "
                "leave one of the two out"
            )
        if self.studies.cross and not others:
            raise InputError("expected other networks for a matrix, got none: name them with --on")
        x = self.data.rows(0, 1)[0]
        for other in others:
            if other.bounds != self.model.bounds:
                raise InputError(
                    f"expected networks whose inputs lie within {self.model.bounds}, got {other.name} with "
                    f"{other.bounds}: leave it out, or let its factory rescale"
                )
            try:
                with other.borrowed(), torch.no_grad():
                    other.logits(x)
            except (RuntimeError, ValueError, IndexError) as error:
                said = str(error).splitlines()[0]
                raise InputError(
                    f"expected networks that take inputs of shape {self.data.shape}, got {other.name}, which says: "
                    f"{said}: leave it out, or let its factory resize"
                ) from error

    def _check_fit(self, rows: Rows) -> None:
        for images in self.studies.images:
            if not 0 < images <= len(rows):
                raise InputError(f"expected 1 to {len(rows)} fit images, got {images}: name so many, or fit more")
        if self.given is not None:
            return
        if not self.method.data_free and len(rows) < self.method.batch:
            raise InputError(
                f"expected at least {self.method.batch} fit rows, one batch, got {len(rows)}: fit more, or write "
                f"--method NAME:batch={len(rows)}"
            )
        labels = {int(rows.take(torch.tensor([i]))[1][0]) for i in range(len(rows))}
        if len(labels) < 2:
            raise InputError(
                f"expected fit rows of at least two classes, got {len(rows)} of class {labels.pop()} alone: what fools "
                "them need not fool others, so fit rows of several classes"
            )

    def _manifest(self, threads: int, division: Division) -> UniversalManifest:
        other = self.heldout if self.heldout is not None and not isinstance(self.heldout, int) else None
        method = repr(self.method) if self.given is None else f"measured: {self.given.sha}"
        return UniversalManifest(
            **provenance(str(self.model.device), threads, self.options.seed),
            model=ModelRecord.of(self.model),
            data=DataRecord.of(self.data),
            heldout=None if other is None else DataRecord.of(other),
            fit_rows=len(division.fit),
            heldout_rows=len(division.heldout),
            threat=self.threat.spec,
            method=method,
            target=self.target,
            per_class=self.per_class,
            clip=self.clip,
            chunk=self._chunk,
            extras=self.studies.words(),
        )


class _Judge:
    """Everything that is said of a perturbation that was found."""

    def __init__(self, run: _Run, oracle: Oracle, division: Division, found: Found) -> None:
        self.run, self.oracle, self.division, self.found = run, oracle, division, found
        self.v = found.v.to(oracle.device)
        self.fit, self.held = predictions(oracle, division.fit), predictions(oracle, division.heldout)
        self.threat, self.seed = run.threat, run.options.seed

    def verdict(self) -> tuple[UniversalVerdict, Shown]:
        run, found = self.run, self.found
        history = found.course.history
        fit, unclipped_fit = (self._effect(self.division.fit, self.fit, clip)[0] for clip in (True, False))
        heldout, now = self._effect(self.division.heldout, self.held, True)
        unclipped, _ = self._effect(self.division.heldout, self.held, False)
        controlled = self._controls()
        several = self._several()
        return UniversalVerdict(
            fooling_rate_fit=fit.fooled.share,
            fooling_rate_heldout=heldout.fooled.share,
            interval=heldout.fooled.interval,
            fooling_rate_heldout_unclipped=unclipped.fooled.share,
            control_rates={name: s.share for name, s in controlled.items()},
            seconds=round(found.course.seconds, 3),
            passes=found.course.passes,
            forwards=history[-1].forwards if history else 0,
            backwards=history[-1].backwards if history else 0,
            norm=float(self.threat.norm(found.v).max()),
            fit=fit,
            heldout=heldout,
            fit_unclipped=unclipped_fit,
            heldout_unclipped=unclipped,
            controls=controlled,
            history=history,
            period=found.period,
            trials=found.trials,
            against_norm=self._against_norm() if run.studies.norms else [],
            against_images=[self._with_images(n) for n in run.studies.images],
            inner_products=several[0],
            several=several[1],
            labels=self._labels(now),
            on_models=[self._on(other) for other in run.studies.others],
            cross=self._cross() if run.studies.cross else None,
            geometry=self._geometry() if run.studies.geometry else None,
            findings=run.findings,
        ), self._shown(now)

    def _painted(self, v: Tensor, clip: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
        space = Additive(self.threat, self.run.data.shape, len(v), None, clip)
        return lambda x, clean: space.paint(v.to(x.device), x, clean if len(v) > 1 else torch.zeros_like(clean))

    def _now(self, v: Tensor, rows: Rows, known: Predictions, clip: bool = True) -> Tensor:
        return moved(self.oracle, rows, self._painted(v, clip), known.clean)

    def _effect(self, rows: Rows, known: Predictions, clip: bool) -> tuple[Effect, Tensor]:
        now = self._now(self.v, rows, known, clip)
        return effect(known, now, self.run.target), now

    def _heldout(self, v: Tensor) -> Share:
        return share(self.held.clean, self._now(v, self.division.heldout, self.held), self.run.target)

    def _controls(self) -> dict[str, Share]:
        made = controls(self.run.model, self.division.fit, self.threat, self.seed, self.oracle.chunk)
        return {name: self._heldout(v) for name, v in made.items()}

    def _against_norm(self) -> list[AtNorm]:
        if len(self.v) > 1:
            return []
        radius = float(self.threat.radius or 0)
        noise = self._random()
        return [
            AtNorm(
                radius=radius * s,
                fooled=self._heldout(scaled(self.v, self.threat, radius * s)),
                random=self._heldout(scaled(noise, self.threat, radius * s)),
            )
            for s in _NORMS
        ]

    def _random(self) -> Tensor:
        """What chance is compared with: random signs, in l2 they are a random corner of the sphere."""
        return random_signs(Additive(self.threat, self.run.data.shape), self.seed)

    def _with_images(self, images: int) -> AtImages:
        rows = self.division.fit.only(list(range(images)))
        method = replace(self.run.method, batch=min(self.run.method.batch, images))  # type: ignore[type-var]
        v = fit(self.oracle, method, rows, self.run.wanted(len(self.v)), self.run.watch).v
        return AtImages(images=images, fooled=self._heldout(v))

    def _several(self) -> tuple[list[list[float]], list[Share]]:
        if not self.run.studies.several:
            return [], []
        seeds = [self.seed + 1 + k for k in range(self.run.studies.several - 1)]
        wanted = [self.run.wanted(len(self.v), seed) for seed in seeds]
        others = [fit(self.oracle, self.run.method, self.division.fit, w, self.run.watch).v for w in wanted]
        vs = [self.found.v, *others]
        flat = torch.nn.functional.normalize(torch.stack([v.flatten() for v in vs]).double(), dim=1)
        return (flat @ flat.T).tolist(), [self._heldout(v) for v in vs]

    def _labels(self, now: Tensor) -> DominantLabels:
        """Of held-out and fit rows together: there are few of either."""
        fitted = self._now(self.v, self.division.fit, self.fit)
        clean = torch.cat([self.held.clean, self.fit.clean])
        changed = torch.cat([now, fitted])
        return dominant_labels(clean, changed, int(torch.cat([clean, changed]).max()) + 1)

    def _on(self, other: Model) -> OnModel:
        rates = self._rates(other, [self.v, self._random()])
        return OnModel(model=other.name, digest=other.digest, fooled=rates[0], random=rates[1])

    def _rates(self, model: Model, vs: Sequence[Tensor]) -> list[Share]:
        """How many held-out rows each of the perturbations fools `model` on."""
        oracle = Oracle(model, chunk=self.oracle.chunk)
        with oracle.session():
            known = predictions(oracle, self.division.heldout)
            nows = [moved(oracle, self.division.heldout, self._painted(v), known.clean) for v in vs]
        return [share(known.clean, now, self.run.target) for now in nows]

    def _cross(self) -> Cross:
        models = [self.run.model, *self.run.studies.others]
        vs = [self.v, *(self._made_for(other) for other in self.run.studies.others)]
        columns = [self._rates(model, vs) for model in models]
        return Cross(models=[m.name for m in models], fooled=[list(row) for row in zip(*columns, strict=True)])

    def _made_for(self, other: Model) -> Tensor:
        oracle = Oracle(other, chunk=self.oracle.chunk)
        with oracle.session():
            return fit(oracle, self.run.method, self.division.fit, self.run.wanted(1), self.run.watch).v

    def _geometry(self) -> Any:
        fit_x, held_x = (_first(rows) for rows in (self.division.fit, self.division.heldout))
        return geometry(
            self.run.model, fit_x, held_x, universal=self.v[0].cpu(), seed=self.seed, chunk=self.oracle.chunk
        )

    def _shown(self, now: Tensor) -> Shown:
        """Some held-out rows, fooled ones first."""
        hit = fooled(self.held.clean, now, self.run.target)
        places = torch.cat([hit.nonzero()[:, 0], (~hit).nonzero()[:, 0]])[:_SHOWN]
        x, y = self.division.heldout.take(places)
        clean = self.held.clean[places]
        painted = self._painted(self.v)(x.to(self.oracle.device), clean.to(self.oracle.device))
        before, after = (self.oracle.logits(t.to(self.oracle.device)).softmax(1).max(1) for t in (x, painted))
        return Shown(
            row=self.division.heldout.at[places], y=y, x=x, moved=painted.cpu(), prediction=before.indices.cpu(),
            moved_prediction=after.indices.cpu(), confidence=before.values.cpu(), moved_confidence=after.values.cpu(),
        )  # fmt: skip


def _first(rows: Rows) -> Tensor:
    """The inputs of the first 500 rows, which geometry is taken from."""
    return rows.take(torch.arange(min(_FIT, len(rows))))[0]
