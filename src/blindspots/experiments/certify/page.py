"""What is shown of a certification."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blindspots.experiments.certify.bounds import largest
from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.certify.page_texts import page as page_of_texts
from blindspots.experiments.certify.verdict import CertifyVerdict
from blindspots.records import clopper_pearson
from blindspots.report import words
from blindspots.report.charts import Line, Mark, Plot, path, quarters, rising, ticks
from blindspots.report.experiment import Page, Table
from blindspots.report.words import count, interval, number, percent
from blindspots.runs.store import Parts, Run

_POINTS = 1000  # of the certified curve
_WIDER = 1.06  # than the largest radius


def page(run: Run[CertifyConfig, CertifyVerdict]) -> Page:
    """The curve of certified accuracy beside that under attack."""
    if run.config.threat is not None:
        return page_of_texts(run)
    c, v = run.config, run.verdict
    shape = tuple(run.manifest.world["data"]["shape"])
    name = run.manifest.world["model"]["name"]
    certifying = sum(s for part, s in run.log.seconds.items() if part.startswith("rows/"))
    each = f"; {words.seconds(certifying / v.rows)} per certificate" if certifying else ""
    return Page(
        kicker="Randomised smoothing",
        headline=headline(name, c, v),
        text=meaning(c, v),
        tables=[_table(v, shape)],
        sections=[("curve", "Curve"), ("numbers", "Numbers"), ("means", "What it means")],
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "attacked": attacked(c, v),
            "plot": _plot(run.parts, c, v),
            "points": _points(v, shape),
            "most": largest(c.samples, c.noise, c.alpha),
            "shape": shape,
        },
        cost=f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}{each}",
    )


# ------------------------------------------------------------------ in words


def headline(model: str, c: CertifyConfig, v: CertifyVerdict) -> str:
    """The certified accuracy at one sigma, or at the radius nearest to it."""
    radius, share = min(v.certified, key=lambda point: abs(point[0] - c.noise))
    return (
        f"Smoothed with sigma {number(c.noise)}, {model} is proved to stay right on {percent(share.share)} of the "
        f"rows, whatever changes them by up to {number(radius)} (L2)"
    )


def meaning(c: CertifyConfig, v: CertifyVerdict) -> str:
    """What it costs in accuracy, what abstaining means, and how far a proof can be wrong."""
    return (
        f"Without an attacker it is right on {percent(v.clean_accuracy)} (interval {interval(v.clean_interval)}) and "
        f"abstains on {percent(v.abstained.share)}; the network alone, without noise, is right on "
        f"{percent(v.base.share)}. Mean radius {number(v.mean_radius)}. Each certificate is wrong with a probability "
        f"of at most {percent(c.alpha)}, and holds for the vote under noise, not for the network alone."
    )


def attacked(c: CertifyConfig, v: CertifyVerdict) -> str:
    """How both curves hang together; "" where nothing was attacked."""
    if not v.empirical:
        return ""
    gap, radius = max((e[1].share - p[1].share, p[0]) for p, e in zip(v.certified, v.empirical, strict=True))
    return (
        f"Attacked by PGD through the noise ({count(c.draws, 'draw')}, {count(c.steps, 'step')}), judged by "
        f"{count(c.judged, 'other draw')}. The truth lies between both curves; they are furthest apart at radius "
        f"{number(radius)}, by {100 * gap:.1f} points."
    )


def implied(radius: float, shape: tuple[int, ...]) -> str:
    """The largest linf ball within an L2 ball: radius / sqrt(d)."""
    return number(radius / math.sqrt(math.prod(shape)))


# ------------------------------------------------------------------ tables and curve


def _table(v: CertifyVerdict, shape: tuple[int, ...]) -> Table:
    under = dict(v.empirical)
    rows = [
        (
            number(r), percent(s.share), interval(s.interval), percent(under[r].share) if r in under else "–",
            implied(r, shape),
        )
        for r, s in v.certified
    ]  # fmt: skip
    return Table(("L2 radius", "Certified", "95 % interval", "Under attack", "L∞ implied"), rows)


def _points(v: CertifyVerdict, shape: tuple[int, ...]) -> list[dict[str, object]]:
    under = dict(v.empirical)
    return [
        {"radius": r, "implied": implied(r, shape), "certified": s, "attacked": under.get(r)} for r, s in v.certified
    ]


def _plot(parts: Parts, c: CertifyConfig, v: CertifyVerdict) -> Plot:
    """Certified accuracy as the step function that it is, with its band; accuracy under attack as points."""
    columns, radii = parts.joined("rows"), c.radii or (0.0,)
    most = largest(c.samples, c.noise, c.alpha)
    width = _WIDER * max(most, radii[-1])
    right = (columns["prediction"] == columns["y"]).numpy()
    sure = np.sort(np.where(right, columns["radius"].numpy(), 0.0))
    lines = [_steps(sure[sure > 0], len(sure), width, [percent(s.share) for _, s in v.certified])]
    if v.empirical:
        dots = [(100 * r / width, 100 * s.share) for r, s in v.empirical]
        shares = [percent(s.share) for _, s in v.empirical]
        lines.append(Line("right under attack", rising(dots), "", dots, shares))
    x = [Mark(t.at, number(t.value)) for t in ticks(width)]
    marks = [Mark(100 * most / width, "all votes agree")]
    return Plot("Accuracy against radius", "L2 radius", x, quarters(), lines, marks, [number(r) for r in radii])


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
