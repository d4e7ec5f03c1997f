"""The benchmark of time series, on a wheel of two tiny sets made here."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import series
from torch import Tensor, nn

from blindspots.records import clopper_pearson


def ts(rows: int, seed: int, wrong: int = 0) -> str:
    """A file of aeon's: a bump on the left is class 2, one on the right class 7, but for the last `wrong` rows."""
    rng, lines = np.random.default_rng(seed), []
    for i in range(rows):
        x = 0.01 * rng.standard_normal(16)
        x[3 + 7 * (i % 2) : 6 + 7 * (i % 2)] += 1
        lines.append(",".join(f"{value:.4f}" for value in x) + f":{(2, 7)[(i + (i >= rows - wrong)) % 2]}")
    return "\n".join(["#a comment", "@problemName Bump", "@classLabel true 2 7", "@data", *lines, ""])


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "aeon-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        for part, text in (("TRAIN", ts(24, 0)), ("TEST", ts(10, 1, wrong=1))):
            files.writestr(f"aeon/datasets/data/Bump/Bump_{part}.ts", text)
    return path


def test_series_and_labels_are_read_from_the_wheel(wheel: Path) -> None:
    x, y = series.read_set(wheel, "Bump", "TEST")
    assert (tuple(x.shape), x.dtype, y.tolist()) == ((10, 1, 16), torch.float32, [0, 1] * 4 + [0, 0])
    assert bool((x[0, 0, 3:6] > 0.5).all() & (x[1, 0, 10:13] > 0.5).all())


def test_the_network_has_the_published_layers_and_keeps_the_length() -> None:
    net = series.resnet(3, 64)
    assert net(torch.randn(2, 1, 24)).shape == (2, 3)
    assert net[:3](torch.randn(2, 1, 24)).shape == (2, 128, 24)
    kernels = [m.kernel_size[0] for m in net.modules() if isinstance(m, nn.Conv1d)]
    assert kernels == [8, 5, 3, 1, 8, 5, 3, 1, 8, 5, 3]


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)


def test_their_attack_goes_away_from_what_the_network_said_and_its_last_point_counts() -> None:
    """Four values within 0.1 move a sum by 0.4, whatever the label; steps beyond the radius are cut off."""
    x = torch.tensor([0.399, 0.401, -0.399, -0.401])[:, None, None] * torch.full((1, 1, 4), 0.25)
    assert series.theirs(Sum(), x, 1, 0.1).tolist() == [1, 0, 0, 1]
    assert series.theirs(Sum(), x, 10, 0.05).tolist() == [1, 0, 0, 1]
    assert series.theirs(Sum(), x, 1, 0.05).tolist() == [0, 0, 1, 1]


class Bumps(nn.Module):
    """Left bumps are class 0 by about 0.4, right ones class 1 by over 5, which six values of 0.1 can do."""

    def forward(self, x: Tensor) -> Tensor:
        over = x[:, 0, 3:6].sum(1) - x[:, 0, 10:13].sum(1) - 2.6
        return torch.stack([over, -over], 1)


@pytest.mark.slow
def test_training_learns_the_rows_and_is_repeated_by_its_seed(wheel: Path) -> None:
    x, y = series.read_set(wheel, "Bump", "TRAIN")
    net, again, other = (series.trained(x, y, 25, 4, seed) for seed in (0, 0, 1))
    with torch.no_grad():
        assert (net(x).argmax(1) == y).double().mean() > 0.9
        assert torch.equal(net(x), again(x))
        assert not torch.equal(net(x), other(x))


def test_the_table_has_both_denominators_and_results_are_kept(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(series, "PUBLISHED", {"Bump": (99.0, 50.0, 10.0)})
    monkeypatch.setattr(series, "RESULTS", tmp_path / "series.json")
    monkeypatch.setattr(series, "trained", lambda *_: Bumps().eval())
    for seed in ("0", "1"):
        monkeypatch.setattr(sys, "argv", ["series", str(wheel), "--width", "4", "--seed", seed])
        series.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| Bump")]
    low, high = clopper_pearson(4, 10)
    shares = f"99.0 | 90.0 | 50.0 | 40.0 | 10.0 | 40.0 | 40.0 | 40.0 | {100 * low:.1f} to {100 * high:.1f} | 44.4 |"
    assert table[-2:] == [f"| Bump | 4, {seed} | 10 | {shares}" for seed in (0, 1)]
    kept = json.loads((tmp_path / "series.json").read_text())["sets"]["Bump 4 1"]
    assert (kept["right"], kept["fast_of_right"]) == (9, pytest.approx(100 * 4 / 9))
