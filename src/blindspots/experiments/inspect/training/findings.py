"""What a reader of a study of training should know."""

from collections.abc import Iterator

from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.inspect.training.verdict import TrainingVerdict
from blindspots.findings import Finding
from blindspots.report.words import count

_WEAK = 0.6  # of the rows that a network has right at least, before its robustness says anything


def findings(config: TrainingConfig, verdict: TrainingVerdict) -> Iterator[Finding]:
    """On how far the networks speak for others."""
    yield Finding(
        code="small-networks", severity="note",
        saw=f"{count(len(verdict.networks), 'network')} like {config.network} were trained for "
        f"{count(config.training_steps, 'step')} each; what goes with what is theirs, not the model's.",
        do="Trends of larger networks may differ: vary --network, --repeats and --training-steps.",
    )  # fmt: skip
    if weak := [n for n in verdict.networks if n.clean.share < _WEAK]:
        named = ", ".join(dict.fromkeys(f"{n.factor} {n.level}" for n in weak))
        yield Finding(
            code="weak-networks", severity="warning",
            saw=f"{len(weak)} of {len(verdict.networks)} networks have fewer than 60 % of the rows right ({named}): "
            "how robust they are says little.",
            do="Train them longer with --training-steps, or give more rows.",
        )  # fmt: skip
    yield Finding(
        code="one-attack", severity="note",
        saw="Accuracy within the radius is under APGD alone (40 steps), distances are FMN's (100 steps): upper bounds.",
        do="Evaluate a single network with blindspots evaluate where its number matters.",
    )  # fmt: skip
