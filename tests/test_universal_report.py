"""The page of a universal run: made from the folder alone, whole for pictures and tables, and refused where it lies."""

import math
import re
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import Tensor

from blindspots.ball import Linf
from blindspots.experiments.universal.charts import against_images, against_norm, graph, history, singular_values
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.experiments.universal.labels import dominant_labels
from blindspots.experiments.universal.sentences import best_control
from blindspots.experiments.universal.verdict import (
    AtImages,
    AtNorm,
    Cross,
    DominantLabels,
    Edge,
    Effect,
    Geometry,
    OnModel,
    Pass,
    Trial,
    UniversalVerdict,
)
from blindspots.findings import Finding
from blindspots.records import DataRecord, ModelRecord, Share
from blindspots.report.experiment import html, write_report
from blindspots.runs.experiment import Part
from blindspots.runs.folder import Folder
from blindspots.runs.store import Log, MadeBy, Manifest, Parts, RunFile, opened

RADIUS = 8 / 255


def _effect(fooled: int, rows: int) -> Effect:
    return Effect(
        fooled=Share.of(fooled, rows),
        clean_accuracy=Share.of(rows * 9 // 10, rows),
        accuracy=Share.of(rows - fooled * 9 // 10, rows),
    )


def _geometry() -> Geometry:
    falling = [10 * 0.8**i for i in range(60)]
    return Geometry(
        rows=60, dimensions=192, singular_values=falling, singular_values_random=[1.2 - 0.005 * i for i in range(60)],
        energy={"1": (0.4, 0.03), "10": (0.9, 0.2)}, span=60, norm=1.25, fooled_in_span=Share.of(38, 100),
        fooled_random=Share.of(10, 100), curvature={"singular": 0.21, "universal": 0.34, "random": 0.0012},
    )  # fmt: skip


def _labels(classes: int) -> DominantLabels:
    clean = torch.arange(5 * classes) % classes
    moved = torch.where(clean % 2 == 0, torch.full_like(clean, 1), torch.full_like(clean, 2))
    return dominant_labels(clean, torch.where(clean == 1, 4, moved), classes)


def _verdict(classes: int, full: bool) -> UniversalVerdict:
    held = _effect(91, 100)
    return UniversalVerdict(
        fooling_rate_fit=0.96, fooling_rate_heldout=held.fooled.share, interval=held.fooled.interval,
        fooling_rate_heldout_unclipped=0.92, control_rates={"random signs": 0.21, "mean image": 0.09},
        passes=3, forwards=1500, backwards=1500, norm=RADIUS, fit=_effect(48, 50), heldout=held,
        fit_unclipped=_effect(48, 50), heldout_unclipped=_effect(92, 100),
        controls={"mean image": Share.of(9, 100), "random signs": Share.of(21, 100)},
        history=[Pass(number=i, fooled_fit=0.2 + 0.25 * i, forwards=500 * i, backwards=500 * i)
                 for i in (1, 2, 3)],
        period=4 if full else None,
        trials=[Trial(period=k, start=0, passes=2, fooled=f) for k, f in ((4, 0.7), (None, 0.5))] if full else [],
        against_norm=[AtNorm(radius=RADIUS * k / 2, fooled=Share.of(20 * k, 100), random=Share.of(5 * k, 100))
                      for k in (1, 2, 3, 4)] if full else [],
        against_images=[AtImages(images=10, fooled=Share.of(31, 100)), AtImages(images=25, fooled=Share.of(62, 100))]
        if full else [],
        inner_products=[[1.0, 0.04, -0.08], [0.04, 1.0, 0.1], [-0.08, 0.1, 1.0]] if full else [],
        several=[Share.of(k, 100) for k in (91, 88, 93)] if full else [],
        labels=_labels(classes) if full else dominant_labels(torch.zeros(2).long(), torch.zeros(2).long(), classes),
        on_models=[OnModel(model="other", digest="2" * 64, fooled=Share.of(57, 100), random=Share.of(11, 100))]
        if full else [],
        cross=Cross(models=["net", "other"], fooled=[[Share.of(91, 100), Share.of(57, 100)], [Share.of(33, 100)] * 2])
        if full else None,
        geometry=_geometry() if full else None,
        findings=[Finding(code="overfit", severity="warning", saw="It fools fewer unseen rows.", do="Fit more.")]
        if full else [],
    )  # fmt: skip


def made(
    folder: Path, shape: tuple[int, ...] = (3, 8, 8), full: bool = True, names: list[str] | None = None,
    per_class: bool = False, v: Tensor | None = None, measured: bool = False,
) -> Path:  # fmt: skip
    """A finished run folder, written by hand."""
    folder.mkdir()
    classes = len(names) if names else 8
    g = torch.Generator().manual_seed(0)
    x = torch.rand(6, *shape, generator=g)
    if v is None:
        v = (torch.rand(classes if per_class else 1, *shape, generator=g) * 2 - 1) * RADIUS
    k = len(x)
    shown = {
        "row": torch.arange(k) * 7, "y": torch.arange(k) % classes, "x": x, "moved": (x + v[0]).clamp(0, 1),
        "prediction": torch.arange(k) % classes, "moved_prediction": torch.full((k,), 1),
        "confidence": torch.full((k,), 0.9), "moved_confidence": torch.full((k,), 0.8),
    }  # fmt: skip
    config = UniversalConfig(
        model="net.py:net", data="d.npz", threat=Linf(RADIUS).spec, method="sga", fit=50, per_class=per_class, chunk=32,
        search="" if measured else "SGA()", measured="0" * 64 if measured else None,
    )  # fmt: skip
    model = ModelRecord(spec="net.py:net", name="net", digest="0" * 64, parameters=10, bounds=(0.0, 1.0))
    data = DataRecord(spec="d.npz", name="d.npz", digest="1" * 64, rows=150, shape=shape, class_names=names)
    by = MadeBy(blindspots=version("blindspots"), torch="2", python="3", machine="m", device="cpu", threads=1)
    manifest = Manifest(
        kind="universal", made_by=by, config=config.model_dump(mode="json"),
        world={"model": model.model_dump(mode="json"), "data": data.model_dump(mode="json")},
    )  # fmt: skip
    files = Folder(folder)
    parts = Parts(files, "", RunFile(manifest=manifest), ("search", "shown"))
    parts.keep("search", {"v": v})
    parts.keep("shown", shown)
    digests = {name: parts.digest(Part(name)) for name in parts}
    verdict = _verdict(classes, full).model_dump(mode="json")
    files["run.json"] = RunFile(manifest=manifest, parts=digests, verdict=verdict).text
    files["log.json"] = Log(command="blindspots universal net.py:net --data d.npz").model_dump_json().encode()
    return folder


def render(folder: Path) -> str:
    """The page of a run folder."""
    return html(opened(Folder(folder)))


class _Tags(HTMLParser):
    """Every tag that is opened is closed, in order; ids are unique; links within the page lead somewhere."""

    VOID = frozenset(("meta", "link", "img", "br"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [(value or "")[1:] for name, value in attrs if name == "href" and (value or "").startswith("#")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def _well_formed(page: str) -> _Tags:
    tags = _Tags(page)
    assert not tags.open
    assert len(tags.ids) == len(set(tags.ids))
    assert set(tags.links) <= set(tags.ids)
    return tags


def test_the_page_is_made_from_the_folder_alone_and_loads_nothing(tmp_path: Path) -> None:
    run = made(tmp_path / "r")
    page = render(run)
    assert page == render(run)
    assert write_report(run).read_text(encoding="utf-8") == page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page
    tags = _well_formed(page)
    sections = "perturbation effect controls curves several labels models cross geometry findings reproduce"
    assert " ".join(tags.links) == sections


def test_the_headline_is_the_rate_on_unseen_rows_beside_the_best_control(tmp_path: Path) -> None:
    page = render(made(tmp_path / "r"))
    assert (
        "One and the same change of L∞\u00a08/255 fools net on 91.0\u00a0% of the inputs it was not made from." in page
    )
    assert "the strongest is random signs: 21.0\u00a0%" in page
    control = best_control(_verdict(8, True))
    assert control is not None
    assert control[0] == "random signs"


def test_a_perturbation_that_was_only_measured_was_made_from_none_of_the_rows(tmp_path: Path) -> None:
    page = render(made(tmp_path / "r", measured=True))
    assert "on 91.0\u00a0% of these inputs.</h1>" in page
    assert "made from" not in page
    assert "searched on" not in page


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    page = render(made(tmp_path / "r", full=False))
    tags = _well_formed(page)
    assert " ".join(tags.links) == "perturbation effect controls curves findings reproduce"
    assert "All checks passed" in page


def test_pictures_are_shown_in_pairs_and_named_by_class(tmp_path: Path) -> None:
    names = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "<hen>"]
    page = render(made(tmp_path / "r", names=names))
    assert page.count("data:image/png") == 1 + 2 * 6
    assert "&lt;hen&gt;" in page
    assert "<hen>" not in page
    assert "<b>fox</b>" in page


def test_one_perturbation_per_class_shows_each(tmp_path: Path) -> None:
    page = render(made(tmp_path / "r", names=[f"k{i}" for i in range(8)], per_class=True))
    assert "A change of L∞\u00a08/255 for each class fools net" in page
    assert page.count("data:image/png") == 8 + 2 * 6


def test_a_table_is_reported_by_its_largest_entries(tmp_path: Path) -> None:
    v = torch.zeros(1, 5)
    v[0, 3], v[0, 1] = -RADIUS, RADIUS / 2
    page = render(made(tmp_path / "r", shape=(5,), v=v))
    _well_formed(page)
    assert "data:image/png" not in page
    assert page.index('<th scope="row">3</th><td>−0.0314</td>') < page.index('<th scope="row">1</th><td>+0.0157</td>')
    assert '<th scope="row">0</th><td>' not in page  # what does not change is not listed


def test_curves_lie_where_their_numbers_say() -> None:
    v = _verdict(8, True)
    plot = history(v.history)
    assert plot is not None
    assert plot.lines[0].dots == [(100 / 3, 45.0), (200 / 3, 70.0), (100.0, 95.0)]
    norm = against_norm(v, "L∞", RADIUS, "8/255")
    assert norm is not None
    assert [round(x) for x, _ in norm.lines[0].dots] == [24, 48, 72, 96]
    assert [y for _, y in norm.lines[1].dots] == [5, 10, 15, 20]
    assert round(norm.marks[0].at) == 48
    images = against_images(v, 50)
    assert images is not None
    assert images.where == ["10", "25", "50"]
    assert images.lines[0].values[-1] == "91.0\u00a0%"  # the run itself is the last point
    assert math.isclose(
        (images.x[1].at - images.x[0].at) / (images.x[2].at - images.x[1].at), math.log(2.5) / math.log(2)
    )
    spectrum = singular_values(_geometry())
    assert spectrum is not None
    assert spectrum.lines[0].values[:2] == ["10", "8"]
    assert all(0 <= m.at <= 100 for m in [*spectrum.x, *spectrum.y])


def test_the_graph_puts_the_dominant_label_in_the_middle_and_draws_every_edge() -> None:
    edges = [Edge(source=i, to=0, rows=4, most=3) for i in range(1, 6)]
    edges += [Edge(source=6, to=1, rows=2, most=2), Edge(source=0, to=5, rows=1, most=1)]
    labels = DominantLabels(
        edges=edges, components=[[0, 1, 2, 3, 4, 5, 6], [8, 9]], dominant=[(0, 15)], top_share={"1": 1.0}
    )
    labels = labels.model_copy(update={"edges": [*edges, Edge(source=9, to=8, rows=1, most=1)]})
    first, second = graph(labels, str).drawn
    assert (first.nodes[0].name, first.nodes[0].x, first.nodes[0].y) == ("0", 0, 0)
    assert (len(first.nodes), len(first.arrows), first.hidden) == (7, 7, 0)
    assert (second.nodes[0].name, len(second.nodes)) == ("8", 2)
    places = {n.name: math.hypot(n.x, n.y) for n in first.nodes}
    assert places["6"] == pytest.approx(2 * places["1"])  # a step further out
    for component in (first, second):
        left, top, width, height = component.box
        assert all(left <= n.x - n.r and n.x + n.r <= left + width for n in component.nodes)
        assert all(top <= n.y - n.r and n.y + n.r <= top + height for n in component.nodes)
        apart = [
            math.hypot(a.x - b.x, a.y - b.y) - a.r - b.r for a in component.nodes for b in component.nodes if a != b
        ]
        assert min(apart) > 0


def test_a_graph_too_large_is_drawn_in_part_and_the_rest_is_counted() -> None:
    star = [Edge(source=i, to=0, rows=i, most=i) for i in range(1, 100)]
    pairs = [Edge(source=101 + 2 * i, to=100 + 2 * i, rows=1, most=1) for i in range(20)]
    labels = DominantLabels(
        edges=star + pairs, components=[list(range(100)), *([100 + 2 * i, 101 + 2 * i] for i in range(20))],
        dominant=[], top_share={},
    )  # fmt: skip
    found = graph(labels, str)
    assert [(c.labels, len(c.nodes), c.hidden) for c in found.drawn] == [(100, 32, 68), *[(2, 2, 0)] * 16]
    assert (found.left, found.left_labels) == (4, 8)
    assert {n.name for n in found.drawn[0].nodes} == {"0", *map(str, range(69, 100))}  # those with the most rows
