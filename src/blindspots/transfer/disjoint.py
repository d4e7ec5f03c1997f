"""The same task learned twice from rows that do not overlap: the question behind Table 4 of Szegedy et al. 2013."""

from collections.abc import Sequence

from torch import Tensor

from blindspots.data import Dataset
from blindspots.data.names import telling
from blindspots.data.splits import halves
from blindspots.errors import InputError
from blindspots.models.binding import names_of
from blindspots.models.digits import Say
from blindspots.models.model import Model
from blindspots.transfer.networks import parse_architecture
from blindspots.transfer.training import Recipe, arrays, train

HALVES = ("P1", "P2")


def split_models(
    architectures: Sequence[str], data: Dataset, seed: int = 0, recipe: Recipe | None = None, say: Say | None = None
) -> list[Model]:
    """Every architecture trained twice, on two disjoint halves of the data.

    Args:
        architectures: "softmax", "softmax:LAMBDA", "fc:100-100", "autoencoder:400" (see `networks`), or
            "file.py:factory" / "package.module:factory", a function without arguments that returns an untrained
            `nn.Module` or `Model`. A factory is called anew for each half, with torch's generator seeded; whatever it
            returns is trained, so a network that was trained before is trained further.
        data: training rows; inputs in [0, 1] unless a factory returns a `Model` with bounds of its own.
        seed: decides the split, the first weights and the order of the rows.
        recipe: how to train; None: what the architecture's own is.
        say: gets a sentence on the progress now and then.

    Returns:
        The models trained on P1 in the order of `architectures`, then those trained on P2, named "fc:100-100 on P1".
        They are in evaluation mode. No two of them begin with the same weights.

    Raises:
        InputError: an architecture is not one of those, the data have fewer than two different rows, or one class only.
    """
    named = [parse_architecture(text) for text in architectures]
    x, y = arrays(data)
    classes = class_count(y, data.name)
    trained: list[Model] = []
    for name, half in zip(HALVES, halves(x, seed), strict=True):
        for architecture in named:
            model = train(
                architecture, x[half], y[half], classes=classes, seed=seed + len(trained), recipe=recipe,
                say=say or (lambda text: None),
            )  # fmt: skip
            model.name = f"{architecture.spec} on {name}"
            model.class_names = names_of(model) or telling(data.class_names)
            trained.append(model)
    return trained


def class_count(y: Tensor, name: str) -> int:
    """How many classes the labels speak of. Raises InputError for labels below 0, and for a single class."""
    if int(y.min()) < 0 or int(y.max()) < 1 or bool((y == y[0]).all()):
        raise InputError(
            f"expected labels 0, 1, ... of at least two classes in {name}, got {sorted(set(y.tolist()))[:3]}: "
            "training needs several classes"
        )
    return int(y.max()) + 1
