"""What is proposed of a table: what a person would say of its columns, and nothing that chance made."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import blindspots as bs
from blindspots.data.table import TableData, columns_of_table, of_frame
from blindspots.experiments.evaluate.verify_tables import Told
from blindspots.tables.features import read_features, written
from blindspots.tables.propose import Proposal, propose
from rows_of_tables import write


def credit(rows: int = 300) -> dict[str, list[Any]]:
    """A table whose relations are known."""
    draw = np.random.RandomState(3)
    amount, term, rate = draw.randint(5, 400, rows) * 100, draw.choice([36, 60], rows), draw.uniform(0.05, 0.25, rows)
    total = draw.randint(3, 40, rows)
    income, payment = draw.lognormal(11, 0.5, rows).round(), (amount * (1 + rate) / term).round(2)
    parts = draw.randint(0, 50, (3, rows))
    single, grade = draw.rand(rows) < 0.5, draw.choice(list("ABC"), rows)
    bankrupt = draw.choice([0, 0, 0, 1, 2], rows)
    columns: dict[str, Any] = {
        "amount": amount, "term": term, "years": term / 12, "payment": payment, "open": (total * 0.6).astype(int),
        "total": total, "income": income, "dti": (12 * payment / income).round(4), "rent": parts[0], "food": parts[1],
        "other": parts[2], "spent": parts.sum(0), "same": parts[0], "status": np.where(single, "single", "married"),
        "children": np.where(single, 0, draw.randint(0, 4, rows)), "bankrupt": bankrupt,
        "months": np.where(bankrupt == 0, 0, draw.randint(1, 120, rows)), "grade": grade,
        "base rate": np.select([grade == "A", grade == "B"], [0.05, 0.08], 0.11),
        **{f"colour_{word}": colour for word, colour in zip(("red", "blue"), _coded(draw, rows), strict=True)},
    }  # fmt: skip
    return {name: values.tolist() for name, values in columns.items()}


def _coded(draw: Any, rows: int) -> Iterable[Any]:
    red = draw.randint(0, 2, rows)
    return red, 1 - red


def relations(found: Proposal) -> list[str]:
    return [relation.holds for relation in found.features.relations]


def test_what_a_person_would_say_is_proposed() -> None:
    said = relations(propose(credit()))
    for text in (
        "years == term / 12",
        "dti == 12 * payment / income",
        "same == rent",
        "spent == sum(rent, food, other)",
        "open <= total",
        "sum(colour_red, colour_blue) == 1",
        'if status == "single" then children == 0',
        "if bankrupt == 0 then months == 0",
        'if grade == "A" then `base rate` == 0.05',
    ):
        assert text in said
    assert not any("amount" in text or "income <=" in text for text in said)


def test_all_that_is_proposed_holds_of_the_data(tmp_path: Path) -> None:
    """As the other reader of relations says, which verification uses."""
    found = propose(credit())
    (tmp_path / "f.toml").write_text(written(found.features, found.comments))
    assert read_features(tmp_path / "f.toml") == found.features
    data = TableData(credit(), [0, 1] * 150, features=found.features)
    x = data.rows(0, 300)[0].numpy()
    assert Told(data.table.to_json()).kept(x, x).all()


@pytest.mark.parametrize("rows", [20, 30, 100])
def test_columns_that_have_nothing_to_do_with_each_other_get_no_relations(rows: int) -> None:
    for seed in range(8):
        draw = np.random.RandomState(seed)
        kinds = [
            lambda d: d.normal(d.randint(5), 1, rows).round(2), lambda d: d.randint(0, d.randint(2, 6), rows),
            lambda d: d.poisson(0.2, rows), lambda d: d.choice(["a", "b", "c"], rows, p=[0.8, 0.1, 0.1]),
            lambda d: d.lognormal(d.randint(4), 1, rows), lambda d: d.binomial(1, 0.1, rows),
        ]  # fmt: skip
        assert relations(propose({f"c{k}": kinds[draw.randint(6)](draw).tolist() for k in range(12)})) == []


def test_what_columns_are_is_said_and_why_others_are_left_out() -> None:
    number = list(range(40))
    found = propose({
        "row": [k + 7 for k in number], "big": [2**30 + 3 * k for k in number], "half": [0.5 * (k % 3) for k in number],
        "plan": ["pro"] * 40, "blank": [" a" if k % 2 else "a" for k in number], "": number,
        "old": [*number[:-1], "old"], "day": [f"2024-01-{k % 28 + 1:02d}" for k in number],
        "price": [f"${k},000" for k in number],
    })  # fmt: skip
    kinds = {name: (column.type, column.change) for name, column in found.features.columns.items()}
    assert kinds["row"] == ("integer", "never")
    assert kinds["big"] == ("real", "any")
    assert kinds["half"] == ("ordinal", "any")
    assert kinds["plan"] == ("category", "never")
    assert "blanks alone" in found.comments["blank"]
    assert found.left_out == {
        "": "has no name",
        "old": "holds numbers, but for 'old' and the like in 1 row (39)",
        "day": "holds dates such as '2024-01-01', which have to become numbers first",
        "price": "holds numbers such as '$0,000', which have to be written as 1234.5",
    }
    with pytest.raises(bs.InputError, match=r"got others \('x' holds 60 different words\)"):
        propose({"x": [f"n{k}" for k in range(60)]})


# ------------------------------------------------------------------ files and frames


def _file(folder: Path, text: str) -> str:
    (folder / "t.csv").write_text(text)
    return str(folder / "t.csv")


ROWS = [(20 + k, "red" if k % 3 else "blue", k * 1.5, k % 2) for k in range(30)]


@pytest.mark.parametrize(("sign", "end"), [(";", "\n"), ("\t", "\r\n"), (",", "\r")])
def test_separators_and_line_ends_make_no_difference(sign: str, end: str, tmp_path: Path) -> None:
    head = ["\ufeffage", '"colour, or so"', "x", "label"]
    text = end.join(sign.join(map(str, row)) for row in [head, *ROWS])
    (tmp_path / "t.csv").write_bytes(text.encode())
    data = bs.load_data(tmp_path / "t.csv", layout="label=label")
    assert data.table.names == ["age", "colour, or so=blue", "colour, or so=red", "x"]  # type: ignore[attr-defined]
    assert data.rows(1, 2)[0].tolist() == [[21, 0, 1, 1.5]]


@pytest.mark.parametrize(
    ("head", "cells", "said"),
    [
        ("a,b, a ,label", lambda k: f"{k},1,2", "'a' more than once"),
        ("a,label", lambda k: "inf" if k == 3 else k, r"finite numbers in column 'a' .* 1 row \(3\)"),
        (
            "a,label",
            lambda k: "old" if k == 3 else k,
            r"holds numbers, but for 'old' and the like in 1 row \(3\)",
        ),
        ("a,label", lambda k: f'"{k},5"', "written as 1234.5"),
        ("a,label", lambda k: f"{k + 1}/5/2024", "dates such as '1/5/2024'"),
        ("a,label", lambda k: "x", "one word alone"),
    ],
)
def test_columns_that_would_be_lost_or_misread_are_refused(head: str, cells: Any, said: str, tmp_path: Path) -> None:
    text = "\n".join([head, *(f"{cells(k)},{k % 2}" for k in range(30))])
    with pytest.raises(bs.InputError, match=said):
        bs.load_data(_file(tmp_path, text), layout="label=label")


def test_a_table_without_columns_beside_the_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bs.InputError, match="columns beside the labels"):
        bs.load_data(_file(tmp_path, "label\n1\n0\n"), layout="label=label")
    assert columns_of_table(Path(_file(tmp_path, "a,label\n1,0\n2,1\n")), None) == ({"a": ["1", "2"]}, "label")


def test_words_that_are_large_numbers_stay_apart() -> None:
    """Their first six digits are the same."""
    found = {"columns": {"zip": {"type": "category", "values": [1234567, 1234568]}}}
    table = bs.tables.features.Features.model_validate(found)
    data = TableData({"zip": [1234567, 1234568, "1234568"]}, [0, 1, 1], features=table)
    assert data.rows(0, 3)[0].tolist() == [[1, 0], [0, 1], [0, 1]]


def test_data_frames_of_all_kinds(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    draw = np.random.RandomState(0)
    kinds = {
        "c": pandas.Categorical(draw.choice(["u", "v"], 30)), "s": pandas.array(["p", "q"] * 15, dtype="string"),
        "i": pandas.array(range(30), dtype="Int64"), "b": [True, False] * 15,
    }  # fmt: skip
    data = of_frame(pandas.DataFrame(kinds), np.arange(30) % 2)
    assert data.table.names == ["c=u", "c=v", "s=p", "s=q", "i", "b"]
    for missing in (pandas.array([1, None] * 15, dtype="Int64"), pandas.array(["x", None] * 15, dtype="string")):
        with pytest.raises(bs.InputError, match="a value in every cell"):
            of_frame(pandas.DataFrame({"a": missing}), np.arange(30) % 2)
    for names in (["a", "a"], [1, "1"]):
        with pytest.raises(bs.InputError, match="more than once"):
            of_frame(pandas.DataFrame(torch.zeros(30, 2).numpy(), columns=names), np.arange(30) % 2)
    with pytest.raises(bs.InputError, match="dates"):
        of_frame(pandas.DataFrame({"d": pandas.date_range("2024-01-01", periods=30)}), np.arange(30) % 2)


def test_the_command_line_says_what_it_left_out(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from blindspots.cli.app import app

    rows = [[k, f"2024-01-{k % 28 + 1:02d}", k % 2] for k in range(40)]
    done = CliRunner().invoke(app, ["features", write(tmp_path / "t.csv", ["a", "day", "label"], rows)])
    assert done.exit_code == 0
    assert "column 'day' holds dates" in " ".join(done.output.split())
