"""Folders of synthetic tones, and a small network that tells low from high."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from blindspots.sounds import DEPTHS, write_wav

RATE, LENGTH = 2000, 400
CLASSES = ("high", "low")  # in the order of the folders


def tones(rows: int, seed: int) -> list[tuple[str, np.ndarray]]:
    """Sounds (1, T) of several lengths, loud and quiet, in a little noise."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(rows):
        name = CLASSES[i % 2]
        pitch = rng.uniform(300, 400) if name == "high" else rng.uniform(120, 200)
        time = np.arange(LENGTH - 40 * int(rng.integers(0, 3))) / RATE
        loud = rng.uniform(0.05, 0.8)
        tone = np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6)) + 0.1 * rng.standard_normal(len(time))
        made.append((name, (loud * tone / np.abs(tone).max())[None]))
    return made


def write_tones(folder: Path, rows: int, seed: int = 0, depth: str = "s16") -> Path:
    for i, (name, sound) in enumerate(tones(rows, seed)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{i:03d}.wav").write_bytes(write_wav(sound, RATE, DEPTHS[depth]))
    return folder


class Ear(nn.Module):
    """Convolution, and which channels are loud: (N, 1, T) -> (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, 8, 25, stride=4), nn.ReLU(), nn.Conv1d(8, 8, 5), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(2) * 4)


def trained(seed: int = 0) -> Ear:
    """Right on nearly all tones; takes a second."""
    torch.manual_seed(seed)
    net, made = Ear(), tones(64, 100)
    x, y = torch.zeros(64, 1, LENGTH), torch.tensor([CLASSES.index(name) for name, _ in made])
    for row, (_, sound) in zip(x, made, strict=True):
        row[:, : sound.shape[1]] = torch.from_numpy(sound / np.abs(sound).max())
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(120):
        scale = torch.rand(64, 1, 1, generator=torch.Generator().manual_seed(step)) * 0.8 + 0.05
        adam.zero_grad()
        nn.functional.cross_entropy(net(x * scale), y).backward()
        adam.step()
    return net.eval()
