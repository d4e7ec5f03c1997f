"""How many lines of a kind of experiment are its frame, and how many are science."""

import argparse
import ast
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

from benchmarks.page import ROOT, Section, table
from blindspots.experiments import KINDS

FOLDER = ROOT / "src" / "blindspots" / "experiments"
EXAMPLE = ROOT / "examples" / "own_experiment" / "noise_flips"
HEAD = (
    "kind", "config", "verdict", "frame of experiment", "frame in all", "science", "verification", "page", "templates",
)  # fmt: skip
FRAME = ("config", "verdict", "experiment")
READ = """Lines of code: blank lines, comments, docstrings and imports are not counted. "Frame" is what a kind has
to write around its science: `config.py`, `verdict.py`, and of `experiment.py` what is public, the function, its
class of runs and the class `Experiment`, without the bodies of `make` and `conclude`. Most of `verdict.py` says
what was found out, so a kind that finds out more has more of it. "Science" is the rest of `experiment.py` and every
module that is not named here; "verification" is `verify*.py`; "page" is `page.py`, `charts.py`, `words.py`,
`sentences.py`, `tables.py`, `gallery.py`, `evidence.py`, `card.py` and `findings.py`; "templates" are Jinja and
TOML files. `flips` is the example in `examples/own_experiment`."""

PAGE = {"page", "charts", "words", "sentences", "tables", "gallery", "evidence", "card", "findings"}
SCIENCE_METHODS = {"make", "conclude"}


def measure(args: argparse.Namespace) -> Section:
    folders = {kind.name: FOLDER / kind.within / kind.name for kind in KINDS} | {"flips": EXAMPLE}
    homes = set(folders.values())
    numbers = {
        name: counted(folder, {home for home in homes if folder in home.parents}) for name, folder in folders.items()
    }
    rows: list[list[Any]] = [_row(name, n) for name, n in numbers.items()]
    return Section("Lines of every kind", f"{table(HEAD, rows)}\n\n{READ}", numbers)


def _row(name: str, n: Counter[str]) -> list[Any]:
    frame = [n[part] for part in FRAME]
    return [name, *frame, sum(frame), *(n[part] for part in ("science", "verification", "page", "templates"))]


def counted(folder: Path, others: Set[Path] = frozenset()) -> Counter[str]:
    """Lines below a folder, but for those of `others` in it, by what they are for."""
    found: Counter[str] = Counter()
    for file in sorted(f for f in folder.rglob("*") if not others & set(f.parents)):
        if file.suffix in (".j2", ".toml"):
            found["templates"] += sum(bool(line.strip()) for line in file.read_text().splitlines())
        elif file.suffix == ".py":
            found.update(_python(file, file.parent == folder))
    return found


def _python(file: Path, top: bool) -> dict[str, int]:
    text = file.read_text()
    lines = _code(text)
    if top and file.stem == "experiment":
        frame = lines & _frame(ast.parse(text))
        return {"experiment": len(frame), "science": len(lines - frame)}
    return {_purpose(file.stem): len(lines)}


def _purpose(name: str) -> str:
    if name in FRAME:
        return name
    return "verification" if name.startswith("verify") else "page" if name in PAGE else "science"


def _code(text: str) -> set[int]:
    """Numbers of the lines that hold code: neither blank nor a comment, a docstring or an import."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            assert isinstance(node, ast.stmt)
            left_out |= _span(node)
    lines = enumerate(text.splitlines(), 1)
    return {i for i, line in lines if line.strip() and not line.strip().startswith("#")} - left_out


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _frame(module: ast.Module) -> set[int]:
    """The public functions and classes of an experiment.py, without the bodies of its science."""
    public = [n for n in module.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    frame = set[int]().union(*map(_span, public))
    for node in (inner for n in public if isinstance(n, ast.ClassDef) for inner in n.body):
        if isinstance(node, ast.FunctionDef) and node.name in SCIENCE_METHODS:
            frame -= set[int]().union(*map(_span, node.body))
    return frame


def _span(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
