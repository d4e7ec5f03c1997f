"""Words of texts in many scripts, and what never changes in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindspots.errors import InputError
from blindspots.texts.kept import NOTHING, Kept
from blindspots.texts.words import refuse_unsegmented, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, it's well-known.", ["Don't", "stop", "it's", "well-known"]),
        ("ca n't stop 's", ["ca", "n't", "stop", "s"]),
        ("rock’n’roll ‘quoted’", ["rock’n’roll", "quoted"]),  # noqa: RUF001
        ("3.5 of 1,000 stars, 50% in v2.0.", ["3.5", "of", "1,000", "stars", "50", "in", "v2.0"]),
        ("--- ... '' x- -y_z", ["x", "y", "z"]),
        ("café cafe\u0301", ["café", "cafe\u0301"]),
        (
            "👍🏽 good 👨\u200d👩\u200d👧🇩🇪🇫🇷 ❤\ufe0f 1\ufe0f\u20e3",
            ["👍🏽", "good", "👨\u200d👩\u200d👧", "🇩🇪", "🇫🇷", "❤\ufe0f", "1\ufe0f\u20e3"],
        ),
        ("我喜欢 cinema、とても", ["我", "喜", "欢", "cinema", "と", "て", "も"]),
        ("한국어 영화", ["한국어", "영화"]),
        ("فيلم جيد، شكرا", ["فيلم", "جيد", "شكرا"]),
        ("סרט טוב", ["סרט", "טוב"]),
        ("نمی\u200cدانم", ["نمی\u200cدانم"]),  # noqa: RUF001
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert [text[a:b] for a, b in words(text)] == expected


@given(st.text())
def test_words_are_in_order_and_disjoint(text: str) -> None:
    ends = [0, *(i for span in words(text) for i in span), len(text)]
    assert ends == sorted(ends)
    assert all(a < b for a, b in words(text))


@pytest.mark.parametrize("script", [("ภาพยนตร์ดี", "Thai"), ("ຮູບເງົາ", "Lao"), ("ရုပ်ရှင်", "Myanmar"), ("ភាពយន្ត", "Khmer")])
def test_scripts_without_spaces_are_refused_in_a_sentence(script: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=f"got {script[1]} text \\(character 6\\)"):
        refuse_unsegmented(f"Hello {script[0]}")


SENTENCE = "Peter Jackson never made 3 films. I saw two of them, and The Hobbit wasn’t bad"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (NOTHING, []),
        (Kept(True, False, False, False), ["Jackson", "The", "Hobbit"]),
        (Kept(False, True, False, False), ["3", "two"]),
        (Kept(False, False, True, False), ["never", "wasn’t"]),
        (Kept(False, False, False, True), ["I", "of", "them", "and", "The"]),
        (Kept(False, False, False, False, "Pet|b.d"), ["Peter", "bad"]),
    ],
)
def test_every_rule_of_what_stays_can_be_switched(rules: Kept, expected: list[str]) -> None:
    assert [SENTENCE[a:b] for a, b in rules.spans(SENTENCE)] == expected


def test_sentences_begin_after_a_tag() -> None:
    assert Kept(True, False, False, False).spans("Good.<br />Great film") == []


def test_a_text_in_capitals_has_no_names() -> None:
    assert Kept(True, False, False, False).spans("A GREAT FILM BY PETER") == []


def test_what_stays_in_words() -> None:
    assert str(Kept()) == "names, numbers, negations and stop words"
    assert str(Kept(False, False, False, True, "x")) == "stop words and what matches 'x'"
    assert str(NOTHING) == ""


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="expected a regular expression, got '\\['"):
        Kept(pattern="[")
