"""Models whose names begin with a scheme, as "guarded:RUN": opened by modules that are imported only for them."""

from collections.abc import Callable
from importlib import import_module

from blindspots.models.model import Model

# What opens the model from the words behind the scheme, as "module:function": models know nothing of what wraps them.
SCHEMES = {
    "guarded": "blindspots.experiments.detect.loading:load_detector",
    "guarded-queries": "blindspots.models.guarded_queries:open_guarded",
    "oip": "blindspots.models.endpoints.opening:open_oip",
    "mlflow": "blindspots.models.endpoints.opening:open_mlflow",
    "kserve1": "blindspots.models.endpoints.opening:open_kserve1",
    "template": "blindspots.models.endpoints.opening:open_template",
    "hf": "blindspots.models.endpoints.opening:open_hf",
}
_WEB = ("http://", "https://")


def opener(scheme: str, rest: str) -> Callable[[str], Model] | None:
    """The function that opens such models, if there is such a scheme; "hf:folder" names a folder."""
    if scheme not in SCHEMES or (scheme == "hf" and not rest.startswith(_WEB)):
        return None
    module, _, name = SCHEMES[scheme].partition(":")
    function: Callable[[str], Model] = getattr(import_module(module), name)
    return function
