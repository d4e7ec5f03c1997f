"""What a reader of a study of geometry should know."""

from collections.abc import Iterator

from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.geometry.verdict import Crossing, Feature, GeometryVerdict
from blindspots.findings import Finding

_INDEPENDENT = 0.001  # p below which labels by lot would not be believed


def findings(config: GeometryConfig, verdict: GeometryVerdict, slopes: bool) -> Iterator[Finding]:
    """What was left out, and what to doubt."""
    if not slopes:
        yield Finding(
            code="no-gradients", severity="note",
            saw="The model is known by its answers alone, so only random directions and ways towards other rows were "
            "looked at.",
            do="Curvature, distances, normals, angles and features need gradients: inspect a network.",
        )  # fmt: skip
    elif not config.against:
        yield Finding(
            code="one-model", severity="note",
            saw="No second model was named, so nothing is said on what models share.",
            do="Name an independently trained one with --against.",
        )  # fmt: skip
    if slopes and not config.relearn:
        yield Finding(
            code="no-training", severity="note",
            saw="No network was trained on relabelled adversarial examples.",
            do="Name rows to train on with --training-data, and what learns with --learner where the model's own "
            "layers cannot begin with fresh weights.",
        )  # fmt: skip
    for crossing in verdict.crossings:
        yield from _of_ways(crossing, verdict.rows)
    yield from _of_boundary(verdict)
    for feature in verdict.features:
        yield from _of_labels(feature)


def _of_ways(c: Crossing, rows: int) -> Iterator[Finding]:
    if not c.crossed.rows:
        yield Finding(
            code="one-class", severity="warning",
            saw="The model takes all rows for one class, so no row leads towards another.",
            do="Give rows of more classes.",
        )  # fmt: skip
    elif c.kind == "adversarial" and not c.crossed.hits:
        yield Finding(
            code="nothing-crossed", severity="note",
            saw=f"No adversarial way of {rows:,} crosses a boundary within the threat.",
            do="Take a larger radius to see boundaries, or run evaluate to learn whether gradients are masked.",
        )  # fmt: skip


def _of_boundary(verdict: GeometryVerdict) -> Iterator[Finding]:
    if verdict.boundary and (missing := verdict.boundary.found.rows - verdict.boundary.found.hits):
        yield Finding(
            code="no-boundary", severity="note",
            saw=f"For {missing:,} of {verdict.rows:,} rows no point of another class was found; distances and normals "
            "leave them out.",
            do="",
        )  # fmt: skip


def _of_labels(f: Feature) -> Iterator[Finding]:
    if f.kind == "random" and f.dependence < _INDEPENDENT:
        yield Finding(
            code="labels-not-independent", severity="warning",
            saw=f"Random labels depend on true ones (p = {f.dependence:.2g}), so they alone could teach the classes.",
            do="Take another --seed.",
        )  # fmt: skip
