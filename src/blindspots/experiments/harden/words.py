"""The sentences on a hardened model, on a terminal and in the report."""

from collections.abc import Mapping

from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.experiments.harden.verdict import Claim, HardenVerdict, Study
from blindspots.report.words import ThreatWords, count, interval, number, percent, seconds

_SURE = 0.05  # of the p-value below which a difference is called one


def headline(model: str, v: HardenVerdict) -> str:
    """Robust accuracy before and after in one sentence, without a full stop."""
    if not v.believable:
        return f"What hardening did to {model} cannot be believed yet: a check failed"
    before, after = percent(v.before.robust_accuracy), percent(v.after.robust_accuracy)
    return f"Under attack, {model} answered {before} of the rows correctly; hardened, it answers {after}"


def lede(v: HardenVerdict, threat: ThreatWords) -> str:
    """Intervals, and what it cost in clean accuracy."""
    apart = v.before.interval[1] < v.after.interval[0] or v.after.interval[1] < v.before.interval[0]
    return (
        f"Within {threat.text}, on the same {count(v.after.rows, 'row')}, which training never saw. 95\u00a0% "
        f"intervals: {interval(v.before.interval)} before, {interval(v.after.interval)} after; they "
        f"{'do not overlap' if apart else 'overlap'}. {clean_in_words(v.before, v.after)}"
    )


def clean_in_words(before: EvaluateVerdict, after: EvaluateVerdict) -> str:
    """ "Untouched rows: 96.5 % before, 99.0 % after, 2.5 points more." """
    points = 100 * (after.clean_accuracy - before.clean_accuracy)
    change = f"{abs(points):.1f} points {'more' if points > 0 else 'fewer'}" if round(points, 1) else "no change"
    return f"Untouched rows: {percent(before.clean_accuracy)} before, {percent(after.clean_accuracy)} after, {change}."


def claim_in_words(v: HardenVerdict) -> str:
    """Whether adversarial training improved clean accuracy here; "" where there is nothing to compare with."""
    c = v.claim
    if c is None:
        return ""
    return (
        f"Does adversarial training improve clean accuracy here? {_answer(c)}: the hardened network is right on "
        f"{percent(c.hardened.share)} of the untouched rows, the best control ({c.against}) on "
        f"{percent(c.control.share)}; {_only(c.only_hardened)} the first alone gets right, {_only(c.only_control)} the "
        f"second alone (exact McNemar test, p = {_p(c.p_value)})."
    )


def _answer(c: Claim) -> str:
    if c.p_value >= _SURE:
        return "These rows do not show it"
    return "Yes" if c.only_hardened > c.only_control else "No, it costs some"


def _only(rows: int) -> str:
    return count(rows, "row") if rows else "no row"


def _p(value: float) -> str:
    return "1" if value > 0.995 else f"{value:.1g}" if value < 0.001 else f"{value:.3f}".rstrip("0")


def overfitting(v: HardenVerdict) -> str:
    """What the last epoch lost against the best one, and the gap to training rows: robust overfitting."""
    kept = [e for e in v.history if not e.undone]
    best = next((e for e in kept if e.epoch == v.best_epoch), None)
    if best is None:
        return ""
    last = kept[-1]
    looked = [e for e in kept if e.closer]
    points = 100 * (best.robust.share - last.robust.share)
    lost = (
        f"by the last epoch it was {points:.1f} points lower" if round(points, 1) > 0 else "it was not lower at the end"
    )
    gap = 100 * (last.robust_training.share - last.robust.share)
    return (
        f"The weights are those of epoch {best.epoch}. Short searches left {percent(best.robust.share)} of the "
        f"held-out rows standing; {lost}. A closer look at {count(len(looked), 'epoch')} chose it with "
        f"{percent(v.held_out.share)}, {_off(v.held_out_off)} of the test rows. At the end training rows stood "
        f"{abs(gap):.1f} points {'more' if gap >= 0 else 'less'} often than held-out ones."
    )


def _off(points: float | None) -> str:
    """Where the held-out figure lies, seen from the verdict after."""
    if points is None:
        return "within the recipe's own threats, which are not that"
    if not round(points, 1):
        return "just the robust accuracy"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} the robust accuracy"


def alignment_in_words(study: Study) -> str:
    """How much of an input its gradient shows."""
    a = study.alignment
    return (
        f"The cosine between an input and its gradient, without its sign, is {number(a.before)} before and "
        f"{number(a.after)} after (median of {count(study.rows, 'row')})."
    )


def price(v: HardenVerdict, timing: Mapping[str, float], total: float) -> list[tuple[str, str, str]]:
    """What it cost: name, value, and what stands below it.

    Args:
        timing: what the training measured of itself; what is missing is left out.
        total: seconds of all parts; 0: nobody knows.
    """
    points = 100 * (v.after.clean_accuracy - v.before.clean_accuracy)
    took = [("The whole run", seconds(total), "with both evaluations, controls and studies")] if total else []
    return [
        *_training(v, timing),
        *took,
        *_memory(timing),
        (
            "Clean accuracy", f"{points:+.1f}".replace("-", "−") + " points",
            f"{percent(v.before.clean_accuracy)} before, {percent(v.after.clean_accuracy)} after",
        ),
    ]  # fmt: skip


def _training(v: HardenVerdict, timing: Mapping[str, float]) -> list[tuple[str, str, str]]:
    if not timing:
        return []
    return [
        ("An epoch", seconds(timing["epoch"]), f"{ratio(timing)}, {seconds(timing['natural_epoch'])}"),
        (
            "Training", seconds(timing["epochs"]),
            f"{count(v.epochs, 'epoch')}; {seconds(timing['checks'])} more for checks on held-out rows",
        ),
    ]  # fmt: skip


def ratio(timing: Mapping[str, float]) -> str:
    """How much longer an epoch takes than one without an adversary."""
    return f"{number(timing['epoch'] / timing['natural_epoch'])} times as long as one without an adversary"


def _memory(timing: Mapping[str, float]) -> list[tuple[str, str, str]]:
    if "peak_memory" not in timing:
        return []
    memory = f"{timing['peak_memory'] / 1e6:,.0f} MB"
    return [("Memory", memory, "at most, of the whole process; on a GPU, of its tensors")]
