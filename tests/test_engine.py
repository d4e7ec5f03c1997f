import copy
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blindspots.attacks import (
    APGD,
    DDN,
    FGSM,
    FMN,
    NES,
    PGD,
    SPSA,
    VMIFGSM,
    Attack,
    AutoZOOM,
    Bandits,
    Bisect,
    GeoDA,
    HopSkipJump,
    RotateTranslate,
    SignOPT,
    Square,
    Through,
)
from blindspots.attacks.attack import State, zeros
from blindspots.ball import BALLS
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Allowance, Search, Settings
from blindspots.engine.result import Result
from blindspots.models import BlackBox
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Job, Need, Problem, Seen
from blindspots.rows import Around, leaves
from blindspots.threat import Threat
from reference_engine import ReferenceSearch

ROWS, SHAPE, CLASSES, CHUNK = 19, (1, 6, 6), 5, 4


class Conv(nn.Module):
    """A small network that counts the rows it evaluates, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, CLASSES, 4))
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x.register_hook(self._count)
        return self.body(x).flatten(1)

    def _count(self, grad: Tensor) -> None:
        self.backwards += len(grad)


@dataclass
class Trial:
    """Everything that a search takes; each engine gets a fresh ledger."""

    attack: Attack
    threat: Threat
    net: nn.Module
    samples: Samples
    restarts: int = 1
    targets: Tensor | None = None
    objective: Objective | None = None
    settings: Settings = Settings(slots=8)  # noqa: RUF009, immutable
    chunk: int = CHUNK
    bf16: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        self.oracle = Oracle(Model(self.net), chunk=self.chunk, bf16=self.bf16, channels_last=self.channels_last)
        self.problem = Problem(self.objective or Objective(loss=self.attack.loss), self.threat)

    def blank(self) -> Ledger:
        s = self.samples
        with self.oracle.session():
            return Ledger.blank(s.x, Objective().margin(self.oracle.logits(s.x), s.y, s.y))

    def search(self, entering: Tensor | None = None, **more: object) -> Search:
        jobs = Jobs(self.samples, unseen(self.samples), fixed(self.samples.x), self.targets, self.restarts, 0, 0)
        at = torch.arange(len(self.samples.y)) if entering is None else entering
        return Search(self.attack, self.oracle, self.problem, jobs, self.blank(), at, self.settings, **more)

    def fast(self, **more: object) -> Ledger:
        with self.oracle.session():
            search = self.search(**more)
            search.run()
        return search.ledger

    def pure(self) -> Ledger:
        with self.oracle.session():
            s = self.search()
            return ReferenceSearch(s.attack, s.oracle, s.problem, s.jobs, s.ledger, s.entering, s.settings).run()


def unseen(s: Samples) -> Tensor:
    """Scores that no attack here looks at."""
    return torch.zeros(len(s.y), 5)


def samples(rows: int = ROWS, radius: tuple[float, float] = (0.05, 0.25)) -> Samples:
    """Right at first; their radii grow, so that some stand and some fall early."""
    x = torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(1)).mul(255).round().div(255)
    with torch.no_grad():
        y = Conv()(x).argmax(1)
    return Samples(1000 + torch.arange(rows), x, y, torch.linspace(*radius, rows))


def trial(attack: Attack, **more: object) -> Trial:
    threat = BALLS[attack.threats[0]]()
    scale = {"linf": 1.0, "l2": 3.0, "l1": 10.0}[threat.name]
    s = samples()
    r = torch.full((ROWS,), torch.inf) if attack.minimal else scale * s.r
    return Trial(**{"attack": attack, "threat": threat, "net": Conv(), "samples": replace(s, r=r)} | more)


def everything(ledger: Ledger) -> dict[str, Tensor]:
    return dict(leaves(ledger))


def assert_equal(a: Ledger, b: Ledger) -> None:
    unequal = [name for name, t in everything(a).items() if not torch.equal(t, everything(b)[name])]
    assert unequal == []


def other_classes(s: Samples) -> Tensor:
    return (s.y[:, None] + torch.arange(1, CLASSES)) % CLASSES


ATTACKS = [FGSM(), PGD(7), APGD(12), DDN(9), FMN(9), Square(10), Bisect(4)]
attacks = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
SETTINGS = {
    "plain": {},
    "one slot": {"settings": Settings(slots=1)},
    "patience": {"settings": Settings(slots=5, patience=3)},
    "to the end": {"settings": Settings(slots=5, stop_early=False)},
    "budget": {"settings": Settings(slots=5, row_budget=17)},
    "restarts": {"restarts": 3},
    "targets": {"targets": other_classes(samples()), "objective": Objective(directed=True)},
    "targets, budget": {
        "targets": other_classes(samples()),
        "restarts": 2,
        "objective": Objective(targeted=True, loss="ce"),
        "settings": Settings(slots=6, row_budget=40, patience=2),
    },
}


@attacks
@pytest.mark.parametrize("case", SETTINGS)
def test_the_fast_engine_does_what_the_pure_one_does(attack: Attack, case: str) -> None:
    settings = SETTINGS[case]
    t = trial(attack, **settings)
    assert_equal(t.fast(), t.pure())


@attacks
def test_a_row_gets_the_same_whoever_is_beside_it(attack: Attack) -> None:
    t = trial(attack, restarts=2)
    ledger = t.fast()
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))
    assert_equal(replace(t, samples=t.samples[order]).fast(), ledger[order])
    for i in (0, 7, ROWS - 1):
        assert_equal(replace(t, samples=t.samples[i : i + 1]).fast(), ledger[i : i + 1])
    for settings in (Settings(slots=1), Settings(slots=64), Settings(slots=11, patience=4)):
        assert_equal(replace(t, settings=settings).fast(), ledger)


@attacks
def test_a_search_goes_on_from_any_turn(attack: Attack) -> None:
    t = trial(attack, restarts=2)
    ledger = t.fast()
    with t.oracle.session():
        search = t.search()
        while search.slots is not None:
            search = copy.deepcopy(search)
            search.turn()
    assert_equal(search.ledger, ledger)


@pytest.mark.parametrize("attack", [PGD(7), Square(30)], ids=str)
def test_some_rows_win_early_some_late_and_some_not_at_all(attack: Attack) -> None:
    """Otherwise the tests above would prove little."""
    ledger = trial(attack).fast()
    assert 5 <= int(ledger.won.sum()) <= ROWS - 5
    assert len(ledger.forwards.unique()) >= 5


@pytest.mark.parametrize("attack", [PGD(7), Square(30), FMN(9)], ids=str)
def test_the_bill_of_all_rows_is_what_the_network_computed(attack: Attack) -> None:
    """With calls of one row there is no padding. A row's last look needs no gradient; where others do, it gets one."""
    net = Conv()
    t = trial(attack, net=net, chunk=1, restarts=2)
    ledger = t.fast()
    assert int(ledger.forwards.sum()) == net.forwards == t.oracle.forwards
    assert int(ledger.backwards.sum()) <= net.backwards == t.oracle.backwards
    alone = Conv()
    ledger = replace(t, net=alone, settings=Settings(slots=1, stop_early=not attack.minimal)).fast()
    assert int(ledger.backwards.sum()) == alone.backwards


@dataclass(frozen=True)
class Knock(Attack):
    """Looks `steps` times at the clean input, the last time at a corner of the box if the job is the lucky one."""

    steps: int = 3
    need: ClassVar[Need] = Need.VALUE
    threats: ClassVar[tuple[str, ...]] = ("linf",)

    @property
    def looks(self) -> int:
        return self.steps

    def init(self, problem: Problem, job: Job) -> State:
        return State(job.x, zeros(job))

    def step(self, problem: Problem, job: Job, state: State, seen: Seen) -> State:
        lucky = (state.t == self.steps - 2) & (job.target == 1)
        return State(torch.where(lucky[:, None], torch.ones_like(job.x), job.x), state.t + 1)


class Corner(nn.Module):
    """Class 0, but 1 at the corner of the box; not a number for inputs below 0.1."""

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).amin(1) - 0.9
        score = torch.where(x.flatten(1).amin(1) < 0.1, torch.nan, score)
        return torch.stack([-score, score], 1)


def knocks(targets: list[list[int]], restarts: int = 1, x: Tensor | None = None, **more: object) -> Trial:
    n = len(targets)
    x = torch.full((n, 3), 0.5) if x is None else x
    s = Samples(torch.arange(n), x, torch.zeros(n, dtype=torch.int64), torch.ones(n))
    return Trial(Knock(), BALLS["linf"](), Corner(), s, restarts, torch.tensor(targets), **more)


def test_jobs_follow_each_other_until_one_wins() -> None:
    ledger = knocks([[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1]], settings=Settings(slots=2)).fast()
    assert ledger.forwards.tolist() == [1 + 9, 1 + 3, 1 + 9, 1 + 6]
    assert ledger.won.tolist() == [True, True, False, True]
    assert ledger.result.tolist() == [Result.WON, Result.WON, Result.UNSEARCHED, Result.WON]


def test_every_job_is_run_where_the_smallest_norm_counts() -> None:
    ledger = knocks([[1, 0], [0, 0]], restarts=2, settings=Settings(slots=2, stop_early=False)).fast()
    assert ledger.forwards.tolist() == [1 + 12, 1 + 12]
    assert ledger.result.tolist() == [Result.WON, Result.UNSEARCHED]


def test_restarts_run_through_all_targets_each_with_its_own_randomness() -> None:
    s = samples(2)
    targets = torch.tensor([[1, 2], [3, 4]])
    jobs = Jobs(s, unseen(s), fixed(s.x), targets, 3, 0, 0)
    assert jobs.per_sample == 6
    at = torch.zeros(6, dtype=torch.int64)
    job = jobs.fetch(at, torch.arange(6))
    assert job.target.tolist() == [1, 2, 1, 2, 1, 2]
    assert len(job.key.unique()) == 6
    assert Jobs(s, unseen(s), fixed(s.x), None, 1, 0, 0).fetch(at[:1], at[:1]).target.tolist() == s.y[:1].tolist()
    others = [
        Jobs(s, unseen(s), fixed(s.x), targets, 3, seed, stream).fetch(at, torch.arange(6)).key
        for seed, stream in [(0, 1), (1, 0)]
    ]
    assert len(torch.cat([job.key, *others]).unique()) == 18


@pytest.mark.parametrize("attack", [PGD(7), Square(15), FMN(7)], ids=str)
def test_no_row_costs_more_than_its_budget(attack: Attack) -> None:
    s = replace(samples(), r=torch.full((ROWS,), 1e-6))
    full = 1 + 2 * (attack.steps + 1 if attack.need is Need.VALUE else 2 * attack.steps + 1)
    for budget in (1, 2, 3, 4, full // 2, full // 2 + 1, full - 1, full, full + 1):
        t = trial(attack, samples=s, restarts=2, settings=Settings(slots=5, row_budget=budget))
        ledger = t.fast()
        cost = ledger.forwards + ledger.backwards
        assert (cost <= budget).all()
        assert (cost >= min(budget - 1, full)).all()
        assert set(ledger.result.tolist()) == {Result.STOOD if budget >= full else Result.BUDGET}


def test_a_budget_also_ends_a_search_for_the_smallest_distance_that_has_won() -> None:
    t = trial(FMN(40), settings=Settings(slots=5, stop_early=False, row_budget=40))
    ledger = t.fast()
    assert ledger.won.all()
    assert (ledger.forwards + ledger.backwards <= 40).all()
    assert set(ledger.result.tolist()) == {Result.WON}


def test_a_run_stops_when_it_may_cost_no_more() -> None:
    t = trial(PGD(7), restarts=3)
    for allowance in (Allowance(forwards=100), Allowance(backwards=80)):
        t.oracle.forwards = t.oracle.backwards = 0
        ledger = t.fast(allowance=allowance)
        assert t.oracle.forwards <= (allowance.forwards or torch.inf)
        assert t.oracle.backwards <= (allowance.backwards or torch.inf)
        results = set(ledger.result.tolist())
        assert results == {Result.WON, Result.BUDGET}
        assert torch.equal(ledger.result == Result.WON, ledger.won)
        assert ledger.forwards[-1] < 9


def test_a_deadline_that_has_passed_ends_a_run_before_its_first_turn() -> None:
    t = trial(PGD(7, random_start=False))
    ledger = t.fast(allowance=Allowance(deadline=time.monotonic()))
    assert ledger.forwards.tolist() == [1] * ROWS
    assert set(ledger.result.tolist()) == {Result.BUDGET}


def test_rows_that_ended_before_the_budget_did_keep_their_result() -> None:
    """One slot each: rows end after three looks, when the budget of the run is spent, too."""
    t = knocks([[0], [1], [0], [0]], settings=Settings(slots=2), chunk=2)
    ledger = t.fast(allowance=Allowance(forwards=4 + 6))
    assert ledger.result.tolist() == [Result.UNSEARCHED, Result.WON, Result.BUDGET, Result.BUDGET]


def test_waiting_rows_that_were_broken_before_stay_broken() -> None:
    t = knocks([[0], [0], [0]], settings=Settings(slots=1), chunk=1)
    with t.oracle.session():
        search = t.search(allowance=Allowance(forwards=0))
        search.ledger.won[2] = True
        search.ledger.settle_(search.ledger.won, Result.WON)
        search.run()
    assert search.ledger.result.tolist() == [Result.BUDGET, Result.BUDGET, Result.WON]


def test_a_row_that_is_not_a_number_leaves_alone() -> None:
    x = torch.full((5, 3), 0.5)
    x[2] = 0.05
    targets = [[0, 1]] * 5
    ledger, sound = knocks(targets, x=x).fast(), knocks(targets).fast()
    others = torch.tensor([0, 1, 3, 4])
    assert_equal(ledger[others], sound[others])
    assert ledger.result[2] == Result.NONFINITE
    assert ledger.forwards[2] == 1 + 2  # one look of each job
    assert not ledger.won[2]


@attacks
def test_gradients_that_are_not_numbers_stay_in_their_row(attack: Attack) -> None:
    class Root(Conv):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 0 * (x.flatten(1)[:, :1] - 0.5).sqrt()  # slope inf at 0.5, NaN below

    s = samples()
    s.x[:, 0, 0, 0] = 1.0
    bad = torch.tensor([1, 4, 5])
    ill = s.x.clone()
    ill[bad, 0, 0, 0] = 0.25
    if attack.minimal:
        s = replace(s, r=torch.full((ROWS,), 0.1))
    sound, mixed = (trial(attack, net=Root(), samples=replace(s, x=x)).fast() for x in (s.x, ill))
    assert (mixed.result[bad] == Result.NONFINITE).all()
    others = torch.tensor([i for i in range(ROWS) if i not in bad])
    assert_equal(mixed[others], sound[others])


def test_only_points_of_the_threat_set_count() -> None:
    """At the corner the network errs, but the corner is not in every ball."""
    t = knocks([[1], [1], [1]])
    s = replace(t.samples, r=torch.tensor([0.49, 0.5, 0.51]))
    ledger = replace(t, samples=s).fast()
    assert ledger.won.tolist() == [False, True, True]
    assert ledger.norm.tolist() == [torch.inf, 0.5, 0.5]
    assert ledger.best.tolist() == [[0.5] * 3, [1.0] * 3, [1.0] * 3]
    assert ledger.near.tolist() == ledger.best.tolist()


def test_the_nearest_miss_is_kept() -> None:
    t = trial(PGD(7))
    ledger = t.fast()
    with t.oracle.session(), torch.no_grad():
        margin = Objective().margin(t.net(ledger.near), t.samples.y, t.samples.y)
    assert torch.allclose(margin, ledger.margin, atol=1e-6)
    assert t.threat.holds(ledger.near, Around(t.samples.x, t.samples.r)).all()
    assert (ledger.margin < t.blank().margin).all()


@pytest.mark.parametrize("attack", [PGD(7), FMN(9)], ids=str)
def test_the_smallest_certified_point_is_kept(attack: Attack) -> None:
    t = trial(attack, settings=Settings(slots=8, stop_early=False))
    ledger = t.fast()
    with torch.no_grad():
        predicted = t.net(ledger.best).argmax(1)
    assert torch.equal(predicted != t.samples.y, ledger.won)
    assert torch.equal(t.threat.distance(ledger.best, t.samples.x)[ledger.won], ledger.norm[ledger.won])
    assert ledger.norm[~ledger.won].isinf().all()


def test_nobody_enters_nobody_leaves() -> None:
    t = trial(PGD(3))
    blank = t.blank()
    assert_equal(t.fast(entering=torch.tensor([], dtype=torch.int64)), blank)
    some = t.fast(entering=torch.tensor([3, 11]))
    others = torch.tensor([i for i in range(ROWS) if i not in (3, 11)])
    assert_equal(some[others], blank[others])
    assert (some.forwards[[3, 11]] > 1).all()


@pytest.mark.parametrize("patience", [1, 4])
def test_the_watcher_hears_of_every_row_once(patience: int) -> None:
    left: list[int] = []
    trial(APGD(12), settings=Settings(slots=5, patience=patience)).fast(watch=left.append)
    assert sum(left) == ROWS
    left.clear()
    trial(APGD(12)).fast(watch=left.append, allowance=Allowance(forwards=60))
    assert sum(left) == ROWS


def test_slots_are_refilled_at_once_and_dropped_at_the_end() -> None:
    net = Conv()
    t = trial(Square(30), net=net, settings=Settings(slots=8))
    ledger = t.fast()
    fixed = sum(len(batch) * int(batch.max()) for batch in ledger.forwards.split(8))
    assert int(ledger.forwards.sum()) <= net.forwards < 0.9 * fixed


ASKING = [
    NES(20, pairs=4),
    SPSA(20, pairs=4),
    AutoZOOM(20, pairs=3),
    Bandits(11),
    HopSkipJump(120, batch=5),
    GeoDA(120, batch=5),
    SignOPT(120, batch=5),
    RotateTranslate(tries=12),
    VMIFGSM(3, neighbours=3),
    Through(PGD(3), copies=4),
]


def unbroken(attack: Attack, rows: int) -> Samples:
    """Rows that are searched to the end."""
    return replace(samples(rows), r=torch.full((rows,), torch.inf if attack.minimal else 1e-6))


asking = pytest.mark.parametrize("attack", ASKING, ids=lambda attack: type(attack).__name__)


@asking
@pytest.mark.parametrize("case", ["plain", "to the end", "budget", "patience"])
def test_lanes_change_no_bit(attack: Attack, case: str) -> None:
    s = samples(4) if not attack.minimal else replace(samples(4), r=torch.full((4,), torch.inf))
    t = trial(attack, samples=s, **SETTINGS[case])
    one = replace(t, settings=replace(t.settings, lanes=1)).fast()
    for lanes in (3, 16):
        assert_equal(replace(t, settings=replace(t.settings, lanes=lanes)).fast(), one)
    if case == "budget":
        assert_equal(t.pure(), one)
        assert (one.forwards + one.backwards <= 17).all()


@asking
def test_few_rows_fill_a_call_with_lanes(attack: Attack) -> None:
    """The network computes less, and rows are charged the same."""
    one, lanes = (
        trial(attack, samples=unbroken(attack, 2), chunk=16, settings=Settings(stop_early=False, lanes=lanes))
        for lanes in (1, None)
    )
    assert_equal(lanes.fast(), one.fast())
    assert lanes.oracle.forwards < one.oracle.forwards


def test_full_calls_leave_no_room_for_lanes() -> None:
    t = trial(NES(30, pairs=4), settings=Settings(slots=8), chunk=8)
    with t.oracle.session():
        search = t.search()
        assert search.slots is not None
        assert search._lanes(search.slots) == 1


@asking
@pytest.mark.parametrize("budget", [40, 101])
def test_a_run_costs_no_more_with_lanes(attack: Attack, budget: int) -> None:
    t = trial(attack, settings=Settings(slots=3, lanes=16), chunk=4)
    ledger = t.fast(allowance=Allowance(forwards=budget + 20))  # 20 for the clean inputs
    assert budget - 2 * 16 < t.oracle.forwards - 20 <= budget
    assert (ledger.result == Result.BUDGET).any()


@pytest.mark.parametrize("attack", [NES(400), SPSA(400), AutoZOOM(400)], ids=str)
def test_a_service_is_called_ten_times_less(attack: Attack) -> None:
    """One row, batches of 64, as many queries."""
    calls = []
    for lanes in (1, None):
        sizes: list[int] = []
        box = BlackBox(partial(_answered, sizes), classes=CLASSES)
        t = trial(attack, samples=unbroken(attack, 1), settings=Settings(stop_early=False, lanes=lanes))
        t.oracle = Oracle(box, chunk=64)
        t.fast()
        calls.append((len(sizes), sum(sizes)))
    (before, queries), (after, same) = calls
    assert queries == same
    assert 10 * after <= before


_CONV = Conv()


def _answered(sizes: list[int], x: np.ndarray) -> np.ndarray:
    sizes.append(len(x))
    with torch.no_grad():
        return torch.cat(
            [_CONV(row[None]) for row in torch.from_numpy(x)]
        ).numpy()  # row by row: no bit depends on others


class Hasty(Conv):
    """In low precision always wrong, else a constant."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.eye(CLASSES)[0] + 0 * super().forward(x)
        return logits.flip(1) if torch.is_autocast_enabled("cpu") else logits


def test_in_low_precision_only_confirmed_wins_count() -> None:
    s = replace(samples(), y=torch.zeros(ROWS, dtype=torch.int64))
    ledger = trial(PGD(3), net=Hasty(), samples=s, bf16=True).fast()
    assert not ledger.won.any()
    t = trial(PGD(7), bf16=True)
    ledger, exact = t.fast(), trial(PGD(7)).fast()
    with torch.no_grad():
        assert torch.equal(t.net(ledger.best).argmax(1) != t.samples.y, ledger.won)
    assert (ledger.won != exact.won).sum() <= 1


class Small(Conv):
    """A device on which only two rows fit."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_a_search_survives_that_memory_runs_out() -> None:
    t = trial(PGD(7), net=Small())
    assert_equal(t.fast(), trial(PGD(7), chunk=2).fast())
    assert t.oracle.shrunk


@attacks
def test_channels_last_changes_no_more_than_the_rounding(attack: Attack) -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.rand(6, 3, 6, 6, generator=g)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, CLASSES, 6), nn.Flatten())
    with torch.no_grad():
        y = net(x).argmax(1)
    s = Samples(torch.arange(6), x, y, torch.full((6,), torch.inf if attack.minimal else 0.05))
    last, first = (trial(attack, net=net, samples=s, channels_last=c).fast() for c in (True, False))
    assert torch.equal(last.won, first.won)
    assert torch.equal(last.forwards, first.forwards)
    assert torch.allclose(last.norm, first.norm, rtol=1e-3)


def test_every_result_has_its_sentence() -> None:
    sentences = [result.sentence for result in Result]
    assert len(set(sentences)) == len(Result)
    assert all(" " in sentence for sentence in sentences)


def test_results_are_never_forgotten_in_a_second_search() -> None:
    """A stage writes to the ledger that the stage before it left."""
    t = trial(PGD(7))
    with t.oracle.session():
        first = t.search()
        first.run()
        standing = (~first.ledger.won).nonzero()[:, 0]
        before = copy.deepcopy(first.ledger)
        jobs = Jobs(t.samples, unseen(t.samples), fixed(first.ledger.near), None, 1, 0, 1)
        Search(Square(20, stripes=False), t.oracle, t.problem, jobs, first.ledger, standing, t.settings).run()
    assert torch.equal(first.ledger.best[before.won], before.best[before.won])
    assert (first.ledger.margin <= before.margin).all()
    assert (first.ledger.forwards[standing] > before.forwards[standing]).all()
    assert torch.equal(first.ledger.backwards, before.backwards)
    assert (first.ledger.result[before.won] == Result.WON).all()
