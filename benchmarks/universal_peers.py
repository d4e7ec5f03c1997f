"""Universal perturbations elsewhere: the first algorithm as it was published, image by image, and ART's."""

import math
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

Found = Callable[[Tensor], None]  # is told every new v (1, *shape)
Search = Callable[[nn.Module, Tensor, float, Found], None]  # network, inputs, radius


class TimeUpError(Exception):
    """A search has had its time."""


class Trace:
    """What a search had found after growing processor times, each `growth` times the one before.

    Raises TimeUpError when a perturbation is handed over after `limit` seconds.
    """

    def __init__(self, limit: float = math.inf, growth: float = 1.3) -> None:
        self.limit, self.growth = limit, growth
        self.kept: list[tuple[float, Tensor]] = []
        self.v: Tensor | None = None
        self.began = time.process_time()

    def __call__(self, v: Tensor) -> None:
        now = time.process_time() - self.began
        self.v = v.detach().clone()
        if now >= max(1.0, self.growth * self.kept[-1][0] if self.kept else 0.0):
            self.kept.append((now, self.v))
        if now > self.limit:
            raise TimeUpError


# ------------------------------------------------------------------ as published

DELTA, PASSES, STEPS, CLASSES, OVERSHOOT = 0.2, 10, 10, 10, 0.02


def published(net: nn.Module, x: Tensor, radius: float, found: Found) -> None:
    """Moosavi-Dezfooli et al. 2017, algorithm 1, linf, with the constants of the authors' code.

    One image at a time; x + v is not clipped; a change counts only if DeepFool needed fewer than all its steps.
    """
    clean = torch.cat([_label(net, x[i : i + 1]) for i in range(len(x))])
    v, order = torch.zeros_like(x[:1]), torch.Generator().manual_seed(0)
    for _ in range(PASSES):
        for i in torch.randperm(len(x), generator=order).tolist():
            if _label(net, x[i : i + 1] + v) == clean[i]:
                change, steps = _deepfool(net, x[i : i + 1] + v)
                if steps < STEPS - 1:
                    v = (v + change).clamp(-radius, radius)
            found(v)
        now = torch.cat([_label(net, x[i : i + 1] + v) for i in range(len(x))])
        if float((now != clean).float().mean()) >= 1 - DELTA:
            return


def _label(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        label: Tensor = net(x).argmax(1)
    return label


def _deepfool(net: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """The change and the steps that it took. One forward and `CLASSES` backwards a step."""
    total, steps = torch.zeros_like(x), 0
    with torch.no_grad():
        classes = net(x)[0].topk(CLASSES).indices
    while steps < STEPS:
        now = (x + (1 + OVERSHOOT) * total).requires_grad_()
        scores = net(now)[0]
        if int(scores.argmax()) != int(classes[0]):
            break
        slopes = torch.stack([torch.autograd.grad(scores[k], now, retain_graph=True)[0] for k in classes])
        total, steps = (
            total + _nearest(slopes[1:] - slopes[0], (scores[classes[1:]] - scores[classes[0]]).detach()),
            steps + 1,
        )
    return (1 + OVERSHOOT) * total, steps


def _nearest(w: Tensor, f: Tensor) -> Tensor:
    """The step onto the nearest of the hyperplanes f + w r = 0: (1, *shape)."""
    norms = w.flatten(1).norm(dim=1).clamp_min(1e-12)
    k = int((f.abs() / norms).argmin())
    step: Tensor = f[k].abs() / norms[k].square() * w[k]
    return step


# ------------------------------------------------------------------ ART

ART_SETTINGS = {
    "deepfool": {"max_iter": STEPS, "epsilon": OVERSHOOT, "nb_grads": CLASSES, "verbose": False},
    "pgd": {"eps": 10 / 255, "eps_step": 2 / 255, "max_iter": 10, "verbose": False},
}


def art(attacker: str) -> Search:
    """ART's UniversalPerturbation. Every projection of its noise is a new v."""

    def search(net: nn.Module, x: Tensor, radius: float, found: Found) -> None:
        from art.attacks.evasion import universal_perturbation as module
        from art.estimators.classification import PyTorchClassifier

        project = module.projection

        def told(noise: np.ndarray, eps: float, norm: float) -> np.ndarray:
            v: np.ndarray = project(noise, eps, norm)
            found(torch.from_numpy(v).float())
            return v

        with torch.no_grad():
            classes = net(x[:1]).shape[1]
        model = PyTorchClassifier(
            net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0, 1), device_type="cpu"
        )
        attack = module.UniversalPerturbation(
            model,
            attacker,
            ART_SETTINGS[attacker],
            delta=DELTA,
            max_iter=PASSES,
            eps=radius,
            norm=np.inf,
            verbose=False,
        )
        with patch.object(module, "projection", told):
            attack.generate(x.numpy())

    return search


SEARCHES: dict[str, Search] = {
    "published loop": published,
    "ART, deepfool": art("deepfool"),
    "ART, pgd": art("pgd"),
}
