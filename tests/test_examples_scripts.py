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
    "harden_and_compare.py": r"original .*%\nhardened .*%",
    "own_attack.py": r"SignFlips\(.*\): robust accuracy \d+%.*\nSquare\(",
    "own_network.py": r"clean accuracy .*\nrobust accuracy .*% \(95% interval",
    "photographs.py": r"24 photographs: .*\n[1-9]\d* adversarial pictures in ",
    "robustness_gate.py": r"1 passed",
    "scikit_learn.py": r"pipeline: .* robust\nforest: .* robust",
    "security_curve.py": r"digits .*%\ndigits-robust .*%",
}


def run(script: str, tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / script],
        capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_script_is_run() -> None:
    assert sorted(file.name for file in FOLDER.glob("*.py")) == list(PRINTED)


@pytest.mark.parametrize(
    "script",
    [pytest.param(name, marks=pytest.mark.slow if name == "harden_and_compare.py" else ()) for name in PRINTED],
)
def test_the_script_prints_what_it_promises(script: str, tmp_path: Path) -> None:
    assert re.search(PRINTED[script], run(script, tmp_path))
