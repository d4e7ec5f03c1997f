"""Gates: what they say, which side they are on, and what is said of those that cannot be judged."""

import math

import pytest

import blindspots as bs
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.records import Share
from blindspots.runs.metric import Metric, Verdict, metric, parsed, require

HALF = Share.of(50, 100)  # 0.5, from 0.398 to 0.602


class Made(Verdict):
    """Half of 100 rows, by a number that should be high, one that should be low, and one without an interval."""

    def metrics(self) -> dict[str, Metric]:
        return {
            "accuracy": Metric.of(HALF),
            "fooling_rate": Metric.of(HALF, higher_is_better=False),
            "error/l2@0.5": metric(0.01, "it is counted, not sampled", higher_is_better=False),
        }


class Doubtful(Made):
    """Of the rows that count for its main metric only 10 were searched."""

    def metrics(self) -> dict[str, Metric]:
        shown = Share.of(10, 100)
        found = Metric.of(HALF).model_copy(
            update={"shown": (shown.share, shown.interval), "why": "40 were not searched"}
        )
        return {"accuracy": found}


@pytest.mark.parametrize(
    "rule",
    [
        "accuracy>=0.5", "accuracy >= 50%", "accuracy<=0.5", "accuracy>=5e-1", "accuracy.low>=0.39",
        "accuracy.low<=0.4", "accuracy.high<=0.61", "accuracy.high>=60%", "fooling_rate<=50 %",
        "fooling_rate.high<=0.7", "0.5",
        "50%", " .5 ", "error/l2@0.5<=0.01", "accuracy>=-1", "accuracy>=+0.25",
    ],
)  # fmt: skip
def test_a_gate_that_is_kept(rule: str) -> None:
    assert require(Made(), rule) == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("accuracy>=0.51", "accuracy is 0.5"),
        ("accuracy<=0.49", "accuracy is 0.5"),
        ("accuracy.low>=0.5", "accuracy.low is 0.3983"),
        ("accuracy.high<=60%", "accuracy.high is 0.6017"),
        ("fooling_rate<=10%", "fooling_rate is 0.5"),
        ("fooling_rate.high<=0.6", "fooling_rate.high is 0.6017"),
        ("0.6", "accuracy is 0.5"),
        ("60%", "accuracy is 0.5"),
        ("error/l2@0.5>=1", "error/l2@0.5 is 0.01"),
    ],
)
def test_a_gate_that_is_missed_says_by_which_number(rule: str, said: str) -> None:
    assert require(Made(), rule) == [f"{rule} was required, but {said}"]


def test_of_several_gates_those_that_are_missed_are_told() -> None:
    rules = ["accuracy>=0.9", "accuracy>=0.1", "fooling_rate<=0.1"]
    assert [told.partition(" ")[0] for told in require(Made(), rules)] == ["accuracy>=0.9", "fooling_rate<=0.1"]
    assert require(Made(), []) == []


def test_a_number_alone_goes_by_the_direction_of_the_first_metric() -> None:
    class Rate(Verdict):
        def metrics(self) -> dict[str, Metric]:
            return {"fooling_rate": Metric.of(HALF, higher_is_better=False)}

    assert require(Rate(), "0.6") == []
    assert require(Rate(), "0.4") == ["0.4 was required, but fooling_rate is 0.5"]


def test_where_the_evidence_is_incomplete_a_gate_goes_by_what_it_shows() -> None:
    assert require(Doubtful(), "accuracy>=0.5") == [
        "accuracy>=0.5 was required, but accuracy is 0.1: 40 were not searched"
    ]
    assert require(Doubtful(), "accuracy>=0.1") == []
    assert require(Doubtful(), "accuracy.low>=0.1") != []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("acuracy>=0.5", "expected a metric among accuracy, fooling_rate, .* got 'acuracy' .did you mean 'accuracy'"),
        ("error/l2@0.5.high<=0.1", r"has none \(it is counted, not sampled\): require error/l2@0.5<=0.1"),
        ("accuracy>0.5", "expected a gate such as robust_accuracy>=0.5"),
        ("accuracy", "expected a gate such as"),
        ("accuracy>=", "expected a gate such as"),
        ("accuracy.middle>=0.5", "expected a metric among"),
        ("", "expected a gate such as"),
        ("accuracy>=1.2.3", "expected a number in the gate 'accuracy>=1.2.3', got '1.2.3'"),
        ("accuracy>=1e999", "expected a number in the gate"),
        ("...", "expected a number in the gate"),
        ("nan", "expected a gate such as"),
    ],
)
def test_a_gate_that_cannot_be_judged_is_refused(rule: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        require(Made(), rule)


def test_a_verdict_that_a_check_made_meaningless_keeps_no_gate() -> None:
    error = Finding(code="randomised", severity="error", saw="The model is random.", do="Fix it.")
    with pytest.raises(InputError, match="a check found an error"):
        require(Made(findings=[error]), "accuracy>=0")
    warning = error.model_copy(update={"severity": "warning"})
    assert require(Made(findings=[warning]), "accuracy>=0") == []


def test_a_gate_taken_apart() -> None:
    assert parsed(" robust_accuracy.low >= 12.5% ")[1:] == ("robust_accuracy", "low", ">=", 0.125)
    assert parsed("10%")[1:] == ("", "", "", 0.1)
    assert bs.require is require


@pytest.mark.parametrize("rule", ["accuracy>=0", "accuracy<=1", "accuracy.low>=0", "accuracy.high<=1", "0"])
def test_where_there_is_no_evidence_no_gate_is_kept(rule: str) -> None:
    class Empty(Verdict):
        def metrics(self) -> dict[str, Metric]:
            shown = (math.nan, (math.nan, math.nan))
            return {"accuracy": Metric.of(HALF).model_copy(update={"shown": shown, "why": "no row was attacked"})}

    (said,) = require(Empty(), rule)
    assert said.endswith("is unknown: no row was attacked")
