"""The honest controls: the same network trained for as long by something that is not an adversary."""

import torch
from lightning_fabric import Fabric

from blindspots.attacks.gradient.pgd import PGD
from blindspots.ball import Ball
from blindspots.data import Dataset
from blindspots.experiments.harden.attacked import attacked
from blindspots.experiments.harden.batches import Split
from blindspots.experiments.harden.recipe import Augmentation, Noise, Recipe, TrainingLoss
from blindspots.experiments.harden.trainer import DivergedError, Trainer
from blindspots.experiments.harden.verdict import WEIGHTS
from blindspots.models.model import Model
from blindspots.runs.experiment import Columns

_STEPS, _RESTARTS = 20, 3


def control_recipes(recipe: Recipe, is_image: bool) -> dict[str, tuple[str, Recipe]]:
    """The controls by name: a sentence, and how they are trained.

    Augmentation shifts pictures as far as the recipe does, by a pixel if it does not; tables have none.
    """
    noisy = recipe.naturally(adversary=Noise(shape="uniform"), objective=TrainingLoss(clean=0.5))
    found = {
        "more epochs": ("natural training for as many epochs", recipe.naturally()),
        "noise": ("half of the loss on rows with uniform noise of the threat's size", noisy),
    }
    if is_image:
        shift = max(1, recipe.augmentation.shift)
        shifted = recipe.naturally(augmentation=Augmentation(shift=shift))
        found["augmentation"] = (f"natural training on pictures shifted by up to {shift} px", shifted)
    return found


def trained_control(
    recipe: Recipe, fabric: Fabric, model: Model, parts: Split, threat: Ball, test: Dataset, seed: int
) -> Columns:
    """Train `model` by the control's recipe, and see which test rows it gets right and which of these PGD moves.

    PGD with restarts shows an upper bound, which is enough for a network that is hardly ever robust.

    Returns: the columns `verdict.CONTROL`, and the weights.
    """
    trainer = Trainer(fabric, model, parts, threat, recipe, seed)
    try:
        for _ in range(recipe.epochs):
            trainer.run_epoch()
    except DivergedError:
        return _lost(test)
    model.net.load_state_dict(trainer.average.module.net.state_dict())  # type: ignore[union-attr]
    found = attacked(model, *test.rows(0, len(test)), PGD(steps=_STEPS), threat, seed, restarts=_RESTARTS)
    weights = {WEIGHTS + name: t.detach().clone() for name, t in model.net.state_dict().items()}
    return {
        "diverged": torch.tensor([False]), "right": found["right"], "broken": found["broken"],
        "adversarial": found["adversarial"], **weights,
    }  # fmt: skip


def _lost(test: Dataset) -> Columns:
    """Of a control whose loss was not finite in too many steps."""
    none = torch.zeros(0, dtype=torch.int64)
    return {
        "diverged": torch.tensor([True]), "right": none.bool(), "broken": none,
        "adversarial": torch.zeros(0, *test.shape),
    }  # fmt: skip
