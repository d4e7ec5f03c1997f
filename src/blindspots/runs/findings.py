"""Findings as a column of a part: what was seen before the search is known to whoever concludes."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from torch import Tensor

from blindspots.findings import Finding
from blindspots.packing import packed_text, unpacked_text

_FINDINGS = TypeAdapter(list[Finding])


def packed(findings: Sequence[Finding]) -> Tensor:
    """(n,) uint8."""
    return packed_text(_FINDINGS.dump_json(list(findings)).decode())


def unpacked(column: Tensor) -> list[Finding]:
    """What `packed` was given."""
    return _FINDINGS.validate_json(unpacked_text(column))
