"""Lattices of texts: choices, counts, files, and how they are built."""

import hashlib
import pickle
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindspots.errors import InputError
from blindspots.texts.builder import Builder
from blindspots.texts.candidates import parse_candidates
from blindspots.texts.kept import NOTHING, Kept
from blindspots.texts.lattice import Lattice
from blindspots.texts.sources.edits import Edits
from blindspots.texts.sources.keyboard import Keyboard
from blindspots.texts.sources.source import cased
from blindspots.texts.sources.synonyms import Synonyms

FILM = Lattice("A good film.", ((2, 6), (7, 11)), (("fine", "nice"), ("movie", "")))


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    text = draw(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
    ends = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = tuple(zip(ends[::2], ends[1::2], strict=False))
    lists = (draw(st.sets(st.sampled_from(["", "x", "yz", "ü"]), min_size=1)) - {text[a:b]} for a, b in spans)
    return Lattice(text, spans, tuple(tuple(sorted(found)) for found in lists))


def choices(lattice: Lattice) -> list[tuple[int, ...]]:
    return list(product(*(range(len(c) + 1) for c in lattice.candidates)))


@given(lattices())
def test_no_choice_is_the_text_itself(lattice: Lattice) -> None:
    assert lattice.at([0] * len(lattice.spans)) == lattice.text


@given(lattices(), st.integers(0, 5))
def test_the_size_is_what_enumeration_counts(lattice: Lattice, k: int) -> None:
    assert lattice.size(k) == sum(sum(map(bool, choice)) <= k for choice in choices(lattice))
    assert lattice.size() == len(choices(lattice))


@given(lattices())
def test_a_lattice_is_read_as_it_was_written(lattice: Lattice) -> None:
    assert Lattice.from_json(lattice.to_json()) == lattice


@st.composite
def lattices_of_words(draw: st.DrawFn) -> Lattice:
    """Of words with blanks between them, so that texts show where a place ends."""
    given_words = draw(st.lists(st.sampled_from(["a", "ab", "ba"]), min_size=1, max_size=4))
    starts = [sum(len(word) + 1 for word in given_words[:i]) for i in range(len(given_words))]
    spans = tuple((start, start + len(word)) for start, word in zip(starts, given_words, strict=True))
    lists = (sorted(draw(st.sets(st.sampled_from(["", "a", "ab", "x"]))) - {word}) for word in given_words)
    return Lattice(" ".join(given_words), spans, tuple(map(tuple, lists)))


@given(st.one_of(lattices(), lattices_of_words()), st.integers(0, 3))
def test_texts_are_read_back_with_as_few_changes_as_possible(lattice: Lattice, most: int) -> None:
    fewest: dict[str, int] = {}
    for choice in choices(lattice):
        text, changes = lattice.at(choice), sum(map(bool, choice))
        fewest[text] = min(changes, fewest.get(text, changes))
    for text, changes in fewest.items():
        read = lattice.choice(text, most)
        assert (read is not None) == (changes <= most)
        if read is not None:
            assert lattice.at(read) == text
            assert sum(map(bool, read)) == changes
    assert lattice.choice(lattice.text + "!") is None


def test_choices_become_texts() -> None:
    assert [FILM.at(c) for c in [(0, 0), (2, 0), (1, 1), (0, 2)]] == [
        "A good film.", "A nice film.", "A fine movie.", "A good .",
    ]  # fmt: skip


def test_a_large_lattice_is_counted_exactly() -> None:
    letters = tuple(map(str, range(50)))
    big = Lattice("a" * 300, tuple((i, i + 1) for i in range(300)), (letters,) * 300)
    assert big.size() == 51**300
    assert big.size(2) == 1 + 300 * 50 + (300 * 299 // 2) * 2500


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ab", ((1, 3),), (("x",),)), "places one after the other among 2 characters"),
        (("ab", ((1, 2), (0, 1)), (("x",), ("x",))), "got \\(0, 1\\) after \\(1, 2\\)"),
        (("ab", ((1, 1), (1, 1)), (("x",), ("x",))), "got \\(1, 1\\) after"),
        (("ab", ((0, 1),), ()), "candidates for each of 1 places, got 0"),
        (("ab", ((0, 1),), (("a",),)), "candidates for 'a' that are not the same"),
        (("ab", ((0, 1),), (("x", "x"),)), "each once"),
        (("ab", ((0, 1),), (("\0",),)), "without NUL"),
    ],
)
def test_what_is_no_lattice_is_refused(
    arguments: tuple[str, tuple[tuple[int, int]], tuple[tuple[str]]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Lattice(*arguments)


@pytest.mark.parametrize(("choice", "said"), [((1,), "each of 2 places, got 1"), ((0, 3), "0 to 2 at place 1, got 3")])
def test_what_is_no_choice_is_refused(choice: tuple[int, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        FILM.at(choice)


@pytest.mark.parametrize("content", ["", "[]", '{"text": "a"}', '{"text": "a", "places": [{"span": [0, 1]}]}'])
def test_what_is_no_file_of_a_lattice_is_refused(content: str) -> None:
    with pytest.raises(InputError, match="expected a lattice as JSON"):
        Lattice.from_json(content)


# ------------------------------------------------------------------ building

LETTERS = "abcxyz"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.tsv"
    path.write_text("good\tfine,nice,good\nfilm\tmovie,picture\nbad\tpoor\n", "utf-8")
    return path


def test_candidates_take_the_case_of_the_word(table: Path) -> None:
    lattice = Builder((Synonyms(file=str(table)),), kept=NOTHING).lattice("Good film, GOOD gOod")
    assert lattice.candidates == (
        ("Fine", "Nice"), ("movie", "picture"), ("FINE", "NICE"), ("fine", "nice", "good"),
    )  # fmt: skip


@given(st.text(LETTERS, min_size=1), st.text(LETTERS, min_size=1))
def test_the_case_of_a_candidate_is_that_of_the_word(word: str, candidate: str) -> None:
    assert cased(candidate, word.lower()) == candidate
    assert cased(candidate.lower(), word.capitalize()) == candidate.capitalize()
    assert len(word) == 1 or cased(candidate, word.upper()) == candidate.upper()


def test_places_without_candidates_are_left_out(table: Path) -> None:
    lattice = Builder((Synonyms(file=str(table)),)).lattice("What a good day")
    assert lattice == Lattice("What a good day", ((7, 11),), (("fine", "nice"),))
    assert Builder((Synonyms(file=str(table)),)).lattice("day").size() == 1
    assert Builder((Synonyms(file=str(table)),)).lattice("") == Lattice("", (), ())


def test_several_sources_take_turns(table: Path) -> None:
    builder = Builder((Synonyms(file=str(table)), Keyboard(count=3)))
    assert builder.lattice("film").candidates == (("movie", "dilm", "picture", "fulm", "fikm"),)


def test_count_is_the_most_that_a_source_gives(table: Path) -> None:
    assert Builder((Synonyms(1, file=str(table)),)).lattice("good film").candidates == (("fine",), ("movie",))


def test_edits_are_the_ball_of_the_edit_distance() -> None:
    lattice = Builder((Edits(alphabet="ab"),), kept=NOTHING).lattice("ab")
    assert lattice.spans == ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2))
    assert lattice.candidates == (("a", "b"), ("", "b"), ("a", "b"), ("", "a"), ("a", "b"))
    near = {lattice.at(c) for c in choices(lattice) if sum(map(bool, c)) <= 1}
    assert near == {"ab", "a", "b", "bb", "aa", "aab", "bab", "abb", "aba"}


def test_edits_leave_kept_words_alone() -> None:
    lattice = Builder((Edits(alphabet="x"),), kept=Kept(names=False, stop_words=False)).lattice("a 7up")
    assert lattice.spans == ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (5, 5))


@given(st.text(max_size=30), st.sampled_from(["characters", "typo", "edits", "split+swap", "homoglyph+invisible"]))
def test_every_candidate_is_new_and_every_digit_stays(text: str, words: str) -> None:
    text = text.replace("\0", "")
    try:
        lattice = parse_candidates(words).lattice(text)
    except InputError as error:
        assert "written without spaces" in str(error)  # noqa: PT017
        return
    for (a, b), candidates in zip(lattice.spans, lattice.candidates, strict=True):
        assert text[a:b] not in candidates
        assert len(set(candidates)) == len(candidates) > 0
        assert words == "edits" or not any(map(str.isdigit, text[a:b]))


def test_sources_for_different_places_are_refused() -> None:
    with pytest.raises(InputError, match="use either words or characters"):
        Builder((Keyboard(), Edits()))


# ------------------------------------------------------------------ in words


def test_candidates_in_words(table: Path) -> None:
    builder = parse_candidates(f"synonyms:file={table},count=20 + keyboard+keep:names=false,pattern=^x")
    assert builder.sources == (Synonyms(20, file=str(table)), Keyboard())
    assert builder.kept == Kept(names=False, pattern="^x")
    assert builder.describe() == (
        "candidates are synonyms of mine.tsv and slips to neighbouring keys; numbers, negations, stop words and what "
        "matches '^x' never change"
    )


def test_a_builder_that_was_used_can_be_sent_to_another_process(table: Path) -> None:
    builder = parse_candidates(f"synonyms:file={table}")
    lattice = builder.lattice("a good film")
    assert pickle.loads(pickle.dumps(builder)).lattice("a good film") == lattice  # noqa: S301


def test_files_are_pinned_by_their_digest(table: Path) -> None:
    expected = hashlib.sha256(table.read_bytes()).hexdigest()
    assert parse_candidates(f"swap+synonyms:file={table}").resources == {str(table): expected}


def test_a_plus_in_the_name_of_a_file_is_no_end(tmp_path: Path) -> None:
    path = tmp_path / "a+b.tsv"
    path.write_text("a\tb\n")
    assert parse_candidates(f"synonyms:file={path}+keyboard").sources == (Synonyms(file=str(path)), Keyboard())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("synonim", "did you mean 'synonyms'"),
        ("keyboard:cout=3", "did you mean 'count'"),
        ("keyboard:count=0", "count of at least 1"),
        ("", "expected candidates among"),
        ("keep", "got 0 kinds of places from no source"),
        ("swap+keep+keep:names=false", "what never changes once"),
        ("insert:alphabet=aa", "different characters as alphabet"),
        ("synonyms:file=nowhere.tsv", "No such file"),
    ],
)
def test_what_is_wrong_with_words_is_said(words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_candidates(words)
