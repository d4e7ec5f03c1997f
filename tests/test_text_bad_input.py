"""Texts as they come: cut off, badly encoded, of any script, nothing to change; all end as data or a sentence."""

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

import blindspots as bs
from blindspots.engine.result import Result
from blindspots.errors import InputError
from blindspots.texts.reviews import CLASSES, reviews

GOOD, BAD = "a good film", "a bad film"


def sure(texts: list[str]) -> list[list[float]]:
    """Nothing changes its mind."""
    return [[0.0, 1.0] for _ in texts]


@cache
def pipeline() -> Any:
    texts, labels = reviews("train")
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts[:400], labels[:400])


class Crude:
    """A tokenizer that forgets: nothing but ASCII letters, in small, all unknown words alike, at most 5 words."""

    pad, longest, size = 0, 5, 4

    @property
    def digest(self) -> str:
        return hashlib.sha256(b"crude").hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        known = {"good": 2, "bad": 3}
        return [[known.get(text[a:b].lower(), 1) for a, b in self.spans(text)] or [1] for text in texts]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [found.span() for found in re.finditer("[A-Za-z]+", text)][: self.longest]

    def whole_words(self) -> dict[str, int]:
        return {"good": 2, "bad": 3}


def crude() -> bs.TokenModel:
    table = nn.Embedding.from_pretrained(torch.tensor([[0.0], [-0.2], [1.0], [-1.0]]))

    def head(z: Tensor, mask: Tensor) -> Tensor:
        score = (z[:, :, 0] * mask).sum(1)
        return torch.stack([-score, score], 1)

    return bs.TokenModel(table, table, head, Crude(), name="crude", class_names=CLASSES)


MODELS: dict[str, Callable[[], Any]] = {
    "function": lambda: bs.TextModel(sure),
    "labels": lambda: bs.TextModel(lambda texts: [1] * len(texts), "labels", classes=2),
    "pipeline": pipeline,
    "network": lambda: "reviews-cnn",
    "forgetful": crude,
}
STRANGE = {
    "empty": "",
    "blank": " \t\n",
    "one word": "good",
    "one letter": "a",
    "punctuation": "... !?",
    "numbers": "12 and 13.5",
    "BOM": "\ufeffa good film",
    "right to left": "סרט טוב מאוד",
    "Chinese": "这部电影很好",
    "emoji": "good 👍🏽👩‍👩‍👧 film",
    "combining": "a gooo\u0301d fi\u0301lm",
    "invisible": "a go\u200bod film",
    "beyond the plane": "a \U0001d4f0\U0001d4f8\U0001d4f8\U0001d4ed film",
    "long": "a good film " * 60,
}


@pytest.mark.parametrize("threat", ["words:2", "chars:1", "edits:1", "trigger:bad film"])
@pytest.mark.parametrize("model", MODELS)
def test_every_text_ends_with_an_outcome_and_its_proof_holds(model: str, threat: str, tmp_path: Path) -> None:
    texts = [*STRANGE.values(), *reviews("test")[0][:3]]
    made = MODELS[model]()
    y = bs.evaluate(made, texts, [1] * len(texts), threat="words:0", validity="changed:most=1")
    done = bs.evaluate(
        made, texts, [1] * len(texts), threat=threat, row_budget=60, validity="changed:most=1", out=tmp_path / "run"
    )
    assert len(done.results) == len(texts)
    assert done.clean_accuracy == y.clean_accuracy
    assert set(done.results) <= {Result.STOOD, Result.WON, Result.ALREADY_WRONG, Result.BUDGET, Result.IMMOVABLE}
    if isinstance(made, str):
        assert bs.verify(tmp_path / "run")
    assert (tmp_path / "run" / "run.json").is_file()


# ------------------------------------------------------------------ nothing to change


ATTACKS = ["ranked", "greedy", "beam", "genetic", "charmer", "exhaustive", "sampling", "swarm"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_row_of_which_nothing_may_change_has_an_outcome_of_its_own(attack: str) -> None:
    done = bs.attack(bs.TextModel(sure), ["", "Bob and Alice", GOOD], [1, 1, 1], attack, threat="words:1")
    assert done.results == [Result.IMMOVABLE, Result.IMMOVABLE, Result.STOOD]
    assert done.verdict.outcomes == {"stood": 1, "immovable": 2}
    assert (done.robust_accuracy, done.searched.hits, done.searched.rows) == (1.0, 1, 3)
    assert done.verdict.unsearched == 2
    said = next(f for f in done.findings if f.code == "nothing-to-change")
    assert said.saw.startswith("2 of 3 rows stand because nothing of them may change")
    assert "never-searched" not in {f.code for f in done.findings}


def test_gates_do_not_go_by_rows_of_which_nothing_may_change() -> None:
    done = bs.evaluate(bs.TextModel(sure), ["", "", GOOD], [1, 1, 1], threat="words:1", validity="changed")
    metric = done.verdict.metrics()["robust_accuracy"]
    assert metric.shown is not None
    assert metric.shown[0] == pytest.approx(1 / 3)


def test_wrong_rows_stay_wrong_and_a_radius_of_0_stays_a_mistake() -> None:
    wrong = bs.evaluate(bs.TextModel(sure), ["", GOOD], [0, 1], threat="words:1", validity="changed")
    assert wrong.results == [Result.ALREADY_WRONG, Result.STOOD]
    nothing = bs.evaluate(bs.TextModel(sure), [GOOD], [1], threat="words:0", validity="changed")
    assert nothing.results == [Result.UNSEARCHED]


def test_what_may_not_change_is_fed_to_other_models_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\n,positive\na good film,positive\nBob,negative\n", "utf-8")
    data, out = str(tmp_path / "mine.csv"), tmp_path / "run"
    done = bs.transfer(["reviews", "reviews-cnn"], data=data, threat="words:1", out=out)
    assert done.verdict.changed == [1, 1]
    assert bs.verify(out)


# ------------------------------------------------------------------ cut off and forgotten


def test_changes_behind_the_cut_break_nothing_and_the_cut_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("terrible\tgood\nbad\tgood\n")
    texts, how = ["one more film that is terrible", "a bad one"], {"threat": "words:1", "validity": "changed:most=1"}
    done = bs.evaluate(crude(), texts, [0, 0], candidates=f"synonyms:file={tmp_path / 'mine.tsv'}", **how)
    said = next(f for f in done.findings if f.code == "texts-cut")
    assert said.saw.startswith("1 of 2 texts are longer than the 5 tokens")
    assert done.results == [Result.STOOD, Result.WON]


def test_a_tokenizer_that_does_not_give_texts_back_is_searched_by_what_it_sees() -> None:
    done = bs.evaluate(crude(), ["A GOOD film", "a bäd film"], [1, 0], threat="edits:1", validity="changed:most=1")
    assert done.clean_accuracy == 1
    assert done.results == [Result.WON, Result.STOOD]  # GOOD is broken by a letter


# ------------------------------------------------------------------ refused in a sentence

THAI = "หนังเรื่องนี้ดีมาก"


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: bs.evaluate("reviews", [THAI], [1], threat="words:1", validity="changed"), "got Thai text"),
        (lambda: bs.evaluate("reviews", [GOOD], [2], threat="words:1"), "expected labels"),
        (lambda: bs.evaluate("reviews", [GOOD, BAD], ["good", "bad"], threat="words:1"), "good"),
        (lambda: bs.evaluate("reviews", [GOOD, 3], [1, 0], threat="words:1"), "expected"),
        (lambda: bs.evaluate("reviews", [GOOD, "a\0b"], [1, 0], threat="words:1"), "got NUL at 1"),
        (lambda: bs.evaluate("reviews", [GOOD, "a\ud800"], [1, 0], threat="words:1"), "half of a surrogate pair"),
        (lambda: bs.evaluate("reviews", [], [], threat="words:1"), "expected"),
        (lambda: bs.evaluate("reviews", [GOOD], [1, 0], threat="words:1"), "expected"),
        (lambda: bs.transfer(["reviews", "reviews-cnn"], [THAI], [1], threat="words:1"), "got Thai text"),
        (lambda: bs.evaluate("reviews", [GOOD], [1], recipe="pwws"), "expected files for wordnet"),
        (lambda: bs.evaluate("digits", [GOOD], [1], threat="words:1"), "all for texts or none"),
        (lambda: bs.evaluate("reviews", torch.zeros(2, 4), [1, 0], threat="words:1"), "all for texts or none"),
        (lambda: bs.evaluate("reviews", [GOOD], [1], threat="linf:0.1"), "all for texts or none"),
    ],
)
def test_what_cannot_be_done_is_said(ask: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        ask()
    assert "\n" not in str(error.value)


def test_thai_may_change_letter_by_letter() -> None:
    done = bs.evaluate(bs.TextModel(sure), [THAI], [1], threat="edits:1", validity="changed", row_budget=50)
    assert done.results[0] in (Result.STOOD, Result.BUDGET)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label\ncaf\xe9 is good,1\nbad,0\n", "expected"),
        (b"text,label\na good film,\nbad,0\n", "expected a label in every row"),
        (b"text,label\n", "expected"),
        (b"", "expected"),
    ],
)
def test_files_that_are_badly_encoded_unlabelled_or_empty_are_refused(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        bs.evaluate("reviews", data=str(tmp_path / "mine.csv"), threat="words:1")


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\na good film,1\na bad film,0\n", "utf-8-sig")
    done = bs.evaluate("reviews", data=str(tmp_path / "mine.csv"), threat="words:1", validity="changed")
    assert done.manifest.world["data"]["rows"] == 2
