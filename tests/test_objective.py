import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from blindspots.objective import DIRECTED, LOSSES, Objective, margin, own, strongest_other

LOGITS = torch.tensor([[3.0, 1.0, 0.0, -1.0]])
NAMES = list(LOSSES)
losses = pytest.mark.parametrize("loss", NAMES)


def classes(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def softmax(i: int) -> float:
    return math.exp(LOGITS[0, i]) / LOGITS.double().exp().sum().item()


@pytest.mark.parametrize(
    ("loss", "y", "value"),
    [
        ("margin", 0, 2),
        ("margin", 1, -2),
        ("margin", 3, -4),
        ("dlr", 0, 2 / 3),  # (3 - 1) / (3 - 0)
        ("dlr", 1, -2 / 3),
        ("ce", 0, math.log(softmax(0))),
        ("ce", 2, math.log(softmax(2))),
        ("probability-margin", 0, softmax(0) - softmax(1)),
        ("probability-margin", 2, softmax(2) - softmax(0)),
    ],
)
def test_an_untargeted_loss_of_known_logits(loss, y, value):
    descended = Objective(loss=loss).descend(LOGITS, classes(y), classes(-1))
    assert descended.tolist() == pytest.approx([value])


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        ("margin", 3),
        ("dlr", 3 / 3.5),  # (3 - 0) / (3 - (0 - 1) / 2)
        ("ce", -math.log(softmax(2))),
        ("probability-margin", softmax(0) - softmax(2)),
    ],
)
def test_a_loss_directed_at_class_2_of_known_logits(loss, value):
    descended = Objective(directed=True, loss=loss).descend(LOGITS, classes(0), classes(2))
    assert descended.tolist() == pytest.approx([value])


def test_a_targeted_margin_is_what_the_target_lacks_to_be_first():
    objective, logits = Objective(targeted=True), torch.tensor([[3.0, 1.0, 2.0]])
    assert objective.descend(logits, classes(0), classes(1)).item() == 2
    assert objective.descend(logits, classes(2), classes(1)).item() == 2
    assert objective.descend(logits, classes(1), classes(0)).item() == -1


@given(logits=st.lists(st.integers(-3, 3), min_size=2, max_size=5), data=st.data())
def test_success_is_strict_and_belongs_to_the_logits(logits, data):
    y, target = (data.draw(st.integers(0, len(logits) - 1)) for _ in range(2))
    row = torch.tensor([logits]).float()
    for loss in NAMES:
        for directed in (False, True):
            won = Objective(directed=directed, loss=loss).margin(row, classes(y), classes(target)) < 0
            assert won.item() == any(z > logits[y] for z in logits)
        won = Objective(targeted=True, loss=loss).margin(row, classes(y), classes(target)) < 0
        assert won.item() == all(logits[target] > z for i, z in enumerate(logits) if i != target)


def test_a_tie_is_not_a_win():
    tie = torch.tensor([[1.0, 1.0, 0.0]])
    assert Objective().margin(tie, classes(0), classes(1)).item() == 0
    assert Objective(targeted=True).margin(tie, classes(0), classes(1)).item() == 0
    above = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)) - 1
    assert (Objective().margin(tie + torch.tensor([0, above, 0]), classes(0), classes(1)) < 0).item()
    assert (Objective(targeted=True).margin(tie + torch.tensor([0, above, 0]), classes(0), classes(1)) < 0).item()


def test_own_and_strongest_other():
    assert own(LOGITS, classes(1)).item() == 1
    assert strongest_other(LOGITS, classes(0)).item() == 1
    assert strongest_other(LOGITS, classes(2)).item() == 3
    assert LOGITS.tolist() == [[3, 1, 0, -1]]


@losses
@pytest.mark.parametrize("objective", ["untargeted", "directed", "targeted"])
def test_descending_moves_the_logits_the_right_way(loss, objective):
    logits = LOGITS.clone().requires_grad_()
    chosen = Objective(targeted=objective == "targeted", directed=objective == "directed", loss=loss)
    step = -torch.autograd.grad(chosen.descend(logits, classes(0), classes(1)).sum(), logits)[0][0]
    assert step[1] > 0
    assert step[0] < 0 or (loss, objective) == ("dlr", "untargeted")  # there the scale shrinks with the first logit


@losses
@pytest.mark.parametrize("table", [LOSSES, DIRECTED], ids=["untargeted", "directed"])
def test_a_loss_gives_one_number_per_row_whoever_the_neighbours_are(loss, table):
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(6, 5, generator=generator), classes(0, 1, 2, 3, 4, 0)
    inputs = (logits, y) if table is LOSSES else (logits, y, y.flip(0))
    together = table[loss](*inputs)
    assert together.shape == (6,)
    for i in range(6):
        assert torch.equal(table[loss](*(part[i : i + 1] for part in inputs))[0], together[i])


@losses
def test_a_loss_ignores_what_is_added_to_all_logits(loss):
    objective = Objective(directed=True, loss=loss)
    for shift in (-50.0, 50.0):
        for chosen in (objective, Objective(loss=loss)):
            moved = chosen.descend(LOGITS + shift, classes(0), classes(2))
            assert torch.allclose(moved, chosen.descend(LOGITS, classes(0), classes(2)), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_dlr_ignores_the_scale_of_the_logits(scale):
    for objective in (Objective(loss="dlr"), Objective(directed=True, loss="dlr")):
        scaled, plain = (objective.descend(z, classes(0), classes(2)) for z in (LOGITS * scale, LOGITS))
        assert torch.allclose(scaled, plain)


def test_dlr_of_equal_logits_is_finite():
    flat = torch.zeros(1, 4)
    assert Objective(loss="dlr").descend(flat, classes(0), classes(1)).item() == 0
    assert Objective(directed=True, loss="dlr").descend(flat, classes(0), classes(1)).item() == 0


@pytest.mark.parametrize(
    ("objective", "needed"),
    [(Objective(loss="dlr"), 3), (Objective(loss="dlr", directed=True), 4), (Objective(loss="dlr", targeted=True), 4)],
)
def test_dlr_is_refused_for_too_few_classes(objective, needed):
    objective.check(needed)
    for too_few in range(2, needed):
        with pytest.raises(ValueError, match=f"needs at least {needed} classes, the model has {too_few}: use 'margin'"):
            objective.check(too_few)


@pytest.mark.parametrize("loss", ["ce", "margin", "probability-margin"])
@pytest.mark.parametrize("options", [{}, {"directed": True}, {"targeted": True}])
def test_the_other_losses_work_for_two_classes_and_are_refused_for_one(loss, options):
    objective, logits = Objective(loss=loss, **options), torch.tensor([[1.0, 0.0]])
    objective.check(2)
    assert objective.descend(logits, classes(0), classes(1)).isfinite().all()
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        objective.check(1)


@given(y=st.integers(0, 3))
def test_a_margin_is_positive_only_where_the_class_is_first(y):
    assert (margin(LOGITS, classes(y)) > 0).item() == (y == 0)
