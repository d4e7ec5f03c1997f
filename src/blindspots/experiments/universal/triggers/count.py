"""The verdict of a search for a trigger, counted from its parts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.fitting import history_of
from blindspots.experiments.universal.labels import dominant_labels
from blindspots.experiments.universal.measure import share
from blindspots.experiments.universal.triggers.sought import parse_sought
from blindspots.experiments.universal.triggers.verdict import CONTROLS_NAMED, OfClass, TriggerVerdict
from blindspots.experiments.universal.verdict import DominantLabels, Effect, OnModel
from blindspots.models.model import Model
from blindspots.packing import unpacked_text
from blindspots.records import Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts


def count(config: UniversalConfig, parts: Parts, others: Sequence[Model]) -> TriggerVerdict:
    """`others`: models that the trigger was tried on besides."""
    return _Count(config, parts).verdict(others)


class _Count:
    def __init__(self, config: UniversalConfig, parts: Parts) -> None:
        self.target, self.place, self.parts = config.target, parse_sought(config.threat).place, parts
        self.fit, self.held = parts.joined("fit"), parts.joined("heldout")

    def verdict(self, others: Sequence[Model]) -> TriggerVerdict:
        found = self.parts["search"]
        history, fit, heldout = history_of(found), self._effect(self.fit), self._effect(self.held)
        moved = self.parts["controls"]["moved"]
        controls = {name: self._heldout(m) for name, m in zip(CONTROLS_NAMED, moved, strict=True)}
        return TriggerVerdict(
            trigger=unpacked_text(found["words"]),
            place=self.place,
            fooling_rate_fit=fit.fooled.share,
            fooling_rate_heldout=heldout.fooled.share,
            interval=heldout.fooled.interval,
            control_rates={name: s.share for name, s in controls.items()},
            passes=len(history),
            forwards=history[-1].forwards if history else 0,
            backwards=history[-1].backwards if history else 0,
            fit=fit,
            heldout=heldout,
            per_class=self._per_class(),
            controls=controls,
            history=history,
            labels=self._labels(),
            on_models=self._on_models(others),
        )

    def _effect(self, rows: Columns) -> Effect:
        right, still = ((rows[name] == rows["y"]).sum().item() for name in ("clean", "moved"))
        return Effect(
            fooled=share(rows["clean"], rows["moved"], self.target),
            clean_accuracy=Share.of(int(right), len(rows["y"])),
            accuracy=Share.of(int(still), len(rows["y"])),
        )

    def _heldout(self, moved: Tensor) -> Share:
        return share(self.held["clean"], moved, self.target)

    def _per_class(self) -> list[OfClass]:
        clean, moved = self.held["clean"], self.held["moved"]
        classes = sorted(set(clean.tolist()) - {self.target})
        return [OfClass(label=k, fooled=share(clean[clean == k], moved[clean == k], self.target)) for k in classes]

    def _labels(self) -> DominantLabels:
        """Of held-out and fit rows together."""
        clean, moved = (torch.cat([self.held[name], self.fit[name]]) for name in ("clean", "moved"))
        return dominant_labels(clean, moved, int(torch.cat([clean, moved]).max()) + 1)

    def _on_models(self, others: Sequence[Model]) -> list[OnModel]:
        return [
            OnModel(
                model=model.name,
                digest=model.digest,
                fooled=share(c["clean"], c["moved"], self.target),
                random=share(c["clean"], c["random"], self.target),
            )
            for model, c in zip(others, self.parts.below("models"), strict=True)
        ]
