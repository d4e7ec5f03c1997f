"""Attack a service that returns labels and nothing more.

`ask` stands for your request to the service: it takes a numpy array of inputs and returns one label for each. The
attack never makes more queries than it is allowed, and `box.queries` counts them.
"""

import numpy as np
import torch

import blindspots as bs

hidden = bs.load_model("digits")


def ask(images: np.ndarray) -> np.ndarray:
    """float32 (B, 1, 8, 8) in [0, 1] -> labels (B,)."""
    return hidden.logits(torch.from_numpy(images)).argmax(1).numpy()


def main() -> None:
    x, y = bs.load_data("digits").rows(0, 20)
    box = bs.BlackBox(ask, "labels", classes=10)

    result = bs.attack(box, x, y, bs.attacks.HopSkipJump(queries=500), threat=bs.L2())
    distance = result.norms[result.success].median()
    print(f"{int(result.success.sum())} of {len(x)} inputs fooled, median L2 distance {distance:.2f}")
    print(f"{box.queries} queries, {box.queries / len(x):.0f} per input")


if __name__ == "__main__":
    main()
