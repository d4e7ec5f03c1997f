"""Which models have a solver, and for which threats."""

from blindspots.ball import Ball
from blindspots.exact.affine import scores_of
from blindspots.exact.bracket import Solver
from blindspots.exact.linear import LinearSolver
from blindspots.exact.neighbours import NeighbourSolver, examples_of
from blindspots.exact.region import Frame, is_linear
from blindspots.exact.separable import SeparableSolver, curves_of
from blindspots.exact.trees import TreeSolver, is_bounded
from blindspots.goals.numbers import Regress
from blindspots.models.model import Model
from blindspots.models.trees.tables import forest_of
from blindspots.tables.threat import TableThreat
from blindspots.threat import Threat


def solver_of(model: Model, threat: Threat, shape: tuple[int, ...], goal: Regress | None = None) -> Solver | None:
    """Proves the smallest change of a model's inputs of this shape; None: for such a model nothing is proved.

    `goal`: what is to become of a model's numbers; None: it tells classes apart.
    """
    if model.rejects or (model.output == "values") != (goal is not None):
        return None
    if isinstance(threat, TableThreat):
        if not is_linear(threat.rules, threat.ball):
            return None
        frame = Frame(threat.ball, shape, threat.rules)
    elif isinstance(threat, Ball):
        frame = Frame(threat, shape)
    else:
        return None
    scores = scores_of(model, shape)
    if scores is not None:
        return LinearSolver(scores, frame, goal)
    return None if frame.step is not None else _of_numbers(model, frame, goal)


def _of_numbers(model: Model, frame: Frame, goal: Regress | None) -> Solver | None:
    """Where all features may be any numbers of the box."""
    if (forest := forest_of(model)) is not None:
        return TreeSolver(forest, frame, goal) if is_bounded(forest) else None
    if goal is not None:
        return None
    if (known := examples_of(model)) is not None:
        return None if frame.p == 0 else NeighbourSolver(*known, frame)
    curves = curves_of(model)
    return None if curves is None else SeparableSolver(curves, frame)
