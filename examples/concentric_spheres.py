"""How often a network errs whose error rate is known, down to 1e-18: concentric spheres (Gilmer et al. 2018).

The network says "outer" where sum a_i x_i^2 > 1. Points are drawn on the sphere of radius 1 around the origin, all of
which are "inner"; the closed form counts the same errors without drawing a point.
"""

import numpy as np
import torch

import blindspots as bs
from blindspots.experiments.inspect.frequency.spheres import Quadratic, Spheres


def main() -> None:
    origin = torch.zeros(1, 500)
    for first, a, b in ((50, 1.5, 0.9), (50, 1.2, 0.9)):
        coefficients = np.repeat([a, b], [first, 500 - first])
        exact, _ = Spheres().error_rates(coefficients)
        net = bs.Model(Quadratic(torch.tensor(coefficients).float()), bounds=(-2, 2))
        done = bs.inspect.frequency(net, origin, [0], threat="l2:1", law="sphere", particles=4)
        low, high = done.verdict.tables[0].lines[0].rate.interval
        print(f"exact {exact:.3g}, measured {low:.2g} to {high:.2g} with {done.verdict.forwards:,} points")


if __name__ == "__main__":
    main()
