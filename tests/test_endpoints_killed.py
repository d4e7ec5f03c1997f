"""A run on a service that is killed three times pays for nothing twice."""

import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from blindspots.runs.folder import Folder
from blindspots.runs.store import opened

pytest.importorskip("httpx2")

KILLS = 3
PROBED = 5  # times that the first input is asked, on purpose


@pytest.mark.slow
def test_killed_runs_pay_for_nothing_twice_and_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, str(here / "endpoint_killed.py"), str(tmp_path)], env=env, check=True, timeout=120)
    killed, whole = (opened(Folder(tmp_path / name)).verdict for name in ("run", "whole"))
    asked = Counter(json.loads((tmp_path / "inputs").read_text()))
    assert len(asked) > 75, "it was never killed in the middle"
    repeated = sum(asked.values()) - len(asked) - (PROBED - 1)
    assert 0 <= repeated <= KILLS, "at most the one request that was under way at each kill"
    assert 0 <= killed.endpoint.billed - sum(asked.values()) <= KILLS, "what was under way counts as paid"
    assert Decimal(killed.paid) == Decimal("0.0015") * killed.endpoint.billed
    assert whole.endpoint.billed == whole.endpoint.answered == len(asked) + PROBED - 1
    money = {"queries", "paid", "endpoint"}
    assert killed.model_dump(exclude=money) == whole.model_dump(exclude=money)
