"""What is shown of a trigger."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blindspots.experiments.universal import charts
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.sentences import generalises, passes
from blindspots.experiments.universal.triggers.verdict import TriggerVerdict
from blindspots.packing import unpacked_text
from blindspots.records import Share
from blindspots.report.experiment import Page, Table
from blindspots.report.words import count, interval, percent
from blindspots.runs.store import Run
from blindspots.texts.pairs import SEPARATOR

_LONGEST = 400  # characters of a text that are shown beside the trigger


@dataclass(frozen=True)
class Shown:
    """One text with the trigger in it."""

    row: int
    label: str
    said: str
    confidence: float
    now: str
    now_confidence: float
    before: str
    trigger: str
    behind: str
    moved: bool


def page(run: Run[UniversalConfig, TriggerVerdict]) -> Page:
    """The trigger, what it does, to which classes, and what other words do."""
    v = run.verdict
    cost = f"{count(v.forwards, 'forward')}, {count(v.backwards, 'backward')}, {passes(v.passes)}"
    return Page(
        kicker="Universal trigger",
        headline=_headline(run),
        text=_lede(v),
        tables=[_rates(v), _classes(run)],
        sections=list(_sections(v)),
        template=Path(__file__).with_name("page.html.j2"),
        context=_context(run),
        cost=cost if v.passes else "",
    )


def _sections(v: TriggerVerdict) -> Iterator[tuple[str, str]]:
    yield from (("trigger", "Trigger"), ("effect", "Effect"), ("classes", "Classes"), ("controls", "Controls"))
    if v.on_models:
        yield "models", "Other models"
    if v.history:
        yield "curves", "Search"


def _context(run: Run[UniversalConfig, TriggerVerdict]) -> dict[str, object]:
    v = run.verdict
    plot = charts.history(v.history)
    return {
        "verdict": v,
        "fooled_means": _fooled_means(_target(run)),
        "generalises": "" if run.config.measured else generalises(v.fit.fooled, v.heldout.fooled),
        "texts": list(_shown(run)),
        "effects": [("unseen texts", v.heldout), ("texts searched on" if v.history else "other texts", v.fit)],
        "classes": [(_name(run, c.label), c.fooled) for c in v.per_class],
        "controls": sorted(v.controls.items(), key=lambda item: -item[1].share),
        "plots": [] if plot is None else [plot],
    }


# ------------------------------------------------------------------ in words


def _headline(run: Run[UniversalConfig, TriggerVerdict]) -> str:
    v, model = run.verdict, run.manifest.world["model"]["name"]
    where = "in front" if v.place == "front" else "at the end"
    target, rate = _target(run), percent(v.fooling_rate_heldout)
    does = f"makes {model} say {target} on" if target else f"fools {model} on"
    of = "these texts" if run.config.measured else "the texts it was not made from"
    return f"“{v.trigger}” {where} {does} {rate} of {of}"


def _lede(v: TriggerVerdict) -> str:
    held = v.heldout
    name, best = max(v.controls.items(), key=lambda item: item[1].share)
    return (
        f"{count(held.fooled.hits)} of {count(held.fooled.rows, 'unseen text')}; 95\u00a0% interval "
        f"{interval(v.interval)}. Of triggers of as many words without a search, the strongest is {name}: "
        f"{percent(best.share)}, interval {interval(best.interval)}. The accuracy goes from "
        f"{percent(held.clean_accuracy.share)} to {percent(held.accuracy.share)}."
    )


def _fooled_means(target: str | None) -> str:
    if target is not None:
        return f"Fooled: taken for {target}, of the texts that were not taken for it before."
    return "Fooled: taken for another class than without the trigger, whether that was right or wrong."


def _target(run: Run[UniversalConfig, TriggerVerdict]) -> str | None:
    return None if run.config.target is None else _name(run, run.config.target)


def _name(run: Run[UniversalConfig, TriggerVerdict], label: int) -> str:
    names = run.manifest.world["data"]["class_names"] or []
    return names[label] if 0 <= label < len(names) else str(label)


# ------------------------------------------------------------------ in numbers


def _rates(v: TriggerVerdict) -> Table:
    named = {
        "unseen texts": v.heldout.fooled,
        "fit texts": v.fit.fooled,
        **{f"  {name}": rate for name, rate in v.controls.items()},
    }
    return Table(("Fooled", "Share", "95 % interval", "Rows"), [(name, *_cells(rate)) for name, rate in named.items()])


def _classes(run: Run[UniversalConfig, TriggerVerdict]) -> Table:
    rows = [(_name(run, c.label), *_cells(c.fooled)) for c in run.verdict.per_class]
    return Table(("Of unseen texts taken for", "Fooled", "95 % interval", "Rows"), rows)


def _cells(rate: Share) -> tuple[str, str, str]:
    return percent(rate.share), interval(rate.interval), count(rate.rows)


# ------------------------------------------------------------------ texts


def _shown(run: Run[UniversalConfig, TriggerVerdict]) -> Iterator[Shown]:
    c, v = run.parts["shown"], run.verdict
    texts = json.loads(unpacked_text(c["texts"]))
    for i, (text, start) in enumerate(zip(texts, c["at"].tolist(), strict=True)):
        stop = start + len(v.trigger)
        said, now = int(c["prediction"][i]), int(c["moved_prediction"][i])
        yield Shown(
            int(c["row"][i]), _name(run, int(c["y"][i])),
            _name(run, said), float(c["confidence"][i]), _name(run, now), float(c["moved_confidence"][i]),
            _short(text[:start], last=True), v.trigger, _short(text[stop:], last=False), said != now,
        )  # fmt: skip


def _short(text: str, last: bool) -> str:
    """The end or the beginning of a long text."""
    text = text.replace(SEPARATOR, "\n")
    if len(text) <= _LONGEST:
        return text
    return f"… {text[-_LONGEST:]}" if last else f"{text[:_LONGEST]} …"
