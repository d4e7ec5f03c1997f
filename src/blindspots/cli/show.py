"""What every command shows in the same way."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blindspots.findings import Finding
from blindspots.report.words import by_severity

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def findings(console: Console, found: Sequence[Finding]) -> None:
    """What the checks saw, the gravest first."""
    if found:
        console.print()
    for finding in by_severity(found):
        console.print(Text.assemble((finding.severity, STYLES[finding.severity]), f": {finding.saw} {finding.do}"))


def where(console: Console, report: Path) -> None:
    """A path on a line of its own, never wrapped."""
    console.print(Text(f"Report: {report}"), soft_wrap=True)


def table(first: str, *others: str) -> Table:
    """A plain table: names on the left, numbers on the right."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    made.add_column(Text(first))
    for name in others:
        made.add_column(Text(name), justify="right")
    return made
