"""What makes the rates of a universal run say nothing of the model, in sentences."""

from collections.abc import Iterator

from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.verdict import UniversalVerdict
from blindspots.findings import Finding


def findings(config: UniversalConfig, verdict: UniversalVerdict) -> Iterator[Finding]:
    """What a reader of the verdict should know."""
    if not verdict.norm:
        yield Finding(
            code="no-perturbation",
            severity="warning",
            saw="The perturbation is zero, so nothing was tried on the model.",
            do="Take a larger radius, or another method.",
        )
    if not verdict.heldout.fooled.rows:
        yield Finding(
            code="already-target",
            severity="warning",
            saw=f"All held-out rows are taken for class {config.target} as they are, so none of them counts.",
            do="Hold out rows of other classes.",
        )
