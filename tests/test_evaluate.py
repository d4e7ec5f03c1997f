import gc
import itertools
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import blindspots as bs
import small_run
from blindspots.attacks import APGD, DDN, FMN, PGD
from blindspots.engine.cascade import Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.engine.loop import Settings
from blindspots.engine.result import Result
from blindspots.engine.targets import Closest, EveryClass, Given, LeastLikely, OneClass, RandomClass
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.rows import leaves
from closed_form import optimum, plane
from small_run import Net, at_most, everything, inputs, rows_of, run, same_columns

ONE_STAGE = (Stage("descent", PGD(steps=3, random_start=False), "one stage"),)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run in a folder, and what it told on its way."""
    told = []
    return run(tmp_path_factory.mktemp("whole") / "run", watch=told.append), told


def equal(result, whole) -> bool:
    return everything(result.folder) == everything(whole[0].folder)


# ------------------------------------------------------------------ one run is like another


def test_in_memory_and_in_a_folder_a_run_comes_to_the_same(whole):
    kept = run()
    assert kept.verdict == whole[0].verdict
    assert all(same_columns(a, b) for a, b in zip(kept.shards(), whole[0].shards(), strict=True))


def test_every_stage_finds_something(whole):
    """Else the tests here would prove little."""
    first, restarts, square, shorten = whole[0].verdict.stages
    assert first.won
    assert restarts.won
    assert square.rows
    assert shorten.rows == first.won + restarts.won + square.won
    assert 0 < whole[0].robust_accuracy < whole[0].clean_accuracy < 1


def test_a_result_speaks_of_all_rows(whole):
    result, v = whole[0], whole[0].verdict
    x, y = inputs(48)
    assert result.success.sum() == v.outcomes["won"]
    assert result.results.count(Result.ALREADY_WRONG) == v.outcomes["already_wrong"] == 7
    assert torch.equal(result.adversarial[~result.success], x[~result.success])
    assert bool((Net()(result.adversarial).argmax(1) != y)[result.success].all())
    assert bool((result.norms[result.success] <= 0.02 * (1 + 1e-5)).all())
    assert result.norms[[r is Result.ALREADY_WRONG for r in result.results]].sum() == 0
    assert bool(result.norms[[r is Result.STOOD for r in result.results]].isinf().all())
    assert "robust_accuracy=" in repr(result)


def test_the_functions_stay_callable_beside_modules_of_their_names():
    import blindspots.experiments.evaluate
    import blindspots.runs.verify

    assert callable(bs.evaluate)
    assert callable(bs.verify)
    assert blindspots.attack is bs.attack


# ------------------------------------------------------------------ interrupted and resumed


class _Stop:
    """Interrupts at the n-th call."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, *_) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("call", range(1, 30, 5))
def test_a_run_interrupted_within_a_stage_goes_on_to_the_same_bytes(tmp_path, whole, call):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=_Stop(call))
    assert equal(run(tmp_path / "run", resume=True), whole)


@pytest.mark.parametrize(("kills", "seed"), [(5, 0), pytest.param(20, 1, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_goes_on_to_the_same_bytes(tmp_path, kills, seed):
    subprocess.run([sys.executable, small_run.__file__, tmp_path, str(kills), str(seed)], check=True)
    assert everything(tmp_path / "killed") == everything(tmp_path / "whole")
    assert bs.verify(tmp_path / "killed").ok


def test_a_finished_run_can_be_resumed_to_nothing_new(tmp_path, whole):
    run(tmp_path / "run")
    told = []
    assert equal(run(tmp_path / "run", resume=True, watch=told.append), whole)
    assert not told


def test_resuming_takes_the_thread_count_of_the_run(tmp_path, whole, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=_Stop(20))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # what would be taken for a new run
    assert equal(run(tmp_path / "run", resume=True, threads=None), whole)


def test_a_budget_of_the_run_is_spent_once_however_often_it_is_interrupted(tmp_path):
    limits = {"max_forwards": 700, "max_backwards": 10_000}
    whole = run(tmp_path / "whole", **limits), None
    assert whole[0].verdict.outcomes["budget"]
    for call in (6, 9, 4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", resume=True, watch=_Stop(call), **limits)
    assert equal(run(tmp_path / "run", resume=True, **limits), whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 5}, "the seed changed from 0 to 5"),
        ({"slots": 8}, "the slots changed from 16 to 8"),
        ({"threat": bs.L2(0.1)}, "the threat changed from linf:0.02 to l2:0.1"),
        ({"protocol": ONE_STAGE}, "the stages changed (1: "),
        ({"data": bs.ArrayData(*inputs(47))}, "rows: 48 then, 47 now"),
        ({"model": Model(Net(), name="small")}, ":network then, none now"),
        ({"row_budget": 4}, "the row budget changed from none to 4"),
    ],
)
def test_another_run_is_not_resumed(whole, change, said):
    folder = whole[0].folder
    before = everything(folder)
    with pytest.raises(InputError) as refused:
        run(folder, resume=True, **change)
    assert said in str(refused.value)
    assert everything(folder) == before


def test_a_folder_with_a_run_is_not_written_to(whole):
    before = everything(whole[0].folder)
    with pytest.raises(InputError, match="holds a run"):
        run(whole[0].folder)
    assert everything(whole[0].folder) == before


def test_a_changed_shard_is_made_again(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=_Stop(20))
    shard = tmp_path / "run" / "shards" / "00000.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    assert equal(run(tmp_path / "run", resume=True), whole)


def test_a_full_disk_loses_nothing(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=_Stop(20))
    before = everything(tmp_path / "run")
    with at_most(3000), pytest.raises(InputError, match=r"expected to write .* make room or name another folder"):
        run(tmp_path / "run", resume=True)
    assert everything(tmp_path / "run") == before
    assert equal(run(tmp_path / "run", resume=True), whole)


# ------------------------------------------------------------------ progress, threads, memory


def test_progress_never_goes_back_and_ends_with_all_parts(whole):
    _, told = whole
    assert all(0 <= p.done <= p.rows <= 16 and 0 <= p.finished <= p.total == 48 and p.parts == 4 for p in told)
    for one, following in itertools.pairwise(told):
        assert one.seconds <= following.seconds
        assert one.made <= following.made
        assert one.finished <= following.finished
        assert one.done <= following.done or one.part != following.part or not following.said
    assert [p.finished for p in told if not p.said] == [0, 0, 16, 32, 48]
    assert {p.part for p in told if "robust" in p.said} == {f"shards/{i:05d}" for i in range(3)}


def test_progress_of_a_resumed_run_counts_the_rows_behind_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", watch=_Stop(30))
    told = []
    run(tmp_path / "run", resume=True, watch=told.append)
    assert (told[0].made, told[0].finished) == (3, 32)
    assert (told[-1].made, told[-1].finished) == (4, 48)


@pytest.mark.parametrize("stop", [None, 3])
def test_threads_are_said_and_put_back(stop):
    before = torch.get_num_threads()
    inside = []

    def watch(progress):
        inside.append(torch.get_num_threads())
        if len(inside) == stop:
            raise KeyboardInterrupt

    try:
        assert run(rows=16, threads=2, protocol=ONE_STAGE, watch=watch).manifest.made_by.threads == 2
    except KeyboardInterrupt:
        assert stop
    assert set(inside) == {2}
    assert torch.get_num_threads() == before


class _Stream:
    """Rows made when they are asked for; what is alive then is remembered."""

    name, spec, digest, shape, class_names, notes = "stream", None, "0" * 64, small_run.SHAPE, None, ()

    def __init__(self, rows: int) -> None:
        self.length, self.alive = rows, []

    def __len__(self) -> int:
        return self.length

    def rows(self, start, stop):
        gc.collect()
        self.alive.append(sum(t.numel() for t in gc.get_objects() if issubclass(type(t), torch.Tensor)))
        generator = torch.Generator().manual_seed(start)
        return torch.rand(stop - start, *self.shape, generator=generator), torch.zeros(stop - start).long()


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    few, many = _Stream(48), _Stream(144)
    for data in (few, many):
        run(tmp_path / str(len(data)), data=data, protocol=ONE_STAGE)
    assert max(many.alive) == max(few.alive)
    assert len(many.alive) == 11  # first look, preflight and 9 shards


def test_a_limit_in_seconds_ends_a_run_with_all_rows_told(tmp_path):
    result = run(max_seconds=1e-9)
    assert result.verdict.outcomes["budget"] == result.verdict.robust_of_right.rows
    assert any(f.code == "budget-spent" for f in result.findings)


def test_a_budget_per_row_is_kept():
    columns = rows_of(run(row_budget=9))
    assert bool((columns["forwards"] + columns["backwards"] <= 9).all())
    stands = columns["right"] & ~columns["won"]
    assert bool((columns["result"][stands] == Result.BUDGET).all())


def test_a_budget_of_the_run_is_kept():
    v, free = run(max_forwards=300).verdict, run().verdict
    assert v.outcomes["budget"]
    assert v.rows == 48
    preflight, kept_back = 12 * 48, 3 * 48
    spent, wanted = (a.forwards + a.forwards_unbilled - preflight for a in (v, free))
    assert 300 - kept_back - 16 < spent <= 300 < wanted


def test_a_search_to_the_end_gives_stronger_examples_than_one_that_stops():
    x, y = inputs(24)
    early, late = (bs.attack(Net(), x, y, PGD(10), threat=bs.Linf(0.05), to_the_end=end) for end in (False, True))
    assert torch.equal(early.success, late.success)
    assert early.forwards < late.forwards == 24 + 11 * int((late._column("right")).sum())
    margins = [d._column("margin")[d.success] for d in (early, late)]
    assert (margins[1] <= margins[0]).all()
    assert (margins[1] < margins[0]).any()


def test_a_row_that_is_the_target_already_is_none_to_attack():
    x, y = inputs(24)
    done = bs.attack(Net(), x, y, PGD(5), threat=bs.Linf(0.1), targeted=True, targets=OneClass(2))
    right = done._column("right")
    assert not done.success[right & (y == 2)].any()
    assert done.success[right & (y != 2)].any()
    with pytest.raises(InputError, match="expected a target class from 0 to 4, got 7"):
        bs.attack(Net(), x, y, PGD(5), threat=bs.Linf(0.1), targeted=True, targets=OneClass(7))


# ------------------------------------------------------------------ rows are alone


class Apart(nn.Module):
    """A convolution, then one sum per class: a matrix product may round by the place of a row."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.conv.weight.data = torch.randn(6, 1, 3, 3, generator=g)
        self.conv.bias.data = torch.zeros(6)
        self.last = nn.Parameter(torch.randn(4, 6, 8, 8, generator=g))

    def forward(self, x):
        return (self.conv(x).relu()[:, None] * self.last).flatten(2).sum(2)


def boards(samples: Samples):
    oracle = Oracle(Model(Apart()), chunk=8)
    with oracle.session():
        return Cascade(oracle, bs.Linf(0.02), small_run.STAGES, settings=Settings(slots=16)).run(samples)[0]


def samples(rows: int) -> Samples:
    x, _ = inputs(rows)
    with torch.no_grad():
        y = Apart()(x).argmax(1)
    return Samples(torch.arange(rows), x, y, torch.full((rows,), 0.02))


def test_neither_the_order_of_rows_nor_their_neighbours_change_a_row():
    every = samples(40)
    board = boards(every)
    assert 0 < board.ledger.won.sum() < 40
    for kept in (torch.randperm(40, generator=torch.Generator().manual_seed(5)), torch.arange(3, 40, 3)):
        ledger = boards(every[kept]).ledger
        for (name, a), (_, b) in zip(leaves(ledger), leaves(board.ledger[kept]), strict=True):
            assert torch.equal(a, b), name


# ------------------------------------------------------------------ numbers that are none


class Poisoned(nn.Module):
    """As `Net`, but NaN for inputs whose first pixel is one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return torch.where(x[:, :1, 0, 0] == 1, torch.nan, self.net(x))


def marked(row: int):
    x, y = inputs(32)
    x[:, :, 0, 0] = 0.5
    x[row, :, 0, 0] = 1
    return x, y


@pytest.mark.parametrize("label", [0, 3])
def test_a_row_with_scores_that_are_not_numbers_leaves_alone(label):
    x, y = marked(5)
    y[5] = label
    healthy = rows_of(run(data=bs.ArrayData(x, y), protocol=ONE_STAGE))
    ill = run(model=Model(Poisoned()), data=bs.ArrayData(x, y), protocol=ONE_STAGE)
    columns, others = rows_of(ill), torch.arange(32) != 5
    assert columns["result"][5] == Result.NONFINITE
    assert not columns["right"][5]
    assert ill.verdict.outcomes["nonfinite"] == 1
    assert any(f.code == "nonfinite-search" for f in ill.findings)
    for name in columns:
        assert torch.equal(columns[name][others], healthy[name][others]), name


class SteepAtZero(Poisoned):
    """Finite scores, but no gradient where the first pixel is zero."""

    def forward(self, x):
        return self.net(x) + 0 * x[:, :1, 0, 0].sqrt()


def test_a_row_with_a_gradient_that_is_not_a_number_leaves_alone():
    x, y = marked(5)
    x[5, :, 0, 0] = 0
    y[5] = Net()(x[5:6]).argmax()
    result = run(model=Model(SteepAtZero()), data=bs.ArrayData(x, y), protocol=ONE_STAGE)
    columns = rows_of(result)
    assert (columns["result"] == Result.NONFINITE).nonzero().flatten().tolist() == [5]
    assert columns["right"][5]
    assert not columns["won"][5]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_inputs_that_are_not_numbers_are_refused_before_anything_is_written(tmp_path, value):
    x, y = inputs(48)
    x[5, 0, 3, 3] = value
    with pytest.raises(InputError, match="got NaN or infinity in row 5"):
        run(tmp_path, data=bs.ArrayData(x, y))
    assert not everything(tmp_path)


# ------------------------------------------------------------------ input that cannot be used


@pytest.mark.parametrize(("row", "label"), [(2, 5), (2, -1), (70, 5)])
def test_labels_that_no_class_has_are_refused(tmp_path, row, label):
    """Of the rows that preflight examines, before anything is written."""
    x, y = inputs(80)
    y[row] = label
    with pytest.raises(InputError, match=f"expected labels from 0 to 4, .* got {label} in row {row}"):
        run(tmp_path, data=bs.ArrayData(x, y))
    assert (tmp_path / "run.json").exists() == (row > 64)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.rand(4, 1, 8, 8), torch.zeros(3).long(), "expected as many labels as inputs"),
        (torch.rand(4, 1, 8, 8), torch.full((4,), 0.5), "expected y to be one class per row"),
        (torch.rand(4, 1, 8, 8), torch.zeros(4, 2).long(), "expected y to be one class per row"),
        (torch.rand(4), torch.zeros(4).long(), "expected inputs"),
        (torch.rand(0, 1, 8, 8), torch.zeros(0).long(), "at least one row"),
        (torch.rand(4, 1, 9, 9), torch.zeros(4).long(), "expected a network that takes inputs of shape"),
        (torch.rand(4, 8, 9), torch.zeros(4).long(), "takes? inputs of shape"),
        ({0.5}, [0], "expected x of arrays to be a torch tensor, a numpy array, a list"),
        (None, None, "expected inputs x and labels y, or data"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path, x, y, said):
    with pytest.raises(InputError, match=said):
        bs.evaluate(Net(), x, y, threat=bs.Linf(0.1), protocol=ONE_STAGE, out=tmp_path)
    assert not everything(tmp_path)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: run(threat=bs.Linf()), "expected a radius for PGD"),
        (lambda: run(protocol="slow"), "expected a protocol among"),
        (lambda: run(threat=bs.L0(3)), "expected an attack for l0 threats"),
        (lambda: run(slots=0), "greater than or equal to 1 for slots, got 0"),
        (lambda: bs.attack(Net(), *inputs(4), threat=bs.Linf(0.1)), "expected an attack, got none"),
        (lambda: bs.attack(Net(), *inputs(4), PGD(), threat=bs.Linf(0.1), targeted=True), "expected targets"),
        (lambda: bs.attack(Net(2), *inputs(4, 2), APGD(), threat=bs.Linf(0.1), loss="dlr"), "needs at least 3 classes"),
        (
            lambda: bs.attack(Net(3), *inputs(4, 3), APGD(), threat=bs.Linf(0.1), loss="dlr", targets=Closest()),
            "needs at least 4 classes",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_an_attack_that_does_not_fit_is_refused_before_any_query():
    def never(x):
        raise AssertionError("the network was called")

    with pytest.raises(InputError, match="expected an attack for l1 threats"):
        bs.attack(never, *inputs(4), DDN(), threat=bs.L1(1))


# ------------------------------------------------------------------ models


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("threat", [bs.Linf(0.02), bs.L2(0.3)])
def test_few_classes_are_enough(classes, threat):
    stages = (
        *small_run.STAGES,
        Stage("second", PGD(steps=3), "there may be no second class", Objective(directed=True), Closest(1, skip=1)),
    )
    result = run(data=bs.ArrayData(*inputs(32, classes)), model=Model(Net(classes)), protocol=stages, threat=threat)
    assert 0 < result.robust_accuracy < result.clean_accuracy


def single(output: str) -> Model:
    """One number per row for two classes: a logit, or the probability of class 1."""
    net = Net(2)

    def forward(x):
        logit = net(x)[:, 1] - net(x)[:, 0]
        return logit if output == "logit" else logit.sigmoid()

    return Model(forward, output=output)


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_one_number_per_row_is_as_good_as_two_scores(output):
    data = bs.ArrayData(*inputs(32, 2))
    one, two = (rows_of(run(data=data, model=m)) for m in (single(output), Model(Net(2))))
    assert torch.equal(one["prediction"], two["prediction"])
    assert torch.allclose(one["confidence"], two["confidence"], atol=1e-5)
    assert torch.equal(one["won"], two["won"])


def test_probabilities_are_as_good_as_scores():
    data, net = bs.ArrayData(*inputs(32)), Net()
    odds, scores = run(data=data, model=Model(lambda x: net(x).softmax(1), output="probabilities")), run(data=data)
    assert torch.equal(rows_of(odds)["right"], rows_of(scores)["right"])
    assert torch.allclose(rows_of(odds)["confidence"], rows_of(scores)["confidence"], atol=1e-5)
    assert abs(odds.robust_accuracy - scores.robust_accuracy) <= 1 / 32


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_comes_back_exactly_as_it_was(fails):
    net = nn.Sequential(Net(), nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    net[0].eval()
    net[0][0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    try:
        run(model=Model(net), watch=_Stop(7) if fails else None)
    except KeyboardInterrupt:
        assert fails
    assert [m.training for m in net.modules()] == [True, False, *[False] * 4, True, True]
    assert [p.requires_grad for p in net.parameters()] == [False, True, True, True, True, True]
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


# ------------------------------------------------------------------ one attack


WANTED = {
    "runner-up": Closest(),
    "least likely": LeastLikely(),
    "random": RandomClass(seed=2),
    "given": Given(tuple((k + 2) % 5 for k in range(48))),
    "all": EveryClass(),
}


@pytest.fixture(scope="module")
def targeted():
    x, y = inputs(48)
    return {
        name: bs.attack(Net(), x, y, PGD(steps=8), threat=bs.Linf(0.08), targeted=True, targets=rule)
        for name, rule in WANTED.items()
    }


@pytest.mark.parametrize("name", [name for name in WANTED if name != "all"])
def test_a_targeted_success_is_the_target(targeted, name):
    result = targeted[name]
    _, y = inputs(48)
    logits = torch.cat([Net()(x) for x in inputs(48)[0].split(8)]).detach()
    wanted = WANTED[name].choose(None, None, Samples(torch.arange(48), *inputs(48), None), logits, None, None)[:, 0]
    assert 0 < result.success.sum() <= (y == logits.argmax(1)).sum()
    reached = Net()(result.adversarial).argmax(1)
    assert torch.equal(reached[result.success], wanted[result.success])


def test_every_class_is_at_least_as_easy_to_reach_as_any_one(targeted):
    every = targeted["all"].success
    assert all(bool((every | ~targeted[name].success).all()) for name in WANTED)
    assert targeted["runner-up"].success.sum() > targeted["least likely"].success.sum()


def test_a_given_class_that_the_model_does_not_have_is_refused():
    for classes, said in (((7,) * 48, "got 7 for row 0"), ((1,) * 3, "got 3 classes"), ((-1,) * 48, "got -1")):
        with pytest.raises(InputError, match=said):
            bs.attack(Net(), *inputs(48), PGD(steps=2), threat=bs.Linf(0.05), targeted=True, targets=Given(classes))


@pytest.mark.parametrize(("attack", "threat"), [(DDN(steps=120), bs.L2()), (FMN(60), bs.Linf()), (FMN(60), bs.L2())])
def test_without_a_radius_the_distances_are_those_known_in_closed_form(attack, threat):
    known = plane(24, (2, 4), (0.02, 0.3))
    result = bs.attack(known.net, known.x, known.y, attack, threat=threat)
    best = optimum(known, threat)
    assert result.robust_accuracy == 0
    assert bool((result.norms >= best * (1 - 1e-4)).all())
    assert bool((result.norms <= best * 1.05).all())
    columns = next(result.shards())
    assert torch.equal(columns["adversarial"], columns["nearest"])
    assert result.config.threat == threat.name
    assert result.verdict.distances.smallest == pytest.approx(float(result.norms.min()))


def test_restarts_and_directed_losses_only_add(whole):
    x, y = inputs(48)
    once, more = (
        bs.attack(Net(), x, y, PGD(steps=2, random_start=True), threat=small_run.THREAT, restarts=n) for n in (1, 4)
    )
    assert bool((more.success | ~once.success).all())
    assert more.forwards > once.forwards
    assert more.verdict.stages[0].name == "PGD"
