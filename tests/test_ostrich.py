"""What the tutorial does to digits, done to photographs: any of them becomes an ostrich."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import blindspots as bs
from blindspots.attacks import LBFGS
from blindspots.engine.targets import OneClass

OSTRICH = 9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader of models
def test_photographs_become_ostriches(zoo: Path, tmp_path: Path) -> None:
    """As in Szegedy et al. 2013: with box-constrained L-BFGS, and still as pictures of 8 bits."""
    sys.path.insert(0, str(zoo))
    from zoo import images as photographs
    from zoo import load

    net = load("imagenet_mobilenet_v1_0.25_128")
    x, y = photographs("imagenet", n=24, size=128)
    with torch.no_grad():
        right = ((net(x).argmax(1) == y) & (y != OSTRICH)).nonzero()[:4, 0]
    x, y = x[right], y[right]
    bs.attack(net, x, y, LBFGS(), threat=bs.L2(), targeted=True, targets=OneClass(OSTRICH), out=tmp_path / "run")
    folder = tmp_path / "run" / "examples"
    lines = list(csv.DictReader((folder / "examples.csv").read_text().splitlines()))
    assert len(lines) == len(right) == 4
    for line in lines:
        pixels = np.asarray(Image.open(folder / "pictures" / line["picture"]))
        picture = torch.from_numpy(pixels / np.float32(255)).movedim(2, 0)[None]
        assert int(net(picture).argmax()) == OSTRICH
        rms = float((picture[0] - x[int(line["row"])]).square().mean().sqrt())
        assert rms < 0.02, "nobody would see it"
