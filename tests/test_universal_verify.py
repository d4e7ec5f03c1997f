"""verify of universal runs finds a wrong formula in any number, and a perturbation that does something else."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from torch import Tensor

import blindspots as bs
from blindspots.experiments.universal import count, geometry
from blindspots.experiments.universal.experiment import UniversalRun
from blindspots.experiments.universal.verdict import Trial
from blindspots.records import Share
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sealed, sha256
from blindspots.runs.store import opened
from blindspots.runs.verify import verify


def searched(out: Path | None = None) -> UniversalRun:
    return bs.universal(
        "digits", data=bs.load_data("digits", 60), threat=bs.Linf(0.3), method="sgd:passes=2", fit=40, images=(16,),
        several=2, on=["digits-robust"], cross=True, geometry=True, threads=1, out=out,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("universal") / "run"
    searched(out)
    return out


def test_a_sound_run_holds(run: Path) -> None:
    proof = verify(run)
    assert proof.ok, proof.problems
    assert any("searches" in note for note in proof.notes)


WRONG: dict[str, Any] = {
    "share": (count, lambda clean, moved, target: Share.of(int((clean == moved).sum()), len(clean))),
    "_equal": (count, lambda a, b: Share.of(int((a != b).sum()), len(a))),
    "dominant_labels": (count, lambda clean, moved, classes: LABELS(moved, clean, classes)),
    "_energy": (geometry, lambda values, k: float(values[:k].sum() / values.sum())),
    "_spectrum": (geometry, lambda gram: (SPECTRUM(gram)[0] ** 2, SPECTRUM(gram)[1])),
    "history_of": (count, lambda columns: []),
    "trials_of": (count, lambda columns: [Trial(period=4, start=0, passes=1, fooled=0.5)]),
}
LABELS, SPECTRUM = count.dominant_labels, geometry._spectrum


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_formula_in_the_verdict_is_found(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is concluded again with it from the same parts, and sealed."""
    module, wrong = WRONG[name]
    copytree(run, tmp_path / "run")
    found = opened(Folder(tmp_path / "run"))
    models = [bs.load_model("digits"), bs.load_model("digits-robust")]
    monkeypatch.setattr(module, name, wrong)
    verdict = count.count(found.config, found.parts, bs.Linf(0.3), models)
    assert verdict.model_dump(exclude={"findings"}) != found.verdict.model_dump(exclude={"findings"})
    file = json.loads((run / "run.json").read_text())
    file["verdict"] = verdict.model_dump(mode="json") | {"findings": file["verdict"]["findings"]}
    (tmp_path / "run" / "run.json").write_bytes(sealed(json.dumps(file, indent=2).encode()))
    problems = verify(tmp_path / "run").problems
    assert problems
    assert all("as it follows from the parts" in problem for problem in problems)


def changed(run: Path, part: str, column: str, change: Any) -> Iterator[str]:
    """What verify says of a run whose part was made with other columns, digests and seals included."""
    found = opened(Folder(run))
    columns = found.parts[part]
    found.parts.keep(part, {**columns, column: change(columns[column])})
    file = json.loads((run / "run.json").read_text())
    file["parts"][part] = sha256((run / f"{part}.safetensors").read_bytes())
    (run / "run.json").write_bytes(sealed(json.dumps(file, indent=2).encode()))
    yield from verify(run).problems


def flipped(t: Tensor) -> Tensor:
    """Another class in the first place."""
    other = t.clone()
    other.view(-1)[0] = (other.view(-1)[0] + 1) % 10
    return other


CHANGES = {
    "heldout/00000": "moved", "fit/00000": "clean", "controls": "moved", "norms": "random", "images/16": "moved",
    "several/1": "moved", "models/1": "clean", "crossed/1": "moved", "geometry": "random", "shown": "prediction",
}  # fmt: skip


@pytest.mark.parametrize("part", CHANGES)
def test_a_prediction_that_the_network_does_not_make_is_found(part: str, run: Path, tmp_path: Path) -> None:
    copytree(run, tmp_path / "run")
    problems = list(changed(tmp_path / "run", part, CHANGES[part], flipped))
    assert any("expected class" in problem or "shown" in problem for problem in problems), problems


@pytest.mark.parametrize("part", ["search", "controls", "images/16", "cross/1"])
def test_a_perturbation_beyond_the_threat_is_found(part: str, run: Path, tmp_path: Path) -> None:
    copytree(run, tmp_path / "run")
    problems = list(changed(tmp_path / "run", part, "v", lambda v: v * 1.01))
    assert any("expected perturbations of at most 0.3" in problem for problem in problems)


def test_random_changes_are_those_that_the_seed_draws(run: Path, tmp_path: Path) -> None:
    copytree(run, tmp_path / "run")
    problems = list(changed(tmp_path / "run", "controls", "v", lambda v: torch.cat([-v[:1], v[1:]])))
    assert any("expected the random signs that the seed draws" in problem for problem in problems)
