"""From climbs to numbers with their intervals over repeats."""

from collections.abc import Iterator, Sequence

from scipy.stats import t
from torch import Tensor

from blindspots.experiments.design.verdict import DesignVerdict, Estimate, Method, Numbers, Outcome
from blindspots.runs.experiment import Columns
from blindspots.runs.store import Parts


def scale(data: Columns) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the data's values in every repeat: (r, 1) each."""
    values = data["values"].gather(1, data["kept"])
    worst = values[:, :1]  # taken away first: small differences of large values would be lost in their sums
    return worst + (values - worst).mean(1, keepdim=True), (values - worst).std(1, keepdim=True)


def conclude(parts: Parts, methods: Sequence[str], optimum: float | None, unit: str) -> DesignVerdict:
    """The verdict, without findings."""
    data = parts["data"]
    values = data["values"]
    climbs = {name: parts[f"climbs/{name}"] for name in methods}
    return DesignVerdict(
        rows=data["kept"].shape[1], repeats=len(values), optimum=optimum, unit=unit,
        best_data=estimate(values.gather(1, data["kept"]).amax(1)), best_drawn=estimate(values.amax(1)),
        deviation=estimate(scale(data)[1][:, 0]), methods=list(_methods(climbs, *scale(data))),
        asked=values.numel() + sum(c["true"].numel() for c in climbs.values()),
    )  # fmt: skip


def estimate(values: Tensor) -> Estimate:
    """The mean of one value (r,) for each repeat."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean=mean, interval="a single repeat")
    reach = float(t.ppf(0.975, count - 1)) * float(values.std()) / count**0.5
    return Estimate(mean=mean, interval=(mean - reach, mean + reach))


def chosen(climb: Columns) -> Tensor:
    """Which design of every repeat is predicted to be the best at the end: (r, 1)."""
    return climb["predicted"][-1].argmax(1, keepdim=True)


def _methods(climbs: dict[str, Columns], mean: Tensor, sd: Tensor) -> Iterator[Method]:
    reference = climbs["naive"]["true"][-1].gather(1, chosen(climbs["naive"]))
    naive: Method | None = None
    for name, climb in climbs.items():
        ends = climb["predicted"][-1], climb["true"][-1]
        at = chosen(climb)
        said, true = (end.gather(1, at) for end in ends)
        every, one = _outcome(*ends, mean, sd), _outcome(said, true, mean, sd)
        better = estimate(((true - reference) / sd)[:, 0])
        first = naive or Method(name=name, mean=every, chosen=one, better=better, left_mean=None, left_chosen=None)
        naive = first
        yield Method(
            name=name, mean=every, chosen=one, better=better, left_mean=_left(every, first.mean),
            left_chosen=_left(one, first.chosen),
        )  # fmt: skip


def _left(own: Outcome, naive: Outcome) -> float | None:
    return own.sd.over.mean / naive.sd.over.mean if naive.sd.over.mean else None


def _outcome(predicted: Tensor, true: Tensor, mean: Tensor, sd: Tensor) -> Outcome:
    """Of values (r, m)."""
    return Outcome(sd=_numbers((predicted - mean) / sd, (true - mean) / sd), unit=_numbers(predicted, true))


def _numbers(predicted: Tensor, true: Tensor) -> Numbers:
    gap = predicted - true
    return Numbers(
        predicted=estimate(predicted.mean(1)), true=estimate(true.mean(1)), gap=estimate(gap.mean(1)),
        over=estimate(gap.clamp_min(0).mean(1)), error=estimate(gap.abs().mean(1)),
    )  # fmt: skip
