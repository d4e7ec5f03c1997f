"""Radii within which predictions were proved not to change, by whatever verifier: from a file, kept in the run."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blindspots.errors import InputError


def radii(path: str | None, rows: int) -> Tensor:
    """The radius of every row of the data, (rows,) float64, from an .npy file; 0 without a file.

    Raises InputError for a file that cannot be read as that, and for radii that are no lengths.
    """
    if path is None:
        return torch.zeros(rows, dtype=torch.float64)
    try:
        found = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"expected an .npy file of certified radii, got {path} ({error}): write it again") from error
    if not isinstance(found, np.ndarray) or found.shape != (rows,) or found.dtype.kind not in "fiu":
        shape = getattr(found, "shape", None)
        raise InputError(f"expected {rows} certified radii, one for each row, got {shape} in {path}: give as many")
    if not (found >= 0).all():
        raise InputError(
            f"expected certified radii of at least 0, got others in {path}: give 0 where nothing is proved"
        )
    return torch.from_numpy(found.astype(np.float64))
