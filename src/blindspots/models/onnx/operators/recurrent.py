"""LSTM, GRU and RNN, step by step as the standard writes them (its names of gates and weights are kept)."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from blindspots.models.onnx.node import Node, Operators, UntranslatedError
from blindspots.models.onnx.operators.elementwise import hard_sigmoid, thresholded_relu
from blindspots.models.onnx.operators.shapes import reversed_until

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]  # of an input (B, I) and the state of each row, (B, H) each

# With the defaults of alpha and beta, where there are some.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "elu": (F.elu, (1.0,)),
    "hardsigmoid": (hard_sigmoid, (0.2, 0.5)),
    "leakyrelu": (F.leaky_relu, (0.01,)),
    "relu": (torch.relu, ()),
    "scaledtanh": (lambda x, a, b: a * torch.tanh(b * x), (1.0, 1.0)),
    "sigmoid": (torch.sigmoid, ()),
    "softplus": (F.softplus, ()),
    "softsign": (F.softsign, ()),
    "tanh": (torch.tanh, ()),
    "thresholdedrelu": (thresholded_relu, (1.0,)),
}


def _activations(node: Node, defaults: Sequence[str], directions: int) -> list[Activation]:
    """For one direction after the other; alphas and betas are handed out in the order of those that take some."""
    alphas, betas = iter(node.get("activation_alpha", [])), iter(node.get("activation_beta", []))
    names = node.get("activations", list(defaults) * directions)
    return [_activation(name.lower(), alphas, betas) for name in names]


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    if name not in _ACTIVATIONS:
        raise UntranslatedError(f"a recurrent layer with the activation {name}")
    function, defaults = _ACTIVATIONS[name]
    settings = [next(given, value) for given, value in zip((alphas, betas), defaults, strict=False)]
    return lambda x: function(x, *settings)


def _clipped(node: Node) -> Activation:
    limit = node.get("clip")
    return (lambda x: x) if limit is None else (lambda x: x.clamp(-limit, limit))


def _over_time(x: Tensor, state: State, step: Step, lengths: Tensor | None) -> tuple[Tensor, State]:
    """The first state after every step, (T, B, H), 0 beyond the end of a row; and each row's state at its own end."""
    outputs = []
    for t, now in enumerate(x):
        after = step(now, state)
        if lengths is None:
            state, out = after, after[0]
        else:
            runs = (t < lengths)[:, None]
            state = tuple(torch.where(runs, new, old) for new, old in zip(after, state, strict=True))
            out = torch.where(runs, after[0], torch.zeros_like(after[0]))
        outputs.append(out)
    return torch.stack(outputs), state


def _recurrent(
    node: Node, x: Tensor, directions: int, lengths: Tensor | None, states: Sequence[Tensor | None],
    step_of: Callable[[int], Step], hidden: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Y and each last state, from one step per direction."""
    by_row = bool(node.get("layout", 0))
    x = x.transpose(0, 1) if by_row else x
    first = [x.new_zeros(directions, x.shape[1], hidden) if s is None else s.transpose(0, 1) if by_row else s
             for s in states]  # fmt: skip
    ys, ends = [], []
    for d in range(directions):
        backwards = node.get("direction", "forward") == "reverse" or d == 1
        y, end = _over_time(_turned(x, backwards, lengths), tuple(s[d] for s in first), step_of(d), lengths)
        ys.append(_turned(y, backwards, lengths))
        ends.append(end)
    y, last = torch.stack(ys, 1), [torch.stack(parts) for parts in zip(*ends, strict=True)]
    return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last)) if by_row else (y, *last)


def _turned(x: Tensor, backwards: bool, lengths: Tensor | None) -> Tensor:
    if not backwards:
        return x
    return x.flip(0) if lengths is None else reversed_until(x.transpose(0, 1), lengths).transpose(0, 1)


def _biases(b: Tensor | None, w: Tensor, d: int, gates: int, hidden: int) -> tuple[Tensor, Tensor]:
    both = w.new_zeros(2 * gates * hidden) if b is None else b[d]
    return both[: gates * hidden], both[gates * hidden :]


def _lstm(
    node: Node, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
    h0: Tensor | None = None, c0: Tensor | None = None, p: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gates in the order i, o, f, c."""
    hidden, clipped = r.shape[-1], _clipped(node)
    functions = _activations(node, ("Sigmoid", "Tanh", "Tanh"), len(w))
    coupled = bool(node.get("input_forget", 0))

    def step_of(d: int) -> Step:
        f, g, h = functions[3 * d : 3 * d + 3]
        wb, rb = _biases(b, w, d, 4, hidden)
        pi, po, pf = (0.0, 0.0, 0.0) if p is None else torch.split(p[d], hidden)

        def step(now: Tensor, state: State) -> State:
            before, cell = state
            i, o, forget, c = torch.split(now @ w[d].T + wb + before @ r[d].T + rb, hidden, 1)
            i = f(clipped(i + pi * cell))
            forget = 1 - i if coupled else f(clipped(forget + pf * cell))
            cell = forget * cell + i * g(clipped(c))
            return f(clipped(o + po * cell)) * h(cell), cell

        return step

    return _recurrent(node, x, len(w), lengths, (h0, c0), step_of, hidden)


def _gru(
    node: Node, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gates in the order z, r, h."""
    hidden, clipped = r.shape[-1], _clipped(node)
    functions = _activations(node, ("Sigmoid", "Tanh"), len(w))
    reset_last = bool(node.get("linear_before_reset", 0))

    def step_of(d: int) -> Step:
        f, g = functions[2 * d : 2 * d + 2]
        wb, rb = _biases(b, w, d, 3, hidden)
        rz, rh = torch.split(r[d], [2 * hidden, hidden])
        rbz, rbh = torch.split(rb, [2 * hidden, hidden])

        def step(now: Tensor, state: State) -> State:
            (before,) = state
            gates, new = torch.split(now @ w[d].T + wb, [2 * hidden, hidden], 1)
            z, reset = torch.split(f(clipped(gates + before @ rz.T + rbz)), hidden, 1)
            recurrent = reset * (before @ rh.T + rbh) if reset_last else (reset * before) @ rh.T + rbh
            new = g(clipped(new + recurrent))
            return ((1 - z) * new + z * before,)

        return step

    return _recurrent(node, x, len(w), lengths, (h0,), step_of, hidden)


def _rnn(
    node: Node, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    hidden, clipped = r.shape[-1], _clipped(node)
    functions = _activations(node, ("Tanh",), len(w))

    def step_of(d: int) -> Step:
        wb, rb = _biases(b, w, d, 1, hidden)
        return lambda now, state: (functions[d](clipped(now @ w[d].T + wb + state[0] @ r[d].T + rb)),)

    return _recurrent(node, x, len(w), lengths, (h0,), step_of, hidden)


RECURRENT: Operators = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}
