"""Goals of pixels and objects against models whose every part moves by itself, so that the answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

import blindspots as bs
from blindspots.errors import InputError
from blindspots.experiments.evaluate.verify_values import Reader
from blindspots.goals import Missed, Pixels, parse_goal
from blindspots.goals.dense import _jensen_shannon, _overlap

ROWS, SIDE, EPS = 12, 4, 0.1
GENERATOR = torch.Generator().manual_seed(3)
X = 0.2 + 0.6 * torch.rand(ROWS, 1, SIDE, SIDE, generator=GENERATOR)
LABELS = (X[:, 0] < 0.5).long()


def segment(x: Tensor) -> Tensor:
    """Class 0 where a pixel is brighter than 0.5: it can be lost if it is nearer than the radius."""
    return torch.cat([x - 0.5, 0.5 - x], 1)


class Segmenter(nn.Module):
    forward = staticmethod(segment)


SEGMENTER = bs.Model(Segmenter(), name="segmenter", output="values")


@pytest.mark.parametrize("least", [0.6, 0.7, 1.0])
def test_pixels_fall_exactly_where_enough_of_them_are_near(least: float) -> None:
    near = (X[:, 0] - 0.5).abs() < EPS
    left = 1 - near.flatten(1).float().mean(1)
    done = bs.evaluate(SEGMENTER, X, LABELS, threat=bs.Linf(EPS), goal=f"pixels:{least}", protocol="regression")
    assert torch.equal(done.success, left < least)
    (measure,) = done.verdict.measures
    assert measure.name == "right pixels"
    assert measure.clean.mean == 1
    assert done.success.any()


def test_pixels_that_do_not_count_are_left_out() -> None:
    labels = LABELS.clone()
    labels[:, 0], labels[:, 1] = 255, -1
    near = (X[:, 0, 2:] - 0.5).abs() < EPS
    done = bs.evaluate(SEGMENTER, X, labels, threat=bs.Linf(EPS), goal="pixels:0.6", protocol="regression")
    assert torch.equal(done.success, 1 - near.flatten(1).float().mean(1) < 0.6)


BOXES = torch.tensor([[0.0, 0, 2, 2], [2, 2, 4, 4], [0, 2, 2, 4]])


def candidates(x: Tensor) -> Tensor:
    """Three boxes that stay where they are; the brightness of three pixels is how sure they are, of either class."""
    sure = x.flatten(1)[:, :3, None]
    return torch.cat([BOXES.expand(len(x), -1, -1), sure, 1 - sure], 2)


def objects() -> Tensor:
    """What is found as it is, in two places; the third object only fills up."""
    found = candidates(X)[:, :2]
    classes = found[..., 4:].argmax(2, keepdim=True).float()
    filling = torch.tensor([[0.0, 0, 0, 0, -1]]).expand(ROWS, 1, 5)
    return torch.cat([torch.cat([found[..., :4], classes], 2), filling], 1)


@pytest.mark.parametrize(("share", "needed"), [(0.5, 1), (1.0, 2)])
def test_objects_are_missed_exactly_where_their_score_is_near(share: float, needed: int) -> None:
    model = bs.Model(candidates, name="detector", output="values")
    near = (X.flatten(1)[:, :2] - 0.5).abs() < EPS
    done = bs.evaluate(model, X, objects(), threat=bs.Linf(EPS), goal=f"missed:{share}", protocol="regression")
    assert torch.equal(done.success, near.sum(1) >= needed)
    assert done.success.any()
    assert not done.success.all()
    (measure,) = done.verdict.measures
    assert measure.worst.mean == pytest.approx(float((near.sum(1) / 2 >= share).float().mean()), abs=0.5)


def test_the_protocol_of_such_goals_is_taken_and_the_run_is_verified(tmp_path: Path) -> None:
    done = bs.evaluate(SEGMENTER, X[:4], LABELS[:4], threat=bs.Linf(EPS), goal="pixels:0.8", out=tmp_path / "run")
    assert done.config.protocol == "dense"
    data = bs.ArrayData(X[:4], LABELS[:4], values=True)
    assert bs.verify(tmp_path / "run", model=SEGMENTER, data=data).problems == []
    assert bs.write_report(tmp_path / "run").stat().st_size > 10_000


def random(goal: str) -> tuple[Tensor, Tensor]:
    if goal.startswith("pixels"):
        return torch.randn(6, 3, 5, generator=GENERATOR), torch.randint(-1, 3, (6, 5), generator=GENERATOR)
    boxes = torch.rand(6, 7, 2, generator=GENERATOR)
    found = torch.cat(
        [boxes, boxes + torch.rand(6, 7, 2, generator=GENERATOR), torch.rand(6, 7, 2, generator=GENERATOR)], 2
    )
    truth = found[:, :3, :5].clone()
    truth[..., 4] = torch.tensor([0.0, 1, -1])
    return found, truth


@pytest.mark.parametrize("words", ["pixels:0.3", "pixels:1", "missed:0.5,0.5,0.5", "missed:1,0.3,0.2"])
def test_two_ways_to_write_a_goal_agree(words: str) -> None:
    goal, reader = parse_goal(words), Reader(words, None)
    output, truth = random(words)
    scores, _ = reader.scores(output.numpy(), truth.numpy(), output.numpy())
    assert np.allclose(goal.scores(output, truth).numpy(), scores, atol=1e-6)
    measured = torch.stack(list(goal.measures(output, truth, output).values()), 1)
    assert np.allclose(measured.numpy(), reader.measures(output.numpy(), truth.numpy(), output.numpy()), atol=1e-6)


def test_every_way_has_a_slope_of_its_own_and_the_same_value() -> None:
    output, truth = random("pixels")
    output.requires_grad_(True)
    scores = Pixels(0.5).scores(output, truth)
    assert torch.equal(scores[:, 1:], scores[:, 1:2].expand(-1, 4))
    slopes = [torch.autograd.grad(scores[:, i].sum(), output, retain_graph=True)[0] for i in range(1, 5)]
    for i, one in enumerate(slopes):
        assert (one != 0).any()
        assert not any(torch.allclose(one, other) for other in slopes[i + 1 :])


def test_the_divergence_is_scipys() -> None:
    scores, label = torch.randn(1, 4, 6, generator=GENERATOR), torch.randint(0, 4, (1, 6), generator=GENERATOR)
    p, truth = scores.softmax(1)[0].T.double().numpy(), np.eye(4)[label[0].numpy()]
    assert np.allclose(_jensen_shannon(scores, label)[0].numpy(), jensenshannon(p, truth, axis=1) ** 2, atol=1e-6)


def test_overlaps_of_boxes() -> None:
    one = torch.tensor([[[0.0, 0, 2, 2]]])
    others = torch.tensor([[[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [5, 5, 5, 5]]])
    assert _overlap(one, others)[0, 0].tolist() == pytest.approx([1, 1 / 3, 0, 0])


REFUSED: dict[str, tuple[Any, Tensor, Tensor, str]] = {
    "shape": (Pixels(0.5), torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 3).long(), "of the same pixels"),
    "floats": (Pixels(0.5), torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4), "whole labels"),
    "class": (Pixels(0.5), torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 7), "a label beyond its 3 classes"),
    "nothing": (Pixels(0.5), torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 255), "no pixel that counts in row 5"),
    "boxes": (Missed(1.0), torch.zeros(2, 3, 4), torch.zeros(2, 1, 5), "candidates"),
    "objects": (Missed(1.0), torch.zeros(2, 3, 6), torch.full((2, 1, 5), -1.0), "at least one object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_outputs_and_truths_that_do_not_fit_are_refused(name: str) -> None:
    goal, output, truth, said = REFUSED[name]
    with pytest.raises(InputError, match=said):
        goal.check(output, truth, torch.tensor([5, 6]))


@pytest.mark.parametrize("words", ["pixels:0", "pixels:1.5", "missed:0", "missed:1,2", "pixels", "missed:x"])
def test_shares_that_make_no_sense_are_refused(words: str) -> None:
    with pytest.raises(InputError, match=r"write|such as"):
        parse_goal(words)
