"""What the answers say: how many of the successes are honest."""

from collections.abc import Callable, Mapping, Sequence

from blindspots.experiments.evaluate.judging.answers import Answer, Answers, check_fit
from blindspots.experiments.evaluate.judging.prevalence import Count, interval, rogan_gladen, tells
from blindspots.experiments.evaluate.judging.sheet import Item, Kind, Sheet
from blindspots.records import Interval, Record, Share
from blindspots.texts.validity.validity import Validity


class Table(Record):
    """How many adversarial texts person and automatic checks hold for valid, or not."""

    both: int
    person_only: int
    checks_only: int
    neither: int

    @property
    def agreement(self) -> float:
        """The share of texts on which they agree."""
        return (self.both + self.neither) / (self.both + self.person_only + self.checks_only + self.neither)


class Judgement(Record):
    """What a person saw.

    Attributes:
        answered, shown: texts of all kinds.
        successes: rows that were broken, of those that the model read right.
        read: adversarial texts that the person read as the label of their row.
        sensitivity: clean texts that were read as their label.
        specificity: decoys that were not read as the class that they do not have.
        valid: share of the adversarial texts that really still have their label, corrected for these errors; None
            where the person does not tell classes apart, or was asked too little.
        interval: 95 % of that.
        adjusted, adjusted_interval: the share of successes times `valid`, for these rows.
        written: adversarial texts that read as if a person wrote them,
        clean_written: and clean texts that do.
        checks: beside the automatic checks; None where these were not asked.
    """

    answered: int
    shown: int
    successes: Share
    read: Share
    sensitivity: Share
    specificity: Share
    valid: float | None
    interval: Interval | None
    adjusted: float | None
    adjusted_interval: Interval | None
    written: Share
    clean_written: Share
    checks: Table | None = None


def judgement(sheet: Sheet, answers: Answers, passes: Mapping[str, bool] | None = None) -> Judgement:
    """Counts.

    Args:
        passes: what automatic checks say of the adversarial texts, by their ids.

    Raises InputError: the answers are not about this sheet.
    """
    check_fit(answers, sheet)
    said = answers.answers
    read = _count(sheet, said, "adversarial", _as_claimed)
    sensitivity = _count(sheet, said, "clean", _as_claimed)
    specificity = _count(sheet, said, "decoy", lambda item, answer: not _as_claimed(item, answer))
    counts = read, sensitivity, specificity
    told = read.rows > 0 and tells(sensitivity, specificity)
    valid, within = (rogan_gladen(*counts), interval(*counts)) if told else (None, None)
    raw = sheet.successes.share
    return Judgement(
        answered=len(said),
        shown=len(sheet.items),
        successes=sheet.successes,
        read=Share.of(*read),
        sensitivity=Share.of(*sensitivity),
        specificity=Share.of(*specificity),
        valid=valid,
        interval=within,
        adjusted=None if valid is None else raw * valid,
        adjusted_interval=None if within is None else (raw * within[0], raw * within[1]),
        written=Share.of(*_count(sheet, said, "adversarial", lambda item, answer: answer.written)),
        clean_written=Share.of(*_count(sheet, said, "clean", lambda item, answer: answer.written)),
        checks=None if passes is None else _table(sheet.of("adversarial"), said, passes),
    )


def automatic(sheet: Sheet, validity: Validity) -> dict[str, bool]:
    """What fitted checks say of the adversarial texts, by their ids: whether all are passed."""
    clean = {item.row: item.text for item in sheet.of("clean")}
    items = sheet.of("adversarial")
    judged = validity.judged([clean[item.row] for item in items], [item.text for item in items])
    return dict(zip((item.id for item in items), judged.valid.tolist(), strict=True))


def _as_claimed(item: Item, answer: Answer) -> bool:
    return answer.label == item.claimed


def _count(sheet: Sheet, said: Mapping[str, Answer], kind: Kind, hit: Callable[[Item, Answer], bool]) -> Count:
    hits = [hit(item, said[item.id]) for item in sheet.of(kind) if item.id in said]
    return Count(sum(hits), len(hits))


def _table(items: Sequence[Item], said: Mapping[str, Answer], passes: Mapping[str, bool]) -> Table:
    pairs = [(_as_claimed(item, said[item.id]), passes[item.id]) for item in items if item.id in said]
    return Table(
        both=pairs.count((True, True)),
        person_only=pairs.count((True, False)),
        checks_only=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )
