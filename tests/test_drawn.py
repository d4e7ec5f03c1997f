"""Series as a report shows them: lines without padding, and how rough changes are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import blindspots as bs
from blindspots.attacks import PGD, Smooth
from blindspots.experiments.evaluate.drawn import drawn, is_series, length_of, roughness, roughness_of
from blindspots.experiments.evaluate.evidence import Evidence
from closed_form import Linear


def test_roughness_of_known_changes() -> None:
    t = np.arange(4001.0)
    assert roughness(np.stack([2 * t, 1 - t])) == pytest.approx(0, abs=1e-12)
    assert roughness((-1.0) ** t[None]) == pytest.approx(16)
    assert roughness(np.random.default_rng(0).standard_normal((3, 4001))) == pytest.approx(6, rel=0.05)
    w = 0.3  # of a wave the second difference is -(2 sin(w / 2))^2 times the wave itself
    assert roughness(np.sin(w * t)[None]) == pytest.approx((2 * math.sin(w / 2)) ** 4, rel=0.01)
    assert math.isnan(roughness(np.zeros((1, 9))))
    assert math.isnan(roughness(np.ones((1, 2))))


def test_a_series_ends_where_only_padding_follows() -> None:
    x = np.array([[1.0, 0, 0, 0], [0, 0, 2, 0]])
    assert [length_of(x, 0.0), length_of(x[:1], 0.0), length_of(x, None), length_of(0 * x, 0.0)] == [3, 1, 4, 1]


def attacked(search: PGD | Smooth, padding: float | None = None, out: Path | None = None) -> bs.Evaluation:
    g = torch.Generator().manual_seed(1)
    net = Linear(torch.randn(2, 60, generator=g), torch.zeros(2))
    x = 0.3 + 0.4 * torch.rand(6, 60, generator=g)
    x[3:, 40:] = 0
    model = bs.Model(torch.nn.Sequential(torch.nn.Flatten(), net), name="line")
    return bs.attack(
        model, x[:, None], net(x).argmax(1), search, threat=bs.Linf(0.3, padding=padding), to_the_end=True, out=out
    )


def test_what_is_drawn_is_the_row_before_its_padding() -> None:
    run = attacked(PGD(5), 0.0)
    evidence = Evidence(run)
    rows = np.flatnonzero(evidence.rows.broken)
    for row in rows:
        found, end = drawn(evidence, int(row)), 60 if row < 3 else 40
        x, moved = evidence.clean(row)[:, :end], evidence.adversarial(row)[:, :end]
        assert (found.length, len(found.lines), found.left_out) == (end, 1, 0)
        assert (found.low, found.high) == (min(x.min(), moved.min()), max(x.max(), moved.max()))
        points = np.array([p.split() for p in found.lines[0][1].strip("M").split("L")], float)
        assert points[:, 0] == pytest.approx(np.linspace(0, 100, end), abs=0.01)
        assert 100 - points[:, 1] == pytest.approx(100 * (moved[0] - found.low) / (found.high - found.low), abs=0.01)
    assert roughness_of(evidence) == pytest.approx([drawn(evidence, int(row)).roughness for row in rows])


def test_smooth_changes_are_less_rough_and_the_report_says_it(tmp_path: Path) -> None:
    rough = roughness_of(Evidence(attacked(PGD(5))))
    run = attacked(Smooth(PGD(5), sigma=4.0), out=tmp_path / "run")
    smooth = roughness_of(Evidence(run))
    assert np.median(smooth) < 0.3 * np.median(rough)
    page = bs.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert page.count('class="drawn"') == len(smooth) > 0
    assert "Series before (grey) and after (red)" in page
    assert "roughness" in page
    assert "8 bits" not in page


def test_long_series_keep_their_peaks() -> None:
    from blindspots.experiments.evaluate.drawn import _line

    c = np.zeros(10_000)
    c[7777] = 1.0
    points = [p.split() for p in _line(c, 0.0, 1.0).strip("M").split("L")]
    assert len(points) <= 600
    assert ["77.78", "0.00"] in points


def test_pictures_and_tables_are_no_series() -> None:
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    for rows in (x, x.flatten(1)):
        assert not is_series(Evidence(bs.attack(bs.Model(net), rows, y, PGD(1), threat="linf:0.1")))
