"""A person among the successes: what is shown, that nothing of it tells, and what is made of the answers."""

import html
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

import blindspots as bs
from blindspots.cli.app import app
from blindspots.data.texts import TextData
from blindspots.errors import InputError
from blindspots.experiments.evaluate.judging import words as said
from blindspots.experiments.evaluate.judging.answers import Answer, Answers, read_answers
from blindspots.experiments.evaluate.judging.outcome import Judgement, Table, automatic, judgement
from blindspots.experiments.evaluate.judging.page import page
from blindspots.experiments.evaluate.judging.prevalence import Count, interval, rogan_gladen, tells
from blindspots.experiments.evaluate.judging.sheet import Item, Sheet, clean_texts, drawn
from blindspots.models.texts import TextModel
from blindspots.records import Share, clopper_pearson
from blindspots.runs.folder import Folder
from blindspots.runs.store import Run, opened
from blindspots.texts.reviews import CLASSES, reviews
from blindspots.texts.validity.aligned import size, split
from blindspots.texts.validity.validity import parse_validity
from runs_factory import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROWS = 160
SAVED = '{{"sheet": "a", "seed": 0, "texts": {}, "answers": {{{}}}}}'


# ------------------------------------------------------------------ the person's errors


def test_what_a_perfect_observer_finds_stays() -> None:
    perfect = Count(40, 40)
    assert rogan_gladen(Count(13, 20), perfect, perfect) == pytest.approx(0.65)


@pytest.mark.parametrize("true", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("se", "sp"), [(0.9, 0.8), (0.7, 0.6), (1.0, 0.5)])
def test_what_an_observer_would_find_is_turned_back(true: float, se: float, sp: float) -> None:
    """p = t Se + (1 - t) (1 - Sp)."""
    found = round(1000 * (true * se + (1 - true) * (1 - sp)))
    counts = Count(found, 1000), Count(round(1000 * se), 1000), Count(round(1000 * sp), 1000)
    assert rogan_gladen(*counts) == pytest.approx(true, abs=0.003)
    low, high = interval(*counts)
    assert low <= true + 0.003
    assert high >= true - 0.003


def test_estimates_stay_within_0_and_1() -> None:
    assert rogan_gladen(Count(0, 9), Count(9, 10), Count(8, 10)) == 0
    assert rogan_gladen(Count(9, 9), Count(9, 10), Count(8, 10)) == 1
    assert min(interval(Count(0, 9), Count(9, 10), Count(8, 10))) >= 0
    assert max(interval(Count(9, 9), Count(9, 10), Count(8, 10))) <= 1


def test_with_a_well_known_observer_the_interval_is_that_of_agresti_and_coull() -> None:
    """Sensitivity and specificity without error and without doubt leave the adjusted Wald interval."""
    sure, z = Count(10**9, 10**9), 1.959963984540054
    p = (13 + z * z / 2) / (20 + z * z)
    half = z * math.sqrt(p * (1 - p) / (20 + z * z))
    assert interval(Count(13, 20), sure, sure) == pytest.approx((p - half, p + half), abs=1e-6)


def test_with_many_rows_the_interval_is_that_of_the_delta_method() -> None:
    found, se, sp = Count(52_000, 100_000), Count(1800, 2000), Count(2400, 3000)
    true = (0.52 + 0.8 - 1) / 0.7
    variance = 0.52 * 0.48 / 1e5 + true**2 * 0.9 * 0.1 / 2000 + (1 - true) ** 2 * 0.8 * 0.2 / 3000
    half = 1.959964 * math.sqrt(variance) / 0.7
    assert interval(found, se, sp) == pytest.approx((true - half, true + half), abs=2e-3)


@pytest.mark.parametrize(
    ("true", "se", "sp", "rows"),
    [(0.7, 0.95, 0.9, 25), (0.3, 0.9, 0.95, 25), (0.9, 1.0, 1.0, 25), (0.5, 0.8, 0.8, 60)],
)
def test_nineteen_of_twenty_intervals_hold_what_is_true(true: float, se: float, sp: float, rows: int) -> None:
    draw, held = np.random.default_rng(0), []
    for _ in range(1500):
        found, of_se, of_sp = draw.binomial(rows, [true * se + (1 - true) * (1 - sp), se, sp]).tolist()
        counts = Count(found, rows), Count(of_se, rows), Count(of_sp, rows)
        if tells(*counts[1:]):
            low, high = interval(*counts)
            held.append(low <= true <= high)
    assert np.mean(held) > 0.94


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "expected"),
    [((5, 10), (5, 10), False), ((9, 10), (1, 10), False), ((9, 10), (6, 10), True), ((9, 10), (0, 0), False)],
)
def test_who_guesses_tells_nothing(sensitivity: tuple[int, int], specificity: tuple[int, int], expected: bool) -> None:
    assert tells(Count(*sensitivity), Count(*specificity)) is expected


# ------------------------------------------------------------------ a run of texts


def log_odds(texts: list[str]) -> Tensor:
    """Of how often words stand in reviews of either verdict."""
    return torch.tensor([[-score, score] for score in (sum(ODDS.get(w.lower(), 0) for w in split(t)) for t in texts)])


def _odds() -> dict[str, float]:
    seen: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for text, label in zip(*reviews("train"), strict=True):
        seen[label].update(map(str.lower, split(text)))
    return {word: math.log((1 + seen[1][word]) / (1 + seen[0][word])) for word in {*seen[0], *seen[1]}}


ODDS = _odds()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judged") / "run"
    texts, y = reviews("test")
    data = TextData(texts[:ROWS], y[:ROWS], class_names=CLASSES)
    model = TextModel(log_odds, name="odds", class_names=CLASSES)
    bs.evaluate(model, data=data, threat="words:0.3", protocol="text-scores", out=out, threads=1)
    return out


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:  # type: ignore[type-arg]
    return opened(Folder(folder))


@pytest.fixture(scope="module")
def sheet(run: Run) -> Sheet:  # type: ignore[type-arg]
    return drawn(run, 12, 0)


def reader(sheet: Sheet, right: dict[str, float], seed: int = 0) -> Answers:
    """Somebody who reads so many of each kind as the class that is asked about."""
    draw, said = Random(seed), {}
    for item in sheet.items:
        label = item.claimed if draw.random() < right[item.kind] else 1 - item.claimed
        said[item.id] = Answer(label=label, written=item.kind != "adversarial")
    return Answers(sheet=sheet.digest, seed=sheet.seed, texts=sheet.texts, answers=said)


def test_three_kinds_of_texts_are_drawn_equally_often(sheet: Sheet, run: Run) -> None:  # type: ignore[type-arg]
    assert Counter(item.kind for item in sheet.items) == {"adversarial": 12, "clean": 12, "decoy": 12}
    every, y = clean_texts(run), reviews("test")[1]
    assert every == list(reviews("test")[0][:ROWS])
    broken = {item.row: item for item in sheet.of("adversarial")}
    for item in sheet.of("clean"):
        assert item.text == every[item.row]
        assert item.claimed == y[item.row] == broken[item.row].claimed
        assert size(item.text, broken[item.row].text) > 0
    for item in sheet.of("decoy"):
        assert item.text == every[item.row]
        assert item.claimed != y[item.row]
        assert item.row not in broken
    assert len({item.row for item in sheet.of("decoy")}) == 12


def test_the_same_lot_draws_the_same_sheet_and_another_one_another(run: Run, sheet: Sheet) -> None:  # type: ignore[type-arg]
    assert drawn(run, 12, 0) == sheet
    assert drawn(run, 12, 1).digest != sheet.digest


def test_no_more_texts_are_drawn_than_were_broken(run: Run) -> None:  # type: ignore[type-arg]
    sheet = drawn(run, 1000, 0)
    assert len(sheet.of("adversarial")) == sheet.successes.hits < ROWS
    assert len({item.row for item in sheet.of("decoy")}) == len(sheet.of("decoy"))


def test_the_two_texts_of_a_row_are_half_a_sheet_apart(sheet: Sheet) -> None:
    halves = [set(), set()]  # type: list[set[int]]
    for place, item in enumerate(sheet.items):
        if item.kind != "decoy":
            half = halves[place >= len(sheet.items) / 2]
            assert item.row not in half
            half.add(item.row)
    first = [item.kind for item in sheet.items[:18]].count("adversarial")
    assert 0 < first < 12


def test_runs_without_texts_or_successes_are_refused(tmp_path: Path) -> None:
    made = make_run(tmp_path / "digits")
    with pytest.raises(InputError, match="expected an evaluation of texts in"):
        drawn(opened(Folder(made)), 5, 0)
    model = TextModel(lambda texts: torch.tensor([[1.0, 0.0]] * len(texts)), name="stubborn")
    stood = bs.evaluate(model, data=TextData(["a fine film"] * 4, [0] * 4), threat="words:1", protocol="text-scores")
    with pytest.raises(InputError, match="expected adversarial texts in memory, got none"):
        drawn(stood, 5, 0)


# ------------------------------------------------------------------ the page


def test_the_page_shows_nothing_of_an_item_but_its_text(sheet: Sheet) -> None:
    content = page(sheet)
    embedded = re.search(r'<script type="application/json" id="sheet">(.*?)</script>', content, re.DOTALL)
    assert embedded is not None
    shown = json.loads(embedded[1])
    assert set(shown) == {"sheet", "seed", "texts", "classes", "items"}
    assert all(set(item) == {"id", "text"} for item in shown["items"])
    assert [item["text"] for item in shown["items"]] == [item.text for item in sheet.items]
    around = content.replace(embedded[1], "").lower()
    for word in ("adversarial", "decoy", "clean", "attack", "original", "changed", "words:0.3", "odds"):
        assert word not in around, word


def test_ids_tell_nothing_and_are_no_order(sheet: Sheet) -> None:
    ids = [item.id for item in sheet.items]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in ids)
    assert ids != sorted(ids)
    rises = {kind: sum(a.kind == b.kind == kind for a, b in pairwise(sheet.items)) for kind in ("adversarial", "clean")}
    assert max(rises.values()) < 11  # the kinds are mixed


def test_the_page_fetches_nothing_and_holds_texts_that_look_like_code(sheet: Sheet) -> None:
    nasty = "</script><img src=x onerror=alert(1)> 'a' & \u200bé\U0001f600"
    items = (Item("0" * 16, "clean", 0, 1, nasty),)
    content = page(Sheet(items, sheet.classes, sheet.successes, 0, 1))
    assert nasty not in content
    assert "default-src 'none'" in content
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", content)
    assert not re.findall(r"https?://|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", content)


PLAY = """
addEventListener("load", () => setTimeout(() => {
  const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
  press("Enter");
  sheet.items.forEach((item, i) => { press(String(i % 3)); press(i % 2 ? "y" : "n"); go(1); });
  press("ArrowLeft");
  document.title = "played"; document.body.textContent = $("raw") ? saved() : "";
}, 0));
"""


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_keys_answer_the_page_and_what_it_saves_is_read(sheet: Sheet, tmp_path: Path) -> None:
    document = tmp_path / "page.html"
    document.write_text(page(sheet).replace("</body>", f"<script>{PLAY}</script></body>"), encoding="utf-8")
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-component-update"
    flags = [f"--{flag}" for flag in [*quiet.split(), "disable-background-networking", "dump-dom"]]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", document.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    body = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert body is not None
    (tmp_path / "answers.json").write_text(html.unescape(body[1]), encoding="utf-8")
    answers = read_answers(tmp_path / "answers.json")
    assert (answers.sheet, answers.seed, answers.texts) == (sheet.digest, 0, 12)
    expected = {item.id: Answer(label=[None, 0, 1][i % 3], written=bool(i % 2)) for i, item in enumerate(sheet.items)}
    assert answers.answers == expected


# ------------------------------------------------------------------ the answers


def test_a_perfect_reader_of_honest_texts_finds_all_valid(sheet: Sheet) -> None:
    found = judgement(sheet, reader(sheet, {"adversarial": 1, "clean": 1, "decoy": 0}))
    assert (found.read, found.sensitivity, found.specificity) == (Share.of(12, 12),) * 3
    assert found.valid == 1
    assert found.adjusted == found.successes.share
    assert found.interval is not None
    assert found.interval[0] < 0.95 < found.interval[1]
    assert (found.written, found.clean_written) == (Share.of(0, 12), Share.of(12, 12))
    assert (found.answered, found.shown) == (36, 36)


def test_texts_that_turned_into_the_other_class_are_not_valid(sheet: Sheet) -> None:
    found = judgement(sheet, reader(sheet, {"adversarial": 0, "clean": 1, "decoy": 0}))
    assert found.valid == found.adjusted == 0


def test_the_errors_of_the_reader_are_taken_out(sheet: Sheet) -> None:
    answers = reader(sheet, {"adversarial": 0.6, "clean": 0.9, "decoy": 0.1}, seed=3)
    found = judgement(sheet, answers)
    counts = [Count(s.hits, s.rows) for s in (found.read, found.sensitivity, found.specificity)]
    assert found.valid == rogan_gladen(*counts)
    assert found.interval == interval(*counts)
    assert found.sensitivity.interval == clopper_pearson(found.sensitivity.hits, 12)
    assert found.valid != found.read.share
    assert found.adjusted == pytest.approx(found.successes.share * found.valid)


def test_who_cannot_tell_did_not_read_the_label(sheet: Sheet) -> None:
    unsure = {item.id: Answer(label=None, written=True) for item in sheet.items}
    found = judgement(sheet, Answers(sheet=sheet.digest, seed=0, texts=12, answers=unsure))
    assert (found.read.hits, found.sensitivity.hits, found.specificity.hits) == (0, 0, 12)
    assert found.valid is found.interval is found.adjusted is None
    assert "no better than chance" in said.headline(found)


def test_only_answered_texts_count(sheet: Sheet) -> None:
    whole = reader(sheet, {"adversarial": 1, "clean": 1, "decoy": 0})
    some = whole.model_copy(update={"answers": dict(list(whole.answers.items())[:20])})
    found = judgement(sheet, some)
    assert found.answered == found.read.rows + found.sensitivity.rows + found.specificity.rows == 20


def test_person_and_checks_are_crossed(sheet: Sheet) -> None:
    ids = [item.id for item in sheet.of("adversarial")]
    answers = reader(sheet, {"adversarial": 1, "clean": 1, "decoy": 0})
    for one in ids[:5]:
        answers.answers[one] = Answer(label=None, written=True)
    passes = {one: i % 3 == 0 for i, one in enumerate(ids)}
    checks = judgement(sheet, answers, passes).checks
    assert checks == Table(both=2, person_only=5, checks_only=2, neither=3)
    assert checks.agreement == 5 / 12


def test_the_checks_see_every_adversarial_text_beside_its_clean_one(sheet: Sheet) -> None:
    validity = parse_validity("changed:most=0.1").fit(["a"])
    clean = {item.row: item.text for item in sheet.of("clean")}
    expected = {
        item.id: size(clean[item.row], item.text) <= 0.1 * len(split(clean[item.row]))
        for item in sheet.of("adversarial")
    }
    assert automatic(sheet, validity) == expected
    assert len(set(expected.values())) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sheet": "x" * 20}, "expected answers about the texts of this run .*'xxxxxxxxxxxxxxxx'.*: name the run"),
        ({"answers": {"0" * 16: Answer(label=0, written=True)}}, "expected answers about the texts of this run"),
        ({"answers": {}}, "expected answers, got none"),
    ],
)
def test_answers_about_something_else_are_refused(sheet: Sheet, changes: dict[str, object], sentence: str) -> None:
    answers = reader(sheet, {"adversarial": 1, "clean": 1, "decoy": 0}).model_copy(update=changes)
    with pytest.raises(InputError, match=sentence):
        judgement(sheet, answers)


def test_labels_that_are_no_class_are_refused(sheet: Sheet) -> None:
    answers = reader(sheet, {"adversarial": 1, "clean": 1, "decoy": 0})
    answers.answers[sheet.items[0].id] = Answer(label=2, written=True)
    with pytest.raises(InputError, match="expected labels below 2, got 2"):
        judgement(sheet, answers)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "which is empty"),
        ("[]", "expected the answers that the page saved in .*got Input should be an object"),
        (SAVED.format(0, ""), "at texts: download them"),
        (SAVED.format(1, '"b": {"label": -1, "written": true}'), "at answers.b.label"),
        (SAVED.format(1, '"b": {"label": 1}'), "at answers.b.written"),
    ],
)
def test_a_file_of_something_else_gets_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "answers.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_answers(tmp_path / "answers.json")


# ------------------------------------------------------------------ the command


def blindspots(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in ("judge", *words)])


def plain(lines: Iterable[str]) -> str:
    return " ".join(" ".join(lines).replace("\u00a0", " ").split())


def test_page_answers_and_verdict(folder: Path, sheet: Sheet, tmp_path: Path) -> None:
    made = blindspots(folder, "--texts", "12", "--out", tmp_path / "page.html")
    assert made.exit_code == 0, made.output
    assert f"36 texts to read in a browser; then: blindspots judge {folder} --answers answers.json" in made.stdout
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page(sheet)
    answers = reader(sheet, {"adversarial": 0.5, "clean": 1, "decoy": 0})
    (tmp_path / "answers.json").write_text(answers.model_dump_json())
    told = blindspots(folder, "--answers", tmp_path / "answers.json")
    assert told.exit_code == 0, told.output
    assert "of the successes are valid" in plain([told.stdout])
    assert "Valid to the person" in told.stdout
    as_json = blindspots(folder, "--answers", tmp_path / "answers.json", "--json", "--checks", "changed")
    found = Judgement.model_validate_json(as_json.stdout)
    assert found.model_copy(update={"checks": None}) == judgement(sheet, answers)
    assert found.checks is not None


def test_checks_that_cannot_be_fitted_leave_the_person_alone(folder: Path, sheet: Sheet, tmp_path: Path) -> None:
    answers = reader(sheet, {"adversarial": 1, "clean": 1, "decoy": 0})
    (tmp_path / "answers.json").write_text(answers.model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blindspots.texts.validity.calibration._FEWEST_PAIRS", ROWS + 1)
        told = blindspots(folder, "--answers", tmp_path / "answers.json")
    assert told.exit_code == 0
    assert "nothing to compare the person with: expected 161 texts or more" in plain([told.stderr])
    assert "Valid to the person" not in told.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--answers", "none.json"], "expected answers of a person in 'none.json'"),
        (["--out", "page.txt"], "expected a name that ends in .html"),
    ],
)
def test_bad_input_ends_in_one_sentence(folder: Path, words: list[str], sentence: str) -> None:
    told = blindspots(folder, *words)
    assert told.exit_code == 2
    assert sentence in plain([told.stderr])
