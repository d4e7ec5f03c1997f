"""What onnxruntime's own quantisation makes of a network: the graph answers, its translation gives gradients."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import blindspots as bs
from blindspots.problem import Need

quantization = pytest.importorskip("onnxruntime.quantization")
onnxruntime = pytest.importorskip("onnxruntime")
X = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Linear(128, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x).relu()
        return self.out(nn.functional.max_pool2d(x + self.b(x).relu(), 2).flatten(1))


class Rows:
    def __init__(self) -> None:
        self.rest = iter([{"x": X.numpy()}])

    def get_next(self) -> Any:
        return next(self.rest, None)


def quantised(how: str, folder: Path) -> str:
    torch.manual_seed(0)
    plain, made = folder / "float.onnx", folder / f"{how}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            Net().eval(), (X[:2],), str(plain), dynamo=False, input_names=["x"], output_names=["y"],
            dynamic_axes={"x": {0: "rows"}, "y": {0: "rows"}}, opset_version=17,
        )  # fmt: skip
    logging.disable(logging.WARNING)  # of the quantiser, about a preparation that this network does not need
    if how == "dynamic":
        quantization.quantize_dynamic(plain, made)
    else:
        kind = getattr(quantization.QuantFormat, how)
        quantization.quantize_static(plain, made, Rows(), quant_format=kind, per_channel=True)
    logging.disable(logging.NOTSET)
    return str(made)


@pytest.mark.parametrize("how", ["QDQ", "QOperator", "dynamic"])
def test_answers_are_the_graphs_and_its_translation_is_near(how: str, tmp_path: Path) -> None:
    path = quantised(how, tmp_path)
    found, session = bs.load_model(path), onnxruntime.InferenceSession(path)
    own = np.concatenate([session.run(None, {"x": row.numpy()})[0] for row in X.split(1)])
    x = X.clone().requires_grad_()
    scores = found.logits(x)
    assert found.access is Need.GRAD
    assert "onnx-guided" in {note.code for note in found.notes}
    assert np.allclose(scores.detach().numpy(), own, rtol=0, atol=1e-6)
    guide = found.net.guide(X)
    assert torch.allclose(guide, scores, rtol=0, atol=0.02 * float(scores.detach().abs().max()))
    (slope,) = torch.autograd.grad(scores.sum(), x)
    assert slope.flatten(1).any(1).all()


@pytest.mark.slow
def test_gradients_through_the_rounding_find_what_scores_find_for_less(tmp_path: Path) -> None:
    found, asked = (bs.load_model(quantised("QDQ", tmp_path)) for _ in range(2))
    asked.net, asked.access = asked.net.asked, Need.VALUE
    x, y = X[:10], found.logits(X[:10]).argmax(1)
    guided, scored = (bs.evaluate(model, x, y, threat="linf:0.03") for model in (found, asked))
    assert guided.robust_accuracy <= scored.robust_accuracy < 1
    assert guided.forwards + guided.backwards < scored.forwards / 3
