"""Series of several lengths: what only fills up the end of a row never changes, whatever searches."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import APGD, FAB, PGD, Attack, Square
from blindspots.ball import BALLS, L1, L2, Ball, Linf
from blindspots.errors import InputError
from blindspots.experiments.evaluate.features import kept, restored
from blindspots.experiments.evaluate.texts import bound
from blindspots.random import keys
from blindspots.rows import Around

LENGTHS = (20, 13, 7, 1, 20, 9)


def series(lengths: tuple[int, ...] = LENGTHS, channels: int = 2, length: int = 20) -> Tensor:
    """Rows (N, C, T) that are filled up with zeros; a zero inside of a row is no padding."""
    g = torch.Generator().manual_seed(1)
    x = 0.1 + 0.8 * torch.rand(len(lengths), channels, length, generator=g)
    x[:, :, 3] = 0.0
    for row, end in zip(x, lengths, strict=True):
        row[:, max(end - 1, 0)] = 0.5
        row[:, end:] = 0.0
    return x


class Sum(nn.Module):
    """Two classes by a weighted sum, in which the padding counts more than anything else."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        weight = torch.linspace(1, 2, like[0].numel()).view(like.shape[1:])
        weight[:, -8:] *= 20
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        total = (x * self.weight).flatten(1).sum(1)
        return torch.stack([total, -total], 1)


@pytest.mark.parametrize("kind", BALLS.values())
@pytest.mark.parametrize("unit", [None, 0.5])
def test_points_of_the_ball_have_the_same_padding(kind: type[Ball], unit: float | None) -> None:
    x, g = series(), torch.Generator().manual_seed(2)
    threat, plain = kind(3.0, padding=0.0, unit=unit), kind(3.0, unit=unit)
    around = Around(x, torch.full((len(x),), 3.0))
    far = x + torch.randn(x.shape, generator=g)
    for point in (threat.project(far, around), threat.sample(around, keys(0, torch.arange(len(x)))), far):
        moved = any(bool((point[i, :, end:] != 0).any()) for i, end in enumerate(LENGTHS))
        assert moved == (point is far)
        assert threat.holds(point, around).all() != moved
    project = threat.project(far, around)
    assert not torch.equal(project[0], x[0])
    assert torch.equal(project[0], plain.project(far, around)[0])  # a row without padding is as ever


def test_distances_are_infinite_where_padding_changed_and_numpy_agrees() -> None:
    x = series()
    inside, outside = x.clone(), x.clone()
    inside[:, :, 0] += 0.05
    outside[:, 1, -1] += 0.05  # one channel is enough
    threat = L2(0.2, padding=0.0)
    for measure in (threat.distance, lambda a, b: torch.from_numpy(threat.measured(a.numpy(), b.numpy())).float()):
        assert torch.allclose(measure(inside, x), torch.full((len(x),), 0.05 * 2**0.5))
        assert measure(outside, x).isinf().tolist() == [end < 20 for end in LENGTHS]


def test_rows_of_nothing_but_padding_cannot_move_and_others_can() -> None:
    x = series((20, 5))
    x = torch.cat([x, torch.zeros_like(x[:1])])
    around = Around(x, torch.full((3,), 0.1))
    assert Linf(0.1, padding=0.0).immovable(around).tolist() == [False, False, True]
    assert not Linf(0.1).immovable(around).any()


@pytest.mark.parametrize("kind", [Linf, L2, L1])
def test_the_steepest_step_wastes_nothing_on_padding(kind: type[Ball]) -> None:
    """One step of the radius reaches what the closed form reaches: the dual norm of the weights that may change."""
    x = series() * 0 + series().clamp(0.4, 0.6) * (series() != 0)
    net, threat = Sum(x), kind(0.01, lo=-9, hi=9, padding=0.0)
    weight = net.weight.detach().expand_as(x)
    free = threat.free(x)
    assert free is not None
    best = 0.01 * kind()._dual(weight * free)
    step = threat.steepest(threat.pulled(-weight, x))
    moved = threat.project(x + 0.01 * step, Around(x, torch.full((len(x),), 0.01)))
    gained = (net(x) - net(moved))[:, 0].detach()
    assert torch.allclose(gained, best, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attack", [PGD(5), APGD(5), FAB(5), Square(20)])
@pytest.mark.parametrize("name", ["linf", "l2"])
def test_no_attack_changes_padding(attack: Attack, name: str) -> None:
    x = series()
    net = nn.Sequential(Sum(x))
    bias = (x * net[0].weight).flatten(1).sum(1).detach()
    y = torch.zeros(len(x), dtype=torch.int64)
    model = bs.Model(_Shifted(net, float(bias.median()) - 1.0))
    run = bs.attack(model, x, y, attack, threat=BALLS[name](0.3 if name == "linf" else 2.0, padding=0.0))
    moved = run.adversarial
    for i, end in enumerate(LENGTHS):
        assert torch.equal(moved[i, :, end:], x[i, :, end:])


class _Shifted(nn.Module):
    def __init__(self, net: nn.Module, by: float) -> None:
        super().__init__()
        self.net, self.by = net, by

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) - torch.tensor([self.by, -self.by])


def test_padding_is_a_setting_that_the_run_keeps(tmp_path: Path) -> None:
    x = series()
    np.savez(tmp_path / "series.npz", x=x.numpy(), y=np.zeros(len(x), np.int64))
    (tmp_path / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        total = x[:, :, :10].sum((1, 2)) - 3 + 20 * x[:, :, 12:].sum((1, 2))\n"
        "        return torch.stack([total, -total], 1)\n"
        "def make():\n    return Net()\n"
    )
    run = bs.attack(
        bs.load_model(f"{tmp_path / 'net.py'}:make"), attack=PGD(5), data=str(tmp_path / "series.npz"),
        threat="linf:0.2", padding=0.0, layout="as-is", out=tmp_path / "run",
    )  # fmt: skip
    assert bs.verify(tmp_path / "run").ok
    assert run.config.padding == 0.0
    page = bs.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "holds nothing but 0 may not change" in page
    for i, end in enumerate(LENGTHS):
        assert torch.equal(run.adversarial[i, :, end:], x[i, :, end:])


def test_a_threat_is_restored_with_its_padding() -> None:
    threat = L2(0.5, padding=-1.5)
    assert restored("l2:0.5", (0.0, 1.0), kept(threat)) == threat
    assert restored("l2:0.5", (0.0, 1.0), {}) == L2(0.5) != threat


def test_padding_has_to_be_finite() -> None:
    with pytest.raises(InputError, match="finite value as padding"):
        Linf(0.1, padding=float("inf"))


class Total(nn.Module):
    """One number, to which what comes last adds most."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * torch.linspace(1, 2, 40).view(2, 20)).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("threat", [L2(0.05, padding=0.0), bs.SNR(26, padding=0.0)])
def test_numbers_move_as_far_as_the_closed_form_says_and_are_proved_again(threat: Ball, tmp_path: Path) -> None:
    x = series()
    model, weight = bs.Model(Total(), bounds=(-1, 1), output="values"), torch.linspace(1, 2, 40).view(2, 20)
    data = bs.ArrayData(x, Total()(x), values=True)
    run = bs.evaluate(model, data=data, threat=threat, goal="move:0.1", out=tmp_path / "run")
    own = x.flatten(1).norm(dim=1) if isinstance(threat, bs.SNR) else torch.ones(len(x))
    free = torch.stack([weight * (torch.arange(20) < end) for end in LENGTHS]).flatten(1)
    best = float(threat.radius or 0) * own * free.norm(dim=1)
    last = run.verdict.reach[-1]
    assert last.attacked.mean == pytest.approx(float(best.mean()), rel=1e-4)
    assert last.attacked.largest == pytest.approx(float(best.max()), rel=1e-4)
    assert last.noise.largest < last.attacked.largest
    assert bs.verify(tmp_path / "run", model, data).problems == []


def test_texts_have_no_padding() -> None:
    with pytest.raises(InputError, match="padding for rows of numbers, got 0 for texts"):
        bound(bs.Words(0.1), SimpleNamespace(config=SimpleNamespace(padding=0.0)))  # type: ignore[arg-type]
