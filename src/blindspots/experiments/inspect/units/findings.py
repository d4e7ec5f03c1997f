"""What a reader of a study of units should know."""

from collections.abc import Iterator

from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.inspect.units.verdict import UnitsVerdict, View
from blindspots.findings import Finding


def findings(config: UnitsConfig, verdict: UnitsVerdict) -> Iterator[Finding]:
    """In the order of the layers."""
    if not config.against:
        yield Finding(
            code="likeness-by-pixels", severity="note",
            saw="No independent network was named, so coarse pixels say which rows are alike.",
            do="Name one with --against: pixels see brightness and place before content.",
        )  # fmt: skip
    for view in verdict.views:
        yield from _of(view, verdict.rows)


def _of(view: View, rows: int) -> Iterator[Finding]:
    name = f"{view.layer} ({view.answers})"
    if not view.comparisons:
        yield Finding(
            code="dead-layer", severity="warning",
            saw=f"{view.live} of {view.units} units of {name} answer rows differently: nothing can be compared.",
            do="Look at its inputs, or at the layer before its activation.",
        )  # fmt: skip
    elif view.live < view.units:
        dead = view.units - view.live
        yield Finding(
            code="dead-units", severity="note",
            saw=f"{dead} of {view.units} units of {name} answer all rows alike and were left out.",
            do="",
        )  # fmt: skip
    if rows < view.live:
        yield Finding(
            code="few-rows", severity="warning",
            saw=f"{name} has {view.live} live units, but only {rows} rows judge them: whitening fits their noise.",
            do="Give more rows; the test stays exact, but sees little.",
        )  # fmt: skip
