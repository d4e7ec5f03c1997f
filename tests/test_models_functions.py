"""Models of other frameworks as a pair of functions of arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.problem import Need

QUICK = str(Path(__file__).with_name("quick.toml"))
X = torch.rand(20, 12, generator=torch.Generator().manual_seed(0))
Pair = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).eval()


def weights(net: nn.Module) -> list[Any]:
    return [value.detach().numpy() for value in net.parameters()]


def in_numpy(net: nn.Module) -> Pair:
    """The network and its vector-Jacobian product, written out."""
    w1, b1, w2, b2 = weights(net)

    def value(x: Any) -> Any:
        return np.tanh(x @ w1.T + b1) @ w2.T + b2

    def vjp(x: Any, w: Any) -> Any:
        hidden = np.tanh(x @ w1.T + b1)
        return ((w @ w2) * (1 - hidden**2)) @ w1

    return value, vjp


def in_jax(net: nn.Module) -> Pair:
    jax = pytest.importorskip("jax")
    w1, b1, w2, b2 = weights(net)

    @jax.jit
    def value(x: Any) -> Any:
        return jax.numpy.tanh(x @ w1.T + b1) @ w2.T + b2

    @jax.jit
    def vjp(x: Any, w: Any) -> Any:
        _, pull_back = jax.vjp(value, x)
        return pull_back(w)[0]

    return value, vjp


def in_keras(net: nn.Module) -> Pair:
    """On the JAX backend."""
    import os

    before = os.environ.setdefault("KERAS_BACKEND", "jax")
    keras, jax = pytest.importorskip("keras"), pytest.importorskip("jax")
    if before != "jax":
        pytest.skip("KERAS_BACKEND is another")
    w1, b1, w2, b2 = weights(net)
    model = keras.Sequential([keras.layers.Input((12,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(4)])
    model.set_weights([w1.T, b1, w2.T, b2])

    def value(x: Any) -> Any:
        return model(x)

    return value, lambda x, w: jax.vjp(value, x)[1](w)[0]


def in_tensorflow(net: nn.Module) -> Pair:
    tf = pytest.importorskip("tensorflow")
    w1, b1, w2, b2 = weights(net)

    def value(x: Any) -> Any:
        return tf.tanh(tf.convert_to_tensor(x) @ w1.T + b1) @ w2.T + b2

    def vjp(x: Any, w: Any) -> Any:
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            scores = value(x)
        return tape.gradient(scores, x, output_gradients=tf.convert_to_tensor(w)).numpy()

    return lambda x: value(x).numpy(), vjp


FRAMEWORKS = [in_numpy, in_jax, in_keras, in_tensorflow]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_scores_and_gradients_are_those_of_the_network(framework: Any, net: nn.Module) -> None:
    found = bs.from_functions(*framework(net))
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    ours, theirs = found.logits(x), net(y)
    towards = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    (slope,), (wanted,) = (
        torch.autograd.grad((ours * towards).sum(), x),
        torch.autograd.grad((theirs * towards).sum(), y),
    )
    assert found.access is Need.GRAD
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(slope, wanted, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_verdict_is_that_of_the_network(framework: Any, net: nn.Module) -> None:
    y = net(X).argmax(1)
    found = bs.from_functions(*framework(net))
    ours, theirs = (bs.evaluate(one, X, y, threat="linf:0.3", protocol=QUICK) for one in (found, net))
    assert 0 < ours.robust_accuracy < 1
    assert ours.results == theirs.results


def test_a_wrong_slope_is_found_before_the_attack(net: nn.Module) -> None:
    value, vjp = in_numpy(net)
    run = bs.evaluate(
        bs.from_functions(value, lambda x, w: 3 * vjp(x, w)), X, net(X).argmax(1), threat="linf:0.3", protocol=QUICK
    )
    assert "gradient-misleads" in {finding.code for finding in run.findings}


def test_functions_may_write_into_what_they_get(net: nn.Module) -> None:
    value, vjp = in_numpy(net)

    def spoiling(x: Any, *w: Any) -> Any:
        out = (vjp if w else value)(x, *w)
        x[:] = 0
        return out

    x, before = X.clone().requires_grad_(), X.clone()
    (slope,) = torch.autograd.grad(bs.from_functions(spoiling, spoiling).logits(x).sum(), x)
    assert torch.equal(x.detach(), before)
    assert torch.allclose(slope, torch.from_numpy(vjp(X.numpy(), np.ones((20, 4), np.float32))), atol=1e-5)


def test_names_are_those_of_the_function_or_given(net: nn.Module) -> None:
    value, vjp = in_numpy(net)
    assert bs.from_functions(value, vjp).name == "value"
    assert bs.from_functions(value, vjp, name="mine", class_names=list("abcd")).class_names == list("abcd")


@pytest.mark.parametrize(
    ("vjp", "words"),
    [
        (lambda x, w: w, r"expected a gradient of shape \(20, 12\) from vjp, got \(20, 4\)"),
        (lambda x, w: np.array(["a"]), "expected an array of numbers, got <U1"),
        (lambda x, w: 1 / 0, "expected a vector-Jacobian product that takes .* got ZeroDivisionError"),
    ],
)
def test_a_pullback_that_does_not_fit_is_refused(vjp: Any, words: str, net: nn.Module) -> None:
    x = X.clone().requires_grad_()
    scores = bs.from_functions(in_numpy(net)[0], vjp).logits(x)
    with pytest.raises(InputError, match=words):
        torch.autograd.grad(scores.sum(), x)


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="expected an array of numbers"):
        bs.from_functions(lambda x: np.array("no"), lambda x, w: x).logits(X)
    with pytest.raises(InputError, match=r"expected logits \(B, classes\)"):
        bs.from_functions(lambda x: x[:3], lambda x, w: x).logits(X)


def test_one_score_and_values_are_read_as_in_any_model(net: nn.Module) -> None:
    def value(x: Any) -> Any:
        return x.sum(1)

    assert bs.from_functions(value, lambda x, w: w[:, None] + 0 * x, output="values").logits(X).shape == (20,)
    assert isinstance(bs.from_functions(value, lambda x, w: x), Model)
    assert bs.from_functions(value, lambda x, w: x, output="logit").logits(X).shape == (20, 2)
