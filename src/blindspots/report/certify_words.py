"""The sentences on a certification, on a terminal and in the report."""

import math

from blindspots.defend.smoothing.record import CertifyManifest, CertifyVerdict
from blindspots.report.words import count, interval, number, percent


def headline(m: CertifyManifest, v: CertifyVerdict) -> str:
    """The certified accuracy at one sigma, or at the radius nearest to it, in one sentence without a full stop."""
    radius, share = min(v.certified, key=lambda point: abs(point[0] - m.sigma))
    return (
        f"Smoothed with sigma {number(m.sigma)}, {m.model.name} is proved to stay right on {percent(share.share)} of "
        f"the rows, whatever changes them by up to {number(radius)} (L2)"
    )


def meaning(m: CertifyManifest, v: CertifyVerdict) -> str:
    """What it costs in accuracy, what abstaining means, and how far a proof can be wrong."""
    return (
        f"Without an attacker it is right on {percent(v.clean_accuracy)} (interval {interval(v.clean_interval)}) and "
        f"abstains on {percent(v.abstained.share)}; the network alone, without noise, is right on "
        f"{percent(v.base.share)}. Mean radius {number(v.mean_radius)}. Each certificate is wrong with a probability "
        f"of at most {percent(m.alpha)}, and holds for the vote under noise, not for the network alone."
    )


def attacked(m: CertifyManifest, v: CertifyVerdict) -> str:
    """How both curves hang together; "" where nothing was attacked."""
    if not v.empirical:
        return ""
    gap, radius = max((e[1].share - c[1].share, c[0]) for c, e in zip(v.certified, v.empirical, strict=True))
    return (
        f"Attacked by PGD through the noise ({count(m.draws, 'draw')}, {count(m.steps, 'step')}), judged by "
        f"{count(m.judged, 'other draw')}. The truth lies between both curves; they are furthest apart at radius "
        f"{number(radius)}, by {100 * gap:.1f} points."
    )


def implied(radius: float, shape: tuple[int, ...]) -> str:
    """The largest linf ball within an L2 ball: radius / sqrt(d)."""
    return number(radius / math.sqrt(math.prod(shape)))
