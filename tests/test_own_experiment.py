"""People who write an attack or a kind of experiment of their own check it as we check ours."""

import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import blindspots as bs
from blindspots.runs.experiment import GROUP, kinds
from blindspots.runs.folder import Folder
from blindspots.runs.run import How, run

EXAMPLES = Path(__file__).parents[1] / "examples"
PACKAGE = EXAMPLES / "own_experiment"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that pip would have made of the package's metadata."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "noise_flips-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"][GROUP]
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(PACKAGE))
    kinds.cache_clear()
    yield info.parent
    kinds.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "noise_flips"]:
        del sys.modules[name]


@pytest.mark.slow
def test_an_entry_point_brings_a_kind_that_keeps_the_contract(installed: Path, tmp_path: Path) -> None:
    config = kinds()["flips"].load("config")
    small = config(model="digits", data="digits", rows=66, sigma=0.3, draws=3)
    claims = list(bs.testing.check_experiment("flips", small, tmp_path / "runs", kills=3))
    assert len(claims) == 10, claims


def test_it_runs_and_is_proved(installed: Path, tmp_path: Path) -> None:
    config = kinds()["flips"].load("config")(model="digits", data="digits", rows=66, sigma=0.3, draws=3)
    done = run("flips", config, how=How(Folder(tmp_path / "run"), engine="serial"))
    assert done.verdict.rows == 66
    assert bs.verify(tmp_path / "run").ok
    assert bs.require(done.verdict, "flip_rate<=0.5") == []
    assert "changes the prediction of digits" in bs.write_report(tmp_path / "run").read_text()


def test_it_is_a_command(installed: Path) -> None:
    code = f"import sys; sys.path[:0] = [{str(installed)!r}, {str(PACKAGE)!r}]; from blindspots.cli import main; main()"
    said = subprocess.run([sys.executable, "-c", code, "flips", "--help"], capture_output=True, text=True, check=True)
    assert "--sigma" in said.stdout


def test_it_is_gone_with_its_package() -> None:
    assert "flips" not in kinds()


def own_attack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_attack", EXAMPLES / "own_attack.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_attack_of_the_examples_keeps_the_contract() -> None:
    attack = own_attack().SignFlips(steps=6)
    claims = list(bs.testing.check_attack(attack))
    assert "linf: neighbours change no row" in claims


def test_an_attack_that_leaves_the_ball_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = own_attack()
    monkeypatch.setattr(module.SignFlips, "corner", lambda self, problem, job, signs: job.x + signs)
    with pytest.raises(AssertionError, match=r"SignFlips.* breaks the contract of attacks, linf: proposals"):
        list(bs.testing.check_attack(module.SignFlips(steps=6)))
