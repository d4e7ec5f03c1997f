"""Filled-up rows in the other kinds of runs: hardening leaves padding as it is, and what cannot says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.attacks import PGD
from blindspots.ball import L2, Ball, Linf
from blindspots.errors import InputError
from blindspots.experiments.harden.adversaries.adversary import Networks, climb, radii
from blindspots.experiments.harden.adversaries.carried import FreeAdversary, UniversalAdversary
from blindspots.experiments.harden.adversaries.noise import NoiseAdversary, StepAdversary
from blindspots.experiments.harden.batches import Batch
from blindspots.experiments.harden.objectives import slope
from blindspots.experiments.harden.recipe import Free, Noise, NoisyStep, TrainingLoss, Universal
from blindspots.experiments.harden.study import trials
from blindspots.random import keys
from tones import Ear, trained, write_tones

LENGTHS = (12, 7, 3, 12)


def series() -> Tensor:
    x = 0.3 + 0.4 * torch.rand(len(LENGTHS), 2, 12, generator=torch.Generator().manual_seed(0))
    return x * (torch.arange(12) < torch.tensor(LENGTHS)[:, None])[:, None]


class Late(nn.Module):
    """What comes last counts most."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(1, 5, 24).view(2, 12))

    def forward(self, x: Tensor) -> Tensor:
        total = (x * self.weight).flatten(1).sum(1)
        return torch.stack([total, -total], 1)


OBJECTIVE = TrainingLoss()
MAKERS: dict[str, Callable[[Ball], Any]] = {
    "step": lambda threat: StepAdversary(OBJECTIVE, NoisyStep(), threat),
    "free": lambda threat: FreeAdversary(OBJECTIVE, Free(replays=2), threat),
    "universal": lambda threat: UniversalAdversary(OBJECTIVE, Universal(), threat),
    "uniform": lambda threat: NoiseAdversary(OBJECTIVE, Noise(shape="uniform"), threat),
    "gaussian": lambda threat: NoiseAdversary(OBJECTIVE, Noise(shape="gaussian"), threat),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("threat", [Linf(0.1, padding=0.0), L2(0.3, padding=0.0)])
def test_adversaries_in_training_leave_padding_alone_and_move_all_else(name: str, threat: Ball) -> None:
    x, net = series(), Late()
    batch = Batch(x, torch.zeros(4, dtype=torch.int64), keys(0, torch.arange(4)))
    nets, adversary = Networks(net, net, net, lambda t: t), MAKERS[name](threat)
    for _ in range(2):
        (form,) = adversary.perturb(nets, batch, 1.0)
        if form.requires_grad:
            adversary.losses(nets, batch, [form]).sum().backward()
            adversary.learn(nets, batch, 1.0)
    for moved, clean, end in zip(form.detach(), x, LENGTHS, strict=True):
        assert torch.equal(moved[:, end:], clean[:, end:])
        assert not torch.equal(moved[:, :end], clean[:, :end])


def test_steps_in_training_waste_nothing_on_padding() -> None:
    """One step of the radius lowers the score by radius times the length of the weights that may change."""
    x, net, threat = series(), Late(), L2(0.1, -9, 9, padding=0.0)
    batch = Batch(x, torch.zeros(4, dtype=torch.int64), keys(0, torch.arange(4)))
    attack = PGD(steps=1, stride=1.0, random_start=False)
    moved = climb(attack, threat, batch, radii(threat, batch, 1.0), net, slope(OBJECTIVE, net, x, batch.y))
    free = net.weight.detach() * (x != 0)
    assert torch.allclose((net(x) - net(moved))[:, 0].detach(), 0.1 * free.flatten(1).norm(dim=1), rtol=1e-4)


def test_studies_of_series_keep_their_padding_and_turn_no_pictures() -> None:
    threat = Linf(0.1, padding=0.0)
    found, pictures = list(trials(threat, (3, 12), 2)), list(trials(replace(threat, padding=None), (3, 12), 2))
    assert {t.threat.padding for t in found} == {0.0}
    assert {t.name for t in pictures} - {t.name for t in found} == {"spatial", "salt and pepper", "blur", "contrast"}


@pytest.mark.slow
def test_a_network_of_sounds_is_hardened_within_its_padding_and_proved_again(tmp_path: Path) -> None:
    data = bs.load_data(write_tones(tmp_path / "tones", 26))
    model = bs.Model(trained(), bounds=(-1, 1), name="ear")
    run = bs.harden(
        model, data=data, threat="linf:0.05", recipe="fast", epochs=1, protocol="fast", controls=False, study_rows=0,
        out=tmp_path / "run",
    )  # fmt: skip
    assert run.config.padding == 0.0
    for one in (run.before, run.after):
        assert one.config.padding == 0.0
        x, moved = one.parts.joined("shards")["x"], one.adversarial
        assert torch.equal(moved[..., -1][x[..., -1] == 0], x[..., -1][x[..., -1] == 0])
    assert not bs.verify(tmp_path / "run", model, data).problems
    page = bs.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "Series before (grey) and after (red)" in page


REFUSING: dict[str, Callable[[bs.Model, Any], Any]] = {
    "detector": lambda model, data: bs.detect(model, data=data, threat="linf:0.05"),
    "perturbation": lambda model, data: bs.universal(model, data=data, threat="linf:0.05"),
    "transfer": lambda model, data: bs.transfer([model, model], data=data, threat="linf:0.05"),
    "certificate": lambda model, data: bs.certify(model, data=data, sigma=0.1),
    "studies": lambda model, data: bs.inspect(model, data=data, threat="linf:0.05", part="stability"),
}


@pytest.mark.parametrize("name", REFUSING)
def test_kinds_that_change_all_of_a_row_refuse_rows_that_were_filled_up(name: str, tmp_path: Path) -> None:
    data = bs.load_data(write_tones(tmp_path / "tones", 12))
    with pytest.raises(InputError, match=f"rows of one length for .*{name}.*cut all rows to one length"):
        REFUSING[name](bs.Model(Ear(), bounds=(-1, 1)), data)


def test_padding_in_a_threat_is_refused_by_the_same_kinds() -> None:
    x = series()
    with pytest.raises(InputError, match="in which all of a row may change, got one with padding"):
        bs.universal(Late(), x, torch.zeros(4, dtype=torch.int64), threat=Linf(0.1, padding=0.0))
