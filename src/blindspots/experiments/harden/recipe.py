"""Recipes of training as data: a TOML file says everything that is done to the weights, and a user can write one."""

import tomllib
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blindspots.attacks import Attack, parse_attack
from blindspots.attacks.gradient.bim import BIM
from blindspots.attacks.gradient.fgsm import FGSM
from blindspots.attacks.gradient.mifgsm import MIFGSM
from blindspots.attacks.gradient.nifgsm import NIFGSM
from blindspots.attacks.gradient.pgd import PGD
from blindspots.ball import BALLS, Ball, parse_ball
from blindspots.errors import InputError
from blindspots.experiments.harden.config import FOR_TEXTS
from blindspots.files import read_text
from blindspots.naming import meant
from blindspots.texts.threats import TextThreat, Trigger
from blindspots.threat import Threat

T = TypeVar("T", bound=Threat)
FOLDER = Path(__file__).parent / "recipes"
INNER = (FGSM, BIM, PGD, MIFGSM, NIFGSM)  # attacks that look at gradients alone, so that no clean look has to be paid
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(_Table):
    """How weights move. `rate` is the peak of the schedule.

    Schedules over the whole training: "one-cycle" rises for `rise` of it and falls to nothing, linearly (Wong et al.
    2020); "cosine" falls along half a cosine after the rise; "steps" is divided by 10 at 1/2 and at 3/4; "constant".
    """

    name: Literal["sgd", "adam"] = "adam"
    rate: Positive = 3e-3
    schedule: Literal["one-cycle", "cosine", "steps", "constant"] = "one-cycle"
    rise: Share = 0.3
    momentum: Share = 0.9  # sgd's
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(ge=0)] = 0.0  # longest gradient, 0: as it comes


class TrainingLoss(_Table):
    """What is minimised.

    "cross-entropy": `clean` of it on clean rows, the rest on adversarial ones (Goodfellow et al. 2015: 0.5; Madry et
    al. 2018: 0). "trades": cross-entropy on clean rows plus `weight` times KL(f(x) || f(x')) (Zhang et al. 2019).
    "mart": boosted cross-entropy on adversarial rows plus `weight` times KL, more of it where the clean row is doubtful
    (Wang et al. 2020).
    """

    name: Literal["cross-entropy", "trades", "mart"] = "cross-entropy"
    clean: Share = 0.0
    weight: Annotated[float, Field(ge=0)] = 6.0
    smoothing: Share = 0.0  # of labels
    gradalign: Annotated[float, Field(ge=0)] = 0.0  # weight of 1 - cos(gradient at x, gradient nearby)


class Search(_Table):
    """An attack of the catalogue in every step, in lockstep over the batch.

    With several `threats` (with radii), each row gets the one that hurts most ("max"), one by lot ("random"), or the
    loss is the mean over all ("average"; Tramer and Boneh 2019).
    """

    kind: Literal["attack"] = "attack"
    attack: str = "pgd:steps=10,stride=0.25"
    threats: tuple[str, ...] = ()
    combine: Literal["max", "random", "average"] = "max"

    def built(self) -> Attack:
        attack = parse_attack(self.attack)
        if not isinstance(attack, INNER):
            able = ", ".join(kind.__name__.lower() for kind in INNER)
            raise InputError(f"expected an inner attack among {able}, got {self.attack!r}: use one of these")
        return attack


class NoisyStep(_Table):
    """One step from a noisy point.

    FGSM with a random start (Wong et al. 2020) is noise 1, stride 1.25, projected. N-FGSM (de Jorge et al. 2022) is
    noise 2, stride 1, not projected: the noise adds to the step, and catastrophic overfitting comes much later, for
    nothing. In other norms than linf the step goes along their steepest direction.
    """

    kind: Literal["step"] = "step"
    noise: Annotated[float, Field(ge=0)] = 1.0  # in radii
    stride: Positive = 1.25  # in radii
    project: bool = True


class Noise(_Table):
    """No adversary: noise of the same size, as a control, or gaussian noise for randomised smoothing."""

    kind: Literal["noise"] = "noise"
    shape: Literal["uniform", "sign", "gaussian"] = "uniform"
    sigma: Annotated[float, Field(ge=0)] = 0.0  # gaussian: standard deviation; 0: the threat's radius


class Free(_Table):
    """Each batch is replayed; the backward that moves the weights moves the rows, too (Shafahi et al. 2019)."""

    kind: Literal["free"] = "free"
    replays: Annotated[int, Field(ge=1)] = 4
    stride: Positive = 1.0  # in radii


class Universal(_Table):
    """One perturbation for all rows, moved by the backward that moves the weights (Shafahi et al. 2020)."""

    kind: Literal["universal"] = "universal"
    stride: Positive = 0.25  # in radii


class Pool(_Table):
    """Adversarial examples kept in pools, of inputs and of the outputs of every layer (Szegedy et al. 2014).

    The pools take turns. In its turn, `refreshed` of a pool's places are given to new examples, first those that fool
    the network no longer (hard-negative mining); a batch of its rows joins the clean batch and trains the layers
    above. A change is the least of several lengths that fools. The paper says neither how long they may be nor how they
    are mixed.
    """

    kind: Literal["pool"] = "pool"
    size: Annotated[int, Field(ge=1)] = 1024  # places per layer
    refreshed: Annotated[int, Field(ge=1)] = 128  # rows per step
    steps: Annotated[int, Field(ge=1)] = 3
    inputs: Share = 1.0  # longest change of inputs, in radii of the threat
    hidden: Annotated[float, Field(ge=0)] = 0.05  # and of a layer's output, as a share of its Euclidean length
    share: Share = 0.5  # of the loss that the pool's rows have
    layers: Literal["all", "inputs", "hidden"] = "all"


class Sampled(_Table):
    """Of texts: as many random exchanges as the threat allows (Ivgi and Berant 2021, arXiv 2104.05062).

    Of `tries` draws, each row gets the one with the highest loss; with a single one no look is paid for.
    """

    kind: Literal["sampled"] = "sampled"
    tries: Annotated[int, Field(ge=1)] = 4


class Exchanged(_Table):
    """Of texts: the exchanges that one gradient promises most of, at most one per place.

    As A2T (Yoo and Qi 2021, arXiv 2109.00544) ranks words by gradients; it then tries the candidates of one word after
    the other until the answer changes, which costs a forward for each, and here the gradient chooses among these, too.
    """

    kind: Literal["exchanged"] = "exchanged"


class Curriculum(_Table):
    """The radius grows linearly from `start` to `end` of the threat's over `share` of the training.

    Beyond 1 there is room for attacks that are stronger than the one trained with.
    """

    start: Share = 0.0
    end: Positive = 1.0
    share: Share = 0.5


class Weights(_Table):
    """What is done with the weights besides descending.

    `average`: "ema" with `decay` per step, or "swa" over the epochs after `after` of the training (Izmailov et al.
    2018; Gowal et al. 2020). `perturbation`: adversarial weight perturbation of that relative size (Wu et al. 2020:
    0.005).
    """

    average: Literal["none", "ema", "swa"] = "none"
    decay: Share = 0.995
    after: Share = 0.5
    perturbation: Annotated[float, Field(ge=0)] = 0.0


class Augmentation(_Table):
    """Changes that leave the class as it is, drawn anew for every row and epoch; images only."""

    flip: bool = False  # left and right
    shift: Annotated[int, Field(ge=0)] = 0  # pixels, in both directions, with the border repeated


class Recipe(_Table):
    """Everything that training does.

    Args:
        about: one sentence for the list of recipes.
        batch: rows per step; at most a quarter of the data.
        patience: held-out checks in a row without a better robust accuracy before training stops; 0: never.
        guard: undo catastrophic overfitting when it is seen.
        extra: share of a batch that comes from extra or generated data, where there are some (Carmon et al. 2019,
            Gowal et al. 2021).
        dropout: share of units, after every activation, that are dropped in training.
    """

    about: str = ""
    epochs: Annotated[int, Field(ge=1)] = 30
    batch: Annotated[int, Field(ge=1)] = 128
    patience: Annotated[int, Field(ge=0)] = 0
    guard: bool = True
    extra: Share = 0.5
    optimizer: Optimizer = Optimizer()
    objective: TrainingLoss = TrainingLoss()
    adversary: Annotated[
        Search | NoisyStep | Noise | Free | Universal | Pool | Sampled | Exchanged | None, Field(discriminator="kind")
    ] = None
    curriculum: Curriculum | None = None
    weights: Weights = Weights()
    augmentation: Augmentation = Augmentation()

    def lasting(self, epochs: int) -> "Recipe":
        """The same training for so many epochs. Raises InputError: not a whole number of them, or none at all."""
        if isinstance(epochs, bool) or not isinstance(epochs, Integral) or epochs < 1:
            raise InputError(
                f"expected at least one whole epoch to train for, got {epochs!r}: give a number from 1 on, or use "
                "`evaluate` to judge a model as it is"
            )
        return self.model_copy(update={"epochs": int(epochs)})

    def naturally(self, **changes: Any) -> "Recipe":
        """The same training without an adversary, as a control; `changes` replace fields."""
        bare: dict[str, Any] = {
            "adversary": None, "curriculum": None, "guard": False, "patience": 0,
            "objective": TrainingLoss(smoothing=self.objective.smoothing, clean=1.0),
            "weights": self.weights.model_copy(update={"perturbation": 0.0}),
        }  # fmt: skip
        return self.model_copy(update=bare | changes)


def names() -> list[str]:
    """The recipes that come with blindspots."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_recipe(name: str) -> Recipe:
    """The recipe of that name, or in that TOML file.

    Raises InputError: there is none, or the file says something that cannot be done.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        raise InputError(
            f"expected a recipe among {', '.join(names())}, or a .toml file, got {name!r}{meant(name, names())}: name "
            "one of these"
        )
    try:
        recipe = Recipe.model_validate(tomllib.loads(read_text(path, "a recipe")))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"expected TOML in {path}, but it cannot be read ({error}): mend that place") from error
    except ValidationError as error:
        raise InputError(_sentence(path, error.errors()[0])) from error
    if isinstance(recipe.adversary, Search):
        recipe.adversary.built()
    return recipe


def threats_of(recipe: Recipe, threat: Threat) -> tuple[Threat, ...]:
    """What training defends against: the threat, unless the recipe names its own.

    Raises InputError for a threat without a radius, or one that the recipe's adversary is not made for.
    """
    of_texts = isinstance(recipe.adversary, Sampled | Exchanged)
    if recipe.adversary is not None and of_texts != isinstance(threat, TextThreat):
        raise InputError(
            f"expected a recipe that fits {threat.spec}, got one with an adversary of kind {recipe.adversary.kind!r}: "
            f"use {', '.join(FOR_TEXTS)} for texts and others for numbers"
        )
    if isinstance(threat, Trigger) and isinstance(recipe.adversary, Exchanged):
        raise InputError(
            f"expected a recipe for words that are put in, got exchanged for {threat.spec}: a gap has no gradient, so "
            "use sampled"
        )
    if isinstance(threat, TextThreat):
        return (_with_radius(threat),)
    assert isinstance(threat, Ball)
    return _balls(recipe, threat)


def _balls(recipe: Recipe, threat: Ball) -> tuple[Ball, ...]:
    named = recipe.adversary.threats if isinstance(recipe.adversary, Search) else ()
    own = tuple(replace(threat.like(one.name), radius=one.radius) for one in map(parse_ball, named)) or (threat,)
    own = tuple(map(_with_radius, own))
    if isinstance(recipe.adversary, Search):
        _check_fit(recipe.adversary.built(), own)
    if any(one.name == "l0" for one in own):
        able = ", ".join(name for name in BALLS if name != "l0")
        raise InputError(f"expected a threat among {able} to train against, got {threat.spec}: use one of these")
    return own


def _with_radius(threat: T) -> T:
    if threat.radius is None:
        raise InputError(f"expected a radius to train against, got {threat.spec!r}: write {threat.name}:RADIUS")
    return threat


def _check_fit(attack: Attack, threats: tuple[Ball, ...]) -> None:
    for threat in threats:
        if threat.name not in attack.threats:
            raise InputError(
                f"expected a threat among {', '.join(attack.threats)} for {attack!r}, got {threat.spec}: train against "
                "one of these"
            )


def _sentence(path: Path, error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"expected the settings of a recipe in {path}, got {place!r}: leave it out"
    said = str(error["msg"]).removeprefix("Input should be ").removeprefix("Input tag ")
    return f"expected {said} for {place!r} in {path}, got {error['input']!r}: change it"
