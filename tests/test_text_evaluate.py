"""Evaluations of texts, from strings to verdict, report and proof."""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import blindspots as bs
from blindspots.engine.cascade import Stage
from blindspots.errors import InputError
from blindspots.experiments.evaluate.texts_shown import exchanged, visible
from blindspots.models.texts import TextModel
from blindspots.runs.folder import Folder
from blindspots.runs.store import opened
from blindspots.runs.verify import verify_files
from blindspots.texts.codes import as_texts
from blindspots.texts.lattice import Lattice
from blindspots.texts.pairs import joined
from blindspots.texts.threats import Edits, Words
from blindspots.texts.words import words

WEIGHTS = {
    "good": 1.0, "fine": -0.2, "great": 2.0, "decent": 0.1, "bad": -1.0, "poor": -0.5, "weak": 0.1, "film": 0.1,
    "movie": -0.1, "picture": -0.4, "plot": 0.2, "story": -0.2,
}  # fmt: skip
MAY_BE = {
    "good": ("fine", "great", "decent"), "bad": ("poor", "weak"), "film": ("movie", "picture"), "plot": ("story",),
}  # fmt: skip
TEXTS = [
    "A good film.", "The plot is bad!", "good plot, good film", "bad film, bad plot",
    "This film has a good plot and a good picture", "nothing to see here, good", "Bad.",
]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """What builds lattices out of a few words."""

    resources: dict[str, str] = field(default_factory=dict)

    def lattice(self, text: str) -> Lattice:
        spans = tuple((a, b) for a, b in words(text) if text[a:b] in MAY_BE)
        return Lattice(text, spans, tuple(MAY_BE[text[a:b]] for a, b in spans))

    def describe(self) -> str:
        return "a table of the test"


def linear(texts: Sequence[str]) -> torch.Tensor:
    """The sum of the words' weights, for class 1."""
    score = torch.tensor([sum(WEIGHTS.get(text[a:b].lower(), 0.0) for a, b in words(text)) for text in texts])
    return torch.stack([-score, score], 1)


Y = [int(one) for one in linear(TEXTS).argmax(1)]


def least(text: str, label: int, most: int) -> float:
    """The lowest margin of all texts with at most so many words exchanged."""
    lattice = Table().lattice(text)
    points = product(*(range(1 + len(candidates)) for candidates in lattice.candidates))
    made = [lattice.at(c) for c in points if sum(k > 0 for k in c) <= most]
    scores = linear(made)
    return float((scores[:, label] - scores[:, 1 - label]).min())


def evaluated(most: float, protocol: Any = "text-scores", **settings: Any) -> Any:
    return bs.evaluate(TextModel(linear), TEXTS, Y, threat=Words(most, Table()), protocol=protocol, **settings)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_exactly_the_texts_fall_that_can(most: int) -> None:
    """Words add up in this model, so that greedy search finds the optimum."""
    done = evaluated(most)
    can = [least(text, label, most) < 0 for text, label in zip(TEXTS, Y, strict=True)]
    assert done.success.tolist() == can
    assert 0 < sum(can) < len(TEXTS) or most > 1
    made = as_texts(done.adversarial)
    for text, changed, label, fell in zip(TEXTS, made, Y, can, strict=True):
        assert (int(linear([changed]).argmax()) != label) == fell
        assert Table().lattice(text).choice(changed) is not None


def test_distances_count_words() -> None:
    done = evaluated(3, [Stage("all", bs.attacks.Exhaustive(), "", stop_early=False)])
    for text, label, norm in zip(TEXTS, Y, done.norms.tolist(), strict=True):
        fewest = next((k for k in range(1, 4) if least(text, label, k) < 0), float("inf"))
        assert norm == fewest


@pytest.mark.parametrize(
    ("share", "text", "allowed"), [(0.15, "one two three", 1), (0.5, "a b c d e", 2), (0.99, "a b", 1)]
)
def test_a_share_is_rounded_down_but_to_one_at_least(share: float, text: str, allowed: int) -> None:
    threat = Words(share, Table())
    assert threat.allowed(threat.lattice(text)) == allowed


@pytest.mark.parametrize(("fixed", "allowed"), [("first", 1), ("second", 4), (None, 5)])
def test_a_share_of_a_pair_is_of_the_side_that_may_change(fixed: Any, allowed: int) -> None:
    pair = joined("one two three four five six seven eight", "nine ten")
    threat = Words(0.5, Table(), fixed=fixed)
    assert threat.allowed(threat.lattice(pair)) == allowed


@pytest.mark.parametrize(("fixed", "free"), [("first", "cd"), ("second", "ab"), (None, "abcd")])
def test_what_separates_the_sides_of_a_pair_never_changes(fixed: Any, free: str) -> None:
    lattice = Edits(2, fixed=fixed).lattice(joined("ab", "cd"))
    assert "".join(lattice.text[a:b] for a, b in lattice.spans) == free
    assert sum(a == b for a, b in lattice.spans) == len(free) + (1 if fixed else 2)


@pytest.mark.parametrize("size", [-1, 1.5, 2.5])
def test_numbers_of_words_are_whole(size: float) -> None:
    with pytest.raises(InputError, match="a number of words, or a share"):
        Words(size)


def test_a_text_is_sent_once() -> None:
    sent: list[str] = []

    def counting(texts: list[str]) -> torch.Tensor:
        sent.extend(texts)
        return linear(texts)

    model = TextModel(counting)
    scores = model.of(["good", "bad", "good"])
    assert torch.equal(scores, linear(["good", "bad", "good"]))
    assert torch.equal(model.of(["bad"]), scores[1:2])
    assert sent == ["good", "bad"]
    model.forget()
    model.of(["bad"])
    assert (sent[2:], model.forwarded) == (["bad"], 3)


def test_a_search_does_not_send_clean_texts_again() -> None:
    """Once for the checks before, once to begin with."""
    sent: list[str] = []

    def counting(texts: list[str]) -> torch.Tensor:
        sent.extend(texts)
        return linear(texts)

    stages = [Stage(f"{a}", a, "") for a in (bs.attacks.Greedy(), bs.attacks.Beam())]
    bs.evaluate(TextModel(counting), TEXTS, Y, threat=Words(1, Table()), protocol=stages)
    assert max(map(sent.count, TEXTS)) == 2


@pytest.mark.parametrize("most", [1, 2])
def test_bounds_answer_for_a_linear_model_with_a_query_for_each_candidate(most: int) -> None:
    done = evaluated(most, [Stage("bounds", bs.attacks.BranchAndBound(0.0), "")])
    (columns,) = done.shards()
    assert columns["won"].tolist() == [least(text, y, most) < 0 for text, y in zip(TEXTS, Y, strict=True)]
    for text, won, forwards in zip(TEXTS, columns["won"].tolist(), columns["forwards"].tolist(), strict=True):
        candidates = sum(map(len, Table().lattice(text).candidates))
        assert forwards <= 2 + candidates + most
        assert won or not candidates or forwards == 2 + candidates


def test_a_population_that_returns_to_a_text_is_not_asked_again() -> None:
    stage = [Stage("genetic", bs.attacks.Genetic(population=8, generations=5), "", stop_early=False)]
    done = evaluated(2, stage)
    assert done.verdict.forwarded < done.forwards


def test_texts_and_numbers_do_not_mix() -> None:
    x, y = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match="all for texts or none of them"):
        bs.evaluate("digits", x, y, threat="words:1")
    with pytest.raises(InputError, match="all for texts or none of them"):
        bs.evaluate("reviews", data="reviews", threat="linf:0.1")
    with pytest.raises(InputError, match="all for texts or none of them"):
        bs.evaluate("reviews", x, y, threat="words:1")


# ------------------------------------------------------------------ a run on the embedded reviews


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("texts") / "run"
    bs.evaluate("reviews", data=bs.load_data("reviews", rows=40), threat="words:0.15", out=place, shard_rows=20)
    return place


def test_the_default_finds_what_exhaustive_search_finds() -> None:
    data = bs.load_data("reviews", rows=60)
    exact = bs.evaluate(
        "reviews-cnn", data=data, threat="words:2", protocol=[Stage("all", bs.attacks.Exhaustive(), "")]
    )
    fast = bs.evaluate("reviews-cnn", data=data, threat="words:2")
    assert exact.verdict.outcomes.get("budget") is None
    assert bool((exact.success | ~fast.success).all())
    assert int(fast.success.sum()) >= 0.99 * int(exact.success.sum())
    assert fast.forwards < exact.forwards


def test_runs_are_proved_again(folder: Path) -> None:
    found = verify_files(Folder(folder))
    assert found.ok, found.problems
    assert any("few enough" in check for check in found.checks)


def test_raw_and_valid_successes_stand_side_by_side(folder: Path) -> None:
    said = json.loads((folder / "run.json").read_text())["verdict"]
    assert said["valid"]["rows"] == said["outcomes"]["won"]
    assert said["adjusted"]["hits"] == said["robust_of_right"]["hits"] + said["valid"]["rows"] - said["valid"]["hits"]
    assert said["adjusted"]["share"] >= said["robust_accuracy"]


def test_a_gate_of_valid_changes_goes_by_what_was_searched() -> None:
    """Texts of which nothing may change show nothing."""
    data = bs.load_data("reviews", rows=12)
    nothing = bs.evaluate("reviews", data=data, threat="words:1", candidates="synonyms+keep:pattern=.")
    metrics = nothing.verdict.metrics()
    assert metrics["adjusted_accuracy"].value == nothing.clean_accuracy
    assert metrics["adjusted_accuracy"].at("") == metrics["robust_accuracy"].at("") == 0
    assert "no search ran to its end" in metrics["adjusted_accuracy"].why


def test_lattices_are_kept_for_everybody_to_read(folder: Path) -> None:
    columns = opened(Folder(folder)).parts["shards/00001"]
    listed = json.loads(zlib.decompress(columns["lattices"].numpy().tobytes()))
    assert [one["text"] for one in listed] == as_texts(columns["x"])
    assert all(place["is"] not in place["may be"] for one in listed for place in one["places"])


def test_the_report_marks_what_was_exchanged(folder: Path) -> None:
    page = Path(bs.write_report(folder, folder / "page.html")).read_text()
    before, after = re.findall(r"<del>(.*?)</del>", page), re.findall(r"<ins[^>]*>(.*?)</ins>", page)
    assert before
    assert len(before) == len(after)
    assert "robust if only valid changes count" in page


def test_invisible_characters_are_shown() -> None:
    assert visible("go\u200bod") == "go⟨U+200B⟩od"
    piece = exchanged("good", "go\u200bod")
    assert [(part.text, part.kind) for part in piece.after] == [("go", "same"), ("⟨U+200B⟩", "new"), ("od", "same")]
    assert [part.kind for part in exchanged("film", "movie").after] == ["new"]


@pytest.mark.parametrize("threat", ["chars:1", "edits:1", "words:1", "trigger:up now"])
def test_every_kind_of_change_runs_and_is_proved(threat: str, tmp_path: Path) -> None:
    data = bs.load_data("reviews", rows=6)
    greedy = [Stage("greedy", bs.attacks.Greedy(), "")]
    bs.evaluate("reviews", data=data, threat=threat, protocol=greedy, out=tmp_path)
    assert verify_files(Folder(tmp_path)).ok
