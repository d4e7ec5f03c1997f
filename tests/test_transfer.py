"""The transfer matrix against answers that can be worked out by hand, and its run folder, page and command."""

import json
import math
import runpy
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from torch import Tensor, nn
from typer.testing import CliRunner

import blindspots as bs
from blindspots.attacks import FMN, PGD, Square
from blindspots.cli import transferring
from blindspots.cli.app import app
from blindspots.data import digits_arrays
from blindspots.data.splits import refuse_overlap
from blindspots.engine.targets import EveryClass, OneClass
from blindspots.journal import kind_of
from blindspots.models.model import Model
from blindspots.naming import numbered
from blindspots.report.transfer import render_transfer, write_transfer_report
from blindspots.report.transfer_words import shortened
from blindspots.threat import Threat
from blindspots.transfer.adapt import Adapted
from blindspots.transfer.changes import rms
from blindspots.transfer.disjoint import split_models
from blindspots.transfer.matrix import matrices
from blindspots.transfer.proof import verify_transfer
from blindspots.transfer.record import SOURCE, TransferFile, read_transfer_file
from blindspots.transfer.run import Told, Transfer, transfer
from blindspots.transfer.training import Recipe
from blindspots.transfer.words import parse_sizes, read_labels

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


def between(models: list[Model], threat: Threat, rows: int = 5, **more: object) -> Transfer:
    x, y = torch.full((rows, 4), 0.5), torch.zeros(rows, dtype=torch.int64)
    return transfer(models, x, y, threat=threat, threads=1, **more)  # type: ignore[arg-type]


def digits(rows: int = 24, **more: object) -> Transfer:
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
        "noise_prediction": torch.tensor(noise), "cost": torch.tensor([1, 2]),
    }  # fmt: skip


def test_shares_are_counted_by_hand() -> None:
    y, clean = [0, 0, 0, 0, 0], [[0, 0, 0, 0, 1], [0, 0, 0, 2, 0]]
    own = [1, 1, 2, 0, -1]  # wrong, wrong, wrong, right, not a number
    other, noise = [1, 2, 0, 2, -1], [[0, 0, 0, 0, 1], [0, 0, 1, 2, 0]]
    m = matrices(["a"], torch.tensor(y), torch.tensor(clean), [counted([own, other], noise, own, y, clean)], [0.5])
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
    assert run.file.manifest.sources[0].access == "gradients"


def labels_alone() -> Model:
    scores = tree().logits
    return bs.BlackBox(lambda x: scores(torch.from_numpy(x)).argmax(1).numpy(), "labels", classes=10, name="labels")


def test_a_tree_and_a_network_are_attacked_each_in_its_way() -> None:
    run = transfer([bs.load_model("digits"), tree()], data=bs.load_data("digits", 8), threat=bs.Linf(0.15), threads=1)
    network, grown = run.file.manifest.sources
    assert (network.access, grown.access) == ("gradients", "scores")
    assert network.attack.startswith("MIFGSM")
    assert grown.attack.startswith("Square")
    assert run.verdict.found[1].hits >= 7
    assert [f.code for f in run.findings if f.code == "black-box-source"]


def test_labels_alone_are_enough_to_be_a_source() -> None:
    models = [bs.load_model("digits"), labels_alone()]
    run = transfer(models, data=bs.load_data("digits", 2), threat=bs.Linf(0.3), threads=1)
    assert run.file.manifest.sources[1].attack.startswith("RayS")
    assert run.verdict.found[1].share == 1


def test_an_attack_that_was_asked_for_is_used_where_it_fits() -> None:
    models = [bs.load_model("digits"), tree()]
    run = transfer(models, data=bs.load_data("digits", 4), threat=bs.Linf(0.3), attack=Square(20), threads=1)
    assert [s.attack for s in run.file.manifest.sources] == [repr(Square(20))] * 2


def test_the_examples_of_a_model_without_gradients_can_come_from_a_substitute() -> None:
    models = [bs.load_model("digits"), labels_alone()]
    run = transfer(models, data=bs.load_data("digits", 30), threat=bs.Linf(0.2), surrogate=240, threads=1)
    source = run.file.manifest.sources[1]
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
        assert run.file.manifest.resized == [None, (4, 4)]
        assert run.adversarial("small").shape == (8, 1, 8, 8)


def test_sizes_and_labels_are_read_from_words(tmp_path: Path) -> None:
    assert parse_sizes(["224x160", "a=b=8x9"]) == {None: (224, 160), "a=b": (8, 9)}
    as_json, as_csv = tmp_path / "labels.json", tmp_path / "labels.csv"
    as_json.write_text('{"net": [1, null, 0]}')
    as_csv.write_text("model,output,label\nnet,0,1\nnet,1,\nnet,2,0\n")
    assert read_labels(as_json) == read_labels(as_csv) == {"net": [1, None, 0]}


# ---------------------------------------------------------------- run folders


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def timeless(run: Transfer) -> dict[str, object]:
    return run.verdict.model_dump(exclude={"seconds": True, "total_seconds": True, "ensemble": {"seconds"}})


def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    def stop(told: Told) -> None:
        if told.number == 2 and told.row is None:
            raise KeyboardInterrupt

    whole = digits(out=tmp_path / "whole", ensemble=True)
    with pytest.raises(KeyboardInterrupt):
        digits(out=tmp_path / "cut", ensemble=True, watch=stop)
    assert len(shards(tmp_path / "cut")) == 2
    told: list[Told] = []
    resumed = digits(out=tmp_path / "cut", ensemble=True, resume=True, watch=told.append)
    assert [t.number for t in told if t.row is None] == [2, 3]
    assert shards(tmp_path / "cut") == shards(tmp_path / "whole")
    assert timeless(resumed) == timeless(whole) == timeless(digits(ensemble=True))


def test_what_cannot_run_leaves_no_run_behind(tmp_path: Path) -> None:
    with pytest.raises(bs.InputError, match="one target class, got 9"):
        digits(4, out=tmp_path / "r", targeted=True, targets=EveryClass())
    assert not (tmp_path / "r" / "run.json").exists()
    digits(4, out=tmp_path / "r")


def test_shards_hold_what_is_documented(tmp_path: Path) -> None:
    run = digits(8, out=tmp_path / "r")
    assert run.source("digits").keys() == SOURCE.keys()
    assert torch.equal(rms(run.clean["x"].float(), run.adversarial("digits")), run.source("digits")["rms"])
    assert kind_of(tmp_path / "r") == "transfer"
    assert kind_of(tmp_path) == "evaluation"


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"seed": 1}, "the seed changed from 0 to 1"),
        ({"rows": 8}, "the data changed "),
        ({"restarts": 2}, "the restarts changed from 1 to 2"),
    ],
)
def test_another_run_is_refused_with_both_values(tmp_path: Path, changed: dict[str, int], part: str) -> None:
    digits(4, out=tmp_path / "r")
    with pytest.raises(bs.InputError, match=part):
        digits(**{"rows": 4, "out": tmp_path / "r", "resume": True, **changed})
    with pytest.raises(bs.InputError, match="resume it with --resume"):
        digits(4, out=tmp_path / "r")


def test_verify_asks_the_models_again_and_finds_a_changed_byte(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    digits(out=folder, ensemble=True)
    outcome = verify_transfer(folder)
    assert outcome.ok, outcome.problems
    assert len(outcome.checks) == 5
    path = folder / "shards" / "00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not verify_transfer(folder).ok


def forged(folder: Path, index: int, **changed: Tensor) -> None:
    """Put other columns into a shard, and sign everything as a run would have."""
    from blindspots.journal import text_of
    from blindspots.transfer.record import Folder
    from blindspots.transfer.run import conclude

    file = read_transfer_file(folder)
    all_columns = [Folder(folder, file, True).shard(i) for i in range(len(file.shards))]
    all_columns[index] |= changed
    (folder / "run.json").unlink()
    blank = file.model_copy(update={"shards": [], "verdict": None, "seal": None})
    fresh = Folder(folder, blank, False)
    for columns, record in zip(all_columns, file.shards, strict=True):
        fresh.save(columns, record.seconds)
    verdict = conclude(fresh.file, fresh.shard)
    assert text_of(fresh.conclude(verdict))


@pytest.mark.parametrize(
    ("column", "part"),
    [("prediction", "to say of what was made for digits"), ("noise_prediction", "the noise beside digits"),
     ("norm", "of the sizes that were stored"), ("adversarial", "of at most 0.15"), ("found", "counted as found"),
     ("own_clean", "in both places")],
)  # fmt: skip
def test_verify_believes_no_column(tmp_path: Path, column: str, part: str) -> None:
    folder = tmp_path / "r"
    columns = digits(8, out=folder).source("digits")
    stored = columns[column]
    changes = {torch.int64: lambda: (stored + 1) % 10, torch.bool: lambda: ~stored, torch.float32: lambda: 1 - stored}
    other = changes[stored.dtype]()
    forged(folder, 1, **{column: other})
    assert any(part in problem for problem in verify_transfer(folder).problems)


def test_the_report_is_made_from_the_folder_alone(tmp_path: Path) -> None:
    run = digits(out=tmp_path / "r", ensemble=True)
    page = render_transfer(tmp_path / "r")
    assert page == render_transfer(tmp_path / "r")
    assert write_transfer_report(tmp_path / "r").read_text(encoding="utf-8") == page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png") == 6
    low, high = (round(100 * bound) for bound in run.verdict.error_interval[1][0])
    assert f"<small>{low} to {high}</small>" in page


def test_a_table_is_reported_by_its_largest_changes(tmp_path: Path) -> None:
    between(planes(SAME, SKEW), bs.Linf(0.2), out=tmp_path / "r")
    page = render_transfer(tmp_path / "r")
    assert "data:image/png" not in page
    assert "<td>0.5</td><td>0.3</td>" in page


def test_an_unfinished_run_has_no_report(tmp_path: Path) -> None:
    def stop(told: Told) -> None:
        if told.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digits(4, out=tmp_path / "r", watch=stop)
    for ask in (render_transfer, verify_transfer):
        with pytest.raises(bs.InputError, match="--resume"):
            ask(tmp_path / "r")


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
        (planes(SAME, SKEW), {"restarts": 0}, "restarts of at least 1"),
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
    assert "1 of 2: digits is fooled on" in shown.stderr
    assert "Examples made for one of" in shown.stdout
    said = command(f"{BOTH} --threat linf:0.15 --out again --json")
    verdict = json.loads(said.stdout)
    assert verdict["models"] == ["digits", "digits-robust"]
    assert np.array(verdict["error"]).shape == np.array(verdict["noise"]).shape == (2, 2)
    assert verdict["error"] == read_transfer_file(Path("r")).model_dump()["verdict"]["error"]
    assert command("verify r").exit_code == 0
    page = Path("r/report.html").read_bytes()
    Path("r/report.html").unlink()
    assert command("report r").exit_code == 0
    assert Path("r/report.html").read_bytes() == page
    assert "name one run" in command("report r again").stderr


@pytest.mark.usefixtures("at_home")
def test_smallest_changes_are_amplified_on_the_command_line() -> None:
    assert command(f"{BOTH} --threat l2 --attack ddn:steps=20 --amplify 0.1 --out r").exit_code == 0
    file = TransferFile.model_validate_json(Path("r/run.json").read_bytes())
    assert file.verdict is not None
    assert file.verdict.distortion == pytest.approx([0.1, 0.1], rel=0.1)  # the box cuts off a little
    assert file.manifest.sources[0].attack.startswith("DDN(steps=20")


def test_two_halves_of_the_training_data_give_two_models(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transferring, "split_models", partial(split_models, recipe=Recipe(steps=50)))
    x, y = digits_arrays("train")
    np.savez(at_home / "train.npz", x=x[:120].numpy(), y=y[:120].numpy())
    words = "--split disjoint --data train.npz --test digits --rows 20 --threat linf:0.2 --threads 1 --out r"
    shown = command(f"transfer softmax:1 {words}")
    assert shown.exit_code == 0, shown.output
    manifest = read_transfer_file(Path("r")).manifest
    assert [m.name for m in manifest.models] == ["softmax:1 on P1", "softmax:1 on P2"]
    assert manifest.trained_on is not None
    assert (manifest.trained_on.rows, manifest.data.rows) == (120, 20)
    before = shards(Path("r"))
    assert command(f"transfer softmax:1 {words} --resume").exit_code == 0
    assert shards(Path("r")) == before


def test_ctrl_c_says_how_to_go_on(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(transferring, "run_transfer", interrupted)
    monkeypatch.setattr("sys.argv", ["/bin/blindspots", "transfer", "digits"])
    result = command(f"{BOTH} --threat linf:0.1 --out r")
    assert result.exit_code == 130
    assert "kept in r; go on with: blindspots transfer digits --resume" in result.stderr


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
    ],
)
def test_bad_input_ends_in_one_sentence(words: str, part: str) -> None:
    result = command(words)
    assert result.exit_code == 2, result.output
    assert part in result.stderr.strip().splitlines()[-1]
