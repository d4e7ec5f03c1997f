"""What an evaluation of texts needs besides: its threat, and what is kept of every text's lattice."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.goals import check_labels
from blindspots.models.model import Model
from blindspots.models.texts import TextModel, TokenModel
from blindspots.preflight import Preflight
from blindspots.runs.world import World
from blindspots.texts.codes import as_texts
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat

_LOOKED_AT, _AT_ONCE = 64, 256  # rows


def check_kinds(threat: Threat, model: Model, unit: str) -> None:
    """Raises InputError: threat, model and data are not all for texts, or all for numbers."""
    kinds = {
        f"the threat {threat.spec}": isinstance(threat, TextThreat),
        f"the model {model.name}": isinstance(model, TextModel),
        "the data": unit == "text",
    }
    if len(set(kinds.values())) > 1:
        of_texts, others = ([name for name, text in kinds.items() if text is which] for which in (True, False))
        raise InputError(
            f"expected threat, model and data all for texts or none of them, got {' and '.join(of_texts)} for texts "
            f"and {' and '.join(others)} for numbers: use words:0.15 and a model of texts on texts"
        )


def bound(threat: TextThreat, world: World) -> TextThreat:
    """With the candidates that were asked for, and the model where it shows its embeddings.

    Raises InputError: padding was asked for, which texts do not have.
    """
    if (padding := getattr(world.config, "padding", None)) is not None:
        raise InputError(f"expected padding for rows of numbers, got {padding:g} for texts: leave it out")
    model, said = world.named("model"), getattr(world.config, "candidates", None)
    if said is not None and threat.candidates is None:
        threat = replace(threat, candidates=said)
    reader = model if isinstance(model, TokenModel) else None
    return replace(threat, reader=reader, fixed=getattr(world.data, "fixed", None))


def named(threat: Threat) -> dict[str, Any]:
    """What the configuration says of a threat of texts: its candidates, and the digest of the files they are from."""
    if not isinstance(threat, TextThreat):
        return {}
    return {"candidates": threat.said, "limits": threat.digest}


def examined_texts(world: World) -> Preflight:
    """What is checked of texts before an attack: labels that the model knows, and texts that it reads to their end."""
    data, model = world.data, world.model
    x, y = data.rows(0, min(_LOOKED_AT, len(data)))
    classes = model.logits(x).shape[1]
    check_labels(y, classes, torch.arange(len(y)))
    return Preflight([*_cut_off(model, data)], len(x), 0, classes)


def _cut_off(model: Model, data: Dataset) -> Iterator[Finding]:
    """Texts that are longer than the network takes: what is changed behind the cut changes nothing."""
    if not isinstance(model, TokenModel) or model.tokenizer.longest is None:
        return
    cut = sum(
        not model.reads_whole(text)
        for start in range(0, len(data), _AT_ONCE)
        for text in as_texts(data.rows(start, min(start + _AT_ONCE, len(data)))[0])
    )
    if cut:
        yield Finding(
            code="texts-cut", severity="warning",
            saw=f"{cut:,} of {len(data):,} texts are longer than the {model.tokenizer.longest} tokens that the network "
            "takes: it never sees what comes after them.",
            do="Changes behind the cut are tried in vain and count as changes: split the texts, or take a model of "
            "longer ones.",
        )  # fmt: skip
