"""Which successes on texts are honest: checks of changed texts, fitted on the data of a run."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from blindspots.data import Dataset
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.models.texts import TokenModel
from blindspots.packing import packed_text, unpacked_text
from blindspots.runs.world import World
from blindspots.texts.codes import as_texts
from blindspots.texts.threats import parse_text_threat
from blindspots.texts.validity.validity import USUAL, Validity, parse_validity

_MOST = 5000  # texts that checks are fitted on
_OF_TYPOS = "antonyms+changed"  # a typing error is no synonym, and n-grams have never seen it
_UNCALIBRATED = "agreement+antonyms+changed"  # what needs no paraphrases
_LEFT_OUT = " Similarity and fluency are left out: too few of these texts have synonyms to calibrate them on."


def checks_of(world: World) -> Validity:
    """The checks that were asked for, or those that are usual for the threat, fitted on the data."""
    return world.once("validity", partial(_fitted, world))


def _fitted(world: World) -> Validity:
    config = world.config
    asked, threat = getattr(config, "validity", None), parse_text_threat(str(getattr(config, "threat", "")))
    usual = USUAL if threat.name in ("words", "tokens", "trigger") else _OF_TYPOS
    vectors = world.model.vectors if isinstance(world.model, TokenModel) else None
    texts = _some(world.data)
    try:
        return parse_validity(asked or usual).fit(texts, vectors=vectors, exchanges=threat.radius or 1)
    except InputError:
        if asked:
            raise
        return parse_validity(_UNCALIBRATED).fit(texts)


def _some(data: Dataset) -> list[str]:
    return as_texts(data.rows(0, min(len(data), _MOST))[0])


def kept_of_checks(checks: Validity) -> dict[str, Tensor]:
    """What a run keeps of its checks."""
    return {"validity": packed_text(checks.to_json())}


def with_kept(checks: Validity, columns: Mapping[str, Tensor]) -> Validity:
    """The checks of a run, fitted again, with the thresholds that it kept."""
    return replace(checks, thresholds=read(columns).thresholds)


def read(columns: Mapping[str, Tensor]) -> Validity:
    """What a run kept of its checks, not fitted."""
    return Validity.from_json(unpacked_text(columns["validity"]))


def judged(checks: Validity, x: Tensor, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the checks say of the adversarial texts of a shard, whose clean ones are `x` (n, L)."""
    clean, changed = as_texts(x[columns["broken"]]), as_texts(columns["adversarial"])
    if not clean:
        return {"checked": torch.zeros(0, len(checks.names)), "valid": torch.zeros(0, dtype=torch.bool)}
    found = checks.judged(clean, changed)
    return {"checked": torch.from_numpy(found.values), "valid": torch.from_numpy(found.valid)}


def finding_of(checks: Validity) -> Finding:
    """What a changed text has to pass to count as valid, and by what right."""
    left_out = _LEFT_OUT if checks.spec == _UNCALIBRATED else ""
    return Finding(
        code="validity", severity="note",
        saw=f"A changed text counts as valid where it passes all of these. {' '.join(checks.describe())}{left_out}",
        do="Have a person read a sample: blindspots judge RUN.",
    )  # fmt: skip
