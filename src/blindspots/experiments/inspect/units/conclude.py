"""From what was measured to the verdict on every layer."""

import math

import torch
from torch import Tensor

from blindspots.experiments.inspect.units.comparison import RESAMPLED_BASES, SPACES
from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.inspect.units.verdict import Comparison, Dictionary, View
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts

STATISTICS = {"entropy": -1, "likeness": 1}  # which way is purer
_EQUAL = 1e-9  # means of the same numbers in another order differ by less
_NAMES = {"nmf": "NMF", "sae": "sparse autoencoder", "wide_sae": "sparse autoencoder, four times as wide"}


def views(config: UnitsConfig, parts: Parts) -> list[View]:
    """Every layer, as it is and rectified, with Holm's correction over all of them."""
    compared = [_comparisons(parts, i) for i in range(len(config.layers))]
    for name in (f"{space}/{statistic}" for space in SPACES for statistic in STATISTICS):
        tested = [told for told in compared if name in told]
        corrected = holm([told[name].p for told in tested])
        for told, p in zip(tested, corrected, strict=True):
            told[name] = told[name].model_copy(update={"holm": p})
    return [_view(config, parts, i, told) for i, told in enumerate(compared)]


def holm(p: list[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false claim among them (Holm 1979)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = list(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def _comparisons(parts: Parts, i: int) -> dict[str, Comparison]:
    made = {space: parts[f"compared/{i}/{space}"] for space in SPACES}
    return {
        f"{space}/{statistic}": _comparison(columns, statistic, sign)
        for space, columns in made.items()
        for statistic, sign in STATISTICS.items()
        if len(columns["chosen"])
    }


def _view(config: UnitsConfig, parts: Parts, i: int, comparisons: dict[str, Comparison]) -> View:
    name, _, answers = config.layers[i].rpartition(":")
    first, units = parts[f"compared/{i}/{SPACES[0]}"], parts["activations"][f"view/{i}"].shape[1]
    return View(
        layer=name, answers=answers, units=units, live=int(first["live"]), judged=len(first["chosen"]),
        comparisons=comparisons, dictionaries=_dictionaries(parts[f"learned/{i}"]) if config.dictionary else [],
    )  # fmt: skip


def _comparison(c: Columns, statistic: str, sign: int) -> Comparison:
    """`sign`: 1 where more is purer, -1 where less is."""
    units, null = float(c[statistic].mean()), c[f"null_{statistic}"]
    spread, ahead = float(null.std()), sign * (units - null)
    differs = spread > _EQUAL  # else there is no unit to measure an effect in
    return Comparison(
        units=units, random=float(null.mean()), spread=spread,
        effect=float(ahead.mean()) / spread if differs else None,
        interval=_interval(sign * c[f"resampled_{statistic}"], ahead, spread) if differs else None,
        p=(1 + int((ahead <= _EQUAL).sum())) / (1 + len(null)), holm=math.nan,
    )  # fmt: skip


def _interval(resampled: Tensor, ahead: Tensor, spread: float) -> tuple[float, float]:
    """The basic bootstrap interval of 95 % of the effect.

    Samples are compared with the first bases alone, so what they deviate by is taken from what the rows themselves
    give with the same ones.
    """
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    middle = float(ahead.mean()) + float(ahead[:RESAMPLED_BASES].mean())
    return (middle - high) / spread, (middle - low) / spread


def _dictionaries(c: Columns) -> list[Dictionary]:
    return [
        Dictionary(
            name=said, directions=len(c[f"{key}_entropy"]), live=int(c[f"{key}_entropy"].isfinite().sum()),
            entropy=_mean(c[f"{key}_entropy"]), likeness=_mean(c[f"{key}_likeness"]),
        )
        for key, said in _NAMES.items()
        if len(c[f"{key}_entropy"])
    ]  # fmt: skip


def _mean(values: Tensor) -> float | None:
    found = values[values.isfinite()]
    return float(found.mean()) if len(found) else None
