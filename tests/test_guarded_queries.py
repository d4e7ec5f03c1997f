"""A guard that remembers queries: what it lets pass, what it refuses, and what that does to an attack."""

import math
from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor

import blindspots as bs
from blindspots.attacks import NES, OARS, Attack
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.errors import InputError
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.models.guarded_queries import GuardedQueries, QueryGuard
from blindspots.oracle import Oracle
from blindspots.rows import leaves
from closed_form import plane
from small_run import Net, inputs


def pictures(count: int) -> torch.Tensor:
    """Unlike each other: uniform noise (count, 3, 16, 16)."""
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_pictures_that_differ_pass_and_one_that_comes_again_does_not() -> None:
    guard = QueryGuard()
    x = pictures(20)
    assert not any(guard.refuses(one) for one in x)
    assert all(guard.refuses(one) for one in x)
    assert (guard.asked, guard.refused) == (40, 20)


def test_a_small_change_is_recognised_and_a_large_one_is_not() -> None:
    x = pictures(1)[0]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    for size, refused in ((0.0, True), (1e-4, True), (0.5, False)):
        guard = QueryGuard()
        assert not guard.refuses(x)
        assert guard.refuses((x + size * noise).clamp(0, 1)) is refused


def test_the_share_of_common_hashes_decides() -> None:
    """Of 100 runs of 5 values, one changed value changes 5: 95 of 100 are common."""
    x = torch.linspace(0, 1, 104)
    changed = x.clone()
    changed[50] = 0.0
    for threshold, refused in ((0.94, True), (0.95, False)):
        guard = QueryGuard(window=5, hashes=1000, quantisation=1, threshold=threshold)
        assert len(guard.fingerprint(x)) == 100
        assert not guard.refuses(x)
        assert guard.refuses(changed) is refused


def test_a_salt_hides_the_hashes() -> None:
    x = pictures(1)[0]
    assert not set(QueryGuard(salt=1).fingerprint(x).tolist()) & set(QueryGuard(salt=2).fingerprint(x).tolist())


def test_windows_are_longer_where_inputs_are_large() -> None:
    for shape, window in (((3, 32, 32), 20), ((3, 64, 64), 50), ((12,), 12)):
        _, factors = QueryGuard().secrets(math.prod(shape))
        assert len(factors) == window


@pytest.mark.parametrize("levels", [2, 5, 10])
def test_a_value_leaves_its_bin_as_often_as_the_secret_shifts_make_it(levels: int) -> None:
    """Six borders among 256 levels, and all shifts are as probable: moved by d levels, 6 d / 256 of all values do."""
    shifts, _ = QueryGuard().secrets(50_000)
    before, after = (((100 + d + shifts) % 256 / 50).round() for d in (0, levels))
    assert (before != after).mean() == pytest.approx(6 * levels / 256, abs=0.01)


def test_settings_that_do_not_fit_are_refused() -> None:
    for wrong in ({"window": 0}, {"hashes": 0}, {"quantisation": 0}, {"threshold": 1.0}, {"salt": -1}):
        with pytest.raises(InputError, match="expected a window"):
            QueryGuard(**wrong)


def test_only_what_is_asked_under_watch_is_a_query() -> None:
    guarded, x = GuardedQueries(bs.Model(Net())), inputs(3)[0]
    for _ in range(2):
        assert not (guarded.logits(x).argmax(1) == 5).any()
    assert guarded.guard.asked == 0
    with guarded.watched():
        assert not (guarded.logits(x).argmax(1) == 5).any()
        assert (guarded.logits(x).argmax(1) == 5).all()
    assert (guarded.guard.asked, guarded.guard.refused) == (6, 3)
    assert not (guarded.logits(x).argmax(1) == 5).any()


def test_a_guard_that_goes_on_from_its_history_answers_as_if_it_had_never_stopped() -> None:
    x = pictures(8)
    x[5], x[7] = x[1] + 1e-4, x[5]
    whole, first, second = (GuardedQueries(bs.Model(Net(), bounds=(0, 1.1))) for _ in range(3))
    expected = [whole.guard.refuses(one) for one in x]
    told = [first.guard.refuses(one) for one in x[:6]]
    second.go_on_from(first.history)
    assert told + [second.guard.refuses(one) for one in x[6:]] == expected
    assert second.guard.shared == whole.guard.shared
    assert (second.guard.asked, second.guard.refused) == (8, 2)
    second.go_on_from({})
    assert not second.guard.refuses(x[0])


def test_inputs_of_a_single_value_are_told_apart() -> None:
    guard = QueryGuard()
    assert not guard.refuses(torch.tensor([0.0]))
    assert not guard.refuses(torch.tensor([0.5]))
    assert guard.refuses(torch.tensor([0.5]))


# ------------------------------------------------------------------ attacks

EASY = plane(4, (3, 12, 12), gap=(0.3, 0.4))
THREAT = bs.Linf(0.03)


def asked_past_a_guard(attack: Attack, **settings: Any) -> tuple[Evaluation, GuardedQueries]:
    guarded = GuardedQueries(bs.Model(EASY.net))
    stage = Stage("alone", attack, "", stop_early=True)
    return bs.evaluate(guarded, EASY.x, EASY.y, threat=THREAT, protocol=[stage], row_budget=161, **settings), guarded


def test_what_falls_past_a_guard_counts() -> None:
    """A success is looked at again, and a guard that took this for a query would refuse it: none would ever count."""
    done, guarded = asked_past_a_guard(OARS(160))
    assert done.success.all()
    assert set(done.verdict.outcomes) == {"won"}
    beyond = done.verdict.forwards_unbilled - 4 * 3  # what a batch asked beyond a success, without the looks after
    assert done.verdict.queries == guarded.guard.asked == done.forwards - 4 + beyond
    assert done.verdict.refused == guarded.guard.refused


def test_an_attack_that_knows_the_guard_passes_where_small_differences_do_not() -> None:
    knows, unaware = (asked_past_a_guard(a)[0].verdict for a in (OARS(160), NES(160, sigma=0.02, cells=None)))
    assert knows.refused < 0.2 * knows.queries
    assert unaware.refused > 0.9 * unaware.queries


def test_directions_grow_until_few_queries_are_refused() -> None:
    """From a fiftieth of a radius, where all are."""
    done, _ = asked_past_a_guard(OARS(160, sigma=0.02))
    assert done.success.any()


def test_a_run_that_was_interrupted_between_stages_sees_the_same_guard() -> None:
    """As if there had been no interruption: the memory is part of what is kept."""
    stages = (Stage("one", NES(20, sigma=0.3), ""), Stage("two", OARS(30), "", start="near"))

    def begun(kept: dict[str, Tensor] | None) -> tuple[GuardedQueries, Generator[Any, None, Any]]:
        guarded = GuardedQueries(bs.Model(EASY.net))
        oracle = Oracle(guarded, chunk=4)
        threat = bs.Linf(0.001)
        samples = Samples.within(threat, torch.arange(4), EASY.x, EASY.y)
        return guarded, Cascade(oracle, threat, stages).stages_of(samples, kept)

    guarded, running = begun(None)
    kept = {name: t.clone() for name, t in next(running).items()}
    assert len(kept["history.shared"]) == 4 * 20
    again, resumed = begun(kept)
    (board, _), (other, _) = ended(running), ended(resumed)
    assert guarded.guard.shared == again.guard.shared
    assert len(again.guard.shared) == 4 * 50
    assert [n for (n, a), (_, b) in zip(leaves(board), leaves(other), strict=True) if not torch.equal(a, b)] == []


def ended(running: Generator[Any, None, Any]) -> Any:
    try:
        next(running)
    except StopIteration as end:
        return end.value
    raise AssertionError("expected no further stage")


def test_shards_begin_with_an_empty_memory() -> None:
    """So what one says does not depend on who made the others: the same rows, together and one by one."""
    x, y = EASY.x[:1].repeat(3, 1, 1, 1), EASY.y[:1].repeat(3)
    stage = Stage("alone", OARS(20), "")
    shared = [
        torch.cat([c["shared"] for c in bs.evaluate(
            GuardedQueries(bs.Model(EASY.net)), x, y, threat=bs.Linf(1e-4), protocol=[stage], shard_rows=rows
        ).shards()]) for rows in (1, 3)
    ]  # fmt: skip
    assert shared[0].view(3, 20)[:, 0].eq(0).all()
    assert shared[1].eq(0).sum() == 1


def test_a_guarded_model_has_a_name_of_its_own() -> None:
    model = bs.load_model("guarded-queries:digits")
    assert isinstance(model, GuardedQueries)
    assert model.spec == "guarded-queries:digits"
