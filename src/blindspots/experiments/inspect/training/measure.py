"""What a trained network is worth: examples within the radius, the nearest ones, and who else is fooled by them."""

from functools import partial

import torch
from torch import Tensor, nn

from blindspots.attacks import APGD, FMN
from blindspots.ball import L2, Ball
from blindspots.crafting import Plan, craft
from blindspots.experiments.inspect.training.autoencoder import Autoencoder, ascended, noisy
from blindspots.experiments.transfer.training import answers
from blindspots.models.model import Model
from blindspots.objective import Objective
from blindspots.oracle import Oracle
from blindspots.runs.experiment import Columns

_CHUNK, _PART = 32, 256
_WITHIN, _NEAREST = APGD(steps=40), FMN(steps=100)


def examples(model: Model, ball: Ball, x: Tensor, y: Tensor, seed: int) -> Columns:
    """See `verdict.EXAMPLES`."""
    oracle, clean = Oracle(model, chunk=_CHUNK), answers(model, x)
    anywhere = L2().within(*ball.bounds)
    moved = craft(oracle, _WITHIN, _plan(ball, seed), x, y).moved
    nearest = craft(oracle, _NEAREST, _plan(anywhere, seed), x, y).moved
    found = answers(model, nearest) != y
    distance = torch.where(found, anywhere.distance(nearest, x).double(), torch.inf)
    return {
        "clean": clean, "moved": moved, "attacked": answers(model, moved), "nearest": nearest,
        "distance": torch.where(clean == y, distance, 0.0), "cost": torch.tensor([oracle.forwards, oracle.backwards]),
    }  # fmt: skip


def _plan(ball: Ball, seed: int) -> Plan:
    return Plan(ball, Objective(), None, 1, seed, _CHUNK, _PART)


def told(network: Model, reference: Model, own: Columns, others: Columns) -> Columns:
    """See `verdict.ANSWERS`."""
    return {"to_reference": answers(reference, own["moved"]), "from_reference": answers(network, others["moved"])}


def resilience(net: Autoencoder, model: Model, ball: Ball, x: Tensor, radius: float, shown: int, seed: int) -> Columns:
    """See `verdict.AUTOENCODER`. Every row's reconstruction is drawn towards that of the next row."""
    code, rebuilt = net.encoder(x), net(x)
    target = rebuilt.roll(-1, 0)
    away, towards = partial(_apart, net.encoder, code), partial(_together, net, target)
    moved = [noisy(ball, x, radius, seed), *(ascended(f, ball, x, radius, seed) for f in (away, towards))]
    built = [rebuilt, *map(net, moved)]
    return {
        "latent": torch.stack([_relative(net.encoder(m), code) for m in moved], 1),
        "rebuilt": torch.stack([_relative(b, rebuilt) for b in built[1:]], 1),
        "towards": -torch.stack([towards(x), towards(moved[2])], 1).double(),
        "said": torch.stack([answers(model, b) for b in built], 1),
        "x": x[:shown], "shown": torch.stack([b[:shown] for b in built], 1),
        "error": (rebuilt - x).double().square().mean()[None],
    }  # fmt: skip


def _apart(of: nn.Module, place: Tensor, at: Tensor) -> Tensor:
    """How far (B,) an output is from a place (B, ...)."""
    away: Tensor = (of(at) - place).flatten(1).norm(dim=1)
    return away


def _together(of: nn.Module, place: Tensor, at: Tensor) -> Tensor:
    return -_apart(of, place, at)


def _relative(moved: Tensor, still: Tensor) -> Tensor:
    share: Tensor = ((moved - still).flatten(1).norm(dim=1) / still.flatten(1).norm(dim=1).clamp_min(1e-12)).double()
    return share
