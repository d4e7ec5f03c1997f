"""Randomised smoothing: bounds and radii in closed form, runs that go on after a kill, proofs that see tampering."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest, norm
from torch import Tensor, nn
from typer.testing import CliRunner

import blindspots as bs
import small_run
from blindspots.cli.app import app
from blindspots.experiments.certify import smoothed
from blindspots.experiments.certify.attacked import attack
from blindspots.experiments.certify.bounds import at_least, draws_for, largest, needed, radius, voted
from blindspots.experiments.certify.experiment import Certified
from blindspots.experiments.certify.findings import findings
from blindspots.experiments.certify.smoothed import Smoothed
from blindspots.models.blackbox import BlackBox
from blindspots.models.model import Model
from blindspots.problem import Need
from blindspots.runs.folder import Folder
from blindspots.runs.run import How
from blindspots.runs.run import run as run_kind
from blindspots.runs.store import opened
from blindspots.runs.world import Progress

SIGMA = 0.5
NORMAL = torch.tensor([[3.0, -4.0]])  # of length 5


class HalfPlanes(nn.Module):
    """Class 1 where w x > 0: the smoothed classifier is the same, and its radius |w x| / |w|."""

    def forward(self, x: Tensor) -> Tensor:
        side = x.flatten(1) @ NORMAL.T.to(x)
        return torch.cat([-side, side], 1)


def half_planes() -> Model:
    return Model(HalfPlanes(), bounds=(-10.0, 10.0))


def at_distance(distances: list[float]) -> Tensor:
    """Points (B, 2) so far on the side of class 1."""
    return torch.tensor(distances)[:, None] * NORMAL / 5


# ------------------------------------------------------------------ bounds


@pytest.mark.parametrize(("hits", "draws"), [(0, 10), (1, 10), (57, 100), (100, 100), (99_000, 100_000)])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_lower_bound_is_the_exact_one_of_clopper_and_pearson(hits: int, draws: int, alpha: float) -> None:
    interval = binomtest(hits, draws, alternative="greater").proportion_ci(1 - alpha, method="exact")
    assert at_least(hits, draws, alpha) == pytest.approx(interval.low, rel=1e-9)


def test_no_vote_proves_more_than_one_in_which_all_agree() -> None:
    assert largest(100_000, 1.0, 0.001) == pytest.approx(norm.ppf(0.001 ** (1 / 100_000)))
    assert 3.7 < largest(100_000, 1.0, 0.001) < 4


@pytest.mark.parametrize("wanted", [0.1, 0.5, 1.2])
def test_as_many_draws_as_are_named_prove_a_radius_and_one_less_does_not(wanted: float) -> None:
    enough = int(draws_for(wanted, SIGMA, 0.001))
    assert largest(enough, SIGMA, 0.001) >= wanted > largest(enough - 1, SIGMA, 0.001)


@pytest.mark.parametrize(("draws", "alpha"), [(1, 0.001), (9, 0.001), (10, 0.001), (1000, 0.001), (777, 0.2)])
def test_the_fewest_hits_that_prove_a_majority(draws: int, alpha: float) -> None:
    proved = [k for k in range(draws + 1) if radius(k, draws, 1.0, alpha) > 0]
    assert needed(draws, alpha) == (proved[0] if proved else draws + 1)


def test_a_vote_abstains_where_a_coin_could_have_decided_it() -> None:
    assert voted(np.array([50, 50, 0]), 0.001) == -1
    assert voted(np.array([40, 60, 0]), 0.001) == -1
    assert voted(np.array([10, 90, 0]), 0.001) == 1
    assert voted(np.array([0, 0, 0]), 0.001) == -1
    boundary = next(k for k in range(50, 101) if voted(np.array([100 - k, k]), 0.05) == 1)
    assert binomtest(boundary, 100).pvalue <= 0.05 < binomtest(boundary - 1, 100).pvalue


# ------------------------------------------------------------------ rows whose radius is known


def test_certified_radii_come_close_to_the_true_ones_from_below() -> None:
    distances = [0.1, 0.3, 0.6, 0.9]
    made = Smoothed(half_planes(), SIGMA).certify(at_distance(distances), n=20_000)
    assert made.prediction.tolist() == [1, 1, 1, 1]
    for distance, found in zip(distances, made.radius.tolist(), strict=True):
        probability = norm.cdf(distance / SIGMA)
        low = probability - 6.5 * math.sqrt(probability * (1 - probability) / 20_000)
        assert SIGMA * norm.ppf(low) <= found <= distance


def test_radii_are_too_large_no_more_often_than_alpha() -> None:
    rows, alpha = 300, 0.1
    made = Smoothed(half_planes(), SIGMA).certify(at_distance([0.3] * rows), n0=20, n=400, alpha=alpha)
    wrong = int((made.radius > 0.3).sum())
    assert 0 < wrong <= binom.ppf(0.9999, rows, alpha)


def test_on_the_boundary_it_abstains_and_far_from_it_answers() -> None:
    model = Smoothed(half_planes(), SIGMA)
    x = at_distance([0.0, 2.0, -2.0])
    assert model.predict(x).tolist() == [-1, 1, 0]
    made = model.certify(x, n=2000)
    assert made.prediction.tolist() == [-1, 1, 0]
    assert made.radius[0] == 0 < made.radius[1]


def test_a_wrong_answer_of_predict_is_as_rare_as_alpha() -> None:
    rows = 300
    said = Smoothed(half_planes(), SIGMA).predict(at_distance([0.02] * rows), n=100, alpha=0.1)
    assert int((said == 0).sum()) <= binom.ppf(0.9999, rows, 0.1)
    assert int((said == 1).sum()) > int((said == 0).sum())


# ------------------------------------------------------------------ rows on their own


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_votes_depend_neither_on_calls_nor_on_other_rows(chunk: int) -> None:
    x, ids = at_distance([0.1, 0.4, -0.2]), torch.tensor([5, 6, 7])
    usual = Smoothed(half_planes(), SIGMA).certify(x, n=2300, ids=ids)
    other = Smoothed(half_planes(), SIGMA, chunk=chunk)
    assert torch.equal(other.certify(x.flip(0), n=2300, ids=ids.flip(0)).counts.flip(0), usual.counts)
    alone = other.certify(x[1:2], n=2300, ids=ids[1:2])
    assert (alone.counts[0].tolist(), alone.radius[0]) == (usual.counts[1].tolist(), usual.radius[1])


def test_rows_and_purposes_have_noise_of_their_own() -> None:
    model = Smoothed(half_planes(), SIGMA)
    same = model.certify(at_distance([0.1, 0.1]), n0=1000, n=1000)
    assert not torch.equal(same.counts[0], same.counts[1])
    assert not torch.equal(same.selected[0], same.counts[0])
    assert not torch.equal(
        Smoothed(half_planes(), SIGMA, seed=1).certify(at_distance([0.1]), n=1000).counts, same.counts[:1]
    )


def test_draws_end_early_only_where_the_end_would_be_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = at_distance([0.3] * 12)  # one draw in four chooses the other class, which cannot win
    early = Smoothed(half_planes(), SIGMA).certify(x, n0=1, n=5000)
    monkeypatch.setattr(smoothed, "needed", lambda draws, alpha: 0)
    whole = Smoothed(half_planes(), SIGMA).certify(x, n0=1, n=5000)
    assert torch.equal(early.prediction, whole.prediction)
    assert torch.equal(early.radius, whole.radius)
    assert 0 < int((early.draws < 5000).sum()) < 12
    assert bool((whole.draws == 5000).all())


def test_scores_that_are_no_numbers_are_no_votes() -> None:
    model = Model(lambda x: torch.where(x[:, :1] > 0.5, torch.nan, x @ torch.eye(2)), bounds=(-9.0, 9.0))
    made = Smoothed(model, SIGMA).certify(torch.tensor([[0.5, 0.0]]), n=1000)
    assert 400 < int(made.counts.sum()) < 600
    assert made.draws.tolist() == [1000]


def test_labels_alone_will_do() -> None:
    model = BlackBox(lambda x: (x @ NORMAL[0].numpy() > 0).astype(int), "labels", 2, bounds=(-10.0, 10.0))
    x = at_distance([0.3, -0.6])
    made, known = (Smoothed(m, SIGMA).certify(x, n=3000) for m in (model, half_planes()))
    assert torch.equal(made.counts, known.counts)
    run = bs.certify(model, x, torch.tensor([1, 0]), sigma=SIGMA, samples=500, threads=1)
    assert run.verdict.empirical == []
    assert [f.code for f in run.verdict.findings] == ["not-attacked"]


# ------------------------------------------------------------------ as a model, and under attack


def test_as_a_model_it_gives_the_logarithm_of_mean_probabilities() -> None:
    inner, x = small_run.network(), small_run.inputs(5)[0]
    model = Smoothed(inner, 0.2, draws=4)
    alone = torch.stack([model.logits(x[i : i + 1])[0] for i in range(5)])
    assert torch.allclose(model.logits(x), alone, atol=1e-6)
    assert torch.equal(model.logits(x), model.logits(x))
    many = Smoothed(inner, 0.2, draws=1000).logits(x).softmax(1)
    torch.manual_seed(3)
    drawn = torch.stack([inner.logits(x + 0.2 * torch.randn_like(x)).softmax(1) for _ in range(1000)]).mean(0)
    assert torch.allclose(many, drawn, atol=0.04)
    assert Smoothed(inner, 0.3, draws=4).digest != model.digest != Smoothed(inner, 0.2, draws=5).digest


def test_it_can_be_evaluated_as_any_model() -> None:
    x, y = small_run.inputs(16)
    found = bs.attack(
        Smoothed(small_run.network(), 0.1, draws=4), x, y, bs.attacks.PGD(5), threat=bs.L2(0.5),
        threads=1,
    )  # fmt: skip
    assert found.robust_accuracy < found.clean_accuracy
    assert "randomised-forward" not in {f.code for f in found.findings}


def test_an_attack_wins_beyond_the_true_radius_and_never_within_it() -> None:
    model, ids = Smoothed(half_planes(), SIGMA, draws=16), torch.arange(3)
    x, y = at_distance([0.3, 0.6, 0.9]), torch.ones(3, dtype=torch.int64)
    within, beyond = (attack(model, x, y, ids, r, 20, 1000, 0.001).fell.tolist() for r in (0.28, 0.75))
    assert within == [False, False, False]
    assert beyond == [True, True, False]


def test_no_attack_enters_a_certified_radius_of_a_network() -> None:
    model, (x, y) = Smoothed(bs.load_model("digits-robust"), 0.25, draws=8), bs.load_data("digits").rows(0, 5)
    made = model.certify(x, n=1000)
    assert made.radius.max() > 0.4
    for i in ((made.prediction == y) & (made.radius > 0)).nonzero()[:, 0].tolist():
        at = slice(i, i + 1)
        inside = 0.999 * float(made.radius[i])
        assert not attack(model, x[at], y[at], torch.tensor([i]), inside, 10, 1000, 0.001).fell.any()


# ------------------------------------------------------------------ runs

SETTINGS = {"sigma": 0.2, "n0": 50, "samples": 1500, "draws": 4, "steps": 5, "threads": 1}
ROWS = 8
DATA = bs.ArrayData(*small_run.inputs(ROWS))


def run(out: Path | None = None, **given: Any) -> Certified:
    return bs.certify(small_run.network(), data=DATA, out=out, **{**SETTINGS, **given})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certify") / "run"
    run(folder)
    return folder


def test_the_verdict_counts_what_the_rows_say(finished: Path) -> None:
    made = run(finished, resume=True)
    v, c = made.verdict, made.columns
    right = c["prediction"] == c["y"]
    assert v.rows == ROWS
    assert [r for r, _ in v.certified] == [r for r, _ in v.empirical] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [s.hits for _, s in v.certified] == [int((right & (c["radius"] > r)).sum()) for r, _ in v.certified]
    assert all(e.hits >= s.hits for (_, s), (_, e) in zip(v.certified, v.empirical, strict=True))
    assert v.clean_accuracy == v.certified[0][1].share == float(right.float().mean())
    assert v.mean_radius == pytest.approx(float((c["radius"] * right).mean()))
    assert v.forwards > ROWS * 1500
    assert v.backwards > 0


def test_its_numbers_can_be_required(finished: Path) -> None:
    verdict = run(finished, resume=True).verdict
    assert next(iter(verdict.metrics())) == "certified_accuracy@0.1"
    assert bs.require(verdict, ["certified_accuracy@0.1>=0", "clean_accuracy.low<=1", "abstained<=100%"]) == []
    assert len(bs.require(verdict, ["certified_accuracy@0.1>=1.01", "mean_radius>=9"])) == 2
    with pytest.raises(bs.InputError, match=r"expected a metric with an interval for 'mean_radius\.low>=0'"):
        bs.require(verdict, "mean_radius.low>=0")


def test_another_run_is_not_gone_on_with(finished: Path) -> None:
    with pytest.raises(bs.InputError, match="holds a run: resume it"):
        run(finished)
    with pytest.raises(bs.InputError, match=r"the sigma changed from 0\.2 to 0\.3"):
        run(finished, sigma=0.3, resume=True)


def test_in_memory_it_says_the_same(finished: Path) -> None:
    assert run().verdict == run(finished, resume=True).verdict


class Killed(BaseException):
    """What stops a process without asking it."""


@pytest.mark.parametrize("stage", ["certifying", "attacking at 0.2"])
def test_a_run_that_was_killed_goes_on_from_its_last_state(finished: Path, tmp_path: Path, stage: str) -> None:
    told = list[Progress]()

    def kill(progress: Progress) -> None:
        told.append(progress)
        if progress.said == stage and (progress.done == 5 or stage != "certifying"):
            raise Killed

    config = run(finished, resume=True).config
    given = {"model": small_run.network(), "data": DATA}
    with pytest.raises(Killed):
        run_kind("certify", config, given, How(Folder(tmp_path), engine="serial", watch=kill, every=0.0))
    assert list(tmp_path.rglob("*.unfinished.safetensors"))
    told.clear()
    run(tmp_path, resume=True, watch=told.append)
    assert small_run.everything(tmp_path) == small_run.everything(finished)
    first = next(progress for progress in told if progress.said)
    assert (first.said, first.done >= 4) == (stage, True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sigma": 0.0}, "expected greater than 0 for sigma, got 0.0"),
        ({"sigma": -1.0}, "expected greater than 0 for sigma"),
        ({"sigma": math.nan}, "sigma"),
        ({"alpha": 0.0}, "expected greater than 0 for alpha"),
        ({"alpha": 1.0}, "expected less than 1 for alpha"),
        ({"samples": 0}, "expected greater than or equal to 1 for samples"),
        ({"n0": 0}, "expected greater than or equal to 1 for n0"),
        ({"draws": -1}, "expected greater than or equal to 0 for draws"),
        ({"radii": [-0.5]}, "expected radii of at least 0"),
        ({"chunk": 0}, "expected greater than or equal to 1 for chunk"),
    ],
)
def test_what_cannot_be_certified_is_refused_in_a_sentence(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        run(**changed)


def test_labels_of_other_classes_are_refused() -> None:
    with pytest.raises(bs.InputError, match="expected labels from 0 to 4"):
        bs.certify(small_run.network(), small_run.inputs(1)[0], torch.tensor([5]), **SETTINGS)


def test_findings_say_what_a_curve_cannot_show() -> None:
    made = run(sigma=3.0, radii=[1.0, 12.0], draws=0, samples=100)
    said = {f.code: f for f in made.verdict.findings}
    assert set(said) == {"not-trained-with-noise", "too-few-samples"}
    assert "12" in said["too-few-samples"].saw
    assert made.verdict.empirical == []


# ------------------------------------------------------------------ proofs


def prove(folder: Path) -> list[str]:
    return bs.verify(folder, model=small_run.network(), data=DATA).problems


def forged(finished: Path, folder: Path, column: str, change: Callable[[Tensor], Tensor]) -> Certified:
    """The run with another column, concluded from it and sealed anew, as a forger would."""
    shutil.copytree(finished, folder)
    files = Folder(folder)
    parts = opened(files).parts
    (name,) = (name for name in parts if column in parts[name])
    parts.keep(name, {**parts[name], column: change(parts[name][column])})
    files["run.json"] = parts.begun.text
    return run(folder, resume=True)


def at(row: int, value: Any) -> Callable[[Tensor], Tensor]:
    return lambda t: t.index_copy(0, torch.tensor([row]), torch.as_tensor(value, dtype=t.dtype)[None])


def test_a_find_within_a_certificate_is_an_error(finished: Path, tmp_path: Path) -> None:
    radius = run(finished, resume=True).columns["radius"]
    row = int(radius.argmax())
    made = forged(finished, tmp_path / "forged", "broken_at", at(row, 0.5 * radius[row]))
    found = findings(made.config, made.verdict, made.parts, Need.GRAD)
    assert next((f.code, f.severity) for f in found) == ("certificate-contradicted", "error")
    assert f"row {row}." in found[0].saw
    assert made.verdict.findings[0] == found[0]
    with pytest.raises(bs.InputError, match="a check found an error"):
        bs.require(made.verdict, "0")


def test_a_run_is_proved_again(finished: Path) -> None:
    assert prove(finished) == []


def test_a_changed_byte_is_found(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    part = next((tmp_path / "run/rows").iterdir())
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    assert any("rows/00000" in problem for problem in prove(tmp_path / "run"))
    shutil.copy(finished / "rows/00000.safetensors", part)
    text = (finished / "run.json").read_text()
    (tmp_path / "run/run.json").write_text(text.replace('"alpha": 0.001', '"alpha": 0.002'))
    assert "it was changed" in prove(tmp_path / "run")[0]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("radius", 0.7, "expected the radius that its votes prove"),
        ("prediction", 4, "expected the class that its votes prove"),
        ("counts", [0, 0, 0, 0, 1500], "expected the votes"),
        ("draws", 900, "since they could have certified it"),
        ("y", 4, "expected the label"),
        ("broken_at", 0.1, "expected broken to name"),
    ],
)
def test_a_forged_row_is_found(finished: Path, tmp_path: Path, name: str, value: Any, said: str) -> None:
    row = 0 if name in ("counts", "y") else int(run(finished, resume=True).columns["radius"].argmax())
    forged(finished, tmp_path / "forged", name, at(row, value))
    problems = prove(tmp_path / "forged")
    assert any(said in problem for problem in problems), problems


def test_a_forged_find_is_found(finished: Path, tmp_path: Path) -> None:
    clean = small_run.inputs(ROWS)[0][int(run(finished, resume=True).parts.joined("attacks")["broken"][0])]
    for name, find, said in (("near", clean, "votes on the find"), ("far", 1 - clean, "expected a find within L2")):
        forged(finished, tmp_path / name, "adversarial", at(0, find))
        problems = prove(tmp_path / name)
        assert any(said in problem for problem in problems), problems


def test_another_model_proves_nothing(finished: Path) -> None:
    other = Model(small_run.Net(6), name="small")
    assert not bs.verify(finished, model=other, data=DATA).ok


# ------------------------------------------------------------------ from the shell


def test_from_the_shell_to_a_proof_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("import small_run\n\ndef ten():\n    return small_run.Net(10)\n")
    line = "certify net.py:ten --data digits --rows 3 --sigma 0.2 --samples 300 --draws 2 --radii 0.1 --out run"
    done = CliRunner().invoke(app, [*line.split(), "--json"])
    assert done.exit_code == 0, done.output
    verdict = json.loads(done.stdout)
    assert [radius for radius, _ in verdict["certified"]] == [0.0, 0.1]
    assert CliRunner().invoke(app, ["verify", "run"]).exit_code == 0
    assert CliRunner().invoke(app, ["report", "run"]).exit_code == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "")
    again = CliRunner().invoke(app, [*line.split(), "--resume"])
    assert again.exit_code == 0
    assert "Certified" in again.stdout


def test_from_the_shell_bad_input_is_a_sentence() -> None:
    said = CliRunner().invoke(app, ["certify", "digits", "--data", "digits", "--sigma", "0"])
    assert said.exit_code == 2
    assert "expected greater than 0 for --sigma, got '0': change it" in said.stderr
