"""Which models have a solver, and for which threats."""

from blindspots.ball import Ball
from blindspots.exact.affine import scores_of
from blindspots.exact.bracket import Solver
from blindspots.exact.linear import LinearSolver
from blindspots.exact.neighbours import NeighbourSolver, examples_of
from blindspots.exact.region import Frame
from blindspots.exact.separable import SeparableSolver, curves_of
from blindspots.exact.trees import TreeSolver
from blindspots.models.model import Model
from blindspots.models.trees.tables import forest_of
from blindspots.threat import Threat


def solver_of(model: Model, threat: Threat, shape: tuple[int, ...]) -> Solver | None:
    """Proves the smallest change of a classifier's inputs of this shape; None: for such a model nothing is proved."""
    if not isinstance(threat, Ball) or model.rejects or model.output == "values":
        return None
    forest, frame = forest_of(model), Frame(threat, shape)
    if forest is not None:
        return TreeSolver(forest, frame)
    if (known := examples_of(model)) is not None:
        return None if threat.p == 0 else NeighbourSolver(*known, frame)
    if (curves := curves_of(model)) is not None:
        return SeparableSolver(curves, frame)
    scores = scores_of(model, shape)
    return None if scores is None else LinearSolver(scores, frame)
