"""`harden` from end to end on a small network: what it writes, that it can be resumed, and what it refuses."""

import errno
import gc
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binom, binomtest
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import blindspots as bs
from blindspots.cli.app import app
from blindspots.data import ArrayData
from blindspots.errors import InputError
from blindspots.experiments.harden.experiment import Harden, Hardened
from blindspots.experiments.harden.prepare import draw_anew
from blindspots.experiments.harden.recipe import NoisyStep, Optimizer, Recipe, Search
from blindspots.experiments.harden.verdict import Control, HardenVerdict
from blindspots.experiments.harden.verify import checks
from blindspots.records import Share
from blindspots.runs import run as running
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from blindspots.runs.world import Progress, World
from closed_form import planes

RECIPE = Recipe(epochs=6, batch=16, optimizer=Optimizer(rate=2e-2), adversary=NoisyStep())
THREAT = bs.Linf(0.05)
QUICK = str(Path(__file__).with_name("quick.toml"))
ODD = Share.of(1, 40)
FROZEN = "75 of 483 parameters learn; the others do not require gradients and stay as they are."


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))


def rows(count: int = 200, seed: int = 0) -> ArrayData:
    known = planes(count, (1, 4, 4), 3, seed)
    return ArrayData(known.x, known.y)


TEST = ArrayData(*rows(240).rows(200, 240))


def hardened(out: Path | None = None, **settings: Any) -> Hardened:
    usual: dict[str, Any] = {
        "data": rows(), "test": TEST, "threat": THREAT, "recipe": RECIPE, "protocol": QUICK, "controls": False,
        "study_rows": 0, "threads": 1,
    }  # fmt: skip
    return bs.harden(settings.pop("model", None) or network(), out=out, **usual | settings)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Hardened:
    return hardened(tmp_path_factory.mktemp("runs") / "run", controls=True, study_rows=10)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Hardened:
    """What a run that is stopped has to end as."""
    return hardened(tmp_path_factory.mktemp("runs") / "whole", controls=True)


def folder_of(run: Hardened) -> Path:
    assert run.folder is not None
    return run.folder


def test_a_run_says_everything_that_it_promises(run: Hardened) -> None:
    said = json.loads((folder_of(run) / "run.json").read_text())["verdict"]
    assert {"before", "after", "epochs", "best_epoch", "history", "controls", "claim", "study"} <= said.keys()
    assert said["epochs"] == 6
    assert said["before"].keys() == said["after"].keys() >= {"robust_accuracy", "interval", "clean_accuracy"}
    assert [c["name"] for c in said["controls"]] == ["more epochs", "noise", "augmentation"]
    for name in ("model.safetensors", "model.pt2", "MODEL_CARD.md", "log.csv"):
        assert (folder_of(run) / name).is_file(), name
    assert not (folder_of(run) / "tensorboard").exists()
    assert next(iter(run.verdict.metrics())) == "robust_accuracy"
    assert run.verdict.metrics()["robust_accuracy"].value == run.after.robust_accuracy


def test_clocks_stand_in_the_log_and_nowhere_else(run: Hardened) -> None:
    assert "seconds" not in (folder_of(run) / "run.json").read_text()
    took = run.log.timing["training"]
    assert took.keys() == {"epochs", "epoch", "natural_epoch", "checks", "peak_memory"}
    assert all(value > 0 for value in took.values())


def test_the_verdicts_are_those_of_evaluate_on_the_file_that_was_written(run: Hardened) -> None:
    for name, model in (("before", network()), ("after", bs.load_model(str(folder_of(run) / "model.pt2")))):
        again = bs.evaluate(model, data=TEST, threat=THREAT, protocol=QUICK, threads=1)
        verdict = getattr(run.verdict, name)
        assert again.robust_accuracy == verdict.robust_accuracy
        assert again.verdict.clean_accuracy == verdict.clean_accuracy


def test_the_claim_is_counted_on_rows_and_tested_exactly(run: Hardened) -> None:
    """McNemar's test in closed form: twice the lower tail of a fair coin."""
    best = max(run.verdict.controls, key=lambda c: c.clean.share)
    ours = torch.cat([shard["right"] for shard in run.after.shards()])
    theirs = run.parts[f"controls/{best.name.replace(' ', '-')}"]["right"]
    claim = run.verdict.claim
    assert claim is not None
    a, b = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert (claim.only_hardened, claim.only_control, claim.against) == (a, b, best.name)
    assert claim.p_value == pytest.approx(min(1.0, 2 * binom.cdf(min(a, b), a + b, 0.5)))


def test_a_finished_run_is_verified(run: Hardened) -> None:
    outcome = verified(folder_of(run))
    assert outcome.ok, outcome.problems
    assert any("held-out rows" in check for check in outcome.checks)


def verified(folder: Path) -> Any:
    return bs.verify(folder, bs.Model(network(), name="Sequential"), rows(), given={"test": TEST})


def test_the_log_has_a_line_for_every_epoch_that_was_checked(run: Hardened) -> None:
    lines = (folder_of(run) / "log.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,radius,loss")
    assert len(lines) == 1 + len(run.verdict.history)


def test_the_given_network_stays_as_it_is() -> None:
    net = network().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    hardened(model=net, epochs=1)
    assert equal(before, dict(net.state_dict()))
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_a_hardened_network_answers_as_it_was_judged_without_a_word_more() -> None:
    net = network()
    net.insert(3, nn.Dropout(0.5))
    run = hardened(model=net, epochs=2)
    x, y = TEST.rows(0, len(TEST))
    assert not any(m.training for m in run.model.net.modules())
    right = (run.model.logits(x).argmax(1) == y).float().mean()
    assert right.item() == pytest.approx(run.verdict.after.clean_accuracy)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        hardened(tmp_path / name, seed=seed, epochs=2)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_training_from_scratch_begins_with_other_weights_than_fine_tuning(tmp_path: Path) -> None:
    still = RECIPE.model_copy(update={"epochs": 1, "optimizer": Optimizer(rate=1e-9)})
    hardened(tmp_path / "tuned", recipe=still)
    hardened(tmp_path / "fresh", recipe=still, from_scratch=True)
    given = network().state_dict()
    assert torch.allclose(weights(tmp_path / "tuned")["1.weight"], given["1.weight"], atol=1e-5)
    assert not torch.allclose(weights(tmp_path / "fresh")["1.weight"], given["1.weight"], atol=1e-2)


def test_adversarial_training_helps_a_network_that_leans_on_fragile_features() -> None:
    """One feature tells the classes by far but with doubt, sixty by less than the radius and without (Tsipras 2019)."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(2, (1200,), generator=g)
    sign = (2 * y - 1).float()
    sturdy = torch.where(torch.rand(1200, generator=g) < 0.9, sign, -sign)
    x = torch.cat([(0.5 + 0.3 * sturdy)[:, None], (0.5 + 0.05 * sign)[:, None].expand(-1, 60)], 1)
    torch.manual_seed(0)
    run = hardened(
        model=bs.Model(nn.Linear(61, 2), mean=0.5), epochs=20, data=ArrayData(x[:500], y[:500]),
        test=ArrayData(x[1000:], y[1000:]), threat=bs.Linf(0.1), controls=True,
    )  # fmt: skip
    robust, natural = run.verdict.after, run.verdict.controls[0]
    assert robust.robust_accuracy > 0.85  # what the sturdy feature alone allows
    assert natural.robust.share < 0.5
    assert natural.clean.share > robust.clean_accuracy
    assert run.verdict.claim is not None
    assert run.verdict.claim.only_control > run.verdict.claim.only_hardened


def test_frozen_parameters_stay_as_they_are_and_it_is_said_how_many_learn(tmp_path: Path) -> None:
    net = network()
    net[1].requires_grad_(False)  # type: ignore[index]
    for scratch in (False, True):
        run = hardened(tmp_path / str(scratch), model=net, epochs=1, from_scratch=scratch, controls=not scratch)
        after = weights(tmp_path / str(scratch))
        assert torch.equal(after["1.weight"], net[1].weight)  # type: ignore[index]
        assert not torch.equal(after["3.weight"], net[3].weight)  # type: ignore[index]
        assert [f.saw for f in run.verdict.findings if f.code == "frozen"] == [FROZEN]
        again = bs.load_model(str(tmp_path / str(scratch) / "model.pt2"))
        assert [p.requires_grad for p in again.net.parameters()] == [False, False, True, True]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's, of a copied program
def test_a_hardened_network_can_be_hardened_again(tmp_path: Path) -> None:
    hardened(tmp_path / "run", epochs=1)
    for model in (hardened(epochs=1).model, bs.load_model(str(tmp_path / "run" / "model.pt2"))):
        assert hardened(model=model, epochs=1).verdict.epochs == 1


@pytest.mark.parametrize("epochs", [0, -1, 2.5, "three"])
def test_epochs_that_are_none_are_refused(epochs: Any) -> None:
    with pytest.raises(InputError, match=r"expected .*epochs, got"):
        hardened(epochs=epochs)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stopped_in", ["training", "controls/noise", "after/"])
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, whole: Hardened, stopped_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "EVERY", 0.0)

    def watch(progress: Progress) -> None:
        if progress.part.startswith(stopped_in) and (progress.done == 3 or stopped_in != "training"):
            raise StoppedError

    def again(**settings: Any) -> Hardened:
        return hardened(tmp_path / "run", controls=True, **settings)

    with pytest.raises(StoppedError):
        again(watch=watch)
    with pytest.raises(InputError, match="resume it with --resume"):
        again()
    other = again(resume=True)
    assert (tmp_path / "run" / "run.json").read_bytes() == (folder_of(whole) / "run.json").read_bytes()
    assert other.verdict == whole.verdict


def test_a_finished_run_that_is_resumed_is_read(run: Hardened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Harden, "make", None)  # nothing is trained
    again = hardened(folder_of(run), controls=True, study_rows=10, resume=True)
    assert again.verdict == run.verdict


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"recipe": RECIPE.model_copy(update={"batch": 8})}, "settings"),
        ({"threat": bs.Linf(0.06)}, "threat"),
        ({"extra": rows(50)}, "extra"),
        ({"seed": 1}, "seed"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(16, 3))}, "model"),
    ],
)
def test_another_run_is_refused(run: Hardened, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"the {field} changed"):
        hardened(folder_of(run), **{"controls": True, "study_rows": 10, "resume": True} | settings)


# ------------------------------------------------------------------ what verify finds


def forged(run: Hardened, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any) -> HardenVerdict:
    """The verdict of a conclude with one wrong formula."""
    monkeypatch.setattr(f"blindspots.experiments.harden.{name}", wrong)
    config, world = run.config, World(run.config, {"model": bs.Model(network()), "data": rows(), "test": TEST})
    return Harden().conclude(config, world, run.parts)


@pytest.mark.parametrize(
    ("name", "wrong", "number"),
    [
        (
            "conclude.held_out_off",
            lambda held_out, after: 100 * (after.robust_accuracy - held_out.share),
            "held_out_off",
        ),
        ("conclude.binomtest", partial(binomtest, alternative="greater"), "claim"),
        ("conclude._control", lambda n, w, e, c: Control(name=n, what=w, epochs=e, clean=ODD, robust=ODD), "controls"),
        ("study._share", lambda stands: Share.of(int((~stands).sum()), len(stands)), "study"),
    ],
)
def test_a_wrong_formula_is_found(
    run: Hardened, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any, number: str
) -> None:
    verdict = forged(run, monkeypatch, name, wrong)
    assert verdict.model_dump() != run.verdict.model_dump()
    world = World(run.config, {"model": bs.Model(network(), name="Sequential")})
    world.same = {"model": False}
    told = [problem for check in checks(run.config, verdict, run.parts, world) for problem in check.problems]
    assert any(problem.startswith(f"expected {number} to be") for problem in told), told


@pytest.mark.parametrize("name", ["model.pt2", "controls/noise.safetensors", "log.csv", "after/run.json"])
def test_a_changed_file_is_found(run: Hardened, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder_of(run), tmp_path / "copy"))
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert not verified(copy).ok


# ------------------------------------------------------------------ what is refused


class NoGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.line(x.flatten(1))


class OwnWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


class Refusing(bs.Model):
    rejects = True


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": Refusing(network())}, "may refuse an answer"),
        ({"data": ArrayData(torch.rand(50, 1, 4, 4), torch.full((50,), 2))}, "only class 2"),
        ({"data": ArrayData(torch.rand(8, 1, 4, 4), torch.arange(8) % 3)}, "expected at least 20 rows"),
        ({"data": ArrayData(torch.rand(50, 1, 4, 4), torch.arange(50) % 7)}, "expected labels from 0 to 2"),
        ({"data": ArrayData(torch.rand(50, 1, 4, 4) * 255, torch.arange(50) % 3)}, "expected inputs between"),
        ({"data": ArrayData(torch.rand(50, 9), torch.arange(50) % 3)}, "takes inputs of shape"),
        ({"data": ArrayData(torch.rand(50, 9), torch.arange(50) % 3), "test": None}, "takes inputs of shape"),
        ({"extra": ArrayData(torch.rand(50, 1, 4, 4), torch.arange(50) % 7)}, "expected labels from 0 to 2"),
        ({"test": ArrayData(torch.rand(50, 1, 4, 4), torch.arange(50) % 7)}, "expected labels from 0 to 2"),
        ({"model": NoGradient()}, "expected a model with gradients to train"),
        ({"model": bs.BlackBox(lambda x: np.zeros(len(x), np.int64), "labels", classes=3)}, "its answers alone"),
        ({"model": bs.Model(lambda x: x.flatten(1)[:, :3])}, "expected a network with weights to train"),
        ({"model": network().requires_grad_(False)}, "all of whose 483 parameters are frozen"),
        ({"model": OwnWeights(), "from_scratch": True}, "got 'weight' of 'OwnWeights'"),
        ({"recipe": "fats"}, "did you mean 'fast'"),
        ({"threat": bs.Linf()}, "expected a radius"),
        ({"threat": bs.L0(3)}, "expected a threat among linf, l2, l1"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence_and_nothing_is_left(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        hardened(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_while_saving_is_said_and_what_was_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda fd: full() if _name(fd).startswith("model.pt2") else None)
        with pytest.raises(InputError, match="No space left on device"):
            hardened(tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.draft"))
    assert hardened(tmp_path / "run", resume=True).verdict.epochs == 6


def _name(fd: int) -> str:
    return Path(f"/proc/self/fd/{fd}").readlink().name


def test_drawing_anew_is_each_layers_own_rule() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.MultiheadAttention(4, 2))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(7.0)
    torch.manual_seed(0)
    draw_anew(net)
    for name, p in net.state_dict().items():
        assert p.shape == before[name].shape
        assert not (p == 7.0).any(), name


# ------------------------------------------------------------------ the command


def blindspots(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


unclosed = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # an archive is open until collected


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\ndef small():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))\n"
    )
    x, y = rows(300).rows(0, 300)
    np.savez(tmp_path / "rows.npz", x=x.numpy(), y=y.numpy())
    yield tmp_path
    gc.collect()


COMMAND = (
    "harden net.py:small --data rows.npz --threat linf:0.05 --epochs 2 --no-controls --study-rows 0 --threads 1 "
    "--out runs/one"
)


@unclosed
@pytest.mark.usefixtures("at_home")
def test_the_command_hardens_and_its_model_is_one_that_evaluate_takes() -> None:
    result = blindspots(COMMAND)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "Report: runs/one/report.html"
    run, before = (opened(Folder(Path("runs/one"))), opened(Folder(Path("runs/one")), "before/"))
    rows = [one.manifest.world["data"]["rows"] for one in (run, before)]
    assert (run.config.recipe, rows) == ("fast", [300, 60])
    line = "evaluate runs/one/model.pt2 --data rows.npz --rows 20 --threat linf:0.05 --out runs/again"
    assert blindspots(line).exit_code == 0
    assert blindspots("report runs/one").exit_code == 0
    assert blindspots("verify runs/one").exit_code == 0


@unclosed
@pytest.mark.usefixtures("at_home")
def test_the_command_prints_its_verdict_as_json_and_judges_it() -> None:
    result = blindspots(f"{COMMAND} --json --require 1.0")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["epochs"] == 2
    assert "Not met: 1.0 was required, but robust_accuracy is" in result.stderr


@unclosed
@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("--recipe fats", "did you mean 'fast'"),
        ("--data nothing.npz", "which does not exist"),
        ("--extra digits", "expected extra inputs of shape"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_one_sentence(change: str, said: str) -> None:
    result = blindspots(f"{COMMAND} {change}")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@unclosed
@pytest.mark.slow
def test_a_command_that_was_killed_goes_on_to_the_same_weights(at_home: Path) -> None:
    command = [sys.executable, "-m", "blindspots", *COMMAND.replace("--epochs 2", "--epochs 400").split()]
    whole = [*command[:-1], "runs/whole"]
    subprocess.run(whole, check=True, capture_output=True)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (
        not Path("runs/one/training.unfinished.safetensors").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("runs/one/model.pt2").exists()
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert equal(weights(Path("runs/whole")), weights(Path("runs/one")))


@unclosed
@pytest.mark.slow
def test_two_processes_train_what_one_does(at_home: Path) -> None:
    """Under torchrun each takes half of every batch; gradients are means of the same rows.

    Without an adversary, since a sign turns the last bit of a gradient into a step.
    """
    command = f"{COMMAND} --recipe natural"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run([*torchrun, "blindspots", *command.split()], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Report: ") == 1
    assert blindspots(command.replace("runs/one", "runs/alone")).exit_code == 0
    together, alone = weights(Path("runs/one")), weights(Path("runs/alone"))
    assert all(torch.allclose(together[k], alone[k], atol=1e-3) for k in alone)
    assert opened(Folder(Path("runs/one"))).config.devices == 2


@pytest.mark.slow
def test_bf16_trains_and_is_judged_in_float32(tmp_path: Path) -> None:
    run = hardened(tmp_path / "run", precision="bf16")
    assert run.verdict.after.robust_accuracy > 0
    assert weights(tmp_path / "run")["1.weight"].dtype == torch.float32


def test_inner_attacks_of_the_catalogue_train_too() -> None:
    run = hardened(recipe=RECIPE.model_copy(update={"adversary": Search(attack="mifgsm:steps=2")}), epochs=2)
    assert run.verdict.history[-1].robust.rows == 20
