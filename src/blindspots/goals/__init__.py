"""What counts as success for the output of a model: another class, a number that moves, or a function of the user's."""

from blindspots.goals.dense import Missed, Pixels
from blindspots.goals.functions import Score, Share
from blindspots.goals.goal import Classify, Goal, Measures, check_labels, folded
from blindspots.goals.numbers import Above, Below, Down, Error, Move, Regress, To, Up
from blindspots.goals.words import DENSE, FORMS, GOALS, as_goal, of_values, parse_goal

__all__ = [
    "DENSE",
    "FORMS",
    "GOALS",
    "Above",
    "Below",
    "Classify",
    "Down",
    "Error",
    "Goal",
    "Measures",
    "Missed",
    "Move",
    "Pixels",
    "Regress",
    "Score",
    "Share",
    "To",
    "Up",
    "as_goal",
    "check_labels",
    "folded",
    "of_values",
    "parse_goal",
]
