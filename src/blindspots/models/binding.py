"""Fitting data to a model: labels become its classes, inputs get the shape it takes, or an error says why not."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from blindspots.data import Dataset, FolderData, SoundData, Stream
from blindspots.data.names import shown, telling
from blindspots.errors import InputError
from blindspots.models.ensemble import Ensemble
from blindspots.models.foreign import own_randomness
from blindspots.models.model import Model, Wrapper, is_lazy
from blindspots.models.transformed_texts import TransformedTexts

_ROWS = 2  # that the network is tried on
_WAYS = "--classes a,b,c (in Python load_data(..., classes=[...]) or Model(net, class_names=[...]))"
_ATTRIBUTES = ("class_names", "classes", "names")  # where networks keep the names of their classes


def bind(model: Model, data: Dataset, *others: Dataset | None) -> tuple[Any, ...]:
    """The data with labels that are classes of the model, and in a shape that it takes.

    Where both sides have class names, labels are matched by name. Where only the data have names, their order gives
    the classes if the numbers of classes agree, and a note says so. Where only the model has names, labels are indices
    of its classes, unless the names are other numbers: then labels are looked up among them.

    Args:
        others: more rows for the same model (test rows, extra rows), whose labels must mean the same; None stays None.

    Returns: `data` and `others`, in this order, in one tuple.

    Raises:
        InputError: classes do not match, or could be matched in several ways.
    """
    try:
        return _bound(model, data, *others)
    except InputError:
        for rows in (data, *others):
            if isinstance(rows, Stream):
                rows.close()
        raise


def _bound(model: Model, data: Dataset, *others: Dataset | None) -> tuple[Any, ...]:
    data = shaped(model, data)
    if getattr(data, "values", False):
        return data, *(None if other is None else shaped(model, other) for other in others)
    names = _checked(model, data)
    bound = _by_place(model, data) if names is None else among(data, names, f"the classes of {model.name}")
    rest = [None if other is None else like(bound, shaped(model, other)) for other in others]
    return bound, *rest


def bound(model: Model, data: Dataset) -> Dataset:
    """`bind` for a single dataset."""
    made: Dataset = bind(model, data)[0]
    return made


def like(data: Dataset, other: Dataset) -> Dataset:
    """Other rows, in the shape of `data` if possible, with labels that mean what those of `data` mean.

    Raises InputError: the labels cannot be matched.
    """
    if isinstance(other, Stream) and other.shape != data.shape:
        other = next((reading for reading in other.readings() if reading.shape == data.shape), other)
    names = telling(data.class_names)
    if names:
        return among(other, names, f"the classes of {data.name}")
    if telling(other.class_names):
        raise InputError(
            f"expected numbered classes in {other.name}, as in {data.name}, got "
            f"{shown(other.class_names or [])}: name both in the same way"
        )
    return other


def among(data: Dataset, names: Sequence[str], whose: str) -> Dataset:
    """Data with labels that are indices of these names."""
    if isinstance(data, Stream):
        return data.among(names, whose)
    if telling(data.class_names) not in (None, list(names)):
        raise InputError(
            f"expected {whose} in {data.name}, in their order ({shown(names)}), got "
            f"{shown(data.class_names or [])}: number the labels so, or pass bs.ArrayData, which matches them by name"
        )
    return data


def names_of(model: Model) -> list[str] | None:
    """The names of its classes, if it has any: given, those of the model inside it, or stored by its network.

    Raises InputError: the members of an ensemble disagree.
    """
    if model.class_names is not None:
        return telling(model.class_names)
    told = [names for m in _inside(model) if (names := names_of(m)) is not None]
    if any(names != told[0] for names in told):
        raise InputError(
            f"expected members of {model.name} with the same classes in the same order, got {shown(told[0])} and "
            f"{shown(next(n for n in told if n != told[0]))}: bring them to one order"
        )
    return told[0] if told else _kept(model.net)


def _inside(model: Model) -> Sequence[Model]:
    if isinstance(model, Ensemble):
        return model.members
    return [model.model] if isinstance(model, Wrapper | TransformedTexts) else []


def _kept(net: nn.Module) -> list[str] | None:
    """The names that a network itself stores: in a Hugging Face config, or in an attribute."""
    config = getattr(net, "config", None)
    for holder, attributes in ((config, ("id2label",)), (net, _ATTRIBUTES)):
        for name in attributes:
            listed = _listed(getattr(holder, name, None))
            if telling(listed):
                return listed
    return None


def _listed(names: Any) -> list[str] | None:
    """Names in order, from a list or from {0: name, 1: name, ...}."""
    if isinstance(names, Mapping):
        numbered = {int(k): v for k, v in names.items() if str(k).isdecimal()}
        names = [numbered.get(i) for i in range(len(names))]
    words = isinstance(names, list | tuple) and len(names) > 1 and all(isinstance(name, str) for name in names)
    return list(names) if words and len(set(names)) == len(names) else None


# ------------------------------------------------------------------ classes


def _checked(model: Model, data: Dataset) -> list[str] | None:
    """The model's names. Raises InputError: their number is not that of its classes."""
    names = names_of(model)
    classes = None if names is None else _count(model, data)
    if names is not None and classes not in (None, len(names)):
        raise InputError(
            f"expected {classes} names for the {classes} classes of {model.name}, got {len(names)}: "
            f"{shown(names)}. Name all of them, Model(net, class_names=[...])"
        )
    return names


def _by_place(model: Model, data: Dataset) -> Dataset:
    """Data with named classes, for a model without class names."""
    names = telling(data.class_names)
    if names is None or not isinstance(data, Stream):
        return data
    if not data.ordered and not isinstance(data, FolderData | SoundData):
        raise InputError(
            f"expected labels that are numbers in {data.name}, or a model whose classes have names, got {shown(names)} "
            f"for {model.name}, which has none: list them in order, {_WAYS}"
        )
    classes = _count(model, data)
    if classes not in (None, len(names)):
        raise InputError(
            f"expected to know which of the {classes} classes of {model.name} the {len(names)} of {data.name} are "
            f"({shown(names)}), but the model has no names for its own: list all of its classes in order, {_WAYS}, or "
            "name folders by the numbers of their classes"
        )
    why = "since the model has no names for its classes; if the order is wrong, list the classes with --classes"
    return data.by_place(f", {why}")


def _count(model: Model, data: Dataset) -> int | None:
    """The number of the model's classes; None where that would take a query, or the model does not take the rows."""
    if model.service:
        return model.service.classes
    logits = _tried(model, data)
    return None if logits is None else logits.shape[1] - model.rejects


# ------------------------------------------------------------------ shapes


def shaped(model: Model, data: Dataset) -> Dataset:
    """The data as they are, or, if the model does not take them, in the one other reading that it takes.

    Raises InputError: it takes only grey pictures, and some have colours.
    """
    if not isinstance(data, Stream) or model.service or _unbuilt(model) or _tried(model, data) is not None:
        return data
    fitting = [other for other in data.readings() if _tried(model, other) is not None]
    grey = data.grey() if isinstance(data, FolderData) else None
    if isinstance(data, FolderData) and grey is not None and _tried(model, grey) is not None:
        raise InputError(
            f"expected grey pictures in {data.name}, the only kind that {model.name} takes, got colours in "
            f"{data.coloured!r}: save them in grey, if their colours do not matter"
        )
    return fitting[0] if len(fitting) == 1 else data


def _tried(model: Model, data: Dataset) -> torch.Tensor | None:
    """The logits of the first rows; None where the model does not take them."""
    x, _ = data.rows(0, min(_ROWS, len(data)))
    try:
        with model.borrowed(), torch.no_grad(), own_randomness(model.device, seed=0):
            return model.logits(x)
    except Exception:  # noqa: BLE001 - a user's model may raise anything; the caller that runs it reports it
        return None


def _unbuilt(model: Model) -> bool:
    """Whether its layers take their shape from the first input."""
    return any(is_lazy(p) for p in model.net.parameters())
