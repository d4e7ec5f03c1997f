"""What is checked after a run: what the search itself showed about the model, or about its own verdict."""

from collections.abc import Iterator, Sequence

from blindspots.attacks import Square
from blindspots.engine.cascade import Stage
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.findings import Finding, Severity
from blindspots.problem import Need

MANY = 0.01  # of the rows: what a single attack breaks after all others by luck is less


def diagnose(verdict: EvaluateVerdict, stages: Sequence[Stage], chunk: int, called: int) -> list[Finding]:
    """The findings of a finished run, apart from those of preflight.

    Args:
        chunk: rows per call of the network that were asked for.
        called: and with how many it could be called.
    """
    return [
        *_misleading_gradients(verdict, stages),
        *_loose_ends(verdict),
        *_unproved(verdict),
        *_memory(chunk, called),
    ]


def _misleading_gradients(verdict: EvaluateVerdict, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Did rows fall only when gradients inside the ball were given up?"""
    pairs = list(zip(verdict.stages, stages, strict=True))
    followed = any(stage.attack.need in (Need.GRAD, Need.JACOBIAN) for stage in stages)
    scores = sum(s.won for s, stage in pairs if isinstance(stage.attack, Square)) * followed
    if scores > max(2, MANY * verdict.rows):
        yield Finding(
            code="scores-beat-gradients",
            severity="warning",
            saw=f"{scores} of {verdict.rows} rows fell to random search after every gradient attack had failed.",
            do="Gradients mislead on this model, so its true robust accuracy may be lower still.",
        )
    afar = sum(s.won for s, stage in pairs if stage.after is not None)
    if afar:
        yield Finding(
            code="gradients-mislead-inside",
            severity="warning",
            saw=f"{afar} of {verdict.rows} rows fell only to searches that came in from far outside the ball.",
            do="Inside it gradients lead nowhere on this model, so its true robust accuracy may be lower still.",
        )


def _unproved(verdict: EvaluateVerdict) -> Iterator[Finding]:
    """Examples that were found, but not proved to be the nearest."""
    missing = 0 if verdict.minimal is None else verdict.minimal.rows - verdict.minimal.hits
    if missing:
        yield Finding(
            code="distance-not-proved",
            severity="note",
            saw=f"For {missing} of {verdict.rows} rows a nearer example than the one found was not ruled out.",
            do="Their distances are upper bounds: more nodes, as in `attack exact:nodes=1000000`, may settle them. In "
            "linear models nothing does where float32 cannot tell the scores apart.",
        )


def _loose_ends(verdict: EvaluateVerdict) -> Iterator[Finding]:
    """Rows whose search ended for another reason than success or exhaustion."""
    for code, severity, outcome, what, do in _ENDS:
        if rows := verdict.outcomes.get(outcome):
            yield Finding(code=code, severity=severity, saw=f"{rows} of {verdict.rows} rows {what}.", do=do)


# Code, severity, outcome, what is said of the rows with that outcome, what to do.
_ENDS: tuple[tuple[str, Severity, str, str, str], ...] = (
    (
        "budget-spent", "warning", "budget", "stand because the budget was spent",
        "The robust accuracy is an upper bound: run again with a larger budget, or with more queries for the attacks.",
    ),
    (
        "no-start", "warning", "no_start", "stand because the attack found no adversarial point to start from",
        "Nothing was proven of them: add images of other classes, or an attack that begins at the clean input.",
    ),
    (
        "never-searched", "warning", "unsearched", "stand although no attack took a step on them",
        "Look for a radius of 0, an attack of a single look, stages that they do not enter, or gradients that are 0.",
    ),
    (
        "nothing-to-change", "warning", "immovable",
        "stand because nothing of them may change: no place has a candidate",
        "They say nothing of the model and do not count as searched: take other candidates, or fewer rules of keep.",
    ),
    (
        "success-not-confirmed", "warning", "unconfirmed",
        "stand because what fooled the model did not do so when it was looked at again",
        "The model answers at random: average over several answers with --draws 20.",
    ),
    (
        "already-target", "note", "already_target", "had their target class from the start",
        "They do not count: robust accuracy is of the others.",
    ),
    (
        "no-answer", "error", "no_answer", "got no answer from the model, which raised exceptions",
        (
            "Nothing was proven of them: those without an answer to the clean input count as wrong, the others as "
            "standing. Mend the service and run again."
        ),
    ),
    (
        "nonfinite-search", "error", "nonfinite", "met scores or gradients that are not finite",
        (
            "Nothing was proven of them: those whose clean scores are not finite count as wrong, the others as "
            "standing. Look for overflow in the network."
        ),
    ),
)  # fmt: skip


def _memory(chunk: int, called: int) -> Iterator[Finding]:
    if called < chunk:
        yield Finding(
            code="memory-back-off",
            severity="note",
            saw=f"Memory ran out, so the network was called with {called} rows at a time.",
            do=f"For the same bits on another machine use --chunk {called}.",
        )
