"""Page, card and proof of a hardening run: made from the folder alone, whole, and nothing changed goes unseen."""

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blindspots.experiments.harden.folder import read_harden_file
from blindspots.experiments.harden.proof import verify_harden
from blindspots.experiments.harden.record import Claim, HardenFile, HardenVerdict
from blindspots.journal import sealed, text_of
from blindspots.report.harden import render_harden, sentence, write_harden_report
from blindspots.report.harden_charts import against_radius, history, within_radius
from blindspots.report.harden_words import claim_in_words, overfitting
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from blindspots.cli.app import app
from blindspots.errors import InputError
from blindspots.experiments.harden.card import card, no_promises
from blindspots.findings import Finding
from blindspots.records import Share
from blindspots.report.words import ThreatWords
from harden_factory import made
from test_report import Outline, text

SECTIONS = "verdict price radius history studies controls gradients gallery promises findings reproduce"
THREAT = ThreatWords("linf:0.15", (0.0, 1.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("hardened"))


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture
def bare(other: Path) -> Path:
    """Without history, studies and controls."""
    _changed(other, history=[], events=[], controls=[], claim=None, study=None)
    return other


def _verdict(run: Path) -> HardenVerdict:
    verdict = read_harden_file(run).verdict
    assert verdict is not None
    return verdict


def _changed(run: Path, **changes: Any) -> HardenFile:
    """run.json with other values in the verdict, sealed again."""
    file = read_harden_file(run)
    assert file.verdict is not None
    file = sealed(file.model_copy(update={"verdict": file.verdict.model_copy(update=changes)}))
    (run / "run.json").write_bytes(text_of(file))
    return file


# ------------------------------------------------------------------ the page


def test_the_page_is_made_from_the_folder_alone_and_loads_nothing(run: Path) -> None:
    page = render_harden(run)
    assert page == render_harden(run)
    assert write_harden_report(run).read_text(encoding="utf-8") == page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert re.findall(r'<a href="#(\w+)"', page) == SECTIONS.split()
    assert set(SECTIONS.split()) <= set(outline.ids)


def test_the_headline_says_before_and_after(run: Path) -> None:
    v = _verdict(run)
    before, after = (f"{100 * w.robust_accuracy:.1f} %" for w in (v.before, v.after))
    said = text(render_harden(run))
    assert f"Under attack, net answered {before} of the rows correctly; hardened, it answers {after}." in said
    assert sentence(read_harden_file(run)).replace("\u00a0", " ") in said


def test_sections_without_data_are_left_out(bare: Path) -> None:
    page = render_harden(bare)
    Outline(page)
    left_out = {"history", "studies", "controls", "gradients"}
    assert re.findall(r'<a href="#(\w+)"', page) == [s for s in SECTIONS.split() if s not in left_out]
    assert "From the changes that the attacks found" in page


def test_a_table_has_no_pictures(tmp_path: Path) -> None:
    run = made(tmp_path, shape=(16,))
    page = render_harden(run)
    Outline(page)
    assert "<img" not in page
    assert "The values that changed most" in page
    assert "tabular-classification" in (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert verify_harden(run).ok


def test_an_error_takes_the_headline_away(other: Path) -> None:
    bad = Finding(code="randomised", severity="error", saw="It is random.", do="Fix it.")
    after = _verdict(other).after
    file = _changed(other, after=after.model_copy(update={"findings": [bad]}))
    assert "cannot be believed" in text(render_harden(other))
    assert "meaningless" in card(file)


def test_every_comparison_stands_in_the_page_with_both_shares(run: Path) -> None:
    study = _verdict(run).study
    assert study is not None
    said = text(render_harden(run))
    for c in study.compared:
        shares = [
            f"{100 * s.share:.1f} % {100 * s.interval[0]:.1f} to {100 * s.interval[1]:.1f} %"
            for s in (c.before, c.after)
        ]
        assert f"{c.name} {c.what} {shares[0]} {shares[1]}" in said


def test_gradients_are_drawn_for_both_networks(run: Path) -> None:
    page = render_harden(run)
    rows = len(load_file(run / "study.safetensors")["x"])
    assert page.count('alt="Its gradient before"') == page.count('alt="Its gradient after"') == rows > 0


def test_foreign_names_are_escaped(other: Path) -> None:
    file = read_harden_file(other)
    model = file.manifest.model.model_copy(update={"name": "<b>|net|"})
    file = sealed(file.model_copy(update={"manifest": file.manifest.model_copy(update={"model": model})}))
    (other / "run.json").write_bytes(text_of(file))
    assert "<b>|net" not in render_harden(other)
    assert html.escape("<b>|net|") in render_harden(other)
    assert "\\<b\\>\\|net\\|, hardened" in card(file)


def test_an_unfinished_run_and_a_damaged_one_are_refused(other: Path) -> None:
    (other / "study.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="gradients"):
        render_harden(other)
    file = read_harden_file(other)
    (other / "run.json").write_bytes(text_of(file.model_copy(update={"verdict": None, "seal": None})))
    with pytest.raises(InputError, match="--resume"):
        render_harden(other)


# ------------------------------------------------------------------ charts and sentences


def test_undone_epochs_are_marked_and_not_joined(run: Path) -> None:
    plot = history(_verdict(run))
    assert plot is not None
    assert [m.text for m in plot.marks] == ["undone", "best"]
    assert plot.where == ["1", "3", "4"]
    assert all(len(line.dots) == 3 for line in plot.lines)


def test_one_epoch_makes_no_chart(run: Path) -> None:
    v = _verdict(run)
    assert history(v.model_copy(update={"history": v.history[:2]})) is None


def test_the_radius_chart_begins_at_the_clean_accuracy(run: Path, bare: Path) -> None:
    v = _verdict(run)
    assert v.study is not None
    wide = against_radius(v.study, THREAT)
    assert [line.values[0] for line in wide.lines] == [
        f"{100 * s[0]:.1f}\u00a0%" for s in (v.study.curve.before, v.study.curve.after)
    ]
    assert [m.at for m in wide.marks] == [pytest.approx(40)]
    narrow = within_radius(_verdict(bare), THREAT)
    assert narrow.lines[1].values[1] == f"{100 * v.after.robust_accuracy:.1f}\u00a0%"


def _claimed(run: Path, only_hardened: int, only_control: int, p: float) -> str:
    claim = Claim(
        hardened=Share.of(90, 100), control=Share.of(85, 100), against="noise", only_hardened=only_hardened,
        only_control=only_control, p_value=p,
    )  # fmt: skip
    return claim_in_words(_verdict(run).model_copy(update={"claim": claim}))


def test_the_old_claim_is_answered_by_the_test(run: Path) -> None:
    assert "here? Yes:" in _claimed(run, 9, 0, 0.004)
    assert "here? No, it costs some:" in _claimed(run, 0, 9, 0.004)
    unclear = _claimed(run, 5, 2, 0.453)
    assert "do not show it" in unclear
    assert "p = 0.453" in unclear
    assert claim_in_words(_verdict(run).model_copy(update={"claim": None})) == ""


def test_robust_overfitting_is_said_in_points(run: Path) -> None:
    said = overfitting(_verdict(run)).replace("\u00a0", " ")
    assert "epoch 3" in said
    assert "by the last epoch it was 4.2 points lower" in said  # 17 and 16 of 24
    assert "16.7 points more often" in said  # 20 and 16 of 24


# ------------------------------------------------------------------ the card


def test_the_card_has_a_front_matter_and_every_setting(run: Path) -> None:
    written = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert written == card(read_harden_file(run))
    _, front, body = written.split("---\n", 2)
    assert 'name: "net"' in front
    assert f"value: {_verdict(run).after.robust_accuracy:.4f}" in front
    assert "| optimizer.rate | 0.003 |" in body
    assert "One \\| step." in body
    for digest in (read_harden_file(run).manifest.data.digest, read_harden_file(run).manifest.model.digest):
        assert digest in body
    for promise in no_promises(read_harden_file(run)):
        assert promise.split(":")[0] in body


def test_the_card_of_a_run_without_a_program_names_the_weights_alone(other: Path) -> None:
    refused = Finding(code="export", severity="warning", saw="It branches.", do="Load the weights.")
    assert "torch.export.load" in card(read_harden_file(other))
    said = card(_changed(other, findings=[refused]))
    assert "torch.export.load" not in said
    assert "load_file" in said


# ------------------------------------------------------------------ the proof


def test_an_untouched_run_holds(run: Path) -> None:
    found = verify_harden(run)
    assert found.problems == []
    assert found.rows == 24
    assert any(check.startswith("after:") for check in found.checks)


def _other_weights(run: Path) -> None:
    state = load_file(run / "model.safetensors")
    state["1.weight"][0] += 0.1
    save_file(state, run / "model.safetensors")


def _other_rate(run: Path) -> None:
    (run / "run.json").write_text((run / "run.json").read_text().replace('"seconds": 1.6', '"seconds": 1.5'))


def _no_program(run: Path) -> None:
    (run / "model.pt2").unlink()


def _other_verdict(run: Path) -> None:
    _changed(run, after=_verdict(run).after.model_copy(update={"robust_accuracy": 1.0}))


def _other_share(run: Path) -> None:
    controls = [
        c.model_copy(update={"clean": c.clean.model_copy(update={"share": 0.99})}) for c in _verdict(run).controls
    ]
    _changed(run, controls=controls)


def _other_evaluation(run: Path) -> None:
    shutil.rmtree(run / "after")
    shutil.copytree(run / "before", run / "after")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_weights, "to answer as"),
        (_other_rate, "sealed"),
        (_no_program, "missing"),
        (_other_verdict, "the verdict of after"),
        (_other_share, "share and interval"),
        (_other_evaluation, "the verdict of after"),
    ],
)
def test_what_was_changed_is_found(other: Path, change: Callable[[Path], None], said: str) -> None:
    change(other)
    found = verify_harden(other)
    assert not found.ok
    assert any(said in problem for problem in found.problems)


def test_a_model_from_python_has_to_be_passed(other: Path) -> None:
    file = read_harden_file(other)
    model = file.manifest.model.model_copy(update={"spec": None})
    file = sealed(file.model_copy(update={"manifest": file.manifest.model_copy(update={"model": model})}))
    (other / "run.json").write_bytes(text_of(file))
    with pytest.raises(InputError, match="itself"):
        verify_harden(other)


def test_the_command_line_reports_verifies_and_evaluates(other: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["report", str(other)]).exit_code == 0
    assert "Hardening report" in (other / "report.html").read_text(encoding="utf-8")
    assert runner.invoke(app, ["verify", str(other)]).exit_code == 0
    asked = ["attack", str(other / "model.pt2"), "--data", str(other / "rows.npz"), "--attack", "pgd"]
    assert runner.invoke(app, [*asked, "--threat", "linf:0.15", "--out", str(tmp_path / "again")]).exit_code == 0
    again = json.loads((tmp_path / "again" / "run.json").read_text())["verdict"]
    assert again["robust_accuracy"] == _verdict(other).after.robust_accuracy
