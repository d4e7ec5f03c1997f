"""What every attack owes the engine. `check_attack` yields what it has shown; an AssertionError says what fails."""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

import blindspots.attacks
from blindspots.attacks import APGD, Attack, Bisect, Smooth, Through
from blindspots.attacks.attack import State
from blindspots.ball import BALLS, Ball
from blindspots.capabilities import Tabular
from blindspots.engine.jobs import Jobs, Samples, fixed
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Search, Settings, nothing_seen
from blindspots.lattice import Candidates, Substitutions
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle, one_hot_prediction
from blindspots.problem import Job, Need, Problem, Question, Seen
from blindspots.random import keys
from blindspots.rows import Around, Rows, leaves, tree
from blindspots.tables.features import Column, Features, Relation
from blindspots.tables.threat import Cost, TableThreat, ball_of
from blindspots.threat import Threat

ROWS, CLASSES, TOKENS = 8, 5, 20
SHAPES = [(1,), (7,), (2, 6), (3, 5, 4), (1, 1, 9), (2, 3, 4, 5)]
OBJECTIVES = [
    Objective(loss="ce"),
    Objective(directed=True, loss="margin"),
    Objective(targeted=True, loss="dlr"),
    Objective(directed=True, loss="probability-margin"),
]
RADIUS = {"linf": 0.08, "l2": 0.4, "l1": 1.5, "l0": 4.0}


@dataclass(frozen=True)
class Check:
    """One clause of the contract for one attack in one threat."""

    attack: Attack
    threat: Threat
    clause: Callable[[Attack[Any, Any], Any], None]

    def __str__(self) -> str:
        return f"{self.attack!r}-{self.threat.name}-{self.clause.__name__}"

    @property
    def claim(self) -> str:
        return f"{self.threat.name}: {self.clause.__name__.replace('_', ' ')}"

    def __call__(self) -> None:
        """Raises AssertionError: the clause does not hold."""
        try:
            self.clause(self.attack, self.threat)
        except AssertionError as error:
            raise AssertionError(f"{self.attack!r} breaks the contract of attacks, {self.claim}. {error}") from error


def check_attack(attack: Attack) -> Iterator[str]:
    """Show that an attack keeps what the engine relies on, in every threat that it declares.

    Rows do not depend on their neighbours or their order, a step depends on nothing but its arguments, proposals stay
    inside the threat, any shape of input will do, and `repr` is code that makes the attack again. Runs on small
    networks of its own, for a second or two.

    Args:
        attack: with few steps, since it is run about thirty times in each threat.

    Yields:
        What was shown, in a sentence.

    Raises:
        AssertionError: what does not hold.
    """
    for check in checks(attack):
        check()
        yield check.claim


def checks(attack: Attack) -> Iterator[Check]:
    """Every clause of the contract, in every threat that the attack declares."""
    if attack.requires is Tabular:
        yield from (Check(attack, _table(name), clause) for name in _OF_TABLES for clause in ANYWHERE)
        return
    if attack.requires is not Ball:
        yield from (Check(attack, Substitutions(), clause) for clause in ANYWHERE)
        return
    for name in attack.threats:
        yield from (Check(attack, BALLS[name](), clause) for clause in CLAUSES)


class Net(nn.Module):
    """Smooth, not linear, and the same for the same shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(16, math.prod(shape), generator=g))
        self.last = nn.Parameter(torch.randn(CLASSES, 16, generator=g))

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x.flatten(1)[:, None] * self.first).sum(2).tanh()  # a matrix product may round by the place of a row
        return (hidden[:, None] * self.last).sum(2)


class Flat(nn.Module):
    """No direction leads anywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :1] + torch.arange(CLASSES, 0, -1.0)


R = TypeVar("R", bound=Rows)
Turn = tuple[State, Seen]


def drive(attack: Attack[Any, Any], problem: Problem[Any], job: Job, net: nn.Module | Model) -> Iterator[Turn]:
    """The attack's states with what was seen at them, until no row proposes anything."""
    oracle = Oracle(_model(net, problem.threat), chunk=ROWS)
    state, around = attack.init(problem, job), job.within(job.r) if attack.need is Need.SLOPES else None
    while not attack.exhausted(state).all():
        classes, aim = attack.classes_of(state), attack.aim_of(state)
        seen = oracle.look(problem, Question(job.y, job.target, None, around), state.probe, attack.need, classes, aim)
        seen = seen if seen.grad is None else replace(seen, grad=problem.threat.pulled(seen.grad))
        yield state, seen
        state = attack.step(problem, job, state, seen)


@lru_cache(maxsize=1)
def turns_of(attack: Attack, threat: Threat) -> list[Turn]:
    """Those of the rows of `jobs`, which most clauses compare with; tensors in them are not to be written to."""
    return list(drive(attack, problem_of(attack, threat), jobs(attack, threat), Net((2, 5, 4))))


def jobs(attack: Attack, threat: Threat, shape: tuple[int, ...] = (2, 5, 4), rows: int = ROWS, seed: int = 0) -> Job:
    """Rows that are classified as their label, each with a radius and a key of its own."""
    if isinstance(threat, TableThreat):
        return _rows(attack, threat, rows, seed)
    if not isinstance(threat, Ball):
        return _texts(attack, threat, rows, seed)
    g = torch.Generator().manual_seed(seed)
    x = (0.9 * torch.rand(rows, *shape, generator=g) + 0.05).round(decimals=2)
    with torch.no_grad():
        logits = Net(shape)(x)
        order = logits.argsort(1, descending=True)
    r = RADIUS[threat.name] * torch.linspace(0.5, 1.5, rows)
    r = r.ceil() if threat.p == 0 else r
    start = threat.project(x + 0.5 * torch.randn(x.shape, generator=g), Around(x, r))
    scores = one_hot_prediction(logits) if attack.need is Need.LABEL else logits
    return Job(x, r, start, order[:, 0], order[:, 1], keys(seed, torch.arange(rows)), scores)


def _texts(attack: Attack, threat: Threat, rows: int, seed: int) -> Job:
    """Rows of eight tokens, of which some have candidates."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(TOKENS, (rows, 8), generator=g).float()
    some = torch.rand(rows, 8, 3, generator=g) < 0.8
    own = Candidates(torch.where(some, torch.randint(TOKENS, (rows, 8, 3), generator=g), -1).float())
    with torch.no_grad():
        logits = _model(Net((2, 5, 4)), threat).logits(x)
        order = logits.argsort(1, descending=True)
    r = torch.full((rows,), 3.0)
    return Job(x, r, x, order[:, 0], order[:, 1], keys(seed, torch.arange(rows)), logits, own=own)


_OF_TABLES = ("cost",)  # norms enter through the ball alone, and this one has a unit
_PRICED = {"real": 4.0, "integer": 1.0, "ordinal": 1.0, "category": 2.0}


@lru_cache
def _table(name: str) -> TableThreat:
    """Possible rows of 40 numbers: of every type, some in one direction, with relations between them."""
    columns = {f"r{k}": Column(range=(0, 1), cost=_PRICED["real"]) for k in range(10)}
    columns |= {f"i{k}": Column(type="integer", range=(0, 10), cost=_PRICED["integer"]) for k in range(12)}
    columns |= {
        f"o{k}": Column(type="ordinal", values=(0.0, 1.0, 4.0), change="up", cost=_PRICED["ordinal"]) for k in range(6)
    }
    columns |= {f"c{k}": Column(type="category", values=("a", "b", "c"), cost=_PRICED["category"]) for k in range(4)}
    columns |= {name: columns[name].model_copy(update={"change": "never"}) for name in ("r9", "i11", "c3")}
    said = ("r0 <= r1", "i2 == i0 + i1", "if c0 == 'a' then r2 >= 0.2", "count(i3, i4, i5) <= 2")
    table = Features(columns=columns, relations=tuple(Relation(holds=text) for text in said))
    ball: Any = Cost() if name == Cost.name else BALLS[name]()
    return TableThreat(ball_of(ball, table), table)


def _rows(attack: Attack, threat: TableThreat, rows: int, seed: int) -> Job:
    """Rows that keep the relations, each with a radius of its own."""
    g = torch.Generator().manual_seed(seed)
    cells: dict[str, Tensor] = {}
    for name, column in threat.table.columns.items():
        low, high = column.bounds
        drawn = torch.rand(rows, column.width, generator=g)
        match column.type:
            case "category":
                cells[name] = torch.nn.functional.one_hot(drawn.argmax(1), column.width).float()
            case "ordinal":
                cells[name] = torch.tensor(column.numbers)[(3 * drawn).long()]
            case _:
                cells[name] = (drawn * (high - low) / 2).round(decimals=0 if column.type == "integer" else 2) + low
    cells["r1"], cells["r2"] = cells["r0"] + 0.1, cells["r2"] + 0.3
    cells["i0"], cells["i1"], cells["i3"] = (cells[name].clamp_max(5) for name in ("i0", "i1", "i3"))
    cells["i2"], cells["i3"] = cells["i0"] + cells["i1"], 0 * cells["i3"]
    x = torch.cat(list(cells.values()), 1)
    with torch.no_grad():
        logits = Net((40,))(x)
    r = {"linf": 1.0, "l2": 2.0, "l1": 3.0, "l0": 4.0, "cost": 6.0}[threat.name] * torch.linspace(0.5, 1.5, rows)
    r = r.ceil() if threat.name == "l0" else r
    start = threat.project(x + 0.5 * torch.randn(x.shape, generator=g), Around(x, r))
    order = logits.argsort(1, descending=True)
    scores = one_hot_prediction(logits) if attack.need is Need.LABEL else logits
    return Job(x, r, start, order[:, 0], order[:, 1], keys(seed, torch.arange(rows)), scores)


def _model(net: nn.Module | Model, threat: Threat) -> Model:
    """The network on the inputs of such a threat."""
    if isinstance(threat, TableThreat):
        lo, hi = threat.ball.whole
        return Model(net, bounds=(lo, hi)) if isinstance(net, nn.Module) else net
    if isinstance(net, Model) or isinstance(threat, Ball):
        return net if isinstance(net, Model) else Model(net)
    table = torch.randn(TOKENS, 5, generator=torch.Generator().manual_seed(1))
    return Model(net, bounds=(0.0, TOKENS - 1.0), embed=lambda tokens: table[tokens])


def problem_of(attack: Attack, threat: Threat, targeted: bool = False) -> Problem[Any]:
    """What an attack solves here, by its own loss."""
    return Problem(Objective(targeted=targeted, loss=attack.loss), threat)


def same(a: Rows, b: Rows) -> bool:
    """Bit by bit."""
    return all(torch.equal(s, t) for (_, s), (_, t) in zip(leaves(a), leaves(b), strict=True))


def copy(rows: R) -> R:
    """That shares no memory."""
    return cast(R, tree(torch.clone, rows))


def widest(attack: Attack, threat: Threat, r: Tensor) -> Tensor:
    """The radius that proposals keep to. The engine counts what lies inside `r`, whatever is proposed.

    Attacks for the smallest distance come in from outside, and views lie there as a rule; APGD in an l1 ball passes
    through balls of three times and twice the radius: that is its paper's rule.
    """
    if isinstance(attack, Through) or (attack.minimal and not isinstance(attack, Bisect)):
        return torch.full_like(r, torch.inf)
    inner = attack.attack if isinstance(attack, Smooth) else attack
    return 3 * r if isinstance(inner, APGD) and threat.name == "l1" else r


def an_order_of_rows_changes_no_row(attack: Attack, threat: Threat) -> None:
    """Rows in another order take the same steps."""
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    there = drive(attack, problem_of(attack, threat), jobs(attack, threat)[order], Net((2, 5, 4)))
    for (moved, _), (state, _) in zip(there, turns_of(attack, threat), strict=True):
        assert same(moved, state[order])


def neighbours_change_no_row(attack: Attack, threat: Threat) -> None:
    """Rows among others take the same steps."""
    kept = torch.arange(ROWS) < 3
    others = tree(partial(_mix, kept), jobs(attack, threat), jobs(attack, threat, seed=9))
    there = drive(attack, problem_of(attack, threat), others, Net((2, 5, 4)))
    for (changed, _), (state, _) in zip(there, turns_of(attack, threat), strict=False):  # rows end at different turns
        assert same(changed[:3], state[:3])


def a_row_alone_takes_the_same_steps(attack: Attack, threat: Threat) -> None:
    """So the engine may drop rows that are done."""
    alone = drive(attack, problem_of(attack, threat), jobs(attack, threat)[2:3], Net((2, 5, 4)))
    for (single, _), (state, _) in zip(alone, turns_of(attack, threat), strict=False):
        assert same(single, state[2:3])


def a_row_that_is_not_a_number_poisons_no_other(attack: Attack, threat: Threat) -> None:
    """NaN in what was seen of one row reaches no other."""
    problem, job = problem_of(attack, threat), jobs(attack, threat)
    for state, seen in turns_of(attack, threat):
        ill = tree(lambda t: torch.where(_rows_like(t) == 0, torch.nan, t) if t.is_floating_point() else t, seen)
        after, as_ever = attack.step(problem, job, state, ill), attack.step(problem, job, state, seen)
        assert same(after[1:], as_ever[1:])


def a_step_is_a_pure_function(attack: Attack, threat: Threat) -> None:
    """So a search can be stored at any turn and go on elsewhere; arguments and global generators stay as they are."""
    problem, job, net = problem_of(attack, threat), jobs(attack, threat), Net((2, 5, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        generators = _generators()
        for state, seen in drive(attack, problem, job, net):
            before = copy(job), copy(state), copy(seen)
            after = attack.step(problem, job, state, seen)
            unchanged = all(same(a, b) for a, b in zip(before, (job, state, seen), strict=True))
            assert unchanged, "an argument was written to"
            torch.manual_seed(8)
            assert same(after, attack.step(problem, *before)), "the step depends on something besides its arguments"
            torch.manual_seed(7)
        assert _generators() == generators, "a global generator was used"


def proposals_lie_in_the_threat_set(attack: Attack, threat: Threat) -> None:
    """They are finite, in the ball and in the box."""
    job = jobs(attack, threat)
    r = widest(attack, threat, job.r)
    targeted = drive(attack, problem_of(attack, threat, targeted=True), job, Net((2, 5, 4)))
    for state, _ in (*turns_of(attack, threat), *targeted):
        assert state.probe.isfinite().all()
        assert threat.holds(_without_blanks(state.probe, job, threat), job.within(r)).all()


def without_a_radius_proposals_lie_in_the_box(attack: Attack, threat: Ball) -> None:
    """Of an attack for the smallest distance."""
    if attack.minimal:
        job = replace(jobs(attack, threat), r=torch.full((ROWS,), torch.inf))
        for state, _ in drive(attack, problem_of(attack, threat), job, Net((2, 5, 4))):
            assert threat.holds(state.probe, job).all()


def another_box_is_kept_to(attack: Attack, threat: Ball) -> None:
    """Bounds need not be 0 and 1."""
    job, threat = jobs(attack, threat), threat.within(-3.0, 2.0)
    r = job.r if threat.p == 0 else 5 * job.r
    x = (5 * job.x - 3).clamp(-3, 2)
    job = replace(job, x=x, start=threat.project(5 * job.start - 3, Around(x, r)), r=r)
    r = widest(attack, threat, job.r)
    for state, _ in drive(attack, problem_of(attack, threat), job, Net((2, 5, 4))):
        assert threat.holds(state.probe, job.within(r)).all()


def bounds_of_each_feature_are_kept_to(attack: Attack, threat: Ball) -> None:
    """Unless it needs one box for all."""
    job = jobs(attack, threat)
    half = torch.linspace(0.2, 0.6, job.x[0].numel()).view(job.x.shape[1:])
    threat = type(threat)(None, 0.5 - half, 0.5 + half)
    job = replace(job, x=threat.whole.clip(job.x), start=threat.whole.clip(job.start))
    r = widest(attack, threat, job.r)
    for state, _ in drive(attack, problem_of(attack, threat), job, Net((2, 5, 4))) if not attack.even else ():
        assert threat.holds(state.probe, job.within(r)).all()


def what_may_not_change_does_not(attack: Attack, threat: Ball) -> None:
    """A mask leaves values as they are."""
    job = jobs(attack, threat)
    where = torch.arange(job.x[0].numel()).view(job.x.shape[1:]) % 3 > 0
    threat = type(threat)(where=where)
    job = replace(job, start=threat.clip(job.start, job))
    r = widest(attack, threat, job.r)
    for state, _ in drive(attack, problem_of(attack, threat), job, Net((2, 5, 4))):
        assert state.probe.isfinite().all()
        assert threat.holds(state.probe, job.within(r)).all() or isinstance(attack, Through)


def steps_bound_the_turns(attack: Attack, threat: Threat) -> None:
    """And the last look is announced, for it needs no gradient."""
    problem, job = problem_of(attack, threat), jobs(attack, threat)
    turns = turns_of(attack, threat)
    assert len(turns) <= attack.looks
    for state, seen in turns:
        assert (attack.exhausted(attack.step(problem, job, state, seen)) | ~attack.final(state)).all()


def what_is_known_ahead_comes(attack: Attack, threat: Threat) -> None:
    """The probes that are certain, made by steps that have seen nothing, are those that are proposed."""
    problem, job = problem_of(attack, threat), jobs(attack, threat)
    turns = [state for state, _ in drive(attack, problem, job, Net((2, 5, 4)))]
    for number, state in enumerate(turns):
        if (ahead := attack.ahead(state)) is not None:
            for lane, there in enumerate(turns[number + 1 :][: int(ahead.max())], 1):
                state = attack.step(problem, job, state, nothing_seen(job, attack.need))  # noqa: PLW2901
                certain = (ahead >= lane) & ~attack.exhausted(there)
                assert torch.equal(state.probe[certain], there.probe[certain])


def lanes_change_no_row(attack: Attack, threat: Threat) -> None:
    """What a search finds and what it is charged do not depend on how many evaluations share a batch."""
    if attack.ahead(attack.init(problem_of(attack, threat), jobs(attack, threat))) is not None:
        assert same(_searched(attack, threat, lanes=1), _searched(attack, threat, lanes=16))


def a_state_keeps_its_form(attack: Attack, threat: Threat) -> None:
    """Names, shapes and types of its tensors, one entry per row."""
    forms = [[(name, t.shape, t.dtype) for name, t in leaves(state)] for state, _ in turns_of(attack, threat)]
    assert all(form == forms[0] for form in forms)
    assert all(shape[0] == ROWS for _, shape, _ in forms[0])
    assert {name: shape for name, shape, _ in forms[0]}["probe"] == jobs(attack, threat).x.shape


def any_shape_of_input_will_do(attack: Attack, threat: Ball) -> None:
    """From single numbers to four axes, of one row and of several."""
    for shape, rows in zip(SHAPES, itertools.cycle((3, 1)), strict=False):
        job = jobs(attack, threat, shape, rows)
        for state, seen in drive(attack, problem_of(attack, threat), job, Net(shape)):
            assert state.probe.shape == job.x.shape
            assert state.probe.isfinite().all()
            assert len(seen.won) == rows


def a_flat_network_is_survived(attack: Attack, threat: Threat) -> None:
    """Gradients of 0 lead to no NaN."""
    job = replace(jobs(attack, threat), y=torch.zeros(ROWS, dtype=torch.int64))
    for state, _ in drive(attack, problem_of(attack, threat), job, Flat()):
        assert state.probe.isfinite().all()


def every_loss_will_do(attack: Attack, threat: Threat) -> None:
    """Untargeted, directed and targeted."""
    job = jobs(attack, threat)
    for objective in OBJECTIVES:
        for state, _ in drive(attack, Problem(objective, threat), job, Net((2, 5, 4))):
            assert state.probe.isfinite().all()


def it_is_a_value(attack: Attack, threat: Threat) -> None:
    """`repr` is code, and equal attacks have equal hashes."""
    again = eval(repr(attack), {**vars(blindspots.attacks), type(attack).__name__: type(attack)})
    assert again == attack
    assert hash(again) == hash(attack)


ANYWHERE = (
    an_order_of_rows_changes_no_row,
    neighbours_change_no_row,
    a_row_alone_takes_the_same_steps,
    a_row_that_is_not_a_number_poisons_no_other,
    a_step_is_a_pure_function,
    proposals_lie_in_the_threat_set,
    steps_bound_the_turns,
    what_is_known_ahead_comes,
    lanes_change_no_row,
    a_state_keeps_its_form,
    a_flat_network_is_survived,
    every_loss_will_do,
    it_is_a_value,
)
CLAUSES = (
    *ANYWHERE,
    without_a_radius_proposals_lie_in_the_box,
    another_box_is_kept_to,
    bounds_of_each_feature_are_kept_to,
    what_may_not_change_does_not,
    any_shape_of_input_will_do,
)


def _searched(attack: Attack, threat: Threat, lanes: int) -> Ledger:
    """The ledger after a search with so many lanes."""
    problem, job, net = problem_of(attack, threat), jobs(attack, threat), Net((2, 5, 4))
    at, margin = torch.arange(ROWS), torch.full_like(job.r, torch.inf)
    samples, ledger = Samples(at, job.x, job.y, job.r, job.own), Ledger.blank(job.x, margin)
    todo = Jobs(samples, job.scores, fixed(job.start), None, restarts=2, seed=0, stream=0)
    settings = Settings(slots=3, stop_early=not attack.minimal, lanes=lanes)
    Search(attack, Oracle(_model(net, threat), chunk=ROWS), problem, todo, ledger, at, settings).run()
    return ledger


def _without_blanks(probe: Tensor, job: Job, threat: Threat) -> Tensor:
    """Points that may be asked about, to learn how much a place matters, but never count as successes."""
    return torch.where(probe < 0, job.x, probe) if isinstance(threat, Substitutions) else probe


def _mix(kept: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(kept.view(-1, *[1] * (a.ndim - 1)), a, b)


def _rows_like(t: Tensor) -> Tensor:
    return torch.arange(len(t)).view(-1, *[1] * (t.ndim - 1)).expand_as(t)


def _generators() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), random.getstate()
