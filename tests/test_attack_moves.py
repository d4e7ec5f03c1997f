"""Searches in lattices of words, beside all points of these."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from blindspots.attacks import (
    GBDA,
    Attack,
    Beam,
    BranchAndBound,
    Charmer,
    Exhaustive,
    Genetic,
    Greedy,
    HotFlip,
    Ranked,
    RankedByGradient,
    Swarm,
)
from blindspots.attacks.rounds import asking
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.ledger import Ledger
from blindspots.engine.loop import Settings
from blindspots.engine.result import Result
from blindspots.lattice import BLANK, UNKNOWN, Candidates, Substitutions
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.rows import leaves
from blindspots.testing.attack import Net, drive, jobs, problem_of

Reader = Callable[[Tensor], Tensor]
P, C, E, V, ROWS = 10, 5, 6, 600, 96
G = torch.Generator().manual_seed(0)
READ = torch.randn(P, E, generator=G)
TABLE = torch.cat([torch.randn(V, E, generator=G), torch.randn(1, E, generator=G), torch.zeros(1, E)])


def embedded(tokens: Tensor) -> Tensor:
    """The last two rows of the table are the unknown word and nothing."""
    return TABLE[tokens.long()]


def reader(e: Tensor) -> Tensor:
    """The order of words counts."""
    return two((e.cumsum(1).tanh() * READ).sum((1, 2)))


def bag(e: Tensor) -> Tensor:
    """What words do adds up."""
    return two((e * READ).sum((1, 2)))


def two(score: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(score), score], 1)


@cache
def texts(head: Reader) -> tuple[Tensor, Candidates]:
    """Of many texts those whose label is surest, but for some: two changes flip most of them, one few."""
    g = torch.Generator().manual_seed(1)
    x = torch.randint(V, (1600, P), generator=g).float()
    own = torch.randint(V, (1600, P, C), generator=g).float()
    own = own.masked_fill(torch.rand(own.shape, generator=g) < 0.1, -1)
    hard = head(embedded(x))[:, 1].abs().argsort(descending=True)[60 : 60 + ROWS]
    return x[hard], Candidates(own[hard])


def searched(
    attack: Attack[Any, Any],
    head: Reader = reader,
    radius: float = 2,
    rows: int = ROWS,
    more: Sequence[Attack[Any, Any]] = (),
    **settings: Any,
) -> Ledger:
    """The outcome of one stage for every row, and of `more` for those that stand."""
    model = Model(head, bounds=(-2.0, float(V)), embed=embedded)
    (x, own), threat = texts(head), Substitutions(radius)
    stages = [Stage("search", attack, "", Objective(), stop_early=True, who="all")]
    stages += [Stage(f"more {i}", other, "", Objective(), stop_early=True) for i, other in enumerate(more)]
    cascade = Cascade(Oracle(model, chunk=64), threat, tuple(stages), settings=Settings(64, **settings))
    samples = Samples.within(threat, torch.arange(rows), x[:rows], model.logits(x[:rows]).argmax(1))
    return cascade.run(replace(samples, own=own[:rows]))[0].ledger


@cache
def everything(head: Reader) -> Ledger:
    return searched(Exhaustive(), head)


# Of the texts that two changes flip: the least share that a search flips; and the most queries per text on average.
FOUND = [
    (HotFlip(width=1), 0.60, 3),
    (HotFlip(), 0.92, 11),
    (GBDA(), 0.94, 25),
    (Greedy(), 0.93, 40),
    (Ranked("delete"), 0.60, 25),
    (Ranked("unknown"), 0.60, 25),
    (Ranked("saliency"), 0.70, 60),
    (Ranked("random"), 0.20, 15),
    (RankedByGradient(), 0.58, 12),
    (Charmer(5), 0.90, 40),
    (Beam(), 0.97, 45),
    (BranchAndBound(0.0), 0.95, 33),
    (Genetic(), 0.93, 110),
    (Swarm(), 0.95, 170),
]


@pytest.mark.parametrize(("attack", "least", "most"), FOUND, ids=str)
def test_searches_find_their_share_of_what_all_points_hold(attack: Attack[Any, Any], least: float, most: float) -> None:
    there, ledger = everything(reader), searched(attack)
    assert not bool((ledger.won & ~there.won).any())
    assert ledger.won.sum() >= least * there.won.sum()
    assert (ledger.forwards - 1).float().mean() <= most


def test_the_order_of_searches_is_the_published_one() -> None:
    """At equal lattices: exhaustive >= beam >= greedy >= ranked by saliency >= by lot (Yoo et al. 2020, table 2)."""
    attacks = (Beam(8), Greedy(), Ranked("saliency"), Ranked("unknown"), Ranked("random"))
    won = [int(ledger.won.sum()) for ledger in (everything(reader), *map(searched, attacks))]
    assert won == sorted(won, reverse=True)


ADDING = [HotFlip(), HotFlip(width=4), Greedy(), RankedByGradient(), Beam(4), BranchAndBound(0.0)]


@pytest.mark.parametrize("attack", ADDING, ids=str)
def test_where_words_add_up_the_best_moves_are_all_there_is(attack: Attack[Any, Any]) -> None:
    assert torch.equal(searched(attack, bag).won, everything(bag).won)


@pytest.mark.parametrize("attack", [Exhaustive(5000), BranchAndBound(queries=5000)], ids=str)
def test_exact_searches_see_every_point_once(attack: Attack[Any, Any]) -> None:
    """Against all combinations of places and candidates; some rows have places without candidates."""
    threat = Substitutions()
    job = jobs(attack, threat)
    probes = torch.stack([state.probe for state, _ in drive(attack, problem_of(attack, threat), job, Net((2, 5, 4)))])
    for row, (x, tokens) in enumerate(zip(job.x, job.own.tokens, strict=True)):  # type: ignore[union-attr]
        options = [[(p, t) for t in dict.fromkeys(tokens[p].tolist()) if t not in (-1, x[p])] for p in range(len(x))]
        count = sum(
            len(list(itertools.product(*chosen))) for k in range(4) for chosen in itertools.combinations(options, k)
        )
        seen = [tuple(point.tolist()) for point in probes[:, row]]
        assert len(set(seen)) == count
        changes = (probes[:, row] != x).sum(1).tolist()
        assert changes == sorted(changes) or isinstance(attack, BranchAndBound)
        assert max(changes) == 3


def test_branch_and_bound_without_an_assumption_is_exact_and_rows_fall_sooner() -> None:
    there, found, cut = (searched(a, rows=12) for a in (Exhaustive(), BranchAndBound(), BranchAndBound(None, 80)))
    assert torch.equal(found.won, there.won)
    assert torch.equal(found.result, there.result)
    stood = ~there.won
    assert torch.equal(found.forwards[stood], there.forwards[stood])
    assert found.forwards[~stood].sum() < 0.6 * there.forwards[~stood].sum()
    assert (cut.result == Result.BUDGET).tolist() == (found.forwards > 81).tolist()


@pytest.mark.parametrize("radius", [1, 2])
def test_where_words_add_up_bounds_are_as_cheap_as_sorting(radius: int) -> None:
    """The best change of each place, then the best places: what no other points within the radius undercut."""
    (x, own), ledger = texts(bag), searched(BranchAndBound(0.0), bag, radius)
    score = (embedded(x) * READ).sum((1, 2))
    gain = (
        (TABLE[own.tokens.long().clamp_min(0)] * READ[:, None]).sum(3) - (embedded(x) * READ).sum(2)[:, :, None]
    ) * (-score.sign()[:, None, None])
    best = gain.masked_fill(own.tokens < 0, 0).amax(2).clamp_min(0).sort(1, descending=True).values[:, :radius].sum(1)
    assert torch.equal(ledger.won, best > score.abs())
    assert int((ledger.forwards - 2 - (own.tokens >= 0).sum((1, 2))).max()) <= radius
    assert 0 < int(ledger.won.sum()) < ROWS


def test_bounds_are_exact_where_changes_gain_no_more_than_is_said() -> None:
    """The most that one change gains beside another is counted in all pairs; half of it is too little."""
    rows, (x, own) = 16, texts(reader)
    x, tokens = x[:rows], own.tokens[:rows]
    sign = reader(embedded(x))[:, 1].sign()

    def margin(points: Tensor) -> Tensor:
        return reader(embedded(points.flatten(0, -2)))[:, 1].view(points.shape[:-1]) * sign.view(
            -1, *[1] * (points.ndim - 2)
        )

    singles = x[:, None, None].repeat(1, P, C, 1)
    at = torch.arange(P)[:, None].expand(P, C)
    singles.scatter_(3, at[None, :, :, None].expand(rows, -1, -1, 1), tokens[..., None].clamp_min(0))
    singles = singles.flatten(1, 2)
    pairs = torch.where(singles[:, None] != x[:, None, None], singles[:, None], singles[:, :, None])
    alone = margin(singles) - margin(x)[:, None]
    beyond = alone[:, :, None] + alone[:, None] - (margin(pairs) - margin(x)[:, None, None])
    there = (tokens >= 0).flatten(1)
    apart = there[:, :, None] & there[:, None] & (at.flatten()[:, None] != at.flatten())
    most = float(beyond[apart].max())
    whole, bounded, less = (searched(BranchAndBound(some), rows=rows) for some in (None, most, 0.0))
    assert torch.equal(bounded.won, whole.won)
    assert bounded.forwards.sum() < whole.forwards.sum()
    assert less.won.sum() < whole.won.sum()


def test_a_beam_of_slopes_costs_what_it_says_and_does_not_go_to_and_fro() -> None:
    for width in (1, 4):
        ledger = searched(HotFlip(width=width))
        stood = ~ledger.won
        assert bool((ledger.forwards[stood] == 2 + 2 * width).all())
        assert bool((ledger.backwards[stood] == 1 + width).all())
        assert 5 < int(stood.sum()) < ROWS / 2


def test_a_beam_that_holds_all_single_changes_finds_all_that_flip() -> None:
    assert torch.equal(searched(HotFlip(width=P * C), radius=1).won, searched(Exhaustive(), radius=1).won)


def test_a_row_stands_only_where_all_points_were_seen() -> None:
    whole, cut = everything(reader), searched(Exhaustive(300))
    stood = whole.result == Result.STOOD
    assert bool(stood.any())
    assert bool((whole.won | stood).all())
    assert cut.result[~cut.won].tolist() == [Result.BUDGET] * int((~cut.won).sum())
    assert int(cut.forwards.max()) == 301


CUT = [Greedy(9), Ranked("delete", 9), RankedByGradient(3), Charmer(5, 9), Beam(8, 9), Genetic(8, 4, queries=9)]


@pytest.mark.parametrize("attack", [*CUT, Swarm(8, 4, queries=9)], ids=str)
def test_a_row_does_not_stand_by_a_search_that_its_own_limit_cut_short(attack: Attack[Any, Any]) -> None:
    cut, whole = searched(attack), searched(replace(attack, queries=5000))
    assert bool((whole.won | (whole.result == Result.STOOD)).all())
    still = (~cut.won) & (cut.forwards - 1 == attack.looks)
    assert cut.result[still].tolist() == [Result.BUDGET] * int(still.sum())
    assert int(still.sum()) > ROWS / 4


@pytest.mark.parametrize("lanes", [1, 16])
def test_other_stages_go_on_where_one_was_cut_short_by_its_own_limit(lanes: int) -> None:
    alone = searched(Greedy(), lanes=lanes)
    both = searched(Greedy(9), lanes=lanes, more=(Greedy(),))
    assert torch.equal(both.won, alone.won)
    assert torch.equal(both.result, alone.result)
    assert bool((searched(Greedy(), more=(Greedy(9),)).result == alone.result).all())


@pytest.mark.parametrize(
    "attack",
    [
        Greedy(),
        *(Ranked(order) for order in ("delete", "unknown", "saliency", "random")),
        Charmer(3),
        Beam(5),
        HotFlip(width=5),
    ],
)
def test_no_point_is_asked_about_twice(attack: Attack[Any, Any]) -> None:
    """Of distinct candidates."""
    threat, job = Substitutions(), jobs(attack, Substitutions(), rows=6)
    tokens = 20 + torch.arange(24.0).view(1, 8, 3).expand(6, -1, -1)
    job = replace(job, own=Candidates(tokens.masked_fill(job.own.tokens < 0, -1)))  # type: ignore[union-attr]
    net = Model(lambda z: z.flatten(1)[:, :5] + z.flatten(1).cumsum(1).sin()[:, 5:10], (-2.0, 44.0), embed=_sines)
    seen: list[list[tuple[float, ...]]] = [[] for _ in range(6)]
    for state, _ in drive(attack, problem_of(attack, threat), job, net):
        for row in (~attack.exhausted(state)).nonzero()[:, 0].tolist():
            seen[row].append(tuple(state.probe[row].tolist()))
    assert all(len(set(points)) == len(points) > 10 for points in seen)


def _sines(tokens: Tensor) -> Tensor:
    return torch.stack([(tokens * k).sin() for k in (1.3, 2.7, 3.1)], 2)


@pytest.mark.parametrize("order", ["delete", "unknown", "saliency"])
def test_a_blank_shows_how_much_a_place_matters_but_is_no_success(order: Any) -> None:
    asked: list[Tensor] = []

    def blind(x: Tensor) -> Tensor:
        asked.append(x)
        return two(1.0 - 2 * (x >= 0).all(1).float())

    (x, own), threat = texts(reader), Substitutions(2)
    stage = Stage("search", Ranked(order), "", Objective(), stop_early=True, who="all")
    samples = replace(Samples.within(threat, torch.arange(8), x[:8], torch.zeros(8).long()), own=own[:8])
    ledger = Cascade(Oracle(Model(blind), chunk=64), threat, (stage,)).run(samples)[0].ledger
    assert not bool(ledger.won.any())
    instead = BLANK if order == "delete" else UNKNOWN
    assert set(torch.cat(asked)[(torch.cat(asked) < 0).any(1)].clamp_max(0).unique().tolist()) == {instead, 0.0}


def test_a_gradient_is_paid_for_once() -> None:
    ledger = searched(RankedByGradient())
    assert ledger.backwards.tolist() == [1] * ROWS
    assert bool((ledger.forwards > 2).all())


@pytest.mark.parametrize("attack", [Greedy(), Ranked("saliency"), RankedByGradient(), Beam(3)], ids=str)
def test_lanes_keep_to_a_budget_to_the_last_query(attack: Attack[Any, Any]) -> None:
    one, many = (searched(attack, rows=16, row_budget=14, lanes=n) for n in (1, 16))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(leaves(one), leaves(many), strict=True))
    assert int((many.forwards + many.backwards).max()) <= 14


def test_lanes_change_nothing_where_an_earlier_stage_has_won() -> None:
    (x, own), threat = texts(reader), Substitutions(2)
    model = Model(reader, bounds=(-2.0, float(V)), embed=embedded)
    samples = Samples.within(threat, torch.arange(16), x[:16], model.logits(x[:16]).argmax(1))
    stages = [Stage(f"{a}", a, "", Objective(), stop_early=True, who="all") for a in (Ranked("random"), Exhaustive())]
    one, many = (
        Cascade(Oracle(model, chunk=64), threat, stages, settings=Settings(16, lanes=n))
        .run(replace(samples, own=own[:16]))[0]
        .ledger
        for n in (1, 16)
    )
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(leaves(one), leaves(many), strict=True))


def test_what_promises_most_is_asked_first() -> None:
    g = torch.Generator().manual_seed(3)
    wanted, promise = torch.rand(20, 12, generator=g) < 0.4, torch.rand(20, 12, generator=g)
    wanted[0], promise[1] = False, torch.inf
    codes, total = asking(wanted, promise)
    for row in range(20):
        asked = codes[row, : int(total[row])].tolist()
        assert asked == sorted(wanted[row].nonzero()[:, 0].tolist(), key=lambda code: (promise[row, code], code))
    assert int(total[0]) == 0


@pytest.mark.parametrize("attack", [Genetic(), Swarm()], ids=str)
def test_populations_ask_about_no_text_twice(attack: Attack[Any, Any]) -> None:
    """Within one change there are few texts: besides these, a generation asks about one that is known."""
    ledger = searched(attack, radius=1)
    points = 1 + (texts(reader)[1].tokens >= 0).sum((1, 2))
    assert bool((ledger.forwards - 1 <= points + 21).all())
    assert torch.equal(ledger.won, searched(Exhaustive(), radius=1).won)


@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("attack", [Genetic(8, 4), Swarm(8, 4), GBDA(8, lead=0.0)], ids=str)
def test_crossovers_keep_to_the_radius(attack: Attack[Any, Any], radius: int) -> None:
    threat, job = Substitutions(), jobs(attack, Substitutions())
    job = replace(job, r=torch.full_like(job.r, radius))
    changes = [(s.probe != job.x).sum(1) for s, _ in drive(attack, problem_of(attack, threat), job, Net((2, 5, 4)))]
    assert int(torch.stack(changes).max()) == radius
