"""Models that are to be fed the same rows: their names, sizes, classes and labels brought together, or refused."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from blindspots.data import Dataset
from blindspots.data.names import found, places, shown, telling
from blindspots.errors import InputError
from blindspots.models.adapted import Adapted, Size, class_count
from blindspots.models.binding import names_of
from blindspots.models.model import Model
from blindspots.naming import meant
from blindspots.oracle import Oracle

Sizes = Mapping[str | None, Size]  # by model; None: of every model that does not take the rows as they are
LabelsOf = Mapping[str, Sequence[int | None]]  # by model: the data's label of each of its outputs; None: dropped


def adapted(
    models: Sequence[Model], names: Sequence[str], data: Dataset, sizes: Sizes | None, labels: LabelsOf | None
) -> list[Model]:
    """The models, each made to take the rows of `data` and to answer with its labels.

    Raises:
        InputError: fewer than two models, other bounds, classes or shapes, or a name in `sizes` or `labels` that no
            model has.
    """
    if len(models) < 2:
        raise InputError(f"expected at least two models, got {len(models)}: name another one to feed the examples to")
    _known([*(k for k in sizes or {} if k is not None), *(labels or {})], names)
    _same_bounds(models, names)
    x, _ = data.rows(0, 1)
    fitted = [_fitted(model, name, x, sizes or {}, labels or {}) for model, name in zip(models, names, strict=True)]
    _same_classes(fitted, names, x)
    return fitted


def matched(models: Sequence[Model], names: Sequence[str], data: Dataset, labels: LabelsOf | None) -> LabelsOf | None:
    """The label of every output of the models whose classes are in another order than the labels of the data.

    The order of the data is that of the first model whose classes have names; where `labels` say some models' outputs,
    it is their own.

    Raises InputError: classes that have names on both sides are not the same.
    """
    told = {name: names_of(m) for m, name in zip(models, names, strict=True) if name not in (labels or {})}
    named = {name: own for name, own in told.items() if own}
    if labels:
        order, whose = telling(data.class_names), data.name
    else:
        whose, order = next(iter(named.items()), ("", None))
    other = {name: _in_order(name, own, order, whose) for name, own in named.items() if order and own != order}
    return {**other, **(labels or {})} or None


def _in_order(name: str, own: Sequence[str], order: Sequence[str], whose: str) -> list[int | None]:
    """The place of each output's class in the common order."""
    where = found(places(own, order), order, name, f"the classes of {whose}")
    if len(where) < len(order):
        raise InputError(
            f"expected {name} to have all classes of {whose}, {shown(order)}, got {shown(own)}: say with --labels "
            "which label each of its outputs stands for"
        )
    return [where[word] for word in own]


def _known(given: Sequence[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise InputError(
                f"expected the name of a model among {', '.join(names)}, got {name!r}{meant(name, names)}: use one of "
                "these"
            )


def _same_bounds(models: Sequence[Model], names: Sequence[str]) -> None:
    for model, name in zip(models, names, strict=True):
        if model.bounds != models[0].bounds:
            raise InputError(
                f"expected models whose inputs have the same bounds, got {models[0].bounds} for {names[0]} and "
                f"{model.bounds} for {name}: put the preprocessing into the model, so that it takes the same rows"
            )


def _fitted(model: Model, name: str, x: Tensor, sizes: Sizes, labels: LabelsOf) -> Model:
    size = sizes.get(name)
    if size is None and None in sizes and _refusal(model, x):
        size = sizes[None]
    if size is not None and x.ndim != 4:
        raise InputError(
            f"expected images to resize for {name}, got inputs of shape {tuple(x.shape[1:])}: leave --resize out"
        )
    sized = model if size is None else Adapted(model, size, None)
    if refusal := _refusal(sized, x):
        at_size = "" if size is None else f", resized to {size[0]}x{size[1]}"
        raise InputError(
            f"expected {name} to take inputs of shape {tuple(x.shape[1:])}{at_size}, got: {refusal}. Leave it out, or "
            f"give it its own size with --resize {name}=HEIGHTxWIDTH"
        )
    if name not in labels:
        return sized
    _check_mapping(name, labels[name], classes_of(sized, x))
    return Adapted(model, size, labels[name])


def _refusal(model: Model, x: Tensor) -> str:
    """What the model says when it is given one row, if it does not take it."""
    try:
        _look(model, x)
    except Exception as error:  # noqa: BLE001 - whatever code of a user's model raises
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def classes_of(model: Model, x: Tensor) -> int:
    """How many scores the model gives the first of the rows (N, *shape)."""
    return _look(model, x[:1]).shape[1]


def _look(model: Model, x: Tensor) -> Tensor:
    oracle = Oracle(model, chunk=1)
    with oracle.session():
        return oracle.logits(x)


def _check_mapping(name: str, labels: Sequence[int | None], outputs: int) -> None:
    if len(labels) != outputs:
        raise InputError(
            f"expected a label for each of the {outputs} outputs of {name}, got {len(labels)}: list one per output, "
            "null for an output to drop"
        )
    missing = sorted(set(range(class_count(labels))) - set(labels))
    if missing or class_count(labels) < 2:
        lacking = ", ".join(map(str, missing)) or "a second one"
        raise InputError(
            f"expected an output of {name} for every label from 0 on, found none for {lacking}: list the label of each "
            "output"
        )


def _same_classes(models: Sequence[Model], names: Sequence[str], x: Tensor) -> None:
    classes = [classes_of(model, x) for model in models]
    for number, name in zip(classes, names, strict=True):
        if number != classes[0]:
            raise InputError(
                f"expected models with the same classes, got {classes[0]} of {names[0]} and {number} of {name}: say "
                "with --labels which label each output stands for, or leave one out"
            )


def check_labels(y: Tensor, classes: int) -> None:
    """Refuse labels that no model knows."""
    strange = ((y < 0) | (y >= classes)).nonzero()[:, 0]
    if len(strange):
        row = int(strange[0])
        raise InputError(
            f"expected labels from 0 to {classes - 1}, as the models tell {classes} classes apart, got {int(y[row])} "
            f"in row {row}: give every row the number of its class, in the models' order"
        )
