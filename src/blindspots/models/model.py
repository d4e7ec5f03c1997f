"""A model as the rest of blindspots sees it: inputs in their own bounds go in, float32 logits or values come out."""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol, Self, get_args

import torch
from torch import Tensor, nn

from blindspots.arguments import Checked
from blindspots.box import Box, Numbers, as_box
from blindspots.data.names import checked
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.contents import raw_bytes, structure_of, tensors_of
from blindspots.models.foreign import call, own_copy
from blindspots.models.outputs import Take, taken
from blindspots.problem import Need
from blindspots.tables.features import Features
from blindspots.tables.threat import box_of

Output = Literal["auto", "logits", "probabilities", "logit", "probability", "values"]
Scale = float | Sequence[float] | Tensor | None

_TINY = torch.finfo(torch.float32).tiny
_BELOW_ONE = 1 - 2.0**-24


class Service(Protocol):
    """What stands behind a model whose every query counts and may fail."""

    repeats: int  # inputs that were sent again after a failure
    failure: str  # its last exception; "": it never failed
    silent: bool  # it no longer answers
    spent: bool  # since its budget is spent

    @property
    def classes(self) -> int | None:
        """Their number, where it returns labels."""


class Model(Checked):
    """A network with its preprocessing inside.

    Args:
        net: an `nn.Module` (TorchScript and exported modules too) or a plain function of x (B, *shape) that returns one
            of the outputs below. It gets a tensor of its own and may write into it.
        bounds: the smallest and the largest value an input can have, before preprocessing; arrays that broadcast
            against an input, where features differ, as in bounds=(x.min(0), x.max(0)).
        mean, std: numbers, or one per channel (axis 1): the network gets (x - mean) / std.
        output: "logits" (B, C) or "probabilities" (B, C) with C >= 2; "logit" or "probability" (B, 1) or (B,) of class
            1 of two. "auto" takes several numbers per row for logits, a single one for a logit. "values" (B, ...) are
            no scores: numbers, masks or sequences, which a goal reads.
        name: its name in reports. Default: the name of the class or function.
        spec: what `load_model` was given, if anything.
        device: the network is moved there. Default: it stays where its parameters are.
        take: which of several outputs holds the scores: an index, a key or an attribute, "1.scores" where they are
            nested. Default: `.logits` or `["logits"]`, else the only tensor that can hold them; `notes` say which.
        embed: from tokens (B, L) int64 to what the network takes, (B, L, E). Inputs are then the numbers of tokens, and
            gradients are taken at their embeddings: slopes along exchanges of tokens follow from them.
        class_names: names of the outputs, in order; data with named classes are matched by them. Default: those that
            the network itself stores (`config.id2label`, `class_names`), if any.

    Attributes:
        access: the most that the model reveals; `Need.GRAD` stands for everything.

    Raises:
        InputError: a value above does not fit, or, when called, the network's output does not.
    """

    unchecked = frozenset({"net", "embed"})

    def __init__(
        self,
        net: nn.Module | Callable[[Tensor], Any],
        bounds: tuple[Numbers, Numbers] = (0.0, 1.0),
        mean: Scale = None,
        std: Scale = None,
        output: Output = "auto",
        name: str | None = None,
        spec: str | None = None,
        device: str | torch.device | None = None,
        take: Take = None,
        class_names: Iterable[str] | None = None,
        embed: nn.Module | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if isinstance(net, Model) or not callable(net):
            instead = "pass blindspots.models.from_estimator(it)" if hasattr(net, "get_params") else "pass a network"
            raise InputError(f"expected a network or a function of x, got {type(net).__name__}: {instead}")
        if embed is not None and (isinstance(embed, type) or not callable(embed)):
            raise InputError(
                f"expected embed to be a network or a function of tokens, got {type(embed).__name__}: pass e.g. an "
                "nn.Embedding"
            )
        if output not in get_args(Output):
            raise InputError(f"expected output to be one of {', '.join(get_args(Output))}, got {output!r}: pick one")
        self.net: nn.Module = net if isinstance(net, nn.Module) else _Function(net)
        self.table = embed if embed is None or isinstance(embed, nn.Module) else _Function(embed)
        if device is not None:
            for part in self.parts:
                to_device(part, device)
        self._fallback = torch.device(device or "cpu")
        self.box, self._tabular = _checked_bounds(bounds), False
        self.mean, self.std = _numbers(mean, "mean"), _numbers(std, "std")
        if self.std is not None and 0.0 in self.std:
            raise InputError("expected std without zeros, got one: it would divide by zero, check std")
        self._mean, self._std = _on(self.mean, self.device), _on(self.std, self.device)
        self.output: Output = output
        self.name = name or _called(net)
        self.spec, self.take = spec, take
        self.access = Need.GRAD if embed is None else Need.SLOPES
        self.flat = False  # its gradient was 0 at every row checked
        self.bounded = True  # whether the bounds are its own; else those of the data take their place
        self.remarks: tuple[Finding, ...] = ()  # from `first_look`
        self._place = ""  # of the scores among several outputs, once it is known
        self.only_backward: bool | None = None  # whether gradients can be accumulated alone, once it is known
        self.class_names = None if class_names is None else checked(class_names, f"the classes of {self.name}")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value of any feature; `box` has those of each."""
        return self.box.hull

    def __repr__(self) -> str:
        return f"Model({self.name!r}, parameters={self.parameters}, bounds={self.bounds}, device={str(self.device)!r})"

    @property
    def service(self) -> Service | None:
        """Set where every query counts: then only attacks query it, without checks or padding."""
        return None

    @property
    def padded(self) -> bool:
        """Whether calls are filled up, so that a row's bits do not depend on how many share its call."""
        return self.service is None

    @property
    def in_levels(self) -> bool:
        """Whether a file may keep its inputs in 8 bits, as those of pictures."""
        return not self._tabular

    @property
    def levels(self) -> int | None:
        """How many steps lie between the bounds, where it gets inputs in whole levels; None: as they are."""
        return None

    def forget(self) -> None:
        """Drop what is remembered of earlier queries, so that an interrupted search goes on as it would have."""

    def watched(self) -> AbstractContextManager[None]:
        """While an attack or a client asks: a guard counts these queries, and no other look at the model."""
        return nullcontext()

    @property
    def history(self) -> dict[str, Tensor]:
        """What its answers depend on besides the input, where it remembers queries."""
        return {}

    def go_on_from(self, history: Mapping[str, Tensor]) -> None:
        """Answer as if these had been its queries so far; {}: as if it had never been asked."""

    def remember(self, x: Tensor, output: Tensor) -> None:
        """That it said `output` (B, ...) of the inputs `x` (B, ...), where it remembers at all."""

    @property
    def notes(self) -> list[Finding]:
        """What was recognised when the network was called."""
        return [*self._output(), *self.remarks]

    def _output(self) -> Iterator[Finding]:
        if not self._place:
            return
        saw = f"The network returns several outputs; {self._place}, is taken for the scores."
        do = "If that is wrong, name the right one: Model(net, take=...), or MODEL@KEY on the command line."
        yield Finding(code="output-taken", severity="note", saw=saw, do=do)

    @property
    def rejects(self) -> bool:
        """Whether it may reject inputs: then its logits are (B, C + 1), and the last one stands for "reject".

        An input is rejected where that one is the largest. A rejected input is no success for an adversary; a rejected
        clean input counts as wrong.
        """
        return False

    def of_table(self, table: Features) -> "Model":
        """The same model, of rows of a table within its ranges."""
        made = copy.copy(self)
        made.box, made._tabular = _checked_bounds(box_of(table)), True
        return made

    def of_values(self) -> "Model":
        """The same model, whose outputs are taken as they are, unless it was said what they mean."""
        if self.output != "auto":
            return self
        made = copy.copy(self)
        made.output = "values"
        return made

    @property
    def device(self) -> torch.device:
        """Where the network is, and inputs are moved to."""
        return next((t.device for _, t in tensors_of(self.net)), self._fallback)

    @property
    def parts(self) -> list[nn.Module]:
        """The network, and the embedding before it if there is one."""
        return [self.net] if self.table is None else [self.net, self.table]

    @property
    def parameters(self) -> int:
        """The number of learned parameters."""
        return sum(p.numel() for part in self.parts for p in part.parameters() if not is_lazy(p))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of weights, structure and preprocessing, equal wherever the network is loaded.

        It is computed at each access, since the weights may have changed. Of a plain function it covers only the name.
        """
        digest = hashlib.sha256(repr((self.bounds, self.mean, self.std, self.output)).encode())
        for bound in self.box:
            digest.update(raw_bytes(bound) if isinstance(bound, Tensor) else b"")
        if self.take is not None:
            digest.update(repr(self.take).encode())
        for part in self.parts:
            digest.update(structure_of(part))
            for name, tensor in tensors_of(part):
                digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
                digest.update(raw_bytes(tensor))
        return digest.hexdigest()

    def logits(self, x: Tensor) -> Tensor:
        """Logits (B, C) with C >= 2, float32, of inputs x (B, *shape) within the bounds. Keeps autograd.

        Probabilities become their logarithms (clamped to the smallest normal float), a single logit z becomes
        (-z/2, z/2): softmax returns the network's own probabilities. Values (B, ...) stay as they are.
        Whatever the network does, x and the caller's grad mode, default dtype and the like are unchanged; what it
        prints goes to stderr.
        """
        return self.head(self.embed(x), x)

    def embed(self, x: Tensor) -> Tensor:
        """Where gradients are taken, (B, ...): at the inputs themselves, or at the embeddings of tokens."""
        return x if self.table is None else call(self.table, x.to(self.device).long(), "an embedding")

    def head(self, z: Tensor, x: Tensor) -> Tensor:
        """`logits` of what `embed` returns for the inputs `x`."""
        given, x = z, z.to(self.device)
        x = x if self._mean is None else x - _per_channel(self._mean, x)
        x = x if self._std is None else x / _per_channel(self._std, x)
        out = call(self.net, own_copy(x.to(_dtype(self.net)), given), "a network")
        found = taken(out, x.shape[0], self.take)
        self._place = found.place
        return self._as_logits(_flat(found.scores), x.shape[0])

    def gradient(self, total: Tensor, x: Tensor, *, retain_graph: bool = False) -> Tensor:
        """The gradient of a scalar `total` with respect to the leaf `x` (B, *shape): (B, *shape).

        Reentrant checkpoints (torch.utils.checkpoint, use_reentrant=True) do not support gradients of selected leaves;
        theirs are accumulated in x.grad, while the parameters need none.
        """
        if not self.only_backward:
            try:
                first = self.only_backward is None  # keep the graph for the second try
                (gradient,) = torch.autograd.grad(total, x, retain_graph=retain_graph or first)
                self.only_backward = False
                return gradient
            except RuntimeError as error:
                if "heckpoint" not in str(error):
                    raise
                self.only_backward = True
        torch.autograd.backward(total, retain_graph=retain_graph)
        accumulated, x.grad = x.grad, None
        if accumulated is None:
            raise RuntimeError("no differentiable path leads from its input to its output")
        return accumulated

    def _as_logits(self, out: Tensor, rows: int) -> Tensor:
        if self.output == "values":
            return as_values(out, rows)
        if not out.is_floating_point() or out.ndim not in (1, 2) or out.shape[0] != rows or out.numel() == 0 < rows:
            raise InputError(
                f"expected logits (B, classes) with B = {rows}, got {out.dtype} of shape {tuple(out.shape)}: "
                "let the network return one row of class scores per input"
            )
        single = out.ndim == 1 or out.shape[1] == 1
        if self.output != "auto" and single != (self.output in ("logit", "probability")):
            fitting = "'logit' or 'probability'" if single else "'logits' or 'probabilities'"
            raise InputError(
                f"expected an output that fits output={self.output!r}, got shape {tuple(out.shape)}: use {fitting}"
            )
        out = out.float().clone()  # the network may reuse its tensor, or return it in inference mode
        return _two(self._odds(out.reshape(-1))) if single else self._many(out)

    def _many(self, out: Tensor) -> Tensor:
        return out.clamp_min(_TINY).log() if self.output == "probabilities" else out

    def _odds(self, out: Tensor) -> Tensor:
        if self.output != "probability":
            return out
        p = out.clamp(_TINY, _BELOW_ONE)
        return p.log() - torch.log1p(-p)

    @contextmanager
    def borrowed(self) -> Iterator[Self]:
        """The network in evaluation mode with frozen parameters; afterwards, whatever happens, exactly as it was.

        Flags are set directly: exported modules refuse `eval()`, and in some networks it has side effects.
        """
        training = [(m, m.training) for part in self.parts for m in part.modules() if hasattr(m, "training")]
        learning = [(p, p.requires_grad) for part in self.parts for p in part.parameters()]
        try:
            _set_flags([(m, False) for m, _ in training], [(p, False) for p, _ in learning])
            yield self
        finally:
            _set_flags(training, learning)


def as_values(out: Tensor, rows: int) -> Tensor:
    """Outputs (B, ...) as float32. Raises InputError: they are no numbers, or not one entry per input."""
    if out.is_complex() or out.ndim == 0 or out.shape[0] != rows or out.numel() == 0 < rows:
        raise InputError(
            f"expected numbers (B, ...) with B = {rows}, got {out.dtype} of shape {tuple(out.shape)}: let the model "
            "return one entry per input"
        )
    return out.float().clone()


def to_device(net: nn.Module, device: str | torch.device) -> None:
    """Move a network. Raises InputError where this machine has no such device."""
    try:
        net.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"expected a device of this machine, got {str(device)!r} ({said}): use cpu or leave it out"
        ) from error


class Wrapper(Model):
    """A model around another one, `model`, whose bounds, access, cost and notes it shares.

    Args:
        net: both as one module, which returns logits, or values as the inner one does.
    """

    def __init__(self, model: Model, net: nn.Module, name: str, spec: str | None = None) -> None:
        shared: Output = "values" if model.output == "values" else "logits"
        super().__init__(net, model.box, output=shared, name=name, spec=spec)
        self.model, self.access = model, model.access

    @property
    def service(self) -> Service | None:
        return self.model.service

    @property
    def rejects(self) -> bool:
        return self.model.rejects

    @property
    def notes(self) -> list[Finding]:
        return [*self.model.notes, *self.remarks]


class _Function(nn.Module):
    """A plain function as a module without parameters."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)

    def extra_repr(self) -> str:
        return _qualified(self.function)


def _unwrapped(thing: Any) -> Any:
    while isinstance(thing, partial):
        thing = thing.func
    return thing if hasattr(thing, "__qualname__") else type(thing)


def _qualified(thing: Any) -> str:
    named = _unwrapped(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _called(net: Any) -> str:
    return str(getattr(net, "original_name", None) or _unwrapped(net).__name__)  # TorchScript has original_name


def _dtype(net: nn.Module) -> torch.dtype:
    return next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)


def _checked_bounds(bounds: tuple[Numbers, Numbers]) -> Box:
    lo, hi = (float(b) if isinstance(b, int) else b for b in bounds)
    if isinstance(lo, float) and isinstance(hi, float) and not -math.inf < lo < hi < math.inf:
        raise InputError(f"expected bounds (low, high) with low < high, both finite, got {bounds}: pass e.g. (0, 1)")
    return as_box(lo, hi)


def _numbers(scale: Scale, what: str) -> tuple[float, ...] | None:
    """A scalar or per-channel numbers as a tuple."""
    if scale is None:
        return None
    numbers = torch.as_tensor(scale, dtype=torch.float64).reshape(-1).tolist()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(f"expected {what} to be a finite number or one per channel, got {scale}: pass e.g. 0.5")
    return tuple(numbers)


def _on(scale: tuple[float, ...] | None, device: torch.device) -> Tensor | None:
    return None if scale is None else torch.tensor(scale, dtype=torch.float32, device=device)


def _per_channel(scale: Tensor, x: Tensor) -> Tensor:
    if len(scale) > 1 and (x.ndim < 2 or x.shape[1] != len(scale)):
        raise InputError(
            f"expected mean and std with one number per channel of inputs {tuple(x.shape)}, got {len(scale)} numbers: "
            "pass as many as the inputs have channels on axis 1"
        )
    return scale.to(x.device).view(-1, *[1] * (x.ndim - 2))


def is_lazy(parameter: Tensor) -> bool:
    """Whether it gets its shape only from the first input (torch.nn.LazyLinear and the like)."""
    return isinstance(parameter, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer)


def _flat(out: Tensor) -> Tensor:
    """(B, C) of (B, C, 1, ..., 1), as fully convolutional networks return it."""
    return out.flatten(1) if out.ndim > 2 and out.shape[2:].numel() == 1 else out


def _two(z: Tensor) -> Tensor:
    return torch.stack([-z / 2, z / 2], dim=1)


def _set_flags(training: list[tuple[nn.Module, bool]], learning: list[tuple[nn.Parameter, bool]]) -> None:
    for module, flag in training:
        if module.training != flag:
            module.training = flag
    for parameter, flag in learning:
        if parameter.requires_grad != flag:
            parameter.requires_grad_(flag)
