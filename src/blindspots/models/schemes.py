"""Models whose names begin with a scheme, as "guarded:RUN": opened by modules that are imported only for them."""

from collections.abc import Callable
from importlib import import_module

from blindspots.models.model import Model

# What opens the model from the words behind the scheme, as "module:function": models know nothing of what wraps them.
SCHEMES = {"guarded": "blindspots.experiments.detect.loading:load_detector"}


def opener(scheme: str) -> Callable[[str], Model] | None:
    """The function that opens such models, if there is such a scheme."""
    if scheme not in SCHEMES:
        return None
    module, _, name = SCHEMES[scheme].partition(":")
    function: Callable[[str], Model] = getattr(import_module(module), name)
    return function
