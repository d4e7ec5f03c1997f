"""Tables: relations and their repair, threats against enumeration, and what an attack sees that ignores the rules."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import blindspots as bs
from blindspots.attacks import CAPGD, MOEVA, Exhaustive, Thrift
from blindspots.ball import L0, L2, Linf
from blindspots.cli.app import app
from blindspots.data.table import TableData, of_frame
from blindspots.experiments.evaluate.verify_tables import Told
from blindspots.random import keys
from blindspots.rows import Around
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sha256
from blindspots.runs.store import opened, read_run
from blindspots.tables.features import Relation, read_features, written
from blindspots.tables.formula import parse
from blindspots.tables.propose import propose
from blindspots.tables.rules import Rules
from blindspots.tables.threat import Cost
from rows_of_tables import Linear, features, quick, threat, url_model, urls, write

COLUMNS: dict[str, dict[str, Any]] = {
    "a": {"type": "integer", "range": (0, 20)},
    "b": {"type": "integer", "range": (0, 20), "change": "up"},
    "c": {"range": (-5, 50)},
    "d": {"range": (0.5, 4), "change": "down"},
    "k": {"type": "category", "values": ("x", "y", "z")},
    "o": {"type": "ordinal", "values": ("low", "mid", "high")},
    "e": {"range": (0, 9), "change": "never"},
}
COSTS = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 1.0, "k": 3.0, "o": 1.0, "e": 1.0}
ROW = torch.tensor([[3.0, 4.0, 7.0, 2.0, 1.0, 0.0, 0.0, 1.0, 5.0]])  # a, b, c, d, k (three), o, e
RELATIONS = [
    "c == a + b",
    "c >= a * d",
    "a / d <= 4",
    "if k == 'z' then a > 8",
    "if a > 4 and b > 4 then o == 'high' or c >= 12",
    "count(a, b, c) in (2, 3)",
    "max(a, b) <= 6 + abs(e)",
    "not (a == 9 or b == 9)",
    "k != 'y' or a in (1, 3, 5)",
    "log(d) < 1.1",
    "sum(a, b, 2) <= c * 2",
]


def test_relations_are_read_and_what_is_no_relation_is_refused() -> None:
    for text in RELATIONS:
        parse(text)
    for text in (
        "a <=",
        "a + b",
        "a < b < c",
        "open('f') <= 1",
        "'x' <= a",
        "a; b",
        "(if a > 1 then b > 1) and c > 1",
        "",
    ):
        with pytest.raises(bs.InputError, match="expected"):
            parse(text)
    with pytest.raises(bs.InputError, match="fewer"):
        parse("(" * 500 + "a" + ")" * 500 + " <= 1")


@pytest.mark.parametrize("text", RELATIONS)
def test_two_evaluators_agree_on_every_relation(text: str) -> None:
    """The one of searches, and the one of verification, which reads relations by Python's own parser."""
    table = features(COLUMNS, text)
    draw = torch.Generator().manual_seed(0)
    numbers = (torch.rand(400, 4, generator=draw) * torch.tensor([12.0, 12.0, 24.0, 4.0])).round(decimals=1)
    numbers[:, :2] = numbers[:, :2].round()
    words = torch.nn.functional.one_hot(torch.randint(3, (400,), generator=draw), 3)
    x = torch.cat([numbers, words, torch.randint(3, (400, 1), generator=draw), torch.rand(400, 1, generator=draw)], 1)
    ours = Rules(table).kept(x, x).numpy()
    assert np.array_equal(ours, Told(table.to_json()).kept(x.numpy(), x.numpy()))
    assert 0 < ours[:, -1].mean() < 1 or text in ("c == a + b", "log(d) < 1.1")


@pytest.mark.parametrize("ball", [Linf(2.0), L2(5.0), L0(3.0), Cost(9.0)], ids=lambda ball: ball.name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), relations=st.sets(st.sampled_from(RELATIONS), min_size=1, max_size=4))
def test_whatever_is_proposed_becomes_a_possible_row(ball: Any, seed: int, relations: set[str]) -> None:
    columns = {name: {**column, "cost": COSTS[name]} for name, column in COLUMNS.items()}
    table = features(columns, *sorted(relations))
    allowed = threat(ball, table)
    around = Around(ROW.repeat(6, 1), allowed.reach(ROW.repeat(6, 1)))
    assert Rules(table).kept(ROW, ROW).all()
    draw = torch.Generator().manual_seed(seed)
    found = allowed.project(around.x + 6 * torch.randn(around.x.shape, generator=draw), around)
    assert allowed.holds(found, around).all()
    assert Told(table.to_json()).kept(found.numpy(), around.x.numpy()).all()
    assert (allowed.measured(found.numpy(), around.x.numpy()) <= ball.radius * (1 + 1e-4)).all()


def test_a_repair_solves_for_the_column_on_its_own() -> None:
    table = features(COLUMNS, "c == a + b")
    allowed = threat(Linf(4.0), table)
    around = Around(ROW, allowed.reach(ROW))
    moved = ROW.clone()
    moved[0, 0] = 5.0
    assert allowed.project(moved, around)[0, :3].tolist() == [5.0, 4.0, 9.0]


def test_rows_are_repaired_alone() -> None:
    table = features(COLUMNS, *RELATIONS[:5])
    allowed = threat(L2(5.0), table)
    around = Around(ROW.repeat(8, 1), allowed.reach(ROW.repeat(8, 1)))
    x = around.x + 4 * torch.randn(8, 9, generator=torch.Generator().manual_seed(1))
    together = allowed.project(x, around)
    assert torch.equal(
        together, torch.cat([allowed.project(x[k : k + 1], around[torch.tensor([k])]) for k in range(8)])
    )


# ------------------------------------------------------------------ against enumeration


def _data(table: Any, x: Any, y: Any) -> TableData:
    cells = {name: [row[k] for row in x] for k, name in enumerate(table.columns)}
    return TableData(cells, y, features=table)


def test_a_linear_model_falls_exactly_where_enumeration_says(tmp_path: Path) -> None:
    """Integers, one that only grows, one that never changes: all rows of the ball are listed."""
    table = features(
        {
            "a": {"type": "integer", "range": (0, 9)},
            "b": {"type": "integer", "range": (0, 9), "change": "up"},
            "c": {"range": (0, 9), "change": "never"},
        }
    )
    w, b = [1.0, -1.5, 2.0], -4.2
    x = [[float(a), float(k), 3.0] for a in range(10) for k in range(0, 10, 3)]
    margin = lambda row: sum(i * j for i, j in zip(w, row, strict=True)) + b  # noqa: E731
    y = [int(margin(row) > 0) for row in x]
    reached = [
        any(
            (margin([a + i, k + j, c]) > 0) != bool(label)
            for i, j in itertools.product((-2, -1, 0, 1, 2), (0, 1, 2))
            if 0 <= a + i <= 9 and k + j <= 9
        )
        for (a, k, c), label in zip(x, y, strict=True)
    ]
    model, data = bs.Model(Linear(w, b)), _data(table, x, y)
    done = bs.evaluate(model, data=data, threat="linf:2.4", protocol=quick(tmp_path))
    assert done.success.tolist() == reached
    assert 0 < sum(reached) < len(reached)
    moved = done.adversarial - torch.tensor(x)
    assert torch.equal(moved, moved.round())
    assert (moved[:, 1] >= 0).all()
    assert (moved[:, 2] == 0).all()


def test_where_the_relation_is_all_that_holds_no_possible_row_is_found(tmp_path: Path) -> None:
    """The score is c - a - b, which the relation fixes: the ball is full of impossible rows, and of no others."""
    table = features({name: {"range": (0, 10)} for name in "abc"}, "c == a + b")
    x = [[a / 4, 2.0, a / 4 + 2.0] for a in range(12)]
    model, data = bs.Model(Linear([-1.0, -1.0, 1.0], -0.5)), _data(table, x, [0] * 12)
    done = bs.evaluate(model, data=data, threat="linf:1", protocol=quick(tmp_path))
    found = done.verdict.table
    assert done.robust_accuracy == 1
    assert found.looked.share == 1
    assert found.ball.share == 0
    assert found.possible.rows == 12
    assert [(rule.rule, rule.rows) for rule in found.rules] == [("c == a + b", 12)]


def test_where_ignorance_finds_nothing_possible_knowledge_does(tmp_path: Path) -> None:
    """The ignorant attack moves c alone, by which the relation breaks; moving a and c together is possible."""
    columns = {"a": {"range": (0, 10)}, "b": {"range": (0, 10), "change": "never"}, "c": {"range": (0, 20)}}
    table = features(columns, "c == a + b")
    x = [[a / 4 + 2, 2.0, a / 4 + 4.0] for a in range(12)]
    data = _data(table, x, [int(row[2] > 4.2) for row in x])
    done = bs.evaluate(bs.Model(Linear([0.0, 0.0, 1.0], -4.2)), data=data, threat="linf:2", protocol=quick(tmp_path))
    found = done.verdict.table
    assert found.looked.share == 1
    assert done.robust_accuracy < 0.5
    assert done.adversarial[done.success][:, 2].allclose(done.adversarial[done.success][:, :2].sum(1))


def test_the_cheapest_change_of_categories_is_that_of_enumeration() -> None:
    """Every combination of values is known with its price."""
    columns = {
        "k": {"type": "category", "values": ("x", "y", "z"), "cost": 3},
        "m": {"type": "category", "values": ("p", "q", "r", "s"), "cost": 2},
        "n": {"type": "integer", "range": (0, 3), "cost": 1.5},
    }
    table = features(columns, "if k == 'z' then n >= 2")
    w = [0.0, 1.1, 2.4, 0.0, 0.4, 0.9, 1.6, 0.55]
    model = bs.Model(Linear(w, -2.03))
    all_rows = list(itertools.product("xyz", "pqrs", range(4)))
    possible = [row for row in all_rows if row[0] != "z" or row[2] >= 2]
    score = {row: w["xyz".index(row[0])] + w[3 + "pqrs".index(row[1])] + w[7] * row[2] - 2.03 for row in all_rows}
    price = lambda p, q: 3 * (p[0] != q[0]) + 2 * (p[1] != q[1]) + 1.5 * abs(p[2] - q[2])  # noqa: E731
    least = [min(price(p, q) for q in possible if (score[q] > 0) != (score[p] > 0)) for p in possible]
    data = _data(table, [list(row) for row in possible], [int(score[row] > 0) for row in possible])
    exact = bs.attack(model, data=data, attack=Exhaustive(), threat="cost", to_the_end=True)
    assert exact.norms.tolist() == pytest.approx(least)
    near = bs.evaluate(model, data=data, threat="cost", protocol="tables-cost")
    assert (near.norms >= exact.norms - 1e-5).all()
    assert (near.norms <= exact.norms + 1e-5).float().mean() > 0.9


PRICED = {
    "a": {"type": "integer", "range": (0, 6), "cost": {"up": 5, "down": 0.7}},
    "b": {"type": "ordinal", "values": (0, 2, 5), "cost": {"up": 0.4, "down": 3}},
    "k": {"type": "category", "values": ("x", "y", "z"), "cost": ((0, 1, 6), (4, 0, 2), (0.5, 9, 0))},
    "u": {"type": "integer", "range": (0, 3), "cost": {"up": 1.5}, "change": "up"},
}


def _priced() -> tuple[Any, Any, Any, Any]:
    """All rows, what each costs to become every other (inf where it cannot), and a linear model's scores of them."""
    all_rows = list(itertools.product(range(7), (0, 2, 5), "xyz", range(4)))
    matrix = PRICED["k"]["cost"]

    def price(p: Any, q: Any) -> float:
        a, b, k, u = q[0] - p[0], q[1] - p[1], matrix["xyz".index(p[2])]["xyz".index(q[2])], q[3] - p[3]
        return max(5 * a, -0.7 * a) + max(0.4 * b, -3 * b) + k + (1.5 * u if u >= 0 else float("inf"))

    w = [0.31, -0.22, 0.0, 0.83, -0.94, 0.57]
    x = np.array([[a, b, *(k == v for v in "xyz"), u] for a, b, k, u in all_rows], np.float32)
    prices = np.array([[price(p, q) for q in all_rows] for p in all_rows])
    return all_rows, prices, x @ np.array(w) - 0.88, w


def test_prices_by_direction_and_by_pairs_of_values_are_those_of_enumeration(tmp_path: Path) -> None:
    """Up is not down, and x into z is not z into x: what is found costs the least of all rows that can be listed."""
    all_rows, prices, scores, w = _priced()
    least = np.where((scores[None] > 0) != (scores[:, None] > 0), prices, np.inf).min(1)
    some = list(range(0, len(all_rows), 13))
    table = features(PRICED)
    data = _data(table, [list(all_rows[k]) for k in some], [int(scores[k] > 0) for k in some])
    model = bs.Model(Linear(w, -0.88))
    exact = bs.attack(model, data=data, attack=Exhaustive(), threat="cost", to_the_end=True)
    assert exact.norms.tolist() == pytest.approx(least[some].tolist(), rel=1e-5)
    near = bs.evaluate(model, data=data, threat="cost", protocol="tables-cost", out=tmp_path / "run")
    assert (near.norms.numpy() >= least[some] - 1e-4).all()
    assert (near.norms.numpy() <= least[some] + 1e-4).mean() > 0.9
    assert bs.verify(tmp_path / "run", model=model, data=data).ok


@pytest.mark.parametrize("attack", [CAPGD(20), MOEVA(200)], ids=["capgd", "moeva"])
def test_budgets_hold_where_up_is_not_down(attack: Any) -> None:
    all_rows, prices, scores, w = _priced()
    least = np.where((scores[None] > 0) != (scores[:, None] > 0), prices, np.inf).min(1)
    some = list(range(0, len(all_rows), 7))
    data = _data(features(PRICED), [list(all_rows[k]) for k in some], [int(scores[k] > 0) for k in some])
    done = bs.attack(bs.Model(Linear(w, -0.88)), data=data, attack=attack, threat="cost:2.5")
    place = {tuple(row): k for k, row in enumerate(_encoded_rows(all_rows))}
    found = [place[tuple(row)] for row in done.adversarial.tolist()]
    assert all(prices[i, j] <= 2.5 + 1e-4 for i, j in zip(some, found, strict=True))
    assert not done.success[torch.from_numpy(least[some] > 2.5 + 1e-4)].any()
    assert done.success[torch.from_numpy(least[some] <= 2.5)].float().mean() > 0.7


def _encoded_rows(all_rows: Any) -> list[list[float]]:
    return [[a, b, *(float(k == v) for v in "xyz"), u] for a, b, k, u in all_rows]


@pytest.mark.parametrize(
    ("cost", "kind", "said"),
    [
        ({"up": 2}, {}, "in every direction, got none for 'a'"),
        ({"up": -1, "down": 1}, {}, "greater than 0"),
        ([[0, 1], [1, 0]], {}, "no category"),
        ({"up": 1, "down": 1}, {"type": "category", "values": ["p", "q"]}, "no up and down"),
        ([[0, 1, 2], [1, 0, 2]], {"type": "category", "values": ["p", "q"]}, "2 rows of 2 costs"),
        ([[1, 1], [1, 0]], {"type": "category", "values": ["p", "q"]}, "0 from each to itself"),
    ],
)
def test_prices_that_do_not_fit_are_refused(cost: Any, kind: Any, said: str, tmp_path: Path) -> None:
    lines = kind or {"range": [0, 9]}
    text = "\n".join(f"{k} = {json.dumps(v)}" for k, v in lines.items())
    spelled = (
        json.dumps(cost) if isinstance(cost, list) else "{" + ", ".join(f"{k} = {v}" for k, v in cost.items()) + "}"
    )
    (tmp_path / "f.toml").write_text(f"[columns.a]\n{text}\ncost = {spelled}\n")
    with pytest.raises(bs.InputError, match=said):
        threat(Cost(3.0), read_features(tmp_path / "f.toml"))


@pytest.mark.parametrize("attack", [CAPGD(20), MOEVA(150)], ids=["capgd", "moeva"])
def test_attacks_win_where_they_must_and_never_where_they_cannot(attack: Any) -> None:
    """The nearest boundary of a linear model among integers is known."""
    table = features({"a": {"type": "integer", "range": (-50, 50)}, "b": {"type": "integer", "range": (-50, 50)}})
    model = bs.Model(Linear([1.0, 1.0], -0.5))
    x = [[-float(k), 0.0] for k in range(8)]  # class 0; both together have to grow by k + 1
    done = bs.attack(model, data=_data(table, x, [0] * 8), attack=attack, threat="linf:2")
    assert done.success.tolist() == [k + 1 <= 4 for k in range(8)]


def test_thrift_takes_back_what_was_not_needed() -> None:
    table = features({"a": {"range": (0, 10), "cost": 1}, "b": {"range": (0, 10), "cost": 5}})
    allowed = threat(Cost(), table)
    x, start = torch.tensor([[1.0, 1.0]]), torch.tensor([[9.0, 9.0]])
    from blindspots.objective import Objective
    from blindspots.problem import Job, Problem
    from blindspots.testing.attack import drive

    model, zero = bs.Model(Linear([1.0, 0.0], -5.0), bounds=(0.0, 10.0)), torch.zeros(1, dtype=torch.int64)
    job = Job(x, allowed.reach(x), start, zero, zero, keys(0, zero), torch.tensor([[1.0, -1.0]]))
    *_, (last, _) = drive(Thrift(60), Problem(Objective(), allowed), job, model)
    assert last.best[0, 1] == 1  # type: ignore[attr-defined]  # it was not needed at all
    assert 5 < last.best[0, 0] < 6  # type: ignore[attr-defined]


# ------------------------------------------------------------------ from a file to a verdict


def test_a_table_from_csv_to_a_verdict_that_verifies(tmp_path: Path) -> None:
    """Ignoring the rules makes a model look robust that is not."""
    data, file = urls(tmp_path)
    rows = bs.load_data(data, layout="label=status", features=file)
    run, protocol = tmp_path / "run", quick(tmp_path)
    done = bs.evaluate(url_model(), data=rows, threat="l2:0.6", scale="std", protocol=protocol, out=run)
    found = done.verdict.table
    assert found.looked.share - done.robust_accuracy > 0.2
    assert found.ball.share < found.looked.share
    assert {rule.rule for rule in found.rules} >= {"types", "digit_ratio == digits / length"}
    assert {"digits", "digit_ratio"} <= {column.name for column in found.columns}
    assert "age" not in {column.name for column in found.columns}
    table = Told(rows.table.to_json())  # type: ignore[attr-defined]
    x = rows.rows(0, len(rows))[0].numpy()
    assert table.kept(done.adversarial.numpy(), x).all()
    assert table.ranged(done.adversarial.numpy()).all()
    assert bs.verify(run, model=url_model(), data=rows).ok
    page = Path(bs.write_report(run)).read_text()
    assert "Rules of the table" in page
    assert "digit_ratio == digits / length" in page
    assert "<mark>" in page


def test_csv_files_of_numbers_and_categories_are_tables_and_others_are_texts(tmp_path: Path) -> None:
    table = write(
        tmp_path / "t.csv", ["age", "colour", "label"], [[k, "red" if k % 2 else "blue", k % 2] for k in range(8)]
    )
    rows = bs.load_data(table)
    assert isinstance(rows, TableData)
    assert rows.table.names == ["age", "colour=blue", "colour=red"]
    assert rows.rows(0, 2)[0].tolist() == [[0, 1, 0], [1, 0, 1]]
    texts = write(tmp_path / "x.csv", ["text", "label"], [[f"this is text number {k}", k % 2] for k in range(8)])
    assert isinstance(bs.load_data(texts), bs.TextData)
    both = write(tmp_path / "b.csv", ["text", "label"], [["good" if k % 2 else "bad", k % 2] for k in range(40)])
    with pytest.raises(bs.InputError, match="could be both"):
        bs.load_data(both)
    assert isinstance(bs.load_data(both, layout="label=label"), TableData)
    assert isinstance(bs.load_data(both, layout="text=text,label=label"), bs.TextData)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1, "red", 0], ["", "red", 1], [3, "", 0], ["nan", "blue", 1]], r"3 rows \(1, 2, 3\).*'n' \(2\), 'k' \(1\)"),
        ([[1, "red", 0], [2, "pink", 1]], "'pink'.*1 row"),
        ([[1.5, "red", 0], [2, "red", 1]], "integers in column 'n'"),
        ([[1, "red", 0], [12, "red", 1]], "from 0 to 10 in column 'n'"),
        ([["one", "red", 0], [1, "red", 1]], "numbers in column 'n'"),
    ],
)  # fmt: skip
def test_values_that_the_feature_file_does_not_allow_are_named(tmp_path: Path, rows: Any, said: str) -> None:
    data = write(tmp_path / "t.csv", ["n", "k", "label"], rows)
    (tmp_path / "f.toml").write_text(
        '[columns.n]\ntype = "integer"\nrange = [0, 10]\n[columns.k]\ntype = "category"\nvalues = ["red", "blue"]\n'
    )
    with pytest.raises(bs.InputError, match=said):
        bs.load_data(data, features=tmp_path / "f.toml")


def test_a_relation_that_the_data_break_is_named_with_its_rows() -> None:
    table = features({"a": {"range": (0, 9)}, "b": {"range": (0, 9)}}, "a <= b")
    data = _data(table, [[1, 2], [3, 1], [5, 5], [4, 0]], [0, 1, 0, 1])
    with pytest.raises(bs.InputError, match=r"'a <= b' is broken in 2 rows \(1, 3\)"):
        bs.evaluate(bs.Model(Linear([1.0, 1.0], 0.0)), data=data, threat="linf:1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[columns.a]\nrange = [2, 1]", "smallest and a largest"),
        ('[columns.a]\ntype = "category"\nvalues = ["x"]', "two different values"),
        ('[columns.a]\ntype = "catgory"', "'category'"),
        ("[columns.a]\nprice = 2", "cost"),
        ('[columns.a]\n[[relations]]\nholds = "a <= bb"', "'bb'"),
        ('[columns.a]\ntype="category"\nvalues=["x","y"]\n[[relations]]\nholds = "a <= 1"', "compare it with a word"),
        ('[columns.a]\ntype="category"\nvalues=["x","y"]\n[[relations]]\nholds = "a == \'v\'"', "'v'"),
        ('[columns.a]\n[[relations]]\nholds = "a * "', "a column, a number"),
        ("[columns.a", "TOML"),
        ("[[relations]]", "missing"),
    ],
)
def test_feature_files_with_mistakes_are_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(bs.InputError, match=said):
        read_features(tmp_path / "f.toml")


def test_costs_need_prices_and_a_feature_file(tmp_path: Path) -> None:
    table = features({"a": {"range": (0, 9), "cost": 1}, "b": {"range": (0, 9)}})
    data = _data(table, [[1, 2], [3, 1]], [0, 1])
    with pytest.raises(bs.InputError, match="that may change, and in every direction, got none for 'b'"):
        bs.evaluate(bs.Model(Linear([1.0, 1.0], 0.0)), data=data, threat="cost:3")
    for text in ("cost:much", "cost:1/0"):
        with pytest.raises(bs.InputError, match="a budget as in cost:30"):
            bs.parse_threat(text)
    with pytest.raises(bs.InputError, match="no feature file"):
        bs.evaluate(bs.Model(Linear([1.0, 1.0], 0.0)), torch.rand(4, 2), torch.zeros(4).long(), threat="cost:3")


# ------------------------------------------------------------------ proposed, and read back


def test_what_is_proposed_holds_in_the_data_and_is_read_back(tmp_path: Path) -> None:
    draw = np.random.RandomState(0)
    pieces, price = draw.randint(1, 9, 200), draw.uniform(1, 50, 200).round(2)
    opened = draw.randint(0, 30, 200)
    cells = {
        "pieces": pieces.tolist(), "price": price.tolist(), "total": (pieces * price).round(2).tolist(),
        "opened": opened.tolist(), "accounts": (opened + draw.randint(0, 6, 200)).tolist(),
        "term": draw.choice([36, 60], 200).tolist(), "colour": draw.choice(["red", "blue"], 200).tolist(),
        "version": [7] * 200, "noise": draw.normal(size=200).tolist(), "name": [f"n{k}" for k in range(200)],
    }  # fmt: skip
    found = propose(cells)
    assert found.left_out == {"name": "holds 200 different words"}
    types = {name: (column.type, column.change) for name, column in found.features.columns.items()}
    assert types == {
        "pieces": ("integer", "any"), "price": ("real", "any"), "total": ("real", "any"), "opened": ("integer", "any"),
        "accounts": ("integer", "any"), "term": ("ordinal", "any"), "colour": ("category", "any"),
        "version": ("integer", "never") if types["version"][0] == "integer" else ("real", "never"),
        "noise": ("real", "any"),
    }  # fmt: skip
    said = [relation.holds for relation in found.features.relations]
    assert "total == pieces * price" in said or "price == total / pieces" in said
    assert "opened <= accounts" in said
    assert not any("noise" in text for text in said)
    (tmp_path / "f.toml").write_text(written(found.features, found.comments))
    assert read_features(tmp_path / "f.toml") == found.features
    data = TableData(cells, [0, 1] * 100, features=found.features)
    x = data.rows(0, 200)[0]
    assert Rules(data.table).kept(x, x).all()


def test_relations_keep_their_tolerance() -> None:
    table = features({"a": {"range": (0, 9)}, "b": {"range": (0, 9)}})
    loose = table.model_copy(update={"relations": (Relation(holds="a == b", tolerance=0.5),)})
    x = torch.tensor([[1.0, 1.4], [1.0, 1.6]])
    assert Rules(loose).kept(x, x)[:, -1].tolist() == [True, False]
    assert Told(loose.to_json()).kept(x.numpy(), x.numpy())[:, -1].tolist() == [True, False]


# ------------------------------------------------------------------ columns by their names


class Frame:
    """What a data frame is, as far as it is used."""

    def __init__(self, cells: dict[str, list[Any]]) -> None:
        self.cells, self.columns, self.shape = cells, list(cells), (len(next(iter(cells.values()))), len(cells))

    def __getitem__(self, name: str) -> list[Any]:
        return self.cells[name]

    def __len__(self) -> int:
        return self.shape[0]


def test_data_frames_and_functions_of_columns(tmp_path: Path) -> None:
    """A function that sees words gets them back."""
    (tmp_path / "f.toml").write_text(
        '[columns.age]\ntype = "integer"\nrange = [0, 90]\n'
        '[columns.job]\ntype = "category"\nvalues = ["none", "clerk"]\n'
    )

    def answer(columns: dict[str, list[Any]]) -> Any:
        assert set(columns["job"]) <= {"none", "clerk"}
        assert all(isinstance(age, int) for age in columns["age"])
        good = np.array([age > 40 and job == "clerk" for age, job in zip(columns["age"], columns["job"], strict=True)])
        return np.stack([1 - 0.9 * good, 0.1 + 0.8 * good], 1)

    frame = Frame({"age": [45, 50, 30, 70], "job": ["clerk", "clerk", "none", "clerk"]})
    model = bs.from_columns(answer, tmp_path / "f.toml", name="rule")
    file, y = str(tmp_path / "f.toml"), np.array([1, 1, 0, 1])
    done = bs.evaluate(model, frame, y, threat="l0:1", features=file, row_budget=60)
    assert done.success.tolist() == [True, True, False, True]
    for row, x in zip(done.adversarial.tolist(), frame["age"], strict=True):
        assert (row[0] == x) or row[1:] == [0, 1]


def test_a_frame_and_a_parquet_file_are_the_same_rows_as_a_csv_file(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    data, file = urls(tmp_path)
    frame = pandas.read_csv(data)
    frame.to_parquet(tmp_path / "urls.parquet")
    one, other = (
        bs.load_data(path, layout="label=status", features=file) for path in (data, tmp_path / "urls.parquet")
    )
    third = of_frame(frame.drop(columns="status"), frame.status, file)
    assert one.digest == other.digest == third.digest


def test_a_pipeline_of_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pandas.DataFrame({"age": [20, 30, 40, 50] * 5, "job": ["none", "clerk"] * 10})
    y = np.array(["no", "yes"] * 10)
    steps = ColumnTransformer([("n", StandardScaler(), ["age"]), ("k", OneHotEncoder(), ["job"])])
    pipeline = Pipeline([("c", steps), ("m", LogisticRegression())]).fit(frame, y)
    (tmp_path / "f.toml").write_text(
        '[columns.age]\ntype = "integer"\nrange = [0, 90]\n'
        '[columns.job]\ntype = "category"\nvalues = ["none", "clerk"]\n'
    )
    model = bs.from_columns(pipeline, tmp_path / "f.toml")
    done = bs.evaluate(model, frame, y, threat="l0:1", features=str(tmp_path / "f.toml"))
    assert done.clean_accuracy == 1
    assert done.success.all()


def test_a_gradient_of_a_solved_column_goes_to_those_it_is_computed_from() -> None:
    table = features({name: {"range": (0, 50)} for name in "abc"}, "c == a * b")
    allowed = threat(Linf(4.0), table)
    x, g = torch.tensor([[3.0, 4.0, 12.0]]), torch.tensor([[1.0, 0.0, 2.0]])
    assert allowed.followed(x, g).tolist() == [[1 + 2 * 4, 2 * 3, 0]]


def test_forged_examples_are_found(tmp_path: Path) -> None:
    """Whatever the searches say: the proof reads the rules by other code."""
    table = features({"a": {"type": "integer", "range": (0, 9)}, "b": {"range": (0, 9)}}, "a <= b")
    data = _data(table, [[1, 2], [3, 4], [5, 5], [2, 9]], [0, 0, 1, 1])
    model = bs.Model(Linear([0.1, 1.0], -4.7))
    bs.evaluate(model, data=data, threat="linf:3", protocol=quick(tmp_path), out=tmp_path / "run")
    assert bs.verify(tmp_path / "run", model=model, data=data).ok
    files = Folder(tmp_path / "run")
    name = "shards/00000"
    for value, rule in ((2.5, "types"), (9.0, "a <= b")):
        parts = opened(files).parts
        moved = parts[name]["adversarial"].clone()
        moved[0, 0] = value
        parts.keep(name, {**parts[name], "adversarial": moved})
        digests = {**parts.digests, name: sha256(files[parts.file(name)])}
        (tmp_path / "run" / "run.json").write_bytes(read_run(files).model_copy(update={"parts": digests}).text)
        said = " ".join(bs.verify(tmp_path / "run", model=model, data=data).problems)
        assert rule in said


def test_examples_are_written_with_their_columns(tmp_path: Path) -> None:
    data, file = urls(tmp_path, rows=12)
    rows = bs.load_data(data, layout="label=status", features=file)
    bs.attack(url_model(), attack=CAPGD(8), data=rows, threat="cost:20", out=tmp_path / "run")
    lines = (tmp_path / "run" / "examples" / "rows.csv").read_text().splitlines()
    assert lines[0].startswith("row,label,prediction,change (cost),length,digits,digit_ratio,scheme,age,length before")
    assert len(lines) > 1


def test_features_are_proposed_on_the_command_line(tmp_path: Path) -> None:
    data, _ = urls(tmp_path, rows=60)
    done = CliRunner().invoke(app, ["features", data, "--columns", "label=status", "--out", str(tmp_path / "new.toml")])
    assert done.exit_code == 0, done.output
    assert "5 columns and" in " ".join(done.output.split())
    said = [relation.holds for relation in read_features(tmp_path / "new.toml").relations]
    assert "digit_ratio == digits / length" in said


@pytest.mark.slow
def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    data, file = urls(tmp_path)
    (tmp_path / "model.py").write_text("from rows_of_tables import url_model as factory\n")
    said = {"threat": "l2:0.6", "scale": "std", "protocol": quick(tmp_path), "shard_rows": 10, "threads": 1}
    for engine in ("serial", "processes:2"):
        bs.evaluate(
            f"{tmp_path}/model.py:factory", data=data, layout="label=status", features=file, engine=engine,
            out=tmp_path / engine.partition(":")[0], **said,
        )  # fmt: skip
    one, other = (Folder(tmp_path / name) for name in ("serial", "processes"))
    assert (tmp_path / "serial" / "run.json").read_bytes() == (tmp_path / "processes" / "run.json").read_bytes()
    assert opened(one).verdict == opened(other).verdict
