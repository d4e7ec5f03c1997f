"""A single check of a sample."""

from collections.abc import Callable
from dataclasses import dataclass

from blindspots.findings import Finding, Severity
from blindspots.preflight.sample import Sample

Observation = tuple[str, str] | None  # what was seen and what to do; None: all is well


@dataclass(frozen=True)
class Check:
    """Turns what `find` observes in a sample into a finding."""

    code: str
    severity: Severity
    find: Callable[[Sample], Observation]

    def __call__(self, sample: Sample) -> Finding | None:
        said = self.find(sample)
        return Finding(code=self.code, severity=self.severity, saw=said[0], do=said[1]) if said else None


def of_rows(rows: int, s: Sample) -> str:
    """ "3 of 64 rows" """
    return f"{rows} of {len(s.x)} rows"
