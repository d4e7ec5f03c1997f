"""What is shown of a detection run. No area under a curve stands without the accuracy of the pair beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindspots.experiments.detect import charts
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.overhead import BATCHES, called
from blindspots.experiments.detect.verdict import BatchPower, DetectorRecord, DetectVerdict
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.gallery import Example, gallery
from blindspots.experiments.evaluate.tables_shown import RowExample
from blindspots.experiments.evaluate.texts_shown import TextExample
from blindspots.findings import Finding
from blindspots.pictures import is_image
from blindspots.report.charts import Plot
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import is_small
from blindspots.report.words import ThreatWords, by_severity, count, interval, number, percent, seconds
from blindspots.runs.store import Run

Detected = Run[DetectConfig, DetectVerdict]
_SHOWN = 8  # examples of each detector


@dataclass(frozen=True)
class Section:
    """One detector on the page."""

    record: DetectorRecord
    plots: list[Plot]
    examples: list[
        Example | TextExample | RowExample
    ]  # of attacks that know the detector, the most confident ones first
    warnings: list[Finding]  # of the attacks on the pair
    sizes: list[int]  # of batches
    batches: list[tuple[str, float, list[BatchPower | None]]]  # kind, share, one for every size
    cost: list[tuple[str, str]]
    distortion: str
    slower: str


def page(run: Detected) -> Page:
    """All detectors in a table, and each with its curves, its batches and what passes it."""
    v, shape = run.verdict, run.manifest.world["data"]["shape"]
    threat = ThreatWords(run.config.threat, tuple(run.manifest.world["model"]["bounds"]))
    shown = [_section(run, record, float(threat.radius or 0)) for record in v.best_first()]
    return Page(
        kicker="Detectors of adversarial examples",
        headline=headline(v),
        text=lede(run, threat),
        tables=[_table(shown)],
        sections=[("detectors", "Detectors"), *((s.record.name, s.record.name) for s in shown)],
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "threat": threat, "shown": shown, "counted": counted(), "pair_means": pair_means(run),
            "is_image": is_image(shape), "is_small": is_small(shape),
        },
        cost=count(len(v.detectors), "detector"),
    )  # fmt: skip


def _section(run: Detected, d: DetectorRecord, radius: float) -> Section:
    cells = [c for c in d.cells if c.auc is not None and c.radius == radius]
    attacked = run.parts.run(f"adaptive/{d.name}")
    groups = gallery(Evidence(attacked))
    return Section(
        record=d,
        plots=[charts.roc(cells), charts.precision_recall(cells), charts.histogram(d)],
        examples=groups[0].examples[:_SHOWN] if groups else [],
        warnings=[f for f in by_severity(attacked.findings) if f.severity != "note"],
        sizes=sorted({b.size for b in d.batches}),
        batches=_batches(d.batches),
        cost=cost(run, d),
        distortion=distortion(d),
        slower=_factor(run, d, max(BATCHES)),
    )


def _batches(powers: Sequence[BatchPower]) -> list[tuple[str, float, list[BatchPower | None]]]:
    """A line for every kind and share."""
    known = {(b.kind, b.share, b.size): b for b in powers}
    sizes = sorted({b.size for b in powers})
    lines = dict.fromkeys((b.kind, b.share) for b in powers)
    return [(kind, share, [known.get((kind, share, n)) for n in sizes]) for kind, share in lines]


def _table(shown: Sequence[Section]) -> Table:
    rows = [
        (
            d.name, f"{d.auc:.3f}", percent(d.adaptive_accuracy), percent(d.pair.unaware.share),
            percent(d.pair.clean.share), percent(d.tpr.share),
            f"×{number(d.distortion.factor)}" if d.distortion.factor else "–", s.slower,
        )
        for s in shown
        for d in [s.record]
    ]  # fmt: skip
    return Table(("Detector", "AUC", "Adaptive", "Unaware", "Clean", "TPR at 5 %", "Larger by", "Time"), rows)


# ------------------------------------------------------------------ in words


def headline(v: DetectVerdict) -> str:
    """The verdict's detector: its AUC and the accuracy of the pair, in one sentence without a full stop."""
    best = f"Of {len(v.detectors)} detectors {v.detector} withstands the most: its AUC is {v.auc:.3f}"
    return (
        f"{best if len(v.detectors) > 1 else f'The AUC of {v.detector} is {v.auc:.3f}'}, and against an adversary who "
        f"knows it, model and detector together are right on {percent(v.adaptive_accuracy)}, the model alone on "
        f"{percent(v.robust.share)}"
    )


def lede(run: Detected, threat: ThreatWords) -> str:
    """What was measured on what, in sentences."""
    v, rows = run.verdict, run.parts["rows"]
    return (
        f"Without an adversary {run.manifest.world['model']['name']} is right on {percent(v.clean.share)} of "
        f"{count(v.rows, 'row')}, under attack on {percent(v.robust.share)} ({interval(v.robust.interval)}). Detectors "
        f"were fitted on {count(len(rows['fit_at']), 'other row')}, reject {percent(run.config.fpr)} "
        f"of {count(len(rows['threshold_at']), 'clean row')} that set the threshold, and are measured "
        f"within {threat.text}."
    )


def counted() -> str:
    """What counts as a detection."""
    return (
        f"AUC, average precision and the true positive rate (TPR, where {percent(0.01)} or {percent(0.05)} of the "
        "measured clean rows are rejected) count only examples that fool the model, of rows that it gets right, "
        "against these rows as they are. Intervals of AUCs are DeLong's, which Obuchowski 1997 extends to rows with "
        "several scores; those of shares are exact (Clopper and Pearson)."
    )


def pair_means(run: Detected) -> str:
    """What the accuracy of the pair is."""
    attacks = [name.removeprefix("examples/") for name in run.parts if name.startswith("examples/")]
    return (
        "The pair is right on a row if the model says its label and the detector does not reject it. An adversary wins "
        f"with a wrong class that passes. Unaware: {', '.join(attacks)} and the protocol {run.config.bare_protocol}, "
        f"made on the model alone. Adaptive: these, and the protocol {run.config.protocol} run on the pair itself."
    )


def cost(run: Detected, d: DetectorRecord) -> list[tuple[str, str]]:
    """What the detector costs, as names and values; what took time, as the log has it."""
    o, fitting = d.overhead, run.log.seconds.get(f"detectors/{d.name}")
    return [
        *((f"Time per row, {rows} per call", _slower(run, d, rows)) for rows in BATCHES),
        ("Passes of the model per row", number(o.forwards)),
        ("Numbers kept", f"{count(o.parameters_detector)} beside {count(o.parameters_model, 'parameter')}"),
        ("Memory", f"{count(o.bytes_detector, 'byte')} beside {count(o.bytes_model)}"),
        ("Fitted in", "–" if fitting is None else seconds(fitting)),
    ]


def _times(run: Detected, d: DetectorRecord, rows: int) -> tuple[float, float] | None:
    """Milliseconds per row of the model alone and of the pair; None where the log does not say."""
    told: dict[str, Any] = run.log.timing.get(f"overhead/{d.name}", {})
    alone, both = (told.get(called(who, rows)) for who in ("model", "pair"))
    return (alone, both) if alone and both else None


def _factor(run: Detected, d: DetectorRecord, rows: int) -> str:
    times = _times(run, d, rows)
    return f"×{number(times[1] / times[0])}" if times else "–"


def _slower(run: Detected, d: DetectorRecord, rows: int) -> str:
    times = _times(run, d, rows)
    return f"{number(times[1])} ms instead of {number(times[0])} ms ({_factor(run, d, rows)})" if times else "–"


def distortion(d: DetectorRecord) -> str:
    """How much larger a change has to be to fool the pair."""
    t = d.distortion
    if not t.rows:
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
