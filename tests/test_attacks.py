from typing import Any

import pytest
import torch

from blindspots import attacks
from blindspots.attacks import (
    ACG,
    ALMA,
    APGD,
    BIM,
    CAPGD,
    CATALOGUE,
    DDN,
    EAD,
    FAB,
    FABT,
    FGSM,
    FMN,
    GBDA,
    JSMA,
    LBFGS,
    MIFGSM,
    MOEVA,
    NES,
    NIFGSM,
    OARS,
    ODI,
    PDPGD,
    PGD,
    PMA,
    SPSA,
    VMIFGSM,
    AdditiveNoise,
    Attack,
    AutoZOOM,
    Bandits,
    Beam,
    Bisect,
    BlendedNoise,
    Blur,
    Boundary,
    BranchAndBound,
    CarliniWagner,
    Charmer,
    Contrast,
    DeepFool,
    Evolution,
    Exact,
    Exhaustive,
    GenAttack,
    Genetic,
    GeoDA,
    GradientKernel,
    Greedy,
    HopSkipJump,
    HotFlip,
    InputDiversity,
    Joint,
    Lattice,
    OARSLabels,
    OnePixel,
    Orthogonal,
    Ranked,
    RankedByGradient,
    RayS,
    RotateTranslate,
    RotateTranslatePGD,
    SaltAndPepper,
    Sampling,
    Scales,
    SigmaZero,
    SignOPT,
    SimBA,
    Smooth,
    Square,
    StAdv,
    SuperDeepFool,
    Swarm,
    Thrift,
    Through,
)
from blindspots.attacks.gradient.progress import checkpoints
from blindspots.ball import BALLS, L0, L1, L2, Linf
from blindspots.objective import Objective
from blindspots.testing.attack import Check, checks
from blindspots.threat import Threat
from closed_form import ball, optimum, plane, planes
from searching import alternating, kinds, search, unbounded

TABLE: list[Attack[Any, Any]] = [
    FGSM(),
    PGD(5),
    PGD(6, stride=2.0, schedule="cosine", momentum=0.75, random_start=False),
    APGD(12),
    APGD(10, rho=0.6, random_start=False),
    DDN(8),
    DDN(6, gamma=0.2, norm=0.1),
    FMN(8),
    FMN(6, stride=0.3, gamma=0.2),
    LBFGS(12),
    LBFGS(8, c=1.0, tries=2, inner=3, memory=2),
    DeepFool(6),
    DeepFool(5, classes=2, refine=3),
    SuperDeepFool(7),
    SuperDeepFool(5, pull=1.0, tolerance=0.1),
    FAB(6),
    FAB(4, restarts=2, classes=3, search=2),
    FABT(8),
    FABT(4, restarts=2, random_start=True),
    Through(PGD(2), copies=2),
    Smooth(PGD(4), sigma=1.5),
    Smooth(APGD(3)),
    Through(PGD(2), (GradientKernel(), InputDiversity(0.6, 0.8), Scales(2)), 2, True),
    Through(APGD(2), (), 2),
    RotateTranslate(rotations=3, shifts=2),
    RotateTranslate(tries=4),
    RotateTranslatePGD(steps=4),
    StAdv(5),
    AdditiveNoise(steps=3, halvings=2, draws=3),
    AdditiveNoise("uniform", steps=3, halvings=2, draws=2),
    SaltAndPepper(steps=3, halvings=2, draws=2),
    Blur(steps=4, halvings=2),
    Contrast(steps=4, halvings=2),
    FGSM(True),
    BIM(4),
    MIFGSM(4),
    NIFGSM(4),
    VMIFGSM(3, neighbours=2),
    VMIFGSM(2, neighbours=2, nesterov=True),
    ACG(10),
    ACG(8, rho=0.6, random_start=True),
    PMA(3),
    PMA(2, momentum=1.0, random_start=False),
    ODI(PGD(3)),
    ODI(PMA(2), steps=1),
    Joint(3),
    Joint(2, stride=2.0, random_start=False, weight=None),
    Orthogonal(3),
    Orthogonal(3, variant="selective"),
    CarliniWagner(8),
    CarliniWagner(8, share=0.5, patience=2, confidence=0.5, leap=0.2),
    CarliniWagner(4, learning_rate=0.01, searches=2),
    EAD(8),
    EAD(6, beta=1.0, stride=0.3, leap=0.2, confidence=1.0),
    SigmaZero(8),
    SigmaZero(6, sigma=0.01, threshold=0.1),
    PDPGD(8),
    PDPGD(5, stride=0.2),
    ALMA(8),
    JSMA(5),
    JSMA(4, both=False, top=8),
    NES(20, pairs=3),
    NES(12, pairs=2, cells=None),
    SPSA(20, pairs=3),
    OARS(20, pairs=3),
    OARS(12, pairs=2, cells=4, share=0.2),
    SimBA(15),
    SimBA(12, basis="pixel"),
    Bandits(15),
    AutoZOOM(20, pairs=3),
    Evolution(20),
    Evolution(12, inner=1.0),
    GenAttack(20, population=4),
    OnePixel(20, members=5),
    BlendedNoise(12),
    Boundary(20),
    HopSkipJump(20, batch=4),
    OARSLabels(20, batch=4),
    OARSLabels(15, batch=3, share=0.3),
    GeoDA(20, batch=4),
    SignOPT(20, batch=4),
    RayS(20),
    Lattice(6),
    Square(8),
    Square(8, area=0.2, stripes=False),
    Bisect(),
    Bisect(3),
    Exact(),
    HotFlip(5),
    GBDA(4, samples=3),
    HotFlip(3, width=4),
    Greedy(60),
    Ranked("delete", 60),
    Ranked("unknown", 60),
    Ranked("saliency", 60),
    Ranked("random", 60),
    RankedByGradient(60),
    Charmer(2, 60),
    Beam(3, 80),
    Genetic(4, 3),
    Swarm(5, 4),
    Sampling(20),
    CAPGD(3, random_start=True),
    MOEVA(6, population=3),
    Thrift(6),
    Exhaustive(60),
    BranchAndBound(queries=60),
    BranchAndBound(0.5),
]
CHECKS = [check for attack in TABLE for check in checks(attack)]


def test_every_attack_is_in_the_table() -> None:
    assert {type(attack) for attack in TABLE} == set(CATALOGUE)


def test_every_attack_states_facts_of_its_own_and_is_exported() -> None:
    assert all("facts" in vars(kind) and vars(attacks)[kind.__name__] is kind for kind in CATALOGUE)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract_holds(check: Check) -> None:
    check()


CASES = [((24,), False), ((2, 3, 4), True)]  # targeted or not, in inputs of one axis and of several
FIXED = [
    (FGSM(), 1.05),
    (PGD(), 1.05),
    (PGD(20, stride=2.0, schedule="cosine", momentum=0.75, random_start=False), 1.05),
    (APGD(40), 1.05),
    (Joint(), 1.05),
    (Orthogonal(), 1.05),
    (APGD(40, random_start=False), 1.05),
]
FIXED_CASES = [
    pytest.param(attack, threat, enough, id=f"{attack!r}-{threat.name}")
    for attack, enough in FIXED
    for threat in kinds(attack)
]


@pytest.mark.parametrize(("shape", "targeted"), CASES, ids=str)
@pytest.mark.parametrize(("attack", "threat", "enough"), FIXED_CASES)
def test_a_radius_is_won_exactly_where_it_reaches_the_boundary(
    attack: Attack, threat: Threat, enough: float, targeted: bool, shape: tuple[int, ...]
) -> None:
    known = plane(16, shape, gap=(0.05, 0.3))
    reach = alternating(0.95, enough, rows=16)
    ledger = search(
        attack, known, threat, reach * optimum(known, threat), Objective(targeted=targeted, loss=attack.loss)
    )
    assert torch.equal(ledger.won, reach > 1)


MINIMAL = [
    (DDN(), L2(), 1.005),
    (FMN(), L2(), 1.002),
    (FMN(), Linf(), 1.002),
    (FMN(), L1(), 1.002),
    (FMN(), L0(), 1.0),
]


@pytest.mark.parametrize(("shape", "targeted"), CASES, ids=str)
@pytest.mark.parametrize(("attack", "threat", "tolerance"), MINIMAL, ids=str)
def test_the_smallest_distance_is_found_and_nothing_below_it(
    attack: Attack, threat: Threat, tolerance: float, targeted: bool, shape: tuple[int, ...]
) -> None:
    gap = (1.0, 2.5) if threat.p == 0 else (0.05, 0.3)
    known = plane(16, shape, gap)
    nearest = optimum(known, threat)
    ledger = search(attack, known, threat, unbounded(known), Objective(targeted=targeted, loss=attack.loss))
    assert (ledger.norm >= nearest * (1 - 3e-5)).all()
    assert (ledger.norm <= nearest * tolerance).all()


@pytest.mark.parametrize("threat", kinds(FMN()), ids=lambda threat: threat.name)
def test_fmn_finds_the_nearest_of_several_classes_for_most_rows(threat: Threat) -> None:
    known = planes(32, (3, 4, 4), classes=6)
    ratio = search(FMN(), known, threat, unbounded(known)).norm / optimum(known, threat)
    assert (ratio >= 1 - 3e-5).all()
    assert ratio.median() <= 1.0001


@pytest.mark.parametrize("attack", [DDN(norm=0.1), FMN()], ids=str)
def test_a_curved_boundary_is_found_from_both_sides(attack: Attack) -> None:
    known = ball(12, 8)
    ratio = search(attack, known, L2(), unbounded(known)).norm / optimum(known, L2())
    assert (ratio >= 1 - 3e-5).all()
    assert (ratio <= 1.02).all()


@pytest.mark.parametrize("threat", kinds(Bisect()), ids=lambda threat: threat.name)
def test_bisection_ends_at_the_boundary_between_two_points(threat: Threat) -> None:
    known, steps = plane(16, (24,), gap=(0.05, 0.3)), 10
    way = threat.steepest(known.net.weight[1 - known.y] - known.net.weight[known.y]).detach()
    nearest = optimum(known, threat)
    start = known.x + 3 * nearest[:, None] * way
    ledger = search(Bisect(steps), known, threat, unbounded(known), start=start)
    assert (ledger.norm >= nearest * (1 - 3e-5)).all()
    assert (ledger.norm <= nearest + 3 * nearest * 0.5**steps + 1e-6).all()
    assert (ledger.forwards == 1 + steps).all()
    assert (ledger.backwards == 0).all()


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (FGSM(), 2, 1),
        (PGD(7), 8, 7),
        (APGD(7), 8, 7),
        (DDN(7), 8, 7),
        (FMN(7), 8, 7),
        (Square(7), 8, 0),
        (Bisect(7), 7, 0),
    ],
    ids=str,
)
def test_an_attack_costs_what_its_documentation_says(attack: Attack, forwards: int, backwards: int) -> None:
    known = plane(4, (2, 3, 4), gap=(0.2, 0.3))
    threat = BALLS[attack.threats[0]]()
    if "l2" in attack.threats:
        threat = L2()
    ledger = search(attack, known, threat, torch.full((4,), 1e-3))
    assert ledger.forwards.tolist() == [1 + forwards] * 4
    assert ledger.backwards.tolist() == [backwards] * 4


def test_checkpoints_are_those_of_the_published_code() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_start_is_where_a_search_begins() -> None:
    known = plane(8, (24,), gap=(0.1, 0.3))
    nearest = optimum(known, Linf())
    near = known.x + (0.999 * nearest * (1 - 2 * known.y))[:, None] * known.net.weight[1].sign().detach()
    attack = PGD(1, stride=0.01, random_start=False)
    assert search(attack, known, Linf(), 1.05 * nearest, start=near).won.all()
    assert not search(attack, known, Linf(), 1.05 * nearest).won.any()


def test_the_first_norm_of_ddn_does_not_decide_where_it_ends() -> None:
    known = plane(8, (24,), gap=(0.05, 0.3))
    for norm in (0.01, 0.1, 1.0):
        ledger = search(DDN(norm=norm), known, L2(), unbounded(known))
        assert (ledger.norm <= 1.01 * optimum(known, L2())).all()
