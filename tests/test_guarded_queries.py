"""A guard that remembers queries: what it lets pass, what it refuses, and what that does to an attack."""

import pytest
import torch

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.guarded_queries import GuardedQueries, QueryGuard
from small_run import Net, inputs

ROWS = 6


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
    assert not set(QueryGuard(salt="a").fingerprint(x)) & set(QueryGuard(salt="b").fingerprint(x))


def test_settings_that_do_not_fit_are_refused() -> None:
    for wrong in ({"window": 0}, {"hashes": 0}, {"quantisation": 0}, {"threshold": 1.0}):
        with pytest.raises(InputError, match="expected a window"):
            QueryGuard(**wrong)


def test_an_attack_on_a_guarded_model_is_refused_and_what_it_finds_is_no_refusal() -> None:
    x, y = inputs(ROWS)
    settings = {"threat": bs.Linf(0.02), "row_budget": 40}
    model = bs.Model(Net())
    guarded = GuardedQueries(model)
    bare = bs.attack(bs.BlackBox(_scores(model)), x, y, bs.attacks.Square(60), **settings)
    behind = bs.attack(guarded, x, y, bs.attacks.Square(60), **settings)
    assert guarded.guard.refused > guarded.guard.asked / 2
    assert behind.success.sum() <= bare.success.sum()
    assert guarded.rejects
    assert guarded.digest != GuardedQueries(model, QueryGuard(window=20)).digest


def _scores(model: bs.Model):
    return lambda x: model.logits(torch.from_numpy(x)).detach().numpy()


def test_a_guarded_model_has_a_name_of_its_own() -> None:
    model = bs.load_model("guarded-queries:digits")
    assert isinstance(model, GuardedQueries)
    assert model.spec == "guarded-queries:digits"
