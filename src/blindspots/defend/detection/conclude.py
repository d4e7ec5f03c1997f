"""From what a run keeps to its verdict: nothing here asks a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.defend.detection import measure
from blindspots.defend.detection.batches import powers
from blindspots.defend.detection.measure import Scores
from blindspots.defend.detection.record import (
    Cell,
    DetectManifest,
    DetectorRecord,
    DetectVerdict,
    Distortion,
    Histogram,
    Overhead,
    Pair,
)
from blindspots.errors import InputError
from blindspots.journal import Columns
from blindspots.records import Share
from blindspots.threat import parse_threat

Array = NDArray[Any]
RATES = (0.01, 0.05)
_BINS = 40


@dataclass(frozen=True)
class Told:
    """What the run knows of a detector beside its scores."""

    title: str
    paper: str
    learns_from_attacks: bool
    smooth: bool
    fit_seconds: float


@dataclass(frozen=True)
class Evidence:
    """What a run keeps of n measured rows: see `folder`."""

    y: Array  # (n,)
    prediction: Array  # (n,) of the model on the rows as they are
    fooled: Array  # (attacks, radii, n) bool: the example is predicted otherwise than the label
    bare: dict[str, Array]  # `right`, `won`, `norm` (n,) of the evaluation of the model alone

    @property
    def right(self) -> Array:
        right: Array = self.prediction == self.y
        return right


@dataclass(frozen=True)
class OfDetector:
    """What a run keeps of one detector."""

    told: Told
    scores: dict[str, Array]  # pair (2,): threshold and scale; clean (n,), attacks (attacks, radii, n), bare (n,)
    pair: dict[str, Array]  # right, won, norm (n,) of the evaluation of the pair; score (k,) of its examples
    batches: Columns  # p-values of a detector that tests batches, see `batches`; else none
    distortion: dict[str, Array] | None  # model, pair (d,) of the first rows: smallest norms, inf where none was found
    overhead: Overhead


def arrays(columns: Columns) -> dict[str, Array]:
    """As numpy."""
    return {name: t.numpy() for name, t in columns.items()}


def conclude(
    manifest: DetectManifest, evidence: Evidence, detectors: dict[str, OfDetector], seconds: float
) -> DetectVerdict:
    """The verdict, without findings.

    Raises InputError: no attack fooled the model within the threat, so there was nothing to detect.
    """
    radius = manifest.radii.index(float(parse_threat(manifest.threat).radius or 0))
    if not (evidence.fooled[:, radius] & evidence.right).any():
        raise InputError(
            f"expected test attacks that fool the model within {manifest.threat}, got none on {len(evidence.y)} rows: "
            "there is nothing to detect, so allow a larger change or use stronger attacks with --test-attack"
        )
    records = [_detector(manifest, evidence, name, radius, of) for name, of in detectors.items()]
    best = max(records, key=lambda r: (r.adaptive_accuracy, r.auc))
    robust = evidence.bare["right"] & ~evidence.bare["won"]
    return DetectVerdict(
        detector=best.name,
        auc=best.auc,
        auc_interval=best.auc_interval,
        tpr_at_fpr={c.attack: c.tpr_at_fpr for c in best.cells if c.radius == manifest.radii[radius]},
        adaptive_accuracy=best.adaptive_accuracy,
        adaptive_interval=best.adaptive_interval,
        overhead=best.overhead,
        rows=len(evidence.y),
        clean=_share(evidence.right),
        robust=Share.of(int(robust.sum()), len(robust)),
        detectors=records,
        seconds=seconds,
        findings=[],
    )


def _share(hits: Array) -> Share:
    return Share.of(int(hits.sum()), len(hits))


def _detector(manifest: DetectManifest, evidence: Evidence, name: str, radius: int, of: OfDetector) -> DetectorRecord:
    limit, scale = of.scores["pair"].tolist()
    pair = _pair(evidence, of, radius, limit)
    together = _scores(evidence, of, slice(None), radius)
    return DetectorRecord(
        name=name,
        title=of.told.title,
        paper=of.told.paper,
        spec=manifest.detectors[name],
        learns_from_attacks=of.told.learns_from_attacks,
        smooth=of.told.smooth,
        threshold=limit,
        scale=scale,
        auc=measure.auc(together),
        auc_interval=measure.auc_interval(together),
        average_precision=measure.average_precision(together),
        tpr=measure.tpr_at(together, RATES[-1]),
        adaptive_accuracy=pair.adaptive.share,
        adaptive_interval=pair.adaptive.interval,
        pair=pair,
        cells=list(_cells(manifest, evidence, of, limit, pair.adaptive.share)),
        histogram=_histogram(together, of.pair["score"]),
        batches=list(powers(of.batches)),
        distortion=None if of.distortion is None else _distortion(manifest, evidence, of, limit),
        overhead=of.overhead,
        fit_seconds=of.told.fit_seconds,
    )


def _scores(evidence: Evidence, of: OfDetector, attacks: Any, radius: int) -> Scores:
    """Clean rows that the model gets right, and what attacks made of them, where that fools it."""
    rows = np.arange(len(evidence.y))
    fooled = np.atleast_2d(evidence.fooled[attacks, radius] & evidence.right)
    scores = np.atleast_2d(of.scores["attacks"][attacks, radius])
    at = np.broadcast_to(rows, fooled.shape)
    return Scores.of(of.scores["clean"][evidence.right], scores[fooled], rows[evidence.right], at[fooled])


def _cells(
    manifest: DetectManifest, evidence: Evidence, of: OfDetector, limit: float, adaptive: float
) -> Iterator[Cell]:
    for a, attack in enumerate(manifest.test_attacks):
        for r, radius in enumerate(manifest.radii):
            scores = _scores(evidence, of, a, r)
            yield Cell(
                attack=attack,
                radius=radius,
                fooled=Share.of(len(scores.positives), int(evidence.right.sum())),
                auc=measure.auc(scores) if scores else None,
                interval=measure.auc_interval(scores) if scores else None,
                average_precision=measure.average_precision(scores) if scores else None,
                tpr_at_fpr={str(rate): measure.tpr_at(scores, rate) for rate in RATES} if scores else {},
                detected=measure.above(scores.positives, limit),
                adaptive_accuracy=adaptive,
                roc=measure.roc(scores) if scores else [],
                precision_recall=measure.precision_recall(scores) if scores else [],
            )


def _pair(evidence: Evidence, of: OfDetector, radius: int, limit: float) -> Pair:
    passes = of.scores["attacks"][:, radius] <= limit
    fell = (evidence.fooled[:, radius] & passes).any(0) | (evidence.bare["won"] & (of.scores["bare"] <= limit))
    clean, stands = of.pair["right"], of.pair["right"] & ~of.pair["won"]
    return Pair(
        clean=_share(clean),
        rejected=_share(of.scores["clean"] > limit),
        unaware=_share(clean & ~fell),
        evaluated=_share(stands),
        adaptive=_share(stands & ~fell),
    )


def _histogram(scores: Scores, adaptive: Array) -> Histogram:
    """Forty bins over the middle of all scores; the outer two take what lies beyond."""
    everything = np.concatenate([scores.negatives, scores.positives, adaptive])
    low, high = np.quantile(everything, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)

    def counts(values: Array) -> list[int]:
        return [int(n) for n in np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]]

    return Histogram(
        edges=[float(e) for e in edges],
        clean=counts(scores.negatives),
        unaware=counts(scores.positives),
        adaptive=counts(adaptive),
    )


def _distortion(manifest: DetectManifest, evidence: Evidence, of: OfDetector, limit: float) -> Distortion:
    assert of.distortion is not None
    first = len(of.distortion["pair"])
    both = (evidence.right & (of.scores["clean"] <= limit))[:first]
    found = {"model": evidence.bare["norm"], "pair": of.pair["norm"]}
    least = {name: np.minimum(of.distortion[name], norms[:first])[both] for name, norms in found.items()}
    alone, pair = (_median(norms) for norms in least.values())
    return Distortion(
        attack=SMALLEST[parse_threat(manifest.threat).name],
        rows=int(both.sum()),
        median_model=alone,
        median_pair=pair,
        factor=pair / alone if pair and alone else None,
        not_found=Share.of(int(np.isinf(least["pair"]).sum()), int(both.sum())),
    )


SMALLEST = {"linf": "fmn", "l2": "ddn", "l1": "fmn", "l0": "fmn"}  # attacks for the smallest distance


def _median(norms: Array) -> float | None:
    """The lower one of two, so that it is there while half of the rows have an example; else None."""
    middle = float(np.sort(norms)[(len(norms) - 1) // 2]) if len(norms) else np.inf
    return middle if np.isfinite(middle) else None


def best_first(records: Sequence[DetectorRecord]) -> list[DetectorRecord]:
    """By the accuracy of the pair under attacks that know it."""
    return sorted(records, key=lambda r: (-r.adaptive_accuracy, -r.auc))
