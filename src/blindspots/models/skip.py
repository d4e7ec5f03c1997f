"""Gradients that prefer skip connections, for examples that transfer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.models.model import Model

M = TypeVar("M", Model, nn.Module)
_ADDITIONS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__}


@checked()
def skip_gradients(net: M, gamma: float = 0.5, branches: Sequence[str] | None = None) -> M:
    """The same network with gradients through residual branches times `gamma` (SGM; Wu et al. 2020, arXiv 2002.05990).

    The result has the same scores and shares the weights; only its gradients differ: with z' = z + f(z), those of f are
    multiplied by `gamma` once per block (eq. 5). `net` itself is unchanged.

    Args:
        net: a network, or a model around one.
        gamma: paper: 0.2 for ResNet-152 and 0.5 for DenseNet-201.
        branches: names of modules, as `named_modules` gives them, whose outputs are the ends of residual branches, e.g.
            "layer1.0.bn2". None: where two tensors of one shape that both depend on the input are added, the one with
            the longer path is the branch. That needs no names and handles shortcut convolutions too, but it does not
            see inside TorchScript, and takes the stream itself for a branch where a block adds two branches one after
            the other: name them there.
    """
    if isinstance(net, Model):
        inner = skip_gradients(net.net, gamma, branches)
        return Model(inner, net.box, net.mean, net.std, net.output, net.name, net.spec, take=net.take)
    return _SkipGradients(net, gamma, None if branches is None else tuple(branches))


class _SkipGradients(nn.Module):
    def __init__(self, net: nn.Module, gamma: float, branches: tuple[str, ...] | None) -> None:
        super().__init__()
        known = dict(net.named_modules())
        for name in branches or ():
            if name not in known:
                raise InputError(f"expected names of modules of the network, got {name!r}: see net.named_modules()")
        self.net, self.gamma, self.branches = net, gamma, branches

    def forward(self, x: Tensor) -> Any:
        if not (torch.is_grad_enabled() and x.requires_grad):
            return self.net(x)
        with self._named() if self.branches is not None else _Additions(x, self.gamma):
            return self.net(x)

    @contextmanager
    def _named(self) -> Iterator[None]:
        modules = dict(self.net.named_modules())
        with ExitStack() as stack:
            for name in self.branches or ():
                handle = modules[name].register_forward_hook(lambda module, args, out: _weaken(out, self.gamma))
                stack.callback(handle.remove)
            yield

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, branches={self.branches}"


def _weaken(branch: Tensor, gamma: float) -> None:
    if branch.requires_grad:
        branch.register_hook(lambda grad: gamma * grad)  # type: ignore[no-untyped-call]


class _Additions(TorchFunctionMode):
    """Finds residual branches while a network runs."""

    def __init__(self, x: Tensor, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.depth: dict[Any, float] = {_node(x): 0}  # operations since the input; -inf: independent of it

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _ADDITIONS and _alike(args):
            a, b = (self._depth(_node(t)) for t in args[:2])
            if min(a, b) >= 0 and a != b:
                _weaken(args[0] if a > b else args[1], self.gamma)
        return func(*args, **(kwargs or {}))

    def _depth(self, node: Any) -> float:
        """The longest path from the input to a node of the graph. No recursion, since networks are deep."""
        waiting = [node]
        while waiting:
            earlier = [before for before, _ in waiting[-1].next_functions if before is not None]
            unknown = [before for before in earlier if before not in self.depth]
            waiting.extend(unknown)
            if not unknown:
                done = waiting.pop()
                ways = (self.depth[before] for before in earlier)
                self.depth.setdefault(done, 1 + max(ways, default=-torch.inf))
        return self.depth[node]


def _alike(args: Sequence[Any]) -> bool:
    return (
        len(args) >= 2
        and all(isinstance(t, Tensor) and t.requires_grad for t in args[:2])
        and args[0].shape == args[1].shape
    )


def _node(t: Tensor) -> Any:
    """The node of `t`, which requires a gradient, in autograd's graph."""
    return t.grad_fn if t.grad_fn is not None else t.view_as(t).grad_fn.next_functions[0][0]  # type: ignore[union-attr]
