"""The threat of a transfer: of texts one lattice for all models, read by each that shows its embeddings."""

from dataclasses import replace

from blindspots.ball import Ball
from blindspots.experiments.transfer.config import TransferConfig
from blindspots.models.model import Model
from blindspots.models.texts import TokenModel
from blindspots.runs.world import World
from blindspots.texts.threats import TextThreat
from blindspots.threat import Threat
from blindspots.threats import parse_threat


def threat_of(config: TransferConfig, world: World) -> Threat:
    """Within the bounds of the models. Of texts with one lattice for all: no model's own words are candidates."""
    return world.once("threat", lambda: _threat(config, world))


def _threat(config: TransferConfig, world: World) -> Threat:
    threat: Threat = world.thing("threat", parse_threat)
    if not isinstance(threat, TextThreat):
        return threat.within(*config.bounds) if isinstance(threat, Ball) else threat
    fixed = getattr(world.rows[config.attacked], "fixed", None)
    chosen = replace(threat, candidates=threat.candidates or config.candidates, fixed=fixed)
    return replace(chosen, candidates=chosen.builder)


def said_of(config: TransferConfig) -> Threat:
    """The threat as far as words say it: of balls all, of texts not by what words are exchanged."""
    threat = parse_threat(config.threat)
    return threat.within(*config.bounds) if isinstance(threat, Ball) else threat


def read_by(threat: Threat, model: Model) -> Threat:
    """The threat with slopes along the exchanges of words, where the model shows its embeddings."""
    if isinstance(threat, TextThreat) and isinstance(model, TokenModel):
        return replace(threat, reader=model)
    return threat
