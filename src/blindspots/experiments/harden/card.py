"""The model card of a hardened model, in the form that Hugging Face reads: the same run gives the same bytes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.harden.export import program_file
from blindspots.experiments.harden.verdict import HardenVerdict
from blindspots.findings import Finding
from blindspots.pictures import is_image
from blindspots.records import Interval
from blindspots.runs.store import Manifest

CARD = "MODEL_CARD.md"
_EMPHASIS = str.maketrans({c: f"\\{c}" for c in "\\`*_|<>[]#"})


def card(manifest: Manifest, config: HardenConfig, verdict: HardenVerdict, tested: Mapping[str, Any]) -> str:
    """The text.

    Args:
        verdict: without its findings or with them.
        tested: what the manifest of an evaluation says of the rows that judge.
    """
    findings, world = all_findings(verdict), manifest.world
    low, high = world["model"]["bounds"]
    return _environment().get_template("card.md.j2").render(
        made=manifest.made_by, model=world["model"], data=world["data"], tested=tested, c=config, v=verdict,
        before=verdict.before, after=verdict.after, findings=findings, lo=f"{low:g}", hi=f"{high:g}",
        settings=list(settings(config.settings)), task=_task(config, tuple(world["data"]["shape"])),
        program=program_file(config.of_texts),
        no_promises=no_promises(config, verdict, tested["name"]),
        has_program=all(f.code != "export" for f in findings), doubtful=any(f.severity == "error" for f in findings),
        stages=", ".join(stage.name for stage in verdict.after.stages),
    )  # fmt: skip


def _task(config: HardenConfig, shape: tuple[int, ...]) -> str:
    if config.of_texts:
        return "text-classification"
    return "image-classification" if is_image(shape) else "tabular-classification"


def all_findings(verdict: HardenVerdict) -> list[Finding]:
    """Of the run, and of the evaluation after it."""
    return [*verdict.findings, *(f for f in verdict.after.findings if f not in verdict.findings)]


def settings(recipe: str) -> Iterator[tuple[str, str]]:
    """The settings of a recipe in JSON, one by one: ("optimizer.rate", "0.003")."""
    yield from _flat("", json.loads(recipe))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inside in value.items():
            yield from _flat(f"{path}.{key}" if path else key, inside)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def no_promises(config: HardenConfig, verdict: HardenVerdict, tested: str) -> list[str]:
    """What the model is not, in sentences; `tested` is the name of the rows that judge."""
    robust = _percent(verdict.after.robust_accuracy)
    bound = f"{robust} is an upper bound on these rows, since a stronger attack may find more"
    return [
        f"Attacks find mistakes and cannot rule them out: {bound}. Nothing here is certified.",
        f"The figure is for {config.threat} and nothing else. {_elsewhere(verdict)}",
        f"It is for rows like those of {tested}. On other data both accuracies may be lower.",
        "Attackers were taken to know the model. Who can change its training data or its file was not considered.",
    ]


def _elsewhere(v: HardenVerdict) -> str:
    """What the side studies found beyond the threat."""
    if v.study is None:
        return "Other norms, other changes and other attacks were not looked at."
    said = [
        f"{_percent(c.after.share)} under {c.name}"
        for c in v.study.compared
        if c.kind in ("norm", "corruption") or c.name == "spatial"
    ]
    return f"Elsewhere, of {v.study.rows:,} rows, it is right on {', '.join(said)}." if said else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(bounds: Interval) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"


def _text(value: str) -> str:
    """In one line, with nothing that Markdown would take for its own."""
    return " ".join(value.split()).translate(_EMPHASIS)


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # it is Markdown: what others wrote goes through `text` or `yaml`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        percent=_percent, interval=_interval, text=_text, count=lambda n: f"{n:,}", yaml=json.dumps,
    )  # fmt: skip
    return made
