"""The loop that runs every attack: evaluate, judge, step; finished rows leave, and waiting rows take their slots."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, State
from blindspots.attacks.rounds import Ahead
from blindspots.engine.coordinates import Coordinates
from blindspots.engine.jobs import Jobs
from blindspots.engine.ledger import Ledger
from blindspots.engine.levels import inside_levels
from blindspots.engine.result import Result
from blindspots.oracle import Oracle
from blindspots.problem import Job, Need, Problem, Question, Seen
from blindspots.rows import Around, Rows, tree
from blindspots.scenes import GATE
from blindspots.threat import Threat

_NOBODY = -1


@dataclass(frozen=True)
class Settings:
    """How a search is run; none of this changes what the attack does to a row.

    Args:
        slots: rows in flight.
        stop_early: a row leaves with its first success; else every job runs to its end and the smallest norm counts.
        row_budget: forwards + backwards that one row may cost.
        patience: turns between two settlements, each of which waits for the device.
        lanes: evaluations of a row in one batch, as far as its attack knows them ahead; None: as many as fill a call.
    """

    slots: int = 128
    stop_early: bool = True
    row_budget: int | None = None
    patience: int = 1
    lanes: int | None = None


def patience_of(device: torch.device) -> int:
    """Turns between two settlements: on a CPU they cost nothing, an accelerator would be waited for every time."""
    return 1 if device.type == "cpu" else 4


@dataclass
class Allowance:
    """What a whole run may still cost; None: unlimited. Searches draw from it."""

    forwards: int | None = None
    backwards: int | None = None
    deadline: float | None = None  # of time.monotonic()

    def affords(self, oracle: Oracle, forwards: int, backwards: int) -> bool:
        return (
            not (oracle.model.service and oracle.model.service.spent)
            and (self.forwards is None or oracle.forwards + forwards <= self.forwards)
            and (self.backwards is None or oracle.backwards + backwards <= self.backwards)
            and (self.deadline is None or time.monotonic() < self.deadline)
        )


@dataclass(frozen=True)
class Slots(Rows):
    """Everything in flight: what a checkpoint must contain."""

    at: Tensor  # (S,) index of the sample in its shard, -1: empty
    number: Tensor  # (S,) which of the sample's jobs
    done: Tensor  # (S,) bool: waits for the next settlement
    job: Job
    ledger: Ledger
    state: State


class Search:
    """One attack over some rows of a shard. Writes their entries of `ledger` in place.

    Args:
        entering: (K,) indices of the rows to search, in the order of admission.
        watch: called after every settlement with the number of rows that left since the last call.
        view: the threat as the attack sees it; None: as its requirements say.
    """

    def __init__(
        self,
        attack: Attack,
        oracle: Oracle,
        problem: Problem[Any],
        jobs: Jobs,
        ledger: Ledger,
        entering: Tensor,
        settings: Settings = Settings(),
        allowance: Allowance | None = None,
        watch: Callable[[int], None] = lambda left: None,
        view: Threat | None = None,
    ) -> None:
        self.attack, self.oracle, self.jobs = attack, oracle, jobs
        self.coordinates = Coordinates(problem, jobs, view or problem.threat.view(attack.requires))
        self.problem, self.inner = self.coordinates.problem, self.coordinates.inner
        self.ledger, self.entering, self.settings, self.watch = ledger, entering, settings, watch
        self.allowance = allowance or Allowance()
        self.turns, self.cursor = 0, min(settings.slots, len(entering))
        self.held = self.cursor  # rows in flight
        self.slots = self._admit(entering[: self.cursor]) if len(entering) else None

    def run(self) -> None:
        with self.oracle.model.watched():
            while self.slots is not None:
                self._go_on(self.slots)

    def _go_on(self, s: Slots) -> None:
        lanes = self._lanes(s)
        if lanes > 1 and self._affords(s, lanes * self.held):
            self.turn(lanes)
        elif self._affords(s, len(s.at)):
            self.turn()
        else:
            self._give_up(s)

    def turn(self, lanes: int = 1) -> None:
        """One batch for all rows in flight, with up to `lanes` evaluations of each."""
        assert self.slots is not None
        s = self.slots
        if lanes == 1 or bool(s.done.all()):
            self.slots = self._step(s)
        elif isinstance(self.attack, Ahead):
            self.slots = self._several_steps(s, self.attack, lanes)
        else:
            for at, seen in self._seen_ahead(s, lanes):
                whole = len(at) == len(s.at)
                s = self._step(s, seen) if whole else s.put(at, self._step(s[at], seen))
            self.slots = s
        self.turns += 1
        if self.turns % self.settings.patience == 0:
            self._settle()

    def _lanes(self, s: Slots) -> int:
        if self.attack.ahead(s.state) is None:
            return 1
        return self.settings.lanes or max(1, self.oracle.chunk // self.held)

    def _affords(self, s: Slots, rows: int) -> bool:
        """Whether the run can afford to evaluate this many."""
        forwards = self.oracle.cost(rows)
        return self.allowance.affords(self.oracle, forwards, forwards * self._slopes(s.state))

    def _seen_ahead(self, s: Slots, lanes: int) -> Iterator[tuple[Tensor, Seen]]:
        """Lane by lane: the slots (L,) that ask in it, and what is seen there, all of it in one batch."""
        at, states = zip(*self._states_ahead(s, self._wanted(s, lanes)), strict=True)
        state: State = tree(lambda *ts: torch.cat(ts), *states)
        asking = replace(s[torch.cat(at)], state=state)
        seen = self._look(asking, self._inputs(asking)[1])
        first = 0
        for slots in at:
            yield slots, seen[first : first + len(slots)]
            first += len(slots)

    def _states_ahead(self, s: Slots, wanted: Tensor) -> Iterator[tuple[Tensor, State]]:
        """Lane by lane: the slots (L,) that ask in it, and states with the probes that they will have then."""
        at = wanted.nonzero()[:, 0]
        job, state = s.job[at], s.state[at]
        yield at, state
        for lane in range(1, int(wanted.max())):
            more = wanted[at] > lane
            if not bool(more.all()):
                at, job, state = at[more], job[more], state[more]
            state = self.attack.step(self.inner, job, state, nothing_seen(job, self.attack.need))
            yield at, state

    def _wanted(self, s: Slots, lanes: int) -> Tensor:
        """How many evaluations every slot asks for: (S,) int64, at least the one that it can surely afford."""
        ahead = self.attack.ahead(s.state)
        assert ahead is not None
        wanted = 1 + ahead.minimum(self.attack.looks - 1 - s.state.t)
        if self.settings.row_budget is not None:
            left = self.settings.row_budget - s.ledger.forwards - s.ledger.backwards
            wanted = wanted.minimum(left // (self._passes(s.state) * self.oracle.draws))
        return wanted.clamp(1, lanes) * ~s.done

    def _step(self, s: Slots, known: Seen | None = None) -> Slots:
        """The slots once their probes have been evaluated, unless what is seen there is `known`."""
        live, attack = ~s.done, self.attack
        wants, slopes = live & ~attack.scores_enough(s.state), self._slopes(s.state)
        backward = slopes > 0 and bool(wants.any())
        last = slopes > 0 and not backward and bool((attack.final(s.state) | ~live).all())
        around, probe = self._inputs(s)
        seen = self._look(s, probe, backward=backward) if known is None else known
        s.ledger.charge_(live, slopes * wants, self.oracle.draws)
        s.ledger.count_look_(live, around.x, around.r, probe)
        s.ledger.judge_(live, self.problem.threat, around, probe, self._gated(s, live, probe, seen))
        state = s.state if last else attack.step(self.inner, s.job, s.state, self.coordinates.pulled(seen, around))
        return self._after(s, state, live, live & ~_finite(seen, wants), live & last)

    def _several_steps(self, s: Slots, attack: Ahead[Any, Any], lanes: int) -> Slots:
        """As one `_step` after the other, for an attack that takes the answers of a round together."""
        live, wanted, wants = ~s.done, self._wanted(s, lanes), ~s.done & ~attack.scores_enough(s.state)
        at, lane, asking = self._asking_ahead(s, attack, wanted)
        spread = partial(_spread, at=at, lane=lane, shape=(len(wanted), int(lane.max()) + 1))
        around, probe = self._inputs(asking)
        seen = self._look(asking, probe, backward=bool(wants.any()))
        ill = spread(~_finite(seen, wants[at]))
        last = torch.where(ill.any(1), ill.int().argmax(1), wanted - 1)
        judged, threat = self._gated(asking, live[at], probe, seen), self.problem.threat
        last = s.ledger.judge_ahead_(at, lane, last, threat, around, probe, judged, self.settings.stop_early)
        count = last + 1
        s.ledger.charge_(count, self._slopes(s.state) * wants * count, self.oracle.draws)
        s.ledger.count_looks_(count, at, lane, around, probe)
        state = attack.absorb(self.inner, s.job, s.state, tree(spread, self.coordinates.pulled(seen, around)), count)
        broken = live & ill.gather(1, last.clamp_min(0)[:, None])[:, 0]
        return self._after(s, state, live, broken, torch.zeros_like(live))

    def _asking_ahead(self, s: Slots, attack: Ahead[Any, Any], wanted: Tensor) -> tuple[Tensor, Tensor, Slots]:
        """Every evaluation that is `wanted` (S,): its slot (R,), its lane (R,), and what is asked there.

        Of the last, `at`, `job` and `state` have R rows.
        """
        lanes = torch.arange(int(wanted.max()), device=wanted.device)
        at, lane = (lanes < wanted[:, None]).nonzero().unbind(1)
        probe = attack.proposals(self.inner, s.job, s.state, len(lanes))[at, lane]
        return at, lane, replace(s, at=s.at[at], job=s.job[at], state=State(probe, s.state.t[at] + lane))

    def _after(self, s: Slots, state: State, live: Tensor, broken: Tensor, last: Tensor) -> Slots:
        """The slots with their next states, of which those that are `live`, but `broken` or at their `last`, end."""
        attack, ledger = self.attack, s.ledger
        service = self.oracle.model.service
        ledger.settle_(broken, Result.BUDGET if service and service.spent else Result.NONFINITE)
        ended = broken | last | (live & attack.exhausted(state))
        ledger.settle_(ended & ~broken & attack.unstarted(state), Result.NO_START)
        ledger.stand_(ended & ~attack.unfinished(state))
        done = s.done | ended | self._stopped(s, live, ended, state)
        return Slots(s.at, s.number, done, s.job, ledger, state)

    def _inputs(self, s: Slots) -> tuple[Around, Tensor]:
        """What probes are about, and the probes, as the model knows them."""
        around = self.coordinates.around(s.at, s.job)
        probe, model = self.coordinates.inputs(s.state.probe, s.job, around), self.oracle.model
        if model.levels is None:
            return around, probe
        return around, inside_levels(probe, around, self.problem.threat, model.box, model.levels)

    def _look(self, s: Slots, probe: Tensor, backward: bool = True) -> Seen:
        classes, aim = self.attack.classes_of(s.state), self.attack.aim_of(s.state)
        return self.oracle.look(
            self.problem, self._question(s), probe, self.attack.need, classes, aim, backward=backward
        )

    def _question(self, s: Slots, first: int = 0) -> Question:
        """`first`: of the draws of a scene, of which every evaluation of a row sees new ones."""
        around = s.job.within(s.job.r) if self.attack.need is Need.SLOPES else None
        if self.oracle.scene is None:
            return Question(s.job.truth, s.job.target, None, around)
        number = first + s.state.t * self.oracle.draws
        return Question(s.job.truth, s.job.target, torch.stack([s.job.key, number], 1), around)

    def _slopes(self, state: State) -> int:
        """Number of gradients that an evaluation of a probe returns, unless it is a row's last."""
        classes = self.attack.classes_of(state)
        return int(self.attack.need in (Need.SLOPES, Need.GRAD)) if classes is None else classes.shape[1]

    def _gated(self, s: Slots, live: Tensor, probe: Tensor, seen: Seen) -> Seen:
        """What was seen, as far as it holds where it is asked again."""
        if self.oracle.doubts and bool((live & seen.won).any()):
            # Other draws at every claim: a point that failed the gate is not let in by trying again.
            return self.oracle.confirm(self.problem, self._question(s, GATE), probe, seen)
        return seen

    def _passes(self, state: State) -> Tensor:
        """Forwards and backwards that the evaluation of each row's probe costs, for one draw: (B,) int64."""
        return 1 + self._slopes(state) * ~self.attack.scores_enough(state)

    def _stopped(self, s: Slots, live: Tensor, ended: Tensor, state: State) -> Tensor:
        """Rows that leave although their job has not ended, or more of their jobs wait."""
        poor = live & ~ended & self._poor(s.ledger, self._passes(state) - 1)
        s.ledger.settle_(poor, Result.BUDGET)
        return poor | (live & s.ledger.won) if self.settings.stop_early else poor

    def _poor(self, ledger: Ledger, backwards: Tensor | int) -> Tensor:
        """Rows that cannot afford an evaluation with this many backwards: (B,) bool."""
        if self.settings.row_budget is None:
            return torch.zeros_like(ledger.won)
        return ledger.forwards + ledger.backwards + (1 + backwards) * self.oracle.draws > self.settings.row_budget

    def course(self) -> tuple[Tensor, Tensor]:
        """Forwards of every row of the shard so far, (N,) int64, and which of them are in flight or wait, (N,) bool."""
        used, goes_on = self.ledger.forwards.clone(), torch.zeros_like(self.ledger.won)
        if self.slots is not None:
            live = self.slots.at != _NOBODY
            at = self.slots.at[live]
            used[at], goes_on[at] = self.slots.ledger.forwards[live], True
            goes_on[self.entering[self.cursor :]] = True
        return used, goes_on

    def _settle(self) -> None:
        """Write back finished rows, and give their slots to waiting ones."""
        s = self.slots
        assert s is not None
        gone, staying = self._end_jobs(s)
        if not len(gone) and not len(staying):
            return
        new = self.entering[self.cursor : self.cursor + len(gone)]
        self.cursor += len(new)
        taken, empty = gone[: len(new)], gone[len(new) :]
        s.number[staying] += 1
        s.at[taken], s.number[taken], s.at[empty] = new, 0, _NOBODY
        s.ledger.put_(taken, self.ledger[new])
        self.slots = self._begin(s, torch.cat([staying, taken]))
        if len(empty):
            self.held -= len(empty)
            self.slots = self._without_empty(self.slots)
        self.watch(len(gone))

    def _end_jobs(self, s: Slots) -> tuple[Tensor, Tensor]:
        """Among the slots whose job has ended: those that leave, written back, and those with another job to do."""
        out = (s.done & (s.at != _NOBODY)).nonzero()[:, 0]
        if not len(out):
            return out, out
        s.ledger.end_job_(out)
        leaves = self._leaves(s, out)
        self._write_back(s, out[leaves])
        return out[leaves], out[~leaves]

    def _leaves(self, s: Slots, out: Tensor) -> Tensor:
        """Which of the slots `out`, whose jobs have ended, have no job left to do."""
        entry = s.ledger[out]
        closed = entry.result == Result.BUDGET
        if self.settings.stop_early:
            closed = closed | entry.won
        return closed | (s.number[out] + 1 >= self.jobs.per_sample)

    def _write_back(self, s: Slots, gone: Tensor) -> None:
        entry = s.ledger[gone]
        entry.settle_(entry.won, Result.WON)
        self.ledger.put_(s.at[gone], entry)

    def _begin(self, s: Slots, at: Tensor) -> Slots:
        """Start the current job of the slots `at`."""
        if not len(at):
            return s
        job = self.coordinates.fetch(s.at[at], s.number[at])
        s.job.put_(at, job)
        # Not in place: a state may share its tensors with the job or with itself.
        state = s.state.put(at, self.attack.init(self.inner, job))
        entry = s.ledger[at]
        s.done[at] = self._turned_away(entry, state)
        s.ledger.put_(at, entry)
        return replace(s, state=state)

    def _turned_away(self, ledger: Ledger, state: State) -> Tensor:
        """Rows that cannot afford a job's first evaluation: done before they begin."""
        poor = self._poor(ledger, self._slopes(state))
        ledger.settle_(poor, Result.BUDGET)
        return poor

    def _without_empty(self, s: Slots) -> Slots | None:
        """No row waits any more: drop empty slots as soon as that saves a whole call of the network."""
        held = (s.at != _NOBODY).nonzero()[:, 0]
        if not len(held):
            return None
        unit = self.oracle.unit
        size = -(-len(held) // unit) * unit
        return s if size >= len(s.at) else s[held]

    def _admit(self, at: Tensor) -> Slots:
        number, ledger = torch.zeros_like(at), self.ledger[at]
        job = self.coordinates.fetch(at, number)
        state = self.attack.init(self.inner, job)
        return Slots(at.clone(), number, self._turned_away(ledger, state), job, ledger, state)

    def _give_up(self, s: Slots) -> None:
        """The run can afford no further evaluation: unfinished rows end here, and so do waiting ones."""
        gone, _ = self._end_jobs(s)
        s.at[gone] = _NOBODY
        held = (s.at != _NOBODY).nonzero()[:, 0]
        s.ledger.settle_(~s.ledger.won, Result.BUDGET)
        self._write_back(s, held)
        waiting = self.entering[self.cursor :]
        entry = self.ledger[waiting]
        entry.settle_(~entry.won, Result.BUDGET)
        self.ledger.put_(waiting, entry)
        self.slots = None
        self.watch(len(gone) + len(held) + len(waiting))


def _finite(seen: Seen, wants: Tensor) -> Tensor:
    """(B,) whether loss and margin are numbers, and the gradient of the rows that `want` one."""
    good = seen.loss.isfinite() & seen.margin.isfinite()
    return good if seen.grad is None else good & (seen.grad.flatten(1).sum(1).isfinite() | ~wants)


def _spread(t: Tensor, at: Tensor, lane: Tensor, shape: tuple[int, int]) -> Tensor:
    """What belongs to evaluations (R,) of slots, `at` these and in lanes: (S, K, ...), 0 where there is none."""
    flat = t.new_zeros((shape[0] * shape[1], *t.shape[1:])).index_copy(0, at * shape[1] + lane, t)
    return flat.view(*shape, *t.shape[1:])


def nothing_seen(job: Job, need: Need) -> Seen:
    """In the place of what is seen, for steps to probes that do not depend on it."""
    none, grad = torch.zeros_like(job.r), torch.zeros_like(job.x) if need is Need.GRAD else None
    return Seen(torch.zeros_like(job.scores), none, none, none.bool(), grad, none.bool())
