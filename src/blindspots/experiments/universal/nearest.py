"""The smallest l2 changes of single inputs, which controls and geometry are made of."""

from torch import Tensor

from blindspots.attacks import Attack
from blindspots.ball import L2
from blindspots.crafting import Plan, craft
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle


def nearest(model: Model, x: Tensor, y: Tensor, attack: Attack, chunk: int) -> Tensor:
    """Inputs (n, *shape) of another class near those of class y (n,), by an attack for small l2 distances.

    The same inputs where none was found, or none was needed.
    """
    plan = Plan(L2().within(*model.box), Objective(), None, 1, 0, chunk, len(y))
    return craft(Oracle(model, chunk=chunk), attack, plan, x, y).moved
