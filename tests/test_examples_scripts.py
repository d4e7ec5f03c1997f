"""The scripts in examples/ run as a user runs them, in seconds, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SECONDS = 120  # a few, on a machine that does nothing else

PRINTED = {
    "black_box.py": r"\d+ of 20 inputs fooled, .*\n\d+ queries",
    "concentric_spheres.py": r"exact 0.00108, measured .*\nexact 1.78e-18, measured .* points",
    "endpoint.py": r"\d+ of 20 inputs fooled\n\d+ queries for [\d.]+, \d+ more were known\nforecast .*: [\d.]+",
    "harden_and_compare.py": r"original .*%\nhardened .*%",
    "loans.py": r"300 loans that the pipeline has not seen, right on \d+% of them",
    "own_attack.py": r"SignFlips\(.*\): robust accuracy \d+%.*\nSquare\(",
    "own_design.py": r"best of the data .*\nnaive +promised .*, true .*\nconservative +promised .*, true ",
    "own_network.py": r"clean accuracy .*\nrobust accuracy .*% \(95% interval",
    "photographs.py": r"24 photographs: .*\n[1-9]\d* adversarial pictures in ",
    "robustness_gate.py": r"1 passed",
    "scikit_learn.py": r"pipeline: .* robust\nforest: .* robust",
    "security_curve.py": r"digits .*%\ndigits-robust .*%",
    "sounds.py": r"right on \d+%, within snr:6 on \d+%\n[1-9]\d* adversarial sounds in ",
    "table_rules.py": r"it looked \d+% robust, it is at most \d+%\n\w+ changed in \d+ rows",
}


ONE_BY_ONE = """
import runpy, sys
for script in sys.argv[1:]:
    print("#", script, flush=True)
    sys.argv = [script]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
"""


def run(scripts: list[str], tmp_path: Path) -> dict[str, str]:
    """What each of them prints. One interpreter for all: its start takes longer than a script."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ONE_BY_ONE, *(FOLDER / script for script in scripts)],
        capture_output=True, text=True, timeout=SECONDS * len(scripts), check=False, cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(re.findall(r"^# .*?(\w+\.py)\n((?:(?!# ).*\n)*)", done.stdout, re.MULTILINE))


def test_every_script_is_run() -> None:
    assert sorted(file.name for file in FOLDER.glob("*.py")) == list(PRINTED)


SLOW = ["harden_and_compare.py"]
LAST = "endpoint.py"  # imports anyio, which pytest in robustness_gate.py wants to be the first to import


@pytest.mark.parametrize(
    "scripts",
    [
        sorted((name for name in PRINTED if name not in SLOW), key=LAST.__eq__),
        pytest.param(SLOW, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_scripts_print_what_they_promise(scripts: list[str], tmp_path: Path) -> None:
    printed = run(scripts, tmp_path)
    assert list(printed) == scripts
    for script, text in printed.items():
        assert re.search(PRINTED[script], text), f"{script}: {text}"
