"""How far inputs may move, where nobody said it."""

from blindspots.ball import Ball
from blindspots.errors import InputError
from blindspots.experiments.inspect.settings import Inspecting
from blindspots.fit import check_lengths
from blindspots.pictures import is_colour
from blindspots.runs.world import World
from blindspots.sizes import check_radius
from blindspots.threats import as_plain_threat

_USUAL, _OF_COLOUR = 0.1, 8 / 255  # of the range of the inputs


def with_threat(config: Inspecting, world: World) -> str:
    """The threat in words, with what is usual where none was named."""
    low, high = world.model.bounds
    share = _OF_COLOUR if is_colour(world.data.shape) else _USUAL
    return config.threat or f"linf:{share * (high - low):.6g}"


def ball_of(config: Inspecting, world: World) -> Ball:
    """The threat in the model's box. Raises InputError: it is no ball with a radius that suits the inputs."""
    threat = as_plain_threat(config.threat)
    if not isinstance(threat, Ball) or threat.radius is None:
        raise InputError(
            f"expected a threat with a radius for inputs of numbers, such as linf:0.1, got {threat.spec}: change it"
        )
    check_lengths(world.data, "studies within a threat")
    threat = threat.within(*world.model.box)
    check_radius(threat, world.data.shape)
    return threat
