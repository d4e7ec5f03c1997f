"""How far inputs may move where nobody said."""

from blindspots.ball import Ball, parse_ball
from blindspots.errors import InputError
from blindspots.experiments.inspect.settings import Inspecting
from blindspots.pictures import is_colour
from blindspots.runs.world import World

_COLOUR, _OTHER = 8 / 255, 0.1  # of the range of an input


def threat_words(config: Inspecting, world: World) -> str:
    """What was asked for, or L-infinity of a usual size: to be kept in the configuration."""
    if config.threat is not None:
        return config.threat
    low, high = world.model.bounds
    return f"linf:{(_COLOUR if is_colour(world.data.shape) else _OTHER) * (high - low):g}"


def ball_of(config: Inspecting, world: World) -> Ball:
    """The ball that `config.threat` names, within the model's box. Raises InputError: it has no radius, or is none."""
    ball = parse_ball(threat_words(config, world)).within(*world.model.bounds)
    if ball.radius is None:
        raise InputError(f"expected a threat with a radius, got {config.threat!r}: use e.g. linf:0.1")
    return ball
