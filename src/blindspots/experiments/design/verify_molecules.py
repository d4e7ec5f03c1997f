"""QED for verification: the published formula on properties that rdkit counts."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Bickerton et al. 2012, supplementary table 1: of every property the mean weight, then a, b, c, d, e, f and the largest
# value of a + b / (1 + exp(-(x - c + d / 2) / e)) * (1 - 1 / (1 + exp(-(x - c - d / 2) / f)))
_DESIRABLE = {
    "MW": (0.66, 2.817065973, 392.5754953, 290.7489764, 2.419764353, 49.22325677, 65.37051707, 104.9805561),
    "ALOGP": (0.46, 3.172690585, 137.8624751, 2.534937431, 4.581497897, 0.822739154, 0.576295591, 131.3186604),
    "HBA": (0.05, 2.948620388, 160.4605972, 3.615294657, 4.435986202, 0.290141953, 1.300669958, 148.7763046),
    "HBD": (0.61, 1.618662227, 1010.051101, 0.985094388, 0.000000001, 0.713820843, 0.920922555, 258.1632616),
    "PSA": (0.06, 1.876861559, 125.2232657, 62.90773554, 87.83366614, 12.01999824, 28.51324732, 104.5686167),
    "ROTB": (0.65, 0.010000000, 272.4121427, 2.558379970, 1.565547684, 1.271567166, 2.758063707, 105.4420403),
    "AROM": (0.48, 3.217788970, 957.7374108, 2.274627939, 0.000000001, 1.317690384, 0.375760881, 312.3372610),
    "ALERTS": (0.95, 0.010000000, 1199.094025, -0.09002883, 0.000000001, 0.185904477, 0.875193782, 417.7253140),
}


def qed(symbols: Array, designs: Array) -> Array:
    """Of designs (N, positions), whose letters are these symbols (letters, 16), bytes of their names.

    Raises ImportError: rdkit or selfies is not installed.
    """
    names = [bytes(row.tolist()).rstrip(b"\0").decode("ascii") for row in symbols]
    return np.array([_worth("".join(names[i] for i in design)) for design in designs.tolist()])


@lru_cache(maxsize=2**17)
def _worth(string: str) -> float:
    from rdkit.Chem import MolFromSmiles
    from rdkit.Chem.QED import properties
    from selfies import decoder

    molecule = MolFromSmiles(decoder(string))
    return _published(properties(molecule)) if molecule is not None and molecule.GetNumAtoms() else 0.0


def _published(properties: Any) -> float:
    total, weights = 0.0, 0.0
    for name, (weight, a, b, c, d, e, f, largest) in _DESIRABLE.items():
        x = getattr(properties, name)
        rise, fall = (1 / (1 + np.exp(-(x - c + half) / slope)) for half, slope in ((d / 2, e), (-d / 2, f)))
        total += weight * np.log((a + b * rise * (1 - fall)) / largest)
        weights += weight
    return float(np.exp(total / weights))
