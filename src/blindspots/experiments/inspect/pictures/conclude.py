"""From what was made to the verdict: every picture beside the data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.pictures.verdict import Drawn, Fooled, Fooling, Matched, Picture, Recognised
from blindspots.packing import unpacked_text
from blindspots.records import Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts

Array = NDArray[Any]


def drawn(config: PicturesConfig, parts: Parts, i: int) -> Drawn:
    """The pictures of one group."""
    kind, _, layer = config.groups[i].partition("@")
    answers, made = parts[f"answers/{i}"], parts[f"pictures/{i}"]
    second = parts[f"matched/{i}"] if config.against else None
    count = len(answers["targets"])
    return Drawn(kind=kind, layer=layer, pictures=[_picture(t, answers, made, second) for t in range(count)])


def _picture(t: int, answers: Columns, made: Columns, second: Columns | None) -> Picture:
    values, best = answers["values"][:, t].double().numpy(), int(made["value"][t].argmax())
    reached, middle, top = float(made["value"][t, best]), float(np.median(values)), float(values.max())
    way = reached - middle
    return Picture(
        target=int(answers["targets"][t]), reached=reached, top=top, quantile=quantile(values, reached),
        reach=way / (top - middle) if top > middle else None, says=int(made["says"][t, best]),
        kept=_kept(made["unseen"][t, best].double().numpy(), middle, way),
        top_kept=_kept(made["top_unseen"][t].double().numpy(), middle, top - middle),
        matched=_matched(t, best, second) if second else None,
    )  # fmt: skip


def quantile(values: Array, reached: float) -> float:
    """The share of the data with no more."""
    return float((values <= reached).mean())


def _kept(unseen: Array, middle: float, way: float) -> float | None:
    return float(((unseen - middle) / way).mean()) if way > 0 else None


def _matched(t: int, best: int, c: Columns) -> Matched:
    names = unpacked_text(c["names"]).split("\n")
    values = c["values"][:, t].double().numpy()
    return Matched(
        layer=names[int(c["layer"][t])], unit=int(c["unit"][t]), correlation=float(c["correlation"][t]),
        quantile=quantile(values, float(c["reached"][t, best])),
    )  # fmt: skip


def recognised(config: PicturesConfig, parts: Parts, model: str, beside: str) -> list[Recognised]:
    """What an independent network sees in the pictures of classes, of this model and of the one beside it."""
    if not (config.against and "class" in config.groups):
        return []
    i = config.groups.index("class")
    targets, own, second = parts[f"answers/{i}"]["targets"], parts[f"pictures/{i}"], parts[f"judged/{i}"]["says"]
    told = [(model, own["says"], second)]
    if beside:
        other = parts[f"beside/{i}"]
        told.append((beside, other["says"], other["second"]))
    return [
        Recognised(made_on=name, right=_share(judge == targets[:, None]), own=_share(says == targets[:, None]))
        for name, says, judge in told
    ]


def _share(right: Any) -> Share:
    return Share.of(int(right.sum()), right.numel())


def fooling(c: Columns, way: str, classes: tuple[int, ...]) -> Fooling:
    """How sure the model is of images made from nothing."""
    images = [
        Fooled(
            label=label, confidence=float(c["confidence"][k]), confidence_8bit=float(c["confidence_8bit"][k]),
            second=float(c["second"][k]) if int(c["second_says"][k]) >= 0 else None,
            second_says=int(c["second_says"][k]),
        )
        for k, label in enumerate(classes)
    ]  # fmt: skip
    return Fooling(way=way, images=images)
