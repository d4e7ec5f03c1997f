"""Units and masks of features: read from files or measured on data, kept in a run, and put into words."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blindspots.ball import Ball
from blindspots.box import fits
from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.packing import unpacked_text
from blindspots.tables.features import Features
from blindspots.tables.threat import Cost, TableThreat
from blindspots.threat import Threat
from blindspots.threats import parse_threat

_PREFIX = "threat_"
_PADDING = _PREFIX + "padding"
_UNITS = {"std": "standard deviations of each feature", "mad": "median absolute deviations of each feature"}
_LIGHT = 128  # of 255: from here on a pixel of a mask is white


def mask_from(path: str, shape: Sequence[int]) -> Tensor:
    """What may change of inputs of this shape, from a picture or an array: bool.

    Raises InputError: it cannot be read, or does not fit the shape.
    """
    array = _read(path)
    if Path(path).suffix not in (".npy", ".npz"):
        array = array >= _LIGHT
    elif array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise InputError(f"expected True and False, or 1 and 0, in {path}, got other values: compare, as in mask > 0")
    return torch.from_numpy(_fitting("a mask", path, array.astype(bool), shape))


def unit_from(said: str, data: Dataset) -> Tensor:
    """The unit of each feature: "std" or "mad" of the data, or an array in a file. Float32; 0 where it is constant."""
    if said not in _UNITS:
        array = _read(said)
        if not (np.issubdtype(array.dtype, np.number) and (array >= 0).all() and np.isfinite(array).all()):
            raise InputError(f"expected finite units of at least 0 in {said}, got others: 0 stands for fixed")
        return torch.from_numpy(_fitting("units", said, array, data.shape)).float()
    x = data.rows(0, len(data))[0].double()
    if said == "std":
        return x.std(0, correction=0).float()
    return (x - x.median(0).values).abs().median(0).values.float()


def _fitting(what: str, path: str, array: Any, shape: Sequence[int]) -> Any:
    if not fits(array.shape, shape):
        raise InputError(
            f"expected {what} for inputs of shape {tuple(shape)} in {path}, got shape {array.shape}: give one value "
            "per feature"
        )
    return array


def _read(path: str) -> Any:
    try:
        if Path(path).suffix in (".npy", ".npz"):
            found = np.load(path, allow_pickle=False)
            return next(iter(found.values())) if isinstance(found, np.lib.npyio.NpzFile) else found
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (OSError, ValueError, StopIteration) as error:
        raise InputError(
            f"expected a picture, an .npy or an .npz file, got {path!r}, which cannot be read ({error}): check the name"
        ) from error


def kept(threat: Threat) -> dict[str, Tensor]:
    """The tensors of a threat as columns of a part."""
    found = {_PREFIX + name: t.cpu().contiguous() for name, t in threat.features.items()}
    padding = getattr(threat, "padding", None)
    return found if padding is None else found | {_PADDING: torch.tensor(padding, dtype=torch.float64)}


def restored(spec: str, bounds: tuple[float, float], columns: Mapping[str, Tensor]) -> Ball | TableThreat:
    """The ball whose tensors were kept among these columns; with the columns of a table, if there is one."""
    found = {name.removeprefix(_PREFIX): t for name, t in columns.items() if name.startswith(_PREFIX)}
    lo, hi = found.get("lo", bounds[0]), found.get("hi", bounds[1])
    padding = float(found["padding"]) if "padding" in found else None
    threat = parse_threat(spec)
    assert isinstance(threat, Ball)
    ball = replace(threat, lo=lo, hi=hi, unit=found.get("unit"), where=found.get("where"), padding=padding)
    told = columns.get("table")
    return ball if told is None else TableThreat(ball, Features.of_json(unpacked_text(told)))


def digest_of(threat: Threat) -> str:
    """SHA-256 (hex) of its tensors; "" where it has none."""
    if not kept(threat):
        return ""
    digest = hashlib.sha256()
    for name, t in sorted(kept(threat).items()):
        digest.update(repr((name, tuple(t.shape), str(t.dtype))).encode() + t.numpy().tobytes())
    return digest.hexdigest()


def unit_words(threat: Ball, scale: str | None) -> str:
    """ "standard deviations of each feature" """
    if threat.unit is None:
        return ""
    if isinstance(threat, Cost):
        return "by the prices of the feature file"
    return _UNITS.get(scale or "", "times the unit of each feature")


def where_words(threat: Ball, shape: Sequence[int]) -> str:
    """ "only 48 of 64 values may change" """
    said = []
    if threat.where is not None:
        free = threat.where.expand(tuple(shape))
        said.append(f"only {int(free.sum()):,} of {free.numel():,} values may change")
    if threat.padding is not None:
        said.append(f"the end of a row that holds nothing but {float(threat.padding):g} may not change")
    return "; ".join(said)
