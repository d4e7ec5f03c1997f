"""All attacks, in the order in which `blindspots list` and docs/attacks.md show them; their `facts` say the rest."""

from typing import Any

from blindspots.attacks.attack import Attack
from blindspots.attacks.distance.alma import ALMA
from blindspots.attacks.distance.carlini_wagner import CarliniWagner
from blindspots.attacks.distance.ddn import DDN
from blindspots.attacks.distance.deepfool import DeepFool
from blindspots.attacks.distance.ead import EAD
from blindspots.attacks.distance.fab import FAB, FABT
from blindspots.attacks.distance.fmn import FMN
from blindspots.attacks.distance.jsma import JSMA
from blindspots.attacks.distance.lbfgs import LBFGS
from blindspots.attacks.distance.pdpgd import PDPGD
from blindspots.attacks.distance.sigma_zero import SigmaZero
from blindspots.attacks.distance.super_deepfool import SuperDeepFool
from blindspots.attacks.exact import Exact
from blindspots.attacks.gradient.acg import ACG
from blindspots.attacks.gradient.apgd import APGD
from blindspots.attacks.gradient.bim import BIM
from blindspots.attacks.gradient.fgsm import FGSM
from blindspots.attacks.gradient.joint import Joint
from blindspots.attacks.gradient.lattice import Lattice
from blindspots.attacks.gradient.mifgsm import MIFGSM
from blindspots.attacks.gradient.nifgsm import NIFGSM
from blindspots.attacks.gradient.odi import ODI
from blindspots.attacks.gradient.orthogonal import Orthogonal
from blindspots.attacks.gradient.pgd import PGD
from blindspots.attacks.gradient.pma import PMA
from blindspots.attacks.gradient.vmifgsm import VMIFGSM
from blindspots.attacks.labels.bisect import Bisect
from blindspots.attacks.labels.blended_noise import BlendedNoise
from blindspots.attacks.labels.boundary import Boundary
from blindspots.attacks.labels.geoda import GeoDA
from blindspots.attacks.labels.hopskipjump import HopSkipJump
from blindspots.attacks.labels.oars_labels import OARSLabels
from blindspots.attacks.labels.rays import RayS
from blindspots.attacks.labels.sign_opt import SignOPT
from blindspots.attacks.moves.beam import Beam
from blindspots.attacks.moves.branch_and_bound import BranchAndBound
from blindspots.attacks.moves.charmer import Charmer
from blindspots.attacks.moves.exhaustive import Exhaustive
from blindspots.attacks.moves.gbda import GBDA
from blindspots.attacks.moves.genetic import Genetic
from blindspots.attacks.moves.greedy import Greedy
from blindspots.attacks.moves.hotflip import HotFlip
from blindspots.attacks.moves.ranked import Ranked, RankedByGradient
from blindspots.attacks.moves.sampling import Sampling
from blindspots.attacks.moves.swarm import Swarm
from blindspots.attacks.natural.corruptions import AdditiveNoise, Blur, Contrast, SaltAndPepper
from blindspots.attacks.natural.rotate import RotateTranslate, RotateTranslatePGD
from blindspots.attacks.natural.stadv import StAdv
from blindspots.attacks.scores.autozoom import AutoZOOM
from blindspots.attacks.scores.bandits import Bandits
from blindspots.attacks.scores.evolution import Evolution
from blindspots.attacks.scores.genattack import GenAttack
from blindspots.attacks.scores.nes import NES
from blindspots.attacks.scores.oars import OARS
from blindspots.attacks.scores.onepixel import OnePixel
from blindspots.attacks.scores.simba import SimBA
from blindspots.attacks.scores.spsa import SPSA
from blindspots.attacks.scores.square import Square
from blindspots.attacks.tables.capgd import CAPGD
from blindspots.attacks.tables.moeva import MOEVA
from blindspots.attacks.tables.thrift import Thrift
from blindspots.attacks.views.smooth import Smooth
from blindspots.attacks.views.through import Through

CATALOGUE: tuple[type[Attack[Any, Any]], ...] = (
    FGSM,
    BIM,
    MIFGSM,
    NIFGSM,
    VMIFGSM,
    PGD,
    APGD,
    ACG,
    PMA,
    ODI,
    Through,
    Smooth,
    LBFGS,
    DeepFool,
    SuperDeepFool,
    FAB,
    FABT,
    CarliniWagner,
    EAD,
    DDN,
    JSMA,
    FMN,
    ALMA,
    PDPGD,
    SigmaZero,
    Square,
    Joint,
    Orthogonal,
    Lattice,
    NES,
    SPSA,
    OARS,
    SimBA,
    Bandits,
    AutoZOOM,
    Evolution,
    GenAttack,
    OnePixel,
    BlendedNoise,
    Boundary,
    HopSkipJump,
    OARSLabels,
    GeoDA,
    SignOPT,
    RayS,
    RotateTranslate,
    RotateTranslatePGD,
    StAdv,
    AdditiveNoise,
    SaltAndPepper,
    Blur,
    Contrast,
    HotFlip,
    GBDA,
    Greedy,
    Ranked,
    RankedByGradient,
    Charmer,
    Beam,
    Genetic,
    Swarm,
    Sampling,
    Exhaustive,
    BranchAndBound,
    CAPGD,
    MOEVA,
    Thrift,
    Bisect,
    Exact,
)
