"""A finished hardening run as `harden` leaves it, from two small networks and real evaluations; nothing is trained."""

import json
from pathlib import Path

import numpy as np
import torch
from blindspots.evaluate import Evaluation, Options, attack
from blindspots.experiments.harden.record import (
    Claim,
    Control,
    Epoch,
    HardenFile,
    HardenManifest,
    HardenVerdict,
    held_out_off,
)
from blindspots.experiments.harden.study_record import Study
from blindspots.journal import provenance, sealed, text_of
from safetensors.torch import save_file
from torch import Tensor

from blindspots.attacks import PGD
from blindspots.data import load_data
from blindspots.experiments.harden.card import write_card
from blindspots.experiments.harden.export import export_model
from blindspots.experiments.harden.study import study
from blindspots.findings import Finding
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.records import DataRecord, ModelRecord, Share
from blindspots.threat import Linf

THREAT = Linf(0.15)
SHAPE = (1, 4, 4)
ROWS = 24
_NET = '''
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


def _rows(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Three blocks of pixels, one bright per class."""
    y = torch.arange(ROWS) % 3
    x = 0.25 + 0.1 * torch.rand(ROWS, 16, generator=torch.Generator().manual_seed(1))
    for k in range(3):
        bright = torch.linspace(0.2, 0.5, int((y == k).sum()))  # the faint ones fall
        x[y == k, 5 * k : 5 * k + 5] += bright[:, None]
    return (x * 255).round().reshape(-1, *shape) / 255, y


def _hardened(before: Model) -> Model:
    """The templates without the noise."""
    net = before.net
    with torch.no_grad():
        net[1].weight.zero_()  # type: ignore[index]
        for k in range(3):
            net[1].weight[k, 5 * k : 5 * k + 5] = 4.0  # type: ignore[index]
    return Model(net, before.bounds, name=before.name)


def _epochs() -> list[Epoch]:
    notes = ["best so far", "undone: catastrophic overfitting", "best so far", ""]
    robust = [9, 0, 17, 16]
    return [
        Epoch(
            epoch=i + 1, radius=0.15, loss=1.2 - 0.2 * i, rate=0.01, clean=Share.of(20 + i, 24),
            fgsm=Share.of(18, 24), robust=Share.of(robust[i], 24), robust_training=Share.of(robust[i] + 4, 24),
            seconds=0.4, note=notes[i], closer=Share.of(16, 24) if i == 2 else None,
        )
        for i in range(4)
    ]  # fmt: skip


def _controls() -> list[Control]:
    return [
        Control(name=name, what=what, epochs=4, clean=Share.of(21 + i, 24), robust=Share.of(i, 24), seconds=0.2)
        for i, (name, what) in enumerate(
            (("more epochs", "Trained on."), ("noise", "Uniform noise."), ("augmentation", "Shifts by a pixel."))
        )
    ]


def _claim() -> Claim:
    return Claim(
        hardened=Share.of(24, 24), control=Share.of(23, 24), against="augmentation", only_hardened=1, only_control=0,
        p_value=1.0,
    )  # fmt: skip


def _verdict(before: Evaluation, after: Evaluation, found: Study) -> HardenVerdict:
    return HardenVerdict(
        before=before.verdict, after=after.verdict, epochs=4, best_epoch=3, held_out=Share.of(16, 24),
        held_out_off=held_out_off(Share.of(16, 24), after.verdict), seconds=1.6, seconds_epoch=0.4,
        seconds_natural_epoch=0.25, seconds_checks=0.3, seconds_total=5.1, peak_memory=123_000_000, history=_epochs(),
        events=["After epoch 2, robust accuracy fell from 37.5 to 0.0 %: the epoch was undone."],
        controls=_controls(), claim=_claim(), study=found,
        findings=[Finding(code="few-rows", severity="note", saw="There are 24 rows.", do="Take more.")],
    )  # fmt: skip


def made(folder: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    """A run folder in `folder`/run, with its network and data beside the evaluations."""
    run = folder / "run"
    run.mkdir(parents=True)
    (run / "net.py").write_text(_NET)
    x, y = _rows(shape)
    np.savez(run / "rows.npz", x=x.numpy(), y=y.numpy())
    spec, data, options = f"{run / 'net.py'}:net", load_data(str(run / "rows.npz")), Options(threads=1)
    given = load_model(spec)
    before = attack(given, attack=PGD(), data=data, threat=THREAT, out=run / "before", options=options)
    export_model(_hardened(load_model(spec)), shape, run)
    hardened = load_model(str(run / "model.pt2"))
    after = attack(hardened, attack=PGD(), data=data, threat=THREAT, out=run / "after", options=options)
    found, tensors = study(given, hardened, data, THREAT, rows=12, threads=1)
    save_file({k: t.contiguous() for k, t in tensors.items()}, run / "study.safetensors")
    manifest = HardenManifest(
        **provenance("cpu", 1, 0), model=ModelRecord.of(given), data=DataRecord.of(data), test=DataRecord.of(data),
        extra=None,
        held_out=4, threat=THREAT.spec, recipe="fast",
        settings=json.dumps({"about": "One | step.", "epochs": 4, "optimizer": {"name": "adam", "rate": 0.003}}),
        from_scratch=False, protocol="custom", precision="float32", devices=1, controls=True,
        study_rows=12,
    )  # fmt: skip
    file = HardenFile(
        manifest=manifest, command=f"blindspots harden {spec} --data rows.npz --threat linf:0.15 --recipe fast",
        started="2026-01-01T00:00:00+00:00", verdict=_verdict(before, after, found), seal=None,
    )  # fmt: skip
    (run / "run.json").write_bytes(text_of(sealed(file)))
    write_card(sealed(file), run)
    return run
