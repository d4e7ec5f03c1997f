import base64
import html
import io
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import blindspots as bs
from blindspots.errors import InputError
from blindspots.experiments.evaluate.charts import confusion, curve_charts, points
from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.experiments.evaluate.gallery import across_classes, chosen, gallery, standing
from blindspots.experiments.evaluate.words import outcome
from blindspots.findings import Finding
from blindspots.report import words
from blindspots.report.charts import ticks
from blindspots.report.experiment import html as render_runs
from blindspots.report.experiment import write_report
from blindspots.report.shown import largest_changes
from blindspots.report.words import ThreatWords
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from runs_factory import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ERROR = Finding(code="randomised", severity="error", saw="The model is random.", do="Fix it.")
NOTE = Finding(code="threads", severity="note", saw="One thread.", do="")
UNIT = (0.0, 1.0)


def read_run(folder: Path) -> Evidence:
    return Evidence(opened(Folder(folder)))


def render(folders: Sequence[Path]) -> str:
    return render_runs(*(opened(Folder(folder)) for folder in folders))


def text(page: str) -> str:
    """What a reader sees, with plain spaces."""
    visible = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(visible).split())


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects section ids and everything that could be fetched."""

    VOID = ("meta", "link", "img", "path", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.unnamed_images = 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.fetched += [values[k] for k in ("src", "href") if k in values]
        self.unnamed_images += tag == "img" and not values.get("alt")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    natural = make_run(root / "digits", rows=500)
    robust = make_run(root / "digits-robust", rows=500, name="digits-robust", clean=0.986, robust=0.76, findings=[NOTE])
    return [natural, robust]


@pytest.fixture(scope="module")
def page(pair):
    return render(pair)


# ------------------------------------------------------------------ the page


def test_the_verdict_comes_first_in_words_and_numbers(page):
    seen = text(page)
    assert "Under attack, digits still answers 17.2 % of the rows correctly and digits-robust 76.0 %." in seen
    assert "17.2 % robust 95 % interval 14.0 to 20.8 %" in seen
    assert "Of 500 rows, 488 are right at first; 86 stay right whatever the attacks tried within L∞ 0.15" in seen
    assert "digits-robust stays right on 58.8 points more of them than digits" in seen
    assert "these attacks make about 83 of 100 answers wrong; without an attacker it is about 2." in seen
    assert Outline(page).ids == ["verdict", "gallery", "radius", "stages", "classes", "findings", "reproduce"]


def test_one_file_is_all_there_is(page):
    outline = Outline(page)
    assert not outline.open
    assert not outline.tags & {"script", "iframe", "object", "embed", "base", "form"}
    assert all(place.startswith(("data:", "#")) for place in outline.fetched)
    assert "url(" not in page
    assert "@import" not in page
    assert len(page.encode()) < 3_000_000


def test_every_picture_has_a_text(page):
    assert Outline(page).unnamed_images == 0


def test_the_same_folders_give_the_same_bytes(pair, page):
    assert render(pair) == page


def test_what_comes_from_outside_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    finding = Finding(code=evil, severity="note", saw=evil, do=evil)
    names = [f"{evil}{i}" for i in range(10)]
    made = render([make_run(tmp_path / "run", name=evil, command=evil, class_names=names, findings=[finding])])
    assert "script" not in Outline(made).tags
    assert evil in text(made)


def test_tiny_changes_are_amplified_by_a_factor_that_reads_as_a_number(tmp_path):
    seen = text(render([make_run(tmp_path / "run", radius=1 / 255)]))
    assert "×255 L∞ 0.00392" in seen
    assert "e+" not in seen


def test_classes_without_names_are_numbers(pair):
    run = read_run(pair[0])
    assert run.class_name(7) == "7"
    assert {example.label for group in gallery(run) for example in group.examples} <= set("0123456789")


def test_findings_stand_errors_first_and_an_error_takes_the_verdict_back(tmp_path):
    seen = text(render([make_run(tmp_path / "run", findings=[NOTE, ERROR])]))
    assert "The verdict on digits cannot be believed yet: a check failed." in seen
    assert "Do not use this number." in seen
    assert "Shipping it means" not in seen
    assert seen.index(ERROR.saw) < seen.index(NOTE.saw)


def test_without_findings_a_quiet_line_says_so(tmp_path):
    assert "All checks passed." in text(render([make_run(tmp_path / "run")]))


@pytest.mark.parametrize(("clean", "robust"), [(1, 1), (0, 0), (1, 0)])
def test_extreme_runs_have_a_report(tmp_path, clean, robust):
    seen = text(render([make_run(tmp_path / "run", clean=clean, robust=robust)]))
    assert ("No row that was right at first fell." in seen) == (clean == robust)
    assert ("No row stood." in seen) == (robust == 0)
    assert ("there is nothing to ship" in seen) == (clean == 0)


def test_rows_that_are_no_images_show_their_largest_changes(tmp_path):
    draw = np.random.default_rng(0)
    flat = make_run(tmp_path / "run", x=draw.random((40, 12), np.float32), y=draw.integers(0, 3, 40))
    made = render([flat])
    assert "img" not in Outline(made).tags
    assert "Value Before After Change" in text(made)


@pytest.mark.parametrize(("levels", "told"), [(False, False), (True, True)], ids=["table", "flat pictures"])
def test_rows_of_a_table_are_no_files_of_8_bits(levels: bool, told: bool, tmp_path: Path) -> None:
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    x = (x * 255).round() / 255 if levels else x
    bs.evaluate(torch.nn.Linear(4, 3), x, torch.arange(6) % 3, threat=bs.Linf(0.1), out=tmp_path / "run")
    assert ("Robust after rounding to 8 bits" in write_report(tmp_path / "run").read_text()) is told


def test_large_colour_images_are_shown_reduced(tmp_path):
    x = np.random.default_rng(0).random((6, 3, 150, 200), np.float32)
    run = read_run(make_run(tmp_path / "run", x=x, y=np.arange(6), robust=0.3))
    example = gallery(run)[0].examples[0]
    assert pixels(example.original).shape == (96, 128, 3)
    assert "Large inputs are shown reduced." in text(render([run.run.folder]))


def test_many_classes_are_listed_by_their_commonest_confusions(tmp_path):
    x = np.random.default_rng(0).random((60, 1, 4, 4), np.float32)
    run = read_run(make_run(tmp_path / "run", x=x, y=np.arange(60) % 30, shard_rows=60))
    counts = [rows for *_, rows in confusion(run).pairs]
    assert len(counts) == 20
    assert counts == sorted(counts, reverse=True)
    assert "The commonest confusions." in text(render([run.run.folder]))


# ------------------------------------------------------------------ files


def test_the_report_lands_in_the_run_folder(tmp_path):
    run = make_run(tmp_path / "run")
    assert write_report(run) == run / "report.html"
    assert sorted(p.name for p in run.iterdir()) == [
        "log.json", "preflight.safetensors", "report.html", "run.json", "shards",
    ]  # fmt: skip


def test_several_runs_share_one_report_where_asked(pair, page, tmp_path):
    out = tmp_path / "new" / "both.html"
    assert write_report(pair, out) == out
    assert out.read_text(encoding="utf-8") == page


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no verdict yet: go on with --resume"):
        render([make_run(tmp_path / "run", finished=False)])


def test_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="got none"):
        write_report([])
    with pytest.raises(InputError, match=r"run\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("contents", ["{", "[]", '{"manifest": 1}'])
def test_a_broken_run_file_is_named(tmp_path, contents):
    run = make_run(tmp_path / "run")
    (run / "run.json").write_text(contents)
    with pytest.raises(InputError, match=r"expected (a )?run\.json in .*restore it or run again"):
        write_report(run)


def test_a_report_has_a_name_that_browsers_know(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.html"):
        write_report(make_run(tmp_path / "run"), tmp_path / "report.txt")


def test_a_missing_shard_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "shards" / "00001.safetensors").unlink()
    with pytest.raises(
        InputError, match="expected shards/00001 as it was written, found it gone or changed: run again"
    ):
        write_report(run)


def test_a_changed_byte_in_a_shard_is_noticed(tmp_path):
    run = make_run(tmp_path / "run")
    shard = run / "shards" / "00001.safetensors"
    contents = bytearray(shard.read_bytes())
    contents[-1] ^= 1
    shard.write_bytes(contents)
    with pytest.raises(InputError, match="expected shards/00001 as it was written"):
        write_report(run)


# ------------------------------------------------------------------ evidence and gallery


def test_inputs_come_back_exactly_as_they_were_stored(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 5, 4)).astype(np.uint8) / np.float32(255)
    run = read_run(make_run(tmp_path / "run", x=x, y=np.arange(30) % 3, shard_rows=7))
    for row in range(30):
        assert (run.clean(row) == x[run.rows.id[row]]).all()


def test_adversarial_examples_belong_to_their_rows(pair):
    run = read_run(pair[0])
    for row in np.flatnonzero(run.rows.broken)[::20]:
        assert np.abs(run.adversarial(row) - run.clean(row)).max() == pytest.approx(run.rows.norm[row], abs=1e-6)


def test_the_gallery_mixes_confident_small_and_spread_examples(pair):
    run = read_run(pair[0])
    confident, small, spread = chosen(run)
    rows = run.rows
    assert len({*confident, *small, *spread}) == 24
    assert (
        rows.adversarial_confidence[confident].min()
        >= np.delete(np.where(rows.broken, rows.adversarial_confidence, 0), confident).max()
    )
    assert rows.norm[small].max() <= np.delete(rows.norm, [*confident, *small]).min()
    assert len(set(rows.y[spread])) == 8
    assert rows.broken[[*confident, *small, *spread]].all()


def test_few_broken_rows_are_shown_once_each(tmp_path):
    run = read_run(make_run(tmp_path / "run", clean=1, robust=0.9))
    shown = [example.id for group in gallery(run) for example in group.examples]
    assert sorted(shown) == np.flatnonzero(run.rows.broken).tolist()


def test_the_strip_shows_rows_that_stood_the_closest_of_each_class_first(pair):
    run = read_run(pair[1])
    shown = standing(run)
    stood, margin = run.rows.stood, run.rows.margin
    assert [s.label for s in shown[:10]] == list("0123456789")
    assert shown[3].margin == margin[stood & (run.rows.y == 3)].min()


def test_classes_are_dealt_out_in_turn():
    assert across_classes([4, 3, 2, 1, 0], np.array([7, 5, 5, 7, 5])) == [4, 3, 2, 0, 1]


def test_the_largest_changes_come_first_and_unchanged_values_not_at_all():
    x, adversarial = np.zeros((2, 3)), np.array([[0, 0.1, 0], [-0.3, 0, 0]])
    assert [(c.where, c.before, c.after) for c in largest_changes(x, adversarial)] == [
        ("1, 0", 0, -0.3),
        ("0, 1", 0, 0.1),
    ]


# ------------------------------------------------------------------ charts


def test_the_curve_runs_from_clean_accuracy_to_robust_accuracy(pair):
    for folder in pair:
        verdict = read_run(folder).verdict
        assert points(verdict)[0] == (0, verdict.clean_accuracy)
        assert points(verdict)[-1][1] == pytest.approx(verdict.robust_accuracy)


def test_runs_in_one_norm_share_a_chart_and_nothing_is_claimed_beyond_the_radius(tmp_path):
    runs = [read_run(make_run(tmp_path / str(r), rows=100, radius=r)) for r in (0.1, 0.4)]
    (chart,) = curve_charts(["small", "large"], runs)
    small, large = chart.curves
    assert [t for _, t in chart.radii] == ["0.1", "0.4"]
    assert chart.unknown_from == pytest.approx(100 / 1.12)
    assert [a is None for a in small.at_ticks] == [t.value > 0.1 + 1e-9 for t in chart.ticks]
    assert [a is None for a in large.at_ticks] == [t.value > 0.4 + 1e-9 for t in chart.ticks]


def test_a_search_without_a_radius_leaves_nothing_unsearched(tmp_path):
    run = read_run(make_run(tmp_path / "run", radius=None, robust=0))
    (chart,) = curve_charts(["digits"], [run])
    assert chart.unknown_from is None
    assert "a change of any size" not in text(render([run.run.folder]))


def test_curves_never_rise(pair):
    for chart in curve_charts(["a", "b"], [read_run(folder) for folder in pair]):
        for curve in chart.curves:
            heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", curve.line)]
            assert heights == sorted(heights)


@given(st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(largest):
    marks = ticks(largest)
    assert 3 <= len(marks) <= 13
    assert marks[0].at == 0
    assert marks[-1].at <= 100 * (1 + 1e-9)
    assert round(marks[1].value / 10 ** math.floor(math.log10(marks[1].value) + 1e-9), 6) in (1, 2, 5)


def test_the_confusion_matrix_counts_every_row_that_was_right_once(pair):
    run = read_run(pair[0])
    matrix = confusion(run)
    counts = np.array([row.cells for row in matrix.classes])
    assert counts.sum() == run.verdict.robust_of_right.rows
    assert np.trace(counts) == run.verdict.robust_of_right.hits
    assert [row.right for row in matrix.classes] == np.bincount(run.rows.y[run.rows.right]).tolist()


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0.0 %"), (0.172, "17.2 %"), (1, "100.0 %"), (0.00049, "< 0.1 %"), (0.99951, "> 99.9 %"), (0.9994, "99.9 %")],
)
def test_a_percentage_has_one_decimal_and_does_not_round_away_the_truth(share, said):
    assert words.percent(share).replace("\u00a0", " ") == said


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_only_nothing_is_called_nothing_and_only_all_is_called_all(share):
    assert words.percent(share)[:-2] not in ("0.0", "100.0")


@pytest.mark.parametrize(
    ("value", "said"), [(0.15000000596, "0.15"), (1473.4, "1,473"), (-12.34, "−12.3"), (3.0, "3"), (0, "0")]
)
def test_numbers_show_three_digits(value, said):
    assert words.number(value) == said


@pytest.mark.parametrize(
    ("duration", "said"),
    [
        (0.0237, "23.7 ms"),
        (12.34, "12.3 s"),
        (99.99, "100 s"),
        (125, "2 min 5 s"),
        (3599.6, "1 h 0 min"),
        (3780, "1 h 3 min"),
    ],
)
def test_durations_are_said_in_fitting_units(duration, said):
    assert words.seconds(duration).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("spec", "said", "radius"),
    [
        ("linf:0.15", "L∞ 0.15", 0.15),
        ("linf:8/255", "L∞ 8/255", 8 / 255),
        ("linf:0.03137254901960784", "L∞ 8/255", 8 / 255),
        ("l2:0.5", "L2 0.5", 0.5),
        ("l0:12", "L0 12", 12),
        ("l1", "L1", None),
        ("patch:large", "patch", None),
    ],
)
def test_threats_are_readable(spec, said, radius):
    threat = ThreatWords(spec, UNIT)
    assert threat.text.replace("\u00a0", " ") == said
    assert threat.radius == radius


def test_what_a_threat_allows_is_said_in_the_units_of_the_input():
    assert ThreatWords("linf:8", (0.0, 255.0)).allows == "every value may change by up to 8 on a scale from 0 to 255"
    assert ThreatWords("l0:3", UNIT).allows == "up to 3 values may change, each as far as it likes (L0)"
    assert (
        ThreatWords("l2", UNIT).allows == "the change may have any size; the smallest one is searched, measured in L2"
    )


@pytest.mark.parametrize(("items", "said"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_lists_read_as_people_write_them(items, said):
    assert words.listing(items) == said


def test_an_outcome_unknown_here_is_still_shown():
    assert outcome("ALREADY_WRONG") == "wrong from the start"
    assert outcome("out_of_luck") == "out of luck"


def test_runs_that_differ_in_their_settings_are_not_compared(tmp_path):
    folders = [make_run(tmp_path / str(r), rows=rows, radius=r) for r, rows in ((0.1, 60), (0.2, 50))]
    seen = text(render(folders))
    assert "The runs differ in rows and threat, so their numbers do not compare directly." in seen
    assert "digits (0.1) still answers" in seen  # models of one name are told apart by their folders


# ------------------------------------------------------------------ in a browser


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [360, 768, 1600])
def test_the_page_never_scrolls_sideways(page, tmp_path, width):
    frame = f'<iframe srcdoc="{html.escape(page)}" style="width:{width}px;height:900px"></iframe>'
    measure = "const e = frames[0].document.documentElement; document.title = e.scrollWidth - e.clientWidth"
    document = tmp_path / "frame.html"
    document.write_text(f"<!doctype html>{frame}<script>onload = () => {{ {measure} }}</script>", encoding="utf-8")
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-component-update"
    flags = [f"--{flag}" for flag in [*quiet.split(), "disable-background-networking", "dump-dom"]]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", document.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "<title>0</title>" in done.stdout
