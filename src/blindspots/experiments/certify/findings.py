"""What to know before a certification is believed, in sentences."""

from collections.abc import Sequence

import torch

from blindspots.experiments.certify.bounds import draws_for, fewest, largest
from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.certify.texts import fallen
from blindspots.experiments.certify.verdict import CertifyVerdict
from blindspots.findings import Finding
from blindspots.problem import Need
from blindspots.runs.store import Parts

# Of the accuracy without noise. On both networks for digits 0.91 or more is left where at most 7 % of the rows abstain
# (sigma up to 0.25), 0.68 or less where 30 % or more do.
_LEFT = 0.8


def findings(m: CertifyConfig, v: CertifyVerdict, parts: Parts, access: Need) -> list[Finding]:
    """What a reader of the verdict should know, in sentences."""
    contradiction, attackable = _contradicted(contradicted(parts)), access is Need.GRAD
    looked = (contradiction, _untrained(v, m), _too_few(m), _few(m), _not_attacked(attackable))
    return [finding for finding in looked if finding is not None]


def findings_of_texts(m: CertifyConfig, v: CertifyVerdict, parts: Parts) -> list[Finding]:
    """The same of a certification of texts."""
    looked = (_contradicted(contradicted_texts(m, parts)), _unread(v), _no_attack(m), _never_certain(m, v))
    return [finding for finding in looked if finding is not None]


def contradicted_texts(m: CertifyConfig, parts: Parts) -> Sequence[int]:
    """Rows that fell to no more exchanges than they are certified for."""
    c = {name: t.numpy() for name, t in parts.joined("rows").items()}
    fell, _ = fallen(m, parts, c["y"])
    rows: list[int] = ((c["prediction"] == c["y"]) & (fell <= c["withstood"])).nonzero()[0].tolist()
    return rows


def _unread(v: CertifyVerdict) -> Finding | None:
    if v.texts is None or not v.texts.unread:
        return None
    return Finding(
        code="texts-not-followed", severity="warning",
        saw=f"In {v.texts.unread:,} of {v.rows:,} texts a candidate has another number of words than what it stands "
        "for, or a place is part of a longer word: bounds cannot follow such exchanges, so nothing is proved there.",
        do="Take candidates of single words, or --method votes.",
    )  # fmt: skip


def _no_attack(m: CertifyConfig) -> Finding | None:
    if m.draws:
        return None
    return Finding(
        code="not-attacked", severity="note",
        saw="No attack was made beside the certificates, since --draws is 0.",
        do="Nothing to do: the certificates do not need one. The gap to the truth is not known.",
    )  # fmt: skip


def _never_certain(m: CertifyConfig, v: CertifyVerdict) -> Finding | None:
    """Votes whose bound leaves no room for a single exchange."""
    if m.method != "votes" or v.texts is None or v.texts.certified.hits or not v.clean_accuracy:
        return None
    return Finding(
        code="nothing-certified", severity="warning",
        saw="The vote is right on some texts and proved to stay so on none: exchanges change what may stand beside or "
        "after them by too much, or votes are too close.",
        do="Take candidates that are groups of synonyms, where each word may stand for each other, or more --samples.",
    )  # fmt: skip


def _contradicted(rows: Sequence[int]) -> Finding | None:
    if not rows:
        return None
    return Finding(
        code="certificate-contradicted", severity="error",
        saw=f"An attack found another class inside the certified radius of {len(rows)} rows, the first one row "
        f"{rows[0]}.",
        do="Do not use these certificates: look for a network whose answer depends on other rows or on the call.",
    )  # fmt: skip


def contradicted(parts: Parts) -> Sequence[int]:
    """Rows of which another class was found no further away than they are certified."""
    broken_at = torch.cat([part["broken_at"] for part in parts.below("attacks")])
    rows: list[int] = (broken_at < parts.joined("rows")["radius"]).nonzero()[:, 0].tolist()
    return rows


def _untrained(v: CertifyVerdict, m: CertifyConfig) -> Finding | None:
    assert v.noisy_accuracy is not None
    if v.noisy_accuracy >= _LEFT * v.base.share:
        return None
    return Finding(
        code="not-trained-with-noise", severity="warning",
        saw=f"Under noise of sigma {m.noise:g} the network is right in {v.noisy_accuracy:.1%} of the draws, and on "
        f"{v.base.share:.1%} of the rows without: it does not know such noise.",
        do="Train it with noise of that size (`blindspots harden --recipe gaussian`), or take a smaller --sigma.",
    )  # fmt: skip


def _too_few(m: CertifyConfig) -> Finding | None:
    most = largest(m.samples, m.noise, m.alpha)
    beyond = [r for r in m.radii or () if r >= most and r > 0]
    if not beyond:
        return None
    return Finding(
        code="too-few-samples", severity="warning",
        saw=f"With {m.samples:,} samples no row can be certified beyond a radius of {most:.3g}, and radii up to "
        f"{beyond[-1]:g} were asked for: the curve is 0 there, whatever the network does.",
        do=f"For a radius of {beyond[0]:g} take at least --samples {draws_for(beyond[0], m.noise, m.alpha):,.0f}, or a "
        "larger --sigma.",
    )  # fmt: skip


def _few(m: CertifyConfig) -> Finding | None:
    most = largest(m.samples, m.noise, m.alpha)
    if most >= m.noise:
        return None
    return Finding(
        code="few-samples", severity="warning",
        saw=f"With {m.samples:,} samples at alpha {m.alpha:g} no radius above {most:.3g} can be proved, however sure "
        f"the network is, and with fewer than {fewest(m.alpha):,} none at all.",
        do=f"For a radius of sigma, {m.noise:g}, take at least --samples {draws_for(m.noise, m.noise, m.alpha):,.0f}; "
        "100,000 are usual.",
    )  # fmt: skip


def _not_attacked(attackable: bool) -> Finding | None:
    if attackable:
        return None
    return Finding(
        code="not-attacked", severity="note",
        saw="The model is known by its answers alone, so no attack through its gradients was made.",
        do="Nothing to do: the certificates need only answers.",
    )  # fmt: skip
