"""The report of a certification: one self-contained HTML file, made from the run folder alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blindspots.defend.smoothing.bounds import largest
from blindspots.defend.smoothing.folder import read_certify_file, read_rows
from blindspots.defend.smoothing.record import CertifyManifest, CertifyVerdict
from blindspots.journal import Columns, unfinished
from blindspots.records import clopper_pearson
from blindspots.report import certify_words, words
from blindspots.report.charts import path, ticks
from blindspots.report.page import environment, write_page
from blindspots.report.universal_charts import Line, Mark, Plot

_POINTS = 1000  # of the certified curve
_WIDER = 1.06  # than the largest radius


def write_certify_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished certification, by default report.html in its folder, and return its path.

    Raises InputError when the run is unfinished or damaged.
    """
    return write_page(render_certify(folder), folder, out)


def render_certify(folder: Path) -> str:
    """The HTML. The same folder gives the same bytes."""
    file = read_certify_file(folder)
    if file.verdict is None:
        raise unfinished(folder, "certify")
    m, v = file.manifest, file.verdict
    return environment().get_template("certify.html.j2").render(
        folder=folder,
        file=file,
        manifest=m,
        verdict=v,
        headline=certify_words.headline(m, v),
        lede=certify_words.meaning(m, v),
        attacked=certify_words.attacked(m, v),
        plot=_plot(read_rows(folder, file), m, v),
        points=_points(m, v),
        most=largest(m.samples, m.sigma, m.alpha),
        findings=words.by_severity(v.findings),
    )  # fmt: skip


def _points(m: CertifyManifest, v: CertifyVerdict) -> list[dict[str, object]]:
    under = dict(v.empirical)
    return [
        {"radius": r, "implied": certify_words.implied(r, m.data.shape), "certified": s, "attacked": under.get(r)}
        for r, s in v.certified
    ]


def _plot(columns: Columns, m: CertifyManifest, v: CertifyVerdict) -> Plot:
    """Certified accuracy as the step function that it is, with its band; accuracy under attack as points."""
    most = largest(m.samples, m.sigma, m.alpha)
    width = _WIDER * max(most, m.radii[-1])
    right = (columns["prediction"] == columns["y"]).numpy()
    sure = np.sort(np.where(right, columns["radius"].numpy(), 0.0))
    where = [share.share for _, share in v.certified]
    lines = [_steps(sure[sure > 0], len(sure), width, [words.percent(s) for s in where])]
    if v.empirical:
        dots = [(100 * r / width, 100 * s.share) for r, s in v.empirical]
        shares = [words.percent(s.share) for _, s in v.empirical]
        lines.append(Line("right under attack", path([(x, 100 - y) for x, y in dots]), "", dots, shares))
    x = [Mark(t.at, words.number(t.value)) for t in ticks(width)]
    y = [Mark(share, f"{share} %") for share in (0, 25, 50, 75, 100)]
    marks = [Mark(100 * most / width, "all votes agree")]
    return Plot("Accuracy against radius", "L2 radius", x, y, lines, marks, [words.number(r) for r in m.radii])


def _steps(sure: np.ndarray, rows: int, width: float, values: Sequence[str]) -> Line:
    """From radius 0 on: at every radius of a row, one row fewer. At most `_POINTS` of these steps are drawn."""
    at = np.concatenate([[0.0], sure])
    kept = np.unique(np.linspace(0, len(at) - 1, _POINTS).round().astype(int))
    left = [len(sure) - int(k) for k in kept]
    corners: list[list[tuple[float, float]]] = [[], [], []]
    for k, hits in zip(kept, left, strict=True):
        low, high = clopper_pearson(hits, rows)
        for line, share in zip(corners, (hits / rows, low, high), strict=True):
            x, y = 100 * float(at[k]) / width, 100 - 100 * share
            line.extend([(x, line[-1][1]), (x, y)] if line else [(x, y)])
    curve, low_line, high_line = corners
    return Line("certified", path(curve), path([*high_line, *low_line[::-1]]) + "Z", [], list(values))
