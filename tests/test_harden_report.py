"""Page and card of a hardening run: made from the folder alone, whole, and safe against foreign names."""

import html as escaping
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import blindspots as bs
from blindspots.cli.app import app
from blindspots.experiments.harden.card import card, no_promises
from blindspots.experiments.harden.charts import against_radius, history, within_radius
from blindspots.experiments.harden.experiment import Hardened
from blindspots.experiments.harden.recipe import NoisyStep, Optimizer, Recipe
from blindspots.experiments.harden.verdict import Claim, Epoch, HardenVerdict
from blindspots.experiments.harden.words import claim_in_words, overfitting
from blindspots.findings import Finding
from blindspots.records import Share
from blindspots.report.experiment import html, page_of
from blindspots.report.words import ThreatWords
from pages import Outline, text

SECTIONS = "price radius history studies controls gradients gallery promises findings reproduce"
THREAT = ThreatWords("linf:0.15", (0.0, 1.0))
RECIPE = Recipe(about="One | step.", epochs=2, batch=8, optimizer=Optimizer(rate=3e-3), adversary=NoisyStep())
NET = '''
import torch
from torch import nn


def net():
    """Three templates, and noise on them: right on clean rows, easily moved."""
    layer = nn.Linear(16, 3)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.zero_()
        for k in range(3):
            layer.weight[k, 5 * k : 5 * k + 5] = 4.0
        layer.weight.add_(3.0 * torch.randn(3, 16, generator=g))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)
'''


def saved(path: Path, count: int, shape: tuple[int, ...], seed: int) -> str:
    """Three blocks of pixels, one bright per class."""
    y = torch.arange(count) % 3
    x = 0.25 + 0.1 * torch.rand(count, 16, generator=torch.Generator().manual_seed(seed))
    for k in range(3):
        x[y == k, 5 * k : 5 * k + 5] += torch.linspace(0.2, 0.5, int((y == k).sum()))[:, None]
    np.savez(path, x=((x * 255).round().reshape(-1, *shape) / 255).numpy(), y=y.numpy())
    return str(path)


def made(folder: Path, shape: tuple[int, ...] = (1, 4, 4), **settings: Any) -> Hardened:
    (folder / "net.py").write_text(NET)
    data, test = saved(folder / "data.npz", 60, shape, 1), saved(folder / "test.npz", 24, shape, 2)
    usual = {"threads": 1, "study_rows": 6, "out": folder / "run", "recipe": RECIPE}
    return bs.harden(
        bs.load_model(f"{folder / 'net.py'}:net"), data=data, test=test, threat="linf:0.15", **usual | settings
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Hardened:
    """Its history is made up: an epoch that was undone, and one that was the best."""
    done = made(tmp_path_factory.mktemp("hardened"))
    changes = {"history": epochs(), "best_epoch": 3, "held_out": Share.of(16, 24)}
    return replace(done, verdict=done.verdict.model_copy(update=changes))


def epochs() -> list[Epoch]:
    notes = ["best so far", "undone: catastrophic overfitting", "best so far", ""]
    robust = [9, 0, 17, 16]
    return [
        Epoch(
            epoch=i + 1, radius=0.15, loss=1.2 - 0.2 * i, rate=0.01, clean=Share.of(20 + i, 24),
            fgsm=Share.of(18, 24), robust=Share.of(robust[i], 24), robust_training=Share.of(robust[i] + 4, 24),
            note=notes[i], closer=Share.of(16, 24) if i == 2 else None,
        )
        for i in range(4)
    ]  # fmt: skip


def changed(run: Hardened, **changes: Any) -> Hardened:
    return replace(run, verdict=run.verdict.model_copy(update=changes))


def card_of(run: Hardened) -> str:
    tested = run.parts.run("before").manifest.world["data"]
    return card(run.manifest, run.config, run.verdict, tested)


# ------------------------------------------------------------------ the page


def test_the_page_loads_nothing_and_has_its_sections(run: Hardened) -> None:
    page = html(run)
    assert page == html(run)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert re.findall(r'<a href="#(\w+)"', page) == SECTIONS.split()
    assert set(SECTIONS.split()) <= set(outline.ids)


def test_the_headline_says_before_and_after(run: Hardened) -> None:
    v = run.verdict
    before, after = (f"{100 * w.robust_accuracy:.1f} %" for w in (v.before, v.after))
    said = text(html(run))
    assert f"Under attack, net answered {before} of the rows correctly; hardened, it answers {after}." in said


def test_sections_without_data_are_left_out(run: Hardened) -> None:
    parts = run.parts.only([name for name in run.parts if name != "study"])
    bare = replace(changed(run, history=[], events=[], controls=[], claim=None, study=None), parts=parts)
    page = html(bare)
    Outline(page)
    left_out = {"history", "studies", "controls", "gradients"}
    assert re.findall(r'<a href="#(\w+)"', page) == [s for s in SECTIONS.split() if s not in left_out]
    assert "From the changes that the attacks found" in page


def test_without_its_log_the_page_leaves_out_how_long_it_took(run: Hardened) -> None:
    assert "An epoch" in html(run)
    page = html(replace(run, log=type(run.log)()))
    assert "An epoch" not in page
    assert "Clean accuracy" in page


def test_a_table_has_no_pictures(tmp_path: Path) -> None:
    run = made(tmp_path, shape=(16,), controls=False)
    page = html(run)
    Outline(page)
    assert "<img" not in page
    assert "tabular-classification" in (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_an_error_takes_the_headline_away(run: Hardened) -> None:
    bad = Finding(code="randomised", severity="error", saw="It is random.", do="Fix it.")
    broken = changed(run, after=run.verdict.after.model_copy(update={"findings": [bad]}))
    assert "cannot be believed" in text(html(broken))
    assert "It is random." in text(html(broken))
    assert "meaningless" in card_of(broken)
    assert not broken.verdict.believable


def test_every_comparison_stands_in_the_page_with_both_shares(run: Hardened) -> None:
    study = run.verdict.study
    assert study is not None
    said = text(html(run))
    for c in study.compared:
        shares = [
            f"{100 * s.share:.1f} % {100 * s.interval[0]:.1f} to {100 * s.interval[1]:.1f} %"
            for s in (c.before, c.after)
        ]
        assert f"{c.name} {c.what} {shares[0]} {shares[1]}" in said


def test_gradients_are_drawn_for_both_networks(run: Hardened) -> None:
    page, rows = html(run), len(run.parts["study"]["x"])
    assert page.count('alt="Its gradient before"') == page.count('alt="Its gradient after"') == rows > 0


def test_foreign_names_are_escaped(run: Hardened) -> None:
    world = run.manifest.world
    manifest = run.manifest.model_copy(update={"world": {**world, "model": {**world["model"], "name": "<b>|net|"}}})
    foreign = replace(run, manifest=manifest)
    assert "<b>|net" not in html(foreign)
    assert escaping.escape("<b>|net|") in html(foreign)
    assert "\\<b\\>\\|net\\|, hardened" in card_of(foreign)


# ------------------------------------------------------------------ charts and sentences


def test_undone_epochs_are_marked_and_not_joined(run: Hardened) -> None:
    plot = history(run.verdict)
    assert plot is not None
    assert [m.text for m in plot.marks] == ["undone", "best"]
    assert plot.where == ["1", "3", "4"]
    assert all(len(line.dots) == 3 for line in plot.lines)


def test_one_epoch_makes_no_chart(run: Hardened) -> None:
    assert history(run.verdict.model_copy(update={"history": epochs()[:2]})) is None


def test_the_radius_chart_begins_at_the_clean_accuracy(run: Hardened) -> None:
    v = run.verdict
    assert v.study is not None
    wide = against_radius(v.study, THREAT)
    assert [line.values[0] for line in wide.lines] == [
        f"{100 * s[0]:.1f}\u00a0%" for s in (v.study.curve.before, v.study.curve.after)
    ]
    assert [m.at for m in wide.marks] == [pytest.approx(40)]
    narrow = within_radius(v, THREAT)
    assert narrow.lines[1].values[1] == f"{100 * v.after.robust_accuracy:.1f}\u00a0%"


def claimed(v: HardenVerdict, only_hardened: int, only_control: int, p: float) -> str:
    claim = Claim(
        hardened=Share.of(90, 100), control=Share.of(85, 100), against="noise", only_hardened=only_hardened,
        only_control=only_control, p_value=p,
    )  # fmt: skip
    return claim_in_words(v.model_copy(update={"claim": claim}))


def test_the_old_claim_is_answered_by_the_test(run: Hardened) -> None:
    v = run.verdict
    assert "here? Yes:" in claimed(v, 9, 0, 0.004)
    assert "here? No, it costs some:" in claimed(v, 0, 9, 0.004)
    unclear = claimed(v, 5, 2, 0.453)
    assert "do not show it" in unclear
    assert "p = 0.453" in unclear
    assert claim_in_words(v.model_copy(update={"claim": None})) == ""


def test_robust_overfitting_is_said_in_points(run: Hardened) -> None:
    said = overfitting(run.verdict).replace("\u00a0", " ")
    assert "epoch 3" in said
    assert "by the last epoch it was 4.2 points lower" in said  # 17 and 16 of 24
    assert "16.7 points more often" in said  # 20 and 16 of 24


# ------------------------------------------------------------------ the card


def test_the_card_has_a_front_matter_and_every_setting(run: Hardened) -> None:
    written = card_of(run)
    _, front, body = written.split("---\n", 2)
    assert 'name: "net"' in front
    assert f"value: {run.verdict.after.robust_accuracy:.4f}" in front
    assert "| optimizer.rate | 0.003 |" in body
    assert "One \\| step." in body
    for name in ("model", "data", "test"):
        assert run.manifest.world[name]["digest"] in body
    for promise in no_promises(run.config, run.verdict, run.manifest.world["test"]["name"]):
        assert promise.split(":")[0] in body


def test_the_card_of_a_run_without_a_program_names_the_weights_alone(run: Hardened) -> None:
    refused = Finding(code="export", severity="warning", saw="It branches.", do="Load the weights.")
    assert "torch.export.load" in card_of(run)
    said = card_of(changed(run, findings=[refused]))
    assert "torch.export.load" not in said
    assert "load_file" in said


def test_the_command_line_reports_and_verifies(run: Hardened) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["report", str(run.folder)]).exit_code == 0
    assert run.folder is not None
    assert "Hardening report" in (run.folder / "report.html").read_text(encoding="utf-8")
    assert page_of(run).tables[0].rows[0][0] == "before"
    assert runner.invoke(app, ["verify", str(run.folder)]).exit_code == 0
