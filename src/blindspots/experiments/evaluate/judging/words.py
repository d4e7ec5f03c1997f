"""What a person saw, in sentences and tables: nothing here counts."""

from blindspots.experiments.evaluate.judging.outcome import Judgement
from blindspots.records import Share
from blindspots.report.experiment import Table
from blindspots.report.words import count, interval, percent


def headline(j: Judgement) -> str:
    """The outcome in one sentence."""
    if j.valid is None or j.interval is None or j.adjusted is None or j.adjusted_interval is None:
        return (
            "What the person answered tells the classes of clean texts no better than chance, or is too little: "
            "nothing can be said of the adversarial ones."
        )
    return (
        f"{percent(j.valid)} of the successes are valid ({interval(j.interval)}): raw, {percent(j.successes.share)} of "
        f"the texts that the model read right were broken; validity-adjusted, {percent(j.adjusted)} "
        f"({interval(j.adjusted_interval)})."
    )


def method(j: Judgement) -> str:
    """How the numbers came about."""
    return (
        f"{count(j.answered)} of {count(j.shown, 'text')} answered. Corrected for the errors that the person makes on "
        "clean texts (Rogan and Gladen 1978), with intervals of 95 % by the delta method as Lang and Reiczigel (2014) "
        "adjust it; all other intervals are exact."
    )


def shares(j: Judgement) -> Table:
    """What was counted."""
    rows = {
        "Adversarial texts read as labelled": j.read,
        "Clean texts read as labelled (sensitivity)": j.sensitivity,
        "Decoys not read as labelled otherwise (specificity)": j.specificity,
        "Adversarial texts as if a person wrote them": j.written,
        "Clean texts as if a person wrote them": j.clean_written,
    }
    return Table(("", "Share", "95 % interval", "Texts"), [(name, *_cells(s)) for name, s in rows.items()])


def beside(j: Judgement) -> Table | None:
    """The person beside the automatic checks, over adversarial texts."""
    if j.checks is None:
        return None
    t = j.checks
    rows = [
        ("Valid to the person", count(t.both), count(t.person_only)),
        ("Not", count(t.checks_only), count(t.neither)),
    ]
    return Table(("", "Checks pass", "Checks fail"), rows)


def _cells(s: Share) -> tuple[str, str, str]:
    return percent(s.share) if s.rows else "–", interval(s.interval), count(s.rows)
