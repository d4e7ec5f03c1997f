"""Settings of a kind, each of them once: what they accept, and what is said of the others."""

from typing import ClassVar, Literal

import pytest

import blindspots as bs
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import EvaluateConfig
from blindspots.runs.config import Config, DataSource, ModelSource, Number, Numbers, OnData, Words, made, setting

ON = {"model": "digits", "data": "digits"}


class Made(OnData):
    group: ClassVar[str] = "What is made"

    size: Number = setting(0.25, "How large.", gt=0, le=1)
    sizes: Numbers = setting((), "Several.")
    names: Words = setting((), "Names.")
    steps: int = setting(..., "How many.", ge=1)
    form: Literal["round", "square"] = setting("round", "Which form.")


def config(**settings: object) -> Made:
    return made(Made, {**ON, "steps": 3, **settings})


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"size": "8/255"}, "size", 8 / 255),
        ({"size": "0.5"}, "size", 0.5),
        ({"size": 1}, "size", 1.0),
        ({"sizes": "1/4,0.5,1"}, "sizes", (0.25, 0.5, 1.0)),
        ({"sizes": [0.1, "1/2"]}, "sizes", (0.1, 0.5)),
        ({"names": "a,b,"}, "names", ("a", "b")),
        ({"steps": "7"}, "steps", 7),
        ({"form": "square"}, "form", "square"),
    ],
)
def test_words_and_numbers_mean_the_same(settings: dict[str, object], field: str, value: object) -> None:
    assert getattr(config(**settings), field) == value


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 0}, "expected greater than 0 for size, got 0: change it"),
        ({"size": "8/x"}, "expected a number such as 0.03 or 8/255 for size, got '8/x': change it"),
        ({"size": "1/0"}, "expected a number such as 0.03 or 8/255 for size, got '1/0': change it"),
        ({"size": float("nan")}, "expected less than or equal to 1 for size, got nan: change it"),
        ({"steps": 0}, "expected greater than or equal to 1 for steps, got 0: change it"),
        ({"steps": "ten"}, "expected a valid integer for steps, got 'ten': change it"),
        ({"form": "oval"}, "expected 'round' or 'square' for form, got 'oval': change it"),
        ({"seed": -1}, "expected greater than or equal to 0 for seed, got -1: change it"),
        ({"threads": 0}, "expected greater than or equal to 1 for threads, got 0: change it"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_a_sentence(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as refused:
        config(**settings)
    assert str(refused.value) == said


def test_a_setting_that_is_unknown_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        InputError, match=r"expected settings among .*, got 'sise' \(did you mean 'size'\?\): leave it out"
    ):
        config(sise=0.5)


def test_all_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(InputError) as refused:
        made(Made, {"model": "digits", "size": 2, "form": "oval"})
    told = str(refused.value).split("; ")
    assert sorted(told) == sorted(
        [
            "expected data, got none: give it",
            "expected less than or equal to 1 for size, got 2: change it",
            "expected steps, got none: give it",
            "expected 'round' or 'square' for form, got 'oval': change it",
        ]
    )


def test_sentences_for_the_command_line_speak_of_options() -> None:
    with pytest.raises(InputError, match="expected greater than or equal to 1 for --shard-rows, got 0: change it"):
        made(EvaluateConfig, {**ON, "threat": "linf:0.1", "shard_rows": 0}, option=True)
    with pytest.raises(InputError, match="expected --threat, got none: give it"):
        made(EvaluateConfig, ON, option=True)


def test_a_setting_of_a_python_function_is_refused_in_the_same_words() -> None:
    x, y = bs.load_data("digits").rows(0, 8)
    with pytest.raises(InputError, match=r"got 'shard_row' .did you mean 'shard_rows'"):
        bs.evaluate("digits", x, y, threat="linf:0.1", shard_row=4)
    with pytest.raises(InputError, match="greater than or equal to 1 for chunk, got 0"):
        bs.evaluate("digits", x, y, threat="linf:0.1", chunk=0)
    with pytest.raises(InputError, match="expected rows where data are opened"):
        bs.evaluate("digits", x, y, threat="linf:0.1", rows=4)


def test_a_configuration_says_what_it_opens() -> None:
    found = config(rows=5, device="cpu", classes="a,b")
    assert found.models() == {"model": ModelSource("digits", "cpu")}
    assert found.datasets() == {"data": DataSource("digits", 5, None, "a,b")}
    assert Config().models() == Config().datasets() == {}


def test_rows_go_with_the_name_of_data() -> None:
    settings = {"threat": "linf:0.1", "protocol": "blackbox-labels", "row_budget": 4, "threads": 1}
    done = bs.evaluate("digits", data="digits", rows=6, **settings)
    assert (done.verdict.rows, done.config.rows) == (6, 6)
