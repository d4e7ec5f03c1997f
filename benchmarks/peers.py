"""The same attacks from other libraries, with the settings nearest to ours: same steps, same step sizes, one start."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[[nn.Module, Tensor, Tensor, float], Tensor]  # network, inputs, labels, radius (inf: none) -> adversarial
Settings = Callable[[float], dict[str, Any]]  # arguments for a radius
Library = Callable[[str, Settings, nn.Module, Tensor, Tensor, float], Tensor]

P = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}


@dataclass(frozen=True)
class Peer:
    library: str
    attack: str  # as in attacks.py
    norm: str
    run: Run

    @property
    def there(self) -> bool:
        return self.library != "adv-lib" or adv_lib() is not None


@cache
def adv_lib() -> ModuleType | None:
    """adv-lib's attacks if they can be imported. Two packages that they import but do not use are stood in for."""
    unused = {name: ModuleType(name) for name in ("visdom", "torchvision") if find_spec(name) is None}
    for name, stand_in in unused.items():
        stand_in.__dict__.update(Visdom=object, models=None)
        sys.modules[name] = stand_in
    try:
        return import_module("adv_lib.attacks")
    except ImportError:
        return None
    finally:
        for name in unused:
            del sys.modules[name]


def _foolbox(name: str, settings: Settings, net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    import foolbox

    attack = getattr(foolbox.attacks, name)(**settings(radius))
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    found: Tensor = attack(model, x, y, epsilons=None if math.isinf(radius) else radius)[1]
    return found


def _torchattacks(name: str, settings: Settings, net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    import torchattacks

    found: Tensor = getattr(torchattacks, name)(net, eps=radius, **settings(radius))(x, y)
    return found


def _art(name: str, settings: Settings, net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    classes = 10  # of every model that is measured here
    model = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0, 1), device_type="cpu"
    )
    attack = getattr(evasion, name)(model, eps=radius, batch_size=len(x), verbose=False, **settings(radius))
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def _adv_lib(name: str, settings: Settings, net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    found: Tensor = getattr(adv_lib(), name)(net, x, y, **settings(radius))
    return found


def _pgd() -> list[Peer]:
    stride = 2.5 / 40
    settings: dict[str, tuple[Library, str, Settings]] = {
        "Foolbox": (_foolbox, "LinfPGD", lambda r: {"steps": 40, "rel_stepsize": stride}),
        "torchattacks": (_torchattacks, "PGD", lambda r: {"steps": 40, "alpha": stride * r}),
        "ART": (
            _art,
            "ProjectedGradientDescentPyTorch",
            lambda r: {"max_iter": 40, "eps_step": stride * r, "num_random_init": 1},
        ),
        "adv-lib": (_adv_lib, "pgd_linf", lambda r: {"ε": r, "steps": 40, "relative_step_size": stride}),
    }
    return _peers("PGD-40", "linf", settings)


def _apgd(loss: str, art_loss: str) -> list[Peer]:
    settings: dict[str, tuple[Library, str, Settings]] = {
        "torchattacks": (_torchattacks, "APGD", lambda r: {"steps": 100, "loss": loss}),
        "ART": (
            _art,
            "AutoProjectedGradientDescent",
            lambda r: {"max_iter": 100, "eps_step": 2 * r, "nb_random_init": 1, "loss_type": art_loss},
        ),
        "adv-lib": (_adv_lib, "apgd", lambda r: {"eps": r, "n_iter": 100, "norm": math.inf, "loss_function": loss}),
    }
    return _peers(f"APGD-100 {loss}", "linf", settings)


def _fmn(norm: str) -> list[Peer]:
    foolbox = {"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack", "l0": "L0FMNAttack"}[norm]
    stride = 10.0 if norm == "linf" else 1.0  # the paper's
    settings: dict[str, tuple[Library, str, Settings]] = {
        "Foolbox": (_foolbox, foolbox, lambda r: {"steps": 100, "max_stepsize": stride}),
        "adv-lib": (_adv_lib, "fmn", lambda r: {"steps": 100, "norm": P[norm], "α_init": stride}),
    }
    return _peers("FMN-100", norm, settings)


def _ddn() -> list[Peer]:
    settings: dict[str, tuple[Library, str, Settings]] = {
        "Foolbox": (_foolbox, "DDNAttack", lambda r: {"steps": 100}),
        "adv-lib": (_adv_lib, "ddn", lambda r: {"steps": 100, "levels": None}),
    }
    return _peers("DDN-100", "l2", settings)


def _square() -> list[Peer]:
    settings: dict[str, tuple[Library, str, Settings]] = {
        "torchattacks": (_torchattacks, "Square", lambda r: {"n_queries": 1000}),
        "ART": (_art, "SquareAttack", lambda r: {"max_iter": 1000}),
    }
    return _peers("Square-1000", "linf", settings)


def _peers(attack: str, norm: str, settings: Mapping[str, tuple[Library, str, Settings]]) -> list[Peer]:
    return [
        Peer(library, attack, norm, partial(call, name, chosen)) for library, (call, name, chosen) in settings.items()
    ]


PEERS = [
    *_pgd(),
    *_apgd("ce", "cross_entropy"),
    *_apgd("dlr", "difference_logits_ratio"),
    *(peer for norm in ("linf", "l2", "l1", "l0") for peer in _fmn(norm)),
    *_ddn(),
    *_square(),
]
