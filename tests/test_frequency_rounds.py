"""Whether clones forgot their parents, what follows where they did not, and what stability proves for rates."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

import blindspots as bs
from blindspots.data import as_data
from blindspots.experiments.inspect.certificates import certified
from blindspots.experiments.inspect.config import InspectConfig
from blindspots.experiments.inspect.frequency.evidence import ROUNDS, Evidence, Round, gather
from blindspots.experiments.inspect.frequency.laws import Cube, Gaussian
from blindspots.experiments.inspect.frequency.likeness import FORGOTTEN, Likeness
from blindspots.experiments.inspect.frequency.rates import rate
from blindspots.experiments.inspect.frequency.splitting import Score, Splitting, split
from blindspots.experiments.inspect.frequency.verify import checks
from blindspots.experiments.inspect.frequency.verify_rates import chance
from blindspots.random import keys
from blindspots.runs.store import Parts
from blindspots.runs.world import World


def corner(side: float) -> Score:
    return lambda x, row: x.double().amin(1) - (1 - side)


def row_keys(rows: int) -> Tensor:
    return keys(0, torch.arange(rows))


# ------------------------------------------------------------------ likeness


def test_tau_is_that_of_kendall_and_its_deviation_that_of_independent_pairs() -> None:
    rng, found = np.random.default_rng(0), Likeness.none(400, torch.device("cpu"))
    at = torch.arange(400 * 7)
    parent, clone = (torch.from_numpy(rng.exponential(size=400 * 7)) for _ in range(2))
    found = found.after(at, 7, parent, clone)
    rows = zip(parent.view(400, 7).numpy(), clone.view(400, 7).numpy(), strict=True)
    assert found.tau.numpy() == pytest.approx([kendalltau(p, c).statistic for p, c in rows])
    assert float(found.chance[0]) == pytest.approx(float(found.tau.std()), rel=0.1)
    assert float(found.chance[0]) == pytest.approx(chance([1] * 7))
    same = Likeness.none(400, torch.device("cpu")).after(at, 7, parent, 3 * parent)
    assert bool((same.tau == 1).all())


def test_runs_that_ended_and_scores_without_an_order_do_not_count() -> None:
    at, like = torch.tensor([0, 2, 3, 4]), Likeness.none(2, torch.device("cpu"))
    up, odd = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, math.inf, math.inf])
    found = like.after(at, 3, up, odd)
    assert found.pairs.tolist() == [1, 1]
    assert found.tau.tolist() == [1, 0]
    assert found.after(at[:1], 3, up[:1], up[:1]).pairs.tolist() == [1, 1]
    assert Likeness.none(1, torch.device("cpu")).tau.tolist() == [0]


def test_clones_remember_in_corners_and_forget_behind_half_spaces() -> None:
    how = Splitting(particles=5, replicates=10, steps=5)
    flat = split(
        lambda x, row: x[:, 0].double() - 3.719, torch.zeros(2, 20), Gaussian(1.0), row_keys(2), replace(how, steps=20)
    )
    bent = split(corner(2 * 1e-4**0.05), torch.zeros(2, 20), Cube(1.0), row_keys(2), how)
    assert flat.short.tolist() == [False, False]
    assert bent.short.tolist() == [True, True]
    assert float(flat.like.tau.max()) < 0.1 < float(bent.like.tau.min())


# ------------------------------------------------------------------ rounds


def test_corners_are_split_again_with_twice_the_steps_until_clones_forget() -> None:
    how = Splitting(particles=5, replicates=6, steps=5)
    found = gather(corner(2 * 1e-3**0.1), torch.zeros(2, 10), Cube(1.0), row_keys(2), draws=10, splitting=how)
    for evidence in found:
        assert len(evidence.rounds) > 1
        assert all(r.remembering or r.stuck for r in evidence.rounds[:-1])
        assert not evidence.rounds[-1].remembering or len(evidence.rounds) == ROUNDS
        low, high = rate(evidence).interval
        assert low <= 1e-3 <= high
        walked = sum((sum(r.kills) + 5 * r.stuck) * 5 * 2**k for k, r in enumerate(evidence.rounds))
        assert evidence.forwards == 1 + 10 + 30 * len(evidence.rounds) + walked


@pytest.mark.slow
@pytest.mark.parametrize(("count", "p"), [(5, 1e-10), (20, 1e-6)])
def test_rates_of_corners_are_covered(count: int, p: float) -> None:
    score = corner(2 * p ** (1 / count))
    found = gather(score, torch.zeros(60, count), Cube(1.0), row_keys(60), draws=10, splitting=Splitting())
    held = [low <= p <= high for low, high in (rate(e).interval for e in found)]
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 60)


def test_what_earlier_rounds_saw_is_not_forgotten() -> None:
    """Their estimates are without bias: where they are higher, the interval reaches up to their mean."""
    last = Round(kills=(460,) * 10, arrived=(True,) * 10, tau=0.0, chance=0.01)
    alone = rate(Evidence(wrong=False, particles=10, rounds=(last,)))
    lower = last.model_copy(update={"kills": (500,) * 10, "tau": 0.1})
    higher = last.model_copy(update={"kills": (500,) * 9 + (300,), "tau": 0.1})
    assert rate(Evidence(wrong=False, particles=10, rounds=(lower, last))) == alone
    found = rate(Evidence(wrong=False, particles=10, rounds=(lower, higher, last)))
    assert found.interval == (alone.interval[0], pytest.approx((9 * 0.9**500 + 0.9**300) / 10))
    assert higher.remembering
    assert not last.model_copy(update={"tau": FORGOTTEN + 0.01}).remembering


def test_a_bound_of_runs_that_are_stuck_is_not_above_that_of_the_draws() -> None:
    stuck = Round(kills=(0, 1), arrived=(False, False), tau=0.0, chance=0.1, stuck=2)
    found = rate(Evidence(wrong=False, draws=1000, particles=2, rounds=(stuck,)))
    assert found.how == "at most"
    assert found.interval == (0.0, pytest.approx(1 - 0.003125 ** (1 / 1000)))


# ------------------------------------------------------------------ what stability proves


def test_radii_of_linear_networks_are_their_exact_distances() -> None:
    g = torch.Generator().manual_seed(0)
    weight, x = torch.randn(3, 16, generator=g), torch.rand(20, 16, generator=g)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        net[1].weight.copy_(weight), net[1].bias.zero_()
    y = net(x).argmax(1)
    scores = net(x).double().detach()
    exact = torch.stack([
        ((scores[i, y[i]] - scores[i]) / (weight[y[i]] - weight).double().norm(dim=1)).nan_to_num(torch.inf).min()
        for i in range(20)
    ])  # fmt: skip
    for threat, stretch in (("l2:0.01", 1.0), ("linf:0.01", 4.0)):
        done = bs.inspect.stability(net, x, y, threat=threat, bounded=10, perturbed=1)
        radii, ids = certified(done, 20), done.parts.joined("around")["id"]
        assert (radii > 0).sum() <= 10
        assert radii[ids].clamp_min(1e-9).numpy() == pytest.approx((exact[ids] / stretch).numpy(), rel=0.02, abs=0.011)
        assert bool((radii[ids] <= (exact[ids] / stretch).clamp_min(0.01)).all())


def test_rates_are_proved_where_stability_was(tmp_path: Path) -> None:
    weight = torch.ones(4) / 2
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([-weight, weight]) / 2), net[1].bias.copy_(torch.tensor([0.65, -0.65]))
    x = torch.full((4, 4), 0.5) + torch.tensor([0.0, 0.1, 0.14, 0.5])[:, None]
    y = torch.tensor([0, 0, 0, 0])  # at 0.3, 0.1, 0.02 and -0.7 from the boundary in l2
    settings = {"threat": "l2:0.05", "draws": 50, "splitting": False, "perturbed": 2, "out": tmp_path / "run"}
    done = bs.inspect(bs.Model(net), x, y, part=("frequency", "stability"), **settings)
    rates = [row.rate for row in done.of("frequency").verdict.tables[0].lines]
    assert [(r.how, r.p) for r in rates if r.how == "proved"] == [("proved", 0.0), ("proved", 0.0), ("proved", 1.0)]
    found = bs.verify(tmp_path / "run", bs.Model(net), (x, y))
    assert found.ok
    assert "certified radii are those that the study of stability proves" in found.checks
    alone = bs.inspect(bs.Model(net), x, y, part=("frequency",), **settings | {"out": None})
    assert all(row.rate.how != "proved" for row in alone.of("frequency").verdict.tables[0].lines)


# ------------------------------------------------------------------ the proof


class Corner(nn.Module):
    """Wrong where all pixels are above 0.8."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([0.8 - x.amin(1), x.amin(1) - 0.8], 1)


@pytest.fixture(scope="module")
def run() -> Any:
    net = bs.Model(Corner(), bounds=(0.0, 1.0), output="logits")
    told = {"threat": "linf:0.5", "draws": 10, "particles": 4, "replicates": 5, "walk": 5}
    return bs.inspect.frequency(net, torch.full((2, 5), 0.5), torch.tensor([0, 0]), **told)


def _problems(done: Any, column: str = "", change: Any = None) -> list[str]:
    class Forged(Parts):
        def __getitem__(self, name: str) -> Any:
            found = super().__getitem__(name)
            return {**found, column: change(found[column])} if column in found and name.startswith("rates") else found

    given = {"model": bs.Model(Corner(), bounds=(0.0, 1.0), output="logits")}
    world = World(done.config, given | {"data": as_data((torch.full((2, 5), 0.5), torch.tensor([0, 0])))})
    world.same = {"model": True, "data": True}
    parts = Forged(*(getattr(done.parts, field) for field in ("files", "at", "begun", "names", "digests")))
    return [problem for check in checks(done.config, done.verdict, parts, world) for problem in check.problems]


def test_the_proof_holds_where_there_were_rounds(run: Any) -> None:
    assert int(run.parts.joined("rates/ball")["rounds"].min()) > 1
    assert _problems(run) == []


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("kills", lambda t: t + 1, "as many points as draws"),
        ("kills", lambda t: t.flip(2), "nothing"),
        ("rounds", lambda t: t - 1, "another round"),
        ("tau", lambda t: t * 0, "another round"),
        ("chance", lambda t: t * 0.5, "expected chance"),
        ("asked", lambda t: t - 1, "as many points as draws"),
        ("hits", lambda t: t + 1, "expected 0 hits"),
        ("arrived", lambda t: ~t, "tables"),
        ("stuck", lambda t: t + 1, "tables"),
    ],
)
def test_forged_columns_are_found(run: Any, column: str, change: Any, said: str) -> None:
    """The order of the replicates says nothing; all else does."""
    problems = _problems(run, column, change)
    assert any(said in problem for problem in problems) if said != "nothing" else problems == []


# ------------------------------------------------------------------ a second model


@pytest.mark.parametrize("part", ["frequency", "stability", "training"])
def test_a_second_model_is_refused_where_nothing_is_compared(part: str) -> None:
    with pytest.raises(bs.InputError, match="expected one model for what only units, pictures and geometry"):
        getattr(bs.inspect, part)("digits", data="digits", rows=4, against="digits-robust")
    with pytest.raises(bs.InputError, match=rf"expected a part that compares two models .* for {part}: leave out"):
        bs.inspect("digits", data="digits", rows=4, part=part, against="digits-robust")


def test_a_second_model_goes_to_the_parts_that_compare() -> None:
    asked = InspectConfig(model="digits", data="digits", against="digits-robust", part=("units", "frequency"))
    assert asked.of("units").against == "digits-robust"
    assert asked.of("frequency").against is None
