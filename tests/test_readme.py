"""What README.md shows is run, in its order and in one folder."""

import re
import runpy
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blindspots.cli.app import app
from blindspots.cli.catalogue import page
from blindspots.experiments.evaluate import choosing
from blindspots.experiments.evaluate.verdict import SHARD
from blindspots.protocols import Protocol, protocol
from blindspots.runs.experiment import kinds
from blindspots.threat import Threat

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/*.md")))]
FEW = 12  # rows


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every block of code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_python(code: str) -> None:
    named = re.match(r"# (\w+\.py)\n", code)
    file = Path(named[1] if named else "block.py")
    file.write_text(code.replace("rows(0, 100)", f"rows(0, {FEW})"), encoding="utf-8")
    runpy.run_path(str(file))


def run_shell(lines: str) -> None:
    for line in lines.splitlines():
        program, *words = shlex.split(line)
        if program == "blindspots":
            words = [word if word not in ("100", "40") else str(FEW) for word in words]
            words += ["--rows", "100"] if words[0] in ("universal", "harden") else []  # which else take all there are
            words += ["--engine", "serial"] if words[0] in kinds() else []  # workers do not see what is patched here
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
    monkeypatch.setattr(choosing, "named_protocol", short)
    assert {language for language, _ in blocks("README.md")} == {"python", "sh"}
    for language, block in blocks("README.md"):
        {"python": run_python, "sh": run_shell}[language](block)
    assert "robust accuracy" in capsys.readouterr().out
    assert (tmp_path / "runs/report.html").is_file()


def test_the_tutorial_turns_one_class_into_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = blocks("docs/tutorial.md")
    run_python("".join(code for language, code in page if language == "python"))
    for language, code in page:
        if language == "sh":
            run_shell(code)
    said = capsys.readouterr().out
    (right,) = re.findall(r"taken for (\d) and rightly so", said)
    (chosen,) = re.findall(r"now taken for (\d)", said)
    assert int(chosen) == (int(right) + 3) % 10
    assert f"the picture on disk is taken for {chosen}" in said
    assert (tmp_path / "runs/gibbons/examples/contact_sheet.png").is_file()


def test_the_page_of_attacks_is_up_to_date() -> None:
    assert (ROOT / "docs/attacks.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_documented_columns_of_a_shard_are_those_that_are_written() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.partition("| column | content |\n|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(SHARD)
