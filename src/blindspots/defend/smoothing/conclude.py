"""From the rows of a certification to its verdict and its findings."""

from collections.abc import Sequence

import numpy as np

from blindspots.defend.smoothing.bounds import ABSTAINS, draws_for, fewest, largest
from blindspots.defend.smoothing.record import CertifyManifest, CertifyVerdict
from blindspots.findings import Finding
from blindspots.journal import Columns
from blindspots.records import Share

# Of the accuracy without noise. On both networks for digits 0.91 or more is left where at most 7 % of the rows abstain
# (sigma up to 0.25), 0.68 or less where 30 % or more do.
_LEFT = 0.8


def conclude(columns: Columns, manifest: CertifyManifest, cost: tuple[int, int, float, float]) -> CertifyVerdict:
    """The verdict without findings. `cost`: forwards, backwards, seconds in all, and seconds of the certificates."""
    c = {name: t.numpy() for name, t in columns.items()}
    rows = len(c["y"])
    right = c["prediction"] == c["y"]
    clean = Share.of(int(right.sum()), rows)
    sure = np.where(right, c["radius"], 0.0)
    hits = np.take_along_axis(c["counts"], c["y"][:, None], 1)[:, 0]
    standing = [(r, Share.of(int((right & (c["broken_at"] > r)).sum()), rows)) for r in manifest.radii]
    return CertifyVerdict(
        rows=rows,
        clean_accuracy=clean.share,
        clean_interval=clean.interval,
        abstained=Share.of(int((c["prediction"] == ABSTAINS).sum()), rows),
        base=Share.of(int((c["base"] == c["y"]).sum()), rows),
        noisy_accuracy=float(hits.sum() / c["draws"].sum()),
        certified=[(r, Share.of(int((sure > r).sum()), rows)) for r in manifest.radii],
        empirical=standing if manifest.draws else [],
        mean_radius=float(sure.mean()),
        forwards=cost[0],
        backwards=cost[1],
        seconds=round(cost[2], 3),
        seconds_per_certificate=round(cost[3] / rows, 4),
        findings=[],
    )


def findings(v: CertifyVerdict, columns: Columns, manifest: CertifyManifest, attackable: bool) -> list[Finding]:
    """What a reader of the verdict should know, in sentences."""
    looked = (
        _contradicted(columns),
        _untrained(v, manifest),
        _too_few(manifest),
        _few(manifest),
        _not_attacked(attackable),
    )
    return [finding for finding in looked if finding is not None]


def _contradicted(columns: Columns) -> Finding | None:
    rows = contradicted(columns)
    if not rows:
        return None
    return Finding(
        code="certificate-contradicted", severity="error",
        saw=f"An attack found another class inside the certified radius of {len(rows)} rows, the first one row "
        f"{rows[0]}.",
        do="Do not use these certificates: look for a network whose answer depends on other rows or on the call.",
    )  # fmt: skip


def contradicted(columns: Columns) -> Sequence[int]:
    """Rows of which another class was found no further away than they are certified."""
    rows: list[int] = (columns["broken_at"] < columns["radius"]).nonzero()[:, 0].tolist()
    return rows


def _untrained(v: CertifyVerdict, m: CertifyManifest) -> Finding | None:
    if v.noisy_accuracy >= _LEFT * v.base.share:
        return None
    return Finding(
        code="not-trained-with-noise", severity="warning",
        saw=f"Under noise of sigma {m.sigma:g} the network is right in {v.noisy_accuracy:.1%} of the draws, and on "
        f"{v.base.share:.1%} of the rows without: it does not know such noise.",
        do="Train it with noise of that size (`blindspots harden --recipe gaussian`), or take a smaller --sigma.",
    )  # fmt: skip


def _too_few(m: CertifyManifest) -> Finding | None:
    most = largest(m.samples, m.sigma, m.alpha)
    beyond = [r for r in m.radii if r >= most and r > 0]
    if not beyond:
        return None
    return Finding(
        code="too-few-samples", severity="warning",
        saw=f"With {m.samples:,} samples no row can be certified beyond a radius of {most:.3g}, and radii up to "
        f"{beyond[-1]:g} were asked for: the curve is 0 there, whatever the network does.",
        do=f"For a radius of {beyond[0]:g} take at least --samples {draws_for(beyond[0], m.sigma, m.alpha):,.0f}, or a "
        "larger --sigma.",
    )  # fmt: skip


def _few(m: CertifyManifest) -> Finding | None:
    most = largest(m.samples, m.sigma, m.alpha)
    if most >= m.sigma:
        return None
    return Finding(
        code="few-samples", severity="warning",
        saw=f"With {m.samples:,} samples at alpha {m.alpha:g} no radius above {most:.3g} can be proved, however sure "
        f"the network is, and with fewer than {fewest(m.alpha):,} none at all.",
        do=f"For a radius of sigma, {m.sigma:g}, take at least --samples {draws_for(m.sigma, m.sigma, m.alpha):,.0f}; "
        "100,000 are usual.",
    )  # fmt: skip


def _not_attacked(attackable: bool) -> Finding | None:
    if attackable:
        return None
    return Finding(
        code="not-attacked", severity="note",
        saw="The model is known by its answers alone, so no attack through its gradients was made.",
        do="Nothing: the certificates need only answers.",
    )  # fmt: skip
