"""Models and data to measure on: the digits that everybody has, and a folder of real models where there is one."""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from blindspots.data import load_data
from blindspots.models import load_model
from blindspots.threat import Threat
from blindspots.threats import parse_threat

BESIDE = Path(__file__).parents[2] / "shared"
NO_ZOO = "The folder of real models (BLINDSPOTS_ZOO) was not there, so only digits were measured."


@cache
def zoo() -> ModuleType | None:
    """The loader of the real models: BLINDSPOTS_ZOO, else ../shared beside the checkout."""
    folder = Path(os.environ.get("BLINDSPOTS_ZOO", BESIDE))
    if not (folder / "zoo.py").is_file():
        return None
    sys.path.insert(0, str(folder))
    return import_module("zoo")


@dataclass(frozen=True)
class Case:
    """A model under a threat. `eps` is text, such as 8/255."""

    model: str
    norm: str
    eps: str

    @property
    def threat(self) -> Threat:
        return parse_threat(f"{self.norm}:{self.eps}")

    @property
    def digits(self) -> bool:
        return self.model.startswith("digits")

    def open(self, rows: int) -> tuple[nn.Module, Tensor, Tensor]:
        """The network, inputs in [0, 1] and labels: the first `rows` of its test set."""
        if self.digits:
            data = load_data("digits")
            return (load_model(self.model).net, *data.rows(0, min(rows, len(data))))
        loader = zoo()
        assert loader is not None
        return (loader.load(self.model), *loader.images(loader.manifest()[self.model]["task"], "test", rows))


def available(cases: Iterable[Case], args: argparse.Namespace) -> list[Case]:
    """The cases that were asked for and whose model is at hand."""
    wanted = [c for c in cases if not args.models or any(m in c.model for m in args.models)]
    return [c for c in wanted if c.digits or zoo() is not None]
