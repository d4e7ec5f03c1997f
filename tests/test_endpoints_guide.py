"""The guide in docs/endpoints.md, as a shell runs it."""

import json
import os
import re
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

pytest.importorskip("httpx2")

PAGE = Path(__file__).parents[1] / "docs" / "endpoints.md"


def guide() -> str:
    found = re.search(r"<!-- begin guide -->\n(.*?)<!-- end guide -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.slow
def test_every_command_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "blindspots").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m blindspots "$@"\n')
    (tmp_path / "blindspots").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    script = f"set -eu\ntrap 'kill $!' EXIT\n{guide()}".replace("8000", str(free_port()))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    looked, attacked = (
        json.loads((tmp_path / name / "run.json").read_text())["verdict"] for name in ("look", "attacked")
    )
    assert looked["queries"] <= 100
    assert 0 < Decimal(attacked["paid"]) <= Decimal("2.50")
    assert Decimal(attacked["paid"]) == Decimal("0.0015") * attacked["endpoint"]["billed"]
    assert attacked["clean_accuracy"] > 0.9
    assert attacked["robust_accuracy"] < attacked["clean_accuracy"]
    assert (tmp_path / "attacked" / "report.html").is_file()
