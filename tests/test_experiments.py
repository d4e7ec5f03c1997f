"""One table of all kinds of runs: what holds for every one of them."""

from pathlib import Path
from typing import Any

import pytest

import blindspots as bs
from blindspots.experiments.attack.config import AttackConfig
from blindspots.experiments.certify.config import CertifyConfig
from blindspots.experiments.detect.config import DetectConfig
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.harden.config import HardenConfig
from blindspots.experiments.reproduce.config import ReproduceConfig
from blindspots.experiments.transfer.config import TransferConfig
from blindspots.experiments.universal.config import UniversalConfig
from blindspots.runs.experiment import kinds

QUICK = str(Path(__file__).with_name("quick.toml"))
ON = {"model": "digits", "data": "digits"}
SMALL: dict[str, dict[str, Any]] = {
    "evaluate": {
        "config": EvaluateConfig(**ON, rows=24, threat="linf:0.2", protocol=QUICK, shard_rows=8),
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
    "certify": {"config": CertifyConfig(**ON, rows=40, sigma=0.25, samples=200, radii=(0.1,), draws=2, steps=2)},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SMALL))
def test_every_kind_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    claims = list(bs.testing.check_experiment(kind, folder=tmp_path, **SMALL[kind]))
    assert claims


def test_every_kind_is_in_the_table() -> None:
    assert set(SMALL) == set(kinds())
