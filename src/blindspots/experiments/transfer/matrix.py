"""Counting: from what every model said of every row to the transfer matrix."""

from collections.abc import Mapping, Sequence

from scipy.stats import binom
from torch import Tensor

from blindspots.experiments.transfer.verdict import Matrices
from blindspots.records import Interval, Share


def matrices(names: Sequence[str], y: Tensor, clean: Tensor, sources: Sequence[Mapping[str, Tensor]]) -> Matrices:
    """The matrices of some sources.

    Args:
        names: of the sources.
        y: (N,) int64 labels.
        clean: (M, N) int64 predictions of all models on the clean rows.
        sources: what was made for each, and what came of it: the columns `SOURCE` and `ANSWERS`, without inputs.
    """
    error = [[_share(p != y) for p in s["prediction"]] for s in sources]
    agreement = [[_share(_agrees(p, s["own"], y)) for p in s["prediction"]] for s in sources]
    noise = [[_share(p != y) for p in s["noise_prediction"]] for s in sources]
    reached = [
        [_share(p == s["target"], _attacked(s, c)) for p, c in zip(s["prediction"], clean, strict=True)]
        for s in sources
    ]
    targeted = any(bool((s["target"] >= 0).any()) for s in sources)
    return Matrices(
        sources=list(names),
        error=_values(error),
        error_interval=_intervals(error),
        error_of_right=[[_of_right(s, p, c, y) for p, c in zip(s["prediction"], clean, strict=True)] for s in sources],
        agreement=_values(agreement),
        agreement_interval=_intervals(agreement),
        agreement_of_errors=[[_of_errors(p, s["own"], y) for p in s["prediction"]] for s in sources],
        targeted=reached if targeted else None,
        noise=_values(noise),
        noise_interval=_intervals(noise),
        noise_p_value=[
            [_p_value(p != y, q != y) for p, q in zip(s["prediction"], s["noise_prediction"], strict=True)]
            for s in sources
        ],
        distortion=[_mean_of_changed(s, "rms") for s in sources],
        noise_distortion=[_mean_of_changed(s, "noise_rms") for s in sources],
        norm=[_mean_of_changed(s, "norm") for s in sources],
        changed=[int((s["rms"] > 0).sum()) for s in sources],
        found=[_share(s["found"], _attacked(s, s["own_clean"]) if targeted else None) for s in sources],
        forwards=[int(s["cost"][:, 0].sum()) for s in sources],
        backwards=[int(s["cost"][:, 1].sum()) for s in sources],
    )


def clean_errors(y: Tensor, clean: Tensor) -> list[Share]:
    """The share of rows that each model gets wrong as they are."""
    return [_share(p != y) for p in clean]


def _share(hits: Tensor, among: Tensor | None = None) -> Share:
    return (
        Share.of(int(hits.sum()), len(hits)) if among is None else Share.of(int((hits & among).sum()), int(among.sum()))
    )


def _attacked(source: Mapping[str, Tensor], clean: Tensor) -> Tensor:
    """Rows that have a target which a model, by what it says of the clean rows, did not take them for anyway."""
    return (source["target"] >= 0) & (clean != source["target"])


def _agrees(prediction: Tensor, own: Tensor, y: Tensor) -> Tensor:
    """Both are wrong in the same way; a score that is not finite is no answer to agree with."""
    return (prediction == own) & (own != y) & (own >= 0)


def _of_errors(prediction: Tensor, own: Tensor, y: Tensor) -> Share:
    return _share(_agrees(prediction, own, y), (prediction != y) & (own != y))


def _of_right(source: Mapping[str, Tensor], prediction: Tensor, clean: Tensor, y: Tensor) -> Share:
    return _share(prediction != y, (source["own_clean"] == y) & (clean == y))


def _p_value(fell: Tensor, fell_to_noise: Tensor) -> float:
    """McNemar's exact test, one-sided: of the rows that only one of the two fools, at least so many by chance."""
    only, other = int((fell & ~fell_to_noise).sum()), int((fell_to_noise & ~fell).sum())
    return float(binom.sf(only - 1, only + other, 0.5))


def _mean_of_changed(source: Mapping[str, Tensor], column: str) -> float:
    sizes = source[column][source["rms"] > 0]
    return float(sizes.double().mean()) if len(sizes) else 0.0


def _values(shares: Sequence[Sequence[Share]]) -> list[list[float]]:
    return [[s.share for s in row] for row in shares]


def _intervals(shares: Sequence[Sequence[Share]]) -> list[list[Interval]]:
    return [[s.interval for s in row] for row in shares]
