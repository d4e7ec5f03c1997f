"""One table of all kinds of runs: what holds for every one of them."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blindspots as bs
from blindspots.experiments.attack.config import AttackConfig
from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.design.config import DesignConfig
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.inspect.config import InspectConfig
from blindspots.experiments.inspect.frequency.config import FrequencyConfig
from blindspots.experiments.inspect.geometry.config import GeometryConfig
from blindspots.experiments.inspect.pictures.config import PicturesConfig
from blindspots.experiments.inspect.stability.config import StabilityConfig
from blindspots.experiments.inspect.training.config import TrainingConfig
from blindspots.experiments.inspect.units.config import UnitsConfig
from blindspots.experiments.reproduce.config import ReproduceConfig
from blindspots.experiments.transfer.config import TransferConfig
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.runs.config import Config
from blindspots.runs.experiment import kinds
from blindspots.runs.folder import Folder
from blindspots.runs.run import How, run
from blindspots.runs.verify import verify_files
from small_run import everything

QUICK = str(Path(__file__).with_name("quick.toml"))
ON = {"model": "digits", "data": "digits"}


def numbers_file() -> str:
    """Twelve rows with a number each, which any process can open."""
    path = Path(tempfile.mkdtemp()) / "numbers.npz"
    draw = np.random.default_rng(0)
    np.savez(path, x=draw.random((12, 1, 8, 8), np.float32), y=draw.random(12, np.float32))
    return str(path)


SMALL: dict[str, dict[str, Any]] = {
    "evaluate": {
        "config": EvaluateConfig(**ON, rows=24, threat="linf:0.2", protocol=QUICK, shard_rows=8),
        "kills": 6,
    },
    "evaluate/numbers": {
        "config": EvaluateConfig(
            model=f"{Path(__file__).with_name('tiny_net.py')}:number",
            data=numbers_file(),
            threat="linf:0.1",
            goal="move:0.05",
            shard_rows=8,
            radii=1,
        ),
        "kills": 6,
    },
    "attack": {"config": AttackConfig(**ON, rows=24, threat="l2", attack="ddn:steps=8", shard_rows=8), "kills": 6},
    "transfer": {
        "config": TransferConfig(model=("digits", "digits-robust"), data="digits", rows=16, threat="linf:0.2"),
        "kills": 6,
        "numbers": 60,
    },
    "reproduce": {
        "config": ReproduceConfig(experiment="szegedy-2013", rows=4, training_steps=60),
        "kills": 3,
        "numbers": 60,
    },
    "detect": {
        "config": DetectConfig(
            **ON,
            rows=20,
            fit=80,
            detector=("squeezing",),
            test_attack=("fgsm",),
            protocol=QUICK,
            bare_protocol=QUICK,
            distortion_rows=2,
        ),
        "kills": 4,
        "numbers": 12,
    },
    "detect/queries": {
        "config": DetectConfig(
            model="guarded-queries:digits",
            data="digits",
            rows=2,
            fit=20,
            queries=12,
            test_attack=("oars:queries=12,pairs=3",),
        ),
        "kills": 2,
        "numbers": 12,
    },
    "design": {
        "config": DesignConfig(
            task="branin", points=8, repeats=2, updates=30, steps=3, inner_steps=2, members=2, designs=3
        ),
        "kills": 4,
        "numbers": 30,
    },
    "design/sequences": {
        "config": DesignConfig(
            task="ehrlich:positions=8,letters=5,motifs=2,length=2,quantisation=2",
            points=14,
            repeats=2,
            updates=20,
            steps=3,
            inner_steps=2,
            members=2,
            designs=3,
        ),
        "kills": 3,
        "numbers": 15,
    },
    "harden": {
        "config": HardenConfig(
            model=f"{Path(__file__).with_name('tiny_net.py')}:net",
            data="digits",
            rows=60,
            test_rows=12,
            threat="linf:0.1",
            epochs=2,
            study_rows=1,
        ),
        "kills": 6,
        "numbers": 10,
    },
    "universal": {
        "config": UniversalConfig(**ON, rows=40, threat="linf:0.2", method="sgd:passes=1", fit=24, images=(16,)),
        "kills": 4,
        "numbers": 20,
    },
    "evaluate/texts": {
        "config": EvaluateConfig(model="reviews", data="reviews", rows=24, threat="words:0.15", shard_rows=8),
        "kills": 6,
        "numbers": 60,
    },
    "certify/texts": {
        "config": CertifyConfig(model="reviews-cnn", data="reviews", rows=20, threat="words:2"),
        "kills": 3,
        "numbers": 15,
    },
    "certify/votes": {
        "config": CertifyConfig(
            model="reviews", data="reviews", rows=18, threat="words:1", method="votes", samples=100, n0=20, draws=2
        ),
        "kills": 3,
        "numbers": 10,
    },
    "universal/texts": {
        "config": UniversalConfig(
            model="reviews-cnn",
            data="reviews",
            rows=60,
            threat="trigger:2",
            method="hotflip:passes=2,batch=16,candidates=5",
            fit=32,
            on=("reviews",),
        ),
        "kills": 4,
        "numbers": 20,
    },
    "units": {"config": UnitsConfig(**ON, rows=60, rotations=19, top=4, most_layers=1), "numbers": 20},
    "pictures": {
        "config": PicturesConfig(
            **ON,
            rows=40,
            picture=("channel", "unit", "direction", "class", "caricature"),
            layer=("2",),
            class_=("3", "8"),
            picture_units=2,
            ascent_steps=20,
            diverse=2,
            generations=12,
            against="digits-robust",
            beside="digits-robust",
        ),
        "kills": 5,
        "numbers": 30,
    },
    "stability": {
        "config": StabilityConfig(**ON, rows=20, bounded=3, perturbed=6, threat="linf:0.02"),
        "kills": 4,
        "numbers": 20,
    },
    "frequency": {
        "config": FrequencyConfig(
            **ON, rows=10, threat="linf:0.25", noise=0.4, draws=50, replicates=3, walk=4, floor=1e-3
        ),
        "kills": 4,
        "numbers": 40,
    },
    "geometry": {
        "config": GeometryConfig(
            **ON,
            rows=24,
            against="digits-robust",
            threat="linf:0.1",
            slices=1,
            resolution=8,
            permutations=19,
            relearn=False,
        ),
        "kills": 6,
        "numbers": 30,
    },
    "training": {
        "config": TrainingConfig(
            **ON, rows=40, judged=12, factor=("noise", "network"), repeats=2, training_steps=20, threat="linf:0.1"
        ),
        "kills": 4,
        "numbers": 20,
    },
    "inspect": {
        "config": InspectConfig(**ON, rows=60, part=("units",), rotations=19, top=4, most_layers=1, dictionary=False),
        "kills": 3,
        "numbers": 10,
    },
    "certify": {"config": CertifyConfig(**ON, rows=40, sigma=0.25, samples=200, radii=(0.1,), draws=2, steps=2)},
}


def kind_of(name: str) -> str:
    """Of a row of the table; behind the slash stands on what."""
    return name.partition("/")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "detect/queries")) for name in sorted(SMALL)]
)
def test_every_kind_keeps_the_contract(name: str, tmp_path: Path) -> None:
    claims = list(bs.testing.check_experiment(kind_of(name), folder=tmp_path, **SMALL[name]))
    assert claims


def test_every_kind_is_in_the_table() -> None:
    assert set(map(kind_of, SMALL)) == set(kinds())


# ------------------------------------------------------------------ at random moments

KILLS = int(os.environ.get("BLINDSPOTS_KILLS", "3"))  # of every run of the table, with either engine
MOST = 2  # workers of one driver that are killed: when a part has lost three, its run gives up


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "processes:2"])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_runs_killed_at_random_moments_go_on_to_the_same_bytes(
    name: str, engine: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    config, draw = SMALL[name]["config"].model_copy(update={"threads": 1}), random.Random(f"{name} {engine}")
    kind, began = kind_of(name), time.monotonic()
    assert os.waitpid(_begun(kind, config, tmp_path / "whole", engine), 0)[1] == 0
    took, killed, places = time.monotonic() - began, 0, 0
    while killed < KILLS:
        place, ended = tmp_path / str(places), False
        places += 1
        while not ended:
            driver, left = _begun(kind, config, place, engine), KILLS - killed
            deaths, ended = _disturbed(driver, draw, took, left)
            killed += deaths
        assert everything(place) == everything(tmp_path / "whole")
    assert verify_files(Folder(tmp_path / "whole")).ok
    record_property("shown", f"{killed} kills, after which {places} runs of {took:.1f} s were finished")


def _begun(kind: str, config: Config, place: Path, engine: str) -> int:
    """A process that makes the run or goes on with it, and keeps every state."""
    if child := os.fork():
        return child
    try:
        run(kind, config, how=How(Folder(place), resume=True, engine=engine, every=0.0))
        os._exit(0)
    finally:
        os._exit(1)


def _disturbed(driver: int, draw: random.Random, took: float, most: int) -> tuple[int, bool]:
    """Kill workers and at last their driver: how many died, at most `most`, and whether the run is finished."""
    for deaths in range(most):
        time.sleep(draw.uniform(0, took / 2))
        victim = draw.choice([driver, *(_workers(driver) if deaths < MOST else [])])
        with suppress(ProcessLookupError):  # a worker that was done
            os.kill(victim, signal.SIGKILL)
        if victim == driver:
            code = os.waitstatus_to_exitcode(os.waitpid(driver, 0)[1])
            assert code in (0, -signal.SIGKILL)
            return deaths + (code != 0), code == 0
    assert os.waitpid(driver, 0)[1] == 0
    return most, True


def _workers(driver: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{driver}/task/{driver}/children").read_text().split()]
