"""The training in hand on the disk: whole at every moment, so that a kill costs at most some epochs, never a bit."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from blindspots.defend.hardening.course import Log, State
from blindspots.errors import InputError
from blindspots.files import write_whole

_EVERY = 5.0  # seconds between two writes: less is lost than a minute of training is worth
_STATE, _BEST = "state/", "best/"
_LOG = TypeAdapter(Log)


class Checkpoint:
    """training.safetensors: the state after an epoch, the best weights so far, and the log as its metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = time.monotonic()

    def write(self, state: Mapping[str, Tensor], best: Mapping[str, Tensor], log: Log) -> None:
        """Write all of it."""
        named = {_STATE + k: v for k, v in state.items()} | {_BEST + k: v for k, v in best.items()}
        content = save({k: v.cpu().contiguous() for k, v in named.items()}, {"log": _LOG.dump_json(log).decode()})
        write_whole(self.path, content)
        self._written = time.monotonic()

    def now_and_then(self, state: Mapping[str, Tensor], best: Mapping[str, Tensor], log: Log) -> None:
        """Write it unless that was done moments ago."""
        if time.monotonic() - self._written > _EVERY:
            self.write(state, best, log)

    def read(self) -> tuple[State, State, Log] | None:
        """What was written, None where nothing was. Raises InputError for a file that is broken."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                log = _LOG.validate_json((file.metadata() or {})["log"])
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (it is no mapping)
        except (SafetensorError, KeyError, ValidationError, json.JSONDecodeError) as error:
            raise InputError(
                f"expected the checkpoint of a training in {self.path}, got: {error}: delete it, then the training "
                "begins again"
            ) from error
        return _part(tensors, _STATE), _part(tensors, _BEST), log

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
