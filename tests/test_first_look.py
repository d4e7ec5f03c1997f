"""Which output is taken, and networks without gradients: seen before the first query, for all jobs alike."""

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import DDN, FABT, PGD, Square
from blindspots.data import ArrayData
from blindspots.errors import InputError
from blindspots.models import load_model
from blindspots.models.first_look import first_look
from blindspots.models.model import Model
from blindspots.problem import Need
from small_run import Net, inputs, rows_of

ROWS, THREAT = 24, bs.Linf(0.02)
Named = namedtuple("Named", "features scores")


@dataclass
class Fields:
    hidden: Tensor
    out: Tensor


# ------------------------------------------------------------------ outputs

X = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
WIDE = X.repeat(1, 3)
PLAIN: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda z: z,
    "logits by key": lambda z: {"features": WIDE, "logits": z},
    "logits by attribute": lambda z: SimpleNamespace(hidden=WIDE, logits=z),
    "logits among fields": lambda z: namedtuple("Out", "logits aux")(z, z),
    "only one of rows and classes": lambda z: (torch.rand(6, 3, 8, 8), z, z.mean(), None, "said"),
    "one score beside feature maps": lambda z: [torch.rand(6, 3, 8, 8), z],
    "a loss first, as with labels": lambda z: (z.mean(), z),
    "uncertainty beside": lambda z: {"sigma": z[:, 0], "scores": z},
    "nested": lambda z: {"head": (z,), "maps": torch.rand(6, 2, 2, 2)},
    "integers beside": lambda z: (z.argmax(1), torch.zeros(6, 5, dtype=torch.int64), z),
    "a trailing plane": lambda z: z[:, :, None, None],
}


@pytest.mark.parametrize("what", PLAIN)
def test_a_plain_output_is_taken(what: str) -> None:
    assert torch.equal(Model(PLAIN[what]).logits(X), X)


DOUBTFUL: dict[str, tuple[Callable[[Tensor], Any], int | str, str]] = {
    "features and scores": (lambda z: (WIDE, z), 1, "0 (6, 12), 1 (6, 4)"),
    "as many features as classes": (lambda z: (z + 1, z), 1, "0 (6, 4), 1 (6, 4)"),
    "from the end": (lambda z: (z + 1, WIDE, z), -1, "0 (6, 4), 1 (6, 12), 2 (6, 4)"),
    "named": (lambda z: Named(WIDE, z), "scores", "features (6, 12), scores (6, 4)"),
    "dictionary": (lambda z: OrderedDict(a=z, b=WIDE), "a", "a (6, 4), b (6, 12)"),
    "fields": (lambda z: Fields(WIDE, z), "out", "hidden (6, 12), out (6, 4)"),
    "nested": (lambda z: (WIDE, {"s": z}), "1.s", "0 (6, 12), 1.s (6, 4)"),
    "two single numbers": (lambda z: (z[:, 0], z[:, :1]), 1, "0 (6,), 1 (6, 1)"),
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_could_be_either_is_refused_and_can_be_chosen(what: str) -> None:
    out, take, listed = DOUBTFUL[what]
    with pytest.raises(InputError) as error:
        Model(out).logits(X)
    assert listed in str(error.value)
    assert "Model(net, take=" in str(error.value)
    chosen = Model(out, take=take).logits(X)
    assert torch.equal(chosen, X) if what != "two single numbers" else chosen.shape == (6, 2)


def test_the_order_of_a_dictionary_decides_nothing() -> None:
    def out(x: Tensor) -> Any:
        pairs = [("maps", x[:, :, None, None].repeat(1, 1, 2, 2)), ("head", x)]
        return dict(pairs if len(x) % 2 else reversed(pairs))

    assert torch.equal(Model(out).logits(X), X)
    assert torch.equal(Model(out).logits(X[:5]), X[:5])


@pytest.mark.parametrize("take", [7, -3, "nothing", "0.a"])
def test_an_output_that_is_not_there_is_refused(take: int | str) -> None:
    with pytest.raises(InputError, match=r"expected an output .* of the network, got tuple with 0, 1: take one"):
        Model(lambda x: (x, x), take=take).logits(X)
    with pytest.raises(InputError, match="a single tensor"):
        Model(lambda x: x, take=take).logits(X)


class Beside(nn.Module):
    """(features, logits) of `Net`, as many of each."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Any:
        return x.flatten(1)[:, :5], self.net(x)


def evaluated(net: Any, **more: Any) -> bs.Evaluation:
    return bs.evaluate(net, *inputs(ROWS), threat=THREAT, **more)


def test_features_are_never_judged_for_scores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected logits \(B, classes\), got tuple of which several could be"):
        evaluated(Beside())
    chosen = evaluated(Model(Beside(), take=1))
    assert torch.equal(chosen.adversarial, evaluated(Net()).adversarial)
    assert any(f.code == "output-taken" and "'1' of a tuple, beside '0'" in f.saw for f in chosen.findings)


def test_an_output_is_chosen_by_name_on_the_command_line(tmp_path: Path) -> None:
    program = torch.export.export(Beside().eval(), (inputs(4)[0],), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    file = tmp_path / "net.pt2"
    torch.export.save(program, file)
    x, _ = inputs(4)
    assert torch.allclose(load_model(f"{file}@1").logits(x), Net()(x), atol=1e-5)
    assert torch.allclose(load_model(f"{file}@-1").logits(x), Net()(x), atol=1e-5)
    assert load_model(f"{file}@0").digest != load_model(f"{file}@1").digest
    with pytest.raises(InputError, match="several could be meant"):
        load_model(str(file)).logits(x)


def test_a_file_whose_name_has_an_at_sign_is_that_file(tmp_path: Path) -> None:
    file = tmp_path / "net@1.pt"
    _save(_traced(), file)
    assert load_model(str(file)).take is None


def _traced() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # people have such files
        return torch.jit.trace(Net().eval(), inputs(2)[0])  # type: ignore[no-untyped-call]


def _save(script: Any, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(script, file)  # type: ignore[no-untyped-call]


# ------------------------------------------------------------------ gradients


class Without(nn.Module):
    """`Net` in a form that gives no gradients."""

    def __init__(self, how: Callable[["Without", Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.how = Net(), how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def _no_grad(m: Without, x: Tensor) -> Tensor:
    with torch.no_grad():
        z: Tensor = m.net(x)
    return z


def _inference(m: Without, x: Tensor) -> Tensor:
    with torch.inference_mode():
        z: Tensor = m.net(x)
    return z


def _by_numpy(m: Without, x: Tensor) -> Tensor:
    z: Tensor = m.net(torch.from_numpy(x.numpy()))  # refuses what requires a gradient
    return z


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()


WITHOUT: dict[str, Callable[[Without, Tensor], Tensor]] = {
    "detached input": lambda m, x: m.net(x.detach()),
    "detached output": lambda m, x: m.net(x).detach(),
    "no_grad": _no_grad,
    "inference_mode": _inference,
    "whole numbers": lambda m, x: m.net((x * 255).to(torch.uint8).float() / 255),
    "numpy": _by_numpy,
    "no backward": lambda m, x: m.net(_Opaque.apply(x)),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_a_network_without_gradients_is_attacked_by_its_scores(what: str) -> None:
    net = Without(WITHOUT[what])
    result = bs.attack(net, *inputs(8), Square(60), threat=bs.Linf(0.1))
    assert result.success.any()
    assert result.backwards == 0
    said = [f.code for f in result.findings]
    assert said.count("non-differentiable") == 1
    with pytest.raises(InputError, match="expected an attack that needs no more than scores"):
        bs.attack(net, *inputs(8), PGD(4), threat=THREAT)


def test_the_usual_protocol_follows_from_what_a_model_shows() -> None:
    x, y = inputs(8)

    def labels(x: Any) -> Any:
        with torch.no_grad():
            return Net()(torch.from_numpy(x)).argmax(1).numpy()

    for net, protocol in (
        (Without(WITHOUT["no_grad"]), "blackbox-scores"),
        (bs.BlackBox(labels, "labels", 5), "blackbox-labels"),
    ):
        result = bs.evaluate(net, x, y, threat=THREAT, max_forwards=2000)
        assert result.config.protocol == protocol
        assert any(f.code == "protocol-chosen" and protocol in f.saw for f in result.findings)
        with pytest.raises(InputError, match=f"got 'fast', whose stage .* needs gradients: use '{protocol}'"):
            bs.evaluate(net, x, y, threat=THREAT, protocol="fast")


def test_a_rounded_input_hides_nothing() -> None:
    net = Without(lambda m, x: m.net((x * 255).round() / 255))
    x, y = inputs(ROWS)
    flat = bs.evaluate(net, x, y, threat=THREAT, row_budget=2000)
    assert flat.config.protocol == "blackbox-scores"
    assert flat.robust_accuracy <= bs.evaluate(Net(), x, y, threat=THREAT).robust_accuracy + 0.05
    assert not bs.attack(
        net, x, y, PGD(4, random_start=False), threat=THREAT
    ).success.any()  # it may be asked for by name


class HalfFlat(Without):
    """Rounds the inputs of bright pictures, so no gradient says anything there."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: m.net(torch.where(_bright(x), (x * 255).round() / 255, x)))


def _bright(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1).view(-1, 1, 1, 1) > 0.5


def test_rows_where_gradients_are_masked_are_searched_all_the_same() -> None:
    x, y = inputs(48)
    masked, open_ = (bs.evaluate(net, x, y, threat=THREAT, row_budget=600) for net in (HalfFlat(), Net()))
    assert _bright(x).any()
    assert not _bright(x).all()
    stage = next(s for s in masked.verdict.stages if s.name == "flat rows")
    assert stage.won > 0
    assert masked.robust_accuracy <= open_.robust_accuracy + 0.05


def test_jobs_that_need_gradients_say_so_before_anything_is_done() -> None:
    net, data = Without(WITHOUT["no_grad"]), ArrayData(*inputs(40))
    for job in (
        lambda: bs.universal(net, data=data, threat=THREAT),
        lambda: bs.harden(net, data=data, threat=THREAT, epochs=1),
        lambda: bs.detect(net, data=data, threat=THREAT),
    ):
        with pytest.raises(InputError, match=r"expected a model (whose gradients can be taken|with gradients)"):
            job()


def test_transfer_takes_a_network_without_gradients_by_its_scores() -> None:
    run = bs.transfer([Without(WITHOUT["no_grad"]), Net()], *inputs(8), threat=bs.Linf(0.1))
    assert [s.access for s in run.config.sources] == ["scores", "gradients"]


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = torch.utils.checkpoint.checkpoint(self.net, x, use_reentrant=True)
        return z


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("attack", [PGD(4), DDN(4), FABT(4), None])
def test_reentrant_checkpoints_give_their_gradients(attack: Any) -> None:
    net, x, y = Checkpointed(), *inputs(8)
    threat = bs.L2() if isinstance(attack, DDN) else THREAT

    def run(net: nn.Module) -> bs.Evaluation:
        return bs.attack(net, x, y, attack, threat=threat) if attack else bs.evaluate(net, x, y, threat=threat)

    assert torch.equal(run(net).adversarial, run(Net()).adversarial)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_frozen_scripts_are_networks(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen = torch.jit.freeze(_traced())  # type: ignore[no-untyped-call]
    assert torch.allclose(evaluated(frozen).adversarial, evaluated(Net()).adversarial, atol=1e-6)
    _save(frozen, tmp_path / "frozen.pt")
    evaluated(load_model(str(tmp_path / "frozen.pt")))


def test_lazy_layers_are_drawn_once_and_it_is_said() -> None:
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    first, again = (evaluated(Model(n)) for n in (net, nn.Sequential(nn.Flatten(), nn.LazyLinear(5))))
    assert torch.equal(first.adversarial, again.adversarial)
    assert any(f.code == "weights-drawn" and "1.weight, 1.bias" in f.saw for f in first.findings)
    assert not any(f.code == "weights-drawn" for f in evaluated(net).findings)


def test_a_first_look_leaves_a_model_alone() -> None:
    model = Model(Net())
    assert first_look(model, ArrayData(*inputs(8))) is model
    quiet = Model(Without(WITHOUT["no_grad"]))
    assert first_look(quiet, ArrayData(*inputs(8))).access is Need.VALUE
    assert quiet.access is Need.GRAD
    assert not quiet.notes


def test_what_fails_with_gradients_and_without_is_no_missing_gradient() -> None:
    def fails(m: Without, x: Tensor) -> Tensor:
        raise ValueError("no such size")

    with pytest.raises(InputError, match="ValueError: no such size"):
        evaluated(Without(fails))


def test_names_and_estimators_are_models(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    x, y = bs.load_data("digits").rows(0, 60)
    forest = RandomForestClassifier(5, random_state=0).fit(np.asarray(x.flatten(1)), np.asarray(y))
    result = bs.evaluate(forest, x[:10], y[:10], threat=bs.Linf(0.1), max_forwards=400)
    assert result.config.protocol == "exact"
    assert rows_of(result)["id"].tolist() == list(range(10))


def test_what_cannot_be_trained_against_is_said() -> None:
    with pytest.raises(InputError, match="reentrant checkpoints: pass use_reentrant=False"):
        bs.harden(Checkpointed(), *inputs(40), threat=THREAT, epochs=1)


def test_values_that_add_up_to_the_same_are_not_flat() -> None:
    """Probabilities of every pixel add up to 1, whatever the input: their sum has no slope, but they have."""
    model = bs.Model(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), output="values")
    assert not first_look(model, bs.ArrayData(torch.rand(5, 4), torch.rand(5, 3), values=True)).flat
