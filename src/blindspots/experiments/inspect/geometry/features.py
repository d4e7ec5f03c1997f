""" "Adversarial examples are not bugs, they are features" (Ilyas et al. 2019, 1905.02175, section 3.2)."""

import copy
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.experiments.inspect.geometry.axes import full
from blindspots.experiments.transfer.networks import Architecture, Custom, parse_architecture
from blindspots.experiments.transfer.training import CUSTOM, answers, train
from blindspots.models.digits import Say
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.packing import pack_inputs
from blindspots.problem import Need, Problem, Question
from blindspots.random import keys, randint
from blindspots.rows import Around, col
from blindspots.runs.experiment import Columns

RANDOM, SHIFTED, CONTROL = "random", "shifted", "control"
KINDS = (RANDOM, SHIFTED, CONTROL)
STEPS, _STRIDE = 30, 0.1  # of the search towards a class; in radii
_TIMES, _LEAST = 20, 10  # that training goes through the rows; batches
_LABELS = 41  # stream
SHOWN = 8  # examples that are kept


@dataclass(frozen=True)
class Fresh(Custom):
    """A model's own layers, with fresh weights."""

    model: Model | None = None

    def title(self, classes: int) -> str:
        return self.spec

    def build(self, shape: object, classes: int) -> Model:
        assert self.model is not None
        made = copy.deepcopy(self.model)
        for module in made.net.modules():
            _check_can_begin_anew(module, self.model)
            for own in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                own.requires_grad_(isinstance(own, nn.Parameter))
            begin = getattr(module, "reset_parameters", None)
            if begin is not None:
                begin()
        return made


def _check_can_begin_anew(module: nn.Module, model: Model) -> None:
    if list(module.parameters(recurse=False)) and not hasattr(module, "reset_parameters"):
        raise InputError(
            f"expected layers that can begin with fresh weights, got {type(module).__name__} in {model.name}, which "
            "cannot: name a network that learns with --learner"
        )


def learner_of(words: str | None, model: Model) -> Architecture:
    """What learns: the network that was named, else the model's own layers."""
    return Fresh(f"{model.name}, from fresh weights", model=model) if words is None else parse_architecture(words)


def labels_for(kind: str, y: Tensor, classes: int, seed: int) -> Tensor:
    """What rows are relabelled as (N,): by lot, independently of what they show, or as the class after their own.

    The paper calls the two sets D_rand and D_det.
    """
    if kind == SHIFTED:
        return (y + 1) % classes
    key = keys(seed, torch.arange(len(y)), _LABELS)
    return randint(key, torch.zeros_like(key), 0, classes, ())


def pushed(oracle: Oracle, threat: Ball, x: Tensor, target: Tensor) -> Tensor:
    """Rows (B, *shape) moved towards classes (B,) by 30 steps of projected gradient descent, also those already there.

    A row that is labelled as what it shows has to be moved as all others are, or it could be told from them.
    """
    problem = Problem(Objective(targeted=True, loss="ce"), threat)
    around, question = Around(x, full(threat, x)), Question(target, target)
    moved = x
    for _ in range(STEPS):
        seen = oracle.look(problem, question, moved, Need.GRAD)
        assert seen.grad is not None
        moved = threat.project(moved - _STRIDE * col(around.r, x) * threat.steepest(seen.grad), around)
    return moved


def taught(
    model: Model, threat: Ball, kind: str, rows: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
    learner: Architecture, steps: int | None, seed: int, chunk: int, say: Say,
) -> Columns:  # fmt: skip
    """Train a network on relabelled examples of `rows`, and ask it about the clean rows of `test`.

    Args:
        kind: `RANDOM` or `SHIFTED` labels of examples that lead there, or `CONTROL`, clean rows with the same random
            labels, from which nothing can be learned.
        rows, test: inputs (N, *shape) and labels (N,).
    """
    x, y = rows
    classes = _classes(model, x)
    target = labels_for(kind, y, classes, seed)
    oracle = Oracle(model, chunk=chunk)
    with oracle.session():
        parts = [x] if kind == CONTROL else _examples(oracle, threat, x, target, say)
    examples = torch.cat(parts)
    steps = steps or max(ceil(_TIMES * len(x) / CUSTOM.batch), _LEAST)
    made = train(learner, examples, target, classes=classes, seed=seed, steps=steps, say=say)
    return {
        "y": y, "target": target, "believed": answers(model, examples), "truth": test[1],
        "answers": answers(made, test[0]), "steps": torch.tensor([steps]), "classes": torch.tensor([classes]),
        "shown_before": pack_inputs(x[:SHOWN]), "shown": pack_inputs(examples[:SHOWN]),
    }  # fmt: skip


def _classes(model: Model, x: Tensor) -> int:
    with model.borrowed(), torch.no_grad():
        return model.logits(x[:1].to(model.device)).shape[1]


def _examples(oracle: Oracle, threat: Ball, x: Tensor, target: Tensor, say: Say) -> list[Tensor]:
    parts, device = list[Tensor](), oracle.device
    for i in range(0, len(x), oracle.chunk):
        say(f"examples towards other classes: {i:,} of {len(x):,} rows")
        at = slice(i, i + oracle.chunk)
        parts.append(pushed(oracle, threat.to(device), x[at].to(device), target[at].to(device)).cpu())
    return parts
