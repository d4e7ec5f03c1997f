"""How often: the probability of an error near a row, and over rows, with what is known of it and how."""

import math
from collections.abc import Sequence

import numpy as np

from blindspots.experiments.inspect.frequency.evidence import ENOUGH, Evidence
from blindspots.experiments.inspect.frequency.intervals import betting, check_confidence, estimated, unbiased
from blindspots.experiments.inspect.frequency.verdict import How, Rate, Totals
from blindspots.records import clopper_pearson


def rate(evidence: Evidence, confidence: float = 0.95) -> Rate:
    """Of one row. What was proved needs no interval; then ten hits among draws or more; then splitting.

    Rows are split for the hits that they had, which could cost coverage: with ten draws or more, splitting's interval
    is taken at (1 + confidence) / 2, so that both ways together are wrong no more often than either may be.

    Of several rounds the last one counts. What earlier ones saw is not forgotten: the mean of their estimates is
    without bias whatever the steps, so where it is above the interval, the interval reaches up to it.
    Where runs give no more than an upper bound, that of the draws may be the lower one, at a quarter of the risk.

    Raises InputError for a confidence outside of (0, 1).
    """
    check_confidence(confidence)
    if evidence.proved is not None:
        return Rate(p=evidence.proved, interval=(evidence.proved, evidence.proved), how="proved")
    if evidence.rounds:
        sure = confidence if evidence.draws < ENOUGH else (1 + confidence) / 2
        return _split(evidence, sure)
    return _counted(evidence.hits, evidence.draws, confidence)


def _split(evidence: Evidence, confidence: float) -> Rate:
    *earlier, last = evidence.rounds
    found = estimated(np.array(last.kills), np.array(last.arrived), evidence.particles, confidence)
    seen = [unbiased(np.array(r.kills), np.array(r.arrived), evidence.particles) for r in earlier]
    low, high = found.interval
    if found.how == "at most" and evidence.draws:
        high = max(low, min(high, clopper_pearson(evidence.hits, evidence.draws, (3 + confidence) / 4)[1]))
    return Rate(p=found.p, interval=(low, max(high, *seen, 0.0)), how=found.how, dispersion=found.dispersion)


def totals(evidence: Sequence[Evidence], confidence: float = 0.95) -> Totals:
    """Means over rows, at least one, each of which was proved, drawn or split.

    Over these rows: where the draws hit ten times in all, the binomial interval, which is conservative for rows that
    differ (Hoeffding 1956); else the mean of the rows' ends, each at 1 - (1 - confidence) / rows.
    Over the population: a row's share of hits is unbiased and within [0, 1], which is all that betting needs.
    """
    check_confidence(confidence)
    shares = _shares(evidence)
    population = None
    if shares is not None:
        p = float(np.mean(shares))
        population = Rate(p=p or None, interval=betting(shares, confidence), how="counted" if p else "at most")
    return Totals(rows=_over_rows(evidence, confidence), population=population)


def _over_rows(evidence: Sequence[Evidence], confidence: float) -> Rate:
    drawn = [e for e in evidence if e.proved is None]
    sure, open_share = sum(e.proved or 0.0 for e in evidence) / len(evidence), len(drawn) / len(evidence)
    if not drawn:
        return Rate(p=sure, interval=(sure, sure), how="proved")
    hits = sum(e.hits for e in drawn)
    if hits >= ENOUGH and len({e.draws for e in drawn}) == 1:
        part = _counted(hits, sum(e.draws for e in drawn), confidence)
    else:
        part = _mean([rate(e, 1 - (1 - confidence) / len(drawn)) for e in drawn])
    low, high = (sure + open_share * end for end in part.interval)
    p = None if part.p is None else sure + open_share * part.p
    return Rate(p=p, interval=(low, min(1.0, high)), how=part.how)


def _mean(rates: list[Rate]) -> Rate:
    """All intervals hold at once, so their mean holds."""
    low, high = (math.fsum(r.interval[end] for r in rates) / len(rates) for end in (0, 1))
    known = [r.p for r in rates if r.p is not None]
    p = math.fsum(known) / len(rates) if known else None
    return Rate(p=p, interval=(low, high), how=max((r.how for r in rates), key=_DOUBT.index))


_DOUBT: list[How] = ["proved", "counted", "poisson", "replicates", "at most"]


def _counted(hits: int, draws: int, confidence: float) -> Rate:
    """Of binomial draws; without hits it is bounded from above, never 0."""
    interval = clopper_pearson(hits, draws, confidence)
    return Rate(p=hits / draws if hits else None, interval=interval, how="counted" if hits else "at most")


def _shares(evidence: Sequence[Evidence]) -> np.ndarray | None:
    """Of hits, per row; None where a row was neither drawn nor proved."""
    if any(e.proved is None and not e.draws for e in evidence):
        return None
    return np.array([e.proved if e.proved is not None else e.hits / e.draws for e in evidence])


def words(rate: Rate) -> str:
    """What is known, as the end of a sentence: "errors have ..."."""
    low, high = (f"{end:.3g}" for end in rate.interval)
    if rate.how == "proved":
        return f"a probability of {rate.p:g}, which is proved"
    if rate.p is None:
        return f"a probability of at most {high}: none was found"
    if rate.how == "at most":
        return f"a probability between {low} and {high}: some replicates found none before they were stopped"
    means = {"counted": "counted among draws", "poisson": "splitting"}.get(
        rate.how, f"splitting, whose replicates scatter {rate.dispersion or 1:.1f} times as much as they should"
    )
    return f"a probability of about {rate.p:.3g}, between {low} and {high} ({means})"
