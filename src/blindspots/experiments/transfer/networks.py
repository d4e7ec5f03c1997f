"""Architectures by word, untrained: those of Szegedy et al. 2013 (arXiv 1312.6199), and whatever a factory builds."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from blindspots.errors import InputError
from blindspots.models.load import load_model
from blindspots.models.model import Model

FORMS = "softmax, softmax:LAMBDA, fc:100-100, autoencoder:400, file.py:factory or package.module:factory"
_SIGMOID_DECAY, _TOP_DECAY = 1e-5, 1e-6  # of the hidden layers and of the last one of FC100-100-10
_MOST_UNITS = 1 << 16


class Architecture(Protocol):
    """A network that can be built and trained for any shape of input and number of classes."""

    @property
    def spec(self) -> str:
        """The word that `parse_architecture` reads."""
        ...

    @property
    def decays(self) -> tuple[float, ...]:
        """Lambda of each linear layer, from the input on; those without one are left alone."""
        ...

    def title(self, classes: int) -> str:
        """What tables call it; of the paper's networks, the paper's name."""
        ...

    def build(self, shape: Sequence[int], classes: int) -> Model:
        """A model of its own with fresh weights, drawn from torch's generator, for inputs (B, *shape) in [0, 1]."""
        ...


@dataclass(frozen=True)
class FullyConnected:
    """Linear layers with sigmoids between them; without hidden layers it is softmax regression, FC10(lambda)."""

    hidden: tuple[int, ...]
    decays: tuple[float, ...]

    @property
    def spec(self) -> str:
        return "fc:" + "-".join(map(str, self.hidden)) if self.hidden else f"softmax:{_scientific(self.decays[0])}"

    def title(self, classes: int) -> str:
        units = "-".join(map(str, (*self.hidden, classes)))
        return f"FC{units}" if self.hidden else f"FC{units}({_scientific(self.decays[0])})"

    def build(self, shape: Sequence[int], classes: int) -> Model:
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(shape)
        for units in self.hidden:
            layers += [nn.Linear(width, units), nn.Sigmoid()]
            width = units
        return Model(nn.Sequential(*layers, nn.Linear(width, classes)), name=self.spec, spec=self.spec)


@dataclass(frozen=True)
class Autoencoder:
    """AE400-10: sigmoid features that a sparse autoencoder has learnt without labels, and a softmax layer on top.

    The features stay as they are when the top is trained, so `decays` speaks of the top alone (see `training`).
    """

    units: int
    decays: tuple[float, ...] = (0.0, _TOP_DECAY)

    @property
    def spec(self) -> str:
        return f"autoencoder:{self.units}"

    def title(self, classes: int) -> str:
        return f"AE{self.units}-{classes}"

    def build(self, shape: Sequence[int], classes: int) -> Model:
        features = nn.Linear(math.prod(shape), self.units)
        net = nn.Sequential(nn.Flatten(), features, nn.Sigmoid(), nn.Linear(self.units, classes))
        return Model(net, name=self.spec, spec=self.spec)


@dataclass(frozen=True)
class Custom:
    """What a factory returns, called anew for every network: its weights are where training begins."""

    spec: str
    decays: tuple[float, ...] = ()

    def title(self, classes: int) -> str:
        return self.spec.rpartition(":")[2]

    def build(self, shape: Sequence[int], classes: int) -> Model:
        # a copy, since the name may stand for a network itself, which the training of one half must not give to another
        return copy.deepcopy(load_model(self.spec))


Builtin = FullyConnected | Autoencoder


def parse_architecture(text: str) -> Builtin | Custom:
    """The architecture that `text` names.

    Args:
        text: "softmax" (lambda 1e-4) or "softmax:1e-2"; "fc:100-100" with so many sigmoid units in each hidden layer;
            "autoencoder:400"; "file.py:factory" or "package.module:factory". The layer of classes is added by `build`.

    Raises InputError for anything else. Whether a factory exists is found out by `build`.
    """
    kind, _, rest = text.strip().partition(":")
    match kind.lower():
        case "softmax":
            return FullyConnected((), (_lambda(rest or "1e-4", text),))
        case "fc":
            hidden = tuple(_units(part, text) for part in rest.split("-"))
            return FullyConnected(hidden, (_SIGMOID_DECAY,) * len(hidden) + (_TOP_DECAY,))
        case "autoencoder":
            return Autoencoder(_units(rest, text))
    if kind and rest:
        return Custom(text.strip())
    raise InputError(f"expected an architecture ({FORMS}), got {text!r}: name one of these")


def _lambda(word: str, text: str) -> float:
    try:
        decay = float(word)
    except ValueError:
        decay = math.nan
    if not 0 <= decay < math.inf:
        raise InputError(f"expected a weight decay of at least 0, as in softmax:1e-2, got {text!r}: change it")
    return decay


def _units(word: str, text: str) -> int:
    if not (word.isdecimal() and 1 <= int(word) <= _MOST_UNITS):
        raise InputError(
            f"expected hidden layers of 1 to {_MOST_UNITS} units, as in fc:100-100 or autoencoder:400, "
            f"got {text!r}: change it"
        )
    return int(word)


def _scientific(number: float) -> str:
    """0.0001 as the paper writes it, 1e-4; any other number so that it can be read back."""
    power = round(math.log10(number)) if number > 0 else 0
    if power and number == float(f"1e{power}"):
        return f"1e{power}"
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
