"""What candidates have to fulfil: every limit with answers that are known."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindspots.errors import InputError
from blindspots.texts.antonyms import ANTONYMS
from blindspots.texts.candidates import LIMITS, parse_candidates
from blindspots.texts.language import inflected, lemmas, tags
from blindspots.texts.limits.agreement import Agreement
from blindspots.texts.limits.antonyms import Antonyms
from blindspots.texts.limits.cosine import Cosine
from blindspots.texts.limits.distance import Distance, levenshtein
from blindspots.texts.limits.ends import Ends
from blindspots.texts.limits.inflection import Inflection
from blindspots.texts.limits.length import Length
from blindspots.texts.limits.limit import Limit
from blindspots.texts.limits.pos import PartOfSpeech
from blindspots.texts.limits.stopwords import StopWords
from blindspots.texts.vectors import Vectors

pytest.importorskip("lemminflect")

VECTORS = Vectors(["good", "fine", "film"], [[1, 0], [2, 1], [0, 1]])


@pytest.mark.parametrize(
    ("limit", "word", "candidates", "expected"),
    [
        (PartOfSpeech(), "movie", "film quickly terrific watch", "film watch"),
        (PartOfSpeech(), "Good", "nice quickly", "nice"),
        (PartOfSpeech(), "zzyzx", "qwxq film", "qwxq"),
        (Inflection(), "movies", "film films terrific qwxq", "films films"),
        (Inflection(), "Movies", "Film", "Films"),
        (Inflection(), "loved", "adore adored", "adored adored"),
        (Inflection(), "better", "nice", "nicer"),
        (Inflection(), "zzyzx", "film films", "film films"),
        (Antonyms(), "Good", "Bad fine", "fine"),
        (Distance(1), "good", "god gold fod fine", "god gold"),
        (Cosine(0.8, vectors=VECTORS), "Good", "Fine film unknown", "Fine"),
        (Ends(), "good", "glad Good bad", "glad"),
        (Ends(last=True), "good", "glad grey food", "glad"),
        (Ends(first=False), "good", "bad", "bad"),
        (Length(5), "good", "fine", ""),
        (Length(4), "good", "fine", "fine"),
        (StopWords(), "good", "the not fine", "fine"),
    ],
)
def test_limits(limit: Limit, word: str, candidates: str, expected: str) -> None:
    assert list(limit.of(word, candidates.split())) == expected.split()


@pytest.mark.parametrize(
    ("text", "word", "candidates", "expected"),
    [
        ("a good film", "good", "awful nice unique honest", "nice unique"),
        ("an awful film", "awful", "ugly bad honest one", "ugly honest"),
        ("An hour", "hour", "evening day", "evening"),
        ("a awful film", "awful", "ugly bad", "ugly bad"),
        ("this movie", "movie", "films film", "film"),
        ("these movies", "movies", "films film", "films"),
        ("these old movies", "movies", "films film", "films film"),
        ("she loves it", "loves", "adores adore likes liked", "adores likes liked"),
        ("they love it", "love", "adores adore", "adore"),
        ("good film", "good", "awful nice", "awful nice"),
        ("a, good film", "good", "awful", "awful"),
    ],
)
def test_agreement_with_the_word_before(text: str, word: str, candidates: str, expected: str) -> None:
    start = text.index(word)
    found = Agreement().beside(text, (start, start + len(word)), candidates.split())
    assert list(found) == expected.split()


def test_forms_of_words() -> None:
    assert lemmas("Movies") == {"NOUN": "movie"}
    assert tags("movies") == {"NNS"}
    assert tags("film") == {"NN", "VB", "VBP"}
    assert tags("zzyzx") == frozenset()
    assert inflected("movie", "NNS") == "movies"
    assert inflected("movie", "VBD") is None


@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_edit_distance_is_one(a: str, b: str, c: str) -> None:
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, b) == levenshtein(b, a) <= levenshtein(a, c) + levenshtein(c, b)
    assert levenshtein(a, a + b) == len(b)


def test_antonyms_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good awkward\n")
    limit = Antonyms(file=str(tmp_path / "a.txt"))
    assert list(limit.of("awkward", ["good", "bad"])) == ["bad"]
    assert list(limit.resources) == [str(tmp_path / "a.txt")]
    assert ("bad", "good") in ANTONYMS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("swap+distance:most=0", "edit distance of at least 1"),
        ("swap+antonyms:file=nowhere.txt", "No such file"),
        ("swap+cosine:file=nowhere.txt", "No such file"),
        ("swap+ends:least=1", "settings among first, last"),
    ],
)
def test_limits_that_make_no_sense_are_refused(words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_candidates(words)


def test_limits_in_words() -> None:
    builder = parse_candidates("swap+pos+antonyms+distance:most=3+ends:last=true+keep:names=false,numbers=false")
    assert builder.describe() == (
        "candidates are swapped characters, the part of speech stays, none is an antonym, at most 3 characters change, "
        "the first and the last letter stays; negations and stop words never change"
    )
    assert all(str(kind()) for kind in LIMITS.values())


def test_limits_keep_candidates_different_from_the_word(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("movies\tmovie,film,films\n")
    lattice = parse_candidates(f"synonyms:file={tmp_path / 'a.tsv'}+inflection").lattice("Movies")
    assert lattice.candidates == (("Films",),)


def test_every_limit_takes_candidates_away_on_real_texts(zoo: Path) -> None:
    texts, sizes = zoo / "data" / "text", []
    lines = [line.split(" ", 1)[1] for line in (texts / "textfooler_mr.txt").read_text("utf-8").splitlines()[:200]]
    for term in ("", "+pos", "+pos+inflection", "+pos+inflection+agreement"):
        builder = parse_candidates(f"wordnet:file={texts / 'oewn_synonyms.json.gz'}{term}")
        sizes.append(sum(builder.lattice(line).size(1) - 1 for line in lines))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0.3 * sizes[0]


def test_antonyms_of_real_files_are_out(zoo: Path) -> None:
    texts = zoo / "data" / "text"
    words = f"embedding:file={texts / 'glove_50d_5k.json'}"
    pairs = Antonyms(file=str(texts / "cf_wordnet_antonyms.txt")).pairs
    lines = [line.split(" ", 1)[1] for line in (texts / "textfooler_mr.txt").read_text("utf-8").splitlines()[:300]]

    def opposites(candidates: str) -> int:
        lattices = map(parse_candidates(candidates).lattice, lines)
        places = ((x.text[slice(*s)], c) for x in lattices for s, c in zip(x.spans, x.candidates, strict=True))
        return sum((word.lower(), other.lower()) in pairs for word, others in places for other in others)

    assert opposites(f"{words}+antonyms:file={texts / 'cf_wordnet_antonyms.txt'}") == 0 < opposites(words)
