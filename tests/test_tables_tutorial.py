"""The tutorial of tables: its script, its feature file and what it promises of them."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import blindspots as bs
from blindspots.cli.app import app
from blindspots.tables.features import read_features
from rows_of_tables import quick

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    """With the loans in it, and the feature file that the tutorial ends up with."""
    pytest.importorskip("skops")
    monkeypatch.setattr(sys, "argv", ["loans.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "loans.py"), run_name="__main__")
    blocks = re.findall(r"(?:^    .*\n|^\n)+", (ROOT / "docs" / "tables_tutorial.md").read_text(), re.MULTILINE)
    told = next(block for block in blocks if "[columns.amount]" in block)
    (tmp_path / "loans.toml").write_text("\n".join(line[4:] for line in told.splitlines()))
    return tmp_path


def test_the_tutorial_does_what_it_says(folder: Path) -> None:
    proposed, label = folder / "new.toml", ["--columns", "label=outcome"]
    done = CliRunner().invoke(app, ["features", str(folder / "loans.csv"), *label, "--out", str(proposed)])
    assert "12 columns and 3 relations" in " ".join(done.output.split())
    said = [relation.holds for relation in read_features(proposed).relations]
    assert said == ["share == payment / income", "open <= total", 'if status == "single" then children == 0']
    data = bs.load_data(folder / "loans.csv", 40, layout="label=outcome", features=folder / "loans.toml")
    found = bs.evaluate(
        f"sklearn:{folder}/loans.skops", data=data, threat="cost:500", protocol=quick(folder), out=folder / "run"
    )
    assert found.verdict.table.looked.share - found.robust_accuracy > 0.3
    assert (found.norms[found.success] <= 500 * (1 + 1e-5)).all()
    assert bs.verify(folder / "run").ok
