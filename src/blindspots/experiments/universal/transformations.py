"""Random changes of inputs over which a shared perturbation has to hold: more images from those that there are."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blindspots.attacks.starts import as_images
from blindspots.attacks.views.views import View
from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.naming import meant
from blindspots.random import uniform
from blindspots.rows import pick


@dataclass(frozen=True)
class Flip(View):
    """Left and right exchanged, in half of the views."""

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        return pick(uniform(key, number, 10, (1,))[:, 0] < 0.5, x.flip(-1), x)


@dataclass(frozen=True)
class Crop(View):
    """A random part of the image, enlarged to its size (bilinear).

    Args:
        least: the smallest side of the part, as a share of the image's.
    """

    least: float = 0.5

    def __call__(self, x: Tensor, key: Tensor, number: Tensor, threat: Ball) -> Tensor:
        images, draw = as_images(x), uniform(key, number, 11, (3,))
        side = self.least + (1 - self.least) * draw[:, 0]
        shift = (2 * draw[:, 1:] - 1) * (1 - side)[:, None]
        place = torch.zeros(len(x), 2, 3, device=x.device)
        place[:, 0, 0] = place[:, 1, 1] = side
        place[:, :, 2] = shift
        grid = F.affine_grid(place, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False, padding_mode="reflection").view_as(x)


TRANSFORMATIONS: dict[str, type[View]] = {"flip": Flip, "crop": Crop}


def parse_transformations(text: str) -> tuple[View, ...]:
    """Views from words such as "flip+crop"; "none" for none."""
    words = [] if text == "none" else text.split("+")
    for word in words:
        if word not in TRANSFORMATIONS:
            raise InputError(
                f"expected transformations among {', '.join(TRANSFORMATIONS)}, joined by +, or none, got {word!r}"
                f"{meant(word, TRANSFORMATIONS)}: change it"
            )
    return tuple(TRANSFORMATIONS[word]() for word in words)
