"""blindspots finds, measures, explains and closes the blind spots of trained models.

    import blindspots as bs

    result = bs.evaluate(net, x, y, threat=bs.Linf(8 / 255))
    result.robust_accuracy, result.interval, result.findings

Names are imported when they are first used, so that `import blindspots` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blindspots import attacks, goals, testing
    from blindspots.ball import L0, L1, L2, Linf
    from blindspots.data import ArrayData, TableData, TextData, load_data
    from blindspots.decibels import SNR, Peak
    from blindspots.errors import InputError
    from blindspots.experiments.attack.experiment import attack
    from blindspots.experiments.certify.experiment import certify
    from blindspots.experiments.certify.smoothed import Smoothed
    from blindspots.experiments.design.experiment import design
    from blindspots.experiments.design.tasks import Task
    from blindspots.experiments.detect.experiment import detect
    from blindspots.experiments.detect.loading import load_detector
    from blindspots.experiments.evaluate.experiment import Evaluation, evaluate
    from blindspots.experiments.harden.experiment import harden
    from blindspots.experiments.inspect.entry import inspect
    from blindspots.experiments.transfer.experiment import transfer
    from blindspots.experiments.universal.experiment import universal
    from blindspots.experiments.universal.triggers.experiment import universal_trigger
    from blindspots.models import (
        BlackBox,
        Ensemble,
        Model,
        Transformed,
        TreeModel,
        from_columns,
        from_estimator,
        from_functions,
        from_onnx,
        load_model,
        skip_gradients,
    )
    from blindspots.models.texts import TextModel, TokenModel
    from blindspots.objective import Objective
    from blindspots.report.experiment import write_report
    from blindspots.rows import Around
    from blindspots.runs.metric import require
    from blindspots.runs.verify import verify
    from blindspots.tables.threat import Cost
    from blindspots.texts.threats import Characters, Edits, Tokens, Trigger, Words
    from blindspots.threats import parse_threat

__all__ = [
    "L0",
    "L1",
    "L2",
    "SNR",
    "Around",
    "ArrayData",
    "BlackBox",
    "Characters",
    "Cost",
    "Edits",
    "Ensemble",
    "Evaluation",
    "InputError",
    "Linf",
    "Model",
    "Objective",
    "Peak",
    "Smoothed",
    "TableData",
    "Task",
    "TextData",
    "TextModel",
    "TokenModel",
    "Tokens",
    "Transformed",
    "TreeModel",
    "Trigger",
    "Words",
    "attack",
    "attacks",
    "certify",
    "design",
    "detect",
    "evaluate",
    "from_columns",
    "from_estimator",
    "from_functions",
    "from_onnx",
    "goals",
    "harden",
    "inspect",
    "load_data",
    "load_detector",
    "load_model",
    "parse_threat",
    "require",
    "skip_gradients",
    "testing",
    "transfer",
    "universal",
    "universal_trigger",
    "verify",
    "write_report",
]

_HOMES = {
    "Around": "rows",
    "ArrayData": "data",
    "BlackBox": "models",
    "Characters": "texts.threats",
    "Cost": "tables.threat",
    "Edits": "texts.threats",
    "Ensemble": "models",
    "Evaluation": "experiments.evaluate.experiment",
    "Objective": "objective",
    "InputError": "errors",
    "L0": "ball",
    "L1": "ball",
    "L2": "ball",
    "Linf": "ball",
    "Model": "models",
    "Peak": "decibels",
    "SNR": "decibels",
    "Smoothed": "experiments.certify.smoothed",
    "TableData": "data",
    "Task": "experiments.design.tasks",
    "TextData": "data",
    "TextModel": "models.texts",
    "TokenModel": "models.texts",
    "Tokens": "texts.threats",
    "Transformed": "models",
    "TreeModel": "models",
    "Trigger": "texts.threats",
    "Words": "texts.threats",
    "attack": "experiments.attack.experiment",
    "certify": "experiments.certify.experiment",
    "design": "experiments.design.experiment",
    "detect": "experiments.detect.experiment",
    "evaluate": "experiments.evaluate.experiment",
    "from_columns": "models",
    "from_estimator": "models",
    "from_functions": "models",
    "from_onnx": "models",
    "harden": "experiments.harden.experiment",
    "inspect": "experiments.inspect.entry",
    "load_data": "data",
    "load_detector": "experiments.detect.loading",
    "load_model": "models",
    "parse_threat": "threats",
    "require": "runs.metric",
    "skip_gradients": "models",
    "universal": "experiments.universal.experiment",
    "universal_trigger": "experiments.universal.triggers.experiment",
    "transfer": "experiments.transfer.experiment",
    "verify": "runs.verify",
    "write_report": "report.experiment",
}


def __getattr__(name: str) -> Any:
    if name in ("attacks", "goals", "testing"):
        return import_module(f"blindspots.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'blindspots' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"blindspots.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps `blindspots.evaluate` the function: importing the module of the same name would put itself in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
