"""The sentences on a detection run, on a terminal and in the report."""

from blindspots.experiments.detect.conclude import RATES
from blindspots.experiments.detect.record import DetectManifest, DetectorRecord, DetectVerdict
from blindspots.report.words import ThreatWords, count, number, percent


def headline(v: DetectVerdict) -> str:
    """The verdict's detector: its AUC and the accuracy of the pair, in one sentence without a full stop."""
    best = f"Of {len(v.detectors)} detectors {v.detector} withstands the most: its AUC is {v.auc:.3f}"
    return (
        f"{best if len(v.detectors) > 1 else f'The AUC of {v.detector} is {v.auc:.3f}'}, and against an adversary who "
        f"knows it, model and detector together are right on {percent(v.adaptive_accuracy)}, the model alone on "
        f"{percent(v.robust.share)}"
    )


def lede(m: DetectManifest, v: DetectVerdict) -> str:
    """What was measured on what, in sentences."""
    threat = ThreatWords(m.threat, m.model.bounds)
    return (
        f"Without an adversary {m.model.name} is right on {percent(v.clean.share)} of {count(v.rows, 'row')}. "
        f"Detectors were fitted on {count(m.fit_rows, 'other row')}, reject {percent(m.fpr)} of "
        f"{count(m.threshold_rows, 'clean row')} that set the threshold, and are measured within {threat.text}."
    )


def counted() -> str:
    """What counts as a detection."""
    low, high = (percent(rate) for rate in RATES)
    return (
        "AUC, average precision and the true positive rate (TPR, where "
        f"{low} or {high} of the measured clean rows are rejected) count only examples that fool the model, of rows "
        "that it gets right, against these rows as they are. Intervals of AUCs are DeLong's, which Obuchowski 1997 "
        "extends to rows with several scores; those of shares are exact (Clopper and Pearson)."
    )


def pair(m: DetectManifest) -> str:
    """What the accuracy of the pair is."""
    return (
        "The pair is right on a row if the model says its label and the detector does not reject it. An adversary wins "
        f"with a wrong class that passes. Unaware: {', '.join(m.test_attacks)} and the protocol {m.bare_protocol}, "
        f"made on the model alone. Adaptive: these, and the protocol {m.protocol} run on the pair itself."
    )


def cost(d: DetectorRecord) -> list[tuple[str, str]]:
    """What the detector costs, as names and values."""
    o = d.overhead
    times = o.seconds_model.items()
    return [
        *((f"Time per row, {rows} per call", _slower(alone, o.seconds_pair[rows])) for rows, alone in times),
        ("Passes of the model per row", number(o.forwards)),
        ("Numbers kept", f"{count(o.parameters_detector)} beside {count(o.parameters_model, 'parameter')}"),
        ("Memory", f"{count(o.bytes_detector, 'byte')} beside {count(o.bytes_model)}"),
        ("Fitted in", f"{number(d.fit_seconds)} s"),
    ]


def distortion(d: DetectorRecord) -> str:
    """How much larger a change has to be to fool the pair."""
    t = d.distortion
    if t is None or not t.rows:
        return ""
    if t.factor is None or t.median_pair is None or t.median_model is None:
        return (
            f"No change that fools the pair was found on {count(t.not_found.hits)} of {count(t.rows, 'row')}, by "
            f"{t.attack} or within the threat, so there is no factor."
        )
    return (
        f"In the median of {count(t.rows, 'row')} the smallest change that was found, by {t.attack} or within the "
        f"threat, is {number(t.median_pair)} for the pair and {number(t.median_model)} for the model alone: "
        f"×{number(t.factor)}."
    )


def _slower(alone: float, both: float) -> str:
    return f"{_ms(both)} instead of {_ms(alone)} (×{number(both / alone)})"


def _ms(seconds: float) -> str:
    return f"{number(1000 * seconds)} ms"
