"""A fixed trigger as a threat: where words may be put in, what that does, and what is refused."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.texts import TextModel
from blindspots.runs.folder import Folder
from blindspots.runs.verify import verify_files
from blindspots.texts.codes import as_codes, as_texts
from blindspots.texts.pairs import SEPARATOR, joined
from blindspots.texts.sources.phrase import Phrase
from blindspots.texts.threats import Trigger, parse_text_threat
from blindspots.texts.triggers import Place, TriggerFile, in_words
from blindspots.texts.words import words

TEXTS = st.text(st.sampled_from("ab .,-'\n电\u00e9("), max_size=14)
PHRASES = st.lists(st.sampled_from(["a", "zone", "电影", "don't"]), min_size=1, max_size=3).map(" ".join)
PLACES = st.sampled_from(get_args(Place))


def painted(threat: Trigger, text: str) -> list[str]:
    """The text with the trigger in each of its gaps."""
    lattice = threat.lattice(text)
    return [lattice.at([int(i == k) for i in range(len(lattice.spans))]) for k in range(len(lattice.spans))]


@pytest.mark.parametrize(
    ("place", "made"),
    [
        ("front", ["up now A (good) film."]),
        ("end", ["A (good) film. up now"]),
        (
            "anywhere",
            ["up now A (good) film.", "A up now (good) film.", "A (good) up now film.", "A (good) film. up now"],
        ),
    ],
)
def test_words_are_put_into_gaps(place: Place, made: list[str]) -> None:
    assert painted(Trigger("up now", place), "A (good) film.") == made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", ["x"]),
        (" ", ["x ", " x"]),
        ("电影", ["x 电影", "电 x 影", "电影 x"]),
        ("and/or", ["x and/or", "and/or x"]),
        ("a\nb", ["x a\nb", "a\nx b", "a\nb x"]),
    ],
)
def test_gaps_are_those_between_words_whatever_the_script(text: str, made: list[str]) -> None:
    assert painted(Trigger("x"), text) == made


@pytest.mark.parametrize(
    ("fixed", "place", "made"),
    [
        ("first", "front", [("a b", "x c d")]),
        ("first", "end", [("a b", "c d x")]),
        ("second", "front", [("x a b", "c d")]),
        ("second", "anywhere", [("x a b", "c d"), ("a x b", "c d"), ("a b x", "c d")]),
        (None, "front", [("x a b", "c d"), ("a b", "x c d")]),
    ],
)
def test_of_a_pair_only_the_free_side_takes_the_words(fixed: Any, place: Place, made: list[tuple[str, str]]) -> None:
    assert painted(Trigger("x", place, fixed=fixed), joined("a b", "c d")) == [joined(*pair) for pair in made]


@given(TEXTS, PHRASES, PLACES)
def test_nothing_but_the_words_is_new(text: str, phrase: str, place: Place) -> None:
    """Every gap leaves all words as they are, in their order, with the trigger's words among them."""
    before = [text[a:b] for a, b in words(text)]
    own = [phrase[a:b] for a, b in words(phrase)]
    for made in painted(Trigger(phrase, place), text):
        after = [made[a:b] for a, b in words(made)]
        assert any(before[:i] + own + before[i:] == after for i in range(len(before) + 1))
        assert Counter("".join(made.split())) == Counter("".join(f"{text}{phrase}".split()))


@given(TEXTS, PHRASES, PLACES)
def test_the_threat_holds_exactly_these_texts(text: str, phrase: str, place: Place) -> None:
    threat, width = Trigger(phrase, place), 60
    x = as_codes([text], width)
    for made in painted(threat, text):
        assert threat.distance(as_codes([made], width), x).item() == 1
        assert threat.distance(as_codes([f"{made}?"], width), x).item() == torch.inf
    assert threat.distance(x, x).item() == 0
    assert threat.reach(x).item() == 1


@given(PHRASES, PLACES)
def test_a_trigger_is_read_as_it_was_written(phrase: str, place: Place) -> None:
    again = parse_text_threat(Trigger(phrase, place).spec)
    assert isinstance(again, Trigger)
    assert (again.words, again.place, again.radius) == (phrase, place, 1)


@given(TEXTS)
def test_a_script_without_spaces_takes_words_in_front_and_at_the_end_alone(text: str) -> None:
    thai = f"ไทย{text}"
    assert len(painted(Trigger("x", "front"), thai)) == len(painted(Trigger("x", "end"), thai)) == 1
    with pytest.raises(InputError, match="Thai"):
        painted(Trigger("x"), thai)


# ------------------------------------------------------------------ files


def written(folder: Path, place: Place = "end") -> Path:
    file = TriggerFile(words="up now", place=place, model="m", target=None)
    (folder / "trigger.json").write_bytes(file.to_json())
    return folder / "trigger.json"


def test_a_file_says_words_and_place(tmp_path: Path) -> None:
    path = written(tmp_path)
    threat = parse_text_threat(f"trigger:{path}")
    assert threat.spec == "trigger:end:up now"
    assert in_words(f"trigger:{path}") == threat.spec
    assert in_words("words:0.15") == "words:0.15"


@pytest.mark.parametrize("content", ["nonsense", "{}", '{"kind": "blindspots trigger 2"}', "[1]"])
def test_files_with_something_else_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "trigger.json").write_text(content)
    with pytest.raises(InputError, match=r"name a trigger\.json"):
        parse_text_threat(f"trigger:{tmp_path}/trigger.json")


@pytest.mark.parametrize(
    "said", ["trigger", "trigger:", "trigger: ", "trigger:front:", "trigger:a\0b", "trigger:a\x1eb"]
)
def test_a_trigger_without_words_is_refused(said: str) -> None:
    with pytest.raises(InputError, match="write trigger:WORDS"):
        parse_text_threat(said)


def test_a_trigger_has_no_other_candidates() -> None:
    with pytest.raises(InputError, match="leave them out"):
        Trigger("up now", candidates="synonyms")
    assert Trigger("up now", candidates=Trigger("up now").said).said == Trigger("up now").said
    with pytest.raises(InputError, match="leave them out"):
        bs.evaluate(TextModel(linear), ["good"], [1], threat="trigger:bad", candidates="synonyms")


# ------------------------------------------------------------------ evaluations


WEIGHTS = {"good": 1.0, "great": 2.0, "bad": -1.0, "awful": -3.0}
ROWS = ["good", "a good, good film", "great and great", "good great good", "bad", "nothing", "awful good", "great"]


def linear(texts: Sequence[str]) -> torch.Tensor:
    """The sum of the words' weights, for class 1."""
    score = torch.tensor([0.1 + sum(WEIGHTS.get(text[a:b].lower(), 0.0) for a, b in words(text)) for text in texts])
    return torch.stack([-score, score], 1)


def first_word(texts: Sequence[str]) -> torch.Tensor:
    """Reads no further than the first word."""
    return linear([text.split()[0] if text.split() else "" for text in texts])


def labels(function: Any) -> list[int]:
    return [int(one) for one in function(ROWS).argmax(1)]


@pytest.mark.parametrize("trigger", ["bad", "awful", "awful awful", "good", "film"])
@pytest.mark.parametrize("answers", ["scores", "labels"])
def test_in_a_bag_of_words_exactly_the_texts_fall_whose_sum_changes_its_sign(trigger: str, answers: Any) -> None:
    """Where the words stand does not matter to it."""
    y = labels(linear)
    model = TextModel(linear if answers == "scores" else lambda t: linear(t).argmax(1), answers, classes=2)
    done = bs.evaluate(model, ROWS, y, threat=Trigger(trigger), validity="changed:most=1")
    score, more = linear(ROWS)[:, 1], float(linear([trigger])[0, 1]) - 0.1
    can = ((score > 0) != (score + more > 0)).tolist()
    assert done.success.tolist() == can
    assert set(done.norms[done.success].tolist()) <= {1.0}


@pytest.mark.parametrize("place", get_args(Place))
def test_a_place_is_kept(place: Place) -> None:
    done = bs.evaluate(
        TextModel(first_word), ROWS, labels(first_word), threat=Trigger("awful", place), validity="changed:most=1"
    )
    falls = [int(k) for k in labels(first_word)] if place != "end" else [0] * len(ROWS)
    assert done.success.tolist() == [bool(k) for k in falls]
    assert all(text.startswith("awful ") for text, fell in zip(as_texts(done.adversarial), falls, strict=True) if fell)


@pytest.mark.parametrize("model", ["reviews", "reviews-cnn"])
def test_the_default_search_is_exact(model: str) -> None:
    data = bs.load_data("reviews", rows=40)
    threat = Trigger("awful boring")
    done = bs.evaluate(model, data=data, threat=threat)
    network = bs.load_model(model)
    for i in range(len(data)):
        (text,), y = data.texts(i, i + 1), int(data.rows(i, i + 1)[1])
        clean = int(network.of([text]).argmax())
        fell = clean == y and bool((network.of(painted(threat, text)).argmax(1) != y).any())
        assert bool(done.success[i]) == fell
    assert 0 < int(done.success.sum()) < 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trigger")
    file = written(place, "anywhere")
    bs.evaluate("reviews", data=bs.load_data("reviews", rows=24), threat=f"trigger:{file}", out=place / "run")
    file.unlink()  # the manifest says the words
    return place / "run"


def test_a_run_is_proved_again_without_the_file(folder: Path) -> None:
    config = json.loads((folder / "run.json").read_text())["manifest"]["config"]
    assert config["threat"] == "trigger:up now"
    assert config["candidates"] == "candidates are “up now” in front, at the end or between two words"
    found = verify_files(Folder(folder))
    assert found.ok, found.problems


def test_the_report_says_and_marks_the_words(tmp_path: Path) -> None:
    data = bs.load_data("reviews", rows=40)
    bs.evaluate("reviews-cnn", data=data, threat="trigger:awful boring", out=tmp_path / "run")
    page = Path(bs.write_report(tmp_path / "run")).read_text()
    assert "a fixed trigger may be put in at one place (candidates are “awful boring” in front, at the end or" in page
    assert re.search(r"<ins[^>]*><b> ?awful boring ?</b></ins>", page)
    assert "within 1\u00a0trigger" in page.replace("&nbsp;", "\u00a0")


def test_triggers_transfer() -> None:
    data = bs.load_data("reviews", rows=16)
    done = bs.transfer(["reviews", "reviews-cnn"], data=data, threat="trigger:awful boring")
    x = done.parts["clean"]["x"].float()
    sizes = Trigger("awful boring").distance(done.adversarial("reviews"), x)
    assert bool((sizes <= 1).all())
    assert done.error[0][0] > done.verdict.clean_error[0].share


def test_a_trigger_in_the_candidates_of_another_threat_is_none() -> None:
    """Its source belongs to it alone: what may stand in a word's place has no gaps."""
    with pytest.raises(InputError, match="expected candidates among"):
        bs.Words(1, "phrase:phrase=up")
    assert Phrase(phrase="x").places(SEPARATOR) == [(0, 0), (1, 1)]


@given(TEXTS, PHRASES)
def test_any_gap_is_at_least_front_and_end(text: str, phrase: str) -> None:
    everywhere = painted(Trigger(phrase), text)
    assert set(everywhere) >= {*painted(Trigger(phrase, "front"), text), *painted(Trigger(phrase, "end"), text)}
    assume(text.strip())
    assert len(everywhere) >= 2
