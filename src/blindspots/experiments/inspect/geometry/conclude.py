"""From what was measured to the verdict."""

import torch
from scipy.stats import chi2
from torch import Tensor

from blindspots.experiments.inspect.geometry.axes import STEPS
from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.geometry.features import KINDS
from blindspots.experiments.inspect.geometry.making import lot_of_shown, transferred
from blindspots.experiments.inspect.geometry.statistics import (
    effective,
    energies,
    p_value,
    pearson,
    rank_interval,
    ranks,
)
from blindspots.experiments.inspect.geometry.verdict import (
    Angles,
    Boundary,
    Correlation,
    Crossing,
    Curvature,
    Feature,
    GeometryVerdict,
    SliceRecord,
    Spectrum,
    Subspace,
    Transfer,
)
from blindspots.records import Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts

_KEPT = 50  # singular vectors whose energy is told
_TOP = 0.99  # of cosines with random directions


def concluded(config: GeometryConfig, parts: Parts) -> GeometryVerdict:
    """All numbers, of the parts that there are."""
    rows = parts["rows"]
    ways = [name for name in parts if name.startswith("crossings/")]
    drawn = [name for name in parts if name.startswith("slices/")]
    return GeometryVerdict(
        rows=len(rows["at"]),
        crossings=[_crossing(name.partition("/")[2], rows["prediction"], parts[name]["labels"]) for name in ways],
        slices=[_slice(name.rpartition("/")[2], _row_of(config, rows, name), parts[name]) for name in drawn],
        curvature=_curvatures(parts["curvature"]) if "curvature" in parts else [],
        boundary=_boundary(rows, parts["boundary"]) if "boundary" in parts else None,
        spectrum=_spectrum(parts["boundary"]) if "boundary" in parts else None,
        subspace=_subspace(parts["subspace"]) if "subspace" in parts else None,
        angles=_angles(rows, parts) if "angles" in parts else None,
        features=[_feature(kind, parts[f"features/{kind}"]) for kind in KINDS if f"features/{kind}" in parts],
    )


def _crossing(kind: str, prediction: Tensor, labels: Tensor) -> Crossing:
    """Rows without a way of this kind do not count."""
    gone = labels[:, 0] >= 0
    other = labels[gone] != prediction[gone, None]
    crossed = other.any(1)
    first = (other[crossed].long().argmax(1) + 1).double() / STEPS
    return Crossing(
        kind=kind, crossed=Share.of(int(crossed.sum()), int(gone.sum())),
        first=float(first.quantile(0.5)) if len(first) else None,
    )  # fmt: skip


def _row_of(config: GeometryConfig, rows: Columns, name: str) -> int:
    i = int(name.split("/")[1])
    return int(rows["at"][lot_of_shown(len(rows["at"]), config.seed)[i]])


def _slice(kind: str, row: int, c: Columns) -> SliceRecord:
    label = c["label"]
    return SliceRecord(
        row=row, second=kind, points=label.numel(), forwards=int(c["forwards"]),
        regions=len(set(label[label >= 0].tolist())),
    )  # fmt: skip


# ------------------------------------------------------------------ around rows


def _curvatures(c: Columns) -> list[Curvature]:
    return [_curvature(float(length), c["slope"], c["adversarial"][:, i], c["random"][:, i]) for i, length in enumerate(
        c["lengths"]
    )]  # fmt: skip


def _curvature(length: float, slope: Tensor, adversarial: Tensor, random: Tensor) -> Curvature:
    both = adversarial.isfinite() & (slope > 0)
    a, r = adversarial[both] / slope[both], random[both] / slope[both]
    return Curvature(
        length=length, adversarial=_median(a), random=_median(r), more=Share.of(int((a > r).sum()), len(a)),
        straight=Share.of(int((a == 0).sum()), len(a)),
    )  # fmt: skip


def _median(values: Tensor) -> float | None:
    return float(values.quantile(0.5)) if len(values) else None


def _boundary(rows: Columns, c: Columns) -> Boundary:
    found = c["found"]
    near = c["distance"][found]
    return Boundary(
        found=Share.of(int(found.sum()), len(found)), median=_median(near),
        confidence=_correlation(near, rows["odds"][found], c["null"]),
    )  # fmt: skip


def _correlation(a: Tensor, b: Tensor, null: Tensor) -> Correlation:
    rho = pearson(ranks(a), ranks(b))
    return Correlation(rows=len(a), value=rho, interval=rank_interval(rho, len(a)), p=p_value(rho, null))


def _spectrum(c: Columns) -> Spectrum | None:
    normals = c["normals"].double()
    if len(normals) < 2:
        return None
    own, random = energies(normals @ normals.T), energies(c["random_gram"])
    return Spectrum(
        rows=len(normals), dimensions=normals.shape[1], energy=_first(own), energy_random=_first(random),
        effective=effective(own), effective_random=effective(random),
    )  # fmt: skip


def _first(shares: Tensor) -> list[float]:
    return shares.cumsum(0)[:_KEPT].tolist()


def _subspace(c: Columns) -> Subspace:
    some = c["tried"] > 0
    tried, crossed = c["tried"][some], c["crossed"][some]
    return Subspace(
        length=float(c["length"]), median=float(c["predicted"].double().quantile(0.5)), tried=int(tried.sum()),
        share=float((crossed.double() / tried).mean()) if len(tried) else 0.0,
        whole=Share.of(int((crossed == tried).sum()), len(tried)),
    )  # fmt: skip


# ------------------------------------------------------------------ two models


def _angles(rows: Columns, parts: Parts) -> Angles:
    c = parts["angles"]
    most = float(c["random"].quantile(_TOP))
    ways = (("model", "against", c["null_forth"]), ("against", "model", c["null_back"]))
    return Angles(
        rows=len(c["cosine"]), median=float(c["cosine"].quantile(0.5)), random=float(c["random"].std()),
        above=Share.of(int((c["cosine"] > most).sum()), len(c["cosine"])),
        transfers=[_transfer(rows, parts[f"moved/{s}"], s, t, c["cosine"], null) for s, t, null in ways],
    )  # fmt: skip


def _transfer(rows: Columns, moved: Columns, source: str, target: str, cosine: Tensor, null: Tensor) -> Transfer:
    fooled, counted = transferred(rows, moved, source, target)
    hit, at = fooled[counted], cosine[counted]
    return Transfer(
        source=source, transferred=Share.of(int(hit.sum()), len(hit)), fooled=_mean(at[hit]), resisted=_mean(at[~hit]),
        correlation=_correlation(at, hit.double(), null),
    )  # fmt: skip


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


# ------------------------------------------------------------------ features


def _feature(kind: str, c: Columns) -> Feature:
    return Feature(
        kind=kind, rows=len(c["y"]), believed=Share.of(int((c["believed"] == c["target"]).sum()), len(c["y"])),
        accuracy=Share.of(int((c["answers"] == c["truth"]).sum()), len(c["truth"])), chance=1 / int(c["classes"]),
        dependence=_dependence(c["y"], c["target"], int(c["classes"])), steps=int(c["steps"]),
    )  # fmt: skip


def _dependence(y: Tensor, target: Tensor, classes: int) -> float:
    """p of Pearson's chi-square test of independence, without classes that do not occur."""
    counts = torch.bincount(y * classes + target, minlength=classes * classes).view(classes, classes).double()
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return float(chi2.sf(float(((counts - expected).square() / expected).sum()), freedom)) if freedom else 1.0
