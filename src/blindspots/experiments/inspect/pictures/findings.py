"""What a reader of a study of pictures should know."""

from collections.abc import Iterator

from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.verdict import Drawn, PicturesVerdict
from blindspots.findings import Finding


def findings(config: PicturesConfig, verdict: PicturesVerdict, gradients: bool) -> Iterator[Finding]:
    """In the order of the page."""
    if not gradients:
        yield Finding(
            code="evolved-alone", severity="note",
            saw="The model is known by its scores alone, so nothing could be drawn by gradients: images were evolved.",
            do="Pass the network itself for pictures of its layers and classes.",
        )  # fmt: skip
    elif not config.against:
        yield Finding(
            code="no-second-opinion", severity="note",
            saw="No independent network was named, so nothing says whether pictures mean more than this one model.",
            do="Name one with --against.",
        )  # fmt: skip
    for group in verdict.groups:
        yield from _of(group)


def _of(group: Drawn) -> Iterator[Finding]:
    where = f" of {group.layer}" if group.layer else ""
    dead = [p.target for p in group.pictures if p.reach is None]
    low = [p.target for p in group.pictures if not p.rose and p.reach is not None]
    if dead:
        yield Finding(
            code="dead-objectives", severity="warning",
            saw=f"All rows excite {group.kind} {_listed(dead)}{where} alike, so that its pictures mean nothing.",
            do="Name the layer before its activation: there even such units have gradients.",
        )  # fmt: skip
    if low:
        yield Finding(
            code="did-not-rise", severity="note",
            saw=f"The pictures of {group.kind} {_listed(low)}{where} did not rise above the data.",
            do="Look at their top rows instead, or try more steps or another way to draw.",
        )  # fmt: skip


def _listed(targets: list[int]) -> str:
    return ", ".join(map(str, targets[:8])) + (f" and {len(targets) - 8} others" if len(targets) > 8 else "")
