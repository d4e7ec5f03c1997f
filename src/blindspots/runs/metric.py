"""What a verdict of any kind can be asked: named numbers with their intervals, and gates on them."""

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import SerializeAsAny

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.naming import meant
from blindspots.records import Interval, Record, Share

_GATE = re.compile(r"\s*([\w.@:\-/']+?)(?:\.(low|high))?\s*(<=|>=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(%?)\s*")
_NUMBER = re.compile(r"\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*%?\s*")


class Metric(Record):
    """One number of a verdict.

    Attributes:
        interval: 95 %, or the reason why there is none.
        shown: where the evidence for `value` is incomplete, the value and the interval that it does show: gates go by
            these, and `why` says what is missing. NaN where there is no evidence at all: that keeps no gate.
    """

    value: float
    interval: Interval | str
    higher_is_better: bool
    unit: str = ""
    shown: tuple[float, Interval] | None = None
    why: str = ""

    @classmethod
    def of(cls, share: Share, *, higher_is_better: bool = True) -> "Metric":
        """Of a share of rows, with its exact interval."""
        return cls(value=share.share, interval=share.interval, higher_is_better=higher_is_better)

    def at(self, end: str) -> float:
        """The number that a gate compares: the value, or the "low" or "high" end of its interval."""
        value, interval = self.shown or (self.value, self.interval)
        if not end:
            return value
        assert not isinstance(interval, str)
        return interval[0] if end == "low" else interval[1]


class Verdict(Record):
    """What a run concludes, as numbers; `findings` say in sentences what to know before they are believed."""

    findings: list[SerializeAsAny[Finding]] = []  # noqa: RUF012 - pydantic copies it

    def metrics(self) -> dict[str, Metric]:
        """The numbers that can be required and compared; a bare number in a gate is about the first."""
        return {}

    @property
    def believable(self) -> bool:
        """Whether no check found an error, which makes the numbers meaningless."""
        return all(finding.severity != "error" for finding in self.findings)


class Gate(NamedTuple):
    """`robust_accuracy.low>=0.5`, taken apart."""

    text: str
    metric: str
    end: str  # "", "low" or "high"
    relation: str
    limit: float


def parsed(rule: str) -> Gate:
    """A gate from words such as `robust_accuracy>=0.5`, `fooling_rate<=10%`, `robust_accuracy.low>=0.5` or, of the
    main metric of a kind, `0.5`.

    Raises:
        InputError: it is something else.
    """
    if _NUMBER.fullmatch(rule):
        return Gate(rule.strip(), "", "", "", _limit(rule.strip().rstrip("%"), "%" if "%" in rule else "", rule))
    found = _GATE.fullmatch(rule)
    if not found:
        raise InputError(
            f"expected a gate such as robust_accuracy>=0.5, METRIC<=NUMBER or METRIC.low>=NUMBER, got {rule!r}: "
            "change it"
        )
    metric, end, relation, limit, percent = found.groups()
    return Gate(rule.strip(), metric, end or "", relation, _limit(limit, percent, rule))


def _limit(number: str, percent: str, rule: str) -> float:
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"expected a number in the gate {rule!r}, got {number!r}: change it")
    return value


def missed(verdict: Verdict, gate: Gate) -> str:
    """Why a verdict does not keep a gate; "" where it does.

    Raises:
        InputError: the verdict has no such metric, or it has no interval whose end could be compared.
    """
    metrics = verdict.metrics()
    name = gate.metric or next(iter(metrics))
    if name not in metrics:
        raise InputError(
            f"expected a metric among {', '.join(metrics)} in a gate, got {name!r}{meant(name, metrics)}: "
            "choose one of these"
        )
    metric = metrics[name]
    if gate.end and isinstance(metric.interval, str):
        raise InputError(
            f"expected a metric with an interval for {gate.text!r}, but {name} has none ({metric.interval}): require "
            f"{name}{gate.relation}{gate.limit:g}"
        )
    value = metric.at(gate.end)
    at_least = gate.relation == ">=" if gate.relation else metric.higher_is_better
    if value >= gate.limit if at_least else value <= gate.limit:
        return ""
    called = f"{name}.{gate.end}" if gate.end else name
    said = "unknown" if math.isnan(value) else f"{value:.4g}"
    return f"{called} is {said}" + (f": {metric.why}" if metric.why else "")


@checked()
def require(verdict: Verdict, rules: str | Iterable[str]) -> list[str]:
    """Which of the gates a verdict misses, and why, a sentence for each; [] where it keeps all of them.

    Args:
        verdict: of any kind, such as `bs.evaluate(...).verdict`.
        rules: e.g. "robust_accuracy>=0.5", or several; ".low" and ".high" are the ends of the 95 % interval.

    Raises:
        InputError: a rule cannot be read, names no metric of the verdict, or a check found an error that makes the
            verdict meaningless.
    """
    gates = [parsed(rule) for rule in ([rules] if isinstance(rules, str) else rules)]
    if not verdict.believable:
        raise InputError(
            "expected inputs and outputs that allow a verdict, but a check found an error: see the findings"
        )
    told = [(gate, missed(verdict, gate)) for gate in gates]
    return [f"{gate.text} was required, but {why}" for gate, why in told if why]


def metric(value: float, why: str, *, higher_is_better: bool, unit: str = "") -> Metric:
    """A number without an interval, and the reason."""
    return Metric(value=value, interval=why, higher_is_better=higher_is_better, unit=unit)


def numbers_of(verdict: Verdict) -> dict[str, Any]:
    """The verdict without its sentences, as plain values."""
    return verdict.model_dump(mode="json", exclude={"findings"})
