"""Texts as data: every form of file, what is found in them, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blindspots.data import TextData, as_data, load_data, one_of, reopened
from blindspots.errors import InputError
from blindspots.records import DataRecord
from blindspots.texts.codes import as_codes, as_texts
from blindspots.texts.pairs import SEPARATOR, joined, parted

TEXTS = ["good, really", "bad", "", 'fine "quotes" here', "naïve 👍🏽 \u202e", "tab?"]
WORDS = ["pos", "neg", "neg", "pos", "pos", "neg"]
Y = [1, 0, 0, 1, 1, 0]


def notes(data: Any) -> dict[str, str]:
    return {note.code: note.saw for note in data.notes}


def read(data: Any) -> list[str]:
    texts: list[str] = data.texts(0, len(data))
    return texts


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


CSV = "text,label\n" + "".join(f"{quoted(t)},{w}\n" for t, w in zip(TEXTS, WORDS, strict=True))
TSV = "sentence\tlabel\n" + "".join(f"{t}\t{w}\n" for t, w in zip(TEXTS, WORDS, strict=True))
JSONL = "".join(json.dumps({"review": t, "sentiment": w}) + "\n" for t, w in zip(TEXTS, WORDS, strict=True))
TXT = "".join(f"__label__{w} {t}\n" for t, w in zip(TEXTS, WORDS, strict=True))


# ------------------------------------------------------------------ every form


@pytest.mark.parametrize(("name", "content"), [("a.csv", CSV), ("a.TSV", TSV), ("a.jsonl", JSONL), ("a.txt", TXT)])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_form_gives_the_same_texts(
    file: Callable[..., str], name: str, content: str, encoding: str, newline: str
) -> None:
    data = load_data(file(name, content.replace("\n", newline).encode(encoding)))
    assert isinstance(data, TextData)
    assert read(data) == TEXTS
    assert data.class_names == ["neg", "pos"]
    x, y = data.rows(0, 6)
    assert y.tolist() == Y
    assert as_texts(x) == TEXTS
    assert x.shape == (6, *data.shape)
    assert "2 classes: neg=0 (3 texts), pos=1 (3)" in notes(data)["classes"]


def test_parquet_with_names_of_classes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    features = {"text": {"_type": "Value"}, "label": {"_type": "ClassLabel", "names": ["neg", "pos"]}}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": TEXTS, "label": Y}).replace_schema_metadata(about)
    parquet.write_table(table, tmp_path / "a.parquet")
    data = load_data(tmp_path / "a.parquet")
    assert (read(data), data.class_names) == (TEXTS, ["neg", "pos"])  # type: ignore[attr-defined]
    assert data.rows(0, 6)[1].tolist() == Y


def test_a_damaged_parquet_file_is_refused(file: Callable[..., str]) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="cannot be read"):
        load_data(file("a.parquet", b"PAR1 not at all"))


def test_newlines_and_separators_of_other_kinds_are_part_of_a_text(file: Callable[..., str]) -> None:
    data = load_data(file("a.csv", 'text,label\n"one\r\ntwo",1\n"a\u2028b\x85c\x0bd",0\n'))
    assert read(data) == ["one\r\ntwo", "a\u2028b\x85c\x0bd"]
    data = load_data(file("a.tsv", "a\u2028b\x85c\x0bd\t1\nbad\t0\n"))
    assert read(data) == ["a\u2028b\x85c\x0bd", "bad"]


def test_quotation_marks_of_a_tsv_file_stay(file: Callable[..., str]) -> None:
    assert read(load_data(file("a.tsv", '"so to speak\t1\n"quoted"\t0\n'))) == ['"so to speak', '"quoted"']


def test_texts_are_normalised_in_no_way(file: Callable[..., str]) -> None:
    text = "  e\u0301 \u00e9 ﬁ \u200b  "
    assert read(load_data(file("a.jsonl", json.dumps({"text": text, "label": 1}) + "\n"))) == [text]


# ------------------------------------------------------------------ columns


@pytest.mark.parametrize(
    ("content", "texts", "labels"),
    [
        ("good film\t1\nbad film\t0\n", ["good film", "bad film"], [1, 0]),
        ("1\tgood film\n0\tbad film\n", ["good film", "bad film"], [1, 0]),
        (
            "so good\tpos\nso bad\tneg\nok then\tpos\nno way\tneg\n",
            ["so good", "so bad", "ok then", "no way"],
            Y[:2] * 2,
        ),
    ],
)
def test_columns_without_names(file: Callable[..., str], content: str, texts: list[str], labels: list[int]) -> None:
    data = load_data(file("a.tsv", content))
    assert (read(data), data.rows(0, len(texts))[1].tolist()) == (texts, labels)


def test_title_and_text_are_joined_and_labels_from_one_counted_from_zero(file: Callable[..., str]) -> None:
    content = '"3","Oil, up","It rose."\n"1","War","It ended."\n"2","Cup","It was won."\n'
    data = load_data(file("a.csv", content))
    assert read(data)[0] == "Oil, up It rose."
    assert data.rows(0, 3)[1].tolist() == [2, 0, 1]
    assert "counted from 0" in notes(data)["classes"]
    assert notes(data)["columns"] == "Texts were read from columns '2' and '3', labels from column '1'."
    named = load_data(file("a.csv", content), classes=["World", "Sports", "Business"])
    assert named.rows(0, 3)[1].tolist() == [2, 0, 1]


def test_usual_names_are_found_whatever_their_case_and_others_noted(file: Callable[..., str]) -> None:
    data = load_data(file("a.csv", "id,Sentence,LABEL\n7,good,1\n8,bad,0\n"))
    assert read(data) == ["good", "bad"]
    assert notes(data)["columns"].endswith("labels from column 'LABEL'; not read: id.")


@pytest.mark.parametrize(
    ("layout", "texts"),
    [
        ("text=body,label=stars", ["is good", "is bad"]),
        ("text=title+body,label=stars", ["It is good", "This is bad"]),
        ("label=stars, text=title", ["It", "This"]),
    ],
)
def test_columns_by_their_names(file: Callable[..., str], layout: str, texts: list[str]) -> None:
    path = file("a.csv", "title,body,stars\nIt,is good,1\nThis,is bad,0\n")
    data = load_data(path, layout=layout)
    assert read(data) == texts
    again = reopened(DataRecord.of(data))
    assert (again.digest, read(again)) == (data.digest, texts)


def test_columns_by_their_numbers(file: Callable[..., str]) -> None:
    data = load_data(file("a.csv", "x,It,is good,1\ny,This,is bad,0\n"), layout="text=3,label=4")
    assert read(data) == ["is good", "is bad"]


@pytest.mark.parametrize(
    ("layout", "side", "free"),
    [(None, "first", ["he sleeps", ""]), ("text=premise,fixed=hypothesis,label=label", "second", ["a man", "b"])],
)
def test_one_side_of_a_pair_stays(file: Callable[..., str], layout: str | None, side: str, free: list[str]) -> None:
    data = load_data(file("a.csv", "premise,hypothesis,label\na man,he sleeps,no\nb,,yes\n"), layout=layout)
    assert isinstance(data, TextData)
    assert read(data) == [joined("a man", "he sleeps"), joined("b", "")]
    assert data.fixed == side
    assert [t[a:b] for t, (a, b) in zip(read(data), data.free(0, 2), strict=True)] == free
    assert f"is the {side} text of each pair" in notes(data)["columns"]


def test_all_of_a_text_may_change() -> None:
    assert TextData(["abc", ""], [0, 1]).free(0, 2) == [(0, 3), (0, 0)]


@given(st.text(st.characters(exclude_characters=SEPARATOR)), st.text(st.characters(exclude_characters=SEPARATOR)))
def test_pairs_come_apart_again(first: str, second: str) -> None:
    assert parted(joined(first, second)) == (first, second)


# ------------------------------------------------------------------ rows


def test_the_first_rows_have_the_width_and_the_labels_of_all(file: Callable[..., str]) -> None:
    path = file("a.csv", CSV)
    few, every = load_data(path, 2), load_data(path)
    assert (len(few), few.shape, few.class_names) == (2, every.shape, every.class_names)
    assert torch.equal(few.rows(0, 2)[0], every.rows(0, 2)[0])
    assert few.digest != every.digest


def test_the_width_leaves_room() -> None:
    assert TextData(["a" * 100], [0]).shape == (125 + 64,)


@pytest.mark.parametrize(
    "other",
    [
        lambda: TextData(["ab", "c"], [0, 1]),
        lambda: TextData(["a", "bd"], [0, 1]),
        lambda: TextData(["a", "bc"], [1, 1]),
        lambda: TextData(["a", "bc"], ["x", "y"]),
    ],
)
def test_the_digest_is_that_of_texts_and_labels(other: Callable[[], TextData]) -> None:
    data = TextData(["a", "bc"], [0, 1])
    assert data.digest == TextData(["a", "bc"], [0, 1], name="other").digest != other().digest


def test_which_side_is_fixed_is_in_the_digest() -> None:
    pair = [joined("a", "b")]
    assert TextData(pair, [0], fixed="first").digest != TextData(pair, [0], fixed="second").digest


# ------------------------------------------------------------------ from Python


class Items:
    """A dataset as Hugging Face's are."""

    def __init__(self) -> None:
        self.column_names = ["idx", "sentence", "label"]
        self.features = {"label": SimpleNamespace(names=["neg", "pos"])}

    def __getitem__(self, key: str) -> list[Any]:
        return {"idx": list(range(6)), "sentence": TEXTS, "label": Y}[key]

    def __len__(self) -> int:
        return 6


@pytest.mark.parametrize(
    "given_",
    [
        (TEXTS, Y),
        (tuple(TEXTS), np.array(Y)),
        (np.array(TEXTS), Y),
        (np.array(TEXTS, dtype=object), Y),
        list(zip(TEXTS, Y, strict=True)),
        {"text": TEXTS, "label": Y},
        Items(),
    ],
)
def test_texts_from_python(given_: Any) -> None:
    data = as_data(given_)
    assert isinstance(data, TextData)
    assert (read(data), data.rows(0, 6)[1].tolist()) == (TEXTS, Y)


def test_lists_of_texts_and_labels_as_evaluate_takes_them() -> None:
    data = one_of(TEXTS, WORDS, None)
    assert isinstance(data, TextData)
    assert (data.class_names, data.unit) == (["neg", "pos"], "text")


def test_the_embedded_reviews() -> None:
    test, training = load_data("reviews"), load_data("reviews-training", 10)
    assert (len(test), len(training), test.class_names) == (1000, 10, ["negative", "positive"])
    assert reopened(DataRecord.of(test)).digest == test.digest
    assert as_texts(test.rows(3, 4)[0]) == test.texts(3, 4)  # type: ignore[attr-defined]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6))
def test_code_points_and_texts_are_the_same(texts: list[str]) -> None:
    width = max(map(len, texts), default=0) + 2
    x = as_codes(texts, width)
    assert (x.shape, x.dtype) == ((len(texts), width), torch.float32)
    assert as_texts(x) == texts


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "got none"),
        ("a.csv", "text,label\n", "at least one text"),
        ("a.csv", b"text,label\ncaf\xe9,1\n", "neither at position 14"),
        ("a.csv", b"\xef\xbb\xbftext,label\ncaf\xe9,1\n", "neither at position 17"),
        ("a.csv", "text,label\na,b,1\n", "2 columns in every row .* got 3 .* number 1 from 0"),
        ("a.csv", 'text,label\n"a"b,1\n', "cannot be read in line 2"),
        ("a.csv", "text,label\ngood,1\nbad,\n", "label in every row of a.csv, got '' in row 1"),
        ("a.csv", "text,label\ngood,-1\nbad,-1\n", "got '-1' in row 0"),
        ("a.csv", "phrase,stars\ngood,1\nbad,0\n", "got phrase, stars: name them with the layout"),
        ("a.csv", "only texts\nand more\n", "name them with the layout"),
        ("a.csv", "1,2\n3,4\n", "name them with the layout"),
        ("a.csv", "text,label\na\0b,1\n", "NUL at 1"),
        ("a.csv", "premise,hypothesis,label\na\x1e,b,1\n", "a pair in row 0"),
        ("a.tsv", "good\t1\nbad\n", "got 1 in the row that begins with 'bad', number 1 from 0: replace tabs"),
        ("a.txt", "1 good\njust text\n", "got 'just text' in line 2"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "JSON in line 2"),
        ("a.jsonl", "[1, 2]\n", "JSON object in line 1"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', "half of a surrogate pair at 0"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": null, "label": 1}\n', "text in row 1 .* got None"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', "got None in row 1"),
        ("a.jsonl", '{"text": "a", "label": NaN}\n', "got nan in row 0"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n', "one class per row"),
        ("a.doc", "text", "expected 'digits', 'reviews'"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(file: Callable[..., str], name: str, content: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_data(file(name, content))


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("nhwc", "expected columns such as text=COLUMN"),
        ("text=title", "name both texts and labels"),
        ("text=title,text=body,label=stars", "name each once"),
        ("text=titel,label=stars", "expected a column 'titel' in a.csv, got title, body, stars"),
        ("text=9,label=3", "expected a column '9'"),
    ],
)
def test_bad_columns_are_refused_in_a_sentence(file: Callable[..., str], layout: str, said: str) -> None:
    path = file("a.csv", "title,body,stars\nIt,is good,1\nThis,is bad,0\n")
    with pytest.raises(InputError, match=said):
        load_data(path, layout=layout)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TextData("a text", [0]), "expected strings as texts"),
        (lambda: TextData([1, 2], [0, 1]), "expected strings as texts"),
        (lambda: TextData([], []), "at least one text"),
        (lambda: TextData(["a", "b"], [0]), "as many labels as inputs"),
        (lambda: TextData(["a"], [0], fixed="first"), "a pair in row 0"),
        (lambda: TextData(["a", "b\ud83d"], [0, 1]), "row 1 of texts, got half of a surrogate pair at 1"),
        (lambda: TextData(["a"], ["x"], class_names=["y", "z"]), "among its names"),
        (lambda: as_data({"text": ["a", "b"], "label": [1]}), "columns of one length"),
        (lambda: load_data("reviews", layout="text=a,label=b"), "only for an .npz file or a file of texts"),
        (lambda: load_data("reviews", values=True), "compares numbers"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


# ------------------------------------------------------------------ real files


@pytest.mark.parametrize(
    ("name", "rows", "counts"),
    [
        ("sst2_dev.tsv", 872, {0: 428, 1: 444}),
        ("sst2_train.tsv", 6920, {0: 3310, 1: 3610}),
        ("textfooler_mr.txt", 1000, {0: 511, 1: 489}),
        ("ag_news_test.csv", 7600, {0: 1900, 1: 1900, 2: 1900, 3: 1900}),
    ],
)
def test_real_files(zoo: Path, name: str, rows: int, counts: dict[int, int]) -> None:
    data = load_data(zoo / "data" / "text" / name)
    assert len(data) == rows
    x, y = data.rows(0, rows)
    assert dict(zip(*(part.tolist() for part in y.unique(return_counts=True)), strict=True)) == counts
    assert as_texts(x) == read(data)


def test_a_first_row_that_may_be_names_is_no_row(file: Callable[..., str]) -> None:
    rows = "".join(f"{i},a film {i},{word}\n" for i, word in enumerate(["bad", "good"] * 3))
    with pytest.raises(InputError, match="got id, review, stars: name them with the layout"):
        load_data(file("a.csv", f"id,review,stars\n{rows}"))
    named = load_data(file("a.csv", f"id,review,stars\n{rows}"), layout="text=review,label=stars")
    assert (len(named), named.class_names) == (6, ["bad", "good"])
