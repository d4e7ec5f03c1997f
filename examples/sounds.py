"""Attack a small network that tells high from low tones, within 6 dB, and write the examples as WAV files.

The tones are made here; your own are a folder with a folder of WAV files per class. What is written can be listened to,
and the report plays it.
"""

import math
import tempfile
import wave
from pathlib import Path

import torch
from torch import Tensor, nn

import blindspots as bs

RATE, SAMPLES = 4000, 800


def tone(pitch: float, loud: float) -> Tensor:
    """A note that fades away: (1, SAMPLES)."""
    time = torch.arange(SAMPLES) / RATE
    return (loud * torch.sin(2 * math.pi * pitch * time) * torch.exp(-5 * time))[None]


def write(path: Path, sound: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, SAMPLES, "NONE", "not compressed"))
        file.writeframes((sound[0] * 32767).short().numpy().tobytes())


class Ear(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(1, 8, 32, stride=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)
        )


def main() -> None:
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    for i in range(20):
        write(folder / "tones" / "high" / f"{i}.wav", tone(500 + 10 * i, 0.3 + 0.03 * i))
        write(folder / "tones" / "low" / f"{i}.wav", tone(150 + 10 * i, 0.3 + 0.03 * i))
    data = bs.load_data(folder / "tones")
    x, y = data.rows(0, len(data))
    net = Ear()
    adam = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(150):
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()

    model = bs.Model(net.eval(), bounds=(-1, 1), class_names=["high", "low"])
    run = bs.attack(model, data=data, attack=bs.attacks.PGD(20), threat=bs.SNR(6), out=folder / "run")
    print(f"right on {run.verdict.clean_accuracy:.0%}, within {run.config.threat} on {run.verdict.robust_accuracy:.0%}")
    written = sorted((folder / "run" / "examples" / "sounds").glob("*-as-*.wav"))
    print(f"{len(written)} adversarial sounds in {written[0].parent}")


if __name__ == "__main__":
    main()
