"""Gradients at a fixed radius: what BIM, MI-, NI- and VMI-FGSM, ACG, PMA, ODI and APGD promise."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blindspots.attacks import APGD, DDN, FGSM, PGD, Attack, Through
from blindspots.attacks.directions import balanced
from blindspots.attacks.gradient.acg import ACG, Place, beta
from blindspots.attacks.gradient.apgd_l1 import SparseAPGD
from blindspots.attacks.gradient.bim import BIM
from blindspots.attacks.gradient.mifgsm import MIFGSM
from blindspots.attacks.gradient.nifgsm import NIFGSM
from blindspots.attacks.gradient.odi import ODI
from blindspots.attacks.gradient.pma import PMA, Term
from blindspots.attacks.gradient.progress import Progress
from blindspots.attacks.gradient.vmifgsm import VMIFGSM
from blindspots.ball import BALLS, L1, L2, Linf
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.problem import Job, Need, Problem, Question
from blindspots.testing.attack import Net, drive, jobs, problem_of
from blindspots.threat import Threat
from closed_form import optimum, plane
from searching import alternating, kinds, search

SHAPE = (2, 5, 4)
ATTACKS: list[tuple[Attack, float]] = [
    (BIM(), 1.05),
    (MIFGSM(), 1.05),
    (NIFGSM(), 1.05),
    (VMIFGSM(6, neighbours=2), 1.05),
    (VMIFGSM(6, neighbours=2, nesterov=True), 1.05),
    (ACG(20), 1.05),
    (ACG(20, random_start=True), 1.05),
    (PMA(20), 1.05),
    (ODI(), 1.05),
    (ODI(ACG(20)), 1.05),
]
CASES = [
    pytest.param(attack, threat, enough, id=f"{attack!r}-{threat.name}")
    for attack, enough in ATTACKS
    for threat in kinds(attack)
]


def probes(attack: Attack, threat: Threat, job: Job) -> list[Tensor]:
    return [state.probe for state, _ in drive(attack, problem_of(attack, threat), job, Net(SHAPE))]


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize(("attack", "threat", "enough"), CASES)
def test_a_radius_is_won_exactly_where_it_reaches_the_boundary(
    attack: Attack, threat: Threat, enough: float, targeted: bool
) -> None:
    known = plane(12, (24,), gap=(0.05, 0.3))
    reach = alternating(0.95, enough, rows=12)
    ledger = search(
        attack, known, threat, reach * optimum(known, threat), Objective(targeted=targeted, loss=attack.loss)
    )
    assert torch.equal(ledger.won, reach > 1)


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (FGSM(random_start=True), 2, 1),
        (BIM(7), 8, 7),
        (MIFGSM(7), 8, 7),
        (NIFGSM(7), 8, 7),
        (VMIFGSM(4, neighbours=3), 14, 13),
        (VMIFGSM(1, neighbours=3), 2, 1),
        (VMIFGSM(4, neighbours=0), 5, 4),
        (ACG(7), 8, 7),
        (PMA(7), 16, 15),
        (ODI(PGD(7), steps=2), 10, 9),
        (ODI(PGD(7), steps=0), 8, 7),
    ],
    ids=str,
)
def test_an_attack_costs_what_its_documentation_says(attack: Attack, forwards: int, backwards: int) -> None:
    ledger = search(attack, plane(4, (2, 3, 4), gap=(0.2, 0.3)), L2(), torch.full((4,), 1e-3))
    assert ledger.forwards.tolist() == [1 + forwards] * 4
    assert ledger.backwards.tolist() == [backwards] * 4


def test_fgsm_from_a_random_point_steps_a_quarter_further() -> None:
    job = jobs(FGSM(), Linf())
    first, second = probes(FGSM(random_start=True), Linf(), job)
    assert not torch.equal(first, job.x)
    r = job.r.view(-1, 1, 1, 1)
    moved, free = second - first, ((second - job.x).abs() < 0.99 * r) & (second > 0) & (second < 1)
    assert free.any()
    torch.testing.assert_close(moved.abs()[free], (1.25 * r).expand_as(moved)[free])
    known = plane(12, (24,), gap=(0.05, 0.3))
    assert not search(FGSM(random_start=True), known, Linf(), 0.95 * optimum(known, Linf())).won.any()
    assert search(FGSM(random_start=True), known, Linf(), 1.7 * optimum(known, Linf())).won.all()


@pytest.mark.parametrize("threat", kinds(MIFGSM()), ids=lambda threat: threat.name)
def test_without_memory_the_momentum_attacks_are_bim(threat: Threat) -> None:
    job = jobs(MIFGSM(), threat)
    plain = probes(BIM(5), threat, job)
    assert all(map(torch.equal, plain, probes(PGD(5, random_start=False), threat, job)))
    for attack in (MIFGSM(5, decay=0.0), NIFGSM(5, decay=0.0)):
        for ours, bim in zip(probes(attack, threat, job), plain, strict=True):
            torch.testing.assert_close(ours, bim, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attack", [MIFGSM(6, stride=0.3, decay=0.9), NIFGSM(6, stride=0.3, decay=0.9)], ids=str)
def test_momentum_is_that_of_the_paper(attack: MIFGSM) -> None:
    """Against the recurrences as they are written, for one row alone."""
    job = jobs(attack, Linf())[3:4]
    low, high = (job.x - job.r).clamp_min(0), (job.x + job.r).clamp_max(1)
    x, g, length = job.start, torch.zeros_like(job.x), 0.3 * float(job.r)
    wanted = []
    for _ in range(attack.steps):
        ahead = x - length * 0.9 * g if isinstance(attack, NIFGSM) else x
        at = ahead.clamp(low, high).requires_grad_()
        (grad,) = torch.autograd.grad(Objective(loss="ce").descend(Net(SHAPE)(at), job.y, job.target).sum(), at)
        wanted.append(at.detach())
        g = 0.9 * g + grad / grad.abs().mean()
        x = (x - length * g.sign()).clamp(low, high)
    for ours, theirs in zip(probes(attack, Linf(), job), [*wanted, x], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("threat", kinds(BIM()), ids=lambda threat: threat.name)
def test_gradients_of_all_sizes_weigh_the_same_in_every_row(threat: Threat) -> None:
    g = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([1.0, 1e-30, 1e30, 0.0])[:, None, None]
    torch.testing.assert_close(balanced(threat, sizes * g)[:3], balanced(threat, g)[:3])
    assert (balanced(threat, sizes * g)[3] == 0).all()


def test_neighbours_on_the_iterate_itself_change_nothing() -> None:
    """Then their mean gradient is the iterate's own, and what is added is zero."""
    job = jobs(MIFGSM(), L2())
    tuned = probes(VMIFGSM(5, neighbours=2, beta=0.0), L2(), job)[::3]
    for ours, plain in zip(tuned, probes(MIFGSM(5), L2(), job), strict=False):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


def test_the_tuning_is_the_mean_gradient_of_the_neighbours_less_the_iterates_own() -> None:
    attack, job = VMIFGSM(3, neighbours=4), jobs(VMIFGSM(), Linf())
    turns = list(drive(attack, problem_of(attack, Linf()), job, Net(SHAPE)))
    grads = [seen.grad for _, seen in turns]
    wanted = torch.stack([g for g in grads[1:5] if g is not None]).mean(0) - grads[0]
    torch.testing.assert_close(turns[5][0].tuning, wanted)  # type: ignore[attr-defined]
    assert all(torch.equal(state.at, job.start) for state, _ in turns[:5])  # type: ignore[attr-defined]


def test_conjugate_directions_are_those_of_hestenes_and_stiefel() -> None:
    grad, before = torch.tensor([[-3.0, 1.0], [3.0, 1.0], [1.0, 2.0], [-3.0, 1.0]]), torch.tensor([[1.0, 1.0]] * 4)
    direction = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 0.0], [2.0, 1.0]])
    small = torch.tensor([1.0, 1.0, 1.0, 1e-25])[:, None]
    # -(-3, 1).(-4, 0) / (2, 1).(-4, 0) = 1.5; negative; no direction yet; as the first, but tiny
    place = Place(torch.zeros(4, 2), small * grad, small * before, small * direction)
    assert beta(place).tolist() == [1.5, 0.0, 0.0, 1.5]


def test_two_conjugate_directions_reach_the_minimum_of_a_quadratic_in_two_dimensions() -> None:
    """With exact line searches, as conjugate gradients must; steepest descent does not."""
    hessian = torch.tensor([[10.0, 0.0], [0.0, 1.0]])
    x = torch.tensor([[1.0, 10.0]])
    g = x @ hessian
    s = g
    after = x - (g * s).sum() / (s @ hessian * s).sum() * s
    new = after @ hessian
    s = new + beta(Place(after, new, g, s))[:, None] * s
    end = after - (new * s).sum() / (s @ hessian * s).sum() * s
    assert end.norm() < 1e-5


def test_a_step_halves_where_nothing_was_gained_and_only_there() -> None:
    job = jobs(APGD(), Linf())[:2]
    progress, steps = Progress.begin(job), 100
    for t in range(23):
        loss = torch.stack([torch.tensor(1.0), torch.tensor(-float(t))])  # one row stands still, one always gains
        progress, back = progress.seen(loss).judged(torch.full((2,), t), steps, 0.75)
        assert back.tolist() == [t == 22, False]
    assert torch.equal(progress.length, job.r * torch.tensor([1.0, 2.0]))


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "both": lambda p, y: p.gather(1, y[:, None])[:, 0] - p.scatter(1, y[:, None], -1).amax(1),
    "own": lambda p, y: p.gather(1, y[:, None])[:, 0],
    "other": lambda p, y: -p.scatter(1, y[:, None], -1).amax(1),
}


def test_pma_descends_one_term_of_its_loss_first() -> None:
    attack, job = PMA(4), jobs(PMA(), Linf())
    names = ["own", "own", "both", "both", "both", "other", "other", "both", "both"]
    for name, (state, seen) in zip(names, drive(attack, problem_of(attack, Linf()), job, Net(SHAPE)), strict=False):
        x = state.probe.clone().requires_grad_()
        (grad,) = torch.autograd.grad(TERMS[name](Net(SHAPE)(x).softmax(1), job.y).sum(), x)
        torch.testing.assert_close(seen.grad, grad)


def test_the_terms_of_a_directed_goal_are_label_and_target() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0]])
    y, target = torch.tensor([0]), torch.tensor([1])
    for which, wanted in enumerate((-1.0, 1.0, -2.0)):
        term = Term(torch.tensor([which])).descend(Objective(directed=True), logits, y, target)
        assert term.item() == wanted


def test_pma_begins_twice() -> None:
    job = jobs(PMA(), Linf())
    seen = probes(PMA(4), Linf(), job)
    assert not torch.equal(seen[0], seen[5])
    fixed = probes(PMA(4, random_start=False), Linf(), job)
    assert torch.equal(fixed[0], job.start)
    assert torch.equal(fixed[5], job.start)


@pytest.mark.parametrize("threat", kinds(ODI()), ids=lambda threat: threat.name)
def test_odi_goes_along_a_random_direction_of_the_output_that_is_the_rows_own(threat: Threat) -> None:
    attack, job = ODI(PGD(3), steps=3), jobs(ODI(), threat)
    turns = [(state, seen.logits) for state, seen in drive(attack, problem_of(attack, threat), job, Net(SHAPE))]
    weights = turns[0][0].aim.weights  # type: ignore[attr-defined]
    assert len(weights.unique(dim=0)) == len(weights)
    assert (weights.abs() <= 1).all()
    along = [(weights * logits).sum(1) for _, logits in turns[:4]]
    assert (along[3] < along[0]).all()
    assert not torch.equal(ODI().init(problem_of(attack, threat), replace(job, key=job.key + 1)).aim.weights, weights)


def test_odi_hands_its_end_to_the_attack_as_a_start() -> None:
    job = jobs(PGD(), Linf())
    attack = ODI(PGD(4), steps=2)
    found = probes(attack, Linf(), job)
    plain, job = PGD(4, random_start=False), replace(job, start=found[2])
    after = [state.probe for state, _ in drive(plain, problem_of(attack, Linf()), job, Net(SHAPE))]
    for ours, theirs in zip(found[2:], after, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("attack", [DDN(), Through(), ODI()], ids=str)
def test_odi_refuses_what_cannot_begin_where_it_is_told(attack: Attack) -> None:
    with pytest.raises(InputError, match="expected an attack by gradients in a ball"):
        ODI(attack)


def test_odi_searches_where_its_attack_does() -> None:
    assert ODI(NIFGSM()).threats == ("linf", "l2")
    assert ODI(PGD()).threats == ("linf", "l2", "l1")


def test_a_view_keeps_the_slope_that_its_attack_wants() -> None:
    attack, job = Through(PMA(4), views=(), copies=1), jobs(PMA(), Linf())
    for ours, plain in zip(probes(attack, Linf(), job), probes(PMA(4), Linf(), job), strict=True):
        torch.testing.assert_close(ours, plain)


def test_an_aim_is_what_gradients_are_of_and_nothing_else_changes() -> None:
    net, job, problem = Net(SHAPE), jobs(PMA(), Linf()), Problem(Objective(), Linf())
    aim = Term(torch.arange(len(job.y)) % 3)
    oracle = Oracle(Model(net), chunk=3)  # the aim is cut and padded as the rows are
    plain = oracle.look(problem, Question(job.y, job.target), job.x, Need.GRAD)
    aimed = oracle.look(problem, Question(job.y, job.target), job.x, Need.GRAD, None, aim)
    for name in ("logits", "loss", "margin", "won"):
        assert torch.equal(getattr(plain, name), getattr(aimed, name))
    assert plain.grad is not None
    assert aimed.grad is not None
    same = (plain.grad == aimed.grad).flatten(1).all(1)
    assert same.tolist() == [k % 3 == 0 for k in range(len(job.y))]


@pytest.mark.parametrize(
    ("steps", "phases", "every"), [(100, [30, 30, 41], [1, 1, 1]), (1000, [300, 300, 401], [12, 12, 16])]
)
def test_the_sparse_form_looks_at_its_sparsity_as_often_as_the_published_code(
    steps: int, phases: list[int], every: list[int]
) -> None:
    sparse, t = SparseAPGD(steps, True), torch.arange(steps + 1)
    assert sparse.phases == phases
    wanted = [i > 0 and i % k == 0 for n, k in zip(phases, every, strict=True) for i in range(n)]
    assert sparse.due(t).tolist() == wanted


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_sparse_form_ends_in_the_ball_however_few_steps_it_has(steps: int) -> None:
    job = jobs(APGD(), L1())
    assert L1().holds(probes(APGD(steps), L1(), job)[-1], job).all()


def test_threats_are_those_that_can_be_searched() -> None:
    for attack, _ in ATTACKS:
        assert set(attack.threats) <= set(BALLS)
