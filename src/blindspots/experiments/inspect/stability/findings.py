"""What a reader of a study of stability should know."""

from collections.abc import Iterator

from blindspots.experiments.inspect.stability.verdict import StabilityVerdict
from blindspots.findings import Finding
from blindspots.report.words import count, listing, number

_NAMED = 6  # layers in a sentence
_FEW = 6  # rows with which no interval of 95 % can be given


def findings(verdict: StabilityVerdict) -> Iterator[Finding]:
    """On bounds that are none or wide, and on what the rows can say."""
    if without := verdict.without_bound:
        notes = list(dict.fromkeys(layer.note for layer in without))
        more = f" And {len(notes) - _NAMED} others." if len(notes) > _NAMED else ""
        yield Finding(
            code="no-bound", severity="warning",
            saw=f"Nothing bounds the network everywhere: {'. '.join(notes[:_NAMED])}.{more}",
            do="Read the steepest points that were found, which need no bound.",
        )  # fmt: skip
    if wide := [layer.name for layer in verdict.layers if layer.note and None not in layer.upper]:
        named = listing(wide) if len(wide) <= _NAMED else f"{', '.join(wide[:_NAMED])} and {len(wide) - _NAMED} others"
        yield Finding(
            code="wide-norms", severity="note",
            saw=f"Norms of {named} are known less closely than to 0.1 %: a proof of less would take too long.",
            do="",
        )  # fmt: skip
    if verdict.local is not None and verdict.local == verdict.bound:
        yield Finding(
            code="no-better-around-rows", severity="note",
            saw=f"Around some row nothing better is known than what holds everywhere, {number(verdict.local)}.",
            do="A smaller --threat gives bounds that see more.",
        )  # fmt: skip
    if verdict.attacked.hits == 0:
        yield Finding(
            code="no-example", severity="note",
            saw="No perturbation changed a prediction, so adversarial ones are those that came nearest to that.",
            do="Give a larger --threat.",
        )  # fmt: skip
    if verdict.attacked.rows < _FEW:
        yield Finding(
            code="few-rows", severity="warning",
            saw=f"{count(verdict.attacked.rows, 'row')} say little of others: their medians have no intervals.",
            do="Give more with --perturbed and --rows.",
        )  # fmt: skip
