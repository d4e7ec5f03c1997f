"""Changes of the input before the network: fewer bits, a median filter, the JPEG codec, noise.

Each is a small object that holds its settings and is called with inputs. Changes without a useful gradient pass it on
unchanged (straight-through, BPDA of Athalye et al. 2018, arXiv 1802.00420), so that attacks see what lies behind.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from io import BytesIO
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.models.model import Model, Wrapper
from blindspots.pictures import is_image, picture
from blindspots.spec import build

Bounds = tuple[float, float]


class Transformation(ABC):
    """A change of inputs x (B, *shape) within `bounds`, row by row, through which gradients pass."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, x: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        """The changed inputs, of x's shape, dtype and device."""

    def __str__(self) -> str:
        """As `parse_transformation` reads it."""
        settings = (f"{f.name}={getattr(self, f.name)}" for f in fields(self))  # type: ignore[arg-type]
        return f"{self.name}:{','.join(settings)}"


def straight_through(x: Tensor, changed: Tensor) -> Tensor:
    """`changed` to the last bit, with the gradient of `x`."""
    return changed.detach() + (x - x.detach())


@dataclass(frozen=True)
class Bits(Transformation):
    """2^depth levels between the bounds (Xu, Evans and Qi 2018, arXiv 1704.01155), straight through backwards.

    Args:
        depth: 1 to 8.
    """

    name: ClassVar[str] = "bits"
    depth: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 8:
            raise InputError(f"expected a depth of 1 to 8 bits, got {self.depth}: choose e.g. 4")

    def __call__(self, x: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        (lo, hi), steps = bounds, 2**self.depth - 1
        return straight_through(x, lo + (hi - lo) * ((x - lo) / (hi - lo) * steps).round() / steps)


@dataclass(frozen=True)
class Median(Transformation):
    """The median of every size x size window of the last two axes, with its own gradient, that of the pixel chosen.

    Equal to `scipy.ndimage.median_filter(mode="reflect")`: beyond its edge an image goes on as its mirror image, the
    edge repeated.

    Args:
        size: odd.
    """

    name: ClassVar[str] = "median"
    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise InputError(f"expected an odd window of at least 1 pixel, got size {self.size}: choose e.g. 3")

    def __call__(self, x: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        _check_images(x, "median")
        lines, columns = (_mirrored(n, self.size // 2, x.device) for n in x.shape[-2:])
        windows = x[..., lines, :][..., columns].unfold(-2, self.size, 1).unfold(-2, self.size, 1)
        return windows.flatten(-2).median(-1).values


@dataclass(frozen=True)
class Jpeg(Transformation):
    """Pillow's JPEG codec and back, rounded to 8 bits before, straight through backwards. Runs on the CPU.

    Args:
        quality: 1 to 100. Colours are stored at half the resolution (4:2:0), as Pillow does by default.
    """

    name: ClassVar[str] = "jpeg"
    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise InputError(f"expected a JPEG quality of 1 to 100, got {self.quality}: choose e.g. 75")

    def __call__(self, x: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        _check_images(x, "jpeg")
        lo, hi = bounds
        images = ((x.detach() - lo) / (hi - lo)).cpu().float()
        decoded = [self._decoded(image) for image in images]
        unit = torch.stack(decoded) if decoded else images
        return straight_through(x, lo + (hi - lo) * unit.to(x))

    def _decoded(self, image: Tensor) -> Tensor:
        file = BytesIO()
        picture(image.numpy()).save(file, "JPEG", quality=self.quality)
        pixels = torch.from_numpy(np.array(Image.open(file))).float() / 255
        return (pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels).reshape(image.shape)


@dataclass(frozen=True)
class Noise(Transformation):
    """Normal noise, drawn anew at every call from torch's generator; not cut off at the bounds.

    It makes the model randomised: average every evaluation over several draws (expectation over transformation).

    Args:
        sigma: standard deviation, in the units of the input.
    """

    name: ClassVar[str] = "noise"
    sigma: float = 0.25

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InputError(f"expected noise with sigma above 0, got {self.sigma:g}: choose e.g. 0.25")

    def __call__(self, x: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        return x + self.sigma * torch.randn_like(x)


TRANSFORMATIONS: dict[str, type[Transformation]] = {kind.name: kind for kind in (Bits, Median, Jpeg, Noise)}


def parse_transformation(text: str) -> Transformation:
    """A transformation from text such as "bits:depth=3". Raises InputError if there is no such transformation."""
    return build("a transformation", TRANSFORMATIONS, text)


def parse_chain(text: str) -> tuple[Transformation, ...]:
    """Transformations to apply one after the other, from text such as "bits:depth=4+median:size=3"."""
    return tuple(parse_transformation(part) for part in text.split("+"))


class Transformed(Wrapper):
    """A model behind transformations of its input: the defence as a model, to be attacked as a whole.

    Args:
        model: receives the transformed inputs. The whole has its bounds and its `access`.
        transformations: at least one, as objects or as text such as "bits:depth=4+median:size=3", in order.

    Raises:
        InputError: no transformation, or text that names none.
    """

    def __init__(self, model: Model, *transformations: Transformation | str) -> None:
        chain = [t for given in transformations for t in (parse_chain(given) if isinstance(given, str) else (given,))]
        if not chain:
            raise InputError('expected a transformation, got none: pass e.g. "bits:depth=4"')
        self.transformations = tuple(chain)
        words = "+".join(map(str, chain))
        spec = None if model.spec is None else f"{model.spec}|{words}"
        net = _Behind(model, self.transformations)
        super().__init__(model, net, f"{model.name} through {words}", spec)


class _Behind(nn.Module):
    """Transformations, then the model; its network is a submodule, so modes, devices and digests cover it."""

    def __init__(self, model: Model, chain: tuple[Transformation, ...]) -> None:
        super().__init__()
        self.model, self.chain, self.net = model, chain, model.net

    def forward(self, x: Tensor) -> Tensor:
        for change in self.chain:
            x = change(x, self.model.bounds)
        return self.model.logits(x)

    def extra_repr(self) -> str:
        model = self.model
        return f"{' + '.join(map(str, self.chain))}, {(model.bounds, model.mean, model.std, model.output)}"


def _mirrored(size: int, margin: int, device: torch.device) -> Tensor:
    """Positions -margin .. size + margin - 1 of an axis extended by its mirror image: (size + 2 margin,) int64."""
    place = torch.arange(-margin, size + margin, device=device) % (2 * size)
    return place.minimum(2 * size - 1 - place)


def _check_images(x: Tensor, name: str) -> None:
    if not is_image(x.shape[1:]):
        raise InputError(
            f"expected images (rows, 1 or 3, height, width) for {name}, got inputs of shape {tuple(x.shape)}: use "
            "bits or noise"
        )
