"""From what a run keeps to its verdict: nothing here asks a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.experiments.detect import measure
from blindspots.experiments.detect.batches import powers
from blindspots.experiments.detect.detectors.detector import Detector
from blindspots.experiments.detect.measure import Scores
from blindspots.experiments.detect.verdict import (
    Cell,
    DetectorRecord,
    DetectVerdict,
    Distortion,
    Histogram,
    Overhead,
    Pair,
)
from blindspots.records import Share
from blindspots.runs.experiment import Columns

Array = NDArray[Any]
RATES = (0.01, 0.05)
_BINS = 40


@dataclass(frozen=True)
class Evidence:
    """What a run keeps of n measured rows."""

    threat: Ball
    attacks: list[str]
    radii: list[float]  # one of them is the threat's
    smallest: str  # the attack for the smallest distance
    y: Array  # (n,)
    prediction: Array  # (n,) of the model on the rows as they are
    fooled: Array  # (attacks, radii, n) bool: the example is predicted otherwise than the label
    bare: dict[str, Array]  # `right`, `won`, `norm` (n,) of the evaluation of the model alone
    smallest_model: Array  # (d,) of the first rows: the smallest norms, inf where no example was found

    @property
    def radius(self) -> int:
        """Which of the radii is the threat's."""
        return self.radii.index(float(self.threat.radius or 0))

    @property
    def right(self) -> Array:
        right: Array = self.prediction == self.y
        return right


@dataclass(frozen=True)
class OfDetector:
    """What a run keeps of one detector."""

    detector: Detector
    scores: dict[str, Array]  # pair (2,): threshold and scale; clean (n,), attacks (attacks, radii, n), bare (n,)
    pair: dict[str, Array]  # right, won, norm (n,) of the evaluation of the pair; score (k,) of its examples
    batches: Columns  # p-values of a detector that tests batches, see `batches`; else none
    smallest: Array  # (d,) of the first rows: the smallest norms, inf where no example was found
    overhead: Overhead


def conclude(evidence: Evidence, detectors: Mapping[str, OfDetector]) -> DetectVerdict:
    """The verdict, without findings.

    Raises InputError: no attack fooled the model within the threat, so there was nothing to detect.
    """
    if not (evidence.fooled[:, evidence.radius] & evidence.right).any():
        raise InputError(
            f"expected test attacks that fool the model within {evidence.threat.spec}, got none on {len(evidence.y)} "
            "rows: there is nothing to detect, so allow a larger change or use stronger attacks with --test-attack"
        )
    records = [_detector(evidence, name, of) for name, of in detectors.items()]
    best = max(records, key=lambda r: (r.adaptive_accuracy, r.auc))
    return DetectVerdict(
        detector=best.name,
        auc=best.auc,
        auc_interval=best.auc_interval,
        tpr_at_fpr={c.attack: c.tpr_at_fpr for c in best.cells if c.radius == evidence.radii[evidence.radius]},
        adaptive_accuracy=best.adaptive_accuracy,
        adaptive_interval=best.adaptive_interval,
        overhead=best.overhead,
        rows=len(evidence.y),
        clean=_share(evidence.right),
        robust=_share(evidence.bare["right"] & ~evidence.bare["won"]),
        detectors=records,
    )


def _share(hits: Array) -> Share:
    return Share.of(int(hits.sum()), len(hits))


def _detector(evidence: Evidence, name: str, of: OfDetector) -> DetectorRecord:
    limit, scale = of.scores["pair"].tolist()
    pair = _pair(evidence, of, limit)
    together = _scores(evidence, of, slice(None), evidence.radius)
    return DetectorRecord(
        name=name,
        title=of.detector.title,
        paper=of.detector.paper,
        spec=repr(of.detector),
        learns_from_attacks=of.detector.learns_from_attacks,
        smooth=of.detector.smooth,
        threshold=limit,
        scale=scale,
        auc=measure.auc(together),
        auc_interval=measure.auc_interval(together),
        average_precision=measure.average_precision(together),
        tpr=measure.tpr_at(together, RATES[-1]),
        adaptive_accuracy=pair.adaptive.share,
        adaptive_interval=pair.adaptive.interval,
        pair=pair,
        cells=list(_cells(evidence, of, limit, pair.adaptive.share)),
        histogram=_histogram(together, of.pair["score"]),
        batches=list(powers(of.batches)),
        distortion=_distortion(evidence, of, limit),
        overhead=of.overhead,
    )


def _scores(evidence: Evidence, of: OfDetector, attacks: Any, radius: int) -> Scores:
    """Clean rows that the model gets right, and what attacks made of them, where that fools it."""
    rows = np.arange(len(evidence.y))
    fooled = np.atleast_2d(evidence.fooled[attacks, radius] & evidence.right)
    scores = np.atleast_2d(of.scores["attacks"][attacks, radius])
    at = np.broadcast_to(rows, fooled.shape)
    return Scores.of(of.scores["clean"][evidence.right], scores[fooled], rows[evidence.right], at[fooled])


def _cells(evidence: Evidence, of: OfDetector, limit: float, adaptive: float) -> Iterator[Cell]:
    for a, attack in enumerate(evidence.attacks):
        for r, radius in enumerate(evidence.radii):
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


def _pair(evidence: Evidence, of: OfDetector, limit: float) -> Pair:
    passes = of.scores["attacks"][:, evidence.radius] <= limit
    fooled = (evidence.fooled[:, evidence.radius] & passes).any(0)
    fell = fooled | (evidence.bare["won"] & (of.scores["bare"] <= limit))
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


def _distortion(evidence: Evidence, of: OfDetector, limit: float) -> Distortion:
    first = len(of.smallest)
    both = (evidence.right & (of.scores["clean"] <= limit))[:first]
    alone = np.minimum(evidence.smallest_model, evidence.bare["norm"][:first])[both]
    pair = np.minimum(of.smallest, of.pair["norm"][:first])[both]
    median_model, median_pair = _median(alone), _median(pair)
    return Distortion(
        attack=evidence.smallest,
        rows=int(both.sum()),
        median_model=median_model,
        median_pair=median_pair,
        factor=median_pair / median_model if median_pair and median_model else None,
        not_found=Share.of(int(np.isinf(pair).sum()), int(both.sum())),
    )


def _median(norms: Array) -> float | None:
    """The lower one of two, so that it is there while half of the rows have an example; else None."""
    middle = float(np.sort(norms)[(len(norms) - 1) // 2]) if len(norms) else np.inf
    return middle if np.isfinite(middle) else None
