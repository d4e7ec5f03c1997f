"""What README.md shows is run, in its order and in one folder."""

import re
import runpy
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blindspots.cli.app import app
from blindspots.journal import SHARD
from blindspots.protocols import Protocol, protocol
from blindspots.threat import Threat

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
FEW = 12  # rows


def run_python(code: str) -> None:
    named = re.match(r"# (\w+\.py)\n", code)
    file = Path(named[1] if named else "block.py")
    file.write_text(code.replace("rows(0, 100)", f"rows(0, {FEW})"), encoding="utf-8")
    runpy.run_path(str(file))


def run_shell(lines: str) -> None:
    for line in lines.splitlines():
        program, *words = line.split()
        if program == "blindspots":
            words = [word if word != "100" else str(FEW) for word in words]
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, f"{line}\n{result.output}"
        else:
            targets = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert program == "make"
            assert re.search(rf"^{words[0]}:", targets, re.MULTILINE)


def short(name: str, threat: Threat) -> Protocol:
    whole = protocol(name, threat)
    return replace(whole, stages=whole.stages[:2])


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for user in ("evaluate", "cli.running"):
        monkeypatch.setattr(import_module(f"blindspots.{user}"), "named_protocol", short)
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    for language, block in BLOCKS:
        {"python": run_python, "sh": run_shell}[language](block)
    assert "right at first" in capsys.readouterr().out
    assert (tmp_path / "runs/report.html").is_file()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_documented_columns_of_a_shard_are_those_that_are_written() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.partition("| column | content |\n|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(SHARD)
