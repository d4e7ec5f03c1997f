"""As a program, FOLDER: a run on a service that is killed, goes on, and is compared with what the service counted.

All in children of this process, which start in no time.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import blindspots as bs
from stand_ins import TOKEN, data, standing, template


def child(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child of a fork must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> None:
    """Wait for a child that has to end well."""
    assert os.waitpid(pid, 0)[1] == 0


def served(folder: Path) -> None:
    """Until it is killed; what was asked is in a file after every request, an input per line."""
    log = (folder / "asked").open("a", buffering=1)

    def note(content: bytes) -> None:
        log.write("".join(f"{json.dumps(one)}\n" for one in json.loads(content)["inputs"]))

    with standing(before=note) as server:
        (folder / "spec.draft").write_text(template(folder, server, "mlflow", price="0.0015", concurrency=1, batch=1))
        (folder / "spec.draft").rename(folder / "spec")
        time.sleep(600)


def run(folder: Path, name: str = "run") -> None:
    spec = (folder / "spec").read_text()
    bs.evaluate(
        spec, data=data(), threat=bs.Linf(12 / 255), protocol="blackbox-scores", row_budget=30, chunk=8, slots=8,
        threads=1, out=folder / name, resume=True, shard_rows=3,
    )  # fmt: skip


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []


def main(folder: Path) -> None:
    os.environ["STAND_TOKEN"] = TOKEN
    server = child(lambda: served(folder))
    try:
        while not (folder / "spec").exists():
            time.sleep(0.01)
        for enough in (20, 45, 70):
            going = child(lambda: run(folder))
            while len(asked(folder)) < enough and not os.waitid(os.P_PID, going, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                time.sleep(0.02)
            os.kill(going, signal.SIGKILL)
            os.waitpid(going, 0)
        ended(child(lambda: run(folder)))
        (folder / "inputs").write_text(json.dumps(asked(folder)))
        ended(child(lambda: run(folder, "whole")))
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
