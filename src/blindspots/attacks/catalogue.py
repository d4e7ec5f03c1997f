"""The table of all attacks: what `blindspots list` prints, docs/attacks.md is made from, and the contract runs over."""

from dataclasses import dataclass

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
from blindspots.attacks.labels.rays import RayS
from blindspots.attacks.labels.sign_opt import SignOPT
from blindspots.attacks.natural.corruptions import AdditiveNoise, Blur, Contrast, SaltAndPepper
from blindspots.attacks.natural.rotate import RotateTranslate, RotateTranslatePGD
from blindspots.attacks.natural.stadv import StAdv
from blindspots.attacks.scores.autozoom import AutoZOOM
from blindspots.attacks.scores.bandits import Bandits
from blindspots.attacks.scores.genattack import GenAttack
from blindspots.attacks.scores.nes import NES
from blindspots.attacks.scores.onepixel import OnePixel
from blindspots.attacks.scores.simba import SimBA
from blindspots.attacks.scores.spsa import SPSA
from blindspots.attacks.scores.square import Square
from blindspots.attacks.views.through import Through


@dataclass(frozen=True)
class Entry:
    """What a user wants to know before choosing an attack. Access, threats and kind are the class's own."""

    attack: type[Attack]
    paper: str
    year: int
    family: str
    cost: str
    use: str
    targeted: bool = True  # it can be made to run towards a class

    @property
    def name(self) -> str:
        return self.attack.__name__


CATALOGUE = (
    Entry(
        FGSM,
        "Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples",
        2015,
        "gradient, fixed radius",
        "2 forwards, 1 backward",
        "the quickest look; a lower bound of what is possible, never a verdict",
    ),
    Entry(
        BIM,
        "Kurakin, Goodfellow, Bengio: Adversarial Examples in the Physical World",
        2017,
        "gradient, fixed radius",
        "steps + 1 forwards, steps backwards",
        "PGD without randomness: one answer that anybody can repeat",
    ),
    Entry(
        MIFGSM,
        "Dong et al.: Boosting Adversarial Attacks with Momentum",
        2018,
        "gradient, fixed radius",
        "steps + 1 forwards, steps backwards",
        "points that transfer to other models",
    ),
    Entry(
        NIFGSM,
        "Lin et al.: Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks",
        2020,
        "gradient, fixed radius",
        "steps + 1 forwards, steps backwards",
        "as MIFGSM, looking ahead",
    ),
    Entry(
        VMIFGSM,
        "Wang, He: Enhancing the Transferability of Adversarial Attacks through Variance Tuning",
        2021,
        "gradient, fixed radius",
        "(steps - 1)(neighbours + 1) + 2 forwards, one backward less",
        "better transfer for more cost",
    ),
    Entry(
        PGD,
        "Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks",
        2018,
        "gradient, fixed radius",
        "steps + 1 forwards, steps backwards",
        "the standard inside adversarial training; with restarts a fair first measurement",
    ),
    Entry(
        APGD,
        "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        2020,
        "gradient, fixed radius",
        "steps + 1 forwards, steps backwards",
        "a strong single attack without a step size to tune, in linf, l2 and l1",
    ),
    Entry(
        ACG,
        "Yamamura et al.: Diversified Adversarial Attacks based on Conjugate Gradient Method",
        2022,
        "gradient, fixed radius",
        "steps + 1 forwards, steps backwards",
        "a second opinion beside APGD",
    ),
    Entry(
        PMA,
        "Xie et al.: Towards Million-Scale Adversarial Robustness Evaluation With Stronger Individual Attacks",
        2025,
        "gradient, fixed radius",
        "2 (steps + 1) forwards, one backward less",
        "a strong single attack without targets",
    ),
    Entry(
        ODI,
        "Tashiro, Song, Ermon: Diversity Can Be Transferred: Output Diversification for White- and Black-box Attacks",
        2020,
        "gradient, fixed radius",
        "the inner attack's, and steps forwards and backwards more",
        "restarts that end in different places",
    ),
    Entry(
        Through,
        "Athalye et al.: Synthesizing Robust Adversarial Examples (and DI, TI, SI)",
        2018,
        "gradient, fixed radius",
        "the inner attack's, times copies",
        "examples for a model one cannot see, made on a surrogate; models that answer at random",
    ),
    Entry(
        LBFGS,
        "Szegedy et al.: Intriguing Properties of Neural Networks",
        2013,
        "gradient, smallest distance",
        "up to steps + 1 forwards, steps backwards; 20 to 40 of each on most networks",
        "the first attack of all; short l2 perturbations for a quarter of what DDN costs",
    ),
    Entry(
        DeepFool,
        "Moosavi-Dezfooli, Fawzi, Frossard: DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks",
        2016,
        "gradient, smallest distance",
        "4 backwards per step, about 3 steps: a row leaves when it is through",
        "a rough distance in a few looks, in l2 or linf",
    ),
    Entry(
        SuperDeepFool,
        "Abdolahpourrostam, Abroshan, Moosavi-Dezfooli: Revisiting DeepFool: Generalization and Improvement",
        2023,
        "gradient, smallest distance",
        "4 backwards per step, about 10 steps",
        "l2 distances near the smallest in a few looks",
    ),
    Entry(
        FAB,
        "Croce, Hein: Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack",
        2020,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards per class",
        'distances to the nearest of several classes; in AutoAttack\'s version "plus"',
    ),
    Entry(
        FABT,
        "Croce, Hein: Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        2020,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "the part of AutoAttack that looks for distances; one target at a time",
    ),
    Entry(
        CarliniWagner,
        "Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks",
        2017,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards; in l0 about 50",
        "small l2, linf or l0 distances, also where gradients near the input mislead",
    ),
    Entry(
        EAD,
        "Chen et al.: EAD: Elastic-Net Attacks to Deep Neural Networks via Adversarial Examples",
        2018,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "small l1 distances; few components change",
    ),
    Entry(
        DDN,
        "Rony et al.: Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and Defenses",
        2019,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "smallest l2 distances",
    ),
    Entry(
        JSMA,
        "Papernot et al.: The Limitations of Deep Learning in Adversarial Settings",
        2016,
        "gradient, smallest distance",
        "steps + 1 forwards, classes x steps backwards",
        "l0 by saliency, two components at a time; the historic baseline",
    ),
    Entry(
        FMN,
        "Pintor et al.: Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
        2021,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "smallest distances in l0, l1, l2 and linf: a whole security curve from one run",
    ),
    Entry(
        ALMA,
        "Rony et al.: Augmented Lagrangian Adversarial Attacks",
        2021,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "small l2 or l1 distances with many steps",
    ),
    Entry(
        PDPGD,
        "Matyasko, Chau: PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack",
        2021,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "small distances in every norm, above all l1",
    ),
    Entry(
        SigmaZero,
        "Cina et al.: Sigma-zero: Gradient-based Optimization of l0-norm Adversarial Examples",
        2025,
        "gradient, smallest distance",
        "steps + 1 forwards, steps backwards",
        "fewest components",
    ),
    Entry(
        Square,
        "Andriushchenko et al.: Square Attack: a Query-efficient Black-box Attack via Random Search",
        2020,
        "scores",
        "steps + 1 forwards",
        "models without useful gradients; a check on models that seem to hide theirs",
    ),
    Entry(
        Joint,
        "Metzen et al.: On Detecting Adversarial Perturbations (its dynamic adversary)",
        2017,
        "gradient, fixed radius",
        "2 steps + 1 forwards, 2 steps backwards",
        "models that reject: classifier and detector at once, with one weight or, over restarts, many",
    ),
    Entry(
        Orthogonal,
        "Bryniarski et al.: Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient Descent",
        2021,
        "gradient, fixed radius",
        "2 steps + 1 forwards, 2 steps backwards; the selective variant half of it",
        "models that reject: classifier first, then the detector without giving that up",
    ),
    Entry(
        Lattice,
        "Bengio, Leonard, Courville: Estimating or Propagating Gradients Through Stochastic Neurons (straight-through)",
        2013,
        "gradient, repairs",
        "up to steps + 1 forwards, steps backwards",
        "examples that have to survive rounding to 8 bits; begins at those of another attack",
    ),
    Entry(
        NES,
        "Ilyas et al.: Black-box Adversarial Attacks with Limited Queries and Information",
        2018,
        "scores",
        "queries forwards",
        "estimated gradients; smooth models",
    ),
    Entry(
        SPSA,
        "Uesato et al.: Adversarial Risk and the Dangers of Evaluating Against Weak Attacks",
        2018,
        "scores",
        "queries forwards",
        "as NES, with Adam's steps",
    ),
    Entry(
        SimBA,
        "Guo et al.: Simple Black-box Adversarial Attacks",
        2019,
        "scores",
        "queries forwards",
        "small l2 balls in few queries; one cosine after the other",
    ),
    Entry(
        Bandits,
        "Ilyas, Engstrom, Madry: Prior Convictions: Black-box Adversarial Attacks with Bandits and Priors",
        2019,
        "scores",
        "queries forwards",
        "the strongest of those that estimate gradients",
    ),
    Entry(
        AutoZOOM,
        "Tu et al.: AutoZOOM: Autoencoder-based Zeroth Order Optimization (the successor of ZOO)",
        2019,
        "scores",
        "queries forwards",
        "smallest l2 distance from scores",
    ),
    Entry(
        GenAttack,
        "Alzantot et al.: GenAttack: Practical Black-box Attacks with Gradient-Free Optimization",
        2019,
        "scores",
        "queries forwards",
        "targeted goals in linf",
    ),
    Entry(
        OnePixel,
        "Su, Vargas, Sakurai: One Pixel Attack for Fooling Deep Neural Networks",
        2019,
        "scores",
        "queries forwards",
        "how far a pixel or a few of them reach",
    ),
    Entry(
        BlendedNoise,
        "Rauber, Brendel, Bethge: Foolbox (linear search blended uniform noise)",
        2017,
        "labels",
        "queries forwards",
        "a first distance from labels alone",
    ),
    Entry(
        Boundary,
        "Brendel, Rauber, Bethge: Decision-Based Adversarial Attacks",
        2018,
        "labels",
        "queries forwards",
        "l2; simple, strong with few queries",
    ),
    Entry(
        HopSkipJump,
        "Chen, Jordan, Wainwright: HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
        2020,
        "labels",
        "queries forwards",
        "the default for labels in l2; linf too",
    ),
    Entry(
        GeoDA,
        "Rahmati et al.: GeoDA: A Geometric Framework for Black-box Adversarial Attacks",
        2020,
        "labels",
        "queries forwards",
        "the one for labels in l1; also l2 and linf",
    ),
    Entry(
        SignOPT,
        "Cheng et al.: Sign-OPT: A Query-Efficient Hard-label Adversarial Attack",
        2020,
        "labels",
        "queries forwards",
        "l2: as good as HopSkipJump, better early",
    ),
    Entry(
        RayS,
        "Chen, Gu: RayS: A Ray Searching Method for Hard-label Adversarial Attack",
        2020,
        "labels",
        "queries forwards",
        "linf from labels, no start and no step size needed",
    ),
    Entry(
        RotateTranslate,
        "Engstrom et al.: Exploring the Landscape of Spatial Robustness",
        2019,
        "natural changes",
        "rotations x shifts x shifts forwards at most, or tries",
        "rotations and shifts; run it without a radius",
    ),
    Entry(
        RotateTranslatePGD,
        "Engstrom et al.: Exploring the Landscape of Spatial Robustness (its first-order form)",
        2019,
        "natural changes",
        "steps + 1 forwards, steps backwards at most",
        "rotations and shifts in a few looks; run it without a radius",
    ),
    Entry(
        StAdv,
        "Xiao et al.: Spatially Transformed Adversarial Examples",
        2018,
        "natural changes",
        "steps + 1 forwards, steps backwards",
        "smooth local warps; run it without a radius",
    ),
    Entry(
        AdditiveNoise,
        "Rauber, Brendel, Bethge: Foolbox (repeated additive noise)",
        2017,
        "natural changes",
        "steps + halvings + (draws - 1)(1 + halvings) forwards at most",
        "does plain noise fool it already",
    ),
    Entry(
        SaltAndPepper,
        "Rauber, Brendel, Bethge: Foolbox (salt and pepper noise)",
        2017,
        "natural changes",
        "as AdditiveNoise",
        "few pixels, black or white",
    ),
    Entry(
        Blur,
        "Rauber, Brendel, Bethge: Foolbox (Gaussian blur)",
        2017,
        "natural changes",
        "steps + halvings forwards at most",
        "the least blur that fools",
    ),
    Entry(
        Contrast,
        "Rauber, Brendel, Bethge: Foolbox (contrast reduction)",
        2017,
        "natural changes",
        "steps + halvings forwards at most",
        "the least fading that fools",
    ),
    Entry(
        Bisect,
        "Brendel, Rauber, Bethge: Decision-Based Adversarial Attacks (its line search towards the clean input)",
        2018,
        "labels",
        "steps forwards",
        "to shorten adversarial examples that another attack found",
    ),
)
