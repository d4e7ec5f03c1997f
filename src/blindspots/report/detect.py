"""The report of a detection run: one self-contained HTML file, made from the run folder alone.

No area under a curve is shown without the accuracy of the pair under attacks that know the detector beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blindspots.defend.detection.conclude import best_first
from blindspots.defend.detection.folder import read_detect_file
from blindspots.defend.detection.record import BatchPower, Cell, DetectManifest, DetectorRecord
from blindspots.findings import Finding
from blindspots.journal import unfinished
from blindspots.pictures import is_colour, is_image
from blindspots.report import detect_charts, detect_words, words
from blindspots.report.charts import Plot
from blindspots.report.detect_words import headline
from blindspots.report.evidence import Run, read_run
from blindspots.report.gallery import Group, gallery, is_small
from blindspots.report.page import environment, write_page
from blindspots.report.words import ThreatWords

__all__ = ["headline", "render_detect", "write_detect_report"]

_SHOWN = 8  # examples of each detector


@dataclass(frozen=True)
class _Section:
    """One detector on the page."""

    record: DetectorRecord
    plots: list[Plot]
    examples: Group | None
    warnings: list[Finding]  # of the attacks on the pair
    sizes: list[int]  # of batches
    batches: list[tuple[str, float, list[BatchPower | None]]]  # kind, share, one for every size
    cost: list[tuple[str, str]]
    distortion: str


def write_detect_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished detection run, by default report.html in its folder, and return its path.

    Raises InputError when the run is unfinished or damaged.
    """
    return write_page(render_detect(folder), folder, out)


def render_detect(folder: Path) -> str:
    """The HTML. The same folder gives the same bytes."""
    file = read_detect_file(folder)
    if file.verdict is None:
        raise unfinished(folder, "detect")
    m, v = file.manifest, file.verdict
    return environment().get_template("detect.html.j2").render(
        folder=folder,
        file=file,
        manifest=m,
        verdict=v,
        threat=ThreatWords(m.threat, m.model.bounds),
        headline=headline(v),
        lede=detect_words.lede(m, v),
        counted=detect_words.counted(),
        pair_means=detect_words.pair(m),
        sections=[_section(folder, m, record) for record in best_first(v.detectors)],
        findings=words.by_severity(v.findings),
        is_image=is_image(m.data.shape),
        is_colour=is_colour(m.data.shape),
        is_small=is_small(m.data.shape),
    )  # fmt: skip


def _section(folder: Path, m: DetectManifest, d: DetectorRecord) -> _Section:
    cells = [c for c in d.cells if c.auc is not None and _within(c, m)]
    attacked = read_run(folder / "adaptive" / d.name)
    return _Section(
        record=d,
        plots=[detect_charts.roc(cells), detect_charts.precision_recall(cells), detect_charts.histogram(d)],
        examples=_passing(attacked),
        warnings=[f for f in words.by_severity(attacked.verdict.findings) if f.severity != "note"],
        sizes=sorted({b.size for b in d.batches}),
        batches=_batches(d.batches),
        cost=detect_words.cost(d),
        distortion=detect_words.distortion(d),
    )


def _batches(powers: Sequence[BatchPower]) -> list[tuple[str, float, list[BatchPower | None]]]:
    """A line for every kind and share."""
    known = {(b.kind, b.share, b.size): b for b in powers}
    sizes = sorted({b.size for b in powers})
    lines = dict.fromkeys((b.kind, b.share) for b in powers)
    return [(kind, share, [known.get((kind, share, n)) for n in sizes]) for kind, share in lines]


def _within(cell: Cell, m: DetectManifest) -> bool:
    """Made within the threat's own radius."""
    return cell.radius == ThreatWords(m.threat, m.model.bounds).radius


def _passing(attacked: Run) -> Group | None:
    """Examples of attacks that know the detector: wrong, and not rejected. The most confident ones first."""
    groups = gallery(attacked)
    return Group(groups[0].title, groups[0].text, groups[0].examples[:_SHOWN]) if groups else None
