import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from blindspots.attacks import (
    CATALOGUE,
    MIFGSM,
    PGD,
    Attack,
    GradientKernel,
    InputDiversity,
    Scales,
    Through,
    describe,
    parse_attack,
)
from blindspots.cli import demo, progress, running
from blindspots.cli.app import app
from blindspots.errors import InputError
from blindspots.experiments import KINDS
from blindspots.experiments.evaluate.experiment import Evaluation
from blindspots.experiments.evaluate.verdict import EvaluateVerdict
from blindspots.experiments.harden.config import HardenConfig
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from blindspots.runs.world import Progress

QUICK = "--attack=pgd:steps=3 --data=digits --threat=linf:0.15 --rows=24"
NET = """
import torch
from torch import nn

def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

class Broken(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] * float("nan")
"""


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands run in an empty folder, and are as wide as a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def blindspots(line: str) -> Result:
    return CliRunner().invoke(app, line.split(), prog_name="blindspots")


def plain(text: str) -> str:
    """On one line, without the spaces that keep numbers and units together."""
    return " ".join(text.replace("\u00a0", " ").split())


def attack(line: str = "", model: str = "net.py:linear", threads: str = "--threads=1") -> Result:
    return blindspots(f"attack {model} {QUICK} {threads} {line}")


def finished(folder: str) -> Evaluation:
    return Evaluation(**vars(opened(Folder(Path(folder)))))


def digests(folder: str) -> dict[str, str]:
    """Of all parts of a run."""
    found: dict[str, str] = json.loads(Path(folder, "run.json").read_bytes())["parts"]
    return found


def in_one_sentence(result: Result) -> str:
    """What a refused command says: one line on stderr, nothing on stdout, exit code 2."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    *before, last = result.stderr.strip().splitlines()
    assert last.startswith("blindspots: expected ")
    assert not any("Traceback" in line for line in before)
    return last


# ---------------------------------------------------------------- help


@pytest.mark.parametrize(
    "command",
    ["", "demo", "apply", "judge", "verify", "report", "list", *(kind.name for kind in KINDS if not kind.within)],
)
def test_every_command_explains_itself(command: str) -> None:
    result = blindspots(f"{command} --help")
    assert result.exit_code == 0
    assert "Usage: blindspots" in result.stdout


def test_help_loads_neither_torch_nor_anything_else_that_is_slow() -> None:
    code = (
        "import sys; sys.argv = ['blindspots', '--help']\n"
        "from blindspots.cli import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "scipy", "sklearn", "jinja2", "pydantic"} & set(said.split())


def test_the_version_is_said_by_both_ways_to_start() -> None:
    module = subprocess.run(
        [sys.executable, "-m", "blindspots", "--version"], capture_output=True, text=True, check=True
    )
    assert module.stdout == blindspots("--version").stdout == f"blindspots {version('blindspots')}\n"


def test_list_names_every_attack_with_what_is_needed_to_choose() -> None:
    result = blindspots("list")
    said = plain(result.stdout)
    assert result.exit_code == 0
    for kind in CATALOGUE:
        assert all(word in said for word in (kind.__name__, *kind.threats, str(kind.facts.year)))
    assert "--protocol fast" in said
    assert "digits-robust" in said


# ---------------------------------------------------------------- attack and evaluate


def test_attack_writes_a_run_folder_with_a_report_and_says_so() -> None:
    result = attack()
    folder = "runs/linear-pgd-steps-3-linf-0.15"
    assert result.exit_code == 0, result.output
    assert f"Report: {folder}/report.html" in result.stdout
    assert Path(folder, "report.html").is_file()
    assert finished(folder).verdict.rows == 24
    assert "24 rows" in plain(result.stdout)


def test_evaluate_runs_the_named_protocol() -> None:
    result = blindspots("evaluate net.py:linear --data digits --threat l2:0.1 --rows 8 --threads 1 --protocol fast")
    assert result.exit_code == 0, result.output
    assert finished("runs/linear-l2-0.1").config.protocol == "fast"


def test_json_is_the_verdict_and_nothing_else() -> None:
    result = attack("--json --out=r")
    assert EvaluateVerdict.model_validate(json.loads(result.stdout)) == finished("r").verdict
    assert json.loads(result.stdout) == json.loads(Path("r/run.json").read_bytes())["verdict"]


def test_options_reach_the_run() -> None:
    words = "--out=r --seed=7 --slots=16 --chunk=8 --shard-rows=16 --row-budget=5 --max-forwards=1000"
    assert attack(words).exit_code == 0
    c = finished("r").config
    assert (c.seed, c.slots, c.chunk, c.shard_rows) == (7, 16, 8, 16)
    assert (c.row_budget, c.max_forwards, c.max_backwards, c.max_seconds) == (5, 1000, None, None)
    assert [name for name in digests("r") if name.startswith("shards/")] == ["shards/00000", "shards/00001"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--targets=runner-up", "directed=True, loss='ce'), targets=Closest(count=1"),
        ("--targets=all --loss=margin", "directed=True, loss='margin'), targets=EveryClass()"),
        ("--targeted", "targeted=True, directed=False, loss='ce'), targets=Closest(count=1"),
        ("--targeted --targets=least-likely --restarts=2", "targets=LeastLikely(), restarts=2"),
        ("--targeted --targets=random --seed=3", "targets=RandomClass(seed=3)"),
    ],
)
def test_targets_reach_the_search(words: str, expected: str) -> None:
    result = attack(f"--out=r {words}")
    assert result.exit_code == 0, result.output
    assert expected in finished("r").config.stages[0]


def test_a_smallest_distance_needs_no_radius() -> None:
    result = blindspots("attack net.py:linear --attack=ddn:steps=20 --data=digits --threat=l2 --rows=8")
    assert result.exit_code == 0, result.output
    assert "Median change" in result.stdout


@pytest.mark.parametrize(
    ("gates", "missed"),
    [
        (["0"], []),
        (["1.5"], ["1.5"]),
        (["150%"], ["150%"]),
        (["robust_accuracy>=0", "robust_accuracy.low>=0%", "clean_accuracy<=1"], []),
        (
            ["robust_accuracy>=0", "robust_accuracy.low>=0.99", "clean_accuracy<=-1"],
            ["robust_accuracy.low>=0.99", "clean_accuracy<=-1"],
        ),
    ],
)  # fmt: skip
def test_require_decides_the_exit_code(gates: list[str], missed: list[str]) -> None:
    result = attack(" ".join(f"--require={gate}" for gate in gates))
    assert result.exit_code == bool(missed)
    told = [line for line in result.stderr.splitlines() if line.startswith("Not met: ")]
    assert [line.removeprefix("Not met: ").partition(" was required, but ")[0] for line in told] == missed


@pytest.mark.parametrize(
    ("gate", "part"),
    [
        ("robust_acuracy>=0.5", "did you mean 'robust_accuracy'?"),
        ("fooling_rate<=10%", "expected a metric among robust_accuracy"),
        ("robust_accuracy>0.5", "expected a gate such as"),
        ("nan", "expected a gate such as"),
        ("robust_accuracy>=1.2.3", "expected a number in the gate"),
    ],
)
def test_a_gate_that_is_none_is_refused_in_a_sentence(gate: str, part: str) -> None:
    result = attack(f"--require={gate} --out=r")
    assert result.exit_code == 2
    assert part in plain(result.stderr)
    if "expected a gate" in part or "number" in part:  # nothing is loaded for it
        assert not Path("r").exists()


def test_a_verdict_that_means_nothing_is_shown_and_refused() -> None:
    result = attack("--require=0", model="net.py:Broken")
    assert result.exit_code == 2
    assert "NaN or infinite" in plain(result.stdout)
    assert result.stderr.splitlines()[-1].startswith("blindspots: expected")
    assert Path("runs/Broken-pgd-steps-3-linf-0.15/report.html").is_file()


# ---------------------------------------------------------------- going on


def test_a_folder_with_a_run_is_refused_and_untouched() -> None:
    attack("--out=r")
    before = {path: path.read_bytes() for path in Path("r").rglob("*") if path.is_file()}
    assert "--resume" in in_one_sentence(attack("--out=r"))
    assert "the seed changed from 0 to 1" in in_one_sentence(attack("--out=r --resume --seed=1"))
    assert before == {path: path.read_bytes() for path in Path("r").rglob("*") if path.is_file()}


def test_resuming_takes_the_threads_that_the_run_was_begun_with() -> None:
    attack("--out=r", threads="--threads=2")
    assert attack("--out=r --resume", threads="").exit_code == 0
    assert "the threads changed from 2 to 1" in in_one_sentence(attack("--out=r --resume"))


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run", interrupted)
    monkeypatch.setattr(sys, "argv", ["/bin/blindspots", "attack", "net.py:linear"])
    result = attack("--out=r")
    assert result.exit_code == 130
    assert "kept in r; go on with: blindspots attack net.py:linear --resume" in result.stderr


def test_an_interrupted_run_ends_as_an_undisturbed_one() -> None:
    words = (
        "net.py:linear --attack=square:steps=200 --data=digits --threat=linf:0.02 --rows=64 --shard-rows=16 --threads=1"
    )
    command = [sys.executable, "-m", "blindspots", "attack", *words.split()]
    process = subprocess.Popen([*command, "--out=r"], stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    while not list(Path("r").glob("shards/*.safetensors")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130), said
    assert blindspots(f"attack {words} --out=r --resume").exit_code == 0
    assert blindspots(f"attack {words} --out=whole").exit_code == 0
    assert digests("r") == digests("whole")


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("evaluate digit --data=digits --threat=linf:1", "did you mean 'digits'?"),
        ("evaluate missing.pt2 --data=digits --threat=linf:1", "does not exist"),
        ("evaluate net.py:liner --data=digits --threat=linf:1", "did you mean 'linear'?"),
        ("evaluate net.py:linear --data=digist --threat=linf:1", "did you mean 'digits'?"),
        ("evaluate net.py:linear --data=digits --threat=lint:1", "one of linf, l2, l1, l0"),
        ("evaluate digits --data=digits --threat=linf", "linf:RADIUS"),
        ("evaluate net.py:linear --data=digits --threat=linf:1 --protocol=slow", "among fast"),
        ("evaluate net.py:linear --data=digits --threat=linf:1 --device=tpu", "a device of this machine"),
        ("evaluate net.py:linear --data=colour.npz --threat=linf:1", "takes inputs of shape"),
        ("evaluate net.py:linear --data=labels.npz --threat=linf:1", "labels from 0 to 9"),
        ("evaluate net.py:linear --data=nan.npz --threat=linf:1", "NaN or infinity in row 1"),
        ("attack net.py:linear --data=digits --threat=linf:1 --attack=pgdd", "did you mean 'pgd'?"),
        ("attack net.py:linear --data=digits --threat=linf:1 --attack=ddn", "use one of FGSM"),
        ("attack net.py:linear --data=digits --threat=l2 --attack=pgd", "DDN, FMN"),
        ("attack net.py:linear --data=digits --threat=linf:1 --attack=bisect", "finds adversarial examples"),
        ("verify nowhere", "with a run.json, found none in nowhere"),
        ("report nowhere", "with a run.json, found none in nowhere"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # an archive stays open until it is collected
def test_bad_input_ends_in_one_sentence(words: str, part: str) -> None:
    x, y = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32), np.arange(4)
    np.savez("colour.npz", x=np.concatenate([x] * 3, 1), y=y)
    np.savez("labels.npz", x=x, y=y + 10)
    np.savez("nan.npz", x=np.where(y[:, None, None, None] == 1, np.nan, x), y=y)
    assert part in in_one_sentence(blindspots(words))
    gc.collect()


@pytest.mark.parametrize(
    "words", ["", "bogus", "evaluate", "evaluate digits", "report", "attack digits --data=digits --threat=l2:1"]
)
def test_a_wrong_call_explains_the_usage(words: str) -> None:
    result = blindspots(words)
    assert result.exit_code == 2
    assert "Usage: blindspots" in result.output


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--rows=0", "expected greater than or equal to 1 for --rows, got '0': change it"),
        ("--rows=x", "for --rows, got 'x': change it"),
        ("--seed=-1", "for --seed, got '-1': change it"),
        ("--threads=0", "for --threads, got '0': change it"),
        ("--require=50%%", "expected a gate such as"),
    ],
)
def test_a_wrong_option_is_named(word: str, said: str) -> None:
    assert said in in_one_sentence(attack(f"{word} --out=r"))
    assert not Path("r").exists()


def test_choices_are_listed() -> None:
    result = attack("--precision=half")
    assert result.exit_code == 2
    assert all(word in plain(result.stderr) for word in ("--precision", "float32", "bf16"))


def test_all_options_that_do_not_fit_are_told_at_once() -> None:
    said = in_one_sentence(attack("--restarts=0 --chunk=-3"))
    assert "for --restarts, got '0'" in said
    assert "for --chunk, got '-3'" in said


def test_a_rule_for_targets_that_is_none_is_named() -> None:
    result = attack("--targets=some")
    assert result.exit_code == 2
    assert "expected a rule for targets among runner-up" in plain(result.stderr)


def test_debug_shows_where_an_error_comes_from() -> None:
    result = blindspots("--debug report nowhere")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "blindspots: expected a run folder" in result.stderr


def test_a_folder_that_cannot_be_written_is_an_error_not_a_crash() -> None:
    Path("file").write_text("")
    assert "file" in in_one_sentence(attack("--out=file/run"))


# ---------------------------------------------------------------- verify and report


def test_verify_proves_a_run_and_finds_a_changed_byte() -> None:
    attack("--out=r")
    held = blindspots("verify r")
    assert held.exit_code == 0, held.output
    assert "The verdict of r holds." in plain(held.stdout)
    shard = Path("r/shards/00000.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    broken = blindspots("verify r")
    assert broken.exit_code == 1
    assert "does not hold" in broken.stdout


def test_report_compares_several_runs_beside_them() -> None:
    attack("--out=runs/a")
    attack("--out=runs/b --seed=1")
    assert blindspots("report runs/a runs/b").stdout == "Report: runs/report.html\n"
    assert blindspots("report runs/a --out=one.html").stdout == "Report: one.html\n"
    assert Path("runs/report.html").stat().st_size > Path("one.html").stat().st_size


# ---------------------------------------------------------------- attacks by name


def test_an_attack_is_read_with_the_types_of_its_settings() -> None:
    assert parse_attack("PGD") == PGD()
    expected = PGD(steps=4, stride=0.5, schedule="cosine", random_start=False)
    assert parse_attack("pgd: steps=4, stride=0.5,schedule=cosine,random-start=no") == expected
    assert parse_attack("pgd:stride=none") == PGD(stride=None)


def test_views_are_written_behind_an_attack() -> None:
    views = InputDiversity(least=0.8), GradientKernel()
    assert parse_attack("mifgsm:steps=5+di:least=0.8+ti") == Through(MIFGSM(5), views, copies=4)
    assert parse_attack("pgd+si:count=3") == Through(PGD(), (Scales(3),), copies=3)  # every scale at every step


@pytest.mark.parametrize("kind", CATALOGUE)
def test_what_list_shows_of_an_attack_is_read_as_the_attack(kind: type[Attack]) -> None:
    assert parse_attack(describe(kind), alone=False) == kind()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("pgd:step=4", "did you mean 'steps'?"),
        ("fgsm:steps=4", "expected settings among random_start for fgsm"),
        ("pgd:steps", "write NAME=VALUE"),
        ("pgd:steps=four", "a valid integer for pgd:steps, got 'four'"),
        ("pgd:schedule=linear", "'constant' or 'cosine'"),
        ("pgd:steps=0", "at least 1"),
        ("pgd:stride=nan", "finite"),
        ("pgd+dii", "did you mean 'di'?"),
        ("ddn+di", "an attack by gradients in a ball"),
    ],
)
def test_what_an_attack_does_not_have_is_refused(text: str, part: str) -> None:
    with pytest.raises(InputError, match="expected") as caught:
        parse_attack(text)
    assert part in str(caught.value)


# ---------------------------------------------------------------- progress


def seen(part: str = "shards/00000", said: str = "stage pgd", **values: object) -> Progress:
    return Progress(part, said, **{"done": 10, "rows": 50, "total": 100, "seconds": 2.0, **values})  # type: ignore[arg-type]


def lines_of(capsys: pytest.CaptureFixture[str], *told: tuple[float, Progress]) -> list[str]:
    """What stands on a console that is no terminal, told of progress at these times."""
    now = [0.0]
    with progress.Line(Console(force_terminal=False), clock=lambda: now[0]) as line:
        for now[0], what in told:
            line(what)
    return [plain(text) for text in capsys.readouterr().out.splitlines()]


def test_elsewhere_than_on_a_terminal_a_plain_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    said = lines_of(capsys, *((at, seen(seconds=at)) for at in (1.0, 10.0, 11.0, 19.0, 20.0)))
    assert said == [
        f"10 of 100 done; {at} s, {left} left; shards/00000: stage pgd"
        for at, left in (("10", "81 s"), ("20", "2 min 51 s"))
    ]


def test_rows_of_parts_that_are_made_and_of_those_in_the_making_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = seen(), seen("shards/00001", done=30, seconds=5.0)
    made = seen(said="", finished=50, done=0, seconds=9.0)
    (said,) = lines_of(capsys, (0.0, first), (5.0, second), (11.0, made))
    assert said.startswith("80 of 100 done; 9 s")
    assert said.endswith("; shards/00001: stage pgd")


def test_rows_of_an_earlier_attempt_are_no_pace(capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = lines_of(capsys, (11.0, seen(said="", finished=50, done=0)))
    assert said == "50 of 100 done; 2 s"


def test_a_terminal_shows_a_bar_that_goes_away(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Line(Console(force_terminal=True, width=100)) as line:
        line(seen())
    assert "10 of 100 done" in plain(capsys.readouterr().out)


# ---------------------------------------------------------------- demo


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with an untrained network, few rows, and one epoch."""
    small = {
        "model": "net.py:linear", "rows": 100, "test_rows": 12, "epochs": 1, "study_rows": 0, "controls": False,
    }  # fmt: skip
    monkeypatch.setattr(demo, "HardenConfig", lambda **settings: HardenConfig(**{**settings, **small}))


@pytest.mark.usefixtures("small_demo")
def test_demo_shows_a_network_before_and_after_and_can_be_repeated() -> None:
    for _ in range(2):
        result = blindspots("demo")
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[-1] == "Report: runs/demo/report.html"
        assert re.search(r"^before .*\nafter ", result.stdout, re.MULTILINE)
    command = json.loads(Path("runs/demo/log.json").read_text())["command"]
    assert command == "blindspots harden digits --data digits --threat linf:0.15"
    assert Path("runs/demo/report.html").is_file()
    assert Path("runs/demo/model.pt2").is_file()


@pytest.mark.usefixtures("small_demo")
def test_demo_leaves_the_runs_of_others_alone() -> None:
    attack("--out=runs/demo")
    before = Path("runs/demo/run.json").read_bytes()
    assert "another run" in in_one_sentence(blindspots("demo"))
    assert Path("runs/demo/run.json").read_bytes() == before
