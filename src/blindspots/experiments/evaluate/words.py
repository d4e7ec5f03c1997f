"""The sentences on an evaluation, on a terminal and in its report."""

from collections.abc import Sequence

from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.verdict import EvaluateVerdict, Spread
from blindspots.goals import Goal
from blindspots.report.words import ThreatWords, count, interval, listing, number, percent
from blindspots.runs.store import Run

_NBSP = "\u00a0"
_OUTCOMES = {
    "won": "broken",
    "stood": "stood until the attacks were exhausted",
    "budget": "stood only until the budget ran out",
    "nonfinite": "left alone: the model gave NaN or infinity",
    "already_wrong": "wrong from the start",
    "no_start": "left alone: no starting point was found",
    "no_answer": "left without an answer: the model raised exceptions",
    "already_target": "left out: they had their target class from the start",
    "unsearched": "stood without a search: no attack took a step",
    "immovable": "stood as nothing of them may change",
    "proved": "proved to stand",
    "unconfirmed": "stood because the example found did not fool the model again",
}


def outcome(name: str) -> str:
    """A Result's name in words; a name unknown here is shown as it is."""
    key = name.lower().replace(" ", "_").replace("-", "_")
    return _OUTCOMES.get(key, key.replace("_", " "))


def right_and_standing(verdict: EvaluateVerdict, goal: Goal | None = None) -> str:
    """ "Of 500 rows, 488 are right at first; 86 stay right whatever the attacks tried" """
    of_right = verdict.robust_of_right
    if goal is not None:
        return (
            f"Of {_counted(verdict)}, the output {goal.kept} on {count(of_right.rows)} as they are, and on "
            f"{count(of_right.hits)} whatever the attacks tried"
        )
    first = "is" if of_right.rows == 1 else "are"
    if verdict.open is not None:
        return f"Of {_counted(verdict)}, {count(of_right.rows)} {first} right at first; {_proved(verdict)}"
    stay = "stays" if of_right.hits == 1 else "stay"
    return (
        f"Of {_counted(verdict)}, {count(of_right.rows)} {first} right at first; "
        f"{count(of_right.hits)} {stay} right whatever the attacks tried{_reached(verdict)}"
    )


def _proved(verdict: EvaluateVerdict) -> str:
    """ "206 of them are proved to stay right, 59 fell and none is open" """
    of_right, open_ = verdict.robust_of_right, verdict.open or 0
    fell = of_right.rows - of_right.hits
    stand = (
        f"{count(of_right.hits - open_)} of them {'is' if of_right.hits - open_ == 1 else 'are'} proved to stay right"
    )
    rest = "none is open" if not open_ else f"{count(open_)} {'is' if open_ == 1 else 'are'} open"
    return f"{stand}, {count(fell)} fell and {rest}"


def proofs(verdict: EvaluateVerdict) -> str:
    """What is proved and what is not; "" where nothing was to be proved."""
    if verdict.minimal is None:
        return ""
    m, missing = verdict.minimal, verdict.minimal.rows - verdict.minimal.hits
    said = []
    if m.rows:
        nearest = "All distances" if not missing else f"{count(m.hits)} of the {count(m.rows)} distances"
        said.append(f"{nearest} of the rows that fell are proved to be the smallest.")
    if verdict.open:
        said.append(
            f"For {count(verdict.open, 'row')} the search of the solver ended before its proof: more nodes, as in "
            "`attack exact:nodes=1000000`, may settle them."
        )
    return " ".join(said)


def _counted(verdict: EvaluateVerdict) -> str:
    left_out = verdict.rows - verdict.counted
    if not left_out:
        return count(verdict.rows, "row")
    have, do = ("has its", "does") if left_out == 1 else ("have their", "do")
    return (
        f"{count(verdict.rows, 'row')}, {count(left_out)} {have} target class from the start and {do} not count; of "
        f"the other {count(verdict.counted)}"
    )


def _reached(verdict: EvaluateVerdict) -> str:
    if verdict.target_reached is None:
        return ""
    become = "becomes" if verdict.target_reached.hits == 1 else "become"
    return f" to make them their target class, which {count(verdict.target_reached.hits)} {become}"


def never_searched(verdict: EvaluateVerdict) -> str:
    """What is left once rows whose search did not run to its end count as lost; "" where there are none."""
    if not verdict.unsearched or verdict.open is not None:
        return ""
    hits = verdict.robust_of_right.hits
    standing = f"{count(hits, 'row')} that {'stands' if hits == 1 else 'stand'}"
    return (
        f"For {count(verdict.unsearched)} of the {standing}, no search ran to its end: without these, "
        f"robust accuracy is {percent(verdict.searched.share)} (interval {interval(verdict.searched.interval)}), and "
        "that is what --require goes by."
    )


def valid(verdict: EvaluateVerdict) -> str:
    """How many of the successes are valid; "" where nothing was checked."""
    if verdict.valid is None or not verdict.valid.rows:
        return ""
    v = verdict.valid
    pass_, more = ("passes", "more may") if v.hits == 1 else ("pass", "more may")
    return (
        f"Of the {count(v.rows, 'row')} that fell, {count(v.hits)} {pass_} all checks of validity. The search did not "
        f"look for changes that do, so {more} exist."
    )


def _in_a_hundred(share: float) -> str:
    if share in (0, 1):
        return "none" if share == 0 else "all"
    if share < 0.01 or share > 0.99:
        return "fewer than 1" if share < 0.01 else "more than 99"
    return f"about {round(100 * share)}"


def meaning(verdict: EvaluateVerdict, threat: ThreatWords, goal: Goal | None = None) -> str:
    """What the numbers mean for somebody who has to decide whether to ship the model."""
    if verdict.counted == 0 < verdict.rows:
        return "Every row has its target class from the start: there was nothing to attack, and nothing was learned."
    if goal is not None:
        return _meaning_of_numbers(verdict, threat, goal)
    if verdict.robust_of_right.rows == 0:
        return "The model is right on none of these rows: there was nothing to attack, and there is nothing to ship."
    attacked, untouched = _in_a_hundred(1 - verdict.robust_accuracy), _in_a_hundred(1 - verdict.clean_accuracy)
    if threat.radius is None and verdict.distances:
        least, middle = (threat.sized(getattr(verdict.distances, k)) for k in ("smallest", "median"))
        return (
            f"Shipping it means: half of the rows that fell do so after a change of {middle} or less, the first one "
            f"after {least}; without an attacker {untouched} of 100 answers are wrong."
        )
    reach = "as far as they like" if threat.radius is None else f"within {threat.text}"
    if verdict.open is not None:
        return _meaning_of_proofs(verdict, reach, untouched)
    attacks = "these attacks, as far as they got," if verdict.unsearched else "these attacks"
    if verdict.target_reached is not None:
        return (
            f"Shipping it means: where somebody can alter the inputs {reach}, {attacks} get the class that they "
            f"want for {_in_a_hundred(verdict.target_reached.share)} of 100 inputs that the model gets right."
        )
    return (
        f"Shipping it means: where somebody can alter the inputs {reach}, {attacks} make {attacked} of 100 answers "
        f"wrong; without an attacker it is {untouched}."
    )


def _meaning_of_proofs(verdict: EvaluateVerdict, reach: str, untouched: str) -> str:
    attacked = _in_a_hundred(1 - verdict.robust_accuracy)
    most = _in_a_hundred(1 - (verdict.certified_accuracy or 0))
    wrong = f"{attacked} of 100 answers wrong and no more"
    if attacked != most:
        wrong = f"{attacked} of 100 answers, and at most {most}, wrong"
    return (
        f"Shipping it means: where somebody can alter the inputs {reach}, they can make {wrong}, whatever they try; "
        f"without an attacker it is {untouched}."
    )


def _meaning_of_numbers(verdict: EvaluateVerdict, threat: ThreatWords, goal: Goal) -> str:
    if verdict.robust_of_right.rows == 0:
        return f"On none of these rows the output {goal.kept} as they are: there was nothing to attack."
    reach = "as far as they like" if threat.radius is None else f"within {threat.text}"
    said = (
        f"Shipping it means: where somebody can alter the inputs {reach}, {_in_a_hundred(verdict.robust_accuracy)} of "
        f"100 outputs still keep to this: the output {goal.kept}."
    )
    aimed_at = "error" if goal.spec.startswith("error") else "shift"  # by the search: the other is a by-product
    for m in verdict.measures:
        if m.name == aimed_at == "error":
            said += f" The mean absolute error grows from {number(m.clean.mean)} to at least {_spread(m.worst)}."
        elif m.name == aimed_at:
            said += f" On average the output moved by {_spread(m.worst)}."
    return said


def _spread(found: Spread) -> str:
    return f"{number(found.mean)} (median {number(found.median)}, 95{_NBSP}% quantile {number(found.high)})"


def headline(
    labels: Sequence[str],
    verdicts: Sequence[EvaluateVerdict],
    threats: Sequence[ThreatWords],
    goals: Sequence[Goal | None] = (None,),
) -> str:
    """The verdict in one sentence, for one run or several."""
    if doubtful := [label for label, v in zip(labels, verdicts, strict=True) if not v.believable]:
        return f"The verdict on {listing(doubtful)} cannot be believed yet: a check failed"
    if all(t.radius is None and v.distances for t, v in zip(threats, verdicts, strict=True)):
        if all(v.settled for v in verdicts):
            begins, listed = "Proved: in the median", [*map(_distance, labels, verdicts, threats)]
            return f"{begins} {listing(listed)}"
        return f"In the median {listing([_distance(*one) for one in zip(labels, verdicts, threats, strict=True)])}"
    if goals[0] is not None and all(goal == goals[0] for goal in goals):
        shares = [f"{_robust(v)} of the rows of {label}" for label, v in zip(labels, verdicts, strict=True)]
        return f"Under attack, the output {goals[0].kept} on {listing(shares)}"
    if all(v.target_reached is not None for v in verdicts):
        return f"The attacks reach their target class on {listing(list(map(_on, labels, verdicts)))}"
    shares = [_robust(v) for v in verdicts]
    proved = all(v.open == 0 for v in verdicts)
    begins = "Proved: whatever is changed within the threat" if proved else "Under attack"
    first = f"{begins}, {labels[0]} still answers {shares[0]} of the rows correctly{_adjusted(verdicts[0])}"
    rest = zip(labels[1:], shares[1:], verdicts[1:], strict=True)
    return listing([first, *(f"{label} {share}{_adjusted(v)}" for label, share, v in rest)])


def _adjusted(verdict: EvaluateVerdict) -> str:
    """ " (51.0 % if only valid changes count)" """
    return f" ({percent(verdict.adjusted.share)} if only valid changes count)" if verdict.adjusted else ""


def _robust(verdict: EvaluateVerdict) -> str:
    """ "95.0 %", or "95.0 % (searched: 12.0 %)" where no search ran to its end on some of the rows that stand."""
    if verdict.open:
        return f"at most {percent(verdict.robust_accuracy)}, and provably {percent(verdict.certified_accuracy or 0)},"
    searched = f" (searched: {percent(verdict.searched.share)})" if verdict.unsearched else ""
    return percent(verdict.robust_accuracy) + searched


def _on(label: str, verdict: EvaluateVerdict) -> str:
    assert verdict.target_reached is not None
    return f"{percent(verdict.target_reached.share)} of the rows that {label} gets right"


def _distance(label: str, verdict: EvaluateVerdict, threat: ThreatWords) -> str:
    assert verdict.distances is not None
    return f"a change of {threat.sized(verdict.distances.median)} makes {label} err"


def comparison(labels: Sequence[str], runs: Sequence[Run[Batched, EvaluateVerdict]]) -> str:
    """How the best and the worst of several runs compare, or why they do not; "" where none can be compared."""
    verdicts = [run.verdict for run in runs]
    if len(labels) < 2 or not all(v.believable for v in verdicts):
        return ""
    settings: dict[str, list[object]] = {
        "rows": [[run.manifest.world["data"][k] for k in ("digest", "rows")] for run in runs],
        "threat": [run.config.threat for run in runs],
        "goal": [run.config.goal for run in runs],
        "protocol": [run.config.stages for run in runs],
    }
    different = [name for name, values in settings.items() if any(v != values[0] for v in values)]
    if different:
        return f"The runs differ in {listing(different)}, so their numbers do not compare directly."
    ranked = sorted(range(len(labels)), key=lambda i: verdicts[i].robust_accuracy)
    worst, best = verdicts[ranked[0]], verdicts[ranked[-1]]
    points, clean = (100 * (getattr(best, k) - getattr(worst, k)) for k in ("robust_accuracy", "clean_accuracy"))
    overlap = "overlap" if best.interval[0] <= worst.interval[1] else "do not overlap"
    price = f"{abs(clean):.1f} points {'fewer' if clean < 0 else 'more'}" if round(clean, 1) else "as many"
    return (
        f"On the same rows, against the same attacks, {labels[ranked[-1]]} stays right on {points:.1f} points more of "
        f"them than {labels[ranked[0]]}, and on untouched inputs it is right on {price}. "
        f"The 95{_NBSP}% intervals {overlap}."
    )
