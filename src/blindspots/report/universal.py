"""The report of a universal run: one self-contained HTML file, made from the run folder alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from blindspots.errors import InputError
from blindspots.journal import unfinished
from blindspots.pictures import is_colour, is_image, picture, picture_of_change
from blindspots.report import universal_charts as charts
from blindspots.report import universal_words, words
from blindspots.report.charts import Plot
from blindspots.report.gallery import Change, data_uri, is_small, largest_changes, scaled
from blindspots.report.page import environment, write_page
from blindspots.report.words import ThreatWords
from blindspots.universal.file import Perturbation, load_perturbation
from blindspots.universal.folder import Shown, read_shown, read_universal_file
from blindspots.universal.record import Effect, UniversalFile, UniversalManifest, UniversalVerdict

_SIDE = 320  # px of the perturbation alone
_SEVERAL = 12  # perturbations shown where there is one per class
_STRIP = 12
_TABLE_CLASSES = 10  # dominant labels in the table


@dataclass(frozen=True)
class Pictured:
    """One perturbation: its picture, or its largest entries."""

    name: str
    picture: str | None
    entries: list[Change]


@dataclass(frozen=True)
class Fooled:
    """One input without and with the perturbation."""

    row: int
    label: str
    said: str
    confidence: float
    now: str
    now_confidence: float
    moved: bool
    original: str | None
    perturbed: str | None


def write_universal_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished universal run, by default report.html in its folder, and return its path.

    Raises InputError when the run is unfinished or damaged.
    """
    return write_page(render_universal(folder), folder, out)


def render_universal(folder: Path) -> str:
    """The HTML. The same folder gives the same bytes."""
    file = read_universal_file(folder)
    if file.verdict is None:
        raise unfinished(folder, "universal")
    manifest, verdict, shape = file.manifest, file.verdict, file.manifest.data.shape
    perturbation = _perturbation(folder, file)
    threat = ThreatWords(manifest.threat, manifest.model.bounds)
    plots = _plots(manifest, verdict, threat)
    target = None if manifest.target is None else _class(manifest, manifest.target)
    return environment().get_template("universal.html.j2").render(
        folder=folder,
        file=file,
        manifest=manifest,
        verdict=verdict,
        threat=threat,
        headline=universal_words.headline(manifest, verdict, threat, target),
        lede=universal_words.lede(manifest, verdict),
        fooled_means=universal_words.fooled_means(target),
        generalises=universal_words.generalises(manifest, verdict),
        alike=universal_words.alike(verdict),
        dominance=universal_words.dominance(verdict),
        geometry_words=[] if verdict.geometry is None else universal_words.geometry(verdict.geometry),
        findings=words.by_severity(verdict.findings),
        factor=_factor(perturbation),
        perturbations=list(_pictured(manifest, perturbation)),
        strip=list(_strip(manifest, _rows(folder))),
        effects=list(_effects(manifest, verdict)),
        controls=sorted(verdict.controls.items(), key=lambda item: -item[1].share),
        plots=plots,
        curves=[plots[name] for name in ("norm", "images", "history") if name in plots],
        graph=charts.graph(verdict.labels, lambda k: _class(manifest, k)),
        dominant=[(_class(manifest, k), rows) for k, rows in verdict.labels.dominant[:_TABLE_CLASSES]],
        is_image=is_image(shape),
        is_colour=is_colour(shape),
        is_small=is_small(shape),
    )  # fmt: skip


def sentence(file: UniversalFile) -> str:
    """The verdict of a finished run in one sentence, without a full stop."""
    assert file.verdict is not None
    target = None if file.manifest.target is None else _class(file.manifest, file.manifest.target)
    threat = ThreatWords(file.manifest.threat, file.manifest.model.bounds)
    return universal_words.headline(file.manifest, file.verdict, threat, target)


def _perturbation(folder: Path, file: UniversalFile) -> Perturbation:
    read = load_perturbation(folder / "perturbation.safetensors")
    if read.sha != file.perturbation_sha256 or read.shape != file.manifest.data.shape:
        raise InputError(
            f"expected the perturbation that run.json recorded in {folder}, found another one: restore it or run again"
        )
    return read


def _rows(folder: Path) -> Shown:
    try:
        return read_shown(folder)
    except (OSError, SafetensorError, TypeError) as error:
        raise InputError(
            f"expected the rows that a run keeps in {folder}, but shown.safetensors cannot be read ({error}): restore "
            "it or run again"
        ) from error


def _plots(manifest: UniversalManifest, verdict: UniversalVerdict, threat: ThreatWords) -> dict[str, Plot]:
    made = {
        "history": charts.history(verdict),
        "norm": charts.against_norm(verdict, threat.norm, threat.radius, threat.radius_text),
        "images": charts.against_images(verdict, manifest.fit_rows),
        "spectrum": None if verdict.geometry is None else charts.singular_values(verdict.geometry),
    }
    return {name: plot for name, plot in made.items() if plot is not None}


def _effects(manifest: UniversalManifest, v: UniversalVerdict) -> Iterator[tuple[str, str, Effect]]:
    unseen, seen = words.count(v.heldout.accuracy.rows, "unseen row"), words.count(v.fit.accuracy.rows, "row")
    others = f"{seen} more" if universal_words.was_given(manifest) else f"{seen} searched on"
    yield unseen, "kept in the box", v.heldout
    yield unseen, "as they are", v.heldout_unclipped
    yield others, "kept in the box", v.fit
    yield others, "as they are", v.fit_unclipped


def _factor(perturbation: Perturbation) -> float:
    low, high = perturbation.bounds
    return (high - low) / max(float(perturbation.v.abs().max()), 1e-12)


def _pictured(manifest: UniversalManifest, perturbation: Perturbation) -> Iterator[Pictured]:
    low, high = perturbation.bounds
    drawn = is_image(perturbation.shape)
    for k, v in enumerate(perturbation.v[:_SEVERAL].numpy()):
        change = v / (high - low) * _factor(perturbation)
        yield Pictured(
            _class(manifest, k) if perturbation.per_class else "",
            data_uri(picture_of_change(change), _SIDE) if drawn else None,
            [] if drawn else largest_changes(np.zeros_like(v), v),
        )


def _strip(manifest: UniversalManifest, shown: Shown) -> Iterator[Fooled]:
    low, high = manifest.model.bounds
    drawn = is_image(manifest.data.shape)
    for i in range(min(len(shown.row), _STRIP)):
        said, now = int(shown.prediction[i]), int(shown.moved_prediction[i])
        x, moved = (scaled(t[i].numpy(), low, high) for t in (shown.x, shown.moved))
        yield Fooled(
            int(shown.row[i]), _class(manifest, int(shown.y[i])),
            _class(manifest, said), float(shown.confidence[i]),
            _class(manifest, now), float(shown.moved_confidence[i]), said != now,
            data_uri(picture(x)) if drawn else None,
            data_uri(picture(moved)) if drawn else None,
        )  # fmt: skip


def _class(manifest: UniversalManifest, label: int) -> str:
    names = manifest.data.class_names
    return names[label] if names and 0 <= label < len(names) else str(label)
