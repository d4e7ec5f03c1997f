"""One question to a sample."""

from collections.abc import Callable
from dataclasses import dataclass

from blindspots.findings import Finding, Severity
from blindspots.preflight.sample import Sample

Said = tuple[str, str] | None  # what was seen, what to do


@dataclass(frozen=True)
class Check:
    """One question to a sample. `look` returns what was seen and what to do, or None if all is well."""

    code: str
    severity: Severity
    look: Callable[[Sample], Said]

    def __call__(self, sample: Sample) -> Finding | None:
        said = self.look(sample)
        return Finding(code=self.code, severity=self.severity, saw=said[0], do=said[1]) if said else None


def of_rows(rows: int, s: Sample) -> str:
    """ "3 of 64 rows" """
    return f"{rows} of {len(s.x)} rows"
