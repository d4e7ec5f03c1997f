"""How much farther than the nearest error of a quadratic network an attack ends: there the truth is known."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blindspots.attacks import Attack
from blindspots.ball import L2
from blindspots.crafting import Plan, craft
from blindspots.experiments.inspect.frequency.spheres import Quadratic, boundary_distance
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle


def excess(
    attack: Attack, net: Quadratic, x: Tensor, y: Tensor, *, restarts: int = 1, seed: int = 0
) -> NDArray[np.float64]:
    """Found over exact l2 distance, less 1, of rows x (B, d) that the network gets right; infinite without a find.

    The search has a box that its way to the boundary never meets.

    Raises InputError for an attack that does not search for the smallest l2 distance.
    """
    reach = 4 * float(x.abs().max())
    threat = L2(None, -reach, reach)
    plan = Plan(threat, Objective(loss=attack.loss), None, restarts, seed, slots=len(x), part_rows=len(x))
    moved = craft(Oracle(Model(net, bounds=(-reach, reach))), attack, plan, x, y).moved
    found = (moved - x).double().norm(dim=1).numpy()
    exact = np.array([boundary_distance(net.coefficients, row) for row in x.double().numpy()])
    return np.where(found > 0, found / exact - 1, np.inf)
