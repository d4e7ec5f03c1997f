"""Rates and their intervals by other formulas than those that made them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import gammaincc, ndtri
from scipy.stats import binomtest, gamma
from scipy.stats import t as student

FEW = 10  # hits, below which a row is split
Row = dict[str, Any]


def rate_of(row: Row, particles: int, sure: float = 0.95) -> Row:
    """What is known of one row of the columns of rates."""
    if not math.isnan(row["proved"]):
        return _said(row["proved"], [row["proved"]] * 2, "proved")
    if not row["rounds"]:
        return _of_draws(row["hits"], row["draws"], sure)
    last = row["rounds"] - 1
    found = _of_runs(row["kills"][last], row["arrived"][last], particles, (1 + sure) / 2)
    if found["how"] == "at most" and row["draws"]:
        of_draws = _of_draws(row["hits"], row["draws"], (7 + sure) / 8)["interval"][1]
        found["interval"][1] = max(found["interval"][0], min(found["interval"][1], of_draws))
    for kills, arrived in zip(row["kills"][:last], row["arrived"][:last], strict=True):
        found["interval"][1] = max(found["interval"][1], sum(_estimates(kills, arrived, particles)) / len(kills))
    return found


def totals(rows: Sequence[Row], draws: int, particles: int) -> Row:
    """Over these rows, and over all that they were drawn from."""
    drawn = [row for row in rows if math.isnan(row["proved"])]
    proved = sum(row["proved"] for row in rows if not math.isnan(row["proved"]))
    shares = [row["hits"] / row["draws"] if math.isnan(row["proved"]) else row["proved"] for row in rows]
    mean = float(np.mean(shares))
    population = _said(mean or None, _betting(shares), "counted" if mean else "at most")
    if not drawn:
        return {"rows": _said(proved / len(rows), [proved / len(rows)] * 2, "proved"), "population": population}
    hits = sum(row["hits"] for row in drawn)
    part = _of_draws(hits, len(drawn) * draws, 0.95) if hits >= FEW else _mean(drawn, particles)
    low, high = ((proved + len(drawn) * end) / len(rows) for end in part["interval"])
    p = None if part["p"] is None else (proved + len(drawn) * part["p"]) / len(rows)
    return {"rows": _said(p, [low, min(1.0, high)], part["how"]), "population": population}


def _mean(rows: Sequence[Row], particles: int) -> Row:
    every = [rate_of(row, particles, 1 - 0.05 / len(rows)) for row in rows]
    ends = np.mean([rate["interval"] for rate in every], 0).tolist()
    known = [rate["p"] for rate in every if rate["p"] is not None]
    order = ("at most", "replicates", "poisson", "counted", "proved")
    how = next(how for how in order if any(rate["how"] == how for rate in every))
    return _said(sum(known) / len(rows) if known else None, ends, how)


def remembers(row: Row, turn: int) -> bool:
    """Whether clones of a round are more like their parents than they may be."""
    return bool(row["tau"][turn] > 0.02 + row["chance"][turn])


def chance(kills: Sequence[int]) -> float:
    """The standard deviation of tau over all kills, of replicates that ended after so many and never tied."""
    going = [sum(k > at for k in kills) for at in range(max(kills))]
    variance = sum(n * (n - 1) * (2 * n + 5) / 18 for n in going)
    pairs = sum(n * (n - 1) / 2 for n in going)
    return math.sqrt(variance) / max(pairs, 1)


def _said(p: float | None, interval: Sequence[float], how: str, dispersion: float | None = None) -> dict[str, Any]:
    return {"p": p, "interval": list(interval), "how": how, "dispersion": dispersion}


def or_none(value: float) -> float | None:
    """A number that may be unknown or infinite."""
    return value if math.isfinite(value) else None


def _of_draws(hits: int, draws: int, sure: float) -> dict[str, Any]:
    ends = binomtest(hits, draws).proportion_ci(sure, method="exact")
    return _said(hits / draws if hits else None, [float(ends.low), float(ends.high)], "counted" if hits else "at most")


def _poisson(kills: int, particles: int, sure: float) -> tuple[float, float]:
    """Garwood's, by the gamma distribution."""
    most = float(gamma.isf((1 - sure) / 2, kills + 1))
    least = float(gamma.ppf((1 - sure) / 2, kills)) if kills else 0.0
    return math.exp(-most / particles), math.exp(-least / particles)


def _of_runs(kills: Sequence[int], arrived: Sequence[bool], n: int, sure: float) -> dict[str, Any]:
    k, runs = np.array(kills, dtype=float), len(kills)
    mean, variance = k.mean(), k.var(ddof=1)
    index, p_value = (
        (variance / mean, gammaincc((runs - 1) / 2, (runs - 1) * variance / mean / 2)) if mean else (1.0, 1.0)
    )
    scatters, complete = p_value < 0.1, all(arrived)
    low, high = _poisson(int(k.sum()), n * runs, sure)
    reach = student.ppf((1 + sure) / 2, runs - 1)
    shifted = min(0.0, -mean / n + (variance - mean) / (2 * n * n))
    spans = [(-mean / n, math.sqrt(variance / runs) / n)]
    if scatters and complete:
        spans.append((shifted, math.sqrt(variance / runs + variance**2 / (2 * (runs - 1) * n**2)) / n))
    low = min(low, *(math.exp(min(0.0, at - reach * by)) for at, by in spans))
    high = max(high, *(math.exp(min(0.0, at + reach * by)) for at, by in spans))
    if not complete:
        mean_estimate = sum(_estimates(kills, arrived, n)) / runs
        least = mean_estimate * (1 - sure) / 2
        return _said(mean_estimate if any(arrived) else None, [least, max(high, least)], "at most", index)
    p = math.exp(shifted) if scatters else (1 - 1 / (n * runs)) ** int(k.sum())
    return _said(p, [low, high], "replicates" if scatters else "poisson", float(index))


def _estimates(kills: Sequence[int], arrived: Sequence[bool], n: int) -> list[float]:
    return [(1 - 1 / n) ** kill if ok else 0.0 for kill, ok in zip(kills, arrived, strict=True)]


def flatness(plane: float, rate: dict[str, Any]) -> dict[str, Any]:
    """Where planes of these rates are under standard normal noise."""
    found = -float(ndtri(plane))
    near, implied, far = (
        None if p is None else -float(ndtri(p))
        for p in (rate["interval"][1], None if rate["how"] == "at most" else rate["p"], rate["interval"][0])
    )
    assert near is not None
    assert far is not None
    ratio, highest = (found / by if by is not None and by > 0 else None for by in (implied, near))
    return {
        "found": found, "implied": implied, "ratio": ratio, "ratio_interval": [found / far if far > 0 else 0.0, highest]
    }  # fmt: skip


def _betting(shares: Sequence[float]) -> list[float]:
    """Waudby-Smith and Ramdas's interval of a mean, value by value."""
    n, total, squares, bets = len(shares), 0.5, 0.25, []
    for i, value in enumerate(shares, 1):
        bets.append(math.sqrt(2 * math.log(2 / 0.05) / (n * squares / i)))
        total += value
        squares += (value - total / (i + 1)) ** 2

    def doubted(m: float) -> bool:
        up = sum(math.log1p((min(b, 0.5 / m) if m else b) * (v - m)) for b, v in zip(bets, shares, strict=True))
        down = sum(
            math.log1p(-(min(b, 0.5 / (1 - m)) if m < 1 else b) * (v - m)) for b, v in zip(bets, shares, strict=True)
        )
        return max(up, down) + math.log(0.5) >= math.log(1 / 0.05)

    return [_edge(doubted, end, sum(shares) / n) for end in (0.0, 1.0)]


def _edge(doubted: Any, outside: float, inside: float) -> float:
    if not doubted(outside):
        return outside
    for _ in range(200):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if doubted(middle) else (outside, middle)
    return outside
