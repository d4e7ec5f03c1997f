import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from blindspots.evaluate import Progress
from blindspots.verdict import RunFile, Verdict
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
from blindspots.experiments.harden.config import HardenConfig

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


def run_file(folder: str) -> RunFile:
    return RunFile.model_validate_json(Path(folder, "run.json").read_bytes())


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
    ["", "demo", "evaluate", "attack", "transfer", "universal", "apply", "reproduce", "verify", "report", "list"],
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
    assert module.stdout == blindspots("--version").stdout == "blindspots 0.1.0\n"


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
    file = run_file(folder)
    assert file.verdict is not None
    assert file.verdict.rows == 24
    assert "24 rows" in plain(result.stdout)
    assert "cpu, 1 thread" in plain(result.stderr)


def test_evaluate_runs_the_named_protocol() -> None:
    result = blindspots("evaluate net.py:linear --data digits --threat l2:0.1 --rows 8 --threads 1 --protocol fast")
    assert result.exit_code == 0, result.output
    assert run_file("runs/linear-l2-0.1").manifest.protocol == "fast"


def test_json_is_the_verdict_and_nothing_else() -> None:
    result = attack("--json --out=r")
    said = Verdict.model_validate(json.loads(result.stdout))
    assert said == run_file("r").verdict


def test_options_reach_the_run() -> None:
    words = "--out=r --seed=7 --slots=16 --chunk=8 --shard-rows=16 --row-budget=5 --max-forwards=1000"
    assert attack(words).exit_code == 0
    manifest = run_file("r").manifest
    assert (manifest.seed, manifest.slots, manifest.chunk, manifest.shard_rows) == (7, 16, 8, 16)
    assert manifest.limits == [5, 1000, None, None]
    assert len(run_file("r").shards) == 2


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
    assert expected in run_file("r").manifest.stages[0]


def test_a_smallest_distance_needs_no_radius() -> None:
    result = blindspots("attack net.py:linear --attack=ddn:steps=20 --data=digits --threat=l2 --rows=8")
    assert result.exit_code == 0, result.output
    assert "Median change" in result.stdout


@pytest.mark.parametrize(("share", "code"), [("0", 0), ("1", 1)])
def test_require_decides_the_exit_code(share: str, code: int) -> None:
    result = attack(f"--require={share}")
    assert result.exit_code == code
    assert ("Not met" in result.stderr) == bool(code)


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


def test_resuming_takes_the_threads_that_the_run_was_begun_with(monkeypatch: pytest.MonkeyPatch) -> None:
    attack("--out=r")
    monkeypatch.setattr(running, "free_threads", lambda: 2)
    assert attack("--out=r --resume", threads="").exit_code == 0


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_attack", interrupted)
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
    assert [s.sha256 for s in run_file("r").shards] == [s.sha256 for s in run_file("whole").shards]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("evaluate digit --data=digits --threat=linf:1", "did you mean 'digits'?"),
        ("evaluate missing.pt2 --data=digits --threat=linf:1", "does not exist"),
        ("evaluate net.py:liner --data=digits --threat=linf:1", "did you mean 'linear'?"),
        ("evaluate net.py:linear --data=digist --threat=linf:1", "did you mean 'digits'?"),
        ("evaluate net.py:linear --data=digits --threat=lint:1", "one of linf, l2, l1, l0"),
        ("evaluate net.py:linear --data=digits --threat=linf", "linf:RADIUS"),
        ("evaluate net.py:linear --data=digits --threat=linf:1 --protocol=slow", "among fast"),
        ("evaluate net.py:linear --data=digits --threat=linf:1 --device=tpu", "a device of this machine"),
        ("evaluate net.py:linear --data=colour.npz --threat=linf:1", "takes inputs of shape"),
        ("evaluate net.py:linear --data=labels.npz --threat=linf:1", "labels from 0 to 9"),
        ("evaluate net.py:linear --data=nan.npz --threat=linf:1", "NaN or infinity in row 1"),
        ("attack net.py:linear --data=digits --threat=linf:1 --attack=pgdd", "did you mean 'pgd'?"),
        ("attack net.py:linear --data=digits --threat=linf:1 --attack=ddn", "use one of FGSM"),
        ("attack net.py:linear --data=digits --threat=l2 --attack=pgd", "DDN, FMN"),
        ("attack net.py:linear --data=digits --threat=linf:1 --attack=bisect", "finds adversarial examples"),
        ("verify nowhere", "nowhere/run.json"),
        ("report nowhere", "nowhere/run.json"),
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


@pytest.mark.parametrize("word", ["--rows=0", "--require=50", "--threads=0", "--precision=half"])
def test_a_wrong_option_is_named(word: str) -> None:
    result = attack(word)
    assert result.exit_code == 2
    assert word.partition("=")[0] in result.stderr


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
    assert "holds, for all 24 rows" in plain(held.stdout)
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


def seen(**values: object) -> Progress:
    now = {
        "rows": 100,
        "begun": 50,
        "standing": 40,
        "finished": 0,
        "stage": "pgd",
        "entered": 45,
        "left": 5,
        "seconds": 2.0,
    }
    return Progress(**{**now, **values})  # type: ignore[arg-type]


def test_rows_are_decided_once_they_fell_or_their_shard_is_finished() -> None:
    pace = progress.Pace()
    pace.see(seen())
    assert pace.decided == 10
    pace.see(seen(finished=50, begun=100, standing=75, seconds=5.0))
    assert pace.decided == 65  # of the 40 that stood and the 50 that came, 15 are gone
    assert plain(pace.left(seen(finished=50, seconds=5.0))) == ", 10 rows/s, 5 s left"


def test_rows_of_an_earlier_attempt_are_no_pace() -> None:
    pace = progress.Pace()
    pace.see(seen(finished=50, begun=100, standing=75))
    assert pace.decided == 50
    assert pace.left(seen(finished=50, begun=100)) == ""


def test_elsewhere_than_on_a_terminal_a_plain_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with progress.Ticker(Console(force_terminal=False), clock=lambda: now[0]) as tell:
        for now[0] in (1.0, 10.0, 11.0, 19.0, 20.0):
            tell(seen())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert plain(lines[0]).startswith(
        "10 of 100 rows decided, robust so far at most 80.0 % (66.3 to 90.0 %); stage pgd"
    )
    assert lines[0].endswith("rows through")


def test_a_terminal_shows_a_bar_that_goes_away(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Ticker(Console(force_terminal=True, width=100)) as tell:
        tell(seen())
    assert "10 of 100 rows decided" in plain(capsys.readouterr().out)


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
