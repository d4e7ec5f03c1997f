"""What to know before a detection run is believed, in sentences."""

from collections.abc import Iterator

from blindspots.experiments.detect.verdict import DetectorRecord, DetectVerdict
from blindspots.findings import Finding
from blindspots.records import Share, clopper_pearson

_MISSED = 0.5  # of the detections that an adversary who knows the detector undoes: then it is called bypassed


def findings(verdict: DetectVerdict, fpr: float, threshold_rows: int) -> list[Finding]:
    """The findings on all detectors."""
    return [
        finding
        for d in verdict.detectors
        for finding in (*_bypassed(d, verdict), *_rate(d, fpr, threshold_rows), *_rough(d))
    ]


def left_out(name: str, why: str) -> Finding:
    """A detector that could not be fitted, though nobody asked for it by name."""
    return Finding(code="detector-left-out", severity="note", saw=f"The detector {name} was left out: {why}.", do="")


def _bypassed(d: DetectorRecord, v: DetectVerdict) -> Iterator[Finding]:
    """How much of what the detector seemed to gain is left once it is known."""
    seemed, left = d.pair.unaware, d.pair.adaptive
    fell = seemed.hits - left.hits
    figures = f"AUC {d.auc:.3f}, accuracy of the pair {_percent(left)}, of the model alone {_percent(v.robust)}"
    if left.share <= v.robust.share:
        yield Finding(
            code="detector-worthless", severity="warning",
            saw=f"Against an adversary who knows {d.name} the pair withstands no more than the model alone "
            f"({figures}).",
            do="Do not count on it: harden the model instead.",
        )  # fmt: skip
    elif seemed.hits and fell > _MISSED * (seemed.hits - v.robust.hits):
        yield Finding(
            code="detector-bypassed", severity="warning",
            saw=f"The detector {d.name} is bypassed on {fell} of the {seemed.hits} rows that it holds against attacks "
            f"that do not know it ({figures}).",
            do="Its AUC says nothing of an adversary who knows it: judge it by the accuracy of the pair.",
        )  # fmt: skip


def _rate(d: DetectorRecord, fpr: float, threshold_rows: int) -> Iterator[Finding]:
    low, high = clopper_pearson(d.pair.rejected.hits, d.pair.rejected.rows, 0.99)
    if not low <= fpr <= high:
        yield Finding(
            code="false-positive-rate", severity="note",
            saw=f"{d.name} rejects {_percent(d.pair.rejected)} of the measured clean rows, where {fpr:.1%} "
            f"were asked for on {threshold_rows} other ones.",
            do="The rows differ, or the threshold rows are few: give more.",
        )  # fmt: skip


def _rough(d: DetectorRecord) -> Iterator[Finding]:
    if not d.smooth:
        yield Finding(
            code="rough-detector", severity="note",
            saw=f"The score of {d.name} has no slope to follow; attacks approximate it and search at random besides.",
            do="The accuracy of the pair is an upper bound: a better approximation may lower it.",
        )  # fmt: skip


def _percent(share: Share) -> str:
    return f"{100 * share.share:.1f} %"
