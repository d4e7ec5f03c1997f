"""What is done when training went astray: which recipe goes on from before the epoch that is undone."""

from blindspots.experiments.harden.recipe import NoisyStep, Recipe, Search

CAUTIOUS = NoisyStep(noise=2.0, stride=1.0, project=False)
GRADALIGN = 0.2  # its authors' weight for linf 8/255 on CIFAR-10


def cautious(recipe: Recipe, level: int) -> Recipe | None:
    """The recipe after `level` catastrophes; None: nothing more can be done.

    Single steps first get more noise, which costs nothing (N-FGSM, de Jorge et al. 2022); the next time, and for all
    others, gradients at a row and beside it are kept aligned (Andriushchenko and Flammarion 2020, arXiv 2007.02617).
    """
    ladder = [recipe]
    if _is_single_step(recipe):
        ladder.append(recipe.model_copy(update={"adversary": CAUTIOUS}))
    if not recipe.objective.gradalign:
        aligned = recipe.objective.model_copy(update={"gradalign": GRADALIGN})
        ladder.append(ladder[-1].model_copy(update={"objective": aligned}))
    return ladder[level] if level < len(ladder) else None


def measure(recipe: Recipe) -> str:
    """How sentences call what a cautious recipe does."""
    aligned = recipe.objective.gradalign > 0
    return f"gradients kept aligned (weight {recipe.objective.gradalign})" if aligned else "twice as much noise"


def _is_single_step(recipe: Recipe) -> bool:
    how = recipe.adversary
    if isinstance(how, NoisyStep):
        return how.noise < CAUTIOUS.noise
    return isinstance(how, Search) and how.attack.startswith("fgsm")
