"""What holds for every kind of run. `check_experiment` yields what it has shown; an AssertionError says what fails."""

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from blindspots.errors import InputError
from blindspots.report.experiment import html, page_of
from blindspots.runs.config import Config
from blindspots.runs.folder import Files, Folder
from blindspots.runs.metric import require
from blindspots.runs.run import How, run
from blindspots.runs.seals import sealed
from blindspots.runs.store import LOG, RUN, RunFile, opened
from blindspots.runs.verify import verify_files

NUMBER = re.compile(r"(?<=[:\[,\s])-?\d[-+.\de]*(?=[,\]}\s])")  # in JSON
_EVERY = 97  # of the bytes of a part is flipped


def check_experiment(
    kind: str,
    config: Config,
    folder: Path,
    *,
    given: Mapping[str, Any] | None = None,
    kills: int = 8,
    numbers: int | None = None,
) -> Iterator[str]:
    """Run an experiment in many ways and compare.

    Args:
        kind: its name.
        config: a small run: it is repeated about `kills` + 6 times. What it names has to be opened by names, or is
            `given`; then nothing is sent to processes.
        folder: an empty folder to work in.
        kills: at how many of its writes the run is killed, spread evenly.
        numbers: how many numbers of the verdict are changed, spread evenly; None: every one.

    Yields:
        What was shown, in a sentence.

    Raises:
        AssertionError: what does not hold.
    """
    torch.set_num_threads(1)  # processes are forked to be killed
    config = config.model_copy(update={"threads": 1})
    memory = _files(_run(kind, config, given, {}))
    yield f"a run in memory: {len(memory)} files, {sum(map(len, memory.values())):,} bytes"
    counted = Fatal(folder / "serial")
    assert _files(_run(kind, config, given, counted)) == memory, "a folder differs from memory"
    yield "a folder holds the same bytes"
    if not given:
        yield from _check_processes(kind, config, folder, memory)
    yield from _check_kills(kind, config, given, folder, memory, counted.count, kills)
    yield from _check_verify(memory, given, numbers)
    yield from _check_refusals(kind, config, given, memory)
    yield from _check_page(memory)


# ------------------------------------------------------------------ what is checked


def _check_processes(kind: str, config: Config, folder: Path, memory: Mapping[str, bytes]) -> Iterator[str]:
    done = _run(kind, config, None, Folder(folder / "processes"), engine="processes:2")
    assert _files(done) == memory, f"processes differ in {_differing(_files(done), memory)}"
    yield "two processes write the same bytes"
    fatal = Fatal(folder / "killed", workers=1)
    _run(kind, config, None, fatal, engine="processes:2")
    assert fatal.deaths.exists(), "no worker wrote anything, so none was killed"
    assert _files(Folder(folder / "killed")) == memory, "a run differs after a worker was killed"
    yield "a worker that is killed is replaced, and its part is made again"
    stopped = False
    try:
        run(kind, config, how=How(Folder(folder / "stopped"), engine="processes:2", watch=_interrupt))
    except KeyboardInterrupt:
        stopped = True
    assert stopped, "Ctrl-C did not end the run"
    _run(kind, config, None, Folder(folder / "stopped"), resume=True)
    assert _files(Folder(folder / "stopped")) == memory, "a run differs after Ctrl-C among processes"
    yield "after Ctrl-C it goes on to the same bytes"


def _check_kills(
    kind: str, config: Config, given: Any, folder: Path, memory: Mapping[str, bytes], writes: int, kills: int
) -> Iterator[str]:
    chosen = sorted({1 + i * (writes - 1) // max(kills - 1, 1) for i in range(min(kills, writes))})
    for n, how in zip(chosen, _cycle("before", "inside", "after"), strict=False):
        place = folder / f"{how} {n}"
        code = _forked(kind, config, given, Fatal(place, n, how))
        assert code == -signal.SIGKILL, f"expected a run that is killed {how} write {n}, got exit code {code}"
        _run(kind, config, given, Folder(place), resume=True)
        assert _files(Folder(place)) == memory, f"killed {how} write {n} of {writes}: other bytes"
    yield f"killed at {len(chosen)} of its {writes} writes, it goes on to the same bytes"


def _check_verify(memory: Mapping[str, bytes], given: Any, numbers: int | None) -> Iterator[str]:
    outcome = verify_files(dict(memory), given)
    assert outcome.ok, f"verify refuses a sound run: {outcome.problems[:3]}"
    flipped = 0
    for name, content in memory.items():
        for i in range(0, len(content), _EVERY if name != RUN else 7 * _EVERY):
            changed = content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :]
            assert not _holds({**memory, name: changed}, given, quick=True), f"byte {i} of {name} flipped: not found"
            flipped += 1
    yield f"verify holds, and finds each of {flipped} flipped bytes"
    forged = list(_forged(memory[RUN], numbers))
    for what, content in forged:
        assert not _holds({**memory, RUN: content}, given), f"verify did not find another {what}"
    yield f"verify finds a wrong formula for each of {len(forged)} numbers of the verdict"


def _check_refusals(kind: str, config: Config, given: Any, memory: Mapping[str, bytes]) -> Iterator[str]:
    other = config.model_copy(update={"seed": config.seed + 1})
    refusal = _refusal(kind, other, given, memory, resume=True)
    assert f"seed changed from {config.seed} to {other.seed}" in refusal, f"another seed was not refused: {refusal!r}"
    assert _refusal(kind, config, given, memory, resume=False), "a run that is there already was written over"
    yield "other settings are refused with both values, and so is a run that is there already"


def _refusal(kind: str, config: Config, given: Any, memory: Mapping[str, bytes], resume: bool) -> str:
    try:
        _run(kind, config, given, dict(memory), resume=resume)
    except InputError as error:
        return str(error)
    return ""


def _check_page(memory: Mapping[str, bytes]) -> Iterator[str]:
    done = opened(dict(memory))
    page = page_of(done)
    assert page.headline, "a page without a headline"
    assert "<h1>" in html(done, page=page), "a page without a heading"
    metrics = done.verdict.metrics()
    assert metrics, "a verdict without metrics"
    for name, metric in metrics.items():
        assert metric.interval, f"{name} has neither an interval nor the reason why not"
        if done.verdict.believable:
            value = metric.at("")
            assert not require(done.verdict, f"{name}<={value!r}"), f"{name} misses its own value"
            assert require(done.verdict, f"{name}>={value + abs(value) + 1:.17g}"), f"{name} keeps any gate"
    yield f"the page needs neither model nor data; {len(metrics)} metrics have an interval or say why not"


# ------------------------------------------------------------------ how


class Fatal(Folder):
    """Kills its process before, inside or after the n-th write; or so many `workers`, at their first write."""

    def __init__(self, path: Path, n: int = 0, how: str = "", workers: int = 0) -> None:
        super().__init__(path)
        self.n, self.how, self.workers, self.count = n, how, workers, 0
        self.driver, self.deaths = os.getpid(), path.with_name(f"{path.name} deaths")

    def __setitem__(self, name: str, content: bytes) -> None:
        self.count += 1
        deaths = self.deaths.stat().st_size if self.deaths.exists() else 0
        if os.getpid() != self.driver and deaths < self.workers:
            self.deaths.write_bytes(bytes(deaths + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        if self.count == self.n and self.how != "after":
            half = content[: len(content) // 2 if self.how == "inside" else 0]
            super().__setitem__(f"{name}.1.draft", half)
            os.kill(os.getpid(), signal.SIGKILL)
        super().__setitem__(name, content)
        if self.count == self.n:
            os.kill(os.getpid(), signal.SIGKILL)


def _run(kind: str, config: Config, given: Any, files: Files, *, resume: bool = False, engine: str = "serial") -> Files:
    """Make a run, every state of which is kept."""
    run(kind, config, given, How(files, resume, engine, every=0.0))
    return files


def _forked(kind: str, config: Config, given: Any, files: Files) -> int:
    """The exit code of a process that makes the run."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        if isinstance(files, Fatal):
            files.driver = os.getpid()
        _run(kind, config, given, files)
    finally:
        os._exit(1)


def _interrupt(progress: Any) -> None:
    if progress.made:
        raise KeyboardInterrupt  # what a signal comes to, unless whoever started this process had it ignored


def _files(files: Files) -> dict[str, bytes]:
    """All that has to be the same; logs tell of clocks."""
    return {name: files[name] for name in files if not name.endswith(LOG)}


def _differing(a: Mapping[str, bytes], b: Mapping[str, bytes]) -> list[str]:
    return [name for name in {**a, **b} if a.get(name) != b.get(name)]


def _holds(files: Files, given: Any, quick: bool = False) -> bool:
    try:
        return verify_files(dict(files), given, quick=quick).ok
    except InputError:
        return False


def _forged(content: bytes, most: int | None) -> Iterator[tuple[str, bytes]]:
    """run.json with one number of the verdict changed, sealed anew: what a wrong formula would have written."""
    file = RunFile.model_validate_json(content)
    verdict = {name: value for name, value in (file.verdict or {}).items() if name != "findings"}
    said = json.dumps(verdict)
    found = list(NUMBER.finditer(said))
    step = 1 if most is None else max(len(found) // most, 1)
    for number in found[::step]:
        text = number[0]
        other = f"{float(text) * 1.001 + 1e-6!r}" if "." in text or "e" in text else f"{int(text) + 1}"
        changed = json.loads(said[: number.start()] + other + said[number.end() :])
        findings = (file.verdict or {}).get("findings", [])
        forged = file.model_copy(update={"verdict": {**changed, "findings": findings}})
        where = said[max(number.start() - 40, 0) : number.end()]
        yield f"number: ...{where}", sealed(forged.text)


def _cycle(*words: str) -> Iterator[str]:
    while True:
        yield from words
