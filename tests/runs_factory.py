"""Finished run folders without an engine: real digits, a made-up model and made-up adversarial examples."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.experiments.evaluate.count import conclude
from blindspots.experiments.evaluate.verdict import Stage
from blindspots.findings import Finding
from blindspots.records import DataRecord, ModelRecord
from blindspots.runs.experiment import Part
from blindspots.runs.findings import packed
from blindspots.runs.folder import Folder
from blindspots.runs.store import Log, MadeBy, Manifest, Parts, RunFile

RADIUS = 0.15
OF_BROKEN = ("adversarial", "nearest", "adversarial_prediction", "adversarial_confidence", "prediction_8bit")
STAGES = [
    Stage(name=name, attack=attack, why=why, rows=0, won=0, forwards=0, backwards=0)
    for name, attack, why in (
        ("ascent", "Ascent(steps=10, targets=2)", "The two classes with the smallest margin, for a start."),
        (
            "long ascent",
            "Ascent(steps=30, targets=4)",
            "Longer, and towards four classes: the margin still moved.",
        ),
    )
]
Array = NDArray[Any]


def digits(rows: int) -> tuple[Array, Array]:
    """x (rows, 1, 8, 8) float32 in [0, 1] and y (rows,)."""
    x, y = load_digits(return_X_y=True)
    return (x[:rows] / 16).astype(np.float32).reshape(-1, 1, 8, 8), y[:rows].astype(np.int64)


def make_run(
    folder: Path,
    *,
    x: Array | None = None,
    y: Array | None = None,
    rows: int = 60,
    name: str = "digits",
    clean: float = 0.976,
    robust: float = 0.172,
    radius: float | None = RADIUS,
    class_names: list[str] | None = None,
    findings: Sequence[Finding] = (),
    shard_rows: int = 40,
    command: str | None = "blindspots evaluate digits --data digits --threat linf:0.15",
    finished: bool = True,
) -> Path:
    """Write a run folder of which `clean` and `robust` are the exact shares (rounded to rows); returns the folder."""
    if x is None or y is None:
        x, y = digits(rows)
    columns = _rows(x, y, round(clean * len(y)), round(robust * len(y)), radius or RADIUS)
    threat = "linf" if radius is None else f"linf:{radius}"
    file = RunFile(manifest=_manifest(name, x, threat, class_names, shard_rows))
    names = ["preflight", *(f"shards/{i:05d}" for i in range(-(-len(y) // shard_rows)))]
    parts = Parts(Folder(folder), "", file, tuple(names))
    parts.keep("preflight", {"findings": packed(findings), "cost": torch.tensor([3 * len(y), len(y)])})
    for part, start in zip(names[1:], range(0, len(y), shard_rows), strict=True):
        parts.keep(part, _shard(columns, start, shard_rows))
    if finished:
        verdict = conclude(parts.below("shards"), STAGES, (3 * len(y), len(y))).model_copy(
            update={"findings": list(findings)}
        )
        digests = {part: parts.digest(Part(part)) for part in names}
        file = file.model_copy(update={"parts": digests, "verdict": verdict.model_dump(mode="json")})
        (folder / "run.json").write_bytes(file.text)
    log = Log(command=command, started="2025-01-31T12:00:00+00:00", engine="serial", seconds={names[1]: 11.84})
    timed = log.model_copy(update={"timing": {names[1]: {"ascent": 3.21, "long ascent": 8.4}}})
    (folder / "log.json").write_text(timed.model_dump_json())
    return folder


def _rows(x: Array, y: Array, right: int, stood: int, radius: float) -> dict[str, Array]:
    """All rows in memory. Every row moves towards the mean of another class, by less than the radius for some."""
    draw, n = np.random.default_rng(0), len(y)
    classes = int(y.max()) + 1
    order = draw.permutation(n)
    is_right, broken = np.isin(np.arange(n), order[:right]), np.isin(np.arange(n), order[stood:right])
    target = (y + draw.integers(1, classes, n)) % classes if classes > 1 else y + 1
    means = np.stack([x[y == c].mean(0) if (y == c).any() else x.mean(0) for c in range(classes + 1)])
    size = np.minimum(radius, draw.gamma(6, radius / 6, n)).astype(np.float32).reshape(-1, *[1] * (x.ndim - 1))
    adversarial = (x + size * np.sign(means[target] - means[y])).clip(0, 1).astype(np.float32)
    norm = np.abs(adversarial - x).reshape(n, -1).max(1)
    return {
        "id": np.arange(n),
        "y": y,
        "x": np.rint(x * 255).astype(np.uint8) if (np.rint(x * 255) / np.float32(255) == x).all() else x,
        "prediction": np.where(is_right, y, target),
        "confidence": draw.beta(9, 1, n).astype(np.float32),
        "right": is_right,
        "won": broken,
        "result": np.select([broken, is_right], [1, 0], 2).astype(np.uint8),
        "target": np.full(n, -1),
        "stage": np.where(broken, draw.integers(0, 2, n), -1).astype(np.int16),
        "norm": np.where(broken, norm, np.inf).astype(np.float32),
        "forwards": draw.integers(1, 100, n),
        "backwards": draw.integers(1, 90, n),
        "margin": np.where(broken, -1, draw.gamma(2, 2, n)).astype(np.float32),
        "adversarial": adversarial,
        "nearest": adversarial,
        "adversarial_prediction": target,
        "adversarial_confidence": draw.beta(4, 2, n).astype(np.float32),
        "prediction_8bit": np.where(draw.random(n) < 0.02, y, target),
    }


def _shard(columns: dict[str, Array], start: int, rows: int) -> dict[str, torch.Tensor]:
    part = {name: values[start : start + rows] for name, values in columns.items()}
    broken = np.flatnonzero(part["won"])
    for column in OF_BROKEN:
        part[column] = part[column][broken]
    right, first = int(part["right"].sum()), int((part["stage"] == 0).sum())
    forwards, backwards = int(part["forwards"].sum()), int(part["backwards"].sum())
    second = int((part["stage"] == 1).sum())
    counts = [[right, first, forwards // 3, backwards // 3], [right - first, second, forwards // 2, backwards // 2]]
    part |= {"stage_counts": np.array(counts), "unbilled": np.zeros(2, np.int64), "chunk": np.array([32])}
    return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in {**part, "broken": broken}.items()}


def _manifest(name: str, x: Array, threat: str, class_names: list[str] | None, shard_rows: int) -> Manifest:
    config = EvaluateConfig(
        model=name, data="digits", rows=len(x), threat=threat, protocol="fast", slots=256, chunk=32, draws=1,
        shard_rows=shard_rows, threads=1, stages=tuple(repr(stage) for stage in STAGES),
    )  # fmt: skip
    model = ModelRecord(spec=name, name=name, digest="a1" * 32, parameters=21_386, bounds=(0.0, 1.0))
    data = DataRecord(
        spec="digits", name="digits", digest="b2" * 32, rows=len(x), shape=x.shape[1:], class_names=class_names
    )
    made_by = MadeBy(
        blindspots=version("blindspots"),
        torch="2.13.0",
        python="3.11.4",
        machine="Linux x86_64",
        device="cpu",
        threads=1,
    )
    world = {"model": model.model_dump(mode="json"), "data": data.model_dump(mode="json")}
    return Manifest(kind="evaluate", made_by=made_by, config=config.model_dump(mode="json"), world=world)
