import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from blindspots.attacks import APGD, DDN, FGSM, PGD, Attack
from blindspots.attacks.views.through import Through
from blindspots.attacks.views.views import GradientKernel, InputDiversity, Noise, Scales, Translations, View
from blindspots.ball import L2, Linf
from blindspots.errors import InputError
from blindspots.models.model import Model
from blindspots.objective import LossName, Objective
from blindspots.oracle import Oracle
from blindspots.problem import Job, Problem, Question
from blindspots.random import keys
from blindspots.rows import Around
from blindspots.threat import Threat
from closed_form import Linear, optimum, plane
from searching import alternating, kinds, search

VIEWS = [InputDiversity(0.5, 1.0), Scales(3, to=0.5), Translations(0.3), GradientKernel(0.2), Noise(0.1)]
STILL = [InputDiversity(chance=0.0), Scales(1), Translations(0.0), GradientKernel(0.2), Noise(0.0)]
BOX = Linf(0.1, -1.0, 2.0)


def images(*shape: int) -> Tensor:
    return BOX.lo + (BOX.hi - BOX.lo) * torch.rand(shape, generator=torch.Generator().manual_seed(0))


def seen_through(view: View, x: Tensor, number: int = 0) -> Tensor:
    rows = torch.arange(len(x))
    return view(x, keys(3, rows), torch.full_like(rows, number), BOX)


@pytest.mark.parametrize("view", STILL, ids=str)
def test_a_view_that_may_change_nothing_changes_nothing(view: View) -> None:
    x = images(4, 3, 8, 6)
    assert torch.allclose(seen_through(view, x), x, atol=1e-6)


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("shape", [(5, 3, 9, 7), (5, 11), (5, 1)], ids=str)
def test_a_view_stays_in_the_box_and_is_another_one_each_time(view: View, shape: tuple[int, ...]) -> None:
    x = images(*shape)
    views = torch.stack([seen_through(view, x, number) for number in range(8)])
    assert views.shape == (8, *shape)
    assert views.min() >= BOX.lo
    assert views.max() <= BOX.hi
    if x[0].numel() > 1 and not isinstance(view, GradientKernel):
        assert len(views.flatten(1).unique(dim=0)) >= 3


@pytest.mark.parametrize("view", [view for view in VIEWS if not isinstance(view, GradientKernel)], ids=str)
def test_gradients_come_back_through_the_adjoint(view: View) -> None:
    x, d = images(3, 2, 6, 5) / 2, 0.1 * images(3, 2, 6, 5)
    g = images(3, 2, 6, 5)
    leaf = x.clone().requires_grad_()
    (back,) = torch.autograd.grad(seen_through(view, leaf), leaf, g)
    change = seen_through(view, x + d) - seen_through(view, x)
    if isinstance(view, Noise):  # clipped on the way there, not on the way back
        change = d
    assert torch.allclose((change * g).flatten(1).sum(1), (d * back).flatten(1).sum(1), atol=1e-4)


def test_input_diversity_is_a_smaller_picture_somewhere_on_black() -> None:
    white, sides, places = torch.full((64, 1, 20, 20), BOX.hi), set(), set()
    view = seen_through(InputDiversity(0.8, 1.0), white)
    for row in (view > BOX.lo).squeeze(1):
        lines, columns = row.any(1).nonzero()[:, 0], row.any(0).nonzero()[:, 0]
        assert row[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(lines) == len(columns)
        sides.add(len(lines))
        places.add((int(lines[0]), int(columns[0])))
    assert sides == {16, 17, 18, 19}
    assert len(places) > 10
    assert set(view.unique().tolist()) == {BOX.lo, BOX.hi}
    unchanged = (seen_through(InputDiversity(0.8, 0.5), white) == white).flatten(1).all(1)
    assert 16 < unchanged.sum() < 48


def test_a_smaller_picture_is_interpolated_as_torch_does() -> None:
    x = images(1, 2, 10, 10)
    for number in range(8):
        view = seen_through(InputDiversity(0.6, 1.0), x, number)
        inside = (view[0] > BOX.lo).any(0)
        lines, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        picture = view[:, :, lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
        wanted = torch.nn.functional.interpolate(x, picture.shape[2:], mode="bilinear", align_corners=False)
        assert torch.allclose(picture, wanted, atol=1e-5)


def test_translations_are_whole_pixels_in_every_direction() -> None:
    x, shifts = images(1, 2, 8, 8), set()
    for number in range(60):
        view = seen_through(Translations(0.125), x, number)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                moved = torch.full((1, 2, 10, 10), BOX.lo)
                moved[:, :, 1 + down : 9 + down, 1 + right : 9 + right] = x
                if torch.allclose(view, moved[:, :, 1:9, 1:9], atol=1e-6):
                    shifts.add((down, right))
    assert len(shifts) == 9


def test_scales_take_turns() -> None:
    x = images(2, 3, 4, 4)
    for number in range(6):
        assert torch.allclose(seen_through(Scales(3), x, number), BOX.lo + (x - BOX.lo) / 2 ** (number % 3), atol=1e-6)


def test_the_kernel_convolves_the_gradient_and_nothing_else() -> None:
    x = images(1, 1, 9, 9).requires_grad_()
    view = seen_through(GradientKernel(0.2), x)
    assert torch.equal(view, x)
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1
    (back,) = torch.autograd.grad(view, x, point)
    line = torch.exp(-torch.linspace(-3, 3, 5).square() / 2)
    line = line / line.sum()
    assert torch.allclose(back[0, 0, 2:7, 2:7], line[:, None] * line, atol=1e-7)
    assert back.sum() == pytest.approx(1)


WRAPPED: list[Attack] = [
    Through(PGD(20), (), 2),
    Through(PGD(20), (Noise(0.05),), 2),
    Through(APGD(16), (Noise(0.05),), 2, plain=True),
    Through(FGSM(), (Scales(3, to=0.5),), 3),
    Through(PGD(20), (InputDiversity(chance=0.2),), 1, plain=True),
]
CASES = [pytest.param(a, threat, id=f"{a!r}-{threat.name}") for a in WRAPPED for threat in kinds(a)]


@pytest.mark.parametrize(("attack", "threat"), CASES)
def test_a_radius_is_won_exactly_where_it_reaches_the_boundary(attack: Attack, threat: Threat) -> None:
    known = plane(16, (24,), gap=(0.05, 0.3))
    reach = alternating(0.95, 1.05, rows=16)
    assert torch.equal(search(attack, known, threat, reach * optimum(known, threat)).won, reach > 1)


@pytest.mark.parametrize("inner", [PGD(5), APGD(6)], ids=str)
def test_one_look_at_the_probe_itself_is_the_attack_itself(inner: Attack) -> None:
    known = plane(16, (2, 3, 4), gap=(0.05, 0.3))
    r = optimum(known, L2())
    alone, through = search(inner, known, L2(), r), search(Through(inner, (), 1), known, L2(), r)
    assert torch.equal(alone.best, through.best)
    assert torch.equal(alone.near, through.near)
    assert torch.equal(alone.forwards, through.forwards)


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (Through(PGD(7), copies=3), 22, 21),
        (Through(PGD(7), copies=3, plain=True), 29, 28),
        (Through(FGSM(), (), 5), 6, 5),
    ],
    ids=str,
)
def test_it_costs_its_copies_for_every_gradient(attack: Attack, forwards: int, backwards: int) -> None:
    known = plane(4, (2, 3, 4), gap=(0.2, 0.3))
    ledger = search(attack, known, L2(), torch.full((4,), 1e-3))
    assert attack.looks == forwards
    assert ledger.forwards.tolist() == [1 + forwards] * 4
    assert ledger.backwards.tolist() == [backwards] * 4


def test_only_plain_probes_are_sure_to_lie_in_the_ball_and_the_last_is_one() -> None:
    x, y = torch.full((8, 3, 4, 4), 0.5), torch.zeros(8, dtype=torch.int64)
    for plain in (False, True):
        attack = Through(PGD(3), (Translations(0.3), Noise(0.2)), 2, plain)
        inside = [Linf().holds(probe, Around(x, torch.full((8,), 0.1))).all() for probe in probes(attack, x, y, 0.1)]
        assert inside == ([False, False] + [True] * plain) * 3 + [True]


def probes(
    attack: Attack, x: Tensor, y: Tensor, r: float, net: nn.Module | None = None, loss: LossName = "ce"
) -> list[Tensor]:
    """Everything that `attack` looks at, to its end."""
    problem = Problem(Objective(loss=loss), Linf())
    oracle = Oracle(Model(net or Linear(torch.ones(2, x[0].numel()), torch.zeros(2))))
    with oracle.session():
        scores = oracle.logits(x)
        job = Job(x, torch.full((len(x),), r), x, y, y, keys(0, torch.arange(len(x))), scores)
        state = attack.init(problem, job)
        seen = [state.probe]
        while not attack.final(state).all():
            state = attack.step(problem, job, state, oracle.look(problem, Question(y, y), state.probe, attack.need))
            seen.append(state.probe)
    return seen


class Guessing(nn.Module):
    """A linear model whose weights are drowned in noise, new for every row of every call."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(len(x), x.shape[1])
        z = (x * (self.weight + 3 * noise)).sum(1)
        return torch.stack([-z, z], 1)


def agreement(attack: Attack) -> float:
    """How many components of the step that `attack` takes have the sign of the true gradient."""
    torch.manual_seed(0)
    weight = torch.ones(50)
    y, x = torch.ones(40, dtype=torch.int64), torch.full((40, 50), 0.5)
    return float((probes(attack, x, y, 0.1, Guessing(weight), "margin")[-1] < x).float().mean())


def test_looking_again_and_again_sees_through_a_model_that_answers_at_random() -> None:
    assert agreement(FGSM()) < 0.7
    assert agreement(Through(FGSM(), (), 30)) > 0.93


def test_it_can_do_what_the_inner_attack_can() -> None:
    class OnlyL2(PGD):
        threats = ("l2",)
        loss = "dlr"
        targeted = False

    attack = Through(OnlyL2(3))
    assert attack.threats == ("l2",)
    assert attack.loss == "dlr"
    assert not attack.targeted
    assert Through(PGD(3)) == Through(PGD(3))
    assert Through.threats == ("linf", "l2", "l1")


def test_what_cannot_be_wrapped_is_refused() -> None:
    with pytest.raises(InputError, match="in a ball"):
        Through(DDN())
    with pytest.raises(InputError, match="copies"):
        Through(PGD(), copies=0)
    with pytest.raises(InputError, match="share of the side"):
        InputDiversity(0.0)


def test_without_two_spatial_dimensions_an_input_is_one_line_of_pixels() -> None:
    line = torch.arange(1.0, 7.0).expand(2, 6) / 6
    for number in range(8):
        view = seen_through(Translations(0.2), line, number)
        moved = [torch.full((2, 8), BOX.lo).index_copy(1, torch.arange(6) + i, line)[:, 1:7] for i in range(3)]
        assert all(any(torch.allclose(view[row], m[row], atol=1e-6) for m in moved) for row in range(2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader of models
def test_views_transfer(zoo: Path) -> None:
    sys.path.insert(0, str(zoo))
    from zoo import images as pictures
    from zoo import load

    others = [load("cifar10_resnet32"), load("cifar10_mlperf_tiny_resnet8")]
    x, y = pictures("cifar10", "test", 50)
    fooled = []
    for attack in (Through().attack, Through()):
        end = probes(attack, x, y, 4 / 255, load("cifar10_resnet20"))[-1]
        fooled.append(sum(int((other(end).argmax(1) != y).sum()) for other in others))
    assert fooled[1] > fooled[0] + 5
