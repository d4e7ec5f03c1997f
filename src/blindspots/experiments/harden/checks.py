"""What is looked at between epochs: clean and robust accuracy on held-out rows, and whether training went astray."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from blindspots.attacks import parse_attack
from blindspots.attacks.gradient.fgsm import FGSM
from blindspots.batching import ANSWERS, ANSWERS_OF_FEW
from blindspots.engine.cascade import Board, Cascade, Stage
from blindspots.engine.jobs import Samples
from blindspots.experiments.harden.batches import Material
from blindspots.experiments.harden.trainer import Classifier, read_by
from blindspots.models.model import Model
from blindspots.models.texts import TextModel
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.protocols.stages import read_protocol
from blindspots.records import Share
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat

PROTOCOL = Path(__file__).parent / "held-out.toml"
_ALWAYS = 2  # of its stages are taken at every check: they cost as much as ten steps of PGD, and find more
_ONE_STEP = Stage("one step", FGSM(), "what falls to many steps alone tells catastrophic overfitting", Objective())
_ONE_EXCHANGE = Stage("one exchange", parse_attack("hotflip:steps=1"), _ONE_STEP.why, Objective())
# Catastrophic overfitting (Wong et al. 2020): within an epoch, accuracy against many steps falls to nothing while that
# against one step rises. The limits are judgement, not measurement; under a growing radius the two part by more than
# the second one without any collapse, and the first robust rows come and go, so all have to be passed.
_LOST, _PARTED, _LEARNT = 2 / 3, 0.15, 0.2


@dataclass(frozen=True)
class Checked:
    """Shares of held-out rows, and of as many training rows."""

    clean: Share
    fgsm: Share
    robust: Share
    robust_training: Share


@dataclass(frozen=True)
class Checks:
    """Looks at a network: the same rows, starts and steps after every epoch, so that epochs can be compared.

    With several threats a row is robust if it stands in all of them.
    """

    held_out: Material
    training: Material
    threats: tuple[Threat, ...]
    bounds: tuple[float, float]
    device: torch.device
    seed: int

    def look(self, module: nn.Module) -> Checked:
        """What is affordable after every epoch."""
        model, same = self._judged(module), self.training[: len(self.held_out)]
        clean, one_step = self._standing(model, self.held_out, (self._one_step,), 1)
        _, robust = self._standing(model, self.held_out, None, _ALWAYS)
        _, robust_training = self._standing(model, same, None, _ALWAYS)
        return Checked(*map(_share, (clean, one_step, robust, robust_training)))

    def look_closely(self, module: nn.Module) -> Share:
        """What stands against all stages, of the held-out rows."""
        _, standing = self._standing(self._judged(module), self.held_out, None, None)
        return _share(standing)

    def _judged(self, module: nn.Module) -> Model:
        """What is trained as a model; one of texts has to forget what it answered with other weights."""
        if isinstance(module, Classifier) and isinstance(module.model, TextModel):
            module.model.forget()
            return module.model
        return Model(module, self.bounds)

    @property
    def _one_step(self) -> Stage:
        return _ONE_EXCHANGE if isinstance(self.threats[0], TextThreat) else _ONE_STEP

    def _standing(
        self, model: Model, rows: Material, stages: tuple[Stage, ...] | None, count: int | None
    ) -> tuple[Tensor, Tensor]:
        """Which rows (N,) are right, and which of them stand against the first `count` stages within all threats."""
        boards = [
            self._board(model, rows, threat, (stages or read_protocol(PROTOCOL, threat).stages)[:count])
            for threat in self.threats
        ]
        return boards[0].right, torch.stack([board.standing for board in boards]).all(0)

    def _board(self, model: Model, rows: Material, threat: Threat, stages: tuple[Stage, ...]) -> Board:
        threat = read_by(threat, model)
        x, y, places = (t.to(self.device) for t in (rows.inputs(slice(None)), rows.y, rows.id))
        samples = Samples.within(threat, places, x, y)
        chunk = ANSWERS if len(stages) <= _ALWAYS else ANSWERS_OF_FEW
        oracle = Oracle(model, chunk=min(chunk, len(rows)))
        with oracle.session():
            board, _ = Cascade(oracle, threat, stages, seed=self.seed).run(samples)
        return board


def overfitted(now: Checked, best: float) -> bool:
    """Whether this is catastrophic overfitting: `best` is the highest robust share so far."""
    parted = now.fgsm.share - now.robust.share
    return best >= _LEARNT and now.robust.share < _LOST * best and parted > _PARTED


def _share(hit: Tensor) -> Share:
    return Share.of(int(hit.sum()), len(hit))
