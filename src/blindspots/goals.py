"""What counts as success for the output of a model: another class, a number that moves, or a function of the user's.

Every goal reads outputs as the scores of a classification. Class `label` is "as it should be", the others are the ways
in which an adversary can succeed: another class, or for a number up and down. So every attack, loss and rule for
targets works for every goal, and success is the same everywhere: another class has strictly the largest score. A tie is
not a success.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.errors import InputError
from blindspots.objective import margin, own
from blindspots.records import REJECTED

Measures = dict[str, Tensor]  # what is reported of each row besides its margin, by name: (B,)
_TINY = 1e-12


def folded(logits: Tensor, y: Tensor) -> Tensor:
    """Scores (B, C) of a model that rejects, from its scores (B, C + 1), the last one being that of "reject".

    For an adversary, rejection is as bad as a correct prediction: the label gets the larger of the two scores. So the
    label is strictly beaten exactly where another class beats both, and every loss and attack runs on such a model as
    on any other (Carlini and Wagner 2017, arXiv 1705.07263, treat rejection as one more class).
    """
    held = own(logits, y).maximum(logits[:, -1])
    return logits[:, :-1].scatter(1, y[:, None], held[:, None])


class Goal(Checked, ABC):
    """Reads outputs (B, ...) against truths (B, ...), both of any kind, row by row."""

    classifies: ClassVar[bool] = False  # the scores are the model's own, and the truths are labels
    ways: ClassVar[
        tuple[str, ...]
    ] = ()  # names of the classes after the label, where they are the same for every model

    @property
    @abstractmethod
    def spec(self) -> str:
        """The text form that `parse_goal` reads back."""

    @property
    @abstractmethod
    def kept(self) -> str:
        """What holds of a row where the goal is not reached: the rest of a sentence on its output."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the scores that it reads, where they are the same for every model."""
        return ("as it should be", *self.ways)

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        """What later outputs are compared with, from those on the clean inputs and the data's own y (B, ...)."""
        return y

    @abstractmethod
    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        """(B, C) with C >= 2; autograd runs through."""

    def label(self, truth: Tensor) -> Tensor:
        """The class that stands for "as it should be": (B,) int64."""
        return torch.zeros(len(truth), dtype=torch.int64, device=truth.device)

    def predict(self, output: Tensor, truth: Tensor) -> Tensor:
        """The class with the largest score: (B,) int64."""
        return self.scores(output, truth).argmax(1)

    def margin(self, output: Tensor, truth: Tensor) -> Tensor:
        """Negative exactly where the goal is reached: (B,)."""
        return margin(self.scores(output, truth), self.label(truth))

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """What is reported of each row besides, from its output, the data's y and the output on its clean input."""
        return {}

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        """Raises InputError: outputs on the rows `rows` (B,) of the data, or their y, are not of the kind it reads."""


@dataclass(frozen=True)
class Classify(Goal):
    """Any class but the label. Where a model may reject, being rejected reaches no goal: see `folded`."""

    rejects: bool = False

    classifies: ClassVar[bool] = True

    @property
    def spec(self) -> str:
        return "class"

    @property
    def kept(self) -> str:
        return "is its label"

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        return folded(output, truth) if self.rejects else output

    def label(self, truth: Tensor) -> Tensor:
        return truth

    def predict(self, output: Tensor, truth: Tensor) -> Tensor:
        """The class that the model itself says, `REJECTED` where none."""
        prediction = output.argmax(1)
        return prediction.masked_fill(prediction == output.shape[1] - 1, REJECTED) if self.rejects else prediction

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        check_labels(y, output.shape[1] - self.rejects, rows)


def check_labels(y: Tensor, classes: int, rows: Tensor) -> None:
    """Raises InputError: a label (n,) of the rows `rows` (n,) is no class of the model."""
    strange = ((y < 0) | (y >= classes)).nonzero()[:, 0]
    if len(strange):
        row, label = int(rows[strange[0]]), int(y[strange[0]])
        raise InputError(
            f"expected labels from 0 to {classes - 1}, since the model has {classes} classes, got {label} in row "
            f"{row}: give every row the number of its class, in the model's order"
        )


@dataclass(frozen=True)
class Regress(Goal, ABC):
    """Of numbers (B,) or (B, k): success is where any of the k gets there."""

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """`error`: |f(x) - y|, `shift`: |f(x) - f(clean x)|, the largest of the k; `output` itself if there is one."""
        error, shift = ((_flat(output) - _flat(other)).abs().amax(1) for other in (y, clean))
        alone = {"output": _flat(output)[:, 0]} if _flat(output).shape[1] == 1 else {}
        return {"error": error, "shift": shift, **alone}

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        numbers = _flat(output).shape[1]
        if output.ndim > 2 or _flat(y).shape[1] != numbers:
            raise InputError(
                f"expected one number or a row of numbers per input, as many as there are in y {tuple(y.shape[1:])}, "
                f"got outputs {tuple(output.shape[1:])}: use a model of such numbers, or a goal that is a function"
            )
        strange = (~_flat(y).isfinite().all(1)).nonzero()[:, 0]
        if len(strange):
            raise InputError(
                f"expected finite numbers in y, got {y[strange[0]].tolist()} in row {int(rows[strange[0]])}: leave "
                "such rows out"
            )


@dataclass(frozen=True)
class _Tolerant(Regress):
    """Changes by more than a tolerance, in the units of the output. Scores are in tolerances."""

    tolerance: float

    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < math.inf:
            raise InputError(
                f"expected a tolerance above 0 for the goal {self.name!r}, got {self.tolerance}: say how large a "
                "change counts, in the units of the output"
            )

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.tolerance!r}"

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        return output

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        change = (_flat(output) - _flat(truth)) / self.tolerance
        return torch.cat([torch.ones_like(change[:, :1]), *self.directions(change)], 1)

    @abstractmethod
    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        """The changes (B, k), in tolerances, that count when they exceed 1."""


@dataclass(frozen=True)
class Move(_Tolerant):
    """The output moves by more than the tolerance, up or down, from what it is on the clean input."""

    name: ClassVar[str] = "move"
    ways: ClassVar[tuple[str, ...]] = ("up", "down")

    @property
    def kept(self) -> str:
        return f"moves by no more than {self.tolerance:g}"

    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        return change, -change


@dataclass(frozen=True)
class Error(Move):
    """The output differs by more than the tolerance from y: rows that do so as they are count as wrong."""

    name: ClassVar[str] = "error"

    @property
    def kept(self) -> str:
        return f"is within {self.tolerance:g} of the true value"

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True)
class Up(_Tolerant):
    """The output rises by more than the tolerance."""

    name: ClassVar[str] = "up"
    ways: ClassVar[tuple[str, ...]] = ("up",)

    @property
    def kept(self) -> str:
        return f"rises by no more than {self.tolerance:g}"

    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        return (change,)


@dataclass(frozen=True)
class Down(_Tolerant):
    """The output falls by more than the tolerance."""

    name: ClassVar[str] = "down"
    ways: ClassVar[tuple[str, ...]] = ("down",)

    @property
    def kept(self) -> str:
        return f"falls by no more than {self.tolerance:g}"

    def directions(self, change: Tensor) -> tuple[Tensor, ...]:
        return (-change,)


@dataclass(frozen=True)
class _Towards(Regress):
    """A value is to be passed or met. Scores are shares of the way that the clean output has to go."""

    value: float

    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"expected a finite number for the goal {self.name!r}, got {self.value}: name a value")

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.value!r}"

    def truth(self, output: Tensor, y: Tensor) -> Tensor:
        return output

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        way = (_flat(truth) - self.value).abs().amax(1, keepdim=True).clamp_min(_TINY)
        left = self.left(_flat(output)) / way
        return torch.cat([torch.zeros_like(left[:, :1]), -left], 1)

    @abstractmethod
    def left(self, output: Tensor) -> Tensor:
        """How far each number (B, k) still is from reaching the goal; negative where it does."""


@dataclass(frozen=True)
class Above(_Towards):
    """The output exceeds a value."""

    name: ClassVar[str] = "above"
    ways: ClassVar[tuple[str, ...]] = ("above",)

    @property
    def kept(self) -> str:
        return f"does not exceed {self.value:g}"

    def left(self, output: Tensor) -> Tensor:
        return self.value - output


@dataclass(frozen=True)
class Below(_Towards):
    """The output falls below a value."""

    name: ClassVar[str] = "below"
    ways: ClassVar[tuple[str, ...]] = ("below",)

    @property
    def kept(self) -> str:
        return f"does not fall below {self.value:g}"

    def left(self, output: Tensor) -> Tensor:
        return output - self.value


@dataclass(frozen=True)
class To(_Towards):
    """The output comes nearer to a value than the tolerance."""

    tolerance: float = 0.0

    name: ClassVar[str] = "to"
    ways: ClassVar[tuple[str, ...]] = ("to",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tolerance < math.inf:
            raise InputError(
                f"expected a tolerance above 0 for the goal 'to', got {self.tolerance}: write to:{self.value},TOLERANCE"
            )

    @property
    def spec(self) -> str:
        return f"{self.name}:{self.value!r},{self.tolerance!r}"

    @property
    def kept(self) -> str:
        return f"stays more than {self.tolerance:g} away from {self.value:g}"

    def left(self, output: Tensor) -> Tensor:
        return (output - self.value).abs() - self.tolerance


@dataclass(frozen=True)
class Score(Goal):
    """A function of the user's, for outputs of any kind: counts, masks, sequences.

    Args:
        function: from outputs (B, ...) and truths (B, ...), the data's y, to margins (B,), negative exactly where an
            adversary has succeeded, or to margins and a dict of further numbers (B,) to report. It must treat every
            row alone, and autograd has to run through the margins for attacks with gradients.
        name: what reports call it.
    """

    function: Callable[[Tensor, Tensor], Any]
    name: str = ""

    ways: ClassVar[tuple[str, ...]] = ("reached",)

    @property
    def kept(self) -> str:
        return f"does not reach the goal {self.spec}"

    @property
    def spec(self) -> str:
        return self.name or getattr(self.function, "__name__", type(self.function).__name__)

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        margins, _ = self._called(output, truth)
        return torch.stack([margins, torch.zeros_like(margins)], 1)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        return self._called(output, y)[1]

    def check(self, output: Tensor, y: Tensor, rows: Tensor) -> None:
        margins, _ = self._called(output, y)
        strange = margins.isnan().nonzero()[:, 0]
        if len(strange):
            raise InputError(
                f"expected a margin for every row from the goal {self.spec!r}, got NaN for row "
                f"{int(rows[strange[0]])} as it is: let it return a number, above 0 where all is well"
            )

    def _called(self, output: Tensor, truth: Tensor) -> tuple[Tensor, Measures]:
        answer = self.function(output, truth)
        margins, measures = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, {})
        if not isinstance(measures, Mapping):
            raise InputError(
                f"expected (margins, a dict of numbers) from the goal {self.spec!r}, got {type(measures).__name__} in "
                "second place: return margins (B,) alone or with a dict"
            )
        named = {str(name): _row_numbers(t, len(output), f"{self.spec}[{name!r}]") for name, t in measures.items()}
        return _row_numbers(margins, len(output), self.spec), named


@dataclass(frozen=True)
class Share(Goal):
    """A goal that is reached in at least this share of the draws of a scene: outputs are (B, draws, ...).

    The margin is that of the draw that decides, so it is negative exactly where enough others are; its gradient is
    that of the mean over all draws, which has more to say.

    Args:
        goal: of a single output.
        least: share of the draws, above 0 and at most 1.
        towards: the class of the goal's scores that has to be reached; None: any but the label.
    """

    goal: Goal
    least: float
    towards: int | None = None

    ways: ClassVar[tuple[str, ...]] = ("reached",)

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise InputError(f"expected a share of draws above 0 and at most 1, got {self.least}: change least")

    @property
    def spec(self) -> str:
        return f"share {self.least:g} of {self.goal.spec}"

    @property
    def kept(self) -> str:
        return f"{self.goal.kept} in more than {1 - self.least:.0%} of the draws"

    def scores(self, output: Tensor, truth: Tensor) -> Tensor:
        margins, draws = self._margins(output, truth), output.shape[1]
        decides = margins.kthvalue(max(1, math.ceil(self.least * draws - 1e-9)), 1).values
        mean = margins.mean(1)
        margin = mean + (decides - mean).detach()
        return torch.stack([margin, torch.zeros_like(margin)], 1)

    def measures(self, output: Tensor, y: Tensor, clean: Tensor) -> Measures:
        """`share`: of the draws on which the goal is reached."""
        return {"share": (self._margins(output, y) < 0).float().mean(1)}

    def _margins(self, output: Tensor, truth: Tensor) -> Tensor:
        """Of every draw: (B, draws)."""
        each, wide = output.flatten(0, 1), truth.repeat_interleave(output.shape[1], 0)
        scores = self.goal.scores(each, wide)
        label = self.goal.label(wide)
        found = margin(scores, label) if self.towards is None else -margin(scores, torch.full_like(label, self.towards))
        return found.view(len(output), output.shape[1])


def _row_numbers(given: Any, rows: int, what: str) -> Tensor:
    if not isinstance(given, Tensor) or given.shape != (rows,) or given.is_complex():
        form = f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise InputError(
            f"expected one number per row, a tensor ({rows},), from the goal {what!r}, got {form}: reduce it over all "
            "axes but the first"
        )
    return given.float()


def _flat(t: Tensor) -> Tensor:
    return t.flatten(1) if t.ndim > 1 else t[:, None]


GOALS: dict[str, type[_Tolerant] | type[_Towards]] = {
    kind.name: kind for kind in (Move, Error, Up, Down, Above, Below, To)
}
FORMS = "move:TOLERANCE, error:TOLERANCE, up:TOLERANCE, down:TOLERANCE, above:VALUE, below:VALUE or to:VALUE,TOLERANCE"


def of_values(goal: Goal | str | None) -> bool:
    """Whether it reads outputs that are no scores of classes."""
    return goal not in (None, "class") and not (isinstance(goal, Goal) and goal.classifies)


def as_goal(given: Any) -> Any:
    """A function becomes a goal; anything else is returned as it is."""
    return Score(given) if callable(given) and not isinstance(given, Goal | type) else given


def parse_goal(text: str) -> Goal:
    """The goal that e.g. "move:0.5", "above:3.5" or "to:20,0.5" describes; "class" is classification.

    Raises InputError for anything else.
    """
    name, _, numbers = text.strip().lower().partition(":")
    if name == "class" and not numbers:
        return Classify()
    try:
        return GOALS[name](*(float(number) for number in numbers.split(",")))
    except InputError:
        raise
    except (KeyError, ValueError) as error:
        raise InputError(f"expected a goal such as {FORMS}, got {text!r}: write one of these") from error
