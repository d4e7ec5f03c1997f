"""Which rows a detector is fitted on, which decide where it rejects, and which it is measured on: none is in two."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.data.splits import Rows, cut, divide, shuffled
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.packing import pack_inputs

FIT = 2000  # rows that detectors are fitted on and thresholds set with, unless `fit` says more
_SHARE = 0.6  # of the data, where other rows of it are measured
_THRESHOLD = 0.25  # of the fit rows: they only set the threshold
_LEAST = 20  # rows of each part, below which no rate at a false positive rate of 5 % means anything


@dataclass(frozen=True)
class Split:
    """Inputs float32 (n, *shape) and labels (n,) of each part; `places`: where they are in the data, by column."""

    fit: tuple[Tensor, Tensor]
    threshold: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    places: dict[str, Tensor]
    findings: tuple[Finding, ...]


def split(data: Dataset, test: Dataset | None, fit: int | None, rows: int | None, seed: int) -> Split:
    """Divide by lot.

    Args:
        fit: rows that are fitted on or set the threshold; None: at most 2000, and 60 % where `test` is None.
        rows: measured rows of `data` where `test` is None.

    Raises InputError: too few rows, of one class, or rows of `test` that are among those of `data`.
    """
    most = len(data) if test is not None else int(_SHARE * len(data))
    division = divide(data, min(fit or FIT, most) or 1, test if test is not None else _measured(data, most, rows), seed)
    order = shuffled(len(division.fit), seed, -2)
    at = cut(order, int(_THRESHOLD * len(order)))
    threshold, fitted = (division.fit.only(places.tolist()) for places in at)
    places = {"fit_at": fitted.at, "threshold_at": threshold.at, "measured_at": division.heldout.at}
    parts = Split(_taken(fitted), _taken(threshold), _taken(division.heldout), places, division.findings)
    _check(parts)
    return parts


def _measured(data: Dataset, most: int, rows: int | None) -> int:
    return max(min(rows or len(data), len(data) - most), 1)


def _taken(rows: Rows) -> tuple[Tensor, Tensor]:
    return rows.take(torch.arange(len(rows))) if len(rows) else (torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def _check(parts: Split) -> None:
    sizes = {
        "to fit": len(parts.fit[1]),
        "for the threshold": len(parts.threshold[1]),
        "to measure": len(parts.test[1]),
    }
    for what, count in sizes.items():
        if count < _LEAST:
            raise InputError(
                f"expected at least {_LEAST} rows {what}, got {count}: give more data, or rows of their own to measure "
                "with --test"
            )
    for what, (_, y) in (("to fit", parts.fit), ("to measure", parts.test)):
        if len(set(y.tolist())) < 2:
            raise InputError(
                f"expected rows {what} of at least two classes, got {len(y)} of class {int(y[0])} alone: a model of "
                "one class cannot be fooled, so give rows of several"
            )


def columns(parts: Split) -> dict[str, Tensor]:
    """What a run keeps of them; of the fit rows their places alone."""
    return {
        **parts.places,
        "threshold_x": pack_inputs(parts.threshold[0]),
        "threshold_y": parts.threshold[1],
        "x": pack_inputs(parts.test[0]),
        "y": parts.test[1],
    }
