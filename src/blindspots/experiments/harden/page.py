"""The report of a hardening run: one self-contained HTML file, made from the run folder alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from blindspots.experiments.harden.card import all_findings, no_promises, settings
from blindspots.experiments.harden.folder import STUDY, read_harden_file
from blindspots.experiments.harden.record import HardenFile, HardenManifest, HardenVerdict
from blindspots.experiments.harden.study_record import Compared, Study
from blindspots.errors import InputError
from blindspots.journal import unfinished
from blindspots.pictures import is_colour, is_image, picture, picture_of_change
from blindspots.records import Share
from blindspots.report import harden_charts, harden_words, words
from blindspots.report.charts import Plot
from blindspots.report.evidence import Array, read_run
from blindspots.report.gallery import data_uri, gallery, is_small, scaled, standing
from blindspots.report.page import environment, write_page
from blindspots.report.words import ThreatWords

_SIGMAS = 3  # standard deviations of a gradient that are shown at full strength
_KINDS = {
    "norm": ("Other norms", "Balls that training did not ask for."),
    "unseen attack": ("Other attacks", "Searches of other kinds; but for the spatial one, within the threat."),
    "transfer": ("Transfer", "Examples made for one of the two networks, shown to both."),
    "corruption": ("Corruptions", "No adversary: one draw at a fixed severity. Right before and after it."),
}


@dataclass(frozen=True)
class Kind:
    """The comparisons of one kind."""

    title: str
    text: str
    compared: list[Compared]


@dataclass(frozen=True)
class Gradient:
    """An input and the gradients of both networks, as pictures."""

    label: str
    original: str
    before: str
    after: str


@dataclass(frozen=True)
class Network:
    """One of those that are compared with the controls."""

    name: str
    what: str
    clean: Share
    robust: Share
    own: bool


def write_harden_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a finished hardening run, by default report.html in its folder, and return its path.

    Raises InputError when the run is unfinished or damaged.
    """
    return write_page(render_harden(folder), folder, out)


def render_harden(folder: Path) -> str:
    """The HTML. The same folder gives the same bytes."""
    file = read_harden_file(folder)
    if file.verdict is None:
        raise unfinished(folder, "harden")
    m, v = file.manifest, file.verdict
    threat, after = ThreatWords(m.threat, m.model.bounds), read_run(folder / "after")
    return environment().get_template("harden.html.j2").render(
        folder=folder,
        file=file,
        manifest=m,
        verdict=v,
        threat=threat,
        headline=harden_words.headline(m, v),
        lede=harden_words.lede(v, threat),
        radius=_radius(v, threat),
        history=harden_charts.history(v),
        overfitting=harden_words.overfitting(v),
        kinds=[] if v.study is None else list(_kinds(v.study)),
        networks=list(_networks(v)),
        claim=harden_words.claim_in_words(v),
        groups=gallery(after),
        standing=standing(after),
        gradients=list(_gradients(folder, m, v)),
        alignment="" if v.study is None else harden_words.alignment_in_words(v.study),
        price=harden_words.price(v),
        no_promises=no_promises(file),
        settings=list(settings(m.settings)),
        findings=words.by_severity(all_findings(v)),
        is_image=is_image(m.data.shape),
        is_colour=is_colour(m.data.shape),
        is_small=is_small(m.data.shape),
    )  # fmt: skip


def sentence(file: HardenFile) -> str:
    """The verdict of a finished run in one sentence, without a full stop."""
    assert file.verdict is not None
    return harden_words.headline(file.manifest, file.verdict)


def _radius(v: HardenVerdict, threat: ThreatWords) -> Plot:
    return harden_charts.within_radius(v, threat) if v.study is None else harden_charts.against_radius(v.study, threat)


def _kinds(study: Study) -> Iterator[Kind]:
    for kind, found in groupby(sorted(study.compared, key=lambda c: [*_KINDS].index(c.kind)), key=lambda c: c.kind):
        yield Kind(*_KINDS[kind], list(found))


def _networks(v: HardenVerdict) -> Iterator[Network]:
    for name, what, verdict in (("before", "as it was given", v.before), ("after", "hardened", v.after)):
        clean = Share.of(verdict.robust_of_right.rows, verdict.rows)
        yield Network(name, what, clean, Share.of(verdict.robust_of_right.hits, verdict.rows), True)
    for control in v.controls:
        yield Network(control.name, control.what, control.clean, control.robust, False)


def _gradients(folder: Path, m: HardenManifest, v: HardenVerdict) -> Iterator[Gradient]:
    if v.study is None or not is_image(m.data.shape):
        return
    try:
        shown = load_file(folder / STUDY)
        columns = [shown[name] for name in ("y", "x", "gradient_before", "gradient_after")]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            f"expected the gradients that a run keeps in {folder / STUDY}, but they cannot be read ({error}): restore "
            "it or run again"
        ) from error
    names = m.data.class_names
    for y, x, before, after in zip(*columns, strict=True):
        label = names[int(y)] if names and 0 <= int(y) < len(names) else str(int(y))
        original = data_uri(picture(scaled(x, *m.model.bounds)))
        yield Gradient(label, original, _pictured(before), _pictured(after))


def _pictured(gradient: Array) -> str:
    """At full strength from three standard deviations on."""
    return data_uri(picture_of_change(gradient / max(_SIGMAS * float(np.std(gradient)), 1e-30)))
