"""Attack a classifier on a folder of photographs, one subfolder per class: `python photographs.py FOLDER`.

Without an argument the script draws a few small pictures of its own. Your network goes where `train` is called; the
adversarial pictures are written to a new folder, as PNG files that anybody can open.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import blindspots as bs


def draw(folder: Path, count: int = 12, side: int = 16) -> None:
    """Two classes that differ in their tint: blue skies and green meadows."""
    noise = np.random.default_rng(0)
    for name, tint in {"meadow": (100, 126, 112), "sky": (100, 118, 124)}.items():
        (folder / name).mkdir()
        for i in range(count):
            pixels = noise.normal(tint, 30, size=(side, side, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")


def train(x: Tensor, y: Tensor) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


def save(pictures: Tensor, folder: Path) -> None:
    """(N, 3, H, W) in [0, 1], rounded to 8 bits."""
    for i, picture in enumerate(pictures):
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


def main() -> None:
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    else:
        folder = Path(tempfile.mkdtemp(prefix="photographs-"))
        draw(folder)
    data = bs.load_data(folder)
    x, y = data.rows(0, len(data))
    net = bs.Model(train(x, y), bounds=(0, 1))

    result = bs.attack(net, x, y, bs.attacks.APGD(), threat=bs.Linf(8 / 255))
    print(f"{len(x)} photographs: {result.clean_accuracy:.0%} right, {result.robust_accuracy:.0%} within 8 grey levels")
    out = Path(tempfile.mkdtemp(prefix="adversarial-"))
    save(result.adversarial[result.success], out)
    print(f"{int(result.success.sum())} adversarial pictures in {out}")


if __name__ == "__main__":
    main()
