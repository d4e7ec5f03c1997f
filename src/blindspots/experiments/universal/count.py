"""The verdict of a universal run, counted from its parts."""

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.fitting import history_of, trials_of
from blindspots.experiments.universal.geometry import geometry_of
from blindspots.experiments.universal.labels import dominant_labels
from blindspots.experiments.universal.measure import share
from blindspots.experiments.universal.verdict import (
    CONTROLS_NAMED,
    AtImages,
    AtNorm,
    Cross,
    DominantLabels,
    Effect,
    OnModel,
    UniversalVerdict,
)
from blindspots.models.model import Model
from blindspots.records import Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts


def count(config: UniversalConfig, parts: Parts, threat: Ball, models: list[Model]) -> UniversalVerdict:
    """`models`: the network itself, then the others that the perturbation was tried on."""
    return _Count(config, parts, threat, models).verdict()


class _Count:
    def __init__(self, config: UniversalConfig, parts: Parts, threat: Ball, models: list[Model]) -> None:
        self.config, self.parts, self.threat, self.models = config, parts, threat, models
        self.fit, self.held = parts.joined("fit"), parts.joined("heldout")
        self.found = parts["search"]

    def verdict(self) -> UniversalVerdict:
        history = history_of(self.found)
        effects = [self._effect(rows, name) for name in ("moved", "unclipped") for rows in (self.fit, self.held)]
        fit, heldout, fit_unclipped, heldout_unclipped = effects
        controls = self._controls()
        return UniversalVerdict(
            fooling_rate_fit=fit.fooled.share,
            fooling_rate_heldout=heldout.fooled.share,
            interval=heldout.fooled.interval,
            fooling_rate_heldout_unclipped=heldout_unclipped.fooled.share,
            control_rates={name: s.share for name, s in controls.items()},
            passes=len(history),
            forwards=history[-1].forwards if history else 0,
            backwards=history[-1].backwards if history else 0,
            norm=float(self.threat.norm(self.found["v"]).max()),
            fit=fit,
            heldout=heldout,
            fit_unclipped=fit_unclipped,
            heldout_unclipped=heldout_unclipped,
            controls=controls,
            history=history,
            period=int(self.found["period"]) or None,
            trials=trials_of(self.found),
            against_norm=self._against_norm(self.parts["norms"]) if "norms" in self.parts else [],
            against_images=[
                AtImages(images=n, fooled=self._heldout(self.parts[f"images/{n}"]["moved"])) for n in self.config.images
            ],
            inner_products=self._inner_products(),
            several=self._several(),
            labels=self._labels(),
            on_models=self._on_models(),
            cross=self._cross() if self.config.cross else None,
            geometry=geometry_of(self.parts["geometry"]) if self.config.geometry else None,
        )

    def _effect(self, rows: Columns, name: str) -> Effect:
        return Effect(
            fooled=share(rows["clean"], rows[name], self.config.target),
            clean_accuracy=_equal(rows["clean"], rows["y"]),
            accuracy=_equal(rows[name], rows["y"]),
        )

    def _heldout(self, moved: Tensor) -> Share:
        return share(self.held["clean"], moved, self.config.target)

    def _controls(self) -> dict[str, Share]:
        c = self.parts["controls"]
        return {CONTROLS_NAMED[k]: self._heldout(m) for k, m in zip(c["kind"].tolist(), c["moved"], strict=True)}

    def _against_norm(self, c: Columns) -> list[AtNorm]:
        rows = zip(c["radius"].tolist(), c["moved"], c["random"], strict=True)
        return [AtNorm(radius=r, fooled=self._heldout(m), random=self._heldout(n)) for r, m, n in rows]

    def _inner_products(self) -> list[list[float]]:
        if not self.config.several:
            return []
        vs = [self.found["v"], *(c["v"] for c in self.parts.below("several"))]
        flat = torch.nn.functional.normalize(torch.stack([v.flatten() for v in vs]).double(), dim=1)
        products: list[list[float]] = (flat @ flat.T).tolist()
        return products

    def _several(self) -> list[Share]:
        if not self.config.several:
            return []
        moved = [self.held["moved"], *(c["moved"] for c in self.parts.below("several"))]
        return [self._heldout(m) for m in moved]

    def _labels(self) -> DominantLabels:
        """Of held-out and fit rows together: there are few of either."""
        clean, moved = (torch.cat([self.held[name], self.fit[name]]) for name in ("clean", "moved"))
        return dominant_labels(clean, moved, int(torch.cat([clean, moved]).max()) + 1)

    def _on_models(self) -> list[OnModel]:
        return [
            OnModel(
                model=model.name, digest=model.digest,
                **{name: share(c["clean"], c[of], self.config.target) for name, of in _RATES},
            )
            for model, c in zip(self.models[1:], self.parts.below("models"), strict=True)
        ]  # fmt: skip

    def _cross(self) -> Cross:
        columns = [
            [share(c["clean"], moved, self.config.target) for moved in c["moved"]] for c in self.parts.below("crossed")
        ]
        return Cross(models=[m.name for m in self.models], fooled=[list(row) for row in zip(*columns, strict=True)])


_RATES = (("fooled", "moved"), ("random", "random"))


def _equal(a: Tensor, b: Tensor) -> Share:
    return Share.of(int((a == b).sum()), len(a))
