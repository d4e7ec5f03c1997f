"""From the parts of a run to its verdict."""

from collections.abc import Mapping, Sequence

import torch
from scipy.stats import binomtest
from torch import Tensor

from blindspots.ball import Ball
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.experiments.harden.study import concluded
from blindspots.experiments.harden.verdict import Claim, Control, HardenVerdict, Log
from blindspots.packing import unpacked_text
from blindspots.records import Share
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts
from blindspots.threat import Threat


def conclude(parts: Parts, threat: Threat, epochs: int, controls: Mapping[str, str], own_threat: bool) -> HardenVerdict:
    """The verdict.

    Args:
        controls: what each of them is, in a sentence, by their names.
        own_threat: training was against `threat` and no others, so held-out figures can be compared with the verdict.
    """
    before, after = (parts.run(name) for name in ("before", "after"))
    log = Log.model_validate_json(unpacked_text(parts["training"]["log"]))
    chosen = [e.closer for e in log.history if e.epoch == log.best_epoch][-1]
    assert chosen is not None
    made = {name: parts[f"controls/{name.replace(' ', '-')}"] for name in controls}
    trained = {name: columns for name, columns in made.items() if not columns["diverged"]}
    found = [_control(name, controls[name], epochs, columns) for name, columns in trained.items()]
    right = torch.cat([shard["right"] for shard in after.parts.below("shards")])
    return HardenVerdict(
        before=before.verdict,
        after=after.verdict,
        epochs=log.epochs,
        best_epoch=log.best_epoch,
        held_out=chosen,
        held_out_off=held_out_off(chosen, after.verdict) if own_threat else None,
        history=log.history,
        events=log.events,
        controls=found,
        claim=claim(right, found, [columns["right"] for columns in trained.values()]),
        study=concluded(parts["study"], threat) if isinstance(threat, Ball) and "study" in parts else None,
    )


def held_out_off(held_out: Share, after: EvaluateVerdict) -> float:
    """By how many points the held-out figure lies above the verdict on the test rows."""
    return 100 * (held_out.share - after.robust_accuracy)


def _control(name: str, what: str, epochs: int, columns: Columns) -> Control:
    right, fell = int(columns["right"].sum()), len(columns["broken"])
    rows = len(columns["right"])
    return Control(
        name=name, what=what, epochs=epochs, clean=Share.of(right, rows), robust=Share.of(right - fell, rows)
    )


def claim(hardened: Tensor, controls: Sequence[Control], right: Sequence[Tensor]) -> Claim | None:
    """Is the hardened network more accurate on clean rows than the best control? An exact McNemar test on the rows.

    Args:
        hardened: which rows (N,) it gets right.
        right: and which each of the controls.
    """
    if not controls:
        return None
    at = max(range(len(controls)), key=lambda i: controls[i].clean.share)
    ours, theirs = int((hardened & ~right[at]).sum()), int((right[at] & ~hardened).sum())
    p = binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    return Claim(
        hardened=Share.of(int(hardened.sum()), len(hardened)), control=controls[at].clean, against=controls[at].name,
        only_hardened=ours, only_control=theirs, p_value=float(p),
    )  # fmt: skip
