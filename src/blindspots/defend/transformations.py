"""Input transformations as a defence. They live with the models, since `load_model` and `verify` have to know them."""

from blindspots.models.transformations import (
    TRANSFORMATIONS,
    Bits,
    Jpeg,
    Median,
    Noise,
    Transformation,
    Transformed,
    parse_chain,
    parse_transformation,
    straight_through,
)

__all__ = [
    "TRANSFORMATIONS",
    "Bits",
    "Jpeg",
    "Median",
    "Noise",
    "Transformation",
    "Transformed",
    "parse_chain",
    "parse_transformation",
    "straight_through",
]
