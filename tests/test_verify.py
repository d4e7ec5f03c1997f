import json
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blindspots as bs
import small_run
from blindspots.attacks import DDN, PGD, Bisect
from blindspots.ball import BALLS
from blindspots.engine.cascade import Stage
from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.experiments.evaluate import count
from blindspots.experiments.evaluate.verdict import OUTCOMES, EvaluateVerdict
from blindspots.experiments.evaluate.verify_shard import Scores
from blindspots.models.model import Model
from blindspots.runs.again import EDGE
from blindspots.runs.experiment import Columns
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sha256
from blindspots.runs.store import RunFile, opened, read_run
from blindspots.runs.verify import verify
from small_run import Net, inputs, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on a model and on data that can be opened again by their names."""
    folder = tmp_path_factory.mktemp("whole")
    x, y = inputs(48)
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    run(folder / "run", data=bs.load_data(str(folder / "data.npz")))
    return folder / "run"


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def rewrite(folder: Path, **changed: object) -> RunFile:
    """Change run.json and seal it anew, as a forger would."""
    file = read_run(Folder(folder)).model_copy(update=changed)
    (folder / "run.json").write_bytes(file.text)
    return file


def forge(folder: Path, change: Callable[[Columns], None], recount: bool = True, part: str = "shards/00001") -> None:
    """Change columns of a shard, and everything that depends on them, so that only a proof can tell."""
    run = opened(Folder(folder))
    columns = run.parts[part]
    change(columns)
    run.parts.keep(part, columns)
    digests = {**run.parts.digests, part: sha256(run.files[run.parts.file(part)])}
    rewrite(folder, parts=digests)
    if recount:
        rewrite(folder, verdict=counted(folder).model_dump(mode="json"))


def counted(folder: Path) -> EvaluateVerdict:
    run = opened(Folder(folder))
    looked = run.parts["preflight"]["cost"].tolist()
    targeted = run.verdict.reached is not None
    return count.conclude(run.parts.below("shards"), run.verdict.stages, looked, targeted)


# ------------------------------------------------------------------ what holds


def test_a_run_holds_and_every_check_is_said(whole):
    proof = verify(whole)
    assert proof.ok
    assert len(proof.checks) == 16
    assert "every number of the verdict follows from the shards" in proof.checks


STAGES = (
    Stage("descent", PGD(steps=4), "everybody"),
    Stage("shorten", Bisect(4), "who is broken", start="found", who="broken"),
)


@pytest.mark.parametrize(
    "changed",
    [
        {"threat": bs.L2(0.15), "protocol": STAGES},
        {"threat": bs.L1(0.8), "protocol": STAGES},
        {"threat": bs.L0(4), "protocol": (Stage("few", bs.attacks.FMN(20), "everybody"),)},
        {"threat": bs.L2(), "protocol": (Stage("distance", DDN(30), "everybody"),)},
        {"precision": "bf16"},
        {"channels_last": True},
        {"row_budget": 9},
        {"threat": bs.Linf(0.0), "protocol": STAGES},
        {"threat": bs.Linf(0.5), "protocol": STAGES},
    ],
    ids=["l2", "l1", "l0", "unbounded", "bf16", "channels-last", "budget", "no-room", "all-fall"],
)
def test_every_kind_of_run_holds(tmp_path, changed):
    run(tmp_path / "run", **changed)
    proof = verify(tmp_path / "run")
    assert proof.ok, proof.problems


def test_other_bounds_hold(tmp_path):
    x, y = inputs(32)
    model = Model(Net(), bounds=(-0.7, 2.9), mean=[0.1], std=[1.3])
    with torch.no_grad():
        y = model.logits(x * 3.6 - 0.7).argmax(1)
    data = bs.ArrayData(x * 3.6 - 0.7, y)
    result = run(tmp_path / "run", model=model, data=data, threat=bs.Linf(0.05))
    assert result.success.any()
    proof = verify(tmp_path / "run", model, data)
    assert proof.ok, proof.problems


def test_threads_are_those_of_the_run_and_put_back(whole):
    before, inside = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        verify(whole, say=lambda text: inside.append((text, torch.get_num_threads())))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [line for line in inside if line[0].startswith("shard")] == [(f"shard {i} of 3", 1) for i in (1, 2, 3)]


def test_the_model_comes_back_as_it_was(whole):
    model = small_run.network()
    model.net.train()
    assert verify(whole, model).ok
    assert all(m.training for m in model.net.modules())
    assert all(p.requires_grad for p in model.net.parameters())


# ------------------------------------------------------------------ what cannot be proven


def test_a_network_from_python_has_to_be_passed(tmp_path):
    net = Net()
    run(tmp_path / "run", model=Model(net))
    with pytest.raises(InputError, match=r"pass it, as in bs.verify\(run, model\)"):
        verify(tmp_path / "run")
    assert verify(tmp_path / "run", Model(net)).ok


def test_an_unfinished_run_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="found none in"):
        verify(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=interrupt_at(20))
    with pytest.raises(InputError, match="go on with --resume"):
        verify(tmp_path / "run")


def interrupt_at(call: int):
    calls = iter(range(call))

    def watch(progress):
        if next(calls, None) is None:
            raise KeyboardInterrupt

    return watch


def test_data_that_are_gone_are_a_note(whole, copy):
    shutil.move(whole.parent / "data.npz", whole.parent / "elsewhere.npz")
    try:
        proof = verify(copy)
    finally:
        shutil.move(whole.parent / "elsewhere.npz", whole.parent / "data.npz")
    assert proof.ok
    assert "could not be opened" in proof.notes[0]


def test_data_from_python_are_a_note_until_they_are_passed(tmp_path):
    run(tmp_path / "run")
    assert (
        "data came from Python: its inputs and labels were taken as they are stored." in verify(tmp_path / "run").notes
    )
    passed = verify(tmp_path / "run", data=bs.ArrayData(*inputs(48)))
    assert passed.ok
    assert not any("from Python" in note for note in passed.notes)
    assert "the stored inputs and labels are those of the data" in passed.checks


def test_what_verification_cannot_show_is_said(whole):
    unseen = "That no other attack would have found more cannot be shown."
    assert verify(whole).notes == [f"{unseen} The words of the findings are taken as they are stored."]


# ------------------------------------------------------------------ what does not hold


@pytest.mark.parametrize("name", ["run.json", "shards/00000.safetensors", "shards/00002.safetensors"])
def test_a_byte_that_was_changed_anywhere_is_found(copy, name):
    draw, path = random.Random(name), copy / name
    content = path.read_bytes()
    places = [*range(8), *draw.sample(range(len(content)), 30), len(content) - 1]
    for at in places:
        path.write_bytes(content[:at] + bytes([content[at] ^ draw.randrange(1, 256)]) + content[at + 1 :])
        proof = verify(copy)
        assert not proof.ok, f"byte {at}"
        assert all(problem.startswith("expected") for problem in proof.problems)
    path.write_bytes(content)
    assert verify(copy).ok


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + b"\n", lambda c: c.replace(b"  ", b" \t", 1), lambda c: b""]
)
def test_run_json_of_other_bytes_and_the_same_meaning_is_found(copy, change):
    path = copy / "run.json"
    path.write_bytes(change(path.read_bytes()))
    assert not verify(copy).ok


def test_files_are_those_that_are_listed(copy):
    (copy / "shards" / "00003.safetensors").write_bytes(b"more")
    assert verify(copy).problems == [
        "expected the parts that run.json lists and no others, found shards/00003.safetensors"
    ]
    (copy / "shards" / "00003.safetensors").unlink()
    (copy / "shards" / "00001.safetensors").unlink()
    assert "it is missing: restore it" in verify(copy).problems[0]


def test_a_run_cut_short_is_found(copy):
    (copy / "shards" / "00002.safetensors").unlink()
    parts = read_run(Folder(copy)).parts
    rewrite(copy, parts={name: digest for name, digest in parts.items() if name != "shards/00002"})
    rewrite(copy, verdict=counted(copy).model_dump(mode="json"))
    assert verify(copy).problems == ["expected 3 shards, one after the other, found shards/00000, shards/00001"]


def test_another_model_is_found_and_not_asked(whole):
    other = small_run.network()
    with torch.no_grad():
        other.net[0].weight[0, 0, 0, 0] += 1e-6
    proof = verify(whole, other)
    assert len(proof.problems) == 1
    assert f"found {other.digest}" in proof.problems[0]
    assert "what the model says of every input was found again" not in proof.checks


def test_other_data_are_found(whole):
    proof = verify(whole, data=bs.ArrayData(*inputs(47)))
    assert len(proof.problems) == 1
    assert "expected 48 rows of data" in proof.problems[0]


def first_broken(c: Columns) -> int:
    return int(c["broken"][0])


def first_standing(c: Columns) -> int:
    return int((c["right"] & ~c["won"]).nonzero()[0])


def set_at(name: str, at: Callable[[Columns], int] | int, value: float) -> Callable[[Columns], None]:
    def change(c: Columns) -> None:
        c[name][at if isinstance(at, int) else at(c)] = value

    return change


def lift(name: str, amount: float) -> Callable[[Columns], None]:
    def change(c: Columns) -> None:
        c[name][0].view(-1)[0] += amount

    return change


def claim_a_standing_row(c: Columns) -> None:
    """As if the clean input of a row that stands were adversarial."""
    row = first_standing(c)
    at = int((c["broken"] < row).sum())
    c["won"][row], c["result"][row], c["stage"][row], c["norm"][row], c["margin"][row] = True, 1, 0, 0.0, -1.0
    c["broken"] = c["won"].nonzero()[:, 0]
    c["stage_counts"][0, 1] += 1
    wrong = (c["y"][row] + 1) % 5
    for name, value in (
        ("adversarial", c["x"][row].float() / 255),
        ("nearest", c["x"][row].float() / 255),
        ("adversarial_prediction", wrong),
        ("adversarial_confidence", torch.tensor(0.5)),
        ("prediction_8bit", wrong),
    ):
        c[name] = torch.cat([c[name][:at], value[None], c[name][at:]])


def hide_a_broken_row(c: Columns) -> None:
    """As if a row that fell had stood: that much cannot be disproved, but its margin and its stage speak."""
    row = first_broken(c)
    c["won"][row], c["result"][row], c["norm"][row] = False, 0, math.inf
    c["broken"] = c["won"].nonzero()[:, 0]
    for name in ("adversarial", "nearest", "adversarial_prediction", "adversarial_confidence", "prediction_8bit"):
        c[name] = c[name][1:]


def swap_rows(c: Columns) -> None:
    for name in c:
        if len(c[name]) == len(c["id"]) and name != "id":
            c[name][[0, 1]] = c[name][[1, 0]]
    c["broken"] = c["won"].nonzero()[:, 0]


FORGERIES = {
    "id": (set_at("id", 0, 7), "rows in the order of the data"),
    "label": (set_at("y", first_standing, 4), "as labelled|the labels of the data"),
    "label that no class has": (set_at("y", first_standing, 9), "labels from 0 to 4"),
    "input": (set_at("x", 0, 3), "the inputs of the data"),
    "prediction": (set_at("prediction", first_standing, 4), "the stored prediction"),
    "prediction of no class": (set_at("prediction", 0, 77), "the stored prediction"),
    "confidence": (lift("confidence", 1e-3), "the stored confidence"),
    "right": (set_at("right", first_standing, False), "rows that were wrong at first to say so"),
    "won": (set_at("won", first_standing, True), "to name the .* rows that won is true of"),
    "result": (set_at("result", first_standing, 1), "won where the result says so"),
    "unknown result": (set_at("result", first_standing, 12), "expected results from 0 to 11 in shards/00001"),
    "a row left out": (set_at("result", first_standing, 6), "no targets in a run without them"),
    "a target": (set_at("target", first_standing, 3), "no targets in a run without them"),
    "stage": (set_at("stage", first_broken, 2), "rows of stage"),
    "no stage": (set_at("stage", first_broken, -1), "the stage that broke the row"),
    "norm": (lambda c: c["norm"].mul_(0.99), "that of the nearest example"),
    "norm of a row that stands": (set_at("norm", first_standing, 0.01), "no distance where nothing was broken"),
    "margin": (set_at("margin", first_standing, 99.0), "a lowest margin no higher"),
    "margin below zero": (set_at("margin", first_standing, -1.0), "the margin of a row that stands"),
    "margin of a broken row": (set_at("margin", first_broken, 1.0), "the margin of a broken row below 0"),
    "forwards": (set_at("forwards", 0, 1000), "forwards of all rows"),
    "backwards": (set_at("backwards", 0, 1000), "backwards of all rows"),
    "negative cost": (set_at("backwards", 0, -1), "no less than 0 backwards"),
    "stage counts": (lift("stage_counts", 100), "rows to enter stage 0"),
    "unbilled": (set_at("unbilled", 0, -5), "at least 0, found a negative one"),
    "outside of the ball": (lift("adversarial", 0.05), "adversarial within linf:0.02|values outside"),
    "nearest outside of the ball": (lambda c: c["nearest"].sub_(0.001).clamp_(0, 1), "the nearest"),
    "outside of the box": (set_at("adversarial", 0, 1.5), r"adversarial within \[0, 1\]"),
    "not a number": (set_at("adversarial", 0, math.nan), "finite numbers in adversarial"),
    "the clean input": (lambda c: c["adversarial"].copy_(c["x"][c["broken"]] / 255), "adversarial to be misclassified"),
    "the clean input as the nearest": (
        lambda c: c["nearest"].copy_(c["x"][c["broken"]] / 255),
        "nearest to be misclassified",
    ),
    "adversarial prediction": (set_at("adversarial_prediction", 0, 4), "the stored adversarial_prediction"),
    "adversarial confidence": (lift("adversarial_confidence", 1e-3), "the stored adversarial_confidence"),
    "8 bits": (lambda c: c["prediction_8bit"].copy_(c["y"][c["broken"]]), "the stored prediction_8bit"),
    "a success that is none": (claim_a_standing_row, "adversarial to be misclassified"),
    "a success that is hidden": (hide_a_broken_row, "no stage where nothing was broken"),
    "swapped rows": (swap_rows, "the inputs of the data"),
    "a missing column": (lambda c: c.pop("margin"), "expected the columns"),
    "a column more": (lambda c: c.update(more=torch.zeros(3)), "expected the columns"),
    "another dtype": (
        lambda c: c.update(margin=c["margin"].double()),
        "expected margin in shards/00001 as float32",
    ),
    "another shape": (lambda c: c.update(nearest=c["nearest"].flatten(1)), "expected nearest in shards/00001"),
    "broken in another order": (lambda c: c.update(broken=c["broken"].flip(0)), "expected broken in shards/00001"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_that_is_sealed_anew_is_found(copy, name):
    change, said = FORGERIES[name]
    forge(copy, change, recount=name not in UNCOUNTABLE)
    proof = verify(copy)
    assert not proof.ok
    assert any(re.search(said, problem) for problem in proof.problems), proof.problems
    assert all(problem.startswith("expected ") for problem in proof.problems)


UNCOUNTABLE = (  # no verdict follows from such columns
    "a missing column",
    "another shape",
    "broken in another order",
    "won",
    "unknown result",
)


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def test_every_number_of_the_verdict_is_found_when_it_is_forged(copy):
    verdict = read_run(Folder(copy)).verdict
    numbers = [(p, v) for p, v in leaves(verdict) if p[0] != "findings" and p[:2] != ("distances", "curve")]
    assert len(numbers) > 40
    for path, value in numbers:
        stored = value - 1 if isinstance(value, int) else value + 1e-6
        rewrite(copy, verdict=changed(verdict, path, stored))
        problems = verify(copy).problems
        assert len(problems) == 1, path
        assert problems[0].startswith(f"expected {path[0]} to be")


def changed(verdict, path, value):
    inner = whole = json.loads(json.dumps(verdict))
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return whole


def test_a_curve_and_a_stage_that_are_forged_are_found(copy):
    verdict = read_run(Folder(copy)).verdict
    rewrite(copy, verdict=changed(verdict, ("distances", "curve"), verdict["distances"]["curve"][:-1]))
    assert "expected distances to be" in verify(copy).problems[0]
    rewrite(copy, verdict=changed(verdict, ("stages", 0, "attack"), "PGD(steps=9000)"))
    assert "expected the stage Stage(name='first class'" in verify(copy).problems[0]


# ------------------------------------------------------------------ the measures themselves


def test_outcomes_are_those_of_the_engine():
    assert {int(r): r.name.lower() for r in Result} == OUTCOMES


@given(st.sampled_from(sorted(BALLS)), st.integers(0, 1000))
def test_norms_are_those_that_the_attacks_are_held_to(name, seed):
    x, x0 = torch.rand(2, 5, 2, 3, generator=torch.Generator().manual_seed(seed))
    x[0] = x0[0]
    expected = BALLS[name]().norm(x - x0).numpy()
    assert BALLS[name]().measured(x.numpy(), x0.numpy()) == pytest.approx(expected, rel=1e-6)


def test_what_rounding_decides_is_accepted_and_what_it_does_not_is_not():
    scores = Scores(np.array([[1, 1 - EDGE / 2, 0], [1, 1 - EDGE * 2, 0]], np.float32), np.array([0, 0]))
    same, close = scores.predicts(np.array([0, 0]))
    assert same.all()
    assert not close.any()
    same, close = scores.predicts(np.array([1, 1]))
    assert not same.any()
    assert close.tolist() == [True, False]
    assert not scores.predicts(np.array([9, -1]))[1].any()


def test_scores_that_are_not_finite_excuse_nothing():
    scores = Scores(np.array([[1, 0, -np.inf], [np.nan, 0, 1]], np.float32), np.array([0, 1]))
    assert scores.edge == pytest.approx([EDGE, EDGE])
    assert scores.predicts(np.array([1, 1]))[1].tolist() == [False, False]
    assert scores.margin[0] == 1
    assert np.isnan(scores.margin[1])


def test_a_row_on_the_edge_is_counted_and_said(copy):
    """Between two classes that score alike, either prediction is a true one."""

    def tie(c: Columns) -> None:
        c["prediction"][0] = int(not c["prediction"][0])

    class Even(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :1] * torch.tensor([1.0, 1.0 - 1e-6])

    model, data = Model(Even()), bs.ArrayData(0.5 + inputs(32)[0] / 4, torch.ones(32).long())
    run(copy.parent / "even", model=model, data=data, threat=bs.Linf(0.01), protocol=STAGES)
    assert verify(copy.parent / "even", model, data).ok
    forge(copy.parent / "even", tie)
    proof = verify(copy.parent / "even", model, data)
    assert "1 predictions are on the edge" in "".join(proof.notes)
