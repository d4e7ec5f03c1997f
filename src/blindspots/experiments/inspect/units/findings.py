"""What a reader of a study of units should know."""

import math
from collections.abc import Iterator

from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.inspect.units.verdict import UnitsVerdict, View
from blindspots.findings import Finding

_LEVEL = 0.05  # of the tests


def findings(config: UnitsConfig, verdict: UnitsVerdict) -> Iterator[Finding]:
    """In the order of the layers."""
    if not config.against:
        yield Finding(
            code="likeness-by-pixels", severity="note",
            saw="No independent network was named, so coarse pixels say which rows are alike.",
            do="Name one with --against: pixels see brightness and place before content.",
        )  # fmt: skip
    tested = sum(bool(view.comparisons) for view in verdict.views)
    if tested > _LEVEL * (config.rotations + 1):
        yield Finding(
            code="few-rotations", severity="warning",
            saw=f"With {config.rotations} random bases no p is below {1 / (config.rotations + 1):.3g}, so that none "
            f"of {tested} tests can come out below {_LEVEL:g} after Holm's correction.",
            do=f"Give at least --rotations {math.ceil(tested / _LEVEL) - 1}, or fewer layers.",
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
