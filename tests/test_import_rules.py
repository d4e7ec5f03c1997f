import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("PIL", "jinja2", "rich", "sklearn", "typer")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_run_one_way() -> None:
    linted = run(Path(sys.executable).with_name("lint-imports"))
    assert linted.returncode == 0, linted.stdout


def test_importing_the_package_loads_nothing_that_is_rarely_used() -> None:
    loaded = run(sys.executable, "-c", "import sys, blindspots; print(*sys.modules)")
    assert loaded.returncode == 0, loaded.stderr
    assert not set(HEAVY) & set(loaded.stdout.split())
