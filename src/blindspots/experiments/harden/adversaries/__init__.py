"""What training learns to withstand, one kind per file: `recipe.py` names their settings."""

from blindspots.ball import Ball
from blindspots.experiments.harden.adversaries.adversary import Adversary, Nobody
from blindspots.experiments.harden.adversaries.carried import FreeAdversary, UniversalAdversary
from blindspots.experiments.harden.adversaries.exchanges import ExchangedAdversary, SampledAdversary
from blindspots.experiments.harden.adversaries.noise import NoiseAdversary, StepAdversary
from blindspots.experiments.harden.adversaries.pool import PoolAdversary
from blindspots.experiments.harden.adversaries.search import SearchAdversary
from blindspots.experiments.harden.recipe import (
    Exchanged,
    Free,
    Noise,
    NoisyStep,
    Pool,
    Recipe,
    Sampled,
    Search,
    Universal,
    threats_of,
)
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat

__all__ = ["Adversary", "make_adversary"]


def make_adversary(recipe: Recipe, threat: Threat, seed: int) -> Adversary:
    """The adversary of a recipe within a threat; `seed` decides what it draws beyond the rows' own keys."""
    threats = threats_of(recipe, threat)
    if isinstance(threat, TextThreat):
        return _of_texts(recipe, threat)
    assert isinstance(threat, Ball)
    match recipe.adversary:
        case Search() as how:
            return SearchAdversary(recipe.objective, how, tuple(one for one in threats if isinstance(one, Ball)))
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


def _of_texts(recipe: Recipe, threat: TextThreat) -> Adversary:
    match recipe.adversary:
        case Sampled() as how:
            return SampledAdversary(recipe.objective, how, threat)
        case Exchanged():
            return ExchangedAdversary(recipe.objective, threat)
    return Nobody(recipe.objective)
