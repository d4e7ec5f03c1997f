"""The report's numbers and sentences. No number shows more digits than were measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from blindspots.decibels import DECIBELS
from blindspots.findings import Finding
from blindspots.records import Interval
from blindspots.texts.threats import TEXTS
from blindspots.threats import THREATS

_NBSP = "\u00a0"


def percent(share: float) -> str:
    """One decimal: "17.2 %". A share that would only round to 0 or 100 % is not called so: "< 0.1 %", "> 99.9 %"."""
    if 0 < share < 0.0005:
        return f"<{_NBSP}0.1{_NBSP}%"
    if 0.9995 <= share < 1:
        return f">{_NBSP}99.9{_NBSP}%"
    return f"{100 * share:.1f}{_NBSP}%"


def interval(bounds: Interval) -> str:
    """ "14.0 to 20.8 %" """
    low, high = bounds
    return f"{100 * low:.1f} to {100 * high:.1f}{_NBSP}%"


def count(n: int, noun: str = "") -> str:
    """ "1,473", or with a noun "1 row", "1,473 rows"."""
    return f"{n:,}{_NBSP}{noun}{'' if n == 1 else 's'}" if noun else f"{n:,}"


def number(value: float) -> str:
    """Three significant digits, never in scientific notation above 1: "0.15", "−12.3", "1,473"."""
    size = abs(value)
    return ("−" if value < 0 else "") + (f"{size:,.0f}" if size >= 1000 else f"{size:.3g}")


def decibels(value: float) -> str:
    """One decimal, which is finer than anybody hears: "20", "−31.4"."""
    rounded = round(value, 1)
    return f"{abs(rounded):g}" if rounded >= 0 else f"−{-rounded:g}"


def seconds(duration: float) -> str:
    """ "25 ms", "12.3 s", "2 min 5 s", "1 h 3 min" """
    if duration < 1:
        return f"{number(1000 * duration)}{_NBSP}ms"
    if duration < 100:
        return f"{number(duration)}{_NBSP}s"
    minutes, rest = divmod(round(duration), 60)
    if minutes < 60:
        return f"{minutes}{_NBSP}min {rest}{_NBSP}s"
    return f"{minutes // 60:,}{_NBSP}h {minutes % 60}{_NBSP}min"


def listing(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c" """
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


@dataclass(frozen=True)
class ThreatWords:
    """A threat's spec, such as "linf:8/255", made readable; `radius` is None when it has none.

    `bounds`: of all features; `unit`: of the radius, in words; `where`: what may change, in words; "" where there is
    nothing to say.
    """

    spec: str
    bounds: tuple[float, float]
    unit: str = ""
    where: str = ""
    candidates: str = ""

    @property
    def _parts(self) -> tuple[str, str]:
        name, _, radius = self.spec.partition(":")
        return name.lower(), radius

    @property
    def norm(self) -> str:
        name, _ = self._parts
        return THREATS[name].title if name in THREATS else name

    @property
    def radius(self) -> float | None:
        if (kind := TEXTS.get(self._parts[0])) is not None and kind.radius is not None:
            return kind.radius  # of what has no other
        name, radius = self._parts
        try:
            return DECIBELS[name].share(float(radius)) if name in DECIBELS else float(Fraction(radius))
        except (ValueError, ZeroDivisionError):  # no radius, or not a number: the smallest distance is searched
            return None

    @property
    def radius_text(self) -> str:
        """ "0.15", "8/255" also where the spec has its decimals, or "any size"."""
        if self.radius is None:
            return "any size"
        if self._parts[0] in DECIBELS:
            return self.amount(self.radius)
        short, steps = number(self.radius), self.radius * 255
        is_short = math.isclose(float(short.replace(",", "")), self.radius, rel_tol=1e-6)
        is_fraction = not is_short and math.isclose(steps, round(steps), rel_tol=1e-4)
        return f"{round(steps)}/255" if is_fraction else short

    def sized(self, size: float) -> str:
        """A change: "L∞ 0.1", "2 words"."""
        kind = TEXTS.get(self._parts[0])
        return f"{self.norm} {self.amount(size)}" if kind is None else count_of(size, kind.unit)

    def amount(self, size: float) -> str:
        """A size without the norm: "0.1", "20 dB" of a share of the sound."""
        kind = DECIBELS.get(self._parts[0])
        return number(size) if kind is None else f"{decibels(kind.in_decibels(size))}{_NBSP}dB"

    @property
    def axis(self) -> str:
        """What a chart shows along: "L∞ radius"."""
        return "Share of the sound's own size" if self._parts[0] in DECIBELS else f"{self.norm} radius"

    @property
    def text(self) -> str:
        """ "L∞ 0.15", "15 % of the words" """
        if (kind := TEXTS.get(self._parts[0])) is not None:
            return self._share_of(kind.unit)
        return self.norm if self.radius is None else f"{self.norm}{_NBSP}{self.radius_text}"

    def _share_of(self, unit: str) -> str:
        """ "2 words", "15 % of the words" """
        if self.radius is None:
            return f"any number of {unit}s"
        return count_of(self.radius, unit) if self.radius >= 1 else f"{percent(self.radius)} of the {unit}s"

    @property
    def allows(self) -> str:
        """What the attacker may do, as a clause without a full stop."""
        if (kind := TEXTS.get(self._parts[0])) is not None:
            most = f"up to {self._share_of(kind.unit)}" if self.radius is not None else self._share_of(kind.unit)
            return kind.allowing.format(radius=most) + f" ({self.candidates or kind.usual})"
        low, high = (number(b) for b in self.bounds)
        if self.radius is None:
            measured = f"measured in {self.norm}{f' {self.unit}' if self.unit else ''}"
            return f"the change may have any size; the smallest one is searched, {measured}{self._only}"
        name, scale = self._parts[0], f" {self.unit}" if self.unit else f" on a scale from {low} to {high}"
        scale = "" if name in DECIBELS else scale
        pattern = THREATS[name].allowing if name in THREATS else f"changes stay within {self.spec}"
        return pattern.format(radius=self.radius_text, scale=scale) + self._only

    @property
    def _only(self) -> str:
        return f"; {self.where}" if self.where else ""


def count_of(size: float, unit: str) -> str:
    """ "1 word", "2 words" """
    return f"{number(size)}{_NBSP}{unit}{'' if size == 1 else 's'}"


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise in the order in which they were found."""
    return sorted(findings, key=lambda f: ("error", "warning", "note").index(f.severity))
