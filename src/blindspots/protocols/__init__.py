"""Cascades of attacks as data: TOML files, those in this folder by their name."""

from pathlib import Path

from blindspots.errors import InputError
from blindspots.naming import meant
from blindspots.problem import Need
from blindspots.protocols import stages
from blindspots.protocols.stages import Protocol, read_protocol
from blindspots.threat import Threat

__all__ = [
    "NAMES",
    "USUAL",
    "USUAL_OF_PARTS",
    "USUAL_OF_TABLES",
    "USUAL_OF_TEXTS",
    "USUAL_OF_VALUES",
    "Protocol",
    "about",
    "protocol",
]

_HOME = Path(__file__).parent
NAMES = (
    "fast",
    "adaptive",
    "autoattack",
    "autoattack-plus",
    "autoattack-rand",
    "curve",
    "exact",
    "regression",
    "regression-scores",
    "dense",
    "blackbox-scores",
    "blackbox-labels",
    "tables",
    "tables-scores",
    "tables-labels",
    "tables-cost",
    "text-fast",
    "text-scores",
    "text-labels",
)
USUAL = {Need.GRAD: "fast", Need.VALUE: "blackbox-scores", Need.LABEL: "blackbox-labels"}  # by what a model shows
USUAL_OF_TEXTS = {Need.SLOPES: "text-fast", Need.VALUE: "text-scores", Need.LABEL: "text-labels"}
USUAL_OF_TABLES = {Need.GRAD: "tables", Need.VALUE: "tables-scores", Need.LABEL: "tables-labels"}
USUAL_OF_VALUES = {**USUAL, Need.GRAD: "regression", Need.VALUE: "regression-scores"}  # for goals that do not classify
USUAL_OF_PARTS = {**USUAL, Need.GRAD: "dense"}  # for goals about pixels or objects


def protocol(name: str, threat: Threat) -> Protocol:
    """The stages of a named protocol, or of a TOML file, for a threat.

    Raises InputError: there is no such protocol or file, the file says something that cannot be run, or it has no
    stage for such a threat.
    """
    return read_protocol(_path(name), threat)


def about(name: str) -> str:
    """What a protocol is for, in a sentence."""
    return stages.about(_path(name))


def _path(name: str) -> Path:
    if name in NAMES:
        return _HOME / f"{name}.toml"
    if name.endswith(".toml"):
        return Path(name)
    raise InputError(
        f"expected a protocol among {', '.join(NAMES)}, or a .toml file, got {name!r}{meant(name, NAMES)}: "
        "choose one of these"
    )
