"""The same task learned twice from rows that do not overlap: the question behind Table 4 of Szegedy et al. 2013."""

from collections.abc import Sequence

from torch import Tensor

from blindspots.data import Dataset
from blindspots.data.splits import halves
from blindspots.errors import InputError
from blindspots.experiments.transfer.models import HALVES, split
from blindspots.experiments.transfer.training import arrays, train
from blindspots.models.digits import Say
from blindspots.models.model import Model


def train_on_half(
    architectures: Sequence[str], number: int, data: Dataset, seed: int, steps: int | None, say: Say
) -> Model:
    """Network `number` (from 0) of those that are trained twice, on two disjoint halves of the data.

    Args:
        architectures: "softmax", "softmax:LAMBDA", "fc:100-100", "autoencoder:400" (see `networks`), or
            "file.py:factory" / "package.module:factory", a function without arguments that returns an untrained
            `nn.Module` or `Model`. A factory is called anew for each half, with torch's generator seeded; whatever it
            returns is trained, so a network that was trained before is trained further.
        data: training rows; inputs in [0, 1] unless a factory returns a `Model` with bounds of its own.
        seed: decides the split, the first weights and the order of the rows. No two networks begin with the same ones.
        steps: of training; None: what suits the architecture.
        say: gets a sentence on the progress now and then.

    Raises:
        InputError: an architecture is not one of those, the data have fewer than two different rows, or one class only.
    """
    architecture, half = split(architectures)[number]
    x, y = arrays(data)
    at = halves(x, seed)[HALVES.index(half)]
    classes = class_count(y, data.name)
    return train(architecture, x[at], y[at], classes=classes, seed=seed + number, steps=steps, say=say)


def class_count(y: Tensor, name: str) -> int:
    """How many classes the labels speak of. Raises InputError for labels below 0, and for a single class."""
    if int(y.min()) < 0 or int(y.max()) < 1 or bool((y == y[0]).all()):
        raise InputError(
            f"expected labels 0, 1, ... of at least two classes in {name}, got {sorted(set(y.tolist()))[:3]}: "
            "training needs several classes"
        )
    return int(y.max()) + 1
