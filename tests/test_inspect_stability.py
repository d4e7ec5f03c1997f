"""The study of stability as a run: bounds in order, forgeries found, layers and threats refused in sentences."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.data import as_data
from blindspots.experiments.inspect.stability.page import bars, layers, plot
from blindspots.experiments.inspect.stability.verdict import StabilityVerdict
from blindspots.experiments.inspect.stability.verify import checks
from blindspots.experiments.inspect.stability.verify_bounds import Bounds
from blindspots.experiments.inspect.stability.verify_bounds import norms as module_norms
from blindspots.runs.store import Parts
from blindspots.runs.world import World

SMALL: dict[str, Any] = {"bounded": 3, "perturbed": 12, "threat": "linf:0.02"}


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def _rows(n: int, *shape: int) -> tuple[Tensor, Tensor]:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)), torch.arange(n) % 3


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))


class Attending(nn.Module):
    """A norm over rows of tokens, which has no bound everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.norm(self.first(x)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("stability") / "run"
    done = bs.inspect.stability(_seeded(_mlp), *_rows(20, 6), out=folder, layer=("0",), **SMALL)
    return folder, done


def test_a_run_holds_and_its_numbers_are_in_order(run: tuple[Path, Any]) -> None:
    folder, done = run
    v: StabilityVerdict = done.verdict
    assert v.product is not None
    assert v.eclipse_fast is not None
    assert v.local is not None
    assert v.gradient <= v.found <= v.local <= v.eclipse_fast <= v.product
    assert v.found <= v.found_in_box <= v.eclipse_fast
    weights = [w.detach().double().numpy() for name, w in _seeded(_mlp).named_parameters() if name.endswith("weight")]
    assert v.product == pytest.approx(np.prod([np.linalg.norm(w, 2) for w in weights]), rel=1e-9)
    assert bs.verify(folder, model=_seeded(_mlp), data=_rows(20, 6)).ok


def test_metrics_say_why_they_have_no_interval(run: tuple[Path, Any]) -> None:
    metrics = run[1].verdict.metrics()
    assert metrics["product"].interval == "a proven bound"
    assert metrics["gap"].value == pytest.approx(metrics["eclipse_fast"].value / metrics["found_in_box"].value)
    assert metrics["local_gap"].value >= 1
    assert not isinstance(metrics["amplification"].interval, str)


def test_perturbations_are_followed_from_the_input_and_from_a_hidden_layer(run: tuple[Path, Any]) -> None:
    first, hidden = run[1].verdict.starts
    assert [g.layer for g in first.layers] == ["input", "0", "1", "2", "3", "4"]
    assert [g.layer for g in hidden.layers] == ["0", "1", "2", "3", "4"]
    assert first.layers[0].ratio.median == pytest.approx(1)
    assert hidden.layers[0].adversarial.median == pytest.approx(0.1)
    assert all(s.layers[-1].adversarial.median > s.layers[-1].noise.median for s in (first, hidden))


def test_no_move_within_the_proved_radius_changes_a_prediction(run: tuple[Path, Any]) -> None:
    """Half of the rows may be moved by the median; the row itself says how far."""
    net, around = _seeded(_mlp), run[1].parts.joined("around")
    x, scores, margins = around["x"], around["scores"], run[1].parts["whole"]["margins"]
    first = scores.argmax(1)
    for i in range(len(x)):
        others = [j for j in range(3) if j != first[i]]
        radius = min(float((scores[i, first[i]] - scores[i, j]) / margins[first[i], j]) for j in others)
        draw = torch.randn(500, 6, generator=torch.Generator().manual_seed(i))
        moved = x[i] + radius * draw / draw.norm(dim=1, keepdim=True)
        assert bool((net(moved).argmax(1) == first[i]).all())


def test_the_page_shows_the_gap_the_layers_and_the_growth(run: tuple[Path, Any]) -> None:
    folder, done = run
    page = bs.write_report(folder).read_text()
    for said in ("ECLipsE-Fast", "Layers from both sides", "perturbed at the input", "perturbed at 0"):
        assert said in page
    shown = bars(done)
    assert shown[0].name == "product of the layers"
    assert shown[0].share == 100
    assert sorted((b.share for b in shown if b.bound), reverse=True) == [b.share for b in shown if b.bound]
    assert [row[0] for row in layers(done.verdict).rows] == ["0", "2", "4"]
    assert len(plot(done.verdict.starts[0]).lines[0].values) == 6


def _problems(done: Any, part: str = "", column: str = "") -> list[str]:
    """What the proof itself says, behind seals and digests, of parts with other numbers in one column."""

    class Forged(Parts):
        def __getitem__(self, name: str) -> Any:
            found = super().__getitem__(name)
            return {**found, column: found[column] * 0.9} if name == part else found

    world = World(done.config, {"model": bs.Model(_seeded(_mlp)), "data": as_data(_rows(20, 6))})
    world.same = {"model": True, "data": True}
    parts = Forged(*(getattr(done.parts, field) for field in ("files", "at", "begun", "names", "digests")))
    return [problem for check in checks(done.config, done.verdict, parts, world) for problem in check.problems]


def test_the_proof_holds(run: tuple[Path, Any]) -> None:
    assert _problems(run[1]) == []


@pytest.mark.parametrize(
    ("part", "column", "said"),
    [
        ("around/00000", "local", "above|one below|local"),
        ("around/00000", "gradient", "gradient of row"),
        ("around/00000", "scores", "scores of the rows"),
        ("around/00000", "point", "found of row|within"),
        ("norms/000", "upper", "the norm of 0"),
        ("norms/002", "lower", "lower"),
        ("moved/00000", "noise", "noise perturbations after 0 in moved"),
        ("moved/00000", "moved", "within"),
        ("hidden/0/00000", "adversarial", "adversarial perturbations after 0 in hidden/0"),
        ("whole", "margins", "differences of scores"),
        ("whole", "eclipse_fast", "ECLipsE-Fast"),
    ],
)
def test_other_numbers_in_a_part_are_found(run: tuple[Path, Any], part: str, column: str, said: str) -> None:
    assert any(re.search(said, problem) for problem in _problems(run[1], part, column))


class Normalised(nn.Module):
    """Normalisation behind a convolution, activations in place, a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        self.more, self.head = nn.Conv2d(3, 3, 1), nn.Linear(48, 3)
        self.norm.running_var.uniform_(0.2, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.act(self.norm(self.conv(x)))
        return self.head((x + self.more(x)).flatten(1))


def test_normalisation_is_part_of_the_norm_that_is_proved_again(tmp_path: Path) -> None:
    net, data = _seeded(Normalised), _rows(9, 1, 4, 4)
    done = bs.inspect.stability(net, *data, out=tmp_path / "run", threat="l2:0.1", bounded=1, perturbed=7)
    assert bs.verify(tmp_path / "run", model=net, data=data).ok
    by_name = {layer.name: layer for layer in done.verdict.layers}
    assert by_name["norm"].op == "alias"
    assert len(by_name["add"].upper) == 2
    assert [g.layer for g in done.verdict.starts[1].layers] == ["more", "add", "flatten", "head"]


def test_a_layer_without_a_bound_is_named() -> None:
    done = bs.inspect.stability(_seeded(Attending), *_rows(10, 6), bounded=2, perturbed=4, threat="linf:0.001")
    v = done.verdict
    assert v.product is None
    assert [layer.name for layer in v.without_bound] == ["norm"]
    assert "product" not in v.metrics()
    (finding,) = [f for f in done.findings if f.code == "no-bound"]
    assert "norm (layer_norm)" in finding.saw
    assert [f.code for f in done.findings if f.severity == "warning"] == ["no-bound", "few-rows"]


def test_a_function_is_followed_by_its_operations() -> None:
    net = _seeded(_mlp)

    def plain(x: Tensor) -> Any:
        return net(x)

    done = bs.inspect.stability(plain, *_rows(12, 6), bounded=3, perturbed=4, threat="linf:0.02")
    assert [layer.name for layer in done.verdict.layers] == ["linear", "relu", "linear.2", "relu.2", "linear.3"]
    assert [start.at for start in done.verdict.starts] == ["input", "linear.2"]


def test_a_module_with_others_inside_stands_for_the_last_of_them() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 3)).eval()
    done = bs.inspect.stability(net, *_rows(12, 6), layer=("0",), bounded=3, perturbed=4, threat="linf:0.02")
    assert [start.at for start in done.verdict.starts] == ["input", "0.1"]


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        (_mlp, {"layer": ("fc9",)}, r"expected a layer among 0, 1, 2, 3, 4, got 'fc9'"),
        (_mlp, {"layer": ("4",)}, "with others behind it"),
        (_mlp, {"threat": "l1:1"}, "linf or l2"),
        (_mlp, {"threat": "linf"}, "radius"),
        (lambda: bs.BlackBox(lambda x: x[:, 0] > 0.5, classes=2), {}, "known by its answers alone"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(model: Any, settings: dict[str, Any], said: str) -> None:
    made = model()
    with pytest.raises(bs.InputError, match=said) as refused:
        bs.inspect.stability(made, *_rows(10, 6), **settings)
    assert re.fullmatch(r"expected .*[^.]", str(refused.value))


def test_texts_are_refused_in_a_sentence() -> None:
    with pytest.raises(bs.InputError, match="reads texts"):
        bs.inspect.stability("reviews", data="reviews", rows=4)


class Pooled(nn.Module):
    """Windows of which four share a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.pool, self.mean = nn.Conv2d(1, 2, 3), nn.Tanh(), nn.MaxPool2d(3, 2), nn.AvgPool2d(2)
        self.out = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.mean(self.pool(self.act(self.conv(x)))).flatten(1))


@pytest.mark.parametrize("name", ["act", "pool", "mean"])
def test_a_forged_constant_of_a_layer_without_weights_is_found(name: str, tmp_path: Path) -> None:
    net, data = bs.Model(_seeded(Pooled)), as_data(_rows(4, 1, 7, 7))
    done = bs.inspect.stability(net, data=data, out=tmp_path / "run", bounded=2, perturbed=4, threat="linf:0.02")
    assert bs.verify(tmp_path / "run", net, data).ok
    bounds = Bounds(done.parts)
    at = bounds.names.index(name) - 1
    assert bounds.upper[at, 0] == pytest.approx({"act": 1, "pool": 2, "mean": 0.5}[name])
    bounds.upper[at, 0] *= 0.8
    assert any(name in problem for problem in module_norms(bounds, net, data.rows(0, 1)[0]))


def test_a_network_of_attention_is_looked_into_and_holds(tmp_path: Path) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return self.head(torch.where(x.sum() > -9, self.block(x), 0.0).mean(1))

    net, data = bs.Model(_seeded(Tokens)), as_data(_rows(5, 3, 4))
    done = bs.inspect.stability(net, data=data, out=tmp_path / "run", bounded=2, perturbed=4, threat="linf:0.02")
    assert done.verdict.product is None
    assert bs.verify(tmp_path / "run", net, data).ok
    assert "attention has no bound that holds everywhere" in bs.write_report(tmp_path / "run").read_text()
