"""A cascade: stages of attacks over the rows of one shard, each only on the rows where it has something to find."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack
from blindspots.engine.jobs import Jobs, Samples, Starts, fixed, visible
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Allowance, Search, Settings
from blindspots.engine.others import starts
from blindspots.engine.result import Result
from blindspots.engine.targets import Targets
from blindspots.errors import InputError
from blindspots.models.foreign import seed_everything
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Problem
from blindspots.random import keys, uniform
from blindspots.records import NO_TARGET
from blindspots.rows import Around, Rows, leaves
from blindspots.scenes import CLEAN
from blindspots.threat import AsItIs, Threat

Start = Literal["clean", "near", "found", "other"]
Proposals = Callable[[Samples, Tensor], Tensor]
_HISTORY = "history."  # begins the names of what the model was asked, where that matters
UNSET, SEVERAL = -2, -3  # besides `NO_TARGET`, in place of a class: none was chosen yet, or one of several will do


@dataclass(frozen=True)
class Stage:
    """One attack, and the rows it is for.

    A row's *reach* is its lowest margin divided by how far earlier stages have lowered it: at 0.1, a tenth of the
    progress so far would suffice. A row has *moved* by the share of its margin that the previous stage removed.
    Its jobs there *disagree* by the share of its margin that the second best of them stayed above the best point known:
    a minimum that was found twice is probably the only one.

    Args:
        name: its name in reports.
        attack: the attack to run.
        why: one sentence for the report.
        goal: the loss and what counts as success.
        targets: which classes to run towards; None: none.
        restarts: number of runs, each with its own randomness.
        start: where searches begin: at the clean input, at the best point so far ("near"), at the adversarial example
            that is to be shortened ("found"), or at the nearest other image of the shard whose prediction reaches the
            goal ("other"); None: the attack's own.
        reach: rows enter whose reach is at most this,
        moved, disagree: as do rows that have moved, or whose jobs disagree, by at least this much,
        wide_reach: while their reach is at most this.
        flat: rows enter whose margin no search has lowered, e.g. with masked gradients: their reach is undefined.
        who: rows that still stand, rows that are already broken, or all that were initially right.
        share: of these, the rows whose own draw is below this.
        after: the name of a stage that must have broken a row of the shard, or no row enters. This is the only place
            where a row's fate depends on the other rows of its shard, and never on their order.
        stop_early: a row leaves with its first success; None: unless the attack minimises the distance.
        ignores: the attack knows nothing of what has to hold between features: as if others had written it.
    """

    name: str
    attack: Attack
    why: str
    objective: Objective = field(default_factory=Objective)
    targets: Targets | None = None
    restarts: int = 1
    start: Start | None = None
    reach: float = torch.inf
    moved: float = torch.inf
    disagree: float = torch.inf
    wide_reach: float = torch.inf
    flat: bool = False
    who: Literal["standing", "broken", "all"] = "standing"
    share: float = 1.0
    after: str | None = None
    stop_early: bool | None = None
    ignores: bool = False


def is_targeted(stages: Sequence[Stage]) -> bool:
    """Whether only the target classes count as a success."""
    return bool(stages) and all(stage.objective.targeted for stage in stages)


def stops_early(stage: Stage) -> bool:
    """Whether a row leaves with its first success."""
    return not stage.attack.minimal if stage.stop_early is None else stage.stop_early


@dataclass(frozen=True)
class Board(Rows):
    """What a cascade knows about the rows of its shard between two stages."""

    ledger: Ledger
    output: Tensor  # (N, ...) of the model on the clean inputs
    right: Tensor  # (N,) bool
    clean_margin: Tensor  # (N,)
    before: Tensor  # (N,) margin before the last stage
    stage: Tensor  # (N,) int16 the stage that broke it, -1
    target: Tensor  # (N,) int64 class that it is to be taken for, `NO_TARGET`, `UNSET` or `SEVERAL`
    carries: Tensor  # (N,) bool: all stages run towards classes, and it had one of each from the start
    cut: Tensor  # (stages,) bool: the budget ended before the searches of its rows
    counts: Tensor  # (stages, 4) int64: rows entered, won, forwards, backwards
    unbilled: Tensor  # (2,) int64 forwards and backwards beyond what rows were charged for

    @property
    def standing(self) -> Tensor:
        return self.right & ~self.ledger.won

    @property
    def gained(self) -> Tensor:
        """How far the margin has come down since the clean input: (N,)."""
        return self.clean_margin - self.ledger.margin


@dataclass(frozen=True)
class Live:
    """Progress of a stage."""

    stage: str
    entered: int
    left: int
    standing: int
    rows: int
    course: Callable[[], tuple[Tensor, Tensor, Tensor]]  # (N,) each: forwards so far, fell, may be looked at again


class Cascade:
    """Runs the stages of a protocol on one shard after the other.

    `proposals`: the points (N, K, ...) of attacks that look at what a solver proposes, for the rows that enter.
    """

    def __init__(
        self,
        oracle: Oracle,
        threat: Threat,
        stages: tuple[Stage, ...],
        *,
        seed: int = 0,
        settings: Settings | None = None,
        allowance: Allowance | None = None,
        watch: Callable[[Live], None] = lambda live: None,
        proposals: Proposals = lambda samples, at: samples.x[:, None],
    ) -> None:
        self.oracle, self.threat, self.stages, self.seed = oracle, threat, stages, seed
        self.settings, self.allowance, self.watch = settings or Settings(), allowance or Allowance(), watch
        self.proposals = proposals

    def run(self, samples: Samples) -> tuple[Board, list[float]]:
        """The board after all stages, and the seconds that each took."""
        running = self.stages_of(samples)
        while True:
            try:
                next(running)
            except StopIteration as end:
                found: tuple[Board, list[float]] = end.value
                return found

    def stages_of(
        self, samples: Samples, unfinished: Mapping[str, Tensor] | None = None
    ) -> Generator[dict[str, Tensor], None, tuple[Board, list[float]]]:
        """The same, stage by stage: yields between two of them what an interrupted search goes on from.

        `unfinished` is what was yielded last in an earlier attempt at the same rows.
        """
        seconds = [0.0] * len(self.stages)
        oracle, before = self.oracle, (self.oracle.forwards, self.oracle.backwards)
        oracle.model.go_on_from(_history(unfinished or {}))
        self._seed_model(samples, -1)
        (board, samples), first = self._look_first(samples), 0
        if unfinished is not None:
            board, first, seconds = _restore(board, unfinished)
            # As if there had been one attempt: the run's budget includes the cost of the earlier one.
            oracle.forwards, oracle.backwards = (n + k for n, k in zip(before, _cost(board), strict=True))
        for i in range(first, len(self.stages)):
            began = time.monotonic()
            self._run_stage(i, samples, board)
            seconds[i] = time.monotonic() - began
            if i + 1 < len(self.stages):
                yield _columns(board, i + 1, seconds, oracle.model.history)
        self._close(board)
        self._seed_model(samples, len(self.stages))
        return board, seconds

    def _seed_model(self, samples: Samples, index: int) -> None:
        """A stage `index` of a shard sees the same model however a run is interrupted: its draws, and no memory.

        But for what it said of the clean inputs, which is kept.
        """
        self.oracle.model.forget()
        seed_everything(int(keys(self.seed, samples.id[:1], index)[0]))

    def _look_first(self, samples: Samples) -> tuple[Board, Samples]:
        """The board before the first stage, and the rows as the goal sees them."""
        calls = self.oracle.forwards
        output = self.oracle.logits(samples.x, samples.draws(self.oracle, self.seed, CLEAN))
        goal = self.oracle.goal
        goal.check(output, samples.y, samples.id)
        samples = samples.judged(goal, output)
        scores = goal.scores(output, samples.truth)
        check_classes(self.stages, scores.shape[1])
        margin = Objective().margin(scores, samples.y, samples.y)
        # The largest of scores with a NaN is that NaN.
        right = (goal.predict(output, samples.truth) == samples.y) & margin.isfinite()
        ledger = Ledger.blank(samples.x, margin, self.oracle.draws)
        ledger.settle_(self.threat.immovable(Around(samples.x, samples.r, own=samples.own)), Result.IMMOVABLE)
        ledger.settle_(~right, Result.ALREADY_WRONG)
        none = torch.zeros(len(self.stages), 4, dtype=torch.int64, device=margin.device)
        unbilled = torch.tensor(
            [self.oracle.forwards - calls - len(output) * self.oracle.draws, 0], device=margin.device
        )
        nobody = torch.full_like(samples.y, -1).to(torch.int16)
        target = torch.full_like(samples.y, UNSET if is_targeted(self.stages) else NO_TARGET)
        board = Board(
            ledger, output, right, margin.clone(), margin.clone(), nobody, target,
            torch.full_like(right, is_targeted(self.stages)), none[:, 0].bool(), none, unbilled,
        )  # fmt: skip
        return board, samples

    def _scores(self, samples: Samples, board: Board) -> Tensor:
        return self.oracle.goal.scores(board.output, samples.truth)

    def _prediction(self, samples: Samples, board: Board) -> Tensor:
        return self.oracle.goal.predict(board.output, samples.truth)

    def _run_stage(self, index: int, samples: Samples, board: Board) -> None:
        stage, ledger = self.stages[index], board.ledger
        self._seed_model(samples, index)
        if self.oracle.draws == 1:
            self.oracle.model.remember(samples.x, board.output)
        enters = _enters(stage, board) & self._drawn(stage, samples)
        spent = self._spent(board)
        problem = Problem(stage.objective, self.threat, self.oracle.model.rejects)
        if self._undecided(stage, board):
            ledger.settle_(enters & ~ledger.won, Result.BUDGET)
            board.cut[index] = True
        enters &= self._needed(stage, board)
        targets = self._targets(stage, problem, samples, board, enters)
        at = enters.nonzero()[:, 0]
        won_before, before, result = ledger.won.clone(), ledger.margin.clone(), ledger.result.clone()
        ledger.begin_search_()
        if len(at):
            ledger.settle_(result == Result.NO_START, Result.UNSEARCHED)
            self._search(index, problem, samples, board, targets, at)
            _keep_searched(ledger, result)
            board.cut[index] = bool(ledger.cut_short[at].any())
        fell = ledger.won & ~won_before
        board.stage.masked_fill_(fell, index)
        board.before.copy_(before)
        entered = torch.tensor([len(at), int(fell.sum())], device=at.device)
        cost = self._spent(board) - spent
        board.counts[index] = torch.cat([entered, cost[:2]])
        board.unbilled.add_(cost[2:] - cost[:2])

    def _targets(
        self, stage: Stage, problem: Problem[Any], samples: Samples, board: Board, enters: Tensor
    ) -> Tensor | None:
        """Target classes (N, K). Rows that have one already, or for which there is none, do not enter."""
        if stage.targets is None:
            return None
        at, scores = enters.nonzero()[:, 0], self._scores(samples, board)
        targets = stage.targets.choose(self.oracle, problem, samples, scores, board.ledger, at)
        if not targets.shape[1]:
            enters.fill_(False)
        if stage.objective.targeted:
            has = _among(samples.y, targets) | _among(self._prediction(samples, board), targets)
            enters &= ~has
            board.carries.logical_and_(has)
            _note_targets(board, targets)
        return targets

    def _drawn(self, stage: Stage, samples: Samples) -> Tensor:
        key = keys(self.seed, samples.id)
        return uniform(key, torch.zeros_like(key), 0, (1,))[:, 0] < stage.share

    def _needed(self, stage: Stage, board: Board) -> bool:
        """Whether the stage named by `after`, if any, broke a row."""
        won = board.counts[:, 1].tolist()
        return stage.after is None or any(s.name == stage.after and n for s, n in zip(self.stages, won, strict=True))

    def _undecided(self, stage: Stage, board: Board) -> bool:
        """Whether it is unknown if this stage is needed, since the stage named by `after` was cut short."""
        cut = board.cut.tolist()
        return not self._needed(stage, board) and any(
            s.name == stage.after and c for s, c in zip(self.stages, cut, strict=True)
        )

    def _spent(self, board: Board) -> Tensor:
        billed = [int(board.ledger.forwards.sum()), int(board.ledger.backwards.sum())]
        computed = [self.oracle.forwards, self.oracle.backwards]
        return torch.tensor([*billed, *computed], device=board.unbilled.device)

    def _search(
        self, index: int, problem: Problem[Any], samples: Samples, board: Board, targets: Tensor | None, at: Tensor
    ) -> None:
        stage, ledger = self.stages[index], board.ledger
        scores = visible(self._scores(samples, board), stage.attack.need)
        jobs = Jobs(
            samples,
            scores,
            self._start(stage, samples, board, at),
            targets,
            stage.restarts,
            self.seed,
            self._stream(index),
        )
        settings = replace(self.settings, stop_early=stops_early(stage))
        left = 0

        def watch(now: int) -> None:
            nonlocal left
            left += now
            standing = int(board.standing.sum())
            self.watch(Live(stage.name, len(at), left, standing, len(samples.y), course))

        def course() -> tuple[Tensor, Tensor, Tensor]:
            used, goes_on = search.course()
            later = board.standing & (ledger.result != Result.BUDGET) & (index + 1 < len(self.stages))
            return used, ledger.won.clone(), goes_on | later

        view = self._view(stage)
        search = Search(stage.attack, self.oracle, problem, jobs, ledger, at, settings, self.allowance, watch, view)
        watch(0)
        search.run()

    def _view(self, stage: Stage) -> Threat:
        """The threat as the attack sees it. What a solver proposes are inputs, exact to the last bit."""
        if stage.attack.begins == "proved":
            return AsItIs(self.threat)
        return self.threat.ignoring if stage.ignores else self.threat.view(stage.attack.requires)

    def _stream(self, index: int) -> int:
        """Separates the draws of stages: the index of this one among those that are not for flat rows."""
        if self.stages[index].flat:
            return len(self.stages) + index
        return sum(not stage.flat for stage in self.stages[:index])

    def _start(self, stage: Stage, samples: Samples, board: Board, at: Tensor) -> Starts:
        start = stage.start or stage.attack.begins
        if start == "near":
            return fixed(board.ledger.near)
        if start == "found":
            return fixed(board.ledger.best)
        if start == "proved":
            return fixed(self.proposals(samples, at))
        return starts(start, samples, self._prediction(samples, board), stage.objective)

    def _close(self, board: Board) -> None:
        """A row that was wrong initially, or had its target, stays that, whatever happened since.

        Those of which every search reached a limit of its own are told from those that no search began with.
        """
        board.ledger.settle_(board.ledger.cut_short, Result.BUDGET)
        board.ledger.settle_(~board.right, Result.ALREADY_WRONG)
        board.ledger.settle_(board.carries, Result.ALREADY_TARGET)
        board.ledger.settle_(~board.clean_margin.isfinite(), Result.NONFINITE)


def check_classes(stages: Sequence[Stage], classes: int) -> None:
    """Raises InputError: a loss needs more classes than there are."""
    for stage in stages:
        stage.objective.check(classes)


def _keep_searched(ledger: Ledger, before: Tensor) -> None:
    """One stage that searched is enough, whether or not another one found a starting point."""
    ledger.settle_((before == Result.STOOD) & (ledger.result == Result.NO_START), Result.STOOD)
    ledger.settle_((before == Result.NO_START) & (ledger.result == Result.UNSEARCHED), Result.NO_START)


def _among(classes: Tensor, targets: Tensor) -> Tensor:
    """Whether each row's class (N,) is one of its targets (N, K)."""
    return (targets == classes[:, None]).any(1)


def _note_targets(board: Board, targets: Tensor) -> None:
    """The one class of each row, as long as there is only one."""
    one = targets[:, 0] if targets.shape[1] == 1 else torch.full_like(board.target, SEVERAL)
    new = torch.where((board.target == UNSET) | (board.target == one), one, SEVERAL)
    board.target.copy_(new if targets.shape[1] else board.target)


def _cost(board: Board) -> tuple[int, int]:
    """Forwards and backwards of the oracle so far, whether charged to rows or not."""
    forwards, backwards = board.unbilled.tolist()
    return forwards + int(board.ledger.forwards.sum()), backwards + int(board.ledger.backwards.sum())


def _enters(stage: Stage, board: Board) -> Tensor:
    movable = board.ledger.result != Result.IMMOVABLE
    if stage.who != "standing":
        return board.right & movable & (board.ledger.won | (stage.who == "all"))
    margin, gained = board.ledger.margin, board.gained
    open_ = board.standing & movable & (board.ledger.result != Result.BUDGET)
    if stage.flat:
        return open_ & (gained <= 0)
    close = margin <= stage.reach * gained if stage.reach < torch.inf else torch.ones_like(board.right)
    moved = board.before - margin >= stage.moved * margin
    disagree = board.ledger.twice.isfinite() & (board.ledger.twice - margin >= stage.disagree * margin)
    unsettled = (moved | disagree) & (margin <= stage.wide_reach * gained)
    return open_ & (close | unsettled)


def _columns(board: Board, stages: int, seconds: list[float], history: Mapping[str, Tensor]) -> dict[str, Tensor]:
    extra = {"stages": torch.tensor([stages]), "seconds": torch.tensor(seconds, dtype=torch.float64)}
    asked = {_HISTORY + name: t for name, t in history.items()}
    return {name: t.cpu() for name, t in leaves(board)} | extra | asked


def _history(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the model was asked before, of what was remembered."""
    return {name.removeprefix(_HISTORY): t for name, t in columns.items() if name.startswith(_HISTORY)}


def _restore(blank: Board, columns: Mapping[str, Tensor]) -> tuple[Board, int, list[float]]:
    """Fill a fresh board in place from what was remembered."""
    if missing := {name for name, _ in leaves(blank)} - columns.keys():
        raise InputError(
            f"expected {', '.join(sorted(missing))} in what was kept of the current shard, found a file of an "
            "earlier version: delete unfinished.safetensors, then --resume begins that shard again"
        )
    for name, t in leaves(blank):
        t.copy_(columns[name])
    return blank, int(columns["stages"]), columns["seconds"].tolist()
