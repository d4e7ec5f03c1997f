"""A perturbation on a folder of pictures, exact on their 8 bits."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from blindspots.ball import L2, RELATIVE_SLACK, Linf, parse_ball
from blindspots.data import IMAGES, levels_of, read_picture, size_of
from blindspots.errors import InputError
from blindspots.experiments.universal.file import Perturbation
from blindspots.pictures import is_image
from blindspots.sizes import check_radius

Levels = NDArray[np.int64]


@dataclass(frozen=True)
class Applied:
    """What was written.

    Attributes:
        pictures: their number.
        largest: the largest change of a value in levels of 8 bits, over all pictures.
        norm: the largest change of a picture in the threat's norm, on the scale of the perturbation's bounds.
        resized: whether the perturbation was resized for a picture.
        turned: pictures that were turned as their EXIF orientation says.
        see_through: pictures whose pixels are not all opaque; their colours were taken, their alpha was not.
    """

    pictures: int
    largest: int
    norm: float
    resized: bool
    turned: int = 0
    see_through: int = 0


def apply_perturbation(
    perturbation: Perturbation, folder: str | Path, out: str | Path, *, group: int | None = None, resize: bool = False
) -> Applied:
    """Add a perturbation to all pictures of a folder and of the folders in it.

    Pictures are written as PNG under their names, with the perturbation in whole levels: the nearest ones that stay
    within the radius. For linf, a level beyond the radius is rounded towards zero. For l2, where the rounded
    perturbation is longer than the radius, the levels that rounding took furthest from zero go back towards it, the
    last ones first, until it is not. Values stay between 0 and 255, which makes a change only smaller.

    Args:
        folder: where the pictures are (.png, .jpg, .jpeg, .webp, .bmp). They are turned as their EXIF orientation says,
            and have to be grey where the perturbation has one channel; with three, grey ones get three equal ones.
        out: a new or an empty folder. It appears when all pictures are in it, or not at all.
        group: which perturbation of a file with one for every class.
        resize: fit the perturbation to pictures of other sizes, bilinearly; in l2 it is shortened to the radius if it
            becomes longer by that. Pictures are never resized.

    Raises:
        InputError: there are no pictures, two would get one name, a size or the channels do not fit, `out` holds files,
            or nothing of the perturbation is left in whole levels.
    """
    folder, out = Path(folder), Path(out)
    v = _chosen(perturbation, group)
    files = _pictures(folder, out)
    levels = _levels(v, perturbation)
    own = v.shape[1], v.shape[2]
    _check_sizes(files, own, resize)
    scale = (perturbation.bounds[1] - perturbation.bounds[0]) / 255
    norm = parse_ball(perturbation.threat).norm
    most, longest, other, turned, clear = 0, 0.0, False, 0, 0
    with _whole(out) as draft:
        for path in files:
            picture = read_picture(path)
            before = levels_of(picture, path, v.shape[0]).transpose(2, 0, 1).astype(np.int64)
            turned, clear = turned + picture.turned, clear + picture.see_through
            size = before.shape[1], before.shape[2]
            after = np.clip(before + levels(size), 0, 255)
            change = after - before
            most, other = max(most, int(np.abs(change).max())), other or size != own
            longest = max(longest, scale * float(norm(torch.from_numpy(change).double()[None])))
            _write(draft / path.relative_to(folder).with_suffix(".png"), after)
    return Applied(len(files), most, longest, other, turned, clear)


def _chosen(perturbation: Perturbation, group: int | None) -> torch.Tensor:
    """(C, H, W) on the scale of the perturbation."""
    groups = len(perturbation.v)
    if group is None and groups > 1:
        raise InputError(
            f"expected one perturbation, got one for each of {groups} classes: name the class that the model takes the "
            "pictures for with --class"
        )
    if group is not None and not 0 <= group < groups:
        raise InputError(f"expected a class from 0 to {groups - 1}, got {group}: name one of these")
    v = perturbation.v[group or 0]
    if not is_image(perturbation.shape):
        raise InputError(
            f"expected a perturbation of pictures, got one of shape {perturbation.shape}: add it in Python"
        )
    return v[None] if v.ndim == 2 else v


def _levels(v: torch.Tensor, perturbation: Perturbation) -> Callable[[tuple[int, int]], Levels]:
    """The whole levels that are added to pictures of a size (height, width): (C, H, W) int64."""
    threat = parse_ball(perturbation.threat)
    if not isinstance(threat, Linf | L2) or threat.radius is None:
        raise InputError(
            f"expected a perturbation of linf or l2 with a radius, got {perturbation.threat}: add it to your pictures "
            "in Python"
        )
    check_radius(threat.within(*perturbation.bounds), perturbation.shape)
    per_level = 255 / (perturbation.bounds[1] - perturbation.bounds[0])
    radius = threat.radius * per_level

    @cache
    def of(size: tuple[int, int]) -> Levels:
        exact = _resized(v.double() * per_level, size).numpy()
        if isinstance(threat, L2):
            exact = exact * min(1.0, radius / max(float(np.sqrt((exact**2).sum())), 1e-300))
        levels = rounded_l2(exact, radius) if isinstance(threat, L2) else rounded_linf(exact, radius)
        if not levels.any():
            raise InputError(
                f"expected a perturbation that whole levels of 8 bits can hold, got one within {perturbation.threat} "
                f"whose largest value is {float(np.abs(exact).max()):.2g} levels, so nothing is left: use a larger one"
            )
        return levels

    return of


def rounded_linf(exact: NDArray[np.float64], radius: float) -> Levels:
    """The nearest whole numbers with no absolute value above `radius`."""
    most = math.floor(radius * (1 + RELATIVE_SLACK))
    return np.clip(np.rint(exact), -most, most).astype(np.int64)


def rounded_l2(exact: NDArray[np.float64], radius: float) -> Levels:
    """Whole numbers near `exact`, whose length is at most `radius`, that are not longer than that either.

    Each entry is one of its two neighbours. Those that were rounded away from zero go back in the order of how far
    they were taken, until the rest fits; with all of them back, no entry is longer than it was.
    """
    size = np.rint(np.abs(exact)).ravel()
    excess = size - np.abs(exact).ravel()
    order = np.argsort(-excess, kind="stable")[: int((excess > 0).sum())]
    length = float((size**2).sum()) - np.concatenate([[0.0], np.cumsum(2 * size[order] - 1)])
    size[order[: int((length > (radius * (1 + RELATIVE_SLACK)) ** 2).sum())]] -= 1
    return (np.sign(exact) * size.reshape(exact.shape)).astype(np.int64)


def _resized(v: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(v.shape[-2:]) == size:
        return v
    return F.interpolate(v[None], size, mode="bilinear", antialias=True)[0]


# ------------------------------------------------------------------ pictures


def _pictures(folder: Path, out: Path) -> list[Path]:
    """All pictures below a folder, hidden ones apart, in sorted order."""
    if not folder.is_dir():
        raise InputError(f"expected a folder of pictures, got {str(folder)!r}, which is not one: name a folder")
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        raise InputError(
            f"expected a folder outside of {str(folder)!r} to write to, got {str(out)!r}: name another one"
        )
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in IMAGES and p.is_file() and not _hidden(p, folder)
    )
    if not files:
        raise InputError(f"expected pictures ({', '.join(IMAGES)}) in {str(folder)!r}, got none: name another folder")
    names: dict[Path, Path] = {}
    for path in files:
        other = names.setdefault(path.with_suffix(".png"), path)
        if other != path:
            raise InputError(
                f"expected pictures that differ in more than their endings, got {str(other)!r} and {str(path)!r}: "
                "both would be written as PNG, so rename one"
            )
    return files


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _check_sizes(files: Sequence[Path], size: tuple[int, int], resize: bool) -> None:
    """Said before anything is written; a broken picture is said when it is read."""
    for path in files:
        try:
            width, height = size_of(path)
        except InputError:
            continue
        if (height, width) != size and not resize:
            raise InputError(
                f"expected pictures of {size[1]} x {size[0]} pixels, got {width} x {height} in {str(path)!r}: resize "
                "the picture, or the perturbation with --resize"
            )


def _write(path: Path, levels: Levels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = levels.astype(np.uint8)
    Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))).save(path)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A draft folder that becomes `out` if nothing goes wrong."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"expected a new or an empty folder to write to, but {str(out)!r} is not: name another one")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", ignore_cleanup_errors=True) as draft:
            made = Path(draft) / "pictures"  # the temporary folder itself is for its owner alone
            made.mkdir()
            yield made
            made.replace(out)
    except OSError as error:
        raise InputError(f"expected to write pictures to {str(out)!r}, got: {error}. Name another folder") from error
