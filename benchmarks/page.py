"""The page of results: one section per measurement between markers, and the raw numbers beside it."""

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = Path(__file__).parent / "results"

_HEAD = """# Benchmarks

Measured by `make bench` (or `python -m benchmarks NAME`). Every ratio compares two things that ran on the same machine
with the same threads. Costs are counted outside of both contenders, by a wrapper around the network: rows that it sees,
and rows whose gradient it returns; where a run's own count is compared, the table has both. The raw numbers are in
`benchmarks/results`. Without a folder of real models (`BLINDSPOTS_ZOO`) only the digits are measured.
"""


SECTIONS = (
    "overhead", "verdict", "published", "attacks", "optimality", "queries", "lanes", "memory", "resume", "exact",
    "universal", "transfer", "training", "settings", "recipes", "mnist", "pool", "texts", "text_searches",
    "text_accuracy", "pictures", "lines", "trees", "forecasts",
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    title: str
    text: str  # tables, and how to read them
    raw: Any  # JSON


def publish(name: str, section: Section, command: str) -> None:
    """Replace the section `name` of the page, and its raw numbers."""
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    body = f"## {section.title}\n\n{date}, {machine()}. `{command}`\n\n{section.text}"
    begin, end = _markers(name)
    page = PAGE.read_text() if PAGE.is_file() else _HEAD + "".join("\n{}\n{}\n".format(*_markers(n)) for n in SECTIONS)
    page += "" if begin in page else f"\n{begin}\n{end}\n"
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: f"{begin}\n{body}\n{end}", page))
    store(name, {"date": date, "machine": machine(), "command": command, "numbers": section.raw})


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- begin {name} -->", f"<!-- end {name} -->"


def store(name: str, content: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1)
    flat = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)  # a list of numbers on one line
    (RESULTS / f"{name}.json").write_text(flat + "\n")


def stored(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def machine() -> str:
    threads = torch.get_num_threads()
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores shared with other work (load {_load()}), "
        f"{threads} thread{'s' * (threads > 1)}, Python {platform.python_version()}, torch {torch.__version__}"
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def versions(*packages: str) -> str:
    return ", ".join(f"{package} {version(package)}" for package in packages)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown; numbers to the right."""
    rule = ["---" if rows and isinstance(rows[0][i], str) else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(map(_shown, row))} |" for row in (head, rule, *rows))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 100 else f"{value:.4g}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
