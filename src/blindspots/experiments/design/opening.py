"""Tasks by name."""

from blindspots.errors import InputError
from blindspots.experiments.design.ehrlich import Ehrlich
from blindspots.experiments.design.molecules import Molecules
from blindspots.experiments.design.tasks import BUILT_IN, Designs, Task
from blindspots.models.load import from_factory
from blindspots.naming import meant
from blindspots.spec import build

_SEQUENCES: dict[str, type[Ehrlich] | type[Molecules]] = {"ehrlich": Ehrlich, "qed": Molecules}


def parse_task(spec: str) -> Designs:
    """The task of that name, or what a factory returns. Raises InputError: there is none, or it is no task."""
    if spec in BUILT_IN:
        return BUILT_IN[spec]()
    if spec.partition(":")[0] in _SEQUENCES:
        return build("a task", _SEQUENCES, spec)
    place, _, factory = spec.rpartition(":")
    if not place or not factory:
        known = (*BUILT_IN, *_SEQUENCES)
        raise InputError(
            f"expected a task ({', '.join(known)}, file.py:factory or package.module:factory), got {spec!r}"
            f"{meant(spec, known)}: name one of these"
        )
    made = from_factory(spec)
    if not isinstance(made, Task):
        raise InputError(
            f"expected {spec!r} to return a blindspots.Task, got {type(made).__name__}: return "
            "Task(bounds, truth), with a truth that can be asked"
        )
    made.spec = spec
    return made
