"""All attacks, one file each, by what they need to see; `CATALOGUE` describes them."""

from blindspots.attacks.attack import Attack
from blindspots.attacks.catalogue import CATALOGUE, Entry
from blindspots.attacks.distance.ddn import DDN
from blindspots.attacks.distance.deepfool import DeepFool
from blindspots.attacks.distance.fab import FAB, FABT
from blindspots.attacks.distance.fmn import FMN
from blindspots.attacks.distance.lbfgs import LBFGS
from blindspots.attacks.distance.super_deepfool import SuperDeepFool
from blindspots.attacks.gradient.apgd import APGD
from blindspots.attacks.gradient.fgsm import FGSM
from blindspots.attacks.gradient.lattice import Lattice
from blindspots.attacks.gradient.pgd import PGD
from blindspots.attacks.labels.bisect import Bisect
from blindspots.attacks.scores.square import Square
from blindspots.attacks.words import describe, parse_attack

__all__ = [
    "APGD",
    "CATALOGUE",
    "DDN",
    "FAB",
    "FABT",
    "FGSM",
    "FMN",
    "LBFGS",
    "PGD",
    "Attack",
    "Bisect",
    "DeepFool",
    "Entry",
    "Lattice",
    "Square",
    "SuperDeepFool",
    "describe",
    "parse_attack",
]
