"""What the code of users does to its arguments and to the process, and what of it reaches anybody else: nothing."""

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import Square
from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.models import load_model
from blindspots.models.foreign import ModelError, contained, own_randomness
from blindspots.models.model import Model
from small_run import Net, inputs, rows_of

ROWS = 24
THREAT = bs.Linf(0.02)


class Around(nn.Module):
    """`Net`, with something done before it sees its input, and after."""

    def __init__(self, before: Callable[[Tensor], Any] = id, after: Callable[[Tensor], Any] = lambda z: z) -> None:
        super().__init__()
        self.net, self.before, self.after = Net(), before, after

    def forward(self, x: Tensor) -> Any:
        changed = self.before(x)
        return self.after(self.net(changed if isinstance(changed, Tensor) else x))


def evaluated(net: Any, rows: int = ROWS) -> bs.Evaluation:
    return bs.evaluate(net, *inputs(rows), threat=THREAT)


POLITE = rows_of(evaluated(Net()))


def same_as_polite(result: bs.Evaluation) -> None:
    columns = rows_of(result)
    for name in ("right", "won", "norm", "margin", "result", "forwards", "backwards"):
        assert torch.equal(columns[name], POLITE[name]), name


# ------------------------------------------------------------------ networks


_BUFFERS: dict[int, Tensor] = {}


def reused(z: Tensor) -> Tensor:
    """The same memory at every call, as exported runtimes have it."""
    if z.requires_grad:
        return z
    buffer = _BUFFERS.setdefault(len(z), torch.empty_like(z))
    return buffer.copy_(z)


RUDE: dict[str, Around] = {
    "writes into its input and undoes it": Around(lambda x: (x.mul_(0.5), x.mul_(2))[1]),
    "gives its memory again": Around(after=reused),
    "turns gradients off behind itself": Around(after=lambda z: (z, torch.set_grad_enabled(False))[0]),
    "changes the default dtype": Around(lambda x: torch.set_default_dtype(torch.float64)),
    "changes the threads": Around(lambda x: torch.set_num_threads(2)),
    "leaves autocast on": Around(after=lambda z: (z, torch.set_autocast_enabled("cpu", True))[0]),
    "makes warnings errors": Around(lambda x: warnings.simplefilter("error")),
    "makes numpy raise": Around(lambda x: np.seterr(all="raise")),
    "goes elsewhere": Around(lambda x: os.chdir("/")),
    "takes stdout away": Around(lambda x: setattr(sys, "stdout", None)),
    "seeds everything": Around(lambda x: (torch.manual_seed(1), np.random.seed(1), random.seed(1))),  # noqa: NPY002
    "returns planes of one number": Around(after=lambda z: z[:, :, None, None]),
}


@pytest.fixture
def process() -> Any:
    """Whatever a rude network may change is as it was, or the test fails."""

    def state() -> tuple[Any, ...]:
        return (
            torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), Path.cwd(), sys.stdout,
            torch.is_autocast_enabled("cpu"), list(warnings.filters), np.geterr(), torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(), random.getstate(),  # noqa: NPY002
        )  # fmt: skip

    before = state()
    yield
    assert state() == before


@pytest.mark.parametrize("what", RUDE)
@pytest.mark.usefixtures("process")
def test_a_rude_network_has_the_verdict_of_a_polite_one(what: str) -> None:
    same_as_polite(evaluated(RUDE[what]))


class Overwriting(Net):
    """As PyTorch's own examples normalise: in place."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        return super().forward(x / 2)


@pytest.mark.parametrize("model", [Overwriting(), Model(Overwriting())])
def test_a_network_that_writes_into_its_input_changes_nobody_elses(model: Any) -> None:
    same_as_polite(evaluated(model))
    x, _ = inputs(4)
    before = x.clone()
    (model if isinstance(model, Model) else Model(model)).logits(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("attack", [Square(40), bs.attacks.PGD(4), bs.attacks.DDN(4), bs.attacks.FABT(4)])
def test_every_kind_of_attack_runs_on_a_network_that_writes_into_its_input(attack: Any) -> None:
    threat = bs.L2() if isinstance(attack, bs.attacks.DDN) else THREAT
    rude, polite = (bs.attack(net, *inputs(8), attack, threat=threat) for net in (Overwriting(), Net()))
    assert torch.allclose(rude.adversarial, polite.adversarial, atol=1e-6)
    assert torch.equal(rude.success, polite.success)


def test_members_of_an_ensemble_do_not_see_what_others_write() -> None:
    x, _ = inputs(4)
    pair = bs.Ensemble([Overwriting(), Net()])
    assert torch.allclose(pair.logits(x), Net()(x), atol=1e-5)


def test_prints_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    same_as_polite(evaluated(Around(lambda x: print("shape", x.shape))))  # noqa: T201
    captured = capsys.readouterr()
    assert not captured.out
    assert "shape" in captured.err


def test_a_factory_is_contained_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import os, torch\nprint('imported')\nos.chdir('/')\ntorch.set_default_dtype(torch.float64)\n"
    code += "def make():\n    print('made')\n    torch.rand(3)\n    return torch.nn.Flatten()\n"
    (tmp_path / "rude.py").write_text(code)
    before = Path.cwd(), torch.get_default_dtype()
    load_model(f"{tmp_path / 'rude.py'}:make")
    assert capsys.readouterr().out == ""
    assert (Path.cwd(), torch.get_default_dtype()) == before


def test_an_exception_is_a_sentence_wherever_it_comes() -> None:
    calls = iter(range(10**6))

    def sometimes(x: Tensor) -> None:
        if next(calls) == 40:
            raise KeyError("boom")

    with pytest.raises(ModelError, match=r"expected a network that takes inputs of shape .*, got KeyError: 'boom'"):
        evaluated(Around(sometimes))


@pytest.mark.parametrize("error", [SystemExit(3), AssertionError("no"), RecursionError()])
def test_whatever_is_raised_is_a_sentence(error: BaseException) -> None:
    def fails(x: Tensor) -> None:
        raise error

    with pytest.raises(ModelError, match=type(error).__name__):
        Model(Around(fails)).logits(inputs(2)[0])


def test_memory_that_ran_out_and_ctrl_c_pass() -> None:
    for error in (torch.OutOfMemoryError("x"), MemoryError(), KeyboardInterrupt()):

        def fails(x: Tensor, error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            Model(Around(fails)).logits(inputs(2)[0])


def test_all_generators_come_back_and_begin_at_the_seed(process: Any) -> None:
    draws = []
    for _ in range(2):
        with own_randomness(torch.device("cpu"), seed=5):
            draws.append((float(torch.rand(())), float(np.random.rand()), random.random()))  # noqa: NPY002
    assert draws[0] == draws[1]


def test_a_network_random_by_numpy_has_the_same_verdict_again() -> None:
    def noisy(z: Tensor) -> Tensor:
        return z + torch.from_numpy(np.random.normal(0, 0.1, z.shape)).float() + random.random()  # noqa: NPY002

    first, again = (evaluated(Around(after=noisy)) for _ in range(2))
    assert torch.equal(first.adversarial, again.adversarial)


def test_what_is_changed_inside_is_put_back_after_an_exception(process: Any) -> None:
    def fails() -> None:
        with contained():
            torch.set_grad_enabled(False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()


# ------------------------------------------------------------------ callers


@contextmanager
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CALLERS: dict[str, Callable[[], Any]] = {
    "float64 by default": doubles,
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another device by default": lambda: torch.device("meta"),
    "numpy that raises": lambda: np.errstate(all="raise"),
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.usefixtures("process")
def test_what_a_caller_has_set_does_not_reach_a_job(caller: str) -> None:
    net, (x, y) = Net(), inputs(ROWS)
    with CALLERS[caller]():
        result = bs.evaluate(net, x, y, threat=THREAT)
    same_as_polite(result)


# ------------------------------------------------------------------ services


class Service:
    """Answers with scores or labels of `Net`, but raises at the calls in `fails`."""

    def __init__(self, labels: bool = False, fails: Callable[[int, Any], bool] = lambda call, x: False) -> None:
        self.net, self.labels, self.fails, self.calls = Net(), labels, fails, 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        if self.fails(self.calls, x):
            raise ConnectionError("no route to the host")
        with torch.no_grad():
            scores = self.net(torch.from_numpy(x.copy())).numpy()
        x *= 255.0  # as services do that resize in place
        return scores.argmax(1) if self.labels else scores


def box(service: Callable[[Any], Any], labels: bool = False) -> bs.BlackBox:
    return bs.BlackBox(service, "labels" if labels else "scores", 5 if labels else None, retries=2, wait=0)


@pytest.mark.parametrize("labels", [False, True])
def test_a_service_that_writes_into_its_argument_has_the_verdict_of_one_that_does_not(labels: bool) -> None:
    attack: Any = bs.attacks.RayS(60) if labels else Square(60)
    x, y = inputs(12)

    def polite(x: Any) -> Any:
        return Service(labels)(x.copy())

    ours, theirs = (bs.attack(box(f, labels), x, y, attack, threat=bs.Linf(0.1)) for f in (Service(labels), polite))
    assert torch.equal(ours.adversarial, theirs.adversarial)
    assert ours.success.any()


def attacked(service: Service, **more: Any) -> bs.Evaluation:
    return bs.attack(box(service), *inputs(12), Square(60), threat=bs.Linf(0.02), **more)


def test_a_service_that_fails_now_and_then_has_the_verdict_of_one_that_does_not() -> None:
    steady, shaky = attacked(Service()), attacked(Service(fails=lambda call, x: call % 3 == 2))
    assert torch.equal(steady.adversarial, shaky.adversarial)
    assert shaky.forwards + shaky.verdict.forwards_unbilled > steady.forwards + steady.verdict.forwards_unbilled
    assert steady.results == shaky.results


def test_every_input_that_a_service_was_given_is_counted() -> None:
    service = box(Service(fails=lambda call, x: call % 5 == 2))
    result = bs.attack(service, *inputs(12), Square(20), threat=THREAT)
    assert service.queries == result.forwards + result.verdict.forwards_unbilled


def test_a_row_that_a_service_never_answers_leaves_alone() -> None:
    poison = inputs(12)[0][3].numpy()

    def fails(call: int, x: Any) -> bool:
        return call > 1 and bool((np.abs(x - poison).reshape(len(x), -1).max(1) < 0.1).any())

    result = attacked(Service(fails=fails))
    others = attacked(Service())
    keep = torch.arange(12) != 3
    assert result.results[3] is Result.NO_ANSWER
    assert torch.equal(result.adversarial[keep], others.adversarial[keep])
    assert [f.code for f in result.findings if f.severity == "error"] == ["no-answer"]


def test_a_service_that_falls_silent_leaves_what_was_found() -> None:
    whole, result = attacked(Service()), attacked(Service(fails=lambda call, x: call > 30))
    assert set(result.results) == {Result.WON, Result.NO_ANSWER, Result.ALREADY_WRONG}
    assert 0 < int(result.success.sum()) < int(whole.success.sum())
    assert result.verdict.searched.hits == 0
    assert (Net()(result.adversarial[result.success]).argmax(1) != inputs(12)[1][result.success]).all()


def test_a_service_that_never_answered_is_a_sentence_at_once() -> None:
    service = Service(fails=lambda call, x: True)
    with pytest.raises(ModelError, match=r"got ConnectionError: no route to the host"):
        attacked(service)
    assert service.calls == 3


def test_a_run_in_a_folder_waits_for_its_service_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    attacked(Service(), out=one)
    with pytest.raises(InputError, match=r"finished before is kept, so go on with --resume"):
        attacked(Service(fails=lambda call, x: call > 8), out=other)
    attacked(Service(), out=other, resume=True)
    assert (one / "shards/00000.safetensors").read_bytes() == (other / "shards/00000.safetensors").read_bytes()


@pytest.mark.parametrize("settings", [{"retries": -1}, {"wait": -1}, {"wait": float("nan")}])
def test_a_retry_policy_that_cannot_be_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected retries and wait of at least 0|wait of BlackBox to be a number"):
        bs.BlackBox(Service(), **settings)


@pytest.mark.parametrize("answer", [None, [[1.0], [1.0, 2.0]], "scores", [["a", "b"]] * 2, [{}, {}]])
def test_answers_that_are_no_numbers_are_refused(answer: Any) -> None:
    with pytest.raises(InputError, match=r"expected scores of shape \(2, classes\)"):
        bs.BlackBox(lambda x: answer).logits(inputs(2)[0])


@pytest.mark.parametrize(
    "wrap", [torch.from_numpy, lambda z: z.tolist(), lambda z: torch.nn.Parameter(torch.tensor(z))]
)
def test_answers_may_be_tensors_and_lists(wrap: Callable[[Any], Any]) -> None:
    x, _ = inputs(3)
    expected = bs.BlackBox(Service()).logits(x)
    assert torch.equal(bs.BlackBox(lambda x: wrap(Service()(x))).logits(x), expected)
