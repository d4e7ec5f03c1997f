"""Radii, noise and sample counts that cannot be meant."""

import pytest
import torch
from torch import Tensor, nn

import blindspots as bs
from blindspots.ball import BALLS, L0, L1, L2, Linf
from blindspots.errors import InputError
from blindspots.experiments.certify.bounds import fewest, largest, radius
from blindspots.models.model import Model
from blindspots.rows import Around
from blindspots.sizes import check_curve, check_noise, check_radius
from blindspots.threat import Threat
from test_cli import at_home, blindspots, in_one_sentence

__all__ = ["at_home"]  # commands run in an empty folder
SHAPE = (1, 8, 8)


def codes(threat: Threat, shape: tuple[int, ...] = SHAPE) -> list[str]:
    return [finding.code for finding in check_radius(threat, shape)]


@pytest.mark.parametrize(
    ("threat", "said"),
    [
        (Linf(8), r"no two are over 1 apart, got linf:8 \(did you mean linf:8/255\?\)"),
        (Linf(255), "got linf:255: name a smaller one"),
        (Linf(1.001), "no two are over 1 apart"),
        (L2(9), r"no two are over 8 apart, got l2:9 \(did you mean l2:9/255\?\)"),
        (L2(128), r"did you mean l2:128/255\?"),
        (L1(65), "no two are over 64 apart"),
        (L0(65), "none has over 64 values"),
        (L0(2.5), "a whole number of values that may change, got l0:2.5: write l0:3"),
        (L0(0.5), "a whole number of values"),
        (Linf(float("inf")), "expected a finite radius, got linf:inf: write linf alone"),
        (L2(float("inf")), "write l2 alone for the smallest distance"),
        (Linf(1e-30), "that float32 can tell from 0"),
        (L2(1e-9), "that float32 can tell from 0"),
        (Linf(8 / 255, 0, 255), r"got linf:8/255, less than one level \(did you mean linf:8\?\)"),
        (L2(0.2, 0, 255), r"did you mean l2:51\?"),
        (Linf(300, 0, 255), "no two are over 255 apart"),
        (Linf(8, -1, 1), r"no two are over 2 apart, got linf:8 \(did you mean linf:0.0627451\?\)"),
    ],
    ids=lambda value: f"{value.spec} in {value.lo:g} to {value.hi:g}" if isinstance(value, Threat) else "",
)
def test_a_radius_that_cannot_be_meant_is_refused(threat: Threat, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_radius(threat, SHAPE)


@pytest.mark.parametrize("text", ["linf:nan", "linf:-1", "l2:-0.5"])
def test_a_radius_that_is_none_is_refused_where_it_is_read(text: str) -> None:
    with pytest.raises(InputError, match=r"expected (a radius of at least 0|radius of Linf to be a number)"):
        bs.parse_threat(text)


@pytest.mark.parametrize(
    ("threat", "found"),
    [
        (Linf(), []),
        (Linf(0), []),
        (Linf(8 / 255), []),
        (Linf(0.49), []),
        (Linf(0.5), ["radius-covers-box"]),
        (Linf(1), ["radius-covers-box"]),
        (L2(3.9), []),
        (L2(4), ["radius-covers-box"]),
        (L1(31), []),
        (L1(32), ["radius-covers-box"]),
        (L0(63), []),
        (L0(64), ["radius-covers-box"]),
        (Linf(1 / 255), []),
        (Linf(0.5 / 255), ["radius-below-a-level"]),
        (Linf(0.3, 0, 255), ["radius-below-a-level"]),
        (Linf(8, 0, 255), []),
        (Linf(8 / 255, -1, 1), []),
        (L2(0.5, 0, 255), ["radius-below-a-level"]),
        (L0(1, 0, 255), []),
    ],
    ids=lambda value: f"{value.spec} in {value.lo:g} to {value.hi:g}" if isinstance(value, Threat) else "",
)
def test_a_doubtful_radius_is_a_finding(threat: Threat, found: list[str]) -> None:
    assert codes(threat) == found


def test_tables_have_no_levels() -> None:
    assert codes(Linf(0.2, 0, 100), (30,)) == []


@pytest.mark.parametrize("name", BALLS)
def test_the_diameter_is_the_distance_of_two_corners(name: str) -> None:
    threat = BALLS[name](None, -1.0, 3.0)
    corners = torch.full((1, 2, 3), 3.0) - torch.full((1, 2, 3), -1.0)
    assert threat.diameter((2, 3)) == pytest.approx(float(threat.norm(corners)))


@pytest.mark.parametrize("threat", [Linf(0.5), L2(2), L1(8)], ids=lambda t: t.spec)
def test_half_the_diameter_reaches_the_middle_from_everywhere(threat: Threat) -> None:
    """Which is why no classifier stays right on two classes: 16 values."""
    assert codes(threat, (1, 4, 4)) == ["radius-covers-box"]
    x = torch.cat([torch.rand(50, 1, 4, 4), torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)])
    middle = torch.full_like(x, 0.5)
    r = torch.full((len(x),), float(threat.radius or 0))
    assert bool(threat.holds(middle, Around(x, r)).all())


class Grey(nn.Module):
    """The digits' network behind inputs in levels."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = bs.load_model("digits")
        self.net = self.inner.net

    def forward(self, x: Tensor) -> Tensor:
        return self.inner.logits(x / 255)


def of_levels() -> tuple[Model, Tensor, Tensor]:
    x, y = bs.load_data("digits").rows(0, 12)
    return Model(Grey(), bounds=(0, 255)), x * 255, y


def test_a_verdict_says_what_is_doubtful() -> None:
    x, y = bs.load_data("digits").rows(0, 12)
    result = bs.evaluate(bs.load_model("digits"), x, y, threat=Linf(1.0), threads=1)
    assert "radius-covers-box" in [f.code for f in result.findings]
    assert result.robust_accuracy == 0
    result = bs.evaluate(*of_levels(), threat=Linf(0.3), threads=1)
    assert "radius-below-a-level" in [f.code for f in result.findings]


def test_every_function_that_takes_a_threat_refuses_one_on_another_scale() -> None:
    x, y = bs.load_data("digits").rows(0, 30)
    model = bs.load_model("digits")
    asked = (
        lambda: bs.evaluate(model, x, y, threat=Linf(8)),
        lambda: bs.attack(model, x, y, bs.attacks.PGD(), threat=Linf(8)),
        lambda: bs.universal(model, x, y, threat=Linf(8)),
        lambda: bs.transfer([model, bs.load_model("digits-robust")], x, y, threat=Linf(8)),
        lambda: bs.harden(model, x, y, threat=Linf(8)),
        lambda: bs.detect(model, x, y, threat=Linf(8)),
        lambda: bs.evaluate(*of_levels(), threat=Linf(8 / 255)),
    )
    for function in asked:
        with pytest.raises(InputError, match="did you mean linf:8"):
            function()


@pytest.mark.parametrize(
    "line",
    [
        "evaluate digits --data digits --threat linf:8",
        "attack digits --data digits --attack pgd --threat linf:8",
        "universal digits --data digits --threat linf:8",
        "transfer digits digits-robust --data digits --threat linf:8",
        "harden digits --data digits --threat linf:8",
        "detect digits --data digits --threat linf:8",
    ],
)
def test_every_command_refuses_a_radius_on_another_scale(line: str) -> None:
    assert "did you mean linf:8/255?" in in_one_sentence_at_the_end(blindspots(line))


def in_one_sentence_at_the_end(result: object) -> str:
    try:
        return in_one_sentence(result)  # type: ignore[arg-type]
    except AssertionError as error:  # what a command tells of its begin goes to stderr, too
        raise AssertionError(getattr(result, "output", "")) from error


# ------------------------------------------------------------------ certificates


@pytest.mark.parametrize(
    ("sigma", "bounds", "said"),
    [
        (0.25, (0, 255), r"did you mean 63.75\?"),
        (0.99, (0, 255), "less than one level"),
        (64.0, (0, 1), r"did you mean 0.25098\?"),
        (1e6, (0, 1), "noise that does not drown"),
    ],
)
def test_noise_on_another_scale_is_refused(sigma: float, bounds: tuple[float, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_noise(sigma, bounds, SHAPE)


def test_doubtful_noise_is_a_finding() -> None:
    assert [f.code for f in check_noise(0.001, (0, 1), SHAPE)] == ["noise-below-a-level"]
    for sigma, bounds in ((0.25, (0.0, 1.0)), (1.0, (0.0, 1.0)), (64.0, (0.0, 255.0)), (0.001, (0.0, 1.0))):
        assert check_noise(sigma, bounds, (30,)) == []


def test_certify_judges_noise_by_the_bounds() -> None:
    with pytest.raises(InputError, match=r"did you mean 63\.75"):
        bs.certify(*of_levels(), sigma=0.25)


def test_radii_beyond_the_box_are_said() -> None:
    assert check_curve([0, 1, 8], L2(), SHAPE) == []
    (finding,) = check_curve([0, 8.5, 12], L2(), SHAPE)
    assert "further apart than 8" in finding.saw
    assert "up to 12" in finding.saw


@pytest.mark.parametrize("alpha", [0.5, 0.25, 0.1, 0.05, 0.001, 1e-6])
def test_the_fewest_samples_prove_something_and_one_less_nothing(alpha: float) -> None:
    """All votes agree: the bound is alpha^(1/n)."""
    n = fewest(alpha)
    assert alpha ** (1 / n) > 0.5
    assert radius(n, n, 1.0, alpha) > 0
    assert n == 1 or alpha ** (1 / (n - 1)) <= 0.5 + 1e-12
    assert n == 1 or radius(n - 1, n - 1, 1.0, alpha) == pytest.approx(0, abs=1e-12)


def test_so_few_samples_that_nothing_can_be_proved_are_refused() -> None:
    x, y = bs.load_data("digits").rows(0, 2)
    with pytest.raises(InputError, match="expected at least 10 samples"):
        bs.certify(bs.load_model("digits"), x, y, sigma=0.25, samples=9)


def test_few_samples_are_said_and_their_curve_shows_what_they_can_prove() -> None:
    x, y = bs.load_data("digits").rows(0, 2)
    done = bs.certify(bs.load_model("digits"), x, y, sigma=0.25, samples=10, draws=0, threads=1)
    finding = next(f for f in done.verdict.findings if f.code == "few-samples")
    assert f"no radius above {largest(10, 0.25, 0.001):.3g}" in finding.saw
    assert "--samples 40" in finding.do
    assert [r for r, _ in done.verdict.certified] == [0, largest(10, 0.25, 0.001) / 2]
    assert radius(40, 40, 0.25, 0.001) >= 0.25 > radius(39, 39, 0.25, 0.001)


@pytest.mark.parametrize(
    "attack", [bs.attacks.PGD(stride=0), bs.attacks.PGD(stride=-1), bs.attacks.DeepFool(overshoot=-0.02)], ids=str
)
def test_a_step_that_leads_nowhere_is_refused(attack: object) -> None:
    x, y = bs.load_data("digits").rows(0, 4)
    with pytest.raises(InputError, match="give a positive number"):
        bs.attack(bs.load_model("digits"), x, y, attack, threat=L2(0.5))  # type: ignore[arg-type]
