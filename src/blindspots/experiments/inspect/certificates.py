"""What the study of stability proves about predictions, as the radii that the study of rates takes."""

from math import inf, sqrt
from typing import Any

import torch
from torch import Tensor

from blindspots.runs.store import Run
from blindspots.threats import parse_threat

_ROUNDING = 1e-4  # of the largest score: scores in float32 are nearer than that to those that bounds are about


def certified(stability: Run[Any, Any], rows: int) -> Tensor:
    """For all rows of the data the radius, in the norm of the threat, within which the prediction is proved to stay.

    (rows,) float64; 0 for rows around which stability was not bounded. Two proofs, the better one of each row: by how
    fast z_y - z_j can change anywhere (`whole`), for every j; and, for the radius of the threat alone, by the bound of
    the Jacobian in that ball (`around`), since ||J (e_y - e_j)|| <= sqrt 2 ||J||. A linf ball of radius r in d
    dimensions lies in the l2 ball of radius r sqrt d.
    """
    around, margins = stability.parts.joined("around"), stability.parts["whole"]["margins"]
    threat = parse_threat(str(stability.config.threat))
    stretch = sqrt(around["x"][0].numel()) if threat.name == "linf" else 1.0
    ahead, pace = _ahead(around["scores"]), margins[around["scores"].argmax(1)]
    anywhere = (ahead / pace).nan_to_num(0.0, posinf=inf).amin(1).clamp_min(0) / stretch
    reach = (threat.radius or 0.0) * stretch * sqrt(2) * around["local"]
    within = torch.where(ahead.amin(1) > reach, threat.radius or 0.0, 0.0)
    return torch.zeros(rows, dtype=torch.float64).index_copy(0, around["id"], anywhere.maximum(within))


def _ahead(scores: Tensor) -> Tensor:
    """How much higher the best score surely is than every other one: (n, c), infinite for itself."""
    best = scores.amax(1, keepdim=True)
    ahead = best - scores - _ROUNDING * scores.abs().amax(1, keepdim=True)
    return ahead.scatter(1, scores.argmax(1, keepdim=True), inf)
