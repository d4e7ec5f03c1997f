"""The sentences on a universal perturbation, on a terminal and in the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.verdict import Geometry, UniversalVerdict
from blindspots.records import Share
from blindspots.report.words import ThreatWords, count, interval, listing, number, percent


@dataclass(frozen=True)
class Subject:
    """What a run is about."""

    config: UniversalConfig
    model: str
    class_names: Sequence[str]
    threat: ThreatWords

    def name(self, label: int) -> str:
        """Of a class."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    @property
    def target(self) -> str | None:
        return None if self.config.target is None else self.name(self.config.target)

    @property
    def was_given(self) -> bool:
        """Whether the perturbation was only measured: then no row is one that it was made from."""
        return self.config.measured is not None


def passes(n: int) -> str:
    """How long a search was."""
    return "1 pass" if n == 1 else f"{n} passes"


def best_control(verdict: UniversalVerdict) -> tuple[str, Share] | None:
    """The change of the same norm that fools the most unseen rows without a search over all of them."""
    return max(verdict.controls.items(), key=lambda item: item[1].share, default=None)


def headline(s: Subject, verdict: UniversalVerdict) -> str:
    """The rate that counts in one sentence, without a full stop."""
    size, rate = s.threat.text, percent(verdict.fooling_rate_heldout)
    change = f"A change of {size} for each class" if s.config.per_class else f"One and the same change of {size}"
    does = f"makes {s.model} say {s.target} on" if s.target else f"fools {s.model} on"
    of = "these inputs" if s.was_given else "the inputs it was not made from"
    return f"{change} {does} {rate} of {of}"


def lede(verdict: UniversalVerdict) -> str:
    """The interval, the best control, and what is left of the accuracy."""
    held = verdict.heldout
    control = best_control(verdict)
    beside = "" if control is None else f" Of the controls of its size, the strongest is {control[0]}: "
    beside += "" if control is None else f"{percent(control[1].share)}, interval {interval(control[1].interval)}."
    return (
        f"{count(held.fooled.hits)} of {count(held.fooled.rows, 'unseen row')}; 95\u00a0% interval "
        f"{interval(verdict.interval)}.{beside} The accuracy goes from {percent(held.clean_accuracy.share)} to "
        f"{percent(held.accuracy.share)}."
    )


def fooled_means(s: Subject) -> str:
    """What is counted."""
    if s.target is not None:
        return f"Fooled: taken for {s.target}, of the rows that were not taken for it before."
    return "Fooled: taken for another class than without the perturbation, whether that was right or wrong."


def generalises(fit: Share, held: Share) -> str:
    """How the rows that it was made from compare with unseen ones."""
    points = 100 * (fit.share - held.share)
    overlap = fit.interval[0] <= held.interval[1] and held.interval[0] <= fit.interval[1]
    more = f"{abs(points):.1f} points {'more' if points >= 0 else 'fewer'}"
    return (
        f"On the rows that it was made from, the rate is {more} than on unseen ones; "
        f"the intervals {'overlap' if overlap else 'do not overlap'}."
    )


def alike(verdict: UniversalVerdict) -> str:
    """How different several perturbations are; "" where there is one."""
    n = len(verdict.inner_products)
    pairs = [abs(verdict.inner_products[i][j]) for i in range(n) for j in range(i)]
    if not pairs:
        return ""
    return (
        f"The search was repeated with other orders of the rows. No two of the {n} perturbations have a normalised "
        f"inner product beyond {number(max(pairs))} in size; 1 would be the same direction."
    )


def dominance(verdict: UniversalVerdict) -> str:
    """How few labels take how much; "" where no row was fooled."""
    labels = verdict.labels
    if not labels.dominant:
        return ""
    of = {int(k): share for k, share in labels.top_share.items()}
    shares = [f"the commonest {'label takes' if k == 1 else f'{k} take'} {percent(of[k])}" for k in sorted(of)]
    return f"Of the fooled rows, {listing(shares)}."


def geometry(g: Geometry) -> list[str]:
    """Energy, span and curvature, a sentence each."""
    most = max(g.energy, key=int)
    ours, theirs = g.energy[most]
    rise = f"{percent(g.fooled_in_span.share)}, interval {interval(g.fooled_in_span.interval)}"
    random = f"{percent(g.fooled_random.share)}, interval {interval(g.fooled_random.interval)}"
    first = "The first singular vector holds" if most == "1" else f"The first {most} singular vectors hold"
    energy = (
        f"{first} {percent(ours)} of the energy of the smallest perturbations of {count(g.rows, 'row')}, and "
        f"{percent(theirs)} of that of as many random directions."
    )
    span = (
        f"A random vector in the span of the first {g.span}, of L2 norm {number(g.norm)}, fools {rise}; one of the "
        f"whole space of {g.dimensions:,} dimensions {random}."
    )
    return [energy, span]
