"""What an attack on sounds made, as files: WAV files of the sounds' own depth, the exact tensors, a table."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from blindspots.data import Dataset
from blindspots.decibels import SNR, Peak
from blindspots.experiments.attack.found import Found, as_csv, safe
from blindspots.rows import Around
from blindspots.sounds import Depth, towards, write_wav
from blindspots.threat import Threat


@dataclass(frozen=True)
class SoundExample:
    """One line of the table. `snr`, `peak`: of the change in the file that is written, in dB."""

    row: int
    label: str
    prediction: str
    confidence: float
    norm: float
    snr: float
    peak: float
    survives: bool  # the file fools the model within the threat, into the same class
    original: str  # file names; empty where there are none
    adversarial: str


def sound_files(
    found: Found, data: Dataset, rate: int, depth: Depth, threat: Threat, names: Sequence[str] | None, count: int
) -> dict[str, bytes]:
    """The adversarial examples of a run on sounds, by name.

    `examples.safetensors` holds all of them as the search left them (`adversarial`) and as files keep them (`in_file`,
    rounded towards the original, so that none leaves its threat); `examples.csv` one line each; `sounds/` the first
    `count` as WAV files of their own length and of the depth of the data, with their originals.
    """
    kept = torch.from_numpy(towards(found.adversarial.numpy(), found.x.numpy(), depth))
    table = list(_table(found, kept, threat, names, count))
    files = {
        "examples.safetensors": save({**found.tensors, "in_file": kept.clone()}),
        "examples.csv": as_csv((f.name for f in fields(SoundExample)), map(astuple, table)),
    }
    lengths: Sequence[int] = getattr(data, "lengths", ())
    for line, x, moved in zip(table[:count], found.x, kept, strict=False):
        end = lengths[line.row] if lengths else x.shape[-1]
        for name, sound in ((line.original, x), (line.adversarial, moved)):
            files[f"sounds/{name}"] = write_wav(np.atleast_2d(sound.numpy())[:, :end], rate, depth)
    return files


def _table(
    found: Found, kept: Tensor, threat: Threat, names: Sequence[str] | None, count: int
) -> Iterator[SoundExample]:
    name = (lambda k: names[k]) if names else str
    survives = (found.prediction_8bit == found.prediction) & threat.holds(kept, Around(found.x, threat.reach(found.x)))
    norm = threat.distance(found.adversarial, found.x)
    snr, peak = _decibels(found.x, kept)
    for i in range(len(found.y)):
        row, label, prediction = int(found.id[i]), name(int(found.y[i])), name(int(found.prediction[i]))
        of, file = f"{row:05d}-{safe(label)}", f"-as-{safe(prediction)}.wav"
        yield SoundExample(
            row, label, prediction, float(found.confidence[i]), float(norm[i]), snr[i], peak[i], bool(survives[i]),
            f"{of}.wav" if i < count else "", f"{of}{file}" if i < count else "",
        )  # fmt: skip


def _decibels(x: Tensor, moved: Tensor) -> tuple[list[float], list[float]]:
    """Signal-to-noise ratio and peak of the change of each row, in dB with two decimals; infinite without a change."""
    rows, change = x.double().flatten(1), (moved.double() - x).flatten(1)
    shares = (change.norm(dim=1) / rows.norm(dim=1), change.abs().amax(1) / rows.abs().amax(1))
    return tuple(  # type: ignore[return-value]  # two lists
        [round(kind.in_decibels(share), 2) for share in column.tolist()]
        for kind, column in zip((SNR, Peak), shares, strict=True)
    )
