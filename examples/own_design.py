"""Design something on a learned objective, and see how much of what it promises is true.

The truth is a function of your own: here the yield of a reaction A -> B -> C, by temperature, time and catalyst. A few
random batches were measured, a network learns the yield, and recipes are sought on that network alone.
"""

import numpy as np

import blindspots as bs


def yielded(recipes: np.ndarray) -> np.ndarray:
    """Percent of A that is B in the end, for recipes (n, 3): kelvin, hours, share of catalyst in percent."""
    kelvin, hours, catalyst = recipes.T
    forward = catalyst * np.exp(20 - 6500 / kelvin)  # per hour, Arrhenius
    onward = np.exp(31 - 11500 / kelvin)
    left = np.exp(-forward * hours) - np.exp(-onward * hours)
    return 100 * forward * left / (onward - forward + 1e-12)


def main() -> None:
    task = bs.Task([(290, 420), (0.1, 12), (0.1, 2)], yielded, name="reaction", unit="%")
    run = bs.design(task, points=20, method=("naive", "conservative"), repeats=5, updates=800)
    print(f"best of the data {run.verdict.best_data.mean:.0f} %")
    for method in run.verdict.methods:
        chosen = method.chosen.unit
        print(f"{method.name:<12} promised {chosen.predicted.mean:.0f} %, true {chosen.true.mean:.0f} %")


if __name__ == "__main__":
    main()
