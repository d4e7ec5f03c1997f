"""From fit rows to a perturbation: trials of candidates, then the search, with a checkpoint after every pass."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from blindspots.data.splits import Rows, shuffled
from blindspots.journal import Columns
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.rows import leaves
from blindspots.threat import Threat
from blindspots.universal.methods import Method
from blindspots.universal.methods.datafree import Activations
from blindspots.universal.methods.method import Candidate
from blindspots.universal.parametrisation import Additive
from blindspots.universal.record import Pass, Trial
from blindspots.universal.search import Course, rate_of, run
from blindspots.universal.stream import Proxies
from blindspots.universal.task import Task

_TRIAL_SHARE = 5  # one row in so many judges the trials
_APART = 1_000_003  # between the seeds of two starts
Tell = Callable[["Stage"], None]


@dataclass(frozen=True)
class Stage:
    """What a search tells while it goes on: in the pass in hand `fooled` of `counted` rows, `seen` of `rows` in all.

    In a search towards a class, rows that are taken for it as they are do not count.
    """

    name: str
    number: int  # of the pass, from 1
    passes: int
    seen: int
    rows: int
    fooled: int
    counted: int
    seconds: float


@dataclass(frozen=True)
class Wanted:
    """What is searched for."""

    threat: Threat
    shape: tuple[int, ...]
    groups: int
    target: int | None
    clip: bool
    seed: int


@dataclass(frozen=True)
class Found:
    """A perturbation, and what it took."""

    v: Tensor  # (groups, *shape)
    period: int | None
    trials: list[Trial]
    course: Course

    @classmethod
    def given(cls, v: Tensor) -> "Found":
        """One that was not searched for."""
        return cls(v, None, [], Course(None))


class Memory:
    """Where a search is remembered, as bytes. `keep` takes a checkpoint, `kept` is what an earlier one left."""

    def __init__(self, kept: bytes | None = None, keep: Callable[[bytes], None] = lambda content: None) -> None:
        self.kept, self.keep = kept, keep


def fit(oracle: Oracle, method: Method, rows: Rows, wanted: Wanted, tell: Tell, memory: Memory | None = None) -> Found:
    """Search for a perturbation on `rows`. The same arguments give the same bits, also from a checkpoint."""
    return _Fitting(oracle, method, rows, wanted, tell, memory or Memory()).carry_out()


class _Fitting:
    def __init__(self, oracle: Oracle, method: Method, rows: Rows, wanted: Wanted, tell: Tell, memory: Memory) -> None:
        self.oracle, self.method, self.wanted, self.tell, self.memory = oracle, method, wanted, tell, memory
        self.rows = rows
        if method.data_free:
            self.rows = Proxies(rows.data, len(rows), (wanted.threat.lo, wanted.threat.hi), wanted.seed)
        self.surrogate = self._surrogate() if method.data_free else None
        self.trials: list[Trial] = []

    def _surrogate(self) -> Oracle:
        model = self.oracle.model
        return Oracle(Model(Activations(model), model.bounds, device=model.device), chunk=self.oracle.chunk)

    def carry_out(self) -> Found:
        candidates = self.method.candidates(self.wanted.shape)
        chosen, course = self._remembered() or self._tried(candidates)
        task = self._task(chosen)
        if self.memory.kept is not None:
            self._look_again(task)
        run(task, self.method, self.rows, course, self.method.passes, self._teller("search"),
            lambda course: self._remember(chosen, course))  # fmt: skip
        return Found(task.space.perturbation(course.state.p).cpu(), chosen.period, self.trials, course)

    def _task(self, candidate: Candidate) -> Task:
        w = self.wanted
        space = Additive(w.threat, w.shape, w.groups, candidate.period, w.clip)
        seed = w.seed + _APART * candidate.start
        return Task(self.oracle, space, w.threat, w.target, w.groups > 1, seed, self.surrogate)

    def _blank(self, task: Task) -> Any:
        updates = -(-len(self.rows) // self.method.batch) * self.method.passes
        return _on(self.method.begin(task.space, task.seed, updates), self.oracle.device)

    def _tried(self, candidates: Sequence[Candidate]) -> tuple[Candidate, Course]:
        """Successive halving: a pass for each, the better half goes on, as long as there are passes.

        They are judged on rows that no trial sees.
        """
        order = shuffled(len(self.rows), self.wanted.seed, -2).tolist()
        judges = max(len(order) // _TRIAL_SHARE, 1)
        seen, unseen = self.rows.only(order[judges:]), self.rows.only(order[:judges])
        tasks = {c: self._task(c) for c in candidates}
        courses = {c: Course(self._blank(task)) for c, task in tasks.items()}
        left, passes = list(candidates), 0
        while len(left) > 1:
            passes += 1
            rates = {c: self._trial(c, tasks[c], courses[c], passes, seen, unseen) for c in left}
            half = -(-len(left) // 2) if passes < self.method.passes else 1
            left = sorted(left, key=lambda c: -rates[c])[:half]
        chosen = courses[left[0]]
        chosen.seconds = sum(course.seconds for course in courses.values())
        return left[0], chosen

    def _trial(self, candidate: Candidate, task: Task, course: Course, passes: int, seen: Rows, unseen: Rows) -> float:
        run(task, self.method, seen, course, passes, self._teller(f"trial of {candidate}"), lambda course: None)
        rate = rate_of(task, course.state.p, unseen)
        self.trials.append(Trial(period=candidate.period, start=candidate.start, passes=passes, fooled=rate))
        return rate

    def _teller(self, name: str) -> Callable[[Course, int, int, int, int], None]:
        def tell(course: Course, fooled: int, counted: int, seen: int, rows: int) -> None:
            self.tell(Stage(name, course.passes + 1, self.method.passes, seen, rows, fooled, counted, course.seconds))

        return tell

    def _look_again(self, task: Task) -> None:
        """What was known of the clean rows, at no cost: it was paid before the search was interrupted."""
        spent = [(o.forwards, o.backwards) for o in self._oracles]
        for places in torch.split(torch.arange(len(self.rows)), self.method.batch):
            task.batch(self.rows, places)
        for oracle, (forwards, backwards) in zip(self._oracles, spent, strict=True):
            oracle.forwards, oracle.backwards = forwards, backwards

    def _remember(self, chosen: Candidate, course: Course) -> None:
        known = {
            "chosen": asdict(chosen),
            "trials": [t.model_dump() for t in self.trials],
            "passes": course.passes,
            "seconds": course.seconds,
            "history": [p.model_dump() for p in course.history],
            "spent": [(o.forwards, o.backwards) for o in self._oracles],
        }
        tensors = {name: t.cpu().contiguous() for name, t in leaves(course.state)}
        self.memory.keep(save(tensors, {"course": json.dumps(known)}))

    def _remembered(self) -> tuple[Candidate, Course] | None:
        if self.memory.kept is None:
            return None
        known, tensors = _read(self.memory.kept)
        chosen = Candidate(**known["chosen"])
        self.trials = [Trial(**t) for t in known["trials"]]
        for oracle, (forwards, backwards) in zip(self._oracles, known["spent"], strict=True):
            oracle.forwards, oracle.backwards = forwards, backwards
        template = self._blank(self._task(chosen))
        state = _on(type(template)(*(tensors[f.name] for f in fields(template))), self.oracle.device)
        return chosen, Course(state, known["passes"], known["seconds"], [Pass(**p) for p in known["history"]])

    @property
    def _oracles(self) -> list[Oracle]:
        return [self.oracle, *([self.surrogate] if self.surrogate else [])]


def _on(state: Any, device: torch.device) -> Any:
    return type(state)(*(getattr(state, f.name).to(device) for f in fields(state)))


def _read(content: bytes) -> tuple[dict[str, Any], Columns]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return json.loads(header["__metadata__"]["course"]), load(content)
