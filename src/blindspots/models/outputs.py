"""Which tensor in a network's output holds its scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from blindspots.errors import InputError

Take = int | str | None  # an index, a key or an attribute; None: the obvious one


@dataclass(frozen=True)
class Taken:
    """The scores, and where they were among several outputs: "" for a network that returns nothing but a tensor."""

    scores: Tensor
    place: str = ""


def taken(out: Any, rows: int, take: Take = None) -> Taken:
    """The scores in what a network returned for this number of rows.

    Without `take`: the tensor itself; else what is called "logits" (a key or an attribute, as in Hugging Face models);
    else the only tensor (rows, classes), or where there is none of these, the only one (rows,) or (rows, 1).

    Raises InputError: there are no scores, or several tensors could be the scores.
    """
    if isinstance(out, Tensor) and take is None:
        return Taken(out)
    found = dict(_tensors(out))
    if take is not None:
        return _named(out, found, take)
    if isinstance(found.get("logits"), Tensor):
        return Taken(found["logits"], _place("logits", found, out))
    plain = _plain(found, rows)
    if len(plain) == 1:
        return Taken(found[plain[0]], _place(plain[0], found, out))
    listed = ", ".join(f"{key} {tuple(found[key].shape)}" for key in plain or found) or "no tensor"
    which = "of which several could be meant," if plain else "with"
    do = f"choose one: {_ways(plain or list(found))}" if found else "let the network return its scores"
    raise InputError(f"expected logits (B, classes), got {_kind(out)} {which} {listed}: {do}")


def _ways(keys: list[str]) -> str:
    key = keys[-1]
    return f"Model(net, take={int(key) if key.isdigit() else key!r}), or MODEL@{key} on the command line"


def _named(out: Any, found: dict[str, Tensor], take: int | str) -> Taken:
    key = str(len(out) + take) if isinstance(take, int) and take < 0 and isinstance(out, tuple | list) else str(take)
    if key not in found:
        there = ", ".join(found) or ("a single tensor" if isinstance(out, Tensor) else "no tensors")
        raise InputError(
            f"expected an output {take!r} of the network, got {_kind(out)} with {there}: take one of these"
        )
    return Taken(found[key], _place(key, found, out))


def _plain(found: dict[str, Tensor], rows: int) -> list[str]:
    """The keys of possible scores: for several classes, else for two in one number."""
    floats = {k: t for k, t in found.items() if t.is_floating_point() and t.ndim and len(t) == rows}
    several = [k for k, t in floats.items() if t.ndim == 2 and t.shape[1] > 1]
    return several or [k for k, t in floats.items() if t.ndim == 1 or t.shape[1:] == (1,)]


def _tensors(out: Any, above: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors, nested ones included, as ("1.features", tensor)."""
    for key, value in _parts(out):
        if isinstance(value, Tensor):
            yield above + key, value
        else:
            yield from _tensors(value, f"{above}{key}.")


def _parts(out: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(out, Mapping):
        yield from ((str(key), value) for key, value in out.items())
    elif hasattr(out, "_fields"):  # a named tuple
        yield from zip(out._fields, out, strict=True)
    elif isinstance(out, tuple | list):
        yield from ((str(i), value) for i, value in enumerate(out))
    elif is_dataclass(out) and not isinstance(out, type):
        yield from ((f.name, getattr(out, f.name)) for f in fields(out))
    elif not isinstance(out, Tensor) and hasattr(out, "__dict__"):
        yield from ((key, value) for key, value in vars(out).items() if isinstance(value, Tensor))


def _place(key: str, found: dict[str, Tensor], out: Any) -> str:
    others = [k for k in found if k != key]
    return f"{key!r} of a {_kind(out)}" + (f", beside {', '.join(map(repr, others))}" if others else "")


def _kind(out: Any) -> str:
    return type(out).__name__
