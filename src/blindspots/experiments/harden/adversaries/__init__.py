"""What training learns to withstand, one kind per file: `recipe.py` names their settings."""

from blindspots.ball import Ball
from blindspots.experiments.harden.adversaries.adversary import Adversary, Nobody
from blindspots.experiments.harden.adversaries.carried import FreeAdversary, UniversalAdversary
from blindspots.experiments.harden.adversaries.noise import NoiseAdversary, StepAdversary
from blindspots.experiments.harden.adversaries.pool import PoolAdversary
from blindspots.experiments.harden.adversaries.search import SearchAdversary
from blindspots.experiments.harden.recipe import Free, Noise, NoisyStep, Pool, Recipe, Search, Universal, threats_of

__all__ = ["Adversary", "make_adversary"]


def make_adversary(recipe: Recipe, threat: Ball, seed: int) -> Adversary:
    """The adversary of a recipe within a threat; `seed` decides what it draws beyond the rows' own keys."""
    threats = threats_of(recipe, threat)
    match recipe.adversary:
        case Search() as how:
            return SearchAdversary(recipe.objective, how, threats)
        case NoisyStep() as how:
            return StepAdversary(recipe.objective, how, threat)
        case Noise() as how:
            return NoiseAdversary(recipe.objective, how, threat)
        case Free() as how:
            return FreeAdversary(recipe.objective, how, threat)
        case Universal() as how:
            return UniversalAdversary(recipe.objective, how, threat)
        case Pool() as how:
            return PoolAdversary(recipe.objective, how, threat, seed)
    return Nobody(recipe.objective)
