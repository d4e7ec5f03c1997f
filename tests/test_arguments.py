"""Wrong types end in a sentence, for every public name; what is plain and convenient is taken."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import blindspots as bs
from blindspots.arguments import Checked, checked
from blindspots.attacks import CATALOGUE, PGD
from blindspots.engine.targets import Closest
from blindspots.errors import InputError
from blindspots.runs.config import Config, is_hidden
from blindspots.runs.experiment import kind
from blindspots.runs.metric import Verdict
from small_run import Net, inputs

X, Y = inputs(60)
THREAT = bs.Linf(0.02)
COMMON = {"model": Net(), "x": X, "y": Y, "threat": THREAT}
ENOUGH: dict[str, dict[str, Any]] = {  # arguments with which each name is happy; all others are optional
    "ArrayData": {"x": X, "y": Y},
    "BlackBox": {"function": Net()},
    "Ensemble": {"models": [Net()]},
    "Model": {"net": Net()},
    "Smoothed": {"model": bs.Model(Net()), "sigma": 0.1},
    "TableData": {"cells": {"a": [1.0, 2.0]}, "y": [0, 1], "name": "rows"},
    "TextData": {"texts": ["good"], "labels": [0]},
    "TextModel": {"function": list},
    "TokenModel": {"net": nn.Embedding(9, 3), "table": nn.Embedding(9, 3), "head": None, "tokenizer": None},
    "Transformed": {"model": bs.Model(Net())},
    "TreeModel": {"forest": None},
    "Trigger": {"words": "good"},
    "attack": {**COMMON, "attack": PGD(1)},
    "certify": {"model": Net(), "x": X, "y": Y, "sigma": 0.1},
    "detect": COMMON,
    "evaluate": COMMON,
    "from_columns": {"model": list, "features": "nowhere.toml"},
    "from_estimator": {"estimator": None},
    "from_functions": {"value": Net(), "vjp": Net()},
    "from_onnx": {"file": "nowhere.onnx"},
    "harden": {**COMMON, "epochs": 1},
    "inspect": {"model": Net(), "x": X, "y": Y},
    "require": {"verdict": Verdict(), "rules": []},
    "Task": {"bounds": [(0, 1)], "truth": lambda x: x[:, 0]},
    "design": {"task": "branin"},
    "load_data": {"spec": "digits"},
    "load_detector": {"run": "nowhere"},
    "load_model": {"spec": "digits"},
    "parse_threat": {"text": "linf"},
    "skip_gradients": {"net": Net()},
    "transfer": {"models": [Net(), Net()], "x": X, "y": Y, "threat": THREAT},
    "universal": COMMON,
    "universal_trigger": {"model": "reviews-cnn", "data": "reviews"},
    "verify": {"run": "nowhere"},
    "write_report": {"runs": "nowhere"},
}
NAMES = [
    name for name in bs.__all__ if name not in ("attacks", "goals", "testing", "Around", "Evaluation", "InputError")
]


def parameters(name: str) -> dict[str, inspect.Parameter]:
    thing = getattr(bs, name)
    found = dict(inspect.signature(thing.__init__ if isinstance(thing, type) else thing).parameters)
    return {name: p for name, p in found.items() if name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD}


def cases() -> Iterator[Any]:
    for name in NAMES:
        for parameter in parameters(name):
            yield pytest.param(name, parameter, id=f"{name}-{parameter}")


@pytest.mark.parametrize(("name", "parameter"), list(cases()))
@pytest.mark.parametrize("wrong", [object(), {"a": object()}, 1j, b"junk"], ids=["object", "dict", "complex", "bytes"])
def test_every_argument_of_every_public_name_is_checked(name: str, parameter: str, wrong: Any) -> None:
    given = {k: v for k, v in ENOUGH.get(name, {}).items() if not (parameter == "data" and k in ("x", "y"))}
    if parameters(name)[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
        call: Callable[[], Any] = lambda: getattr(bs, name)(*given.values(), wrong)  # noqa: E731
    else:
        call = lambda: getattr(bs, name)(**{**given, parameter: wrong})  # noqa: E731
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize("name", NAMES)
def test_arguments_that_are_unknown_missing_or_too_many_are_sentences(name: str) -> None:
    said = rf"expected {name}\(.*\), but: got an unexpected keyword argument 'nonsense'"
    with pytest.raises(InputError, match=rf"{said}|expected settings among .*, got 'nonsense'"):
        getattr(bs, name)(nonsense=1, **ENOUGH.get(name, {}))


@pytest.mark.parametrize("kind", CATALOGUE)
@pytest.mark.parametrize("wrong", ["x", object(), float("nan"), -1])
def test_every_setting_of_every_attack_is_checked(kind: Any, wrong: Any) -> None:
    for field in inspect.signature(kind.__init__).parameters.values():
        if field.name == "self" or (isinstance(wrong, str) and "Literal" not in str(field.annotation)):
            continue
        if isinstance(wrong, int) and field.name not in ("steps", "queries"):
            continue
        with pytest.raises(InputError):
            kind(**{field.name: wrong})


# ------------------------------------------------------------------ settings

KINDS = ["evaluate", "attack", "certify", "detect", "harden", "transfer", "universal"]


def config_of(name: str) -> type[Config]:
    found: type[Config] = kind(name).load("config")
    return found


def settings() -> Iterator[Any]:
    """Every keyword of a kind's configuration that its function does not name itself."""
    for name in KINDS:
        for field, about in config_of(name).model_fields.items():
            if not (is_hidden(about) or field in parameters(name) or field == "model"):
                yield pytest.param(name, field, id=f"{name}-{field}")


def refused(name: str, **given: Any) -> str:
    with pytest.raises(InputError) as error:
        getattr(bs, name)(**{**ENOUGH[name], **given})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("name", "field"), list(settings()))
def test_every_setting_of_every_kind_is_checked(name: str, field: str) -> None:
    about = config_of(name).model_fields[field]
    for wrong in (object(), {"a": object()}, 1j, [object()], torch.zeros(3, 3)):
        assert field in refused(name, **{field: wrong})
    several = field == "heldout" or "tuple" in str(about.annotation)  # also words
    numeric = "int" in str(about.annotation) or "float" in str(about.annotation)
    for wrong in (True, float("nan"), float("inf"), "x", "") if numeric and not several else ():
        assert field in refused(name, **{field: wrong})
    for limit in about.metadata:
        for bound, beyond in (("ge", -1), ("gt", -1), ("le", 1), ("lt", 1)):
            if hasattr(limit, bound):
                assert field in refused(name, **{field: getattr(limit, bound) + beyond})


@pytest.mark.parametrize("name", KINDS)
def test_a_setting_that_is_unknown_or_filled_in_is_refused(name: str) -> None:
    assert "got 'sede' (did you mean 'seed'?): leave it out" in refused(name, sede=1)
    hidden = [field for field, about in config_of(name).model_fields.items() if is_hidden(about)]
    for field in hidden:
        said = refused(name, **{field: 1})
        assert f"got '{field}'" in said
        assert f" {field}," not in said.partition(", got '")[0]


@pytest.mark.parametrize("name", ["evaluate", "attack", "certify", "harden", "universal"])
def test_how_data_are_read_is_said_where_they_are_opened(name: str) -> None:
    for settings in ({"rows": 3}, {"layout": "nchw"}, {"classes": "a,b"}):
        assert "where data are opened" in refused(name, **settings)


def test_all_settings_that_do_not_fit_are_told_at_once() -> None:
    said = refused("evaluate", seed=-1, slots=0, draws=1.5)
    assert [part.partition(" for ")[2] for part in said.split("; ")] == [
        "seed, got -1: change it", "slots, got 0: change it", "draws, got 1.5: change it"
    ]  # fmt: skip


# ------------------------------------------------------------------ what is convenient


def test_words_are_taken_where_objects_are() -> None:
    words = bs.attack(Net(), X, Y, "pgd:steps=3", threat="linf:0.02", targets="closest:count=2")
    things = bs.attack(Net(), X, Y, PGD(3), threat=THREAT, targets=Closest(2))
    assert torch.equal(words.adversarial, things.adversarial)
    assert words.config.stages == things.config.stages


def test_a_radius_may_be_a_fraction_in_words() -> None:
    assert bs.evaluate(Net(), X, Y, threat="linf:8/255").config.threat == bs.Linf(8 / 255).spec


def test_names_stand_for_models_and_data() -> None:
    result = bs.evaluate("digits", data="digits", threat="linf:0.05", max_forwards=9000)
    assert (result.manifest.world["model"]["name"], result.verdict.rows) == ("digits", 500)


def test_numbers_of_numpy_are_numbers() -> None:
    assert repr(PGD(np.int64(3), stride=np.float32(0.5))) == repr(PGD(3, stride=0.5))
    assert bs.Linf(np.float64(0.1)) == bs.Linf(0.1)
    assert bs.Objective(np.bool_(True)) == bs.Objective(True)


def test_settings_may_be_numbers_of_numpy_and_words() -> None:
    how = {"sigma": np.float32(0.25), "samples": np.int32(20), "draws": 0, "seed": "7", "radii": np.array([0.5])}
    config = bs.certify(Net(), X[:2], Y[:2], **how).config
    assert (config.sigma, config.samples, config.seed, config.radii) == (0.25, 20, 7, (0.0, 0.5))
    assert bs.certify(Net(), X[:2], Y[:2], **{**how, "radii": "1/2,1"}).config.radii == (0.0, 0.5, 1.0)


def test_lists_stand_for_tuples() -> None:
    assert bs.Model(Net(), bounds=[0, 255]).bounds == (0.0, 255.0)  # type: ignore[arg-type]


@checked(path=Path)
def example(path: Path, count: int = 1, kinds: tuple[str, float] | None = None, *more: int) -> Any:
    return path, count, kinds, more


def test_a_checked_function_is_called_with_what_was_given() -> None:
    assert example("a", 2, ["b", 1], np.int64(3)) == (Path("a"), 2, ("b", 1), (3,))  # type: ignore[arg-type]
    for wrong in ((1.5, "a"), ("a", True), ("a", 1.5), ("a", 1, ("b",)), ("a", 1, "bc"), ("a", 1, None, "x")):
        with pytest.raises((InputError, TypeError)):
            example(*wrong)  # type: ignore[arg-type]


class Thing(Checked):
    def __init__(self, numbers: list[int], f: Callable[[], int], net: nn.Module | None = None) -> None:
        self.numbers = numbers


def test_sentences_say_what_was_expected_and_what_came() -> None:
    said = []
    for args in (([1, "a"], id), ([1], 3), ([1], id, 3), ("ab", id)):
        with pytest.raises(InputError) as error:
            Thing(*args)  # type: ignore[arg-type]
        said.append(str(error.value))
    assert said == [
        "expected numbers of Thing to be a list (a whole number per item), got list [1, 'a']: change it",
        "expected f of Thing to be a function, got int 3: change it",
        "expected net of Thing to be a Module or None, got int 3: change it",
        "expected numbers of Thing to be a list (a whole number per item), got str 'ab': change it",
    ]
