"""ODI: a start for other attacks, driven along a random direction of the network's output."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from blindspots.attacks.attack import Attack, Facts, State, zeros
from blindspots.attacks.directions import ascent, descent
from blindspots.attacks.gradient.pgd import PGD
from blindspots.errors import InputError
from blindspots.objective import LossName, Objective
from blindspots.problem import Aim, Job, Need, Problem, Seen
from blindspots.random import uniform
from blindspots.rows import pick, tree

_INNER = PGD(20, stride=2.0, schedule="cosine", momentum=0.75)
_STREAM = 31  # of the direction; the attack's own draws have others
_COORDINATES = 0.01  # share of coordinates moved per step in an l1 ball


@dataclass(frozen=True)
class Along(Aim):
    """A weighted sum of the scores as long as a row's start is sought, then what the attack wants."""

    weights: Tensor  # (B, C)
    sought: Tensor  # (B,) bool
    then: Aim | None

    @property
    def unfolded(self) -> bool:
        return self.then is not None and self.then.unfolded

    def descend(self, objective: Objective, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        descend = objective.descend if self.then is None else partial(self.then.descend, objective)
        along = (self.weights * logits[:, : self.weights.shape[1]]).sum(1)  # of the classes, not of rejection
        return torch.where(self.sought, along, descend(logits, y, target))


@dataclass(frozen=True)
class ODIState(State):
    inner: State  # the attack's own
    aim: Along


@dataclass(frozen=True)
class ODI(Attack[ODIState]):
    """Tashiro, Song, Ermon 2020 (arXiv 2003.06878), section 3.1: output diversified initialisation.

    From a random point of the ball, a few steps of a whole radius each along the gradient of <w, scores>, w uniform
    in [-1, 1] and every restart's own; then the attack begins where they end. Noise that no layer averages away:
    restarts from such points end in different places. The paper's attack is PGD with steps of a quarter radius.

    Args:
        attack: any attack by gradients in a ball; its own random start is left out. Threats are this attack's, the loss
            is the paper's margin; with `PMA`, say loss="probability-margin".
        steps: steps of the start; a row costs as many evaluations and gradients more than the attack itself.
    """

    attack: Attack = _INNER
    steps: int = 2

    facts: ClassVar[Facts] = Facts(
        paper=(
            "Tashiro, Song, Ermon: Diversity Can Be Transferred: Output Diversification for White- and "
            "Black-box Attacks"
        ),
        year=2020,
        family="gradient, fixed radius",
        cost="the inner attack's, and steps forwards and backwards more",
        use="restarts that end in different places",
    )
    need: ClassVar[Need] = Need.GRAD
    threats: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    loss: ClassVar[LossName] = "margin"
    fewest: ClassVar[int] = 0  # without a start of its own, the attack itself is left

    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}  # an attack is an object

    def __post_init__(self) -> None:
        inner = self.attack
        if inner.need is not Need.GRAD or inner.minimal or hasattr(inner, "attack"):
            raise InputError(f"expected an attack by gradients in a ball, got {inner!r}: use e.g. PGD() or ACG()")
        for trait in ("threats", "targeted"):
            object.__setattr__(self, trait, getattr(inner, trait))

    @property
    def looks(self) -> int:
        return self.steps + self.attack.looks

    def init(self, problem: Problem, job: Job) -> ODIState:
        inner = self._begin(problem, job, problem.threat.sample(job, job.key))
        weights = 2 * uniform(job.key, zeros(job), _STREAM, job.scores.shape[1:]) - 1
        return self._state(inner, zeros(job), weights)

    def step(self, problem: Problem, job: Job, state: ODIState, seen: Seen) -> ODIState:
        assert seen.grad is not None
        u = ascent(problem.threat, seen.grad, _COORDINATES)
        begun = self._begin(problem, job, descent(problem, job, state.probe, u, job.r))
        stepped = self._planted.step(problem, job, state.inner, seen)
        inner = tree(lambda a, b: pick(state.aim.sought, a, b), begun, stepped)
        return self._state(inner, state.t + 1, state.aim.weights)

    def _state(self, inner: State, t: Tensor, weights: Tensor) -> ODIState:
        return ODIState(inner.probe, t, inner, Along(weights, t < self.steps, self.attack.aim_of(inner)))

    def _begin(self, problem: Problem, job: Job, x: Tensor) -> State:
        state: State = self._planted.init(problem, replace(job, start=x))
        return state

    @property
    def _planted(self) -> Attack:
        """The attack, beginning where it is told to."""
        if not hasattr(self.attack, "random_start"):
            return self.attack
        return cast(Attack, replace(cast(Any, self.attack), random_start=False))

    def aim_of(self, state: ODIState) -> Aim:
        return state.aim

    def exhausted(self, state: ODIState) -> Tensor:
        return ~state.aim.sought & self._planted.exhausted(state.inner)

    def final(self, state: ODIState) -> Tensor:
        return ~state.aim.sought & self._planted.final(state.inner)
