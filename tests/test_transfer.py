"""The transfer matrix against answers that can be worked out by hand, and its run folder, page and command."""

import json
import math
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from torch import Tensor, nn
from typer.testing import CliRunner

import blindspots as bs
from blindspots.attacks import FMN, PGD, Square
from blindspots.cli.app import app
from blindspots.data import digits_arrays
from blindspots.data.splits import refuse_overlap
from blindspots.engine.targets import EveryClass, OneClass
from blindspots.experiments.transfer import experiment
from blindspots.experiments.transfer.changes import rms
from blindspots.experiments.transfer.experiment import Transferred, transfer
from blindspots.experiments.transfer.matrix import matrices
from blindspots.experiments.transfer.sentences import shortened
from blindspots.experiments.transfer.verdict import ANSWERS, SOURCE
from blindspots.experiments.transfer.words import parse_sizes, read_labels
from blindspots.models.adapted import Adapted
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.report.experiment import write_report
from blindspots.runs.folder import Folder
from blindspots.runs.metric import require
from blindspots.runs.run import How
from blindspots.runs.run import run as run_kind
from blindspots.runs.store import opened
from blindspots.runs.verify import verify
from blindspots.threat import Threat

MARGIN = 0.3
ALL, NONE = 1.0, 0.0


class Plane(nn.Module):
    """Logits (z/2, -z/2) with z = w (x - 1/2) + MARGIN: class 0 wherever the change c of x = 1/2 has w c > -MARGIN."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x: Tensor) -> Tensor:
        z = (x - 0.5) @ self.weights + MARGIN
        return torch.stack([z / 2, -z / 2], 1)


def planes(*weights: tuple[float, ...]) -> list[Model]:
    return [Model(Plane(*w), name=f"plane {i}") for i, w in enumerate(weights)]


def between(models: list[Model], threat: Threat, rows: int = 5, **more: object) -> Transferred:
    x, y = torch.full((rows, 4), 0.5), torch.zeros(rows, dtype=torch.int64)
    return transfer(models, x, y, threat=threat, threads=1, **more)  # type: ignore[arg-type]


def digits(rows: int = 24, **more: object) -> Transferred:
    models = [bs.load_model("digits"), bs.load_model("digits-robust")]
    usual = {"threat": bs.Linf(0.15), "threads": 1, "data": bs.load_data("digits", rows)}
    return transfer(models, **{**usual, **more})  # type: ignore[arg-type]


SAME, ACROSS, SKEW = (1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 1.0, -1.0)

# ---------------------------------------------------------------- what transfers, by hand


@pytest.mark.parametrize(("radius", "expected"), [(0.149, NONE), (0.151, ALL)])
def test_between_equal_models_everything_transfers_once_the_ball_is_large_enough(
    radius: float, expected: float
) -> None:
    v = between(planes(SAME, SAME), bs.Linf(radius)).verdict  # |w|_1 radius = 2 radius against 0.3
    assert v.error == v.agreement == [[expected] * 2] * 2
    assert [f.share for f in v.found] == [expected] * 2


def test_between_orthogonal_models_nothing_transfers() -> None:
    v = between(planes(SAME, ACROSS), bs.Linf(0.4)).verdict
    assert v.error == [[ALL, NONE], [NONE, ALL]]


@pytest.mark.parametrize(("radius", "expected"), [(0.149, NONE), (0.151, ALL)])
def test_a_change_moves_another_plane_by_the_part_that_they_share(radius: float, expected: float) -> None:
    # The step -radius sign(w) moves (1, 1, 1, 1) by 4 radius, and SKEW by 2 radius.
    v = between(planes((1.0, 1.0, 1.0, 1.0), SKEW), bs.Linf(radius)).verdict
    assert v.error == [[ALL, expected], [expected, ALL]]


def test_smallest_changes_have_the_length_of_the_distance_to_the_plane() -> None:
    v = between(planes(SAME, (2.0, 0.0, 0.0, 0.0)), bs.L2(), attack=FMN(steps=200)).verdict
    distances = [MARGIN / math.sqrt(2), MARGIN / 2]
    assert v.norm == pytest.approx(distances, rel=5e-3)
    assert v.distortion == pytest.approx([d / 2 for d in distances], rel=5e-3)  # over sqrt(4) values
    # Along (2, 0, 0, 0) the second moves the first by 0.15 of 0.3; the first moves the second by 2 * 0.15 of 0.3.
    assert v.error[1] == [NONE, ALL]


@pytest.mark.parametrize(("size", "expected"), [(0.149, NONE), (0.151, ALL)])
def test_amplified_changes_have_the_size_that_was_asked_for(size: float, expected: float) -> None:
    # (1, 1, 1, 1) of root mean square s moves itself by 4 s and SKEW by 2 s.
    run = between(planes((1.0, 1.0, 1.0, 1.0), SKEW), bs.L2(), amplify=size)
    assert run.verdict.distortion == pytest.approx([size, size], rel=1e-5)
    assert run.verdict.error[0][1] == expected
    assert [f.share for f in run.verdict.found] == [ALL, ALL]  # counted before


def test_noise_is_exactly_as_large_as_the_change() -> None:
    run = between(planes(SAME, ACROSS), bs.Linf(0.2), rows=9)
    for name in run.models:
        columns = run.source(name)
        assert torch.allclose(columns["noise_rms"], torch.full((9,), 0.2))  # random signs move all four values
    run = between(planes(SAME, ACROSS), bs.L2(), rows=9)
    columns = run.source("plane 0")
    assert torch.allclose(columns["noise_rms"], columns["rms"], rtol=1e-5)


def test_noise_fools_as_often_as_its_signs_point_the_wrong_way() -> None:
    # Signs of size 0.2: w c is -0.4, 0, 0, 0.4 with equal chance for two weights of 1, so one row in four errs.
    v = between(planes(SAME, ACROSS), bs.Linf(0.2), rows=2000).verdict
    assert all(abs(share - 0.25) < 0.04 for row in v.noise for share in row)


def test_towards_a_class_only_the_class_counts() -> None:
    x, y = torch.full((6, 3), 0.5), torch.tensor([0, 0, 0, 0, 2, 2])
    plain = Model(nn.Identity(), name="plain")
    turned = Model(lambda x: x[:, [0, 2, 1]], name="turned")
    run = transfer([plain, turned], x, y, threat=bs.Linf(0.2), targeted=True, targets=OneClass(2), threads=1)
    assert run.verdict.targeted is not None
    assert [[s.share for s in row] for row in run.verdict.targeted] == [[ALL, NONE], [NONE, ALL]]
    assert run.verdict.targeted[0][0].rows == 4  # the others have the class already


# ---------------------------------------------------------------- which rows are attacked


def test_with_a_radius_rows_that_the_source_gets_wrong_are_attacked_too() -> None:
    x, y = torch.full((3, 4), 0.5), torch.ones(3, dtype=torch.int64)  # class 1: both are wrong at first
    moved = transfer(planes(SAME, SAME), x, y, threat=bs.Linf(0.1), threads=1).adversarial("plane 0")
    assert torch.allclose((moved - x)[:, :2], torch.tensor(0.1))  # further towards class 0
    still = transfer(planes(SAME, SAME), x, y, threat=bs.L2(), threads=1)
    assert torch.equal(still.adversarial("plane 0"), x)  # no change is needed
    assert still.verdict.changed == [0, 0]
    assert still.verdict.distortion == [0.0, 0.0]


def test_rows_that_withstand_are_fed_as_the_best_attempt() -> None:
    run = between(planes(SAME, (3.0, 3.0, 0.0, 0.0)), bs.Linf(0.1))
    assert run.error == [[NONE, ALL], [NONE, ALL]]  # 2 * 0.1 and 6 * 0.1 against 0.3


def test_rows_end_the_same_alone_and_among_others() -> None:
    few, many = (digits(rows, attack=PGD(steps=4)).adversarial("digits") for rows in (7, 24))
    assert torch.equal(few, many[:7])


def test_a_seed_decides_everything() -> None:
    first, again, other = (digits(8, attack=PGD(steps=2), seed=s).adversarial("digits") for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# ---------------------------------------------------------------- counting


def counted(
    prediction: list[list[int]], noise: list[list[int]], own: list[int], y: list[int], clean: list[list[int]]
) -> dict[str, Tensor]:
    rows = len(y)
    return {
        "target": torch.full((rows,), -1), "own_clean": torch.tensor(clean[0]), "own": torch.tensor(own),
        "found": torch.tensor(own) != torch.tensor(y), "norm": torch.ones(rows), "rms": torch.ones(rows),
        "noise_rms": torch.ones(rows), "prediction": torch.tensor(prediction),
        "noise_prediction": torch.tensor(noise), "cost": torch.tensor([[1, 2]]),
    }  # fmt: skip


def test_shares_are_counted_by_hand() -> None:
    y, clean = [0, 0, 0, 0, 0], [[0, 0, 0, 0, 1], [0, 0, 0, 2, 0]]
    own = [1, 1, 2, 0, -1]  # wrong, wrong, wrong, right, not a number
    other, noise = [1, 2, 0, 2, -1], [[0, 0, 0, 0, 1], [0, 0, 1, 2, 0]]
    m = matrices(["a"], torch.tensor(y), torch.tensor(clean), [counted([own, other], noise, own, y, clean)])
    assert m.error == [[4 / 5, 4 / 5]]
    assert m.agreement == [[3 / 5, 1 / 5]]  # what is not a number agrees with nothing
    assert [(s.hits, s.rows) for s in m.agreement_of_errors[0]] == [(3, 4), (1, 3)]
    assert [(s.hits, s.rows) for s in m.error_of_right[0]] == [(3, 4), (2, 3)]
    assert m.noise == [[1 / 5, 2 / 5]]
    assert m.error_interval[0][0] == pytest.approx((0.2836, 0.9949), abs=1e-4)  # Clopper and Pearson, 4 of 5
    assert m.targeted is None
    # Three rows fall that noise leaves alone, and none the other way round; of the second model's, three and one.
    assert m.noise_p_value[0] == pytest.approx([1 / 8, 5 / 16])


# ---------------------------------------------------------------- any mixture of models


@cache
def tree() -> Model:
    from sklearn.tree import DecisionTreeClassifier

    x, y = digits_arrays("train")
    grown = DecisionTreeClassifier(max_depth=8, random_state=0).fit(x.flatten(1).numpy(), y.numpy())
    return bs.BlackBox(lambda x: grown.predict_proba(x.reshape(len(x), -1)), "probabilities", name="tree")


def test_fitted_estimators_are_models() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = digits_arrays("train")
    fitted = LogisticRegression(max_iter=50, C=0.1).fit(x[:200].flatten(1).numpy(), y[:200].numpy())
    run = transfer([fitted, bs.load_model("digits")], data=bs.load_data("digits", 8), threat=bs.Linf(0.15), threads=1)
    assert run.models == ["LogisticRegression", "digits"]
    assert run.config.sources[0].access == "gradients"


def labels_alone() -> Model:
    scores = tree().logits
    return bs.BlackBox(lambda x: scores(torch.from_numpy(x)).argmax(1).numpy(), "labels", classes=10, name="labels")


def test_a_tree_and_a_network_are_attacked_each_in_its_way() -> None:
    run = transfer([bs.load_model("digits"), tree()], data=bs.load_data("digits", 8), threat=bs.Linf(0.15), threads=1)
    network, grown = run.config.sources
    assert (network.access, grown.access) == ("gradients", "scores")
    assert network.attack.startswith("MIFGSM")
    assert grown.attack.startswith("Square")
    assert run.verdict.found[1].hits >= 7
    assert [f.code for f in run.findings if f.code == "black-box-source"]


def test_labels_alone_are_enough_to_be_a_source() -> None:
    models = [bs.load_model("digits"), labels_alone()]
    run = transfer(models, data=bs.load_data("digits", 2), threat=bs.Linf(0.3), threads=1)
    assert run.config.sources[1].attack.startswith("RayS")
    assert run.verdict.found[1].share == 1


def test_an_attack_that_was_asked_for_is_used_where_it_fits() -> None:
    models = [bs.load_model("digits"), tree()]
    run = transfer(models, data=bs.load_data("digits", 4), threat=bs.Linf(0.3), attack=Square(20), threads=1)
    assert [s.attack for s in run.config.sources] == [repr(Square(20))] * 2


def test_the_examples_of_a_model_without_gradients_can_come_from_a_substitute() -> None:
    models = [bs.load_model("digits"), labels_alone()]
    run = transfer(models, data=bs.load_data("digits", 30), threat=bs.Linf(0.2), surrogate=240, threads=1)
    source = run.config.sources[1]
    assert source.queries == 240
    assert source.attack.startswith("MIFGSM")
    assert run.verdict.backwards[1] > 0
    assert run.verdict.error[1][1] > run.verdict.noise[1][1]


def test_an_average_is_attacked_as_one_and_without_each_of_its_members() -> None:
    models = planes((1.0, 1.0, 0.0, 0.0), (1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 1.0, 0.0))
    e = between(models, bs.Linf(0.2), ensemble=True).verdict.ensemble
    assert e is not None
    assert e.sources == ["average of 3", "all but plane 0", "all but plane 1", "all but plane 2"]
    assert e.error[0] == [ALL] * 3
    assert e.error[1] == [ALL] * 3  # (2, 1, 1, 0) / 2 moves every one of them by 0.4
    assert e.forwards[0] > 0


def test_names_that_come_again_are_numbered() -> None:
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]
    assert numbered(["a-2", "a", "a"]) == ["a-2", "a", "a-3"]


def test_names_lose_the_words_that_all_begin_with() -> None:
    assert shortened(["net_v1_a", "net_v1_b"]) == ["a", "b"]
    assert shortened(["digits", "digits-robust"]) == ["digits", "digits-robust"]
    assert shortened(["net-", "net-a"]) == ["net-", "a"]


def test_the_same_model_twice_is_remarked() -> None:
    assert "same-model" in [f.code for f in between(planes(SAME, SAME), bs.Linf(0.1)).findings]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # zoo.py leaves its manifest open
def test_networks_of_others_fool_each_other_unless_they_were_trained_against_it(zoo: Path) -> None:
    module = runpy.run_path(str(zoo / "zoo.py"))
    names = ("mnist_advertorch_mlp", "mnist_lirpa_fc3", "mnist_fastadv_pgd_madry")
    x, y = module["images"]("mnist", "test", 100)
    e = transfer([Model(module["load"](n), name=n) for n in names], x, y, threat=bs.Linf(0.2), threads=1).verdict
    assert min(e.error[0][1], e.error[1][0]) > 0.9
    assert e.error[0][2] < 0.1
    assert e.noise_p_value[0][1] < 1e-6
    assert e.noise_p_value[0][2] > 0.05


# ---------------------------------------------------------------- sizes and labels


def test_a_model_with_another_order_of_classes_is_mapped() -> None:
    order = [3, 0, 4, 1, 5, 9, 2, 6, 7, 8]  # its output i stands for the label order[i]
    inner = bs.load_model("digits")
    shuffled = Model(lambda x: inner.logits(x)[:, order], name="shuffled")
    data = bs.load_data("digits", 24)
    wrong = transfer([inner, shuffled], data=data, threat=bs.Linf(0.05), threads=1)
    assert wrong.verdict.clean_error[1].share > 0.5
    assert "poor-model" in [f.code for f in wrong.findings]
    run = transfer([inner, shuffled], data=data, threat=bs.Linf(0.05), threads=1, labels={"shuffled": order})
    assert run.verdict.clean_error[0] == run.verdict.clean_error[1]
    assert run.error[0] == run.error[1]


def test_several_outputs_may_stand_for_one_label_and_others_for_none() -> None:
    inner = Model(lambda x: x, name="four")
    model = Adapted(inner, None, [1, None, 0, 1])
    x = torch.tensor([[0.1, 0.9, 0.3, 0.2], [0.0, 0.0, 0.5, 0.8]])
    assert torch.equal(model.logits(x), torch.tensor([[0.3, 0.2], [0.5, 0.8]]))


def test_a_model_of_another_size_is_resized_inside() -> None:
    sizes = []

    def net(x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape[-2:]))
        return x.flatten(1) @ torch.eye(16)[:, :10]

    small, data = Model(net, name="small"), bs.load_data("digits", 8)
    with pytest.raises(bs.InputError, match="--resize small=HEIGHTxWIDTH"):
        transfer([bs.load_model("digits"), small], data=data, threat=bs.Linf(0.1), threads=1)
    for resize in ((4, 4), {"small": (4, 4)}):
        sizes.clear()
        run = transfer([bs.load_model("digits"), small], data=data, threat=bs.Linf(0.1), threads=1, resize=resize)
        assert set(sizes[1:]) == {(4, 4)}
        assert run.config.sizes == (None, (4, 4))
        assert run.adversarial("small").shape == (8, 1, 8, 8)


def test_sizes_and_labels_are_read_from_words(tmp_path: Path) -> None:
    assert parse_sizes(["224x160", "a=b=8x9"]) == {None: (224, 160), "a=b": (8, 9)}
    as_json, as_csv = tmp_path / "labels.json", tmp_path / "labels.csv"
    as_json.write_text('{"net": [1, null, 0]}')
    as_csv.write_text("model,output,label\nnet,0,1\nnet,1,\nnet,2,0\n")
    assert read_labels(as_json) == read_labels(as_csv) == {"net": [1, None, 0]}


# ---------------------------------------------------------------- run folders


def test_an_attack_that_gives_no_target_to_a_row_leaves_no_run_behind(tmp_path: Path) -> None:
    with pytest.raises(bs.InputError, match="one target class, got 9"):
        digits(4, targeted=True, targets=EveryClass())


def test_parts_hold_what_is_documented(tmp_path: Path) -> None:
    run = digits(8, out=tmp_path / "r")
    assert run.source("digits").keys() == (SOURCE | ANSWERS).keys()
    assert torch.equal(rms(run.clean["x"].float(), run.adversarial("digits")), run.source("digits")["rms"])


def test_rows_in_several_parts_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digits(24, attack=PGD(steps=4))
    monkeypatch.setattr(experiment, "rows_per_shard", lambda shape, slots: 10)
    cut = digits(24, attack=PGD(steps=4))
    assert len(cut.parts) == len(whole.parts) + 4
    assert torch.equal(cut.adversarial("digits"), whole.adversarial("digits"))
    assert cut.verdict.error == whole.verdict.error


def test_verify_asks_the_models_again_and_finds_a_changed_byte(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    digits(out=folder, ensemble=True)
    outcome = verify(folder)
    assert outcome.ok, outcome.problems
    assert any("of the examples, and of noise as large" in claim for claim in outcome.checks)
    path = folder / "sources" / "1" / "00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not verify(folder).ok


def test_verify_needs_models_that_have_no_name(tmp_path: Path) -> None:
    models = planes(SAME, SKEW)
    between(models, bs.Linf(0.2), out=tmp_path / "r")
    with pytest.raises(bs.InputError, match=r"given=\{'model/1': model\}"):
        verify(tmp_path / "r")
    assert verify(tmp_path / "r", given={f"model/{i}": m for i, m in enumerate(models, 1)}).ok
    assert not verify(tmp_path / "r", given={f"model/{i}": m for i, m in enumerate(models[::-1], 1)}).ok


def forged(folder: Path, part: str, column: str, change: Callable[[Tensor], Tensor]) -> None:
    """Put another column into a part, conclude from it, and seal everything as a run would have."""
    files = Folder(folder)
    done = opened(files)
    done.parts.keep(part, {**done.parts[part], column: change(done.parts[part][column])})
    files["run.json"] = done.parts.begun.text
    run_kind("transfer", done.config, how=How(files, resume=True))


@pytest.mark.parametrize(
    ("part", "column", "said"),
    [
        ("answers/1", "prediction", "to say of what was made for digits"),
        ("answers/1", "noise_prediction", "noise beside digits"),
        ("answers/1", "norm", "of the sizes that were stored"),
        ("answers/1", "noise_rms", "other noise beside digits"),
        ("sources/1/00000", "moved", "of at most 0.15"),
        ("answers/1", "found", "counted as found"),
        ("answers/1", "own_clean", "in both places"),
        ("clean", "prediction", "to say of the clean rows"),
        ("clean", "x", "the rows and labels of digits"),
    ],
)
def test_verify_believes_no_column(tmp_path: Path, part: str, column: str, said: str) -> None:
    folder = tmp_path / "r"
    digits(8, out=folder)
    changes: dict[torch.dtype, Callable[[Tensor], Tensor]] = {
        torch.int64: lambda t: (t + 1) % 10, torch.bool: lambda t: ~t, torch.float32: lambda t: 1 - t,
        torch.uint8: lambda t: 255 - t,
    }  # fmt: skip
    forged(folder, part, column, lambda t: changes[t.dtype](t))
    assert any(said in problem for problem in verify(folder).problems)


@pytest.mark.parametrize(
    ("number", "wrong"),
    [("error", lambda v: [[1 - e for e in row] for row in v]), ("noise_p_value", lambda v: [[0.5] * 2] * 2),
     ("norm", lambda v: [x + 1e-6 for x in v]), ("forwards", lambda v: [x + 1 for x in v])],
)  # fmt: skip
def test_verify_finds_a_wrong_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, wrong: Callable[[Any], Any]
) -> None:
    right = experiment.matrices
    monkeypatch.setattr(experiment, "matrices", lambda *given: _but(right(*given), number, wrong))
    digits(8, out=tmp_path / "r")
    problems = verify(tmp_path / "r").problems
    assert len(problems) == 1
    assert problems[0].startswith(f"expected {number} to be")


def _but(made: Any, name: str, wrong: Callable[[Any], Any]) -> Any:
    return made.model_copy(update={name: wrong(getattr(made, name))})


def test_the_page_is_made_from_the_folder_alone(tmp_path: Path) -> None:
    run = digits(out=tmp_path / "r", ensemble=True)
    page = write_report(tmp_path / "r").read_text(encoding="utf-8")
    assert page == write_report(tmp_path / "r").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png") == 6
    low, high = (round(100 * bound) for bound in run.verdict.error_interval[1][0])
    assert f"<small>{low} to {high}</small>" in page


def test_a_table_is_reported_by_its_largest_changes(tmp_path: Path) -> None:
    between(planes(SAME, SKEW), bs.Linf(0.2), out=tmp_path / "r")
    page = write_report(tmp_path / "r").read_text(encoding="utf-8")
    assert "data:image/png" not in page
    assert "<td>0.5</td><td>0.3</td>" in page


def test_cells_and_their_mean_can_be_required() -> None:
    run = between(planes((1.0, 1.0, 1.0, 1.0), SKEW), bs.Linf(0.2))
    metrics = run.verdict.metrics()
    assert list(metrics)[:2] == ["transfer_error", "noise_error"]
    assert metrics["transfer_error"].value == ALL
    assert metrics["error@plane-0/plane-1"].interval == run.verdict.error_interval[0][1]
    assert require(run.verdict, ["error@plane-0/plane-1>=0.9", "clean_error@plane-1<=0"]) == []
    assert require(run.verdict, "0.5") == ["0.5 was required, but transfer_error is 1"]


# ---------------------------------------------------------------- bad input

X, Y = torch.full((3, 4), 0.5), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("models", "more", "part"),
    [
        (planes(SAME), {}, "at least two models, got 1"),
        ([*planes(SAME), Model(nn.Linear(4, 3), name="three")], {}, "same classes, got 2 of plane 0 and 3 of three"),
        ([*planes(SAME), Model(nn.Linear(5, 2), name="five")], {}, "expected five to take inputs of shape"),
        ([*planes(SAME), Model(Plane(*SAME), bounds=(-1, 1), name="wide")], {}, "same bounds"),
        (planes(SAME, SKEW), {"y": Y + 7}, "labels from 0 to 1"),
        (planes(SAME, SKEW), {"y": None}, "inputs x and labels y"),
        (planes(SAME, SKEW), {"x": X[:0], "y": Y[:0]}, "at least one row"),
        (planes(SAME, SKEW), {"threat": bs.Linf(), "attack": PGD()}, "a radius"),
        (planes(SAME, SKEW), {"amplify": 0.1}, "a threat without a radius"),
        (planes(SAME, SKEW), {"threat": bs.L2(), "amplify": 0.0}, "positive root mean square"),
        (planes(SAME, SKEW), {"restarts": 0}, "greater than or equal to 1 for restarts"),
        (planes(SAME, SKEW), {"resize": {"plane 7": (8, 8)}}, "did you mean"),
        (planes(SAME, SKEW), {"labels": {"plane 0": [0, 2]}}, "found none for 1"),
        (planes(SAME, SKEW), {"labels": {"plane 0": [0, 1, 1]}}, "got 3"),
        (
            [tree(), labels_alone()],
            {"ensemble": True, "x": torch.zeros(3, 1, 8, 8)},
            "models with gradients to average",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    models: list[Model], more: dict[str, object], part: str
) -> None:
    with pytest.raises(bs.InputError, match="expected") as caught:
        transfer(models, **{"x": X, "y": Y, "threat": bs.Linf(0.1), "threads": 1, **more})  # type: ignore[arg-type]
    assert part in str(caught.value)


def test_rows_that_were_trained_on_are_not_attacked() -> None:
    x, y = digits_arrays("test")
    train, test = bs.ArrayData(x[:50], y[:50], "train"), bs.ArrayData(x[49:60], y[49:60], "test")
    with pytest.raises(bs.InputError, match="got 1 that are in both, the first one row 0 of test"):
        refuse_overlap(train, test)
    refuse_overlap(train, bs.ArrayData(x[50:60], y[50:60], "test"))


# ---------------------------------------------------------------- the command


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def command(line: str) -> Result:
    return CliRunner().invoke(app, line.split(), prog_name="blindspots")


BOTH = "transfer digits digits-robust --data digits --rows 20 --threads 1"


@pytest.mark.usefixtures("at_home")
def test_the_command_writes_a_folder_that_verify_and_report_understand() -> None:
    shown = command(f"{BOTH} --threat linf:0.15 --out r")
    assert shown.exit_code == 0, shown.output
    assert "Examples made for one of" in shown.stdout
    said = command(f"{BOTH} --threat linf:0.15 --out again --json")
    verdict = json.loads(said.stdout)
    assert verdict["models"] == ["digits", "digits-robust"]
    assert np.array(verdict["error"]).shape == np.array(verdict["noise"]).shape == (2, 2)
    assert verdict["error"] == opened(Folder(Path("r"))).verdict.error
    assert command("verify r").exit_code == 0
    page = Path("r/report.html").read_bytes()
    Path("r/report.html").unlink()
    assert command("report r").exit_code == 0
    assert Path("r/report.html").read_bytes() == page


@pytest.mark.usefixtures("at_home")
def test_smallest_changes_are_amplified_on_the_command_line() -> None:
    assert command(f"{BOTH} --threat l2 --attack ddn:steps=20 --amplify 0.1 --out r").exit_code == 0
    run = opened(Folder(Path("r")))
    assert run.verdict.distortion == pytest.approx([0.1, 0.1], rel=0.1)  # the box cuts off a little
    assert run.config.sources[0].attack.startswith("DDN(steps=20")


@pytest.mark.usefixtures("at_home")
def test_sizes_and_labels_are_options() -> None:
    Path("labels.json").write_text(json.dumps({"digits": [*range(10)]}))
    words = f"{BOTH} --threat linf:0.1 --labels labels.json --resize digits=8x8 --out r"
    assert command(words).exit_code == 0
    Path("labels.json").unlink()
    run = opened(Folder(Path("r")))
    assert run.config.outputs == (tuple(range(10)), None)
    assert run.config.sizes == ((8, 8), None)
    assert verify(Path("r")).ok


def test_two_halves_of_the_training_data_give_two_models(at_home: Path) -> None:
    x, y = digits_arrays("train")
    np.savez(at_home / "train.npz", x=x[:120].numpy(), y=y[:120].numpy())
    words = "--split disjoint --data train.npz --test digits --rows 20 --training-steps 50 --threat linf:0.2 --out r"
    shown = command(f"transfer softmax:1 {words} --threads 1")
    assert shown.exit_code == 0, shown.output
    run = opened(Folder(Path("r")))
    assert run.verdict.models == ["softmax:1 on P1", "softmax:1 on P2"]
    assert (run.manifest.world["data"]["rows"], run.manifest.world["test"]["rows"]) == (120, 20)
    assert list(run.parts)[:3] == ["trained/1", "trained/2", "clean"]
    weights = [run.parts[f"trained/{i}"]["1.weight"] for i in (1, 2)]
    assert not torch.equal(*weights)
    outcome = verify(Path("r"))
    assert outcome.ok, outcome.problems


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("transfer digits --data digits --threat linf:0.1", "at least two models"),
        (f"{BOTH} --threat linf:0.1 --resize 8", "HEIGHTxWIDTH"),
        (f"{BOTH} --threat linf:0.1 --labels none.json", "No such file"),
        (f"{BOTH} --threat linf:0.1 --split disjoint", "--test DATA"),
        (f"{BOTH} --threat linf:0.1 --split disjoint --test digits", "that nothing is trained on, got 20"),
        (f"{BOTH} --threat linf:0.1 --attack pgdd", "did you mean 'pgd'?"),
        (
            "transfer softmax:1 --data digits --split disjoint --test digits --threat linf:0.1",
            "that nothing is trained on",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(words: str, part: str) -> None:
    result = command(words)
    assert result.exit_code == 2, result.output
    assert part in result.stderr.strip().splitlines()[-1]
