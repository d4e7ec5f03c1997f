"""Changes of the input before the network: fewer bits, a median filter, the JPEG codec, noise; front ends for texts.

Each of numbers is a small object that holds its settings and is called with inputs. Changes without a useful gradient
pass it on unchanged (straight-through, BPDA of Athalye et al. 2018, arXiv 1802.00420), so that attacks see what lies
behind. Front ends are in `texts.frontends`; nothing passes a gradient through these.
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
from blindspots.models.texts import TextModel
from blindspots.models.transformed_texts import TransformedTexts
from blindspots.pictures import is_image, picture
from blindspots.spec import build, terms
from blindspots.texts.frontends.frontend import FrontEnd
from blindspots.texts.frontends.spell import Spell
from blindspots.texts.frontends.synonyms import Synonyms
from blindspots.texts.frontends.unicode import Unicode

Bounds = tuple[float, float]


class Transformation(ABC):
    """A change of inputs x (B, *shape) within `bounds`, row by row, through which gradients pass."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, x: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        """The changed inputs, of x's shape, dtype and device."""

    def __str__(self) -> str:
        """As `parse_chain` reads it."""
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
FRONT_ENDS: dict[str, type[FrontEnd]] = {kind.name: kind for kind in (Unicode, Spell, Synonyms)}
_ALL: dict[str, type[Transformation | FrontEnd]] = {**TRANSFORMATIONS, **FRONT_ENDS}

Chain = tuple[Transformation, ...] | tuple[FrontEnd, ...]


def parse_chain(text: str) -> Chain:
    """What inputs go through, one after the other, from text such as "bits:depth=4+median:size=3" or "unicode+spell".

    Raises InputError: there is no such transformation, or some are for texts and some for numbers.
    """
    chain = [build("a transformation", _ALL, term) for term in terms("a transformation", _ALL, text)]
    of_texts = tuple(change for change in chain if isinstance(change, FrontEnd))
    of_numbers = tuple(change for change in chain if isinstance(change, Transformation))
    if of_texts and of_numbers:
        raise InputError(
            f"expected transformations all for texts or none of them, got {of_texts[0]} for texts and {of_numbers[0]} "
            f"for numbers: choose among {', '.join(FRONT_ENDS)} or among {', '.join(TRANSFORMATIONS)}"
        )
    return of_texts or of_numbers


class Transformed(Wrapper):
    """A model behind transformations of its input: the defence as a model, to be attacked as a whole.

    Models of texts take other ones, see `TransformedTexts`.

    Args:
        model: receives the transformed inputs. The whole has its bounds and its `access`.
        transformations: at least one, as objects or as text such as "bits:depth=4+median:size=3", in order.

    Raises:
        InputError: no transformation, text that names none, or one side is for texts.
    """

    def __init__(self, model: Model, *transformations: Transformation | FrontEnd | str) -> None:
        given = [t for one in transformations for t in (parse_chain(one) if isinstance(one, str) else (one,))]
        if not given:
            raise InputError('expected a transformation, got none: pass e.g. "bits:depth=4"')
        chain = [change for change in given if isinstance(change, Transformation)]
        if isinstance(model, TextModel) or len(chain) < len(given):
            raise InputError(
                f"expected transformations that are for the inputs of {model.name}, got {'+'.join(map(str, given))}: "
                f"use {', '.join(FRONT_ENDS)} for texts and {', '.join(TRANSFORMATIONS)} for numbers"
            )
        self.transformations = tuple(chain)
        words = "+".join(map(str, chain))
        spec = None if model.spec is None else f"{model.spec}|{words}"
        net = _Behind(model, self.transformations)
        super().__init__(model, net, f"{model.name} through {words}", spec)


def transformed(model: Model, chain: Chain) -> Model:
    """The model behind a chain of transformations for its kind of inputs.

    Raises InputError: they are for another kind.
    """
    front_ends = [change for change in chain if isinstance(change, FrontEnd)]
    if isinstance(model, TextModel) and front_ends:
        return TransformedTexts(model, *front_ends)
    return Transformed(model, *chain)


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
