"""Designs on learned objectives: truths with known optima, climbs, conservative training, the whole run."""

import math
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import blindspots as bs
from blindspots.experiments.design import paint
from blindspots.experiments.design.charts import round_values
from blindspots.experiments.design.climbing import Region, climb_of, climbed, distances
from blindspots.experiments.design.config import DesignConfig
from blindspots.experiments.design.ehrlich import Ehrlich
from blindspots.experiments.design.molecules import SYMBOLS, Molecules, smiles
from blindspots.experiments.design.opening import parse_task
from blindspots.experiments.design.surrogates import Networks, Surrogates, fit, fit_conservatively
from blindspots.experiments.design.tasks import BUILT_IN, Designs
from blindspots.experiments.design.verify_molecules import qed
from blindspots.experiments.design.verify_truths import FORMULAS, PUBLISHED, ehrlich, reachable
from blindspots.report.experiment import html
from blindspots.runs.config import made
from blindspots.runs.verify import verify_files

SMALL = {"points": 8, "repeats": 2, "updates": 30, "steps": 4, "inner_steps": 2, "members": 2}
TINY = Ehrlich(positions=8, letters=5, motifs=2, length=2, quantisation=2)

# ------------------------------------------------------------------ truths


@pytest.mark.parametrize("name", BUILT_IN)
def test_truths_have_their_published_optima_at_the_published_places(name: str) -> None:
    task, (value, places) = BUILT_IN[name](), PUBLISHED[name]
    low, high = task.box.T
    designs = torch.from_numpy(2 * (np.array(places) - low) / (high - low) - 1)
    assert task.optimum == value
    assert task.values(designs).numpy() == pytest.approx(value, abs=1e-5)
    near = designs.clamp(-1, 1) + 0.05 * torch.tensor([1.0, -1.0]).repeat(task.size)[: task.size]
    assert (task.values(near.clamp(-1, 1)) < value).all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_random_design_beats_the_optimum_and_both_formulas_agree(name: str) -> None:
    task = BUILT_IN[name]()
    designs = task.drawn(0, 0, 2000)
    values = task.values(designs).numpy()
    assert values.max() <= task.optimum
    assert values == pytest.approx(FORMULAS[name](task.plain(designs)), rel=1e-12)


def test_draws_fill_the_box_and_depend_on_seed_and_repeat_alone() -> None:
    task = BUILT_IN["hartmann3"]()
    first, more = task.drawn(0, 0, 500), task.drawn(0, 0, 600)
    assert torch.equal(first, more[:500])
    assert first.abs().max() <= 1
    assert first.mean(0).abs().max() < 0.1
    assert not torch.equal(first, task.drawn(1, 0, 500))
    assert not torch.equal(first, task.drawn(0, 1, 500))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), letters=st.integers(3, 9), motifs=st.integers(1, 3), length=st.sampled_from([1, 2, 4]),
    room=st.integers(0, 6),
)  # fmt: skip
def test_every_ehrlich_function_has_a_feasible_sequence_of_value_one(
    seed: int, letters: int, motifs: int, length: int, room: int
) -> None:
    task = Ehrlich(motifs * length + room, letters, motifs, length, length, seed)
    columns = {name: column.numpy() for name, column in task.columns().items()}
    drawn = task.drawn(seed, 0, 20)
    values = task.values(drawn)
    assert task.values(task.best()).item() == 1
    assert reachable(columns)
    assert task.feasible(drawn).all()
    assert values.numpy() == pytest.approx(ehrlich(columns, drawn.numpy().astype(np.int64)))
    assert ((values >= 0) & (values <= 1)).all()


def test_an_ehrlich_function_counts_motifs_in_levels_and_nothing_that_is_banned() -> None:
    task = Ehrlich(positions=8, letters=6, motifs=2, length=4, quantisation=2, seed=3)
    best = task.best()
    assert (task.transitions == 0).sum(1).tolist() == [1] * 6  # all but the letter itself and two on either side
    assert torch.diagonal(task.transitions).min() > 0
    broken = best.clone()
    broken[0, 3] = broken[0, 2]  # the last letter of the first motif: three of four count as two
    if task.feasible(broken).item():
        assert task.values(broken).item() in (0.25, 0.5)
    banned = best.clone()
    banned[0, 1] = int((task.transitions[int(best[0, 0])] == 0).nonzero()[0])
    assert not task.feasible(banned).item()
    assert task.values(banned).item() == 0


def test_an_ehrlich_function_by_hand() -> None:
    task = {
        "transitions": np.array([[0.5, 0.5, 0], [0.2, 0.3, 0.5], [1, 0, 0.1]]), "patterns": np.array([[0, 1], [1, 2]]),
        "offsets": np.array([[0, 1], [0, 2]]), "quantisation": np.array([2]),
    }  # fmt: skip
    sequences = np.array([[0, 1, 1, 2], [0, 0, 0, 0], [0, 1, 1, 1], [0, 2, 0, 1]])
    assert ehrlich(task, sequences).tolist() == [1.0, 0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "settings",
    [{"positions": 7, "motifs": 2, "length": 4}, {"length": 4, "quantisation": 3}, {"letters": 2}, {"motifs": 0}],
)
def test_ehrlich_functions_that_do_not_fit_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(bs.InputError, match=r"^expected .*, got .*: change"):
        Ehrlich(**settings)


# ------------------------------------------------------------------ molecules

ASPIRIN = "[C][C][=Branch1][C][=O][O][C][=C][C][=C][C][=C][Ring1][=Branch1][C][=Branch1][C][=O][O]"


def test_qed_is_the_published_formula_and_that_of_known_molecules() -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("selfies")
    task = Molecules(positions=24)
    designs = task.drawn(0, 0, 60)
    values = task.values(designs).numpy()
    assert values == pytest.approx(qed(task.columns()["symbols"].numpy(), designs.numpy()), rel=1e-12)
    assert ((values > 0) & (values < 1)).all()
    assert smiles(ASPIRIN) == "CC(=O)OC1=CC=CC=C1C(=O)O"
    written = torch.tensor([[list(SYMBOLS).index(s) for s in re.findall(r"\[[^]]*\]", ASPIRIN)]], dtype=torch.uint8)
    assert task.values(written).item() == pytest.approx(0.550, abs=1e-3)
    rings = torch.full((1, 5), list(SYMBOLS).index("[Ring1]"), dtype=torch.uint8)
    assert task.values(rings).item() == 0  # no atom


def test_symbols_are_drawn_as_often_as_they_are_meant_to() -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("selfies")
    counts = torch.bincount(Molecules().drawn(3, 1, 500).flatten().long(), minlength=len(SYMBOLS)).double()
    meant = torch.tensor(list(SYMBOLS.values()), dtype=torch.float64)
    assert (counts / counts.sum()).tolist() == pytest.approx((meant / meant.sum()).tolist(), abs=0.015)


def test_a_run_on_molecules_is_proved_and_drawn() -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("selfies")
    done = bs.design("qed:positions=8", **(SMALL | {"points": 12}), method=("naive", "conservative"))
    assert done.verdict.optimum is None
    assert verify_files(dict(done.files)).ok
    shown = html(done)
    assert "data:image/svg+xml" in shown
    assert "SELFIES" in shown


def test_molecules_without_their_packages_end_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rdkit", "rdkit.Chem", "selfies"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(bs.InputError, match=r"pip install 'blindspots\[molecules\]'"):
        bs.design("qed")


# ------------------------------------------------------------------ surrogates and climbs


def random_networks(count: int, features: int, seed: int = 0) -> Networks:
    x = torch.randn(count, 6, features, generator=torch.Generator().manual_seed(seed))
    return fit(x, x.sum(2), 1, seed, 3)


def test_slopes_are_those_of_autograd_also_of_the_smallest_of_several() -> None:
    x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    surrogates = Surrogates(random_networks(6, 3), 3)
    said = surrogates.predicted(x)
    (expected,) = torch.autograd.grad(said.sum(), x)
    assert said.shape == (2, 7)
    assert torch.allclose(surrogates.slopes(x.detach()), expected, atol=1e-6)
    assert torch.equal(said, torch.stack([surrogates.nets.each(x.repeat_interleave(3, 0))]).view(2, 3, 7).amin(1))


def test_repeats_trained_together_do_not_look_at_each_other() -> None:
    x = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(2))
    y = x.sum(2)
    changed = y.clone()
    changed[1] += 1
    a, b = (fit(x, values, 1, 0, 20) for values in (y, changed))
    assert torch.equal(a.first[[0, 2]], b.first[[0, 2]])
    assert not torch.equal(a.first[1], b.first[1])


def test_the_first_member_is_the_same_however_many_there_are() -> None:
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(3))
    alone, three = (fit(x, x.sum(2), members, 0, 5) for members in (1, 3))
    assert torch.allclose(three.first[::3], alone.first, atol=1e-5)
    assert not torch.allclose(three.first[1::3], alone.first, atol=1e-2)


def test_a_network_learns_a_line() -> None:
    x = torch.linspace(-1, 1, 20)[None, :, None]
    nets = fit(x, 2 * x[..., 0], 2, 0, 600)
    assert (nets.each(x.expand(2, -1, -1)) - 2 * x[..., 0]).abs().max() < 0.1


def steep(features: int) -> Surrogates:
    """Rises by the sum of its features."""
    zero = torch.zeros(1, 64, 64)
    first, third = torch.zeros(1, features, 64), torch.zeros(1, 64, 1)
    first[0, :, 0], zero[0, 0, 0], third[0, 0, 0] = 1.0, 1.0, 1.0
    bias = torch.full((1, 1, 64), 10.0)
    return Surrogates(Networks(first, bias, zero, torch.zeros(1, 1, 64), third, torch.zeros(1, 1, 1)))


def test_ascent_goes_straight_up_and_stays_in_the_box() -> None:
    task = BUILT_IN["branin"]()
    starts = torch.tensor([[[0.0, -0.5], [0.95, 0.0]]])
    ways = list(climbed(task, steep(2), starts, 4, 0.1))
    assert len(ways) == 5
    assert torch.allclose(ways[1], torch.tensor([[[0.1, -0.4], [1.0, 0.1]]]))
    assert torch.allclose(ways[-1], torch.tensor([[[0.4, -0.1], [1.0, 0.4]]]))


def test_a_trust_region_reaches_as_far_as_data_are_from_each_other() -> None:
    data = torch.tensor([[[0.0, 0.0], [0.3, 0.0], [0.3, 0.5]]])
    region = Region.around(data, 1.0)
    assert region.radius.item() == pytest.approx(0.5)
    end = list(climbed(BUILT_IN["branin"](), steep(2), data, 50, 0.1, region))[-1]
    assert distances(end, data).amin(2).amax() == pytest.approx(0.5, abs=1e-5)
    assert Region.around(data, 0.5).radius.item() == pytest.approx(0.3)


def sequence_climb(quantile: float | None, members: int = 2) -> tuple[Surrogates, torch.Tensor, list[torch.Tensor]]:
    data = torch.stack([TINY.drawn(0, i, 6) for i in range(2)])
    x = TINY.seen(data.flatten(0, 1)).view(2, 6, -1)
    y = torch.randn(2, 6, generator=torch.Generator().manual_seed(4))
    surrogates = Surrogates(fit(x, y, members, 0, 60), members)
    region = None if quantile is None else Region.around(data, quantile)
    return surrogates, data, list(climbed(TINY, surrogates, data, 4, 0.1, region))


def every_exchange(designs: torch.Tensor, task: Designs) -> torch.Tensor:
    """(m, positions * letters, positions)"""
    others = designs[:, None].repeat(1, task.size * task.letters, 1)
    for i in range(task.size * task.letters):
        others[:, i, i // task.letters] = i % task.letters
    return others


def test_a_step_exchanges_the_letter_that_gains_most() -> None:
    surrogates, _, ways = sequence_climb(None)
    for before, after in pairwise(ways):
        others = torch.stack([every_exchange(one, TINY) for one in before])
        seen = TINY.seen(others.flatten(0, 2)).view(2, 6 * 40, -1)
        best = surrogates.predicted(seen).view(2, 6, 40).amax(2)
        said = surrogates.predicted(TINY.seen(after.flatten(0, 1)).view(2, 6, -1))
        assert torch.allclose(said, best, atol=1e-5)
        assert (before != after).sum(2).max() <= 1


def test_a_trust_region_of_sequences_counts_letters() -> None:
    _, data, ways = sequence_climb(0.2)
    radius = Region.around(data, 0.2).radius
    assert (distances(ways[-1], data).amin(2) <= radius[:, None]).all()
    assert (ways[-1] != data).any()


def test_conservative_training_holds_every_climb_below_its_ceiling() -> None:
    task = BUILT_IN["hartmann3"]()
    x = task.drawn(0, 0, 12)[None]
    y = task.values(x[0]).float()[None]
    y = (y - y.mean()) / y.std()
    plain = fit(x, y, 1, 0, 800)
    nets, over, alpha = fit_conservatively(x, y, 0, 800, 0.5, climb_of(task, 2, 0.1), 10)

    def promised(networks: Networks) -> torch.Tensor:
        return networks.each(climb_of(task, 20, 0.1)(Surrogates(networks), x)) - y.clamp_min(0.5)

    assert promised(plain).max() > 1.0
    assert promised(nets).max() < 0.25
    assert over.shape == alpha.shape == (800, 1)
    assert over[:, 0].max() > 0.2
    assert over[-50:].mean() < 0.05
    assert alpha.min() >= 0
    assert (nets.each(x) - y).square().mean() < 0.05


def test_a_climb_of_training_starts_over_after_its_rounds() -> None:
    seen = []

    def climb(_: Surrogates, x: torch.Tensor) -> torch.Tensor:
        seen.append(x[0, :, 0].round().tolist())
        return x + 1

    x = torch.zeros(1, 4, 1)
    fit_conservatively(x, torch.tensor([[0.0, 1.0, 2.0, 3.0]]), 0, 6, 0.0, climb, 4)
    assert seen[0] == [0, 0, 0, 0]
    assert seen[1:5] == [[1, 1, 1, 0], [2, 2, 0, 1], [3, 0, 1, 2], [0, 1, 2, 3]]


# ------------------------------------------------------------------ whole runs


@pytest.mark.parametrize("task", ["branin", "ehrlich:positions=12,letters=4,motifs=2,length=4"])
def test_a_run_says_what_it_found_and_is_proved(task: str) -> None:
    done = bs.design(task, **SMALL, seed=1)
    v = done.verdict
    assert [m.name for m in v.methods] == ["naive", "ensemble", "trust", "conservative"]
    assert v.method("naive").better.mean == 0
    for m in v.methods:
        for numbers in (m.mean.sd, m.chosen.sd, m.mean.unit, m.chosen.unit):
            gap = numbers.predicted.mean - numbers.true.mean
            assert numbers.gap.mean == pytest.approx(gap, abs=1e-9)
            assert numbers.over.mean >= max(gap, 0) - 1e-12
            assert numbers.error.mean == pytest.approx(2 * numbers.over.mean - gap, abs=1e-9)
    assert v.asked == 2 * 8 + 4 * 5 * 2 * 4
    assert verify_files(dict(done.files)).ok
    assert next(iter(v.metrics())) == "chosen_gap@conservative"
    assert "Reward hacking is an adversarial example" in html(done)


def test_promises_above_the_optimum_are_red_and_high_is_dark() -> None:
    right = paint.places()[:, 0] > 0
    image = paint.painted(np.where(right, 2.0, 0.0), (0.0, 1.0), 1.0, np.zeros((0, 2)), [])
    (low, green, blue), (red, faint, _) = (image.getpixel((x, 100)) for x in (40, 280))
    assert min(low, green, blue) > 230
    assert red > 2 * faint
    calm = paint.painted(np.where(right, 1.0, 0.0), (0.0, 1.0), 1.0, np.zeros((0, 2)), [])
    assert max(calm.getpixel((280, 100))) < 90


def test_axes_have_round_marks_on_both_sides_of_zero() -> None:
    assert round_values(-1.9, 2.3) == [-1, 0, 1, 2]
    assert round_values(10.15, 10.75) == pytest.approx([10.2, 10.3, 10.4, 10.5, 10.6, 10.7])


def test_naive_ascent_is_deceived_where_data_are_few() -> None:
    done = bs.design("hartmann3", method=("naive", "trust"), repeats=6, updates=800, steps=100)
    naive, trust = done.verdict.methods
    assert naive.chosen.sd.gap.mean > 2
    assert trust.left_chosen is not None
    assert trust.left_chosen < 0.8


def test_the_truth_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "wing.py").write_text(
        "import blindspots as bs\n"
        "def wing():\n"
        "    return bs.Task([(0, 2), (-1, 1)], lambda x: -(x[:, 0] - 1) ** 2 - x[:, 1] ** 2, name='wing', optimum=0, "
        "unit='N')\n"
    )
    done = bs.design(f"{tmp_path / 'wing.py'}:wing", **SMALL)
    assert done.verdict.unit == "N"
    assert verify_files(dict(done.files)).ok
    (tmp_path / "wing.py").write_text((tmp_path / "wing.py").read_text().replace("- 1", "- 1.1"))
    assert not verify_files(dict(done.files)).ok


def test_a_run_does_not_go_on_with_another_truth(tmp_path: Path) -> None:
    asked = []

    def stops(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        if len(asked) == 4:
            raise ValueError("no more")
        return x[:, 0]

    with pytest.raises(bs.InputError, match="no more"):
        bs.design(bs.Task([(0, 1)], stops), out=tmp_path / "run", **SMALL)
    with pytest.raises(bs.InputError, match="the run was begun with"):
        bs.design(bs.Task([(0, 1)], lambda x: 2 * x[:, 0]), out=tmp_path / "run", resume=True, **SMALL)


def test_a_task_from_python_is_proved_with_it_and_noted_without() -> None:
    task = bs.Task([(0, 1)], lambda x: x[:, 0], name="line")
    done = bs.design(task, **SMALL)
    assert verify_files(dict(done.files), {"task": task}).ok
    outcome = verify_files(dict(done.files))
    assert outcome.ok
    assert any("truth is not at hand" in note for note in outcome.notes)
    assert not verify_files(dict(done.files), {"task": bs.Task([(0, 1)], lambda x: 2 * x[:, 0])}).ok


def test_small_differences_of_large_values_are_kept() -> None:
    plain, far = bs.Task([(0, 1)], lambda x: x[:, 0]), bs.Task([(0, 1)], lambda x: 1e9 + x[:, 0])
    here, there = (bs.design(task, **SMALL) for task in (plain, far))
    assert verify_files(dict(there.files), {"task": far}).ok
    deviation = here.verdict.deviation.mean
    assert there.verdict.deviation.mean == pytest.approx(deviation, rel=1e-6)
    assert there.verdict.method("naive").mean.sd.gap.mean == pytest.approx(
        here.verdict.method("naive").mean.sd.gap.mean, abs=1e-4
    )


@pytest.mark.parametrize("size", [1, 50])
def test_designs_of_one_number_and_of_fifty(size: int) -> None:
    task = bs.Task([(-1, 3)] * size, lambda x: -np.round(x).sum(1))
    assert verify_files(dict(bs.design(task, **SMALL).files), {"task": task}).ok


def test_tasks_without_a_truth_are_refused() -> None:
    with pytest.raises(bs.InputError, match="expected a truth that can be asked"):
        bs.Task([(0, 1)], None)  # type: ignore[arg-type]


@pytest.mark.parametrize("bounds", [[(1, 0)], [(0, math.inf)], [], [(0, 1, 2)], "box", [(0, 0)]])
def test_bounds_that_are_none_are_refused(bounds: object) -> None:
    with pytest.raises(bs.InputError, match=r"expected bounds \[\(low, high\)"):
        bs.Task(bounds, lambda x: x[:, 0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("truth", "why"),
    [
        (lambda x: x, r"got shape \(\d+, 1\)"),
        (lambda x: np.full(len(x), np.nan), "not finite"),
        (lambda x: ["a"] * len(x), "got shape"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: np.zeros(len(x)), "values differ"),
        (lambda x: 1e200 * x[:, 0], "deviation inf"),
        (lambda x: 1e-200 * x[:, 0], "in another unit"),
        (lambda x: np.random.default_rng().normal(size=len(x)), "asked about again"),
    ],
)
def test_truths_that_fail_end_in_a_sentence(truth: object, why: str) -> None:
    with pytest.raises(bs.InputError, match=why):
        bs.design(bs.Task([(0, 1)], truth), **SMALL)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("branim", "did you mean 'branin'"),
        ("ehrlich:letter=3", "letters"),
        ("nowhere.py:f", "nowhere.py"),
        ("blindspots.naming:numbered", "numbered"),
    ],
)
def test_names_that_are_no_tasks_end_in_a_sentence(task: str, why: str) -> None:
    with pytest.raises(bs.InputError, match=why):
        parse_task(task)


def test_settings_that_do_not_fit_end_in_a_sentence() -> None:
    with pytest.raises(bs.InputError, match="did you mean 'naive'"):
        made(DesignConfig, {"task": "branin", "method": "naiv"})
    with pytest.raises(bs.InputError, match="at least 2 designs"):
        bs.design("branin", points=5, keep=0.2)
    with pytest.raises(bs.InputError, match="neither device nor chunk"):
        bs.design("branin", chunk=4)
    assert made(DesignConfig, {"task": "branin", "method": "trust"}).method == ("naive", "trust")


def test_a_single_repeat_has_no_interval_and_a_wrong_optimum_is_found() -> None:
    task = bs.Task([(0, 1)], lambda x: x[:, 0], optimum=0.2)
    done = bs.design(task, **(SMALL | {"repeats": 1}))
    assert done.verdict.best_data.interval == "a single repeat"
    assert "beyond-optimum" in {f.code for f in done.findings}
    assert "few-repeats" in {f.code for f in done.findings}
    assert verify_files(dict(done.files), {"task": task}).ok
