"""What is shown of an evaluation, or of several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from blindspots.experiments.evaluate import tables_shown, words
from blindspots.experiments.evaluate.charts import Confusion, confusion, curve_charts
from blindspots.experiments.evaluate.config import Batched
from blindspots.experiments.evaluate.drawn import is_series, roughness_of
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.gallery import Group, Standing, gallery, standing
from blindspots.experiments.evaluate.money import Bill, bill
from blindspots.experiments.evaluate.page_reach import ReachShown, reach_shown
from blindspots.experiments.evaluate.texts_shown import TextStanding
from blindspots.experiments.evaluate.verdict import EvaluateVerdict, TableVerdict
from blindspots.findings import Finding
from blindspots.goals import Goal
from blindspots.pictures import is_colour, is_image
from blindspots.report.experiment import Page, Table
from blindspots.report.shown import is_reduced, is_small
from blindspots.report.words import ThreatWords, by_severity, count, interval, number, percent, seconds
from blindspots.runs.store import Run

Evaluated = Run[Batched, EvaluateVerdict]


def page(*runs: Evaluated) -> Page:
    """The verdict in words and numbers, examples, curves, stages and classes."""
    labels = _labels(runs)
    shown = [Shown(label, Evidence(run)) for label, run in zip(labels, runs, strict=True)]
    verdicts = [run.verdict for run in runs]
    compared = words.comparison(labels, runs)
    v = verdicts[0]
    cost = (
        f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}; {number(v.forwards_per_row)} + "
        f"{number(v.backwards_per_row)} per row"
    )
    return Page(
        kicker="Robustness report",
        headline=words.headline(
            labels, verdicts, [one.threat for one in shown], [one.evidence.goal for one in shown]
        ),
        text=compared if len(runs) > 1 else _said(v, shown[0]),
        tables=_alone(shown[0]) if len(runs) == 1 else [_side_by_side(shown)],
        sections=[
            *([("table", "Rules")] if v.table else []),
            ("gallery", "Gallery"), ("radius", "Radius"), ("stages", "Stages"), ("classes", "Classes"),
        ],
        template=Path(__file__).with_name("page.html.j2"),
        context={
            "pages": shown,
            "comparison": compared,
            "proved": all(v.settled for v in verdicts),
            "charts": curve_charts(labels, [one.evidence for one in shown]),
            "bars": tables_shown.bars,
            "table_sentences": tables_shown.table_sentences,
            "tables_of": tables_shown.tables,
            **{
                f.__name__: f
                for f in (
                    words.right_and_standing, words.never_searched, words.proofs, words.meaning, words.outcome,
                )
            },
        },
        cost=cost if len(runs) == 1 else "",
    )  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What the template shows of one run."""

    label: str
    evidence: Evidence

    @property
    def run(self) -> Evaluated:
        return self.evidence.run

    @property
    def threat(self) -> ThreatWords:
        return self.evidence.threat

    @property
    def findings(self) -> list[Finding]:
        return by_severity(self.run.findings)

    @cached_property
    def groups(self) -> list[Group]:
        return gallery(self.evidence)

    @cached_property
    def standing(self) -> list[Standing | TextStanding]:
        return standing(self.evidence)

    @cached_property
    def confusion(self) -> Confusion:
        return confusion(self.evidence)

    @property
    def goal(self) -> Goal | None:
        return self.evidence.goal

    @property
    def bill(self) -> Bill | None:
        """Of an endpoint."""
        return bill(self.evidence)

    @property
    def measures(self) -> list[Table]:
        return _measures(self.run.verdict)

    @cached_property
    def reach(self) -> ReachShown | None:
        return reach_shown(self.run.verdict, self.evidence.goal, self.threat)

    @property
    def texts(self) -> bool:
        return self.evidence.texts

    @property
    def in_levels(self) -> bool:
        """Whether rounding to what files keep means something."""
        whole = not self.is_series if self.evidence.depth is None else not self.evidence.depth.floating
        numbers = self.goal is None and not self.texts and self.table is None and whole
        return numbers and self.evidence.may_be_pictures

    @property
    def table(self) -> TableVerdict | None:
        """What is said of a table besides."""
        return self.run.verdict.table

    @property
    def bits(self) -> int:
        """That files keep of a value."""
        return 8 if self.evidence.depth is None else self.evidence.depth.bits

    @property
    def keeper(self) -> str:
        """What keeps them."""
        return "an image file" if self.evidence.rate is None else "a WAV file"

    @property
    def is_image(self) -> bool:
        return is_image(self.evidence.shape) and self.evidence.rate is None and not self.is_series

    @cached_property
    def is_series(self) -> bool:
        return is_series(self.evidence)

    @property
    def is_colour(self) -> bool:
        return is_colour(self.evidence.shape)

    @property
    def is_small(self) -> bool:
        return is_small(self.evidence.shape)

    @property
    def is_reduced(self) -> bool:
        return is_reduced(self.evidence.shape)

    @property
    def in_stages(self) -> float:
        """Seconds of all stages."""
        return sum(self.took(stage.name) for stage in self.run.verdict.stages)

    @property
    def longest(self) -> float:
        """Seconds of the stage that took longest."""
        return max((self.took(stage.name) for stage in self.run.verdict.stages), default=0.0)

    def took(self, stage: str) -> float:
        """Seconds of a stage in all shards; 0 where the log does not say."""
        return sum(part.get(stage, 0.0) for part in self.run.log.timing.values())


def _labels(runs: Sequence[Evaluated]) -> list[str]:
    """The models' names; where two are alike, the folders' names tell them apart."""
    names = [str(run.manifest.world["model"]["name"]) for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.folder.name if run.folder else i})"
        for i, (name, run) in enumerate(zip(names, runs, strict=True))
    ]


def _said(v: EvaluateVerdict, one: Shown) -> str:
    threat, goal = one.threat, one.evidence.goal
    within = "" if threat.radius is None else f" within {threat.text}"
    said = [
        f"{words.right_and_standing(v, goal)}{within}: {threat.allows}.",
        words.never_searched(v),
        words.proofs(v),
        words.valid(v),
        *tables_shown.table_sentences(v),
        words.meaning(v, threat, goal) if v.believable else "",
    ]
    return " ".join(sentence for sentence in said if sentence)


# ------------------------------------------------------------------ tables


def _alone(one: Shown) -> list[Table]:
    """All that is said of one run."""
    v = one.run.verdict
    moved = one.reach.tables if one.reach else []
    return [_numbers(v, one), *tables_shown.tables(v), *_measures(v), *moved, *_asked(one), _stages(one)]


def _numbers(v: EvaluateVerdict, one: Shown) -> Table:
    threat, in_8bit = one.threat, round(v.robust_accuracy_8bit * v.counted)
    shares = [
        ("Robust", v.robust_accuracy, v.interval, v.robust_of_right.hits, v.counted),
        ("Right at first", v.clean_accuracy, v.clean_interval, v.clean_hits, v.rows),
    ]
    if one.in_levels:
        shares.append((f"Robust in {one.bits} bits", v.robust_accuracy_8bit, v.interval_8bit, in_8bit, v.counted))
    if v.table is not None and v.table.looked is not None:
        s = v.table.looked
        shares.insert(1, ("Looked robust, rules ignored", s.share, s.interval, s.hits, s.rows))
    if v.adjusted is not None:
        shares.insert(
            1, ("Robust, valid changes alone", v.adjusted.share, v.adjusted.interval, v.adjusted.hits, v.adjusted.rows)
        )
    if v.unsearched and v.open is None:
        s = v.searched
        shares.insert(1, ("Robust, searched", s.share, s.interval, s.hits, s.rows))
    if v.certified_accuracy is not None and v.certified_interval is not None:
        proved = v.robust_of_right.hits - (v.open or 0)
        shares.insert(1, ("Proved", v.certified_accuracy, v.certified_interval, proved, v.counted))
    if v.target_reached is not None:
        s = v.target_reached
        shares.insert(0, ("Target reached", s.share, s.interval, s.hits, s.rows))
    rows = [
        (name, percent(share), f"{interval(bounds)}", f"{count(hits)} of {count(of, 'row')}")
        for name, share, bounds, hits, of in shares
    ]
    if v.distances:
        d = v.distances
        size = threat.sized(d.median)
        ends = f"{threat.amount(d.smallest)} to {threat.amount(d.largest)}"
        rows.append(("Median change", size, ends, "of the rows that fell"))
    if one.is_series and len(rough := roughness_of(one.evidence)):
        ends = f"{number(float(rough.min()))} to {number(float(rough.max()))}"
        rows.append(("Median roughness", number(float(np.median(rough))), ends, "of their changes: noise has 6"))
    return Table(("", "Share", "95 % interval", "Rows"), rows)


def _measures(v: EvaluateVerdict) -> list[Table]:
    """What the goal reports besides, as it is and under attack."""
    rows = [
        (f"{m.name}, {when}", *map(number, (s.mean, s.root_mean_square, s.median, s.high, s.largest)))
        for m in v.measures
        for when, s in (("clean", m.clean), ("attacked", m.worst))
    ]
    return [Table(("", "Mean", "Root mean square", "Median", "95 % quantile", "Largest"), rows)] if rows else []


def _asked(one: Shown) -> list[Table]:
    """What an endpoint was asked and what it costs."""
    found = one.bill
    return [Table(("Endpoint", "Queries", "Money"), found.lines)] if found else []


def _stages(one: Shown) -> Table:
    """Stages that nobody had to enter are left out."""
    rows = [
        (s.name, count(s.rows), count(s.won), count(s.forwards), count(s.backwards), seconds(one.took(s.name)))
        for s in one.run.verdict.stages
        if s.rows
    ]
    return Table(("Stage", "Entered", "Fell", "Forwards", "Backwards", "Time"), rows)


def _side_by_side(shown: Sequence[Shown]) -> Table:
    """The verdicts of several runs in one table."""
    verdicts = [one.run.verdict for one in shown]
    in_8bit = (f"Robust in {shown[0].bits} bits", [percent(v.robust_accuracy_8bit) for v in verdicts])
    valid_alone = ("Robust, valid changes alone", [percent(v.adjusted.share) if v.adjusted else "" for v in verdicts])
    lines = [
        ("Right at first", [percent(v.clean_accuracy) for v in verdicts]),
        ("Robust", [percent(v.robust_accuracy) for v in verdicts]),
        *([("Robust, searched", [percent(v.searched.share) for v in verdicts])] * any(v.unsearched for v in verdicts)),
        *([valid_alone] * all(v.adjusted for v in verdicts)),
        ("  95 % interval", [interval(v.interval) for v in verdicts]),
        *([in_8bit] * all(one.in_levels and one.bits == shown[0].bits for one in shown)),
        ("Rows", [count(v.counted) for v in verdicts]),
        ("Threat", [one.threat.text for one in shown]),
        (
            "Forwards + backwards per row",
            [f"{number(v.forwards_per_row)} + {number(v.backwards_per_row)}" for v in verdicts],
        ),
        ("Time", [seconds(one.run.seconds) for one in shown]),
    ]
    return Table(("", *(one.label for one in shown)), [(name, *cells) for name, cells in lines])
