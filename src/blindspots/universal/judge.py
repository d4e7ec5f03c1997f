"""Everything that is said of a perturbation once it is found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from blindspots.data.splits import Division, Rows
from blindspots.findings import Finding
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.records import Share
from blindspots.universal.asked import Asked
from blindspots.universal.controls import controls
from blindspots.universal.fitting import Found, fit
from blindspots.universal.folder import Shown
from blindspots.universal.geometry import geometry
from blindspots.universal.labels import dominant_labels
from blindspots.universal.measure import Predictions, effect, fooled, moved, predictions, random_signs, scaled, share
from blindspots.universal.parametrisation import Additive
from blindspots.universal.record import (
    AtImages,
    AtNorm,
    Cross,
    DominantLabels,
    Effect,
    Geometry,
    OnModel,
    UniversalVerdict,
)

_SHOWN = 12
_MOST = 500  # rows that geometry is taken from
_NORMS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of the radius


class Judge:
    """Everything that is said of a perturbation that was found."""

    def __init__(self, asked: Asked, oracle: Oracle, division: Division, found: Found) -> None:
        self.asked, self.oracle, self.division, self.found = asked, oracle, division, found
        self.v = found.v.to(oracle.device)
        self.fit, self.held = predictions(oracle, division.fit), predictions(oracle, division.heldout)
        self.threat, self.seed = asked.threat, asked.options.seed

    def verdict(self, findings: list[Finding]) -> tuple[UniversalVerdict, Shown]:
        asked, found = self.asked, self.found
        history = found.course.history
        fit, unclipped_fit = (self._effect(self.division.fit, self.fit, clip)[0] for clip in (True, False))
        heldout, now = self._effect(self.division.heldout, self.held, True)
        unclipped, _ = self._effect(self.division.heldout, self.held, False)
        controlled = self._controls()
        several = self._several()
        findings = [*findings, *self._nothing_made()]
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
            against_norm=self._against_norm() if asked.studies.norms else [],
            against_images=[self._with_images(n) for n in asked.studies.images],
            inner_products=several[0],
            several=several[1],
            labels=self._labels(now),
            on_models=[self._on(other) for other in asked.studies.others],
            cross=self._cross() if asked.studies.cross else None,
            geometry=self._geometry() if asked.studies.geometry else None,
            findings=findings,
        ), self._shown(now)

    def _nothing_made(self) -> Iterator[Finding]:
        """What makes the rates say nothing of the model."""
        if not bool(self.found.v.any()):
            yield Finding(
                code="no-perturbation",
                severity="warning",
                saw="The perturbation is zero, so nothing was tried on the model.",
                do="Take a larger radius, or another method.",
            )
        if self.asked.target is not None and bool((self.held.clean == self.asked.target).all()):
            yield Finding(
                code="already-target",
                severity="warning",
                saw=f"All held-out rows are taken for class {self.asked.target} as they are, so none of them counts.",
                do="Hold out rows of other classes.",
            )

    def _painted(self, v: Tensor, clip: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
        space = Additive(self.threat, self.asked.data.shape, len(v), None, clip)
        return lambda x, clean: space.paint(v.to(x.device), x, clean if len(v) > 1 else torch.zeros_like(clean))

    def _now(self, v: Tensor, rows: Rows, known: Predictions, clip: bool = True) -> Tensor:
        return moved(self.oracle, rows, self._painted(v, clip), known.clean)

    def _effect(self, rows: Rows, known: Predictions, clip: bool) -> tuple[Effect, Tensor]:
        now = self._now(self.v, rows, known, clip)
        return effect(known, now, self.asked.target), now

    def _heldout(self, v: Tensor) -> Share:
        return share(self.held.clean, self._now(v, self.division.heldout, self.held), self.asked.target)

    def _controls(self) -> dict[str, Share]:
        made = controls(self.asked.model, self.division.fit, self.threat, self.seed, self.oracle.chunk)
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
        return random_signs(Additive(self.threat, self.asked.data.shape), self.seed)

    def _with_images(self, images: int) -> AtImages:
        rows = self.division.fit.only(list(range(images)))
        method = replace(self.asked.method, batch=min(self.asked.method.batch, images))  # type: ignore[type-var]
        v = fit(self.oracle, method, rows, self.asked.wanted(len(self.v)), self.asked.watch).v
        return AtImages(images=images, fooled=self._heldout(v))

    def _several(self) -> tuple[list[list[float]], list[Share]]:
        if not self.asked.studies.several:
            return [], []
        seeds = [self.seed + 1 + k for k in range(self.asked.studies.several - 1)]
        wanted = [self.asked.wanted(len(self.v), seed) for seed in seeds]
        others = [fit(self.oracle, self.asked.method, self.division.fit, w, self.asked.watch).v for w in wanted]
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
        return [share(known.clean, now, self.asked.target) for now in nows]

    def _cross(self) -> Cross:
        models = [self.asked.model, *self.asked.studies.others]
        vs = [self.v, *(self._made_for(other) for other in self.asked.studies.others)]
        columns = [self._rates(model, vs) for model in models]
        return Cross(models=[m.name for m in models], fooled=[list(row) for row in zip(*columns, strict=True)])

    def _made_for(self, other: Model) -> Tensor:
        oracle = Oracle(other, chunk=self.oracle.chunk)
        with oracle.session():
            return fit(oracle, self.asked.method, self.division.fit, self.asked.wanted(1), self.asked.watch).v

    def _geometry(self) -> Geometry:
        fit_x, held_x = (_first(rows) for rows in (self.division.fit, self.division.heldout))
        return geometry(
            self.asked.model, fit_x, held_x, universal=self.v[0].cpu(), seed=self.seed, chunk=self.oracle.chunk
        )

    def _shown(self, now: Tensor) -> Shown:
        """Some held-out rows, fooled ones first."""
        hit = fooled(self.held.clean, now, self.asked.target)
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
    return rows.take(torch.arange(min(_MOST, len(rows))))[0]
