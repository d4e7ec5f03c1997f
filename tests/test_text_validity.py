"""When a changed text still says the same: five checks, their thresholds, and what they are kept as."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from blindspots.errors import InputError
from blindspots.texts.articles import takes_an
from blindspots.texts.reviews import reviews
from blindspots.texts.tables import read_json, read_pairs, read_synonyms
from blindspots.texts.validity.aligned import blocks, windows
from blindspots.texts.validity.check import Corpus
from blindspots.texts.validity.ngrams import NGrams
from blindspots.texts.validity.pairs import pairs
from blindspots.texts.validity.similarity import MeanVectors
from blindspots.texts.validity.validity import Judged, Validity, parse_validity
from blindspots.texts.vectors import Vectors
from blindspots.texts.vocabulary import SYNONYMS
from blindspots.texts.words import words

TEXTS = reviews("test")[0][:400]


def one(check: str, clean: str, changed: str) -> float:
    """What a check without a model says of a pair."""
    made = parse_validity(check)
    return float(made.checks[made.names[0]].measure(Corpus([]))([clean], [changed])[0])


# ------------------------------------------------------------------ which words became which


@pytest.mark.parametrize(
    ("clean", "changed", "expected"),
    [
        ("A good film.", "A good film!", []),
        ("A good film.", "A bad film.", [(("good",), ("bad",))]),
        ("a b b", "b b b", [(("a",), ("b",))]),
        ("A good film.", "A very good film.", [((), ("very",))]),
        ("A very good film.", "A good film.", [(("very",), ())]),
        ("one two three four", "two three four five", [(("one",), ()), ((), ("five",))]),
        ("", "new", [((), ("new",))]),
    ],
)
def test_words_are_aligned_with_as_few_changes_as_possible(
    clean: str, changed: str, expected: list[tuple[tuple[str, ...], tuple[str, ...]]]
) -> None:
    assert list(blocks(clean, changed)) == expected


@pytest.mark.parametrize(
    ("changed", "share"),
    [("a b c d", 0), ("a x c d", 0.25), ("x y z w", 1), ("a b c d e", 0.25), ("a d", 0.5), ("", 1)],
)
def test_the_changed_share_counts_words(changed: str, share: float) -> None:
    assert one("changed", "a b c d", changed) == share


# ------------------------------------------------------------------ opposites


@pytest.mark.parametrize(
    ("clean", "changed", "count"),
    [
        ("A good film.", "A fine film.", 0),
        ("A good film.", "A Bad film.", 1),
        ("It was good.", "It was not good.", 1),
        ("It wasn't good.", "It was good.", 1),
        ("No film is better.", "Not film is better.", 0),
        ("A believable, careful plot.", "An unbelievable, careless plot.", 2),
        ("Good and bad.", "Bad and good.", 2),
        ("He is without fear.", "He is with fear.", 2),  # an antonym, and a negation that is gone
    ],
)
def test_antonyms_and_negations_are_counted(clean: str, changed: str, count: int) -> None:
    assert one("antonyms", clean, changed) == count


def test_a_file_of_antonyms_adds_to_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("crisp soggy\n")
    check = f"antonyms:file={tmp_path / 'mine.txt'}"
    assert one(check, "crisp toast, good tea", "soggy toast, bad tea") == 2
    assert one("antonyms", "crisp toast", "soggy toast") == 0


# ------------------------------------------------------------------ grammar


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("awful", True), ("hour", True), ("honest", True), ("unimportant", True), ("uninspired", True), ("X", True),
        ("heiress", True), ("umbrella", True), ("film", False), ("union", False), ("one-liner", False),
        ("European", False), ("useful", False), ("hotel", False), ("unique", False),
    ],
)  # fmt: skip
def test_articles_go_by_sound(word: str, expected: bool) -> None:
    assert takes_an(word) is expected


ERRORS = [
    ("A great plot.", "A awful plot.", 1),
    ("An awful plot.", "An dreadful plot.", 1),
    ("This movie works.", "This movies works.", 1),
    ("These movies work.", "These movie work.", 1),
    ("These film stars.", "These movie stars.", 0),
    ("There is a plot.", "There are a plot.", 0),  # the article stands between
    ("There is comedy.", "There is comedies.", 1),
    ("There are comedies.", "There are comedy.", 1),
    ("She enjoys it.", "She enjoy it.", 1),
    ("They enjoy it.", "They enjoys it.", 1),
    ("I like it.", "I adore it.", 0),
    ("You will enjoy it.", "You will enjoys it.", 1),
    ("It is hard to understand.", "It is hard to understood.", 1),
    ("It is hard to understand.", "It is hard to grasp.", 0),
    ("Close to home.", "Close to homes.", 0),
    ("That works.", "That functions.", 0),
    ("He, stop it.", "He, enjoy it.", 0),  # a mark parts them
]


@pytest.mark.parametrize(("clean", "changed", "new"), ERRORS)
def test_new_errors_of_grammar_are_counted(clean: str, changed: str, new: int) -> None:
    pytest.importorskip("lemminflect")
    assert one("agreement", clean, changed) == new
    assert one("agreement", clean, clean) == 0


def test_an_error_that_was_there_before_is_none_of_the_change() -> None:
    assert one("agreement:forms=false", "It is a awful plot.", "It is a odd plot.") == 0
    assert one("agreement:forms=false", "It is a awful plot.", "It is a plot.") == 0


def test_without_forms_only_articles_are_looked_at() -> None:
    assert one("agreement:forms=false", "This movie, a hit.", "These movie, a accident.") == 1
    assert "articles is at most 0" in parse_validity("agreement:forms=false").fit(["x"]).describe()[0]


# ------------------------------------------------------------------ n-grams


@pytest.mark.parametrize("before", [("the", "film"), ("\0<", "\0<"), ("never", "seen"), ("film", "was")])
def test_probabilities_sum_to_one(before: tuple[str, ...]) -> None:
    model = NGrams(["the film was good", "the film was bad", "The plot was thin", "a film"])
    seen = ["the", "film", "was", "good", "bad", "plot", "thin", "a", "\0>"]
    assert model.size == len(seen)
    assert sum(model.probability(word, before) for word in [*seen, "unheard-of"]) == pytest.approx(1, abs=1e-12)


def test_kneser_ney_counts_in_how_many_ways_a_word_is_continued() -> None:
    """By hand, for bigrams: "francisco" comes often, but only after one word."""
    model = NGrams(["san francisco"] * 3 + ["a b", "c b"], order=2)
    # bigrams: <s> san 3, san francisco 3, francisco </s> 3, <s> a 1, a b 1, b </s> 2, <s> c 1, c b 1
    # words by their kinds of left neighbours: san 1, francisco 1, </s> 2, a 1, b 2, c 1
    high, low = 4 / (4 + 2 * 1), 4 / (4 + 2 * 2)
    assert [model.levels[n].discount for n in (1, 0)] == pytest.approx([high, low])
    unigram = {"francisco": (1 - low + low * 6 / 7) / 8, "b": (2 - low + low * 6 / 7) / 8}
    assert model.probability("francisco", ("new",)) == pytest.approx(unigram["francisco"])
    assert model.probability("b", ("a",)) == pytest.approx((1 - high + high * 1 * unigram["b"]) / 1)
    assert model.probability("b", ("new",)) > model.probability("francisco", ("new",))


def test_bits_are_per_word_with_the_end() -> None:
    model = NGrams(["a b", "a c"], order=1)
    probabilities = [model.probability(word, ()) for word in ("a", "b", "\0>")]
    assert model.bits("A, b!") == pytest.approx(-sum(map(math.log2, probabilities)) / 3)


def test_what_was_written_so_is_likelier() -> None:
    model = NGrams(reviews("train")[0])
    assert model.bits("The soup was delicious.") < model.bits("Soup the delicious was.") - 2


def test_a_text_is_judged_by_n_grams_that_have_not_seen_it() -> None:
    """Else the clean text would be likely because it was counted."""
    fluency = parse_validity("fluency:most=1").checks["fluency"]
    unheard = "zyx wvu tsr qpo"
    without, with_it = (fluency.measure(Corpus([*TEXTS, *more])) for more in ([], [unheard]))
    pair = [unheard], ["zyx wvu tsr nml"]
    assert with_it(*pair)[0] == pytest.approx(without(*pair)[0], abs=1e-9)


# ------------------------------------------------------------------ sentence vectors


def test_mean_vectors_weigh_words_by_rarity() -> None:
    encoder = MeanVectors(Vectors(["the", "film", "plot"], np.eye(3)), ["the film", "the plot", "the end"])
    weights = math.log(4 / 4), math.log(4 / 2)
    assert encoder(["The film, the plot?"])[0] == pytest.approx(np.array([2 * weights[0], weights[1], weights[1]]) / 4)
    assert not encoder(["unknown"]).any()


def letters(texts: list[str]) -> NDArray[np.float64]:
    return np.array([[text.count(c) for c in "abcdefghij"] for text in texts], np.float64)


def test_the_cosine_is_that_of_the_given_encoder() -> None:
    check = parse_validity("similarity:least=0.5").checks["similarity"]
    measured = check.measure(Corpus([], encoder=letters))(["ab", "ab", "xyz", "xyz"], ["abb", "cd", "ab", "xyz"])
    assert measured == pytest.approx([3 / math.sqrt(10), 0, 0, 1])


@pytest.mark.parametrize(
    ("clean", "changed", "width", "expected"),
    [
        ("a b c d e f g", "a b c X e f g", 3, [("c d e", "c X e")]),
        ("a b c d e f g", "X b c d e f Y", 3, [("a b c", "X b c"), ("e f g", "e f Y")]),
        ("a, b; c d e", "a, b; c d e f", 3, [("c d e", "d e f")]),
        ("a b c d", "a b c", 9, [("a b c d", "a b c")]),
        ("a  b", "a b", 1, [("a  b", "a b")]),
        ("", "a", 2, [("", "a")]),
    ],
)
def test_windows_have_the_change_in_their_middle(
    clean: str, changed: str, width: int, expected: list[tuple[str, str]]
) -> None:
    assert windows(clean, changed, width) == expected


def test_the_least_similar_window_counts() -> None:
    check = parse_validity("similarity:least=0.5,window=1").checks["similarity"]
    pairs = ["a b c d", "a b", "a"], ["abb b c de", "a b", "b"]
    assert check.measure(Corpus([], encoder=letters))(*pairs) == pytest.approx([1 / math.sqrt(5), 1, 0])
    assert not len(check.measure(Corpus([], encoder=letters))([], []))
    with pytest.raises(InputError, match="window of at least one word, got 0"):
        parse_validity("similarity:window=0")


@pytest.mark.parametrize(
    "encoder", [lambda texts: np.zeros(len(texts)), lambda texts: np.full((len(texts), 2), np.nan)]
)
def test_an_encoder_of_another_form_gets_a_sentence(encoder: object) -> None:
    with pytest.raises(InputError, match=r"expected a vector of finite numbers for each of \d+ texts, got an array of"):
        parse_validity("similarity").fit(TEXTS, encoder=encoder)  # type: ignore[arg-type]


# ------------------------------------------------------------------ calibration


@pytest.mark.parametrize("exchanges", [1, 3, 0.2])
def test_paraphrases_exchange_for_synonyms_and_random_words_stand_in_the_same_places(exchanges: float) -> None:
    found = pairs(TEXTS, SYNONYMS, exchanges)
    assert len(found) == len(found.paraphrases) == len(found.random) > 380
    for clean, paraphrase, random in zip(found.clean, found.paraphrases, found.random, strict=True):
        length = len(words(clean))
        most = exchanges if exchanges >= 1 else max(1, int(exchanges * length))
        changed = blocks(clean, paraphrase)
        assert 1 <= len(changed) <= most
        assert all(b[0].lower() in SYNONYMS[a[0].lower()] for a, b in changed)
        for (a, b), (c, _) in zip(changed, blocks(clean, random), strict=True):
            assert a == c != b
    assert found == pairs(TEXTS, SYNONYMS, exchanges)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("name", ["similarity", "fluency"])
def test_thresholds_reach_their_share_and_no_more(name: str, share: float) -> None:
    fitted = parse_validity(f"{name}:share={share}").fit(TEXTS, encoder=letters)
    threshold = fitted.thresholds[name]
    assert threshold.calibration is not None
    assert share <= threshold.calibration.paraphrases < share + 0.01
    found = pairs(TEXTS, SYNONYMS, 1)
    passing = [fitted.judged(found.clean, changed).valid.mean() for changed in (found.paraphrases, found.random)]
    assert passing == [threshold.calibration.paraphrases, threshold.calibration.random]


def test_fluency_tells_random_words_from_synonyms_in_the_reviews() -> None:
    calibration = parse_validity("fluency").fit(reviews("test")[0]).thresholds["fluency"].calibration
    assert calibration is not None
    assert calibration.random < 0.85 * calibration.paraphrases


def test_a_calibration_that_tells_nothing_apart_says_so() -> None:
    said = parse_validity("similarity").fit(TEXTS, encoder=lambda texts: np.ones((len(texts), 1))).describe()
    assert "100.0% of 400 paraphrases" in said[0]
    assert "100.0% of the same texts with random words in their place: it tells little here." in said[0]


def test_texts_without_synonyms_cannot_be_calibrated_on() -> None:
    with pytest.raises(InputError, match=r"expected 20 texts or more with a word that has a synonym .* got 0"):
        parse_validity().fit([f"Nichts davon {zahl}." for zahl in "abcdefghijklmnop"])
    fitted = parse_validity("similarity:least=0.9+fluency:most=1").fit(
        [f"Nichts davon {zahl}." for zahl in "abcdefghijklmnop"]
    )
    assert fitted.together is None


# ------------------------------------------------------------------ all together


@pytest.fixture(scope="module")
def fitted() -> Validity:
    return parse_validity("similarity+fluency+agreement:forms=false+antonyms+changed").fit(TEXTS)


LONG = "The soup was delicious. The waiter was friendly, and the tables were clean. I liked the restaurant."
PAIRS = [
    (LONG, LONG.replace("delicious", "tasty"), ""),
    ("The soup was delicious.", "Soup the delicious was.", "fluency"),
    ("The film was good.", "The film was bad.", "antonyms"),
    ("It was a good film.", "It was a awful film.", "agreement"),
    ("The film was good.", "The film was not good.", "antonyms"),
    ("I liked the acting. The plot was clever.", "We hate this show! A shop is closed, buy.", "changed"),
]


def judge(validity: Validity, pairs: Sequence[tuple[str, str, str]] = PAIRS) -> Judged:
    return validity.judged([p[0] for p in pairs], [p[1] for p in pairs])


def test_honest_pairs_pass_and_others_fail_where_they_should(fitted: Validity) -> None:
    judged = judge(fitted)
    assert judged.names == ("similarity", "fluency", "agreement", "antonyms", "changed")
    assert judged.values.shape == judged.passes.shape == (len(PAIRS), 5)
    assert judged.values.dtype == np.float32
    assert judged.valid.tolist() == [True] + [False] * 5
    for row, (*_, fails) in enumerate(PAIRS[1:], 1):
        assert not judged.passes[row, judged.names.index(fails)], fails


def test_a_text_that_did_not_change_passes_everything(fitted: Validity) -> None:
    judged = fitted.judged(TEXTS[:50], TEXTS[:50])
    assert judged.valid.all()
    assert (judged.values == np.array([1, 0, 0, 0, 0])).all()


def test_no_pairs_give_empty_tables(fitted: Validity) -> None:
    judged = fitted.judged([], [])
    assert judged.values.shape == judged.passes.shape == (0, 5)
    assert judged.valid.shape == (0,)


def test_a_plus_in_the_name_of_a_file_joins_no_checks(tmp_path: Path) -> None:
    (tmp_path / "a+b.txt").write_text("crisp soggy\n")
    made = parse_validity(f"changed + antonyms:file={tmp_path / 'a+b.txt'}")
    assert made.names == ("changed", "antonyms")


def test_what_is_read_back_judges_the_same_to_the_last_bit(fitted: Validity) -> None:
    read = Validity.from_json(fitted.to_json())
    assert read.describe() == fitted.describe()
    again = read.fit(TEXTS)
    assert again.to_json() == fitted.to_json()
    assert np.array_equal(judge(again).values, judge(fitted).values)
    assert judge(again).thresholds == judge(fitted).thresholds


def test_what_is_read_back_wants_the_texts_and_functions_that_it_was_fitted_on(fitted: Validity) -> None:
    read = Validity.from_json(fitted.to_json())
    with pytest.raises(InputError, match="expected the texts that the checks were fitted on"):
        read.fit(TEXTS[1:])
    with pytest.raises(InputError, match="expected to measure the cosine of character n-grams"):
        read.fit(TEXTS, encoder=letters)
    with pytest.raises(InputError, match=r"call fit\(texts\) first"):
        judge(read)


def test_a_sentence_for_every_check_states_its_numbers(fitted: Validity) -> None:
    said = fitted.describe()
    assert len(said) == 6
    assert said[0].startswith("Similarity: the cosine of character n-grams (TF-IDF) is at least 0.")
    assert all("of 400 paraphrases (a word exchanged for a synonym) pass" in said[i] for i in (0, 1, 5))
    assert said[4] == "Changed: the share of words that differ is at most 0.3."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("similarty", "expected checks of changed texts among similarity.*got 'similarty'.*similarity"),
        ("similarity+similarity:least=1", "expected every check once"),
        ("changed:most=2", "expected a share of words from 0 to 1"),
        ("fluency:share=1", "expected a share of paraphrases above 0 and below 1"),
        ("fluency:least=1", "expected settings among share, most for fluency, got 'least'"),
        ("antonyms:file=none.txt", "expected a file of words in 'none.txt'"),
    ],
)
def test_words_that_mean_nothing_get_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_validity(text)


@pytest.mark.parametrize("content", ["", "{}", '{"checks": "changed", "texts": "", "thresholds": {"x": {}}}'])
def test_json_of_another_form_gets_a_sentence(content: str) -> None:
    with pytest.raises(InputError, match="expected checks as JSON, got"):
        Validity.from_json(content)


def test_nothing_to_fit_on_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="expected texts to fit checks on, got 2 empty ones"):
        parse_validity().fit(["", " "])


# ------------------------------------------------------------------ real texts


def test_real_antonyms_and_real_vectors(zoo: Path) -> None:
    folder = zoo / "data/text"
    texts = [line[2:] for line in (folder / "textfooler_mr.txt").read_text().splitlines()]
    table = read_json(folder / "glove_50d_5k.json")
    vectors = Vectors(list(table), list(table.values()))
    antonyms = folder / "cf_wordnet_antonyms.txt"
    validity = parse_validity(f"similarity+fluency+antonyms:file={antonyms}")
    validity = validity.fit(texts, vectors=vectors, synonyms=read_synonyms(folder / "cf_ppdb_synonyms.txt"))
    assert validity.together is not None
    assert validity.together.pairs > 900
    assert validity.together.random < validity.together.paraphrases
    a, b = min(read_pairs(antonyms))
    assert not validity.judged([f"it is {a}"], [f"it is {b}"]).valid[0]
