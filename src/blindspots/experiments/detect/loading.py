"""A finished run's detectors, as they were fitted."""

from pathlib import Path
from typing import Any

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.experiments.detect.detectors.detector import Fitted
from blindspots.experiments.detect.detectors.file import load
from blindspots.experiments.detect.guarded import Guarded
from blindspots.models.first_look import as_model
from blindspots.models.load import load_model
from blindspots.models.model import Model
from blindspots.runs.folder import Folder
from blindspots.runs.store import Parts, Run, opened


@checked(model=as_model)
def load_detector(run: str | Path, model: Model | None = None, name: str | None = None) -> Guarded:
    """The model of a finished detection run with a detector: the same, plus "reject".

    Args:
        run: the folder.
        model: needed where the run was given a network from Python; else it is loaded by its name in run.json.
        name: of the detector; None: the one that the verdict speaks of.

    Raises:
        InputError: no finished run is there, it has no such detector, or its model cannot be had.
    """
    done = opened(Folder(Path(run)))
    if done.manifest.kind != "detect":
        raise InputError(
            f"expected a run of `blindspots detect` in {run}, got one of `blindspots {done.manifest.kind}`: name "
            "another folder"
        )
    return guarded(done, model or _network(done), name or done.verdict.detector)


def _network(done: Run[Any, Any]) -> Model:
    record = done.manifest.world["model"]
    if record["spec"] is None:
        raise InputError(
            f"expected the network {record['name']!r} itself, since the run was given it from Python: pass model=..."
        )
    return load_model(record["spec"])


def guarded(done: Run[Any, Any], model: Model, name: str) -> Guarded:
    """The model with one of the detectors. Raises InputError: the run has none of that name."""
    known = [d.name for d in done.verdict.detectors]
    if name not in known:
        raise InputError(f"expected a detector among {', '.join(known)}, got {name!r}: use one of these")
    return pair_of(done.parts, model, name)


def pair_of(parts: Parts, model: Model, name: str) -> Guarded:
    """From the parts that have the detector and its threshold."""
    return Guarded(model, fitted_of(parts, model, name), *parts[f"scores/{name}"]["pair"].tolist())


def fitted_of(parts: Parts, model: Model, name: str) -> Fitted:
    """From the part that has the detector's file."""
    return load(parts[f"detectors/{name}"]["file"].numpy().tobytes(), model)
