"""How often the intervals of rates hold the exact rate, on closed forms from 1e-3 to 1e-24.

    python -m benchmarks.rates --rows 300 --particles 10 corner20 half20

Every row is a repetition of its own: ten runs, as many rounds as `evidence.gather` makes, one interval.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import betainc
from scipy.stats import beta, norm

from blindspots.experiments.inspect.frequency.evidence import ROUNDS, gather
from blindspots.experiments.inspect.frequency.laws import Ball, Cube, Gaussian, Law, Sphere
from blindspots.experiments.inspect.frequency.rates import rate
from blindspots.experiments.inspect.frequency.splitting import Score, Splitting
from blindspots.random import keys
from blindspots.records import clopper_pearson

Form = tuple[Score, int, Law, float]  # score, dimension, law, exact rate


def cap(height: float) -> Form:
    """Of the unit ball in 784 dimensions."""
    return lambda x, row: x[:, 0].double() - height, 784, Ball(1.0), float(betainc(392.5, 0.5, 1 - height**2)) / 2


def cube(count: int, mean: float) -> Form:
    """The mean of so many uniforms of (-1, 1) exceeds this (Irwin and Hall)."""
    rest = round(1000 * count * (1 - mean) / 2)
    terms = [(-1) ** k * math.comb(count, k) * (rest - 1000 * k) ** count for k in range(rest // 1000 + 1)]
    return lambda x, row: x.double().mean(1) - mean, count, Cube(1.0), sum(terms) / 1000**count / math.factorial(count)


def corner(count: int, p: float) -> Form:
    """All of so many uniforms are near their ends."""
    return lambda x, row: x.double().amin(1) - 1 + 2 * p ** (1 / count), count, Cube(1.0), p


def half_space(p: float) -> Form:
    """Behind a plane, under noise."""
    return lambda x, row: x[:, 0].double() - float(norm.isf(p)), 2, Gaussian(1.0), p


def union() -> Form:
    """Two opposite caps, one of them 88 times as rare."""
    (near, dim, law, p), (far, *_, q) = cap(0.2), cap(0.225)
    return lambda x, row: near(x, row).maximum(far(-x, row)), dim, law, p + q


def spheres() -> Form:
    """Errors of a quadratic network on the inner one of two concentric spheres (Gilmer et al. 2018)."""
    a = torch.tensor([1.5] * 50 + [0.9] * 450).double()
    return lambda x, row: x.double().square() @ a - 1, 500, Sphere(1.0), float(beta.sf(0.1 / 0.6, 25, 225))


FORMS: dict[str, Callable[[], Form]] = {
    "spheres": spheres, "half6": lambda: half_space(1e-6), "half20": lambda: half_space(1e-20),
    "cap9": lambda: cap(0.2), "cap24": lambda: cap(0.35), "union": union, "cube5": lambda: cube(20, 0.5),
    "cube21": lambda: cube(50, 0.7), "corner3": lambda: corner(3, 1e-6), "corner5": lambda: corner(5, 1e-20),
    "corner20x6": lambda: corner(20, 1e-6), "corner20": lambda: corner(20, 1e-20),
}  # fmt: skip


def measure(name: str, rows: int, particles: int) -> str:
    """One line on one closed form."""
    score, dim, law, p = FORMS[name]()
    began, how = time.process_time(), Splitting(particles, floor=1e-40)
    found = gather(score, torch.zeros(rows, dim), law, keys(0, torch.arange(rows)), draws=10, splitting=how)
    split = [e for e in found if e.rounds]
    held = [low <= p <= high for low, high in (rate(e).interval for e in found)]
    low, high = clopper_pearson(sum(held), rows, 0.95)
    ideal = -math.log(p) * particles * how.replicates * how.steps
    cost = float(np.mean([e.forwards for e in split])) / ideal
    rounds = np.bincount([len(e.rounds) for e in split], minlength=ROUNDS + 1)[1:].tolist()
    return (
        f"{name} {p:.4g}: {sum(held)} of {rows} hold ({100 * low:.1f} to {100 * high:.1f} %), rounds {rounds}, "
        f"{cost:.2f} times the points of one round, {time.process_time() - began:.0f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("forms", nargs="*", help=", ".join(FORMS))
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--particles", type=int, default=10)
    asked = parser.parse_args()
    for form in asked.forms or FORMS:
        print(measure(form, asked.rows, asked.particles), flush=True)
