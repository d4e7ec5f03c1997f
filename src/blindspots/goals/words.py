"""Goals in words."""

from typing import Any

from blindspots.errors import InputError
from blindspots.goals.dense import Missed, Pixels
from blindspots.goals.functions import Score
from blindspots.goals.goal import Classify, Goal
from blindspots.goals.numbers import Above, Below, Down, Error, Move, Regress, To, Up

DENSE: dict[str, type[Pixels | Missed]] = {kind.name: kind for kind in (Pixels, Missed)}
GOALS: dict[str, type[Regress]] = {kind.name: kind for kind in (Move, Error, Up, Down, Above, Below, To)}
FORMS = (
    "move:TOLERANCE, error:TOLERANCE, up:TOLERANCE, down:TOLERANCE, above:VALUE, below:VALUE, to:VALUE or "
    "to:VALUE,TOLERANCE, or pixels:SHARE or missed:SHARE"
)


def of_values(goal: object) -> bool:
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
        return {**GOALS, **DENSE}[name](*(float(number) for number in numbers.split(",")))
    except InputError:
        raise
    except (KeyError, ValueError) as error:
        raise InputError(f"expected a goal such as {FORMS}, got {text!r}: write one of these") from error
