"""Which successes on texts are honest: checks of changed texts, fitted on the data of a run."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.texts import TokenModel
from blindspots.packing import packed_text, unpacked_text
from blindspots.runs.world import World
from blindspots.texts.codes import as_texts
from blindspots.texts.validity.validity import USUAL, Validity, parse_validity

_MOST = 5000  # texts that checks are fitted on
_OF_TYPOS = "antonyms+changed"  # a typing error is no synonym, and n-grams have never seen it
_UNCALIBRATED = "agreement+antonyms+changed"  # what needs no paraphrases


def checks_of(world: World) -> Validity:
    """The checks that were asked for, or those that are usual for the threat, fitted on the data."""
    return world.once("validity", partial(_fitted, world))


def _fitted(world: World) -> Validity:
    config = world.config
    asked, threat = getattr(config, "validity", None), str(getattr(config, "threat", ""))
    usual = USUAL if threat.startswith(("words", "tokens")) else _OF_TYPOS
    model, radius = world.model, float(threat.partition(":")[2] or 1)
    vectors = model.vectors if isinstance(model, TokenModel) else None
    texts = _some(world.data)
    try:
        return parse_validity(asked or usual).fit(texts, vectors=vectors, exchanges=radius or 1)
    except InputError:
        if asked:
            raise
        return parse_validity(_UNCALIBRATED).fit(texts)


def _some(data: Dataset) -> list[str]:
    return as_texts(data.rows(0, min(len(data), _MOST))[0])


def kept_of_checks(checks: Validity) -> dict[str, Tensor]:
    """What a run keeps of its checks."""
    return {"validity": packed_text(checks.to_json())}


def checks_kept(columns: Mapping[str, Tensor], world: World) -> Validity:
    """The checks of a finished run, fitted again on its data."""
    model = world.model
    vectors = model.vectors if isinstance(model, TokenModel) else None
    return Validity.from_json(unpacked_text(columns["validity"])).fit(_some(world.data), vectors=vectors)


def judged(checks: Validity, x: Tensor, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the checks say of the adversarial texts of a shard, whose clean ones are `x` (n, L)."""
    clean, changed = as_texts(x[columns["broken"]]), as_texts(columns["adversarial"])
    if not clean:
        none = torch.zeros(0, len(checks.names))
        return {"checked": none, "valid": none[:, :0].bool().any(1)}
    found = checks.judged(clean, changed)
    return {"checked": torch.from_numpy(found.values), "valid": torch.from_numpy(found.valid)}


def said(checks: Validity) -> Finding:
    """What a changed text has to pass to count as valid, and by what right."""
    return Finding(
        code="validity", severity="note",
        saw="A changed text counts as valid where it passes all of these. " + " ".join(checks.describe()),
        do="Have a person read a sample: blindspots judge RUN.",
    )  # fmt: skip


def shown(columns: Mapping[str, Any]) -> list[str]:
    """The names of the checks of a run, in the order of their values."""
    return list(parse_validity(Validity.from_json(unpacked_text(columns["validity"])).spec).names)
