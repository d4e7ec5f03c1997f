"""What makes the rates of a trigger say less than they seem to, in sentences."""

from collections.abc import Iterator

import torch

from blindspots.experiments.universal.triggers.setup import Setup
from blindspots.experiments.universal.triggers.verdict import TriggerVerdict
from blindspots.findings import Finding
from blindspots.models.texts import TokenModel
from blindspots.texts.codes import as_texts


def findings(s: Setup, verdict: TriggerVerdict) -> Iterator[Finding]:
    """What a reader of the verdict should know."""
    yield from _cut(s, verdict.trigger)
    if not verdict.heldout.fooled.rows:
        yield Finding(
            code="already-target", severity="warning",
            saw=f"All held-out rows are taken for class {s.config.target} as they are, so none of them counts.",
            do="Hold out rows of other classes.",
        )  # fmt: skip
    name, best = max(verdict.controls.items(), key=lambda item: item[1].share)
    if best.interval[1] >= verdict.interval[0]:
        yield Finding(
            code="like-control", severity="note",
            saw=f"{name.capitalize()} fool {best.share:.1%} of the same texts, and the intervals overlap: that a "
            "search was needed is not shown.",
            do="Fit more texts, hold out more, or take more words.",
        )  # fmt: skip
    yield Finding(
        code="meaning", severity="note",
        saw="Whether the words say something of the class, as “awful” does in a review, is not checked: such a trigger "
        "changes what a text means, and shows no blind spot.",
        do="Read it.",
    )  # fmt: skip


def _cut(s: Setup, trigger: str) -> Iterator[Finding]:
    """Texts so long that the network does not read the trigger in them."""
    model, held = s.model, s.division.heldout
    if not isinstance(model, TokenModel) or model.tokenizer.longest is None:
        return
    texts = as_texts(held.take(torch.arange(len(held)))[0])
    unread = sum(
        not all(model.tokens_at(text, s.placing.spans(trigger, text))) for text in s.placing.paint(trigger, texts)
    )
    if unread:
        yield Finding(
            code="trigger-cut", severity="warning",
            saw=f"In {unread:,} of {len(texts):,} held-out texts the trigger lies behind the {model.tokenizer.longest} "
            "tokens that the network reads, so they cannot be fooled.",
            do="Put it in front, as in trigger:3.",
        )  # fmt: skip
