"""A second network that tells adversarial inputs from clean ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from blindspots.experiments.detect.detectors.binary import Training, classifier, restored, train
from blindspots.experiments.detect.detectors.detector import Detector, Examples, Fitted
from blindspots.models.model import Model


@dataclass(frozen=True)
class Network(Training, Detector):
    """A small network on the input; its logit of "adversarial" is the score.

    Gong et al. train it as here, on clean inputs and on adversarial examples that were made once. Both papers use
    larger networks; Metzen et al. put theirs on hidden activations, see `Activations`.

    Args: those of `Training`.
    """

    name: ClassVar[str] = "network"
    title: ClassVar[str] = "Second network on inputs"
    paper: ClassVar[str] = "Metzen et al. 2017 (arXiv 1702.04267), Gong et al. 2017 (arXiv 1704.04960)"
    cost: ClassVar[str] = "no forward of the model; one of a small network"
    needs: ClassVar[str] = "adversarial examples"
    learns_from_attacks: ClassVar[bool] = True
    needs_attacks: ClassVar[bool] = True
    asks_model: ClassVar[bool] = False

    def learn(self, model: Model, clean: Examples, adversarial: Examples | None, seed: int) -> dict[str, Tensor]:
        assert adversarial is not None
        net = classifier(tuple(clean.x.shape[1:]), self.width).to(model.device)
        train(net, lambda x: x.to(model.device), clean.x, adversarial.x, self)
        return dict(net.state_dict(prefix="net."))

    def rebuild(self, model: Model, shape: tuple[int, ...], learnt: Mapping[str, Tensor]) -> Fitted:
        return _Network(self, model, shape, restored(shape, self.width, learnt))


class _Network(Fitted):
    def __init__(self, detector: Network, model: Model, shape: tuple[int, ...], net: nn.Module) -> None:
        super().__init__(detector, model, shape)
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.net(x.to(self.model.device).float())
        return logit[:, 0]
