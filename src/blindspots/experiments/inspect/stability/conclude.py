"""From norms, slopes and perturbations to the verdict."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from blindspots.experiments.inspect.stability.amplification import median
from blindspots.experiments.inspect.stability.verdict import (
    INPUT,
    WEIGHTED,
    Growth,
    LayerNorm,
    Middle,
    StabilityVerdict,
    Start,
)
from blindspots.packing import unpacked_text
from blindspots.records import Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts


def conclude(begun: Sequence[str], parts: Parts) -> StabilityVerdict:
    """`begun`: the hidden layers at which perturbations are made."""
    around, moved, whole = parts.joined("around"), parts.joined("moved"), parts["whole"]
    changed = int((moved["clean"] != moved["attacked"]).sum())
    layers = _layers(parts)
    names, ops = (unpacked_text(parts["graph"][key]).split("\n") for key in ("followed", "followed_ops"))
    made = {INPUT: "moved", **{name: f"hidden/{k}" for k, name in enumerate(begun)}}
    starts = [_start(at, names, ops, list(parts.below(part))) for at, part in made.items()]
    return StabilityVerdict(
        bounded=len(around["id"]), attacked=Share.of(changed, len(moved["id"])),
        layers=layers, product=layers[-1].product, eclipse_fast=_finite(float(whole["eclipse_fast"])),
        local=_finite(float(around["local"].max())), found=float(around["found"].max()),
        found_in_box=float(around["found_in_box"].max()), gradient=float(around["gradient"].mean()),
        proved=_middle(_proved(around["scores"], whole["margins"])), starts=starts,
        lower_half=_middle(_halves(ops, next(iter(parts.below("moved")))["steps"].tolist(), moved)),
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _middle(values: Tensor) -> Middle:
    found = median(values)
    return Middle(median=_finite(found.median), interval=found.interval, rows=found.rows)


# ------------------------------------------------------------------ bounds


def _layers(parts: Parts) -> list[LayerNorm]:
    """Every operation with the product up to it: sequences multiply, sums add, what is joint adds as squares."""
    graph, norms = parts["graph"], list(parts.below("norms"))
    upper, lower, joint = (torch.cat([c[name] for c in norms]).tolist() for name in ("upper", "lower", "joint"))
    notes = [note for c in norms for note in unpacked_text(c["notes"]).split("\n")]
    names, ops = (unpacked_text(graph[key]).split("\n")[1:] for key in ("names", "ops"))
    bounds, layers = [1.0], []
    for i, name in enumerate(names):
        reads = [r for r in graph["reads"][i + 1].tolist() if r >= 0]
        gains = upper[i][: len(reads)]
        ways = [0.0 if 0 in (g, bounds[r]) else g * bounds[r] for g, r in zip(gains, reads, strict=True)]
        bounds.append(math.hypot(*ways) if joint[i] else sum(ways))
        layers.append(
            LayerNorm(
                name=name, op=ops[i], lower=lower[i], upper=[_finite(g) for g in gains], product=_finite(bounds[-1]),
                note=notes[i],
            )
        )  # fmt: skip
    return layers


def _proved(scores: Tensor, margins: Tensor) -> Tensor:
    """How far each row (n, c) can be moved in l2 before another class may win: (n,)."""
    first = scores.argmax(1)
    ahead = scores.gather(1, first[:, None]) - scores
    radius = ahead / margins[first]
    return radius.scatter(1, first[:, None], torch.inf).amin(1)


# ------------------------------------------------------------------ growth


def _start(at: str, names: Sequence[str], ops: Sequence[str], shards: Sequence[Columns]) -> Start:
    followed = shards[0]["steps"].tolist()
    sizes = [torch.cat([c[key] for c in shards]) for key in ("adversarial", "noise")]
    return Start(at=at, layers=[_growth(names[i], ops[i], *(s[:, k] for s in sizes)) for k, i in enumerate(followed)])


def _growth(name: str, op: str, adversarial: Tensor, noise: Tensor) -> Growth:
    ratio = _middle(adversarial / noise)
    return Growth(layer=name, op=op, adversarial=_middle(adversarial), noise=_middle(noise), ratio=ratio)


def _halves(ops: Sequence[str], steps: Sequence[int], c: Columns) -> Tensor:
    """Doublings of the ratio per weighted layer in the lower half of them, less those in the upper half: (n,)."""
    weighted = [k for k, i in enumerate(steps) if ops[i] in WEIGHTED]
    lower = len(weighted) // 2
    if not lower:
        return torch.zeros(0, dtype=torch.float64)
    doublings = (c["adversarial"] / c["noise"]).log2()
    middle, last = doublings[:, weighted[lower - 1]], doublings[:, weighted[-1]]
    return middle / lower - (last - middle) / (len(weighted) - lower)
