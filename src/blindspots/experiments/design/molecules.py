"""Molecules and how drug-like they are: QED (Bickerton et al. 2012, "Quantifying the chemical beauty of drugs").

A design is a string of SELFIES symbols (Krenn et al. 2020), a language in which every string is a molecule: what fits
no valence is left out, and so is all that follows the last free bond. Its value is QED as rdkit computes it, with mean
weights: a weighted geometric mean of how desirable eight properties are, such as weight, solubility, rings and unwanted
groups. It lies between 0 and 1; which molecule is the best is not known. Needs rdkit and selfies.
"""

from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blindspots.errors import InputError
from blindspots.random import keys, uniform
from blindspots.runs.experiment import Columns

# How often a symbol is drawn: mostly carbon, as in drugs; rings and branches often enough that there are some.
SYMBOLS = {
    "[C]": 8.0, "[=C]": 6.0, "[#C]": 0.5, "[N]": 2.0, "[=N]": 1.0, "[O]": 2.0, "[=O]": 1.0, "[S]": 0.5, "[F]": 0.5,
    "[Cl]": 0.5, "[Branch1]": 3.0, "[=Branch1]": 1.0, "[Ring1]": 3.0, "[Ring2]": 1.0,
}  # fmt: skip
_WIDTH = 16  # bytes of a symbol's name, padded with zeros


@dataclass(frozen=True)
class Molecules:
    """Args: `positions`, symbols of a molecule at most.

    Raises InputError: there are none, or rdkit or selfies is not installed.
    """

    positions: int = 24
    points: int = 50

    optimum = None
    unit = ""
    letters = len(SYMBOLS)

    def __post_init__(self) -> None:
        if min(self.positions, self.points) < 1:
            raise InputError(f"expected sizes of at least 1, got {self.spec}: change them")
        _quality("C")

    @property
    def spec(self) -> str:
        return f"qed:positions={self.positions},points={self.points}"

    @property
    def name(self) -> str:
        return f"QED of molecules of up to {self.positions} symbols"

    @property
    def size(self) -> int:
        return self.positions

    def columns(self) -> Columns:
        names = [symbol.encode().ljust(_WIDTH, b"\0") for symbol in SYMBOLS]
        return {"symbols": torch.tensor([list(name) for name in names], dtype=torch.uint8)}

    def drawn(self, seed: int, repeat: int, count: int) -> Tensor:
        key = keys(seed, torch.arange(count), repeat)
        often = torch.tensor(list(SYMBOLS.values()), dtype=torch.float64).cumsum(0)
        draws = uniform(key, torch.zeros_like(key), 0, (self.positions,)).double()
        return torch.searchsorted(often / often[-1], draws, right=True).to(torch.uint8)

    def values(self, designs: Tensor) -> Tensor:
        different, which = np.unique(designs.numpy(), axis=0, return_inverse=True)
        worth = np.array([_quality(smiles(string)) for string in spelled(different, list(SYMBOLS))])
        return torch.from_numpy(worth[which.ravel()])

    def seen(self, designs: Tensor) -> Tensor:
        return one_hot(designs.long(), self.letters).flatten(1).float()


def spelled(designs: np.ndarray, symbols: list[str]) -> list[str]:
    """The SELFIES of designs (N, positions)."""
    return ["".join(symbols[i] for i in design) for design in designs.tolist()]


def smiles(string: str) -> str:
    """What SELFIES mean, as SMILES. Raises InputError: selfies is not installed."""
    try:
        from selfies import decoder
    except ImportError as error:
        raise _missing("selfies") from error
    return str(decoder(string))


def picture(string: str) -> str | None:
    """A molecule as a data URI; None: rdkit or selfies is not installed here."""
    try:
        from rdkit.Chem import MolFromSmiles
        from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2DSVG

        molecule = MolFromSmiles(smiles(string))
    except (ImportError, InputError):
        return None
    drawing = MolDraw2DSVG(240, 170)
    drawing.DrawMolecule(molecule)
    drawing.FinishDrawing()
    return "data:image/svg+xml;base64," + b64encode(drawing.GetDrawingText().encode()).decode("ascii")


@lru_cache(maxsize=2**17)
def _quality(written: str) -> float:
    """QED of a molecule as SMILES; 0 without an atom, and if rdkit cannot read it."""
    try:
        from rdkit.Chem import MolFromSmiles
        from rdkit.Chem.QED import qed
    except ImportError as error:
        raise _missing("rdkit") from error
    molecule = MolFromSmiles(written)
    return float(qed(molecule)) if molecule is not None and molecule.GetNumAtoms() else 0.0


def _missing(package: str) -> InputError:
    return InputError(f"expected {package} to be installed, for molecules: pip install 'blindspots[molecules]'")
