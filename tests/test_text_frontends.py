import itertools
import string
from pathlib import Path

import pytest
import torch

import blindspots as bs
from blindspots.models.texts import TextModel
from blindspots.models.transformations import parse_chain, transformed
from blindspots.models.transformed_texts import TransformedTexts
from blindspots.problem import Need
from blindspots.texts.codes import as_codes
from blindspots.texts.frontends.spell import Spell, nearest
from blindspots.texts.frontends.synonyms import encoding
from blindspots.texts.frontends.unicode import plain
from blindspots.texts.sources.homoglyph import Homoglyph
from blindspots.texts.sources.invisible import Invisible
from blindspots.texts.vocabulary import GROUPS, SYNONYMS


def shouting(texts: list[str]) -> torch.Tensor:
    """Class 1 for texts with the word GOOD."""
    good = torch.tensor([float("GOOD" in text.upper().split()) for text in texts])
    return torch.stack([1 - good, good], 1)


# ------------------------------------------------------------------ unicode


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("a g\u043e\u043ed f\u200bilm", "a good film"),  # Cyrillic o, zero-width space
        ("\u202egood\u202c film", "good film"),  # turned around and back
        ("cafe\u0301 z\u0301\u0302\u0303ero", "caf\u00e9 \u017aero"),  # one mark composes, the others go
        ("\uff47\uff4f\uff4f\uff44 \u217dlever \ufb01lm x\u00b2", "good clever film x2"),
        ("\u2764\ufe0f film", "\u2764 film"),
        ("\u0441", "c"),
        ("\u043f\u0440\u0438\u0432\u0435\u0442", "\u043f\u0440\u0438\u0432\u0435\u0442"),  # a Russian word stays
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928\u092e\u0938\u094d\u0924\u0947"),  # and marks of Devanagari
    ],
)
def test_texts_become_what_they_look_like(text: str, looks: str) -> None:
    assert plain(text) == looks


def test_all_lookalikes_and_invisible_characters_of_the_attacks_are_undone() -> None:
    for word in ("good", "Excellent", "JUMBO", string.ascii_letters):
        for hidden in itertools.chain(Homoglyph().of(word), Invisible().of(word)):
            assert plain(hidden) == word


def test_a_plain_text_stays_plain() -> None:
    text = "\u0433ood \uff47\uff4f\uff4f\uff44 \U0001d4f0ood na\u00efve e\u0301\u0301 \u05e9\u05b8\u05c1"
    assert plain(plain(text)) == plain(text)


# ------------------------------------------------------------------ spell


def edited(word: str) -> set[str]:
    """All words within one edit, letter by letter."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    letters = "abdgho"
    return {
        *(a + b[1:] for a, b in cuts if b),
        *(a + c + b for a, b in cuts for c in letters),
        *(a + c + b[1:] for a, b in cuts if b for c in letters),
        *(a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1),
    }


def test_the_nearest_word_is_the_first_within_one_edit() -> None:
    known = ["good", "bad", "god", "dab", "hob", "goad", "ah"]
    near = nearest(known)
    written = {"".join(w) for n in range(1, 5) for w in itertools.product("abdgho", repeat=n)}
    for word in written:
        within = [k for k in known if word in edited(k)]
        assert near[word] == (word if word in known else next(iter(within), word))


def test_spelling_keeps_case_punctuation_numbers_and_what_nothing_is_near_to(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("The good film.\nA good god.\n")
    change = Spell(file=str(file)).on([])
    assert change("Teh goood  FIILM, 12 xylophones!") == "The good  FILM, 12 xylophones!"
    assert change("gopd") == "good"  # within one edit of both, and the more frequent one


def test_spelling_needs_words() -> None:
    with pytest.raises(bs.InputError, match="expected a model with a vocabulary for spell"):
        transformed(TextModel(shouting), parse_chain("spell"))


def test_a_file_without_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("...\n")
    with pytest.raises(bs.InputError, match="expected words in"):
        parse_chain(f"spell:file={tmp_path / 'none.txt'}")


# ------------------------------------------------------------------ synonyms


def test_all_words_of_an_embedded_group_become_one() -> None:
    code = encoding(SYNONYMS)
    assert all(len({code[word.lower()] for word in group}) == 1 for group in GROUPS.values() if len(group) > 1)


def test_the_first_synonym_with_a_code_hands_it_on() -> None:
    table = {"big": ("large",), "huge": ("large", "vast"), "vast": ("huge",), "red": ()}
    assert encoding(table) == {"big": "big", "large": "big", "huge": "big", "vast": "big", "red": "red"}


def test_encoding_keeps_the_case(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("good\tfine\tnice\n")
    (change,) = TransformedTexts(TextModel(shouting), *parse_chain(f"synonyms:file={tmp_path / 'mine.tsv'}")).changes
    assert change("Nice, a FINE film.") == "Good, a GOOD film."


# ------------------------------------------------------------------ as a model


def through(words: str) -> TextModel:
    made = transformed(TextModel(shouting, spec="shout"), parse_chain(words))
    assert isinstance(made, TextModel)
    return made


def test_a_model_behind_a_front_end_answers_as_the_model_would_on_the_plain_text() -> None:
    whole = through("unicode")
    assert whole.of(["a g\u043eod film", "a bad film"]).argmax(1).tolist() == [1, 0]
    assert whole.logits(as_codes(["go\u200bod"], 10)).argmax(1).tolist() == [1]
    assert whole.spec == "shout|unicode"
    assert whole.access is Need.VALUE


def test_texts_that_become_the_same_are_asked_about_once() -> None:
    whole = through("unicode")
    whole.of(["good", "g\u043eod", "go\u200bod"])
    assert whole.forwarded == 1
    whole.forget()
    whole.of(["good"])
    assert whole.forwarded == 2


def test_a_model_of_labels_stays_one() -> None:
    model = TextModel(lambda texts: [0] * len(texts), "labels", classes=3)
    assert TransformedTexts(model, *parse_chain("unicode")).access is Need.LABEL  # type: ignore[arg-type]


def test_the_digest_covers_the_front_end_and_its_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    digests = {TextModel(shouting).digest, through("unicode").digest, through("unicode+synonyms").digest}
    for content in ("good\tfine\n", "good\tnice\n"):
        file.write_text(content)
        digests.add(through(f"synonyms:file={file}").digest)
    assert len(digests) == 5


@pytest.mark.parametrize("words", ["unicode", "spell", "unicode+spell", "synonyms"])
def test_names_are_read_again(words: str) -> None:
    assert "+".join(map(str, parse_chain(words))) == words


def test_kinds_are_not_mixed() -> None:
    with pytest.raises(bs.InputError, match="got unicode for texts and bits:depth=4 for numbers"):
        parse_chain("bits:depth=4+unicode")
    with pytest.raises(bs.InputError, match="expected transformations that are for the inputs of shouting"):
        transformed(TextModel(shouting), parse_chain("bits"))
    with pytest.raises(bs.InputError, match="use unicode, spell, synonyms for texts"):
        bs.Transformed(bs.Model(torch.nn.Flatten()), "unicode")


def test_an_attack_that_knows_the_front_end_is_kept_out_or_finds_another_way() -> None:
    texts = ["a good film", "a bad film"] * 2
    data = bs.TextData(texts, [1, 0] * 2)
    settings = {"data": data, "threat": "chars:1", "threads": 1, "protocol": "text-scores"}
    by = {
        (candidates, words): bs.evaluate(
            TextModel(shouting, class_names=["0", "1"]), candidates=candidates, through=words, **settings
        ).robust_accuracy  # type: ignore[arg-type]
        for candidates in ("homoglyph", "delete")
        for words in (None, "unicode")
    }
    assert by == {
        ("homoglyph", None): 0.5, ("homoglyph", "unicode"): 1.0, ("delete", None): 0.5, ("delete", "unicode"): 0.5,
    }  # fmt: skip


@pytest.mark.slow
def test_from_the_shell_texts_go_through_what_is_named(tmp_path: Path) -> None:
    run = bs.evaluate(
        bs.load_model("reviews"), data=bs.load_data("reviews", 12), threat="words:2", through="synonyms",
        out=tmp_path / "run", threads=1,
    )  # fmt: skip
    assert run.robust_accuracy == run.clean_accuracy  # all candidates become the same word
    assert run.manifest.world["model"]["spec"] == "reviews|synonyms"
    proved = bs.verify(tmp_path / "run")
    assert proved.ok, proved.problems
