"""What to know before a guard of queries is relied on, in sentences."""

from collections.abc import Iterator

from blindspots.experiments.detect.queries.verdict import QueriesVerdict
from blindspots.findings import Finding

_MANY = 0.01  # of honest queries


def findings(v: QueriesVerdict) -> Iterator[Finding]:
    """On what passes it, and on whom it turns away."""
    worst = max(v.attacks, key=lambda a: a.guarded.hits)
    if worst.guarded.hits > 0.5 * worst.bare.hits:
        yield Finding(
            code="guard-passed", severity="warning",
            saw=f"{worst.attack} breaks {worst.guarded.hits} of {worst.guarded.rows} rows past the guard, "
            f"{worst.bare.hits} without it.",
            do="Do not count on the guard: harden the model instead.",
        )  # fmt: skip
    if v.rejected.share > _MANY:
        yield Finding(
            code="users-refused", severity="warning",
            saw=f"{v.rejected.hits} of {v.rejected.rows} queries of users about different rows are refused.",
            do="Inputs have too few values, or too flat ones, to tell them apart: take longer windows.",
        )  # fmt: skip
    refused = [near.kind for near in v.near[1:] if near.refused.share > 0.5]
    if refused:
        yield Finding(
            code="frames-refused", severity="note",
            saw=f"Repetitions of a query are mostly refused even where they differ: {', '.join(refused)}.",
            do="The guard suits neither video, nor retries, nor cameras that stand still.",
        )  # fmt: skip
