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


EVALUATES = """
import sys, blindspots as bs
given = {"threat": "linf:0.1", "protocol": "blackbox-labels", "row_budget": 50}
bs.evaluate("digits", data=bs.load_data("digits", 4), **given)
print(*(name.split(".")[2] for name in sys.modules if name.startswith("blindspots.experiments.")))
"""


def test_an_evaluation_loads_the_code_of_no_other_kind() -> None:
    done = run(sys.executable, "-c", EVALUATES)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"evaluate"}


def test_the_list_of_commands_reads_no_settings() -> None:
    code = "import sys, blindspots.cli.app; print(*sys.modules)"
    loaded = run(sys.executable, "-c", code).stdout.split()
    assert not {"torch", "numpy", "pydantic"} & set(loaded)
