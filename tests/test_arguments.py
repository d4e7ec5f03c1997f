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
from small_run import Net, inputs

X, Y = inputs(6)
THREAT = bs.Linf(0.02)
COMMON = {"model": Net(), "x": X, "y": Y, "threat": THREAT}
ENOUGH: dict[str, dict[str, Any]] = {  # arguments with which each name is happy; all others are optional
    "ArrayData": {"x": X, "y": Y},
    "BlackBox": {"function": Net()},
    "Ensemble": {"models": [Net()]},
    "Evaluation": {"file": None, "shards": [], "folder": None},
    "Model": {"net": Net()},
    "Smoothed": {"model": bs.Model(Net()), "sigma": 0.1},
    "Transformed": {"model": bs.Model(Net())},
    "attack": {**COMMON, "attack": PGD(1)},
    "certify": {"model": Net(), "x": X, "y": Y, "sigma": 0.1},
    "detect": COMMON,
    "evaluate": COMMON,
    "from_estimator": {"estimator": None},
    "harden": {**COMMON, "epochs": 1},
    "load_data": {"spec": "digits"},
    "load_detector": {"run": "nowhere"},
    "load_model": {"spec": "digits"},
    "parse_threat": {"text": "linf"},
    "skip_gradients": {"net": Net()},
    "transfer": {"models": [Net(), Net()], "x": X, "y": Y, "threat": THREAT},
    "universal": COMMON,
    "verify": {"run": "nowhere"},
    "write_report": {"runs": "nowhere"},
}
NAMES = [name for name in bs.__all__ if name not in ("attacks", "InputError")]


def parameters(name: str) -> dict[str, inspect.Parameter]:
    thing = getattr(bs, name)
    found = dict(inspect.signature(thing.__init__ if isinstance(thing, type) else thing).parameters)
    found.pop("self", None)
    return found


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


# ------------------------------------------------------------------ what is convenient


def test_words_are_taken_where_objects_are() -> None:
    words = bs.attack(Net(), X, Y, "pgd:steps=3", threat="linf:0.02", targets="closest:count=2")
    things = bs.attack(Net(), X, Y, PGD(3), threat=THREAT, targets=Closest(2))
    assert torch.equal(words.adversarial, things.adversarial)
    assert repr(words.file.manifest.stages) == repr(things.file.manifest.stages)


def test_a_radius_may_be_a_fraction_in_words() -> None:
    assert bs.evaluate(Net(), X, Y, threat="linf:8/255").file.manifest.threat == bs.Linf(8 / 255).spec


def test_names_stand_for_models_and_data() -> None:
    result = bs.evaluate("digits", data="digits", threat="linf:0.05", options=bs.Options(max_forwards=9000))
    assert (result.file.manifest.model.name, result.verdict.rows) == ("digits", 500)


def test_numbers_of_numpy_are_numbers() -> None:
    assert repr(PGD(np.int64(3), stride=np.float32(0.5))) == repr(PGD(3, stride=0.5))
    assert bs.Linf(np.float64(0.1)) == bs.Linf(0.1)
    assert bs.Options(seed=np.int32(7)) == bs.Options(seed=7)
    assert bs.Goal(np.bool_(True)) == bs.Goal(True)


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
