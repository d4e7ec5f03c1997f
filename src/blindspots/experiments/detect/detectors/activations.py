"""A second network on the hidden activations of the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from blindspots.experiments.detect.detectors.binary import Training, classifier, restored, train
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.experiments.detect.detectors.features import Inside, Look, checked, hidden, look
from blindspots.models.model import Model


@dataclass(frozen=True)
class Activations(Training, Detector):
    """A small network on what one layer of the model puts out; its logit of "adversarial" is the score.

    Metzen et al. attach it to several depths of a ResNet in turn, and train it on examples made once or anew at each
    step by an adversary that knows it; here they are made once.

    Args:
        layer: its number, as the sentence for a wrong one lists them; None: the one in the middle of the hidden layers.
        Others: those of `Training`.
    """

    name: ClassVar[str] = "activations"
    title: ClassVar[str] = "Second network on hidden activations"
    paper: ClassVar[str] = "Metzen et al. 2017 (arXiv 1702.04267)"
    cost: ClassVar[str] = "no forward of the model; one of a small network"
    needs: ClassVar[str] = "adversarial examples, layers that can be seen"
    learns_from_attacks: ClassVar[bool] = True
    needs_attacks: ClassVar[bool] = True

    layer: int | None = None

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        assert adversarial is not None
        place = self._place(model, clean.x)
        rows = _rows(model, place)
        net = classifier(tuple(rows(clean.x[:1]).shape[1:]), self.width).to(model.device)
        train(net, rows, clean.x, adversarial.x, self)
        return {"places": torch.tensor([place]), **net.state_dict(prefix="net.")}

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        place = int(learnt["places"])
        with model.borrowed(), torch.no_grad():
            entering = _rows(model, place)(torch.full((1, *shape), sum(model.bounds) / 2))
        return _Activations(self, model, shape, place, restored(tuple(entering.shape[1:]), self.width, learnt))

    def _place(self, model: Model, x: Tensor) -> int:
        if self.layer is not None:
            return checked(model, x, self.layer)
        every = hidden(model, x)
        return every[len(every) // 2]


def _rows(model: Model, place: int) -> Callable[[Tensor], Tensor]:
    return lambda x: look(model, x, (place,), pooled=False).seen[0]


class _Activations(Inside):
    pooled = False

    def __init__(self, detector: Activations, model: Model, shape: tuple[int, ...], place: int, net: nn.Module) -> None:
        super().__init__(detector, model, shape, {"places": torch.tensor([place])})
        self.net = net

    def judge(self, seen: Look) -> Tensor:
        logit: Tensor = self.net(seen.seen[0])
        return logit[:, 0]
