"""The smallest adversarial change of models that are simple enough to compute it: proved, not searched for."""

from blindspots.exact.bracket import Bracket, Solver
from blindspots.exact.choose import solver_of
from blindspots.exact.region import Frame

__all__ = ["Bracket", "Frame", "Solver", "solver_of"]
