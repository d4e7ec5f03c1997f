"""Perturbations as files: what a search found with all that its use needs to know, and those that others published."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from blindspots.ball import RELATIVE_SLACK, Ball, parse_ball
from blindspots.errors import InputError
from blindspots.files import names_beside, read_bytes
from blindspots.findings import Finding
from blindspots.naming import meant

_CHANNELS = (1, 3)
_MOST = 1 << 30  # bytes of a published file
_KIND = "blindspots perturbation 1"


@dataclass(frozen=True)
class Perturbation:
    """What is added to every input.

    Attributes:
        v: (groups, *shape) float32: one perturbation, or one for every predicted class.
        threat: the ball that all of them lie in, e.g. "linf:0.03921568627450980".
        bounds: the range of inputs that `v` and the radius are measured in.
        model: the network that it was made for.
        per_class: whether v[k] is for inputs that the model takes for class k.
        target: the class that inputs are to be taken for; None: any other one.
        sha: SHA-256 (hex) of the file.
        notes: what was recognised when a file of others was read.
    """

    v: Tensor
    threat: str
    bounds: tuple[float, float]
    model: str
    per_class: bool
    target: int | None
    sha: str
    notes: tuple[Finding, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.v.shape[1:])

    @property
    def spec(self) -> str:
        """What a manifest calls it."""
        return f"perturbation {self.sha}"


def perturbation_bytes(
    v: Tensor, *, threat: Ball, model: str, per_class: bool, target: int | None, bounds: tuple[float, float]
) -> bytes:
    """A perturbation as a safetensors file.

    Args:
        v: (groups, *shape) within `threat`; one group, or one per class with `per_class`.
        threat: with a radius.
        bounds: of the inputs.

    Raises:
        InputError: `v` is not finite or larger than the radius.
    """
    v = v.detach().cpu().float().contiguous()
    _check(v, threat.spec, "perturbation.safetensors")
    said = {
        "kind": _KIND,
        "threat": threat.spec,
        "model": model,
        "per_class": str(per_class),
        "target": "" if target is None else str(target),
        "lo": repr(float(bounds[0])),
        "hi": repr(float(bounds[1])),
    }
    return _in_order(save({"v": v}, said))


def load_perturbation(path: str | Path) -> Perturbation:
    """Read a perturbation.

    Args:
        path: what `perturbation_bytes` made; or "FILE.npz:KEY", an array (H, W), (H, W, C), (C, H, W) or one of these
            behind an axis of length 1, for inputs in [0, 1]. An array with values beyond -1 to 1 is taken as levels of
            8 bits and divided by 255; its threat is linf with its own largest value.

    Raises:
        InputError: nothing is there, or something else, or a perturbation larger than the radius that it states.
    """
    text = str(path)
    name, found, key = text.rpartition(".npz:")
    if found:
        return _published(Path(f"{name}.npz"), key)
    if text.endswith(".npz"):
        return _published(Path(text), None)
    return _own(Path(path))


def _own(path: Path) -> Perturbation:
    _exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            said, names = file.metadata() or {}, list(file.keys())
            if said.get("kind") != _KIND or names != ["v"]:
                raise InputError(
                    f"expected a perturbation as `blindspots universal` writes it, got {str(path)!r} with "
                    f"{_few(names)}: name a perturbation.safetensors"
                )
            v = file.get_tensor("v")
        read = Perturbation(
            v.float(),
            said["threat"],
            (float(said["lo"]), float(said["hi"])),
            said["model"],
            said["per_class"] == "True",
            int(said["target"]) if said["target"] else None,
            _digest(path),
        )
    except InputError:
        raise
    except (SafetensorError, LookupError, ValueError) as error:
        raise InputError(
            f"expected a perturbation as `blindspots universal` writes it, but {str(path)!r} cannot be read ({error}): "
            "restore it or make it again"
        ) from error
    _check(read.v, read.threat, str(path))
    return read


def _in_order(content: bytes) -> bytes:
    """The same file with a header whose entries are sorted: the library writes them in an order of chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def _check(v: Tensor, spec: str, path: str) -> None:
    threat = parse_ball(spec)
    if v.ndim < 2 or not v.numel():
        raise InputError(f"expected a perturbation (groups, *shape), got {tuple(v.shape)} in {path!r}: add an axis")
    if not bool(v.isfinite().all()):
        raise InputError(f"expected finite values, got NaN or infinity in the perturbation {path!r}: make it again")
    largest = float(threat.norm(v).max())
    if threat.radius is not None and largest > threat.radius * (1 + RELATIVE_SLACK):
        raise InputError(
            f"expected a perturbation within {spec}, got one of norm {largest!r} in {path!r}: "
            "project it onto the ball, or state the radius that it has"
        )


def _published(path: Path, key: str | None) -> Perturbation:
    _exists(path)
    name = f"{path}:{key}"
    raw = _array(path, key)
    v, layout = _as_input(raw, name)
    largest = float(np.abs(v).max(initial=0))
    levels = largest > 1
    if levels:
        v = v / 255
    scale = "divided by 255, since values beyond 1 are levels of 8 bits" if levels else "taken for inputs from 0 to 1"
    saw = f"{name}: {layout}; its largest value is {largest:g}, so it was {scale}. Its threat is linf of that size."
    moved = torch.from_numpy(np.ascontiguousarray(v, np.float32))[None]
    radius = float(moved.abs().max())
    return Perturbation(
        moved, f"linf:{radius!r}", (0.0, 1.0), path.stem if key is None else key, False, None, _digest(path),
        (Finding(code="perturbation", severity="note", saw=saw, do=""),),
    )  # fmt: skip


def _array(path: Path, key: str | None) -> np.ndarray:
    try:
        with np.load(io.BytesIO(read_bytes(path, "an .npz file", _MOST)), allow_pickle=False) as archive:
            keys = list(archive.files)
            if key is None and len(keys) == 1:
                key = keys[0]
            if key not in keys:
                raise InputError(
                    f"expected FILE.npz:KEY with one of {_few(keys)} in {str(path)!r}, got "
                    f"{'no key' if key is None else repr(key)}{meant(key or '', keys)}"
                )
            array: np.ndarray = archive[key]
    except InputError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, AttributeError) as error:
        raise InputError(
            f"expected an .npz file with arrays of numbers, but {str(path)!r} cannot be read ({error}): save it again"
        ) from error
    if array.dtype.kind not in "fi" or not array.size or not np.isfinite(array).all():
        raise InputError(
            f"expected finite signed numbers, got {array.dtype} of shape {array.shape} in {path}:{key}: "
            "save the perturbation itself, not a picture of it"
        )
    return array.astype(np.float64)


def _as_input(v: np.ndarray, name: str) -> tuple[np.ndarray, str]:
    """(C, H, W), and how that was recognised."""
    before = v.shape
    while v.ndim > 2 and v.shape[0] == 1 and (v.ndim > 3 or v.shape[-1] in _CHANNELS):
        v = v[0]
    if v.ndim == 2:
        return v[None], f"{before} was read as (H, W)"
    if v.ndim == 3 and v.shape[0] in _CHANNELS:
        return v, f"{before} was read as (C, H, W)"
    if v.ndim == 3 and v.shape[2] in _CHANNELS:
        return v.transpose(2, 0, 1), f"{before} was read as (H, W, C)"
    raise InputError(
        f"expected (H, W), (H, W, C) or (C, H, W), got {before} in {name}: save one perturbation for images"
    )


def _exists(path: Path) -> None:
    if not path.is_file():
        around = names_beside(path, ".safetensors", ".npz")
        raise InputError(
            f"expected perturbation.safetensors of a run or FILE.npz:KEY, got {str(path)!r}, which is not a file"
            f"{meant(path.name, around)}"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _few(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "no arrays"
