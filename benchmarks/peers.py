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
    package: str
    attack: str  # as in attacks.py
    norm: str
    run: Run

    @property
    def there(self) -> bool:
        return self.package != "adv-lib" or adv_lib() is not None


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


def _without(call: str, settings: dict[str, Any]) -> tuple[Library, str, Settings]:
    """torchattacks' attacks that take no radius."""

    def run(name: str, chosen: Settings, net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
        found: Tensor = getattr(import_module("torchattacks"), name)(net, **chosen(radius))(x, y)
        return found

    return run, call, lambda r: settings


def _minimal() -> list[Peer]:
    """Penalties as strong as ours with the fewest steps that were found: three constants, 300 steps each."""
    few = {"binary_search_steps": 3, "initial_const": 1.0}
    carlini_wagner: dict[str, tuple[Library, str, Settings]] = {
        "Foolbox": (_foolbox, "L2CarliniWagnerAttack", lambda r: {"steps": 300, "stepsize": 0.05, **few}),
        "adv-lib": (_adv_lib, "carlini_wagner_l2", lambda r: {"max_iterations": 300, "learning_rate": 0.05, **few}),
        "torchattacks": _without("CW", {"steps": 300, "lr": 0.05}),
    }
    deepfool: dict[str, tuple[Library, str, Settings]] = {
        "Foolbox": (_foolbox, "L2DeepFoolAttack", lambda r: {}),
        "adv-lib": (_adv_lib, "df", lambda r: {"norm": 2}),
        "torchattacks": _without("DeepFool", {}),
    }
    flat: dict[str, tuple[Library, str, Settings]] = {
        "Foolbox": (_foolbox, "LinfDeepFoolAttack", lambda r: {}),
        "adv-lib": (_adv_lib, "df", lambda r: {"norm": math.inf}),
    }
    return [
        *_peers("C&W", "l2", carlini_wagner),
        *_peers("DeepFool", "l2", deepfool),
        *_peers("DeepFool", "linf", flat),
        *_peers("SuperDeepFool", "l2", {"adv-lib": (_adv_lib, "sdf", lambda r: {})}),
        *_peers("ALMA-100", "l2", {"adv-lib": (_adv_lib, "alma", lambda r: {"num_steps": 100, "distance": "l2"})}),
    ]


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
    *_minimal(),
    *_square(),
]


@dataclass(frozen=True)
class MinimalPeer:
    """An attack that looks for the smallest distance, with settings for a budget of 2,000 forwards + backwards."""

    package: str
    attack: str
    norm: str
    call: Callable[[nn.Module, Tensor, Tensor], Tensor]

    def run(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self.call(net, x, y)


def _smallest(library: Library, name: str, **settings: Any) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    return lambda net, x, y: library(name, lambda radius: settings, net, x, y, math.inf)


def _without_radius(name: str, **settings: Any) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """torchattacks' attacks that have none."""
    return lambda net, x, y: getattr(import_module("torchattacks"), name)(net, **settings)(x, y)


def _minimal_apgd(norm: str, largest: float, targeted: bool) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """adv-lib's APGD inside a search for the radius of every row."""

    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        assert adv_lib() is not None
        attack = import_module("adv_lib.attacks.auto_pgd").minimal_apgd
        rounds, steps = (10, 11) if targeted else (10, 100)  # nine targets, or one descent
        found: Tensor = attack(
            net, x, y, P[norm], largest * x[0].numel() ** {"linf": 0, "l2": 0.5, "l1": 1}[norm],
            binary_search_steps=rounds, n_iter=steps, targeted_version=targeted, n_restarts=1,
        )  # fmt: skip
        return found

    return run


MINIMAL = [
    *(
        MinimalPeer(
            "adv-lib",
            "FMN-1000",
            n,
            _smallest(_adv_lib, "fmn", steps=1000, norm=P[n], α_init=10.0 if n == "linf" else 1.0),
        )
        for n in P
    ),
    *(
        MinimalPeer("adv-lib", "PDPGD-1000", n, _smallest(_adv_lib, "pdpgd", norm=float(P[n]), num_steps=1000))
        for n in ("linf", "l2", "l1")
    ),
    *(MinimalPeer("adv-lib", "APGD-100 in 10 radii", n, _minimal_apgd(n, 0.25, False)) for n in ("linf", "l2", "l1")),
    *(MinimalPeer("adv-lib", "APGD-T 9x11 in 10 radii", n, _minimal_apgd(n, 0.25, True)) for n in ("linf", "l2", "l1")),
    MinimalPeer("adv-lib", "DDN-1000", "l2", _smallest(_adv_lib, "ddn", steps=1000, levels=None)),
    MinimalPeer("adv-lib", "PDGD-1000", "l2", _smallest(_adv_lib, "pdgd", num_steps=1000)),
    MinimalPeer("adv-lib", "ALMA-1000", "l2", _smallest(_adv_lib, "alma", num_steps=1000, distance="l2")),
    MinimalPeer(
        "adv-lib", "ALMA-1000", "l1", _smallest(_adv_lib, "alma", num_steps=1000, distance="l1", init_lr_distance=0.5)
    ),
    MinimalPeer("adv-lib", "sigma-zero-1000", "l0", _smallest(_adv_lib, "sigma_zero", num_steps=1000)),
    MinimalPeer("adv-lib", "VFGA", "l0", _smallest(_adv_lib, "vfga", targeted=False)),
    MinimalPeer("adv-lib", "C&W 9x111", "l2", _smallest(_adv_lib, "carlini_wagner_l2", max_iterations=111)),
    MinimalPeer("adv-lib", "SuperDeepFool", "l2", _smallest(_adv_lib, "sdf")),
    MinimalPeer("Foolbox", "DDN-1000", "l2", _smallest(_foolbox, "DDNAttack", steps=1000)),
    MinimalPeer("Foolbox", "C&W 9x111", "l2", _smallest(_foolbox, "L2CarliniWagnerAttack", steps=111)),
    MinimalPeer("Foolbox", "EAD 9x111", "l1", _smallest(_foolbox, "EADAttack", steps=111)),
    MinimalPeer("Foolbox", "FMN-1000", "linf", _smallest(_foolbox, "LInfFMNAttack", steps=1000, max_stepsize=10.0)),
    MinimalPeer("Foolbox", "FMN-1000", "l1", _smallest(_foolbox, "L1FMNAttack", steps=1000)),
    MinimalPeer("Foolbox", "FMN-1000", "l0", _smallest(_foolbox, "L0FMNAttack", steps=1000)),
    MinimalPeer("torchattacks", "C&W-1000", "l2", _without_radius("CW", steps=1000)),
    MinimalPeer("torchattacks", "DeepFool", "l2", _without_radius("DeepFool")),
]


@dataclass(frozen=True)
class QueryPeer:
    """A black-box attack with settings for 5,000 queries; it is stopped there from outside."""

    package: str
    attack: str
    norm: str
    answers: str  # "scores" or "labels"
    run: Run


def _art_black_box(name: str, settings: Settings) -> Run:
    """ART's attacks that take no radius, or call it otherwise."""

    def run(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(
            net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
        )
        attack = getattr(evasion, name)(model, verbose=False, **settings(radius))
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return run


def _queries(norm: str) -> list[QueryPeer]:
    n: Any = {"linf": "inf", "l2": 2}[norm]
    many = {"max_iter": 1000, "max_eval": 1000, "init_eval": 100, "init_size": 100}
    found = [
        QueryPeer("ART", "HopSkipJump", norm, "labels", _art_black_box("HopSkipJump", lambda r: {"norm": n, **many})),
        QueryPeer(
            "ART",
            "GeoDA",
            norm,
            "labels",
            _art_black_box(
                "GeoDA", lambda r: {"norm": n, "max_iter": 5000, "bin_search_tol": 0.001, "lambda_param": 0.6}
            ),
        ),
        QueryPeer(
            "Foolbox",
            "HopSkipJump",
            norm,
            "labels",
            partial(_foolbox, "HopSkipJumpAttack", lambda r: {"steps": 200, "constraint": norm}),
        ),
        QueryPeer(
            "ART", "Square", norm, "scores", partial(_art, "SquareAttack", lambda r: {"norm": n, "max_iter": 5000})
        ),
        QueryPeer(
            "torchattacks",
            "Square",
            norm,
            "scores",
            partial(_torchattacks, "Square", lambda r: {"norm": {"linf": "Linf", "l2": "L2"}[norm], "n_queries": 5000}),
        ),
    ]
    if norm == "l2":
        found += [
            QueryPeer(
                "ART", "SimBA", norm, "scores", _art_black_box("SimBA", lambda r: {"max_iter": 5000, "epsilon": 0.2})
            ),
            QueryPeer(
                "Foolbox", "Boundary", norm, "labels", partial(_foolbox, "BoundaryAttack", lambda r: {"steps": 5000})
            ),
            QueryPeer(
                "ART",
                "SignOPT",
                norm,
                "labels",
                _art_black_box("SignOPTAttack", lambda r: {"targeted": False, "query_limit": 5000, "max_iter": 1000}),
            ),
        ]
    else:
        found.append(
            QueryPeer(
                "torchattacks",
                "SPSA",
                norm,
                "scores",
                partial(_torchattacks, "SPSA", lambda r: {"nb_iter": 20, "nb_sample": 128, "max_batch_size": 64}),
            )
        )
    return found


QUERIES = [peer for norm in ("linf", "l2") for peer in _queries(norm)]
