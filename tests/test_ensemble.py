from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import PGD
from blindspots.errors import InputError
from blindspots.models.ensemble import Ensemble
from blindspots.models.model import Model
from blindspots.models.skip import skip_gradients


def net(seed: int, classes: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, classes))


def inputs(rows: int = 6) -> Tensor:
    return torch.rand(rows, 3, 2, 2, generator=torch.Generator().manual_seed(0))


NETS = [net(1), net(2), net(3)]


def test_logits_are_averaged() -> None:
    x = inputs()
    assert torch.allclose(Ensemble(NETS).logits(x), torch.stack([n(x) for n in NETS]).mean(0))


def test_probabilities_are_averaged() -> None:
    x = inputs()
    wanted = torch.stack([n(x).softmax(1) for n in NETS]).mean(0)
    assert torch.allclose(Ensemble(NETS, "probabilities").logits(x).softmax(1), wanted, atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_cross_entropies_and_their_gradients_are_averaged_for_every_class(scale: float) -> None:
    nets = [nn.Sequential(n, Times(scale)) for n in NETS]
    for y in range(5):
        x, label = inputs().requires_grad_(), torch.full((6,), y)
        mean = torch.stack([F.cross_entropy(n(x), label, reduction="none") for n in nets]).mean(0)
        whole = F.cross_entropy(Ensemble(nets, "loss").logits(x), label, reduction="none")
        assert torch.allclose(whole, mean, rtol=1e-4, atol=1e-5)
        (wanted,), (got,) = (torch.autograd.grad(loss.sum(), x) for loss in (mean, whole))
        assert torch.allclose(got, wanted, rtol=1e-3, atol=1e-5 * scale)


def test_the_class_more_wins_only_where_members_disagree() -> None:
    agree = [Fixed([3.0, 1.0, 0.0]), Fixed([5.0, 0.0, 1.0])]
    assert Ensemble(agree, "loss").logits(inputs()).argmax(1).tolist() == [0] * 6
    disagree = [Fixed([9.0, 0.0, 0.0]), Fixed([0.0, 9.0, 0.0])]
    assert Ensemble(disagree, "loss").logits(inputs()).argmax(1).tolist() == [3] * 6


def test_a_member_alone_is_itself() -> None:
    x = inputs()
    for combine in ("logits", "probabilities", "loss"):
        scores = Ensemble(NETS[:1], combine).logits(x)[:, :5]
        assert torch.allclose(scores.softmax(1), NETS[0](x).softmax(1), atol=1e-6)


def test_preprocessing_of_members_is_kept() -> None:
    x, scaled = inputs(), Model(NETS[0], mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    ensemble = Ensemble([scaled, NETS[1]])
    assert torch.allclose(ensemble.logits(x), (scaled.logits(x) + NETS[1](x)) / 2)
    assert ensemble.digest != Ensemble(NETS[:2]).digest
    assert ensemble.digest != Ensemble([scaled, NETS[1]], "probabilities").digest
    assert Ensemble(NETS[:2]).digest == Ensemble(NETS[:2]).digest
    wide = [Model(n, bounds=(-1, 3)) for n in NETS]
    assert Ensemble(wide).bounds == (-1.0, 3.0)


def test_attacks_run_on_an_ensemble_and_leave_its_members_as_they_are() -> None:
    nets = [net(4).train(), net(5).train()]
    ensemble, x = Ensemble(nets), inputs(32)
    with torch.no_grad():
        y = ensemble.logits(x).argmax(1)
    result = bs.attack(ensemble, x, y, PGD(10), threat=bs.Linf(0.3))
    assert result.clean_accuracy == 1
    assert result.robust_accuracy < 0.5
    assert all(m.training for n in nets for m in n.modules())
    assert all(p.requires_grad for n in nets for p in n.parameters())


def test_members_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="same bounds"):
        Ensemble([net(1), Model(net(2), bounds=(0, 255))])
    with pytest.raises(InputError, match="at least one"):
        Ensemble([])
    with pytest.raises(InputError, match="combine"):
        Ensemble(NETS, "votes")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="same classes"):
        Ensemble([net(1, 5), net(1, 6)]).logits(inputs())


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, z: Tensor) -> Tensor:
        return self.factor * z


class Fixed(nn.Module):
    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, x: Tensor) -> Tensor:
        return self.scores.expand(len(x), -1) + 0 * x.flatten(1)[:, :1]


# ------------------------------------------------------------------ skip connections


def added(x: Tensor, f: Tensor) -> Tensor:
    return x + f


def added_to_branch(x: Tensor, f: Tensor) -> Tensor:
    return f + x


def added_in_place(x: Tensor, f: Tensor) -> Tensor:
    f += x
    return f


def added_by_method(x: Tensor, f: Tensor) -> Tensor:
    return f.add_(x)


def added_by_function(x: Tensor, f: Tensor) -> Tensor:
    return torch.add(x, f)


ADD: list[Callable[[Tensor, Tensor], Tensor]] = [
    added,
    added_to_branch,
    added_in_place,
    added_by_method,
    added_by_function,
]


class Residual(nn.Module):
    """z' = z + B A z, twice, with a place that is learned added first."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor] = added, shortcut: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.add = add
        self.place = nn.Parameter(torch.randn(6))
        self.a = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.b = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.short = nn.Linear(6, 6) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        z = x + self.place
        for a, b in zip(self.a, self.b, strict=True):
            z = self.add(self.short(z), b(a(z)))
        return z

    def jacobian(self, gamma: float) -> Tensor:
        whole = torch.eye(6)
        short = self.short.weight if isinstance(self.short, nn.Linear) else torch.eye(6)
        for a, b in zip(self.a, self.b, strict=True):
            whole = (short + gamma * b.weight @ a.weight) @ whole  # type: ignore[operator]
        return whole.detach()


def jacobian(model: nn.Module) -> Tensor:
    x = torch.rand(1, 6, generator=torch.Generator().manual_seed(1))
    return torch.autograd.functional.jacobian(lambda x: model(x)[0], x)[:, 0]


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("branches", [None, ["b.0", "b.1"]], ids=["found", "named"])
@pytest.mark.parametrize("shortcut", [False, True], ids=["identity", "shortcut"])
@pytest.mark.parametrize("add", ADD)
def test_gradients_of_branches_are_weakened(
    add: Callable[[Tensor, Tensor], Tensor], shortcut: bool, branches: list[str] | None, gamma: float
) -> None:
    model = Residual(add, shortcut)
    weakened = skip_gradients(model, gamma, branches)
    assert torch.allclose(jacobian(weakened), model.jacobian(gamma), atol=1e-5)
    assert torch.allclose(jacobian(model), model.jacobian(1.0), atol=1e-5)  # the network itself is as it was


def test_scores_stay_and_so_does_a_model() -> None:
    x = torch.rand(4, 6)
    model = Model(Residual(), bounds=(-1, 1), mean=0.3, std=0.5)
    weakened = skip_gradients(model, 0.5)
    assert torch.equal(weakened.logits(x), model.logits(x))
    assert weakened.bounds == model.bounds
    assert weakened.digest != model.digest
    with torch.no_grad():
        assert torch.equal(weakened.logits(x), model.logits(x))


def test_one_of_several_branches_can_be_named() -> None:
    model = Residual()
    first = skip_gradients(model, 0.0, ["b.0"])
    alone = torch.eye(6) + model.b[1].weight @ model.a[1].weight  # type: ignore[operator]
    assert torch.allclose(jacobian(first), alone, atol=1e-5)


def test_what_is_no_skip_connection_is_left_alone() -> None:
    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.sin() + x.cos()) + torch.ones_like(x) + x.detach()

    assert torch.equal(jacobian(skip_gradients(Sums(), 0.0)), jacobian(Sums()))


def test_a_network_may_be_very_deep() -> None:
    class Deep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(3000):
                x = x + 0.001 * x
            return x

    assert jacobian(skip_gradients(Deep(), 0.0))[0, 0] == pytest.approx(1.0)


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(InputError, match="named_modules"):
        skip_gradients(Residual(), 0.5, ["c"])


def test_an_ensemble_of_weakened_networks_is_attacked_like_any_other() -> None:
    nets = [
        nn.Sequential(nn.Flatten(), nn.Linear(12, 6), Residual(), nn.BatchNorm1d(6, affine=False)) for _ in range(2)
    ]
    for n in nets:
        n(inputs(64))  # centres the scores
    ensemble, x = Ensemble([skip_gradients(n, 0.5) for n in nets]), inputs(16)
    with torch.no_grad():
        y = ensemble.logits(x).argmax(1)
    assert bs.attack(ensemble, x, y, PGD(10), threat=bs.Linf(0.4)).robust_accuracy < 1
