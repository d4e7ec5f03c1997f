"""What a certification says, as data: run.json of `blindspots certify`."""

from typing import Literal

from blindspots.findings import Finding
from blindspots.records import DataRecord, Interval, ModelRecord, Record, Share
from blindspots.verdict import Provenance, Sealed

COLUMNS = {
    "y": "(n,) int64 label",
    "base": "(n,) int64 what the network says without noise",
    "prediction": "(n,) int64 what is certified, -1: it abstains",
    "radius": "(n,) float64 L2 radius within which that cannot change, 0 where it abstains",
    "selected": "(n, classes) int64 votes of the n0 draws that choose the class",
    "counts": "(n, classes) int64 votes of the draws that bound its probability",
    "draws": "(n,) int64 how many those were",
    "broken_at": "(n,) float64 the smallest radius at which an attack found another class, inf",
    "broken": "(k,) int64 the rows of which it did",
    "adversarial": "(k, ...) float32 what was found",
    "votes": "(k, classes) int64 votes of the draws that judged it",
}


class CertifyManifest(Provenance):
    """Everything that decides the bits of a run. Resuming refuses a manifest that differs."""

    kind: Literal["certify"] = "certify"
    model: ModelRecord  # the network, without noise
    data: DataRecord
    sigma: float
    n0: int  # draws that choose the class
    samples: int  # draws that bound its probability
    alpha: float  # how often a certificate may be wrong
    radii: list[float]  # L2, ascending, the first is 0
    draws: int  # noise draws that the attack averages over; 0: no attack
    steps: int  # of the attack
    judged: int  # draws that judge what it found
    chunk: int  # draws per call of the network


class CertifyVerdict(Record):
    """Counts over all rows. A row counts at a radius if it is right and certified for every change that long."""

    rows: int
    clean_accuracy: float  # of the smoothed classifier: certified to be right at radius 0
    clean_interval: Interval
    abstained: Share
    base: Share  # right without noise, the network alone
    noisy_accuracy: float  # of the network under the noise, over all draws that counted
    certified: list[tuple[float, Share]]  # (radius, share) for every radius of the manifest
    empirical: list[tuple[float, Share]]  # right, and no attack of that radius found another class; [] without attack
    mean_radius: float  # over all rows, 0 where it is wrong or abstains
    forwards: int  # rows that went through the network, padding included
    backwards: int
    seconds: float
    seconds_per_certificate: float
    findings: list[Finding]


class CertifyFile(Sealed):
    """The whole of run.json."""

    manifest: CertifyManifest
    rows_sha256: str | None  # of rows.safetensors; None while the run is not finished
    verdict: CertifyVerdict | None
    seal: str | None
