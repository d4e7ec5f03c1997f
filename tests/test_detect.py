"""Detection runs: what is counted, what a run holds, proofs, the page, and bad input."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

import blindspots as bs
from blindspots.data import ArrayData, digits_training
from blindspots.errors import InputError
from blindspots.experiments.detect import batches, measure, verdict
from blindspots.experiments.detect import conclude as counting
from blindspots.experiments.detect.batches import SIZES, p_values, powers
from blindspots.experiments.detect.chosen import TEST
from blindspots.experiments.detect.conclude import Evidence, OfDetector, conclude
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.detect.detectors.catalogue import DETECTORS
from blindspots.experiments.detect.detectors.density import Density
from blindspots.experiments.detect.detectors.detector import Detector
from blindspots.experiments.detect.experiment import Detection, detect
from blindspots.experiments.detect.measure import Scores
from blindspots.experiments.detect.rows import split
from blindspots.experiments.detect.verdict import DetectVerdict, Overhead
from blindspots.models import BlackBox
from blindspots.records import Share
from blindspots.report.experiment import html
from blindspots.runs.folder import Folder
from blindspots.runs.store import Run, opened, read_run
from blindspots.runs.verify import Verification, verify
from test_cli import blindspots as command
from test_cli import in_one_sentence, plain

THREAT = bs.Linf(0.15)
QUICK = """[[stage]]
name = "joint"
attack = "joint:steps=10,weight=0.5,random_start=false"
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A protocol of one stage."""
    path = tmp_path_factory.mktemp("protocols") / "quick.toml"
    path.write_text(QUICK)
    return str(path)


def on_digits(quick: str, out: Path | None, **changes: Any) -> Detection:
    """A run of seconds."""
    given: dict[str, Any] = {
        "threat": THREAT, "detector": "density", "data": digits_training(), "test": bs.load_data("digits", 40),
        "fit": 200, "protocol": quick, "bare_protocol": quick, "train_attack": ["fgsm"],
        "test_attack": ["apgd:steps=5", "deepfool"], "distortion_rows": 8, "out": out, "threads": 1,
    }  # fmt: skip
    return detect(bs.load_model("digits"), **given | changes)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Fewer batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCHES", 3)
        yield


@pytest.fixture(scope="module")
def run(quick: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detect") / "run"
    on_digits(quick, out, detector=["density", "mmd:rows=100"])
    return out


def read(folder: Path) -> Run[DetectConfig, DetectVerdict]:
    return opened(Folder(folder))


def verdict_of(folder: Path) -> DetectVerdict:
    return read(folder).verdict


# ------------------------------------------------------------------ what is counted

ROWS = 6
FAR = np.full(ROWS, np.inf)
OVERHEAD = Overhead(parameters_model=1, parameters_detector=1, bytes_model=4, bytes_detector=4, forwards=1)


def hand_made(fooled: list[int], caught: list[int], rejected: list[int], won: list[int]) -> tuple[Evidence, OfDetector]:
    """Six rows, one attack, one radius; the last row the model gets wrong. Lists name the rows of which something is
    true."""

    def of(rows: list[int]) -> np.ndarray:
        return np.isin(np.arange(ROWS), rows)

    y = np.zeros(ROWS, np.int64)
    right = ~of([5])
    bare = {"right": right, "won": of([]), "norm": FAR}
    prediction = np.where(right, 0, 1)
    evidence = Evidence(THREAT, ["pgd"], [0.15], "fmn", y, prediction, of(fooled)[None, None], bare, FAR)
    scores = {
        "pair": np.array([0.5, 1.0]),
        "clean": of(rejected).astype(np.float64),
        "attacks": of(caught).astype(np.float64)[None, None],
        "bare": of(rejected).astype(np.float64),
    }
    pair = {"right": right & ~of(rejected), "won": of(won), "norm": FAR, "score": np.zeros(len(won))}
    return evidence, OfDetector(Density(), scores, pair, {}, FAR, OVERHEAD)


def test_a_row_falls_to_unaware_and_to_adaptive_examples_alike() -> None:
    evidence, detector = hand_made(fooled=[0, 1, 2], caught=[1, 2], rejected=[3], won=[2])
    found = conclude(evidence, {"one": detector})
    pair = found.detectors[0].pair
    assert found.clean.hits == 5  # all but 5
    assert pair.clean.hits == 4  # 3 is rejected besides
    assert pair.rejected.hits == 1
    assert pair.unaware.hits == 3  # 0 is fooled and passes
    assert pair.evaluated.hits == 3  # 2 falls to who knows the detector
    assert pair.adaptive.hits == found.adaptive_accuracy * ROWS == 2  # 1 and 4


def test_examples_count_that_fool_and_rows_that_are_right() -> None:
    evidence, detector = hand_made(fooled=[0, 1, 2, 5], caught=[1, 2, 5], rejected=[3], won=[])
    cell = conclude(evidence, {"one": detector}).detectors[0].cells[0]
    assert (cell.fooled.hits, cell.fooled.rows) == (3, 5)  # what the model gets wrong by itself is no success
    assert (cell.detected.hits, cell.detected.rows) == (2, 3)
    assert cell.auc == pytest.approx((2 * (4 + 0.5) + (0 * 1 + 4 * 0.5)) / 15)  # 15 pairs, ties for half
    assert (cell.tpr_at_fpr["0.05"].hits, cell.tpr_at_fpr["0.01"].hits) == (0, 0)  # one of five is more than 5 %


def test_nothing_to_detect_is_said() -> None:
    evidence, detector = hand_made(fooled=[5], caught=[], rejected=[], won=[])
    with pytest.raises(InputError, match="there is nothing to detect"):
        conclude(evidence, {"one": detector})


def test_the_verdict_speaks_of_the_pair_that_withstands_the_most() -> None:
    evidence, weak = hand_made(fooled=[0, 1], caught=[0, 1], rejected=[], won=[0, 1, 2])
    _, strong = hand_made(fooled=[0, 1], caught=[0], rejected=[], won=[0])
    found = conclude(evidence, {"weak": weak, "strong": strong})
    assert found.detector == "strong"
    assert [d.name for d in found.best_first()] == ["strong", "weak"]
    assert found.auc < max(d.auc for d in found.detectors)  # though the other one's area is larger
    assert next(iter(found.metrics())) == "adaptive_accuracy"
    assert found.metrics()["auc@weak"].value > found.metrics()["auc"].value


def test_distortion_is_of_the_smallest_changes_that_any_search_found() -> None:
    evidence, detector = hand_made(fooled=[0], caught=[0], rejected=[4], won=[])
    evidence = replace(evidence, smallest_model=np.array([1.0, 1, 2, 9, 1, 1]))
    nearest = np.array([np.inf, 4, np.inf, 5, np.inf, np.inf])  # in the evaluation of the pair
    smallest = np.array([3.0, np.inf, np.inf, 9, 1, 1])
    detector = replace(detector, smallest=smallest, pair={**detector.pair, "norm": nearest})
    found = conclude(evidence, {"one": detector}).detectors[0].distortion
    assert found.rows == 4  # the pair rejects row 4, the model is wrong on row 5
    assert (found.median_model, found.median_pair, found.factor) == (1, 4, 4)
    assert found.not_found.hits == 1
    nothing = replace(detector, pair={**detector.pair, "norm": FAR})
    lost = conclude(evidence, {"one": nothing}).detectors[0].distortion
    assert (lost.median_pair, lost.factor) == (9, 9)  # two of four: the lower of the middle two is finite


# ------------------------------------------------------------------ batches


class ByLargest(nn.Module):
    """Rejects a batch with a number above 1, and remembers all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def p_value(self, batch: Tensor, seed: int = 0, permutations: int = 1000) -> float:
        self.seen.append(batch)
        return 0.01 if batch.max() > 1 else 0.5


def test_power_of_a_test_that_sees_every_example() -> None:
    clean, bad = torch.linspace(0, 1, 60)[:, None], torch.linspace(2, 3, 30)[:, None]
    test = ByLargest()
    found = list(powers(p_values(test, clean, {"pgd": bad}, seed=0)))
    assert found[0].kind == "clean"
    assert {p.rejected.share for p in found if p.kind == "clean"} == {0}
    assert {(p.rejected.share, p.accuracy) for p in found if p.kind == "pgd"} == {(1, 1)}
    assert (1.0, 50) not in {(p.share, p.size) for p in found if p.kind == "pgd"}  # there are 30 examples
    assert all(len(batch.unique()) == len(batch) for batch in test.seen)
    assert len(test.seen) == batches.BATCHES * (len(SIZES) + 3 * len(SIZES) - 1)


def test_rows_of_batches_that_pass_count_by_what_they_are() -> None:
    class Blind(ByLargest):
        def p_value(self, batch: Tensor, seed: int = 0, permutations: int = 1000) -> float:
            return 1.0

    found = powers(p_values(Blind(), torch.rand(60, 1), {"pgd": torch.rand(60, 1)}, seed=0))
    half = next(p for p in found if (p.kind, p.share, p.size) == ("pgd", 0.5, 10))
    assert (half.rejected.share, half.accuracy) == (0, 0.5)


# ------------------------------------------------------------------ rows


def test_no_row_plays_two_parts() -> None:
    x = torch.rand(200, 5)
    parts = split(ArrayData(x, torch.arange(200) % 3), None, None, None, seed=0)
    places = [
        [int((x == row).all(1).nonzero()[0]) for row in part[0]] for part in (parts.fit, parts.threshold, parts.test)
    ]
    assert [len(p) for p in places] == [90, 30, 80]
    assert len({at for p in places for at in p}) == 200


def test_digits_are_fitted_on_training_rows_and_measured_on_test_rows() -> None:
    sources = DetectConfig(model="digits", data="digits", rows=60).datasets()
    assert sources["data"].training
    assert (sources["test"].spec, sources["test"].rows, sources["test"].training) == ("digits", 60, False)
    parts = split(digits_training(), bs.load_data("digits"), None, None, seed=0)
    assert [len(part[1]) for part in (parts.fit, parts.threshold, parts.test)] == [973, 324, 500]


@pytest.mark.parametrize("said", [{"test": "other.npz"}, {"data_rows": 500}])
def test_digits_that_are_measured_elsewhere_are_the_rows_of_that_name(said: dict[str, Any]) -> None:
    assert not DetectConfig(model="digits", data="digits", **said).datasets()["data"].training


# ------------------------------------------------------------------ a run folder


def test_a_run_folder_holds_what_was_promised(run: Path) -> None:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names >= {
        "run.json", "detector.safetensors", "detectors/density.safetensors", "detectors/mmd.safetensors",
        "adaptive/density/run.json", "adaptive/mmd/run.json", "bare/run.json",
    }  # fmt: skip
    said = json.loads((run / "run.json").read_text())["verdict"]
    assert 0 <= said["auc"] <= 1
    assert 0 <= said["adaptive_accuracy"] <= 1
    assert said["tpr_at_fpr"].keys() == {"apgd", "deepfool"}
    assert said["tpr_at_fpr"]["apgd"].keys() == {"0.01", "0.05"}
    assert said["overhead"]["forwards"] >= 1
    file = read(run).parts[f"detectors/{said['detector']}"]["file"]
    assert (run / "detector.safetensors").read_bytes() == file.numpy().tobytes()


def test_figures_hang_together(run: Path) -> None:
    v = verdict_of(run)
    for d in v.detectors:
        p = d.pair
        assert p.adaptive.hits <= min(p.unaware.hits, p.evaluated.hits) <= p.clean.hits <= v.clean.hits
        assert [c.radius for c in d.cells if c.attack == "apgd"] == [0.075, 0.15, 0.3]
        fooled = [c.fooled.hits for c in d.cells if c.attack == "apgd"]
        assert fooled == sorted(fooled)
        assert sum(d.histogram.clean) == v.clean.hits


def test_times_stand_in_the_log_and_not_in_the_verdict(run: Path) -> None:
    assert len(read(run).log.timing["overhead/mmd"]) == 4
    assert "seconds" not in (run / "run.json").read_text()


@pytest.mark.slow
def test_in_memory_and_in_a_folder_are_the_same(run: Path, quick: str) -> None:
    found = on_digits(quick, None, detector=["density", "mmd:rows=100"])
    assert found.folder is None
    assert found.parts.digests == read(run).parts.digests
    pair = found.guarded("mmd")
    assert pair.digest == bs.load_detector(run, name="mmd").digest


def test_a_loaded_detector_rejects_as_the_verdict_says(run: Path) -> None:
    v, (x, y) = verdict_of(run), bs.load_data("digits", 40).rows(0, 40)
    for d in v.detectors:
        pair = bs.load_detector(run, name=d.name)
        assert pair.rejects
        with pair.borrowed(), torch.no_grad():
            logits = pair.logits(x)
        assert int((logits.argmax(1) == 10).sum()) == d.pair.rejected.hits
        assert int((logits.argmax(1) == y).sum()) == d.pair.clean.hits
    with pytest.raises(InputError, match="among density, mmd, got 'lid'"):
        bs.load_detector(run, name="lid")


@dataclass(frozen=True)
class Refusing(Density):
    name = "refusing"

    def learn(self, *given: Any) -> dict[str, Tensor]:
        raise InputError("expected something else: change it")


@pytest.fixture(scope="module")
def odd(quick: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Detection, Verification]:
    """Of two detectors that were not named one cannot be fitted, and the test attack is the training attack."""
    with pytest.MonkeyPatch.context() as patch:
        known(patch, Refusing, Density)
        out = tmp_path_factory.mktemp("odd") / "run"
        found = on_digits(quick, out, detector=None, test_attack=[bs.attacks.FGSM()])
        return found, verify(out)


def known(patch: pytest.MonkeyPatch, *kinds: type[Detector]) -> None:
    """As if these were all detectors that there are."""
    for name in list(reversed(DETECTORS)):  # what is undone last comes last again
        patch.delitem(DETECTORS, name)
    for kind in kinds:
        patch.setitem(DETECTORS, kind.name, kind)


def test_detectors_that_cannot_be_fitted_are_left_out(odd: tuple[Detection, Verification]) -> None:
    found, again = odd
    assert [d.name for d in found.verdict.detectors] == ["density"]
    said = [f.saw for f in found.findings if f.code == "detector-left-out"]
    assert said == ["The detector refusing was left out: expected something else: change it."]
    assert "detectors/refusing" in found.parts
    assert "scores/refusing" not in found.parts
    assert again.ok, again.problems


def test_attacks_that_were_learned_from_are_no_test(odd: tuple[Detection, Verification]) -> None:
    assert odd[0].findings[0].code == "seen-attack"


def test_named_detectors_have_to_be_fitted(quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, Refusing)
    with pytest.raises(InputError, match="expected something else"):
        on_digits(quick, None, detector=Refusing())


def test_without_any_detector_there_is_no_verdict(quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, Refusing)
    with pytest.raises(InputError, match="a detector that can be fitted, found none: The detector refusing was left"):
        on_digits(quick, None, detector=None)


# ------------------------------------------------------------------ proofs


def test_a_finished_run_is_proved_again(run: Path) -> None:
    outcome = verify(run)
    assert outcome.ok, outcome.problems
    assert any("every detector gives the stored scores" in claim for claim in outcome.checks)
    assert any("Fits, tests of batches" in told for told in outcome.notes)


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    for path in run.rglob("*"):
        if path.is_file():
            target = tmp_path / "run" / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "run"


@pytest.mark.parametrize(
    "name", ["scores/density", "examples/apgd", "detectors/mmd", "pairs/mmd", "rows", "adaptive/density/shards/00000"]
)
def test_one_changed_byte_is_found(copied: Path, name: str) -> None:
    path = copied / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert not verify(copied).ok


def test_a_verdict_that_was_made_up_is_found_though_it_is_sealed(copied: Path) -> None:
    file = read_run(Folder(copied))
    assert file.verdict is not None
    better = file.model_copy(update={"verdict": {**file.verdict, "adaptive_accuracy": 0.99}})
    (copied / "run.json").write_bytes(better.text)
    assert any("expected adaptive_accuracy to be" in problem for problem in verify(copied).problems)
    (copied / "run.json").write_bytes(better.text.replace(b"0.99", b"0.98"))
    assert "it was changed" in verify(copied).problems[0]


def _clipped(scores: Scores, rate: float) -> Share:
    return Share.of(int((scores.positives >= np.quantile(scores.negatives, 1 - rate)).sum()), len(scores.positives))


WRONG: list[tuple[Any, str, Callable[..., Any], str]] = [
    (measure, "auc", lambda scores: float((scores.positives[:, None] >= scores.negatives).mean() * 0.99), "auc"),
    (measure, "auc_variance", lambda scores: 0.001, "auc_interval"),
    (measure, "average_precision", lambda scores: 0.5, "detectors"),
    (measure, "tpr_at", _clipped, "detectors"),
    (counting, "_median", lambda norms: float(np.mean(norms)), "detectors"),
    (counting, "powers", lambda columns: iter(()), "detectors"),
    (counting, "_share", lambda hits: Share.of(int(hits.sum()) // 2, len(hits)), "clean"),
]


@pytest.mark.parametrize(("module", "name", "wrong", "number"), WRONG, ids=[w[1] for w in WRONG])
def test_a_wrong_formula_is_found(
    copied: Path, quick: str, module: Any, name: str, wrong: Any, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, wrong)
    file = read_run(Folder(copied))
    (copied / "run.json").write_bytes(file.model_copy(update={"verdict": None, "parts": {}, "exports": {}}).text)
    on_digits(quick, copied, detector=["density", "mmd:rows=100"], resume=True)  # only concludes
    assert any(f"expected {number} to be" in problem for problem in verify(copied).problems)


# ------------------------------------------------------------------ an area is never alone


def test_every_record_with_an_area_has_the_adaptive_figure() -> None:
    found = [r for r in vars(verdict).values() if isinstance(r, type) and issubclass(r, BaseModel)]
    with_area = [r for r in found if "auc" in r.model_fields]
    assert {r.__name__ for r in with_area} == {"Cell", "DetectorRecord", "DetectVerdict"}
    assert all("adaptive_accuracy" in r.model_fields for r in with_area)


def test_every_area_of_the_report_has_the_adaptive_figure_beside_it(run: Path) -> None:
    page, v = html(read(run)), verdict_of(run)
    areas = {f"{value:.3f}" for d in v.detectors for value in (d.auc, *(c.auc for c in d.cells if c.auc is not None))}
    rows = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if any(f"<td>{a}<small>" in row for a in areas)]
    assert len(rows) == sum(1 + len(d.cells) for d in v.detectors)
    assert all(re.search(r'<td class="[^"]*adaptive">', row) for row in rows)
    tables = [head for head in re.findall(r"<thead>.*?</thead>", page, re.DOTALL) if ">AUC<" in head]
    assert all(re.search(r">AUC</th><th scope=\"col\">Pair, adaptive", head) for head in tables)
    lists = [block for block in re.findall(r'<dl class="both">.*?</dl>', page, re.DOTALL) if "AUC" in block]
    assert all("adaptive" in block for block in lists)
    assert len(lists) == 2


def test_every_area_in_the_findings_and_the_headline_has_it_too(run: Path) -> None:
    v = verdict_of(run)
    said = [f.saw for f in v.findings if "AUC" in f.saw]
    assert all("accuracy of the pair" in text for text in said)
    headline = re.search(r"<h1>(.*?)</h1>", html(read(run)), re.DOTALL)
    assert headline is not None
    assert "AUC" in headline[1]
    assert "adversary who knows it" in " ".join(headline[1].split())


# ------------------------------------------------------------------ from the shell


def test_the_shell_shows_both_figures_and_proves_the_run(quick: str, tmp_path: Path) -> None:
    line = (
        f"detect digits --data digits --rows 24 --fit 100 --detector squeezing --test-attack apgd:steps=5 --protocol "
        f"{quick} --bare-protocol {quick} --threads 1 --out {tmp_path / 'run'}"
    )
    result = command(line)
    assert result.exit_code == 0, result.output
    said = plain(result.stdout)
    assert re.search(r"Detector\s+AUC\s+Adaptive", said)
    assert (tmp_path / "run/report.html").is_file()
    proved = command(f"verify {tmp_path / 'run'}")
    assert proved.exit_code == 0, proved.output
    again = command(f"{line} --resume --json")
    assert json.loads(again.stdout)["detector"] == "squeezing"


def test_a_model_with_its_detector_is_evaluated_by_name(run: Path, quick: str, tmp_path: Path) -> None:
    result = command(
        f"evaluate guarded:{run} --data digits --rows 40 --threat linf:0.15 --protocol {quick} --threads 1 "
        f"--out {tmp_path / 'again'} --json"
    )
    assert result.exit_code == 0, result.output
    v = verdict_of(run)
    pair = next(d.pair for d in v.detectors if d.name == v.detector)
    assert json.loads(result.stdout)["robust_of_right"]["hits"] == pair.evaluated.hits
    proved = command(f"verify {tmp_path / 'again'}")
    assert proved.exit_code == 0, proved.output
    loaded = bs.load_model(f"guarded:{run}")
    assert loaded.rejects
    assert loaded.spec == f"guarded:{run}"
    assert bs.verify(tmp_path / "again").ok


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--data digits --detector densty", "did you mean 'density'"),
        ("--data digits --threat linf", "linf:RADIUS"),
        ("--data digits --test-attack pgdd", "did you mean 'pgd'"),
        ("--data digits --protocol nothing", "expected a protocol among"),
        ("--data digits --rows 5", "expected at least 20 rows to measure, got 5"),
        ("--data digits --fpr 1", "expected less than 1 for --fpr"),
        ("--data nowhere.npz", "expected --threat for nowhere.npz"),
        ("--data nowhere.npz --threat linf:0.1", "which does not exist"),
    ],
)
def test_bad_input_ends_in_one_sentence(line: str, said: str, tmp_path: Path) -> None:
    result = command(f"detect digits {line} --out {tmp_path / 'run'}")
    assert result.exit_code == 2, result.output
    assert said in in_one_sentence(result)
    assert not (tmp_path / "run" / "run.json").exists()


def test_rows_of_one_class_are_refused(quick: str) -> None:
    x = torch.rand(200, 1, 8, 8)
    with pytest.raises(InputError, match="at least two classes, got 90 of class 3 alone"):
        detect(bs.load_model("digits"), x, torch.full((200,), 3), threat=THREAT, detector="density", protocol=quick)


def test_models_without_gradients_are_refused() -> None:
    model = BlackBox(lambda x: x.flatten(1)[:, :3], answers="scores")
    with pytest.raises(InputError, match="expected a model whose gradients can be taken"):
        detect(model, torch.rand(100, 1, 8, 8), torch.arange(100) % 3, threat=THREAT)


def test_a_detector_with_nothing_to_learn_from_is_refused(quick: str) -> None:
    with pytest.raises(InputError, match="expected training attacks that fool the model within linf:1e-06, got none"):
        on_digits(quick, None, threat=bs.Linf(1e-6), detector="network")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    bs.attack(bs.load_model("digits"), x, y, bs.attacks.FGSM(), threat=THREAT, out=tmp_path / "run", threads=1)
    with pytest.raises(InputError, match="expected a run of `blindspots detect` in"):
        bs.load_detector(tmp_path / "run")
    with pytest.raises(InputError, match=r"found none in .*nowhere"):
        bs.load_detector(tmp_path / "nowhere")


def test_every_threat_has_attacks_to_be_tested_on() -> None:
    assert TEST.keys() == {"linf", "l2", "l1", "l0"}
