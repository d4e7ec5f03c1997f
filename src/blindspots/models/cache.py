"""Networks that this machine trains when they are first used, and keeps.

They lie in the cache folder: $BLINDSPOTS_CACHE, else $XDG_CACHE_HOME/blindspots, else ~/.cache/blindspots.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

N = TypeVar("N", bound=nn.Module)


def kept(name: str, recipe: object, build: Callable[[], N], train: Callable[[], N]) -> N:
    """The network in evaluation mode: from the cache folder if it has been trained there, else trained and kept.

    Args:
        recipe: everything that decides the weights beside the network; `repr` shows all of it.
        build: makes the network with any weights.
        train: makes it with trained ones.
    """
    path = cache_folder() / f"{name}-{_version(recipe, _empty(build))}.safetensors"
    net = _restored(path, build)
    if net is None:
        net = train()
        _keep(net, path)
    return net.eval()


def cache_folder() -> Path:
    """$BLINDSPOTS_CACHE, else $XDG_CACHE_HOME/blindspots, else ~/.cache/blindspots."""
    if own := os.environ.get("BLINDSPOTS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blindspots"


def _version(recipe: object, net: nn.Module) -> str:
    return hashlib.sha256(repr((recipe, net, torch.__version__)).encode()).hexdigest()[:12]


def _empty(build: Callable[[], N]) -> N:
    with torch.device("meta"):  # nothing is drawn from the caller's generator
        return build()


def _restored(path: Path, build: Callable[[], N]) -> N | None:
    """The network in the file, if that exists and is complete."""
    if not path.is_file():
        return None
    net = _empty(build)
    try:
        net.load_state_dict(load_file(path), assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        sys.stderr.write(f"{path} cannot be read ({error}): the network is trained again\n")
        return None
    return net


def _keep(net: nn.Module, path: Path) -> None:
    """Write the whole file or nothing; without a cache the network is just trained again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            save_file(net.state_dict(), Path(folder) / path.name)
            (Path(folder) / path.name).replace(path)
    except (OSError, SafetensorError) as error:
        sys.stderr.write(f"{path} cannot be written ({error}): the network is trained again next time\n")
