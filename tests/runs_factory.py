"""Finished run folders without an engine: real digits, a made-up model and made-up adversarial examples."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blindspots.verdict import Distances, Manifest, RunFile, ShardRecord, Stage, Verdict
from numpy.typing import NDArray
from safetensors.numpy import save
from sklearn.datasets import load_digits

from blindspots.findings import Finding
from blindspots.records import DataRecord, ModelRecord, Share, clopper_pearson

RADIUS = 0.15
OF_BROKEN = ("adversarial", "nearest", "adversarial_prediction", "adversarial_confidence", "prediction_8bit")
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
    (folder / "shards").mkdir(parents=True)
    shards = [_write_shard(folder, columns, start, shard_rows) for start in range(0, len(y), shard_rows)]
    file = RunFile(
        manifest=_manifest(name, x, "linf" if radius is None else f"linf:{radius}", class_names, shard_rows),
        command=command,
        started="2025-01-31T12:00:00Z",
        shards=shards,
        verdict=_verdict(columns, findings) if finished else None,
        seal="0" * 64 if finished else None,
    )
    (folder / "run.json").write_text(file.model_dump_json(indent=1))
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
        "result": np.where(broken, 1, 2).astype(np.uint8),
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


def _write_shard(folder: Path, columns: dict[str, Array], start: int, rows: int) -> ShardRecord:
    part = {name: values[start : start + rows] for name, values in columns.items()}
    broken = np.flatnonzero(part["won"])
    for column in OF_BROKEN:
        part[column] = part[column][broken]
    part |= {"stage_counts": np.zeros((2, 4), np.int64), "unbilled": np.zeros(2, np.int64)}
    contents = save({name: np.ascontiguousarray(v) for name, v in {**part, "broken": broken}.items()})
    path = folder / "shards" / f"{start // rows:05d}.safetensors"
    path.write_bytes(contents)
    digest = hashlib.sha256(contents).hexdigest()
    return ShardRecord(name=path.name, rows=len(part["id"]), sha256=digest, seconds=[0.0, 0.0])


def _manifest(name: str, x: Array, threat: str, class_names: list[str] | None, shard_rows: int) -> Manifest:
    return Manifest(
        blindspots="0.1.0",
        torch="2.13.0",
        python="3.11.4",
        machine="x86_64, 2 cores, Linux 6.1",
        device="cpu",
        threads=1,
        seed=0,
        model=ModelRecord(spec=name, name=name, digest="a1" * 32, parameters=21_386, bounds=(0.0, 1.0)),
        data=DataRecord(
            spec="digits", name="digits", digest="b2" * 32, rows=len(x), shape=x.shape[1:], class_names=class_names
        ),
        threat=threat,
        protocol="fast",
        stages=["Ascent(steps=10, targets=2)", "Ascent(steps=30, targets=4)"],
        slots=256,
        chunk=32,
        shard_rows=shard_rows,
        precision="float32",
        channels_last=False,
        compile=False,
        limits=[None, None, None, None],
    )


def _verdict(columns: dict[str, Array], findings: Sequence[Finding]) -> Verdict:
    rows, right, broken = len(columns["y"]), int(columns["right"].sum()), int(columns["won"].sum())
    undone = int((columns["won"] & (columns["prediction_8bit"] == columns["y"])).sum())
    forwards, backwards = int(columns["forwards"].sum()), int(columns["backwards"].sum())
    stood = right - broken
    return Verdict(
        rows=rows,
        counted=rows,
        clean_accuracy=right / rows if rows else 0.0,
        clean_interval=clopper_pearson(right, rows),
        robust_accuracy=stood / rows if rows else 0.0,
        interval=clopper_pearson(stood, rows),
        searched=Share.of(stood, rows),
        robust_of_right=Share.of(stood, right),
        reached=None,
        robust_accuracy_8bit=(stood + undone) / rows if rows else 0.0,
        interval_8bit=clopper_pearson(stood + undone, rows),
        outcomes={"won": broken, "stood": stood, "already_wrong": rows - right},
        distances=_distances(columns, right) if broken else None,
        forwards=forwards,
        backwards=backwards,
        forwards_per_row=forwards / max(rows, 1),
        backwards_per_row=backwards / max(rows, 1),
        forwards_unbilled=3 * rows,
        backwards_unbilled=rows,
        seconds=11.84,
        stages=_stages(columns, right, forwards, backwards),
        findings=list(findings),
    )


def _stages(columns: dict[str, Array], right: int, forwards: int, backwards: int) -> list[Stage]:
    first, second = (int((columns["stage"] == i).sum()) for i in (0, 1))
    short = Stage(
        name="ascent",
        attack="Ascent(steps=10, targets=2)",
        why="The two classes with the smallest margin, for a start.",
        rows=right,
        won=first,
        forwards=forwards // 3,
        backwards=backwards // 3,
        seconds=3.21,
    )
    longer = Stage(
        name="long ascent",
        attack="Ascent(steps=30, targets=4)",
        why="Longer, and towards four classes: the margin still moved.",
        rows=right - first,
        won=second,
        forwards=forwards // 2,
        backwards=backwards // 2,
        seconds=8.4,
    )
    return [short, longer]


def _distances(columns: dict[str, Array], right: int) -> Distances:
    norms, rows = np.sort(columns["norm"][columns["won"]]), len(columns["y"])
    picked = np.unique(np.linspace(0, len(norms) - 1, min(len(norms), 200)).astype(int))
    curve = [(float(norms[i]), (right - int((norms <= norms[i]).sum())) / rows) for i in picked]
    return Distances(smallest=float(norms[0]), median=float(np.median(norms)), largest=float(norms[-1]), curve=curve)
