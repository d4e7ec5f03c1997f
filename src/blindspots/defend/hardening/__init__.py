"""Proactive: adversarial training, by recipes that are data."""

from blindspots.defend.hardening.recipe import Recipe, read_recipe
from blindspots.defend.hardening.run import Hardened, HardenOptions, harden

__all__ = ["HardenOptions", "Hardened", "Recipe", "harden", "read_recipe"]
