"""A network as the list of its operations, whatever code it is made of: traced, named by its modules, in float64."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from blindspots.errors import InputError
from blindspots.models.foreign import contained, told
from blindspots.models.model import Model, is_lazy
from blindspots.problem import Need

_SAME = 1e-3  # how far the trace may be from the network, relative to its largest score: float32 against float64
_IDLE = ("to", "_to_copy", "clone", "detach", "alias", "contiguous", "lift_fresh")
_SHIFT = 0.05  # of the range: the trace is also compared where it was not made


@dataclass(frozen=True)
class Ref:
    """An argument that depends on the input: the result of an earlier step."""

    step: int


@dataclass(frozen=True)
class Step:
    """One operation, whose result depends on the input.

    Args:
        name: of the module that ran it, and of the operation where a module has others inside it or runs several.
        op: its name in ATen, such as "conv2d" or "relu"; the input is "input".
        args, kwargs: tensors are float64; what depends on the input is a `Ref`.
        shape: of its result, (B, ...).
        real: whether its result are real numbers, not a mask or places.
        masked: whether something that it reads is not.
        axis: along which rows lie, perhaps several places of it each, as heads of attention; None: on none.
    """

    name: str
    op: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...]
    real: bool = True
    masked: bool = False
    axis: int | None = 0

    @property
    def reads(self) -> list[int]:
        """The steps whose results it takes, one entry per place."""
        found: list[int] = []
        fx.node.map_aggregate(
            (self.args, dict(self.kwargs)), lambda a: found.append(a.step) if isinstance(a, Ref) else None
        )
        return found

    def by_row(self, result: Tensor, rows: int) -> Tensor:
        """All numbers of every row, (rows, n), of a result with an axis of rows."""
        assert self.axis is not None
        return result.movedim(self.axis, 0).reshape(rows, -1)

    def run(self, values: Mapping[int, Any]) -> Any:
        """Its result, from those of earlier steps."""
        args, kwargs = fx.node.map_aggregate(
            (self.args, dict(self.kwargs)), lambda a: values[a.step] if isinstance(a, Ref) else a
        )
        return self.function(*args, **kwargs)


@dataclass(frozen=True)
class Graph:
    """Steps in the order in which they run; step 0 is the input, the last one gives the scores.

    It takes exactly `rows` rows per call.
    """

    steps: tuple[Step, ...]

    @property
    def rows(self) -> int:
        return self.steps[0].shape[0]

    @property
    def in_front(self) -> bool:
        """Whether all results have rows along the first axis, a place each."""
        return all(step.axis == 0 and step.shape[0] == self.rows for step in self.steps)

    @property
    def last(self) -> dict[int, int]:
        """Of each step that is read, the last one that reads it."""
        return {read: i for i, step in enumerate(self.steps) for read in step.reads}

    def run(
        self, x: Tensor, start: int = 0, values: Mapping[int, Any] | None = None, keep: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """(step, result) of step `start`, whose result is `x`, and of all that follow; float64.

        Args:
            values: results of all earlier steps, where `start` is not the input.
            keep: results stay in memory; else they are dropped as soon as nothing reads them.
        """
        known, last = dict(values or {}) | {start: x.double().cpu()}, self.last
        yield start, known[start]
        for i in range(start + 1, len(self.steps)):
            known[i] = self.steps[i].run(known)
            yield i, known[i]
            for read in set(self.steps[i].reads) if not keep else ():
                if last[read] == i:
                    del known[read]

    def scores(self, x: Tensor) -> Tensor:
        """The scores of inputs x (B, ...)."""
        *_, (_, made) = self.run(x)
        scores: Tensor = made
        return scores


def trace(model: Model, x: Tensor) -> Graph:
    """The operations of a model, preprocessing included, on rows x (B, *shape) in the units of the data.

    The trace has the weights in float64 and is compared with the network at x and beside it, so that a network whose
    operations depend on the numbers it sees is refused.

    Raises:
        InputError: the model takes tokens or is known by its answers, a layer has no shape yet, the network cannot be
            traced, or its trace computes something else.
    """
    if model.access is not Need.GRAD:
        raise InputError(
            f"expected a network with gradients with respect to its inputs, got {model.name}: stability is measured "
            "inside a network, so pass the network itself"
        )
    lazy = [name for name, p in model.net.named_parameters() if is_lazy(p)]
    if lazy:
        raise InputError(
            f"expected layers with shapes, got {lazy[0]!r} without one: call the network on an input first"
        )
    with model.borrowed(), torch.no_grad():
        model.logits(x)  # what is wrong with these inputs is said before anything else
    leaves = {name for name, module in model.net.named_modules() if name and not [*module.children()]}
    graph = _steps(*_traced(model, x.to(model.device)), leaves)
    for rows in (x, x + _SHIFT * (model.bounds[1] - model.bounds[0]) * torch.linspace(-1, 1, x.numel()).view_as(x)):
        with model.borrowed(), torch.no_grad():
            wanted, got = model.logits(rows).double(), graph.scores(rows)
        if not bool((wanted - got).abs().amax() <= _SAME * (1 + wanted.abs().amax())):
            raise InputError(
                f"expected a network whose operations are the same for all inputs, got {model.name}, which computes "
                "something else than the operations it was seen to run: rewrite what depends on values in its forward, "
                "or choose other parts"
            )
    return _with_axes(graph, x)


def _with_axes(graph: Graph, x: Tensor) -> Graph:
    """Where rows lie in every result: where one changes that row of the input alone."""
    clean = dict(graph.run(x, keep=True))
    axes = [set(range(len(step.shape))) for step in graph.steps]
    for row in {0, len(x) - 1}:
        other = x.clone()
        other[row] = x[row].flip(-1) + _SHIFT * (1 + x[row].abs())
        for i, value in graph.run(other):
            axes[i] &= {axis for axis in axes[i] if _is_of_row(_changed(value, clean[i]), axis, row, len(x))}
    return Graph(tuple(replace(s, axis=min(found, default=None)) for s, found in zip(graph.steps, axes, strict=True)))


def _changed(value: Tensor, clean: Tensor) -> Tensor:
    return (value != clean) & ~(value.isnan() & clean.isnan())


def _is_of_row(changed: Tensor, axis: int, row: int, rows: int) -> bool:
    """Whether what changed lies in the places of a row along this axis."""
    each, more = divmod(changed.shape[axis], rows)
    elsewhere = changed.movedim(axis, 0).clone()
    elsewhere[row * each : (row + 1) * each] = False
    return not more and each > 0 and not bool(elsewhere.any())


def _traced(model: Model, x: Tensor) -> tuple[fx.GraphModule, dict[str, str]]:
    """The trace, and the path of the module in which every node was made."""
    inside: dict[str, str] = {}
    with ExitStack() as stack:
        stack.enter_context(model.borrowed())
        stack.enter_context(torch.no_grad())
        stack.enter_context(_plain_attention())
        stack.enter_context(contained())
        stack.enter_context(_places(model.net, inside))
        try:
            return make_fx(lambda rows: model.logits(rows), pre_dispatch=True)(x.detach()), inside  # noqa: PLW0108 - a method does not do
        except Exception as error:
            why = told(error.__cause__ or error)
            raise InputError(
                f"expected a network whose operations can be listed, got {model.name}: {why}. Rewrite what depends on "
                "values in its forward, or choose other parts"
            ) from error


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as the operations it consists of, not as one of torch's fused ones."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _places(net: nn.Module, inside: dict[str, str]) -> Iterator[None]:
    """Notes which module's forward was running when each node of a trace was made."""
    path: list[str] = []

    def note(until: str) -> None:
        mode = get_proxy_mode()
        for node in reversed(mode.tracer.graph.nodes) if mode else ():
            if node.name in inside:
                break
            inside[node.name] = until

    def entered(name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            note(path[-1] if path else "")
            path.append(name)

        return enter

    def left(*_: Any) -> None:
        note(path.pop())

    with ExitStack() as stack:
        for name, module in net.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                stack.callback(module.register_forward_pre_hook(entered(name)).remove)
                stack.callback(module.register_forward_hook(left).remove)
        yield


# ------------------------------------------------------------------ from a trace to steps


def _steps(traced: fx.GraphModule, inside: Mapping[str, str], leaves: set[str]) -> Graph:
    """Steps that depend on the input; everything else is computed once, here, in float64."""
    found: dict[fx.Node, Any] = {}
    steps: list[Step] = []
    taken: set[str] = set()
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            found[node] = Ref(0)
            steps.append(Step("input", "input", _same, (), {}, tuple(node.meta["val"].shape)))
        elif node.op == "get_attr":
            found[node] = _double(getattr(traced, node.target))
        elif node.op == "call_function" and (node.users or node.all_input_nodes):
            step = _step(node, found)
            if step.op == "getitem" and step.reads and not (several := steps[step.reads[0]]).shape:
                step = replace(several, function=_Item(several.function, step.args[1]), shape=step.shape)
            if _is_idle(step):
                found[node] = Ref(step.reads[0])
                continue
            if 0 in step.shape:  # no number of it depends on anything, such as rows that fill up a call of no more
                found[node] = torch.zeros(step.shape, dtype=torch.float64)
                continue
            if step.reads:
                path = inside.get(node.name, "")
                wished = f"{path}.{step.op}".lstrip(".")
                masked = not all(steps[read].real for read in step.reads)
                name = _unique(path if path in leaves - taken else wished, taken)
                steps.append(replace(step, name=name, masked=masked))
            found[node] = Ref(len(steps) - 1) if step.reads else _double(step.run({}))
    result = fx.node.map_arg(traced.graph.output_node().args[0], found.__getitem__)
    if not isinstance(result, Ref):
        raise InputError("expected a network whose scores depend on its input, got constant ones: check its forward")
    return Graph(tuple(reaching(steps, result.step)))


class _Item:
    """One of the results of a function that has several, such as a split."""

    def __init__(self, function: Callable[..., Any], index: int) -> None:
        self.function, self.index = function, index
        self._schema = getattr(function, "_schema", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)[self.index]


class _Attention:
    """Attention by plain products: of the fused kernels on CPU no second derivative is known."""

    def __init__(self, function: Any) -> None:
        self.function, self._schema = function, function._schema

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return self.function(*args, **kwargs)


def _step(node: fx.Node, found: Mapping[fx.Node, Any]) -> Step:
    op, function = _operation(node.target)
    given = fx.node.map_arg((node.args, node.kwargs), found.__getitem__)
    args, kwargs = fx.node.map_aggregate(given, _in_double)
    value = node.meta.get("val")
    shape = tuple(value.shape) if isinstance(value, Tensor) else ()
    return Step("", op, function, args, kwargs, shape, not isinstance(value, Tensor) or value.is_floating_point())


def _is_idle(step: Step) -> bool:
    """Whether it only moves, copies or converts numbers, which are float64 here throughout."""
    kinds = [a for a in (*step.args, *step.kwargs.values()) if isinstance(a, torch.dtype)]
    idle = step.op in _IDLE or ("dropout" in step.op and step.args[-1] is False)  # its last argument: in training
    return idle and len(step.reads) == 1 and all(kind is torch.float64 for kind in kinds)


def _operation(target: Any) -> tuple[str, Callable[..., Any]]:
    """Its name, and the function that computes it without writing into its arguments."""
    if not isinstance(target, torch._ops.OpOverload):
        return getattr(target, "__name__", str(target)), target
    op = target._schema.name.split("::")[1]
    if op == "scaled_dot_product_attention":
        return op, _Attention(target)
    if op in ("view", "_unsafe_view") and target._overloadname in ("default", ""):
        return op, torch.ops.aten.reshape.default  # strides may be others in float64
    if not target._schema.is_mutable or not op.endswith("_") or op.endswith("__"):
        return op, target
    return op[:-1], getattr(getattr(torch.ops.aten, op[:-1]), target._overloadname)


def _in_double(argument: Any) -> Any:
    """Every precision is float64 here, and every device the CPU."""
    if isinstance(argument, torch.dtype) and argument.is_floating_point:
        return torch.float64
    return torch.device("cpu") if isinstance(argument, torch.device) else argument


def _double(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    return value.double() if value.is_floating_point() else value


def _unique(wished: str, taken: set[str]) -> str:
    name = next(n for n in chain([wished], (f"{wished}.{i}" for i in count(2))) if n not in taken)
    taken.add(name)
    return name


def reaching(steps: list[Step], last: int) -> Iterator[Step]:
    """The steps that the last one depends on, with references among themselves."""
    needed = {0, last}
    for i in range(last, 0, -1):
        needed |= set(steps[i].reads) if i in needed else set()
    place = {old: new for new, old in enumerate(sorted(needed))}

    def moved(a: Any) -> Any:
        return Ref(place[a.step]) if isinstance(a, Ref) else a

    for i in sorted(needed):
        args, kwargs = fx.node.map_aggregate((steps[i].args, dict(steps[i].kwargs)), moved)
        yield replace(steps[i], args=args, kwargs=kwargs)


def _same(x: Any) -> Any:
    return x
