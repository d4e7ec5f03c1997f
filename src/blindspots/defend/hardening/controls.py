"""The honest controls: the same network trained for as long by something that is not an adversary."""

import time
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from scipy.stats import binomtest
from torch import Tensor

from blindspots.attacks.gradient.pgd import PGD
from blindspots.batching import ANSWERS
from blindspots.data import Dataset
from blindspots.defend.hardening.batches import Split
from blindspots.defend.hardening.recipe import Augmentation, Noise, Objective, Recipe
from blindspots.defend.hardening.record import Claim, Control
from blindspots.defend.hardening.trainer import DivergedError, Trainer
from blindspots.evaluate import Options
from blindspots.evaluate import attack as run_attack
from blindspots.findings import Finding
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.records import Share
from blindspots.threat import Threat

_STEPS, _RESTARTS = 20, 3


@dataclass(frozen=True)
class Outcome:
    """A control, and which test rows it gets right."""

    control: Control
    right: list[bool]


def control_recipes(recipe: Recipe, is_image: bool) -> dict[str, tuple[str, Recipe]]:
    """The controls by name: a sentence, and how they are trained.

    Augmentation shifts pictures as far as the recipe does, by a pixel if it does not; tables have none.
    """
    noisy = recipe.naturally(adversary=Noise(shape="uniform"), objective=Objective(clean=0.5))
    found = {
        "more epochs": ("natural training for as many epochs", recipe.naturally()),
        "noise": ("half of the loss on rows with uniform noise of the threat's size", noisy),
    }
    if is_image:
        shift = max(1, recipe.augmentation.shift)
        shifted = recipe.naturally(augmentation=Augmentation(shift=shift))
        found["augmentation"] = (f"natural training on pictures shifted by up to {shift} px", shifted)
    return found


def run_control(
    name: str, what: str, recipe: Recipe, fabric: Fabric, model: Model, parts: Split, threat: Threat, test: Dataset,
    options: Options,
) -> Outcome | None:  # fmt: skip
    """Train `model` by the control's recipe and look at the test rows; None where that diverged."""
    began = time.monotonic()
    trainer = Trainer(fabric, model, parts, threat, recipe, options.seed)
    try:
        for _ in range(recipe.epochs):
            trainer.run_epoch()
    except DivergedError:
        return None
    model.net.load_state_dict(trainer.average.module.net.state_dict())  # type: ignore[union-attr]
    right = right_rows(model, test)
    control = Control(
        name=name, what=what, epochs=recipe.epochs, clean=Share.of(int(right.sum()), len(right)),
        robust=_robust(model, test, threat, options), seconds=round(time.monotonic() - began, 3),
    )  # fmt: skip
    return Outcome(control, right.tolist())


def right_rows(model: Model, data: Dataset) -> Tensor:
    """Which rows the model gets right: (N,) bool."""
    oracle, found = Oracle(model, chunk=min(ANSWERS, len(data))), []
    with oracle.session():
        for start in range(0, len(data), ANSWERS):
            x, y = data.rows(start, min(start + ANSWERS, len(data)))
            found.append(oracle.logits(x.to(model.device)).argmax(1).cpu() == y)
    return torch.cat(found)


def claim(hardened: list[bool], outcomes: list[Outcome]) -> Claim | None:
    """Is the hardened network more accurate on clean rows than the best control? An exact McNemar test on the rows."""
    if not outcomes:
        return None
    best = max(outcomes, key=lambda outcome: outcome.control.clean.share)
    pairs = list(zip(hardened, best.right, strict=True))
    ours, theirs = pairs.count((True, False)), pairs.count((False, True))
    p = binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    return Claim(
        hardened=Share.of(sum(hardened), len(hardened)), control=best.control.clean, against=best.control.name,
        only_hardened=ours, only_control=theirs, p_value=float(p),
    )  # fmt: skip


def diverged(name: str) -> Finding:
    """What is said of a control that has no figure."""
    return Finding(
        code="control-diverged",
        severity="note",
        saw=f"The control {name!r} diverged: its loss was not finite in too many steps.",
        do="Use a recipe with a smaller learning rate if its figure is wanted.",
    )


def _robust(model: Model, data: Dataset, threat: Threat, options: Options) -> Share:
    """PGD with restarts: an upper bound, and for a control, which is hardly ever robust, a search that will do."""
    run = run_attack(model, attack=PGD(steps=_STEPS), threat=threat, data=data, restarts=_RESTARTS, options=options)
    v = run.verdict
    return Share.of(round(v.robust_accuracy * v.rows), v.rows)
