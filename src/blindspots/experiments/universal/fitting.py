"""From fit rows to a perturbation: trials of candidates, then the search, with a state to go on from after a pass."""

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from blindspots.ball import Ball
from blindspots.data.splits import Rows, shuffled
from blindspots.experiments.universal.methods import Method
from blindspots.experiments.universal.methods.datafree import Activations
from blindspots.experiments.universal.methods.method import Candidate
from blindspots.experiments.universal.parametrisation import Additive
from blindspots.experiments.universal.search import SearchState, Tell, rate_of, run
from blindspots.experiments.universal.stream import Proxies
from blindspots.experiments.universal.task import Task
from blindspots.experiments.universal.verdict import Pass, Trial
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.rows import leaves
from blindspots.runs.experiment import Columns

_TRIAL_SHARE = 5  # one row in so many judges the trials
_APART = 1_000_003  # between the seeds of two starts


@dataclass(frozen=True)
class Wanted:
    """What is searched for."""

    threat: Ball
    shape: tuple[int, ...]
    groups: int
    target: int | None
    clip: bool
    seed: int


@dataclass(frozen=True)
class Found:
    """A perturbation, and what it took."""

    v: Tensor  # (groups, *shape)
    period: int | None = None
    trials: Sequence[Trial] = ()
    history: Sequence[Pass] = ()

    @property
    def columns(self) -> Columns:
        """See `verdict.FOUND`."""
        return {"v": self.v, "period": torch.tensor([self.period or 0]), **_packed(self.history, self.trials)}


def fit(
    oracle: Oracle, method: Method, rows: Rows, wanted: Wanted, tell: Tell, kept: Columns | None = None
) -> Generator[Columns, None, Found]:
    """Search for a perturbation on `rows`. The same arguments give the same bits, also from a state that was `kept`."""
    return _Fitting(oracle, method, rows, wanted, tell).found(kept)


def fitted(oracle: Oracle, method: Method, rows: Rows, wanted: Wanted) -> Found:
    """The same, from beginning to end."""
    search = fit(oracle, method, rows, wanted, lambda stage: None)
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: Found = end.value
            return found


class _Fitting:
    def __init__(self, oracle: Oracle, method: Method, rows: Rows, wanted: Wanted, tell: Tell) -> None:
        self.oracle, self.method, self.wanted, self.tell = oracle, method, wanted, tell
        self.rows = rows
        if method.data_free:
            self.rows = Proxies(rows.data, len(rows), wanted.threat.bounds, wanted.seed)
        self.surrogate = self._surrogate() if method.data_free else None
        self.oracles = [oracle, *([self.surrogate] if self.surrogate else [])]
        self.trials: list[Trial] = []

    def _surrogate(self) -> Oracle:
        model = self.oracle.model
        return Oracle(Model(Activations(model), model.bounds, device=model.device), chunk=self.oracle.chunk)

    def found(self, kept: Columns | None) -> Generator[Columns, None, Found]:
        chosen, at = self._remembered(kept) if kept else self._tried(self.method.candidates(self.wanted.shape))
        task = self._task(chosen)
        if kept:
            self._look_again(task)
        for state in run(task, self.method, self.rows, at, self.method.passes, "search", self.tell):
            yield self._state(chosen, state)
        return Found(self._space(chosen).perturbation(at.state.p).cpu(), chosen.period, self.trials, at.history)

    def _task(self, candidate: Candidate) -> Task:
        w = self.wanted
        seed = w.seed + _APART * candidate.start
        return Task(self.oracle, self._space(candidate), w.threat, w.target, w.groups > 1, seed, self.surrogate)

    def _space(self, candidate: Candidate) -> Additive:
        w = self.wanted
        return Additive(w.threat, w.shape, w.groups, candidate.period, w.clip)

    def _blank(self, task: Task) -> Any:
        updates = -(-len(self.rows) // self.method.batch) * self.method.passes
        return _on(self.method.begin(task.space, task.seed, updates), self.oracle.device)

    # -------------------------------------------------------------- trials

    def _tried(self, candidates: Sequence[Candidate]) -> tuple[Candidate, SearchState]:
        """Successive halving: a pass for each, the better half goes on, as long as there are passes.

        They are judged on rows that no trial sees.
        """
        order = shuffled(len(self.rows), self.wanted.seed, -2).tolist()
        judges = max(len(order) // _TRIAL_SHARE, 1)
        seen, unseen = self.rows.only(order[judges:]), self.rows.only(order[:judges])
        tasks = {c: self._task(c) for c in candidates}
        states = {c: SearchState(self._blank(task)) for c, task in tasks.items()}
        left, passes = list(candidates), 0
        while len(left) > 1:
            passes += 1
            rates = {c: self._trial(c, tasks[c], states[c], passes, seen, unseen) for c in left}
            half = -(-len(left) // 2) if passes < self.method.passes else 1
            left = sorted(left, key=lambda c: -rates[c])[:half]
        return left[0], states[left[0]]

    def _trial(self, candidate: Candidate, task: Task, at: SearchState, passes: int, seen: Rows, unseen: Rows) -> float:
        deque(run(task, self.method, seen, at, passes, f"trial of {candidate}", self.tell), maxlen=0)
        rate = rate_of(task, at.state.p, unseen)
        self.trials.append(Trial(period=candidate.period, start=candidate.start, passes=passes, fooled=rate))
        return rate

    # -------------------------------------------------------------- states

    def _state(self, chosen: Candidate, at: SearchState) -> Columns:
        spent = [(o.forwards, o.backwards) for o in self.oracles]
        return {
            **{f"state.{name}": t.cpu() for name, t in leaves(at.state)},
            "chosen": torch.tensor([chosen.period or 0, chosen.start]),
            "spent": torch.tensor(spent),
            **_packed(at.history, self.trials),
        }

    def _remembered(self, kept: Columns) -> tuple[Candidate, SearchState]:
        period, start = kept["chosen"].tolist()
        chosen = Candidate(period or None, start)
        self.trials = trials_of(kept)
        for oracle, (forwards, backwards) in zip(self.oracles, kept["spent"].tolist(), strict=True):
            oracle.forwards, oracle.backwards = forwards, backwards
        template = self._blank(self._task(chosen))
        state = type(template)(*(kept[f"state.{f.name}"] for f in fields(template)))
        return chosen, SearchState(_on(state, self.oracle.device), history_of(kept))

    def _look_again(self, task: Task) -> None:
        """What was known of the clean rows, at no cost: it was paid before the search was interrupted."""
        spent = [(o.forwards, o.backwards) for o in self.oracles]
        for places in torch.split(torch.arange(len(self.rows)), self.method.batch):
            task.batch(self.rows, places)
        for oracle, (forwards, backwards) in zip(self.oracles, spent, strict=True):
            oracle.forwards, oracle.backwards = forwards, backwards


def _on(state: Any, device: torch.device) -> Any:
    return type(state)(*(getattr(state, f.name).to(device) for f in fields(state)))


# ------------------------------------------------------------------ as columns


def packed_passes(history: Sequence[Pass]) -> Columns:
    """What `history_of` reads."""
    return {
        "passes": torch.tensor([(p.forwards, p.backwards) for p in history], dtype=torch.int64).view(-1, 2),
        "fooled": torch.tensor([p.fooled_fit for p in history], dtype=torch.float64),
    }


def _packed(history: Sequence[Pass], trials: Sequence[Trial]) -> Columns:
    return {
        **packed_passes(history),
        "trials": torch.tensor([(t.period or 0, t.start, t.passes) for t in trials], dtype=torch.int64).view(-1, 3),
        "trial_fooled": torch.tensor([t.fooled for t in trials], dtype=torch.float64),
    }


def history_of(columns: Columns) -> list[Pass]:
    """The passes of a search."""
    rows = zip(columns["passes"].tolist(), columns["fooled"].tolist(), strict=True)
    return [Pass(number=i, fooled_fit=rate, forwards=f, backwards=b) for i, ((f, b), rate) in enumerate(rows, 1)]


def trials_of(columns: Columns) -> list[Trial]:
    """Its trials."""
    rows = zip(columns["trials"].tolist(), columns["trial_fooled"].tolist(), strict=True)
    return [Trial(period=p or None, start=start, passes=n, fooled=rate) for (p, start, n), rate in rows]
