"""Who makes the parts: tasks come back by their names, and nothing that befalls a worker befalls the run."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import blindspots as bs
from blindspots.attacks import PGD
from blindspots.engine.cascade import Stage
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.runs.executors import Executor, Processes, Serial, Task
from blindspots.runs.folder import Folder
from blindspots.runs.pace import executor_of
from blindspots.runs.run import TRIES, How, run
from blindspots.testing.experiment import Fatal
from executing import Double, Dying, FaultError, Raising, Where


@pytest.fixture
def two() -> Iterator[Processes]:
    made = Processes(2)
    yield made
    made.close()


def outcomes(executor: Executor, tasks: dict[str, Task]) -> tuple[dict[str, Any], list[Any]]:
    """What the tasks return, as many in flight as the executor has slots, and what they tell."""
    left, flying, found, told = dict(tasks), 0, {}, []
    while left or flying:
        while left and flying < executor.slots:
            name = next(iter(left))
            executor.submit(name, left.pop(name))
            flying += 1
        name, found[name] = executor.next(told.append)
        flying -= 1
    return found, told


TASKS: dict[str, Task] = {f"part {i}": Double(i) for i in range(5)}


def test_processes_and_serial_return_and_tell_the_same(two: Processes) -> None:
    alone, told = outcomes(Serial(), TASKS)
    assert alone == {f"part {i}": 2 * i for i in range(5)}
    assert told == [f"doubling {i}" for i in range(5)]
    found, said = outcomes(two, TASKS)
    assert found == alone
    assert sorted(said) == told


def test_workers_are_other_processes_of_one_thread_each(two: Processes) -> None:
    found, _ = outcomes(two, {str(i): Where() for i in range(6)})
    pids = {pid for pid, _ in found.values()}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    assert {threads for _, threads in found.values()} == {"1"}


def test_what_ends_first_is_told_first(two: Processes) -> None:
    outcomes(two, TASKS)  # both have started
    two.submit("long", Double(1, pause=1.0))
    two.submit("short", Double(2))
    assert [two.next(print).name for _ in range(2)] == ["short", "long"]


def test_a_worker_that_is_killed_loses_its_task_and_is_replaced(two: Processes, tmp_path: Path) -> None:
    task = Dying(tmp_path / "deaths", 1)
    two.submit("part", task)
    assert two.next(print) == ("part", None)
    two.submit("part", task)
    assert two.next(print) == ("part", "alive")


def test_a_worker_that_is_killed_while_it_is_idle_is_replaced(two: Processes) -> None:
    two.submit("a", Where())
    pid, _ = two.next(print).outcome
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    two.submit("b", Double(4))
    ended = two.next(print)
    if ended.outcome is None:
        two.submit("b", Double(4))
        ended = two.next(print)
    assert ended == ("b", 8)


@pytest.mark.parametrize(
    ("kind", "raised", "said"),
    [
        ("input", InputError, "expected rows, got none: pass some"),
        ("fault", FaultError, "a fault"),
        ("stubborn", RuntimeError, "stuck at row 3"),
    ],
)
def test_an_exception_in_a_worker_keeps_its_type_and_sentence(
    two: Processes, kind: str, raised: type[Exception], said: str
) -> None:
    two.submit("part", Raising(kind))
    with pytest.raises(raised) as error:
        two.next(print)
    assert str(error.value) == said
    two.submit("next", Double(1))  # the worker goes on
    assert two.next(print) == ("next", 2)


def test_what_cannot_be_sent_is_refused(two: Processes) -> None:
    with pytest.raises(
        InputError, match=r"expected settings that can be sent to other processes, got: .* engine='serial'"
    ):
        two.submit("part", lambda tell: 1)


def test_closing_ends_all_workers_and_it_can_be_used_again(two: Processes) -> None:
    two.submit("a", Where())
    pid, _ = two.next(print).outcome
    two.submit("long", Double(1, pause=60.0))
    two.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert outcomes(two, {"a": Double(1)})[0] == {"a": 2}


@pytest.mark.parametrize(
    ("engine", "said"),
    [("process", "expected serial, processes or processes:N"), ("processes:x", "got 'processes:x'"),
     ("processes:0", "expected processes:N with N of at least 1, got 0"), ("", "expected serial")],
)  # fmt: skip
def test_an_engine_that_there_is_not_is_refused(engine: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        executor_of(engine)


def test_windows_has_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="use engine='serial'"):
        Processes(2)


def test_engines_are_called_what_they_are_asked_for_by() -> None:
    assert [str(executor_of(name)) for name in ("serial", "processes:3")] == ["serial", "processes:3"]
    assert executor_of("processes").slots >= 1


# ------------------------------------------------------------------ a run

SMALL = EvaluateConfig(
    model="digits", data="digits", rows=16, threat="linf:0.1", protocol="blackbox-labels", shard_rows=8, threads=1
)


def test_a_part_that_kills_its_workers_again_and_again_ends_the_run(tmp_path: Path) -> None:
    files = Fatal(tmp_path / "run", workers=100)
    with pytest.raises(InputError, match=f"expected preflight to be made, but {TRIES} workers died of it") as error:
        run("evaluate", SMALL, how=How(files, engine="processes:1"))
    assert "--engine serial" in str(error.value)
    assert files.deaths.stat().st_size == TRIES


def test_what_a_model_of_the_user_raises_in_a_worker_reaches_the_user(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import os\nimport blindspots as bs\n\ndef net():\n    model = bs.load_model('digits')\n"
        f"    if os.getpid() != {os.getpid()}:\n        raise ValueError('only here')\n    return model\n"
    )
    config = SMALL.model_copy(update={"model": f"{tmp_path}/net.py:net"})
    with pytest.raises((InputError, ValueError), match="only here"):
        run("evaluate", config, how=How(Folder(tmp_path / "run"), engine="processes:2"))


def test_objects_without_names_stay_in_this_process(tmp_path: Path) -> None:
    x, y = bs.load_data("digits").rows(0, 16)
    asked = {"threat": "linf:0.1", "protocol": [Stage("one", PGD(1), "")], "shard_rows": 8, "threads": 1}
    with pytest.raises(InputError, match="has no name to open it by: use engine='serial'"):
        bs.evaluate("digits", x, y, out=tmp_path / "run", engine="processes:2", **asked)
    with pytest.raises(InputError, match=r"expected a run folder for processes:2, .*: pass out="):
        bs.evaluate("digits", data="digits", rows=16, engine="processes:2", **asked)
    done = bs.evaluate("digits", x, y, out=tmp_path / "other", **asked)
    assert done.log.engine == "serial"


def test_ctrl_c_ends_all_workers(tmp_path: Path) -> None:
    def interrupt(progress: Any) -> None:
        if progress.made:
            raise KeyboardInterrupt

    before = _children()
    with pytest.raises(KeyboardInterrupt):
        run("evaluate", SMALL, how=How(Folder(tmp_path / "run"), engine="processes:2", watch=interrupt))
    assert _children() == before


def _children() -> set[str]:
    found = set[str]()
    for task in Path("/proc/self/task").iterdir():
        found |= set((task / "children").read_text().split())
    return found
