import itertools
from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch

import blindspots as bs
from blindspots.experiments.certify.additive import certify_linear
from blindspots.experiments.certify.exchanges import SmoothedTexts, overlaps
from blindspots.models.texts import TextModel, TokenModel
from blindspots.texts.codes import as_texts
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat, Words


def rows(n: int) -> tuple[list[str], list[int]]:
    x, y = bs.load_data("reviews", n).rows(0, n)
    return as_texts(x), y.tolist()


def bag() -> TokenModel:
    model = bs.load_model("reviews")
    assert isinstance(model, TokenModel)
    return model


def withstood(model: TextModel, lattice: Lattice, most: int) -> int:
    """How many exchanges leave the class, up to `most`, by trying all."""
    sizes = [range(len(choices)) for choices in lattice.choices]
    top = int(model.of([lattice.text]).argmax())
    for k in range(1, min(most, len(sizes)) + 1):
        for places in itertools.combinations(range(len(sizes)), k):
            ways = itertools.product(*(sizes[p][1:] for p in places))
            texts = [lattice.at(_with(len(sizes), places, way)) for way in ways]
            if texts and (model.of(texts).argmax(1) != top).any():
                return k - 1
    return min(most, len(sizes))


def _with(n: int, places: Sequence[int], way: Sequence[int]) -> list[int]:
    choice = [0] * n
    for place, c in zip(places, way, strict=True):
        choice[place] = c
    return choice


def test_the_exact_bound_of_a_bag_of_words_is_what_enumeration_finds() -> None:
    model, threat = bag(), Words()
    texts = [text for text in rows(60)[0] if threat.lattice(text).size(2) < 4000][:30]
    proved = certify_linear(model, threat, texts)
    assert proved.prediction.tolist() == model.of(texts).argmax(1).tolist()
    found = [withstood(model, threat.lattice(text), 2) for text in texts]
    assert proved.withstood.clamp_max(2).tolist() == found
    assert len(set(found)) == 3


def test_a_word_of_several_tokens_counts_with_all_of_them() -> None:
    class Builds:
        resources: ClassVar[dict[str, str]] = {}

        def lattice(self, text: str) -> Lattice:
            at = text.index("good")
            return Lattice(text, ((at, at + 4),), (("far from good", "awful, awful, awful"),))

        def describe(self) -> str:
            return "phrases"

    model, threat = bag(), Words(candidates=Builds())
    texts = ["The film was good.", "Superb, superb, superb, a good film, and superb, superb, superb!"]
    found = [withstood(model, threat.lattice(text), 1) for text in texts]
    assert certify_linear(model, threat, texts).withstood.tolist() == found == [0, 1]


def test_exact_bounds_need_a_bag_of_words() -> None:
    with pytest.raises(
        bs.InputError, match=r"expected a bag of words for exact bounds \(.*\), got reviews-cnn with another model"
    ):
        certify_linear(bs.load_model("reviews-cnn"), Words(), ["a"])  # type: ignore[arg-type]


# ------------------------------------------------------------------ the vote


def table(*lines: str) -> TextThreat:
    """Synonyms, one line per word."""

    class Builds:
        resources: ClassVar[dict[str, str]] = {}
        words: ClassVar = {line.split()[0]: tuple(line.split()[1:]) for line in lines}

        def lattice(self, text: str) -> Lattice:
            ends = list(itertools.accumulate(len(word) + 1 for word in text.split()))
            spans = tuple((end - 1 - len(word), end - 1) for word, end in zip(text.split(), ends, strict=True))
            return Lattice(text, spans, tuple(self.words.get(word, ()) for word in text.split()))

        def describe(self) -> str:
            return "a table"

    return Words(candidates=Builds())


def letters(texts: list[str]) -> torch.Tensor:
    """Class 1 for texts with more b than a."""
    more = torch.tensor([float(text.count("b") - text.count("a")) for text in texts])
    return torch.stack([-more, more], 1)


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def late(texts: list[str]) -> torch.Tensor:
    """Class 1 for texts with more letters from the second half of the alphabet."""
    more = torch.tensor([sum(1.0 if c > "m" else -1.0 for c in text.split()) for text in texts])
    return torch.stack([-more, more], 1)


def test_overlaps_are_those_of_the_sets_of_a_word_before_and_after() -> None:
    threat = table("x y z", "y x z", "z x y w", "w z", "u")
    assert overlaps(threat, threat.lattice("x u w")) == [3 / 4, 1.0, 2 / 4]


def test_where_synonyms_are_groups_no_exchange_moves_the_vote() -> None:
    threat = table("b c d", "c b d", "d b c", "a")
    proved = SmoothedTexts(TextModel(letters), threat).certify(["b b a", "b c d d", "a a a"], n=500)
    assert proved.prediction.tolist() == [-1, 1, 0] or proved.prediction.tolist() == [0, 1, 0]
    assert proved.withstood[1:].tolist() == [4, 3]


def test_a_certificate_holds_for_the_exact_vote() -> None:
    """Every text within the certified number of exchanges has the certified class as its likeliest one."""
    threat = table(*(" ".join([w, *(v for v in ALPHABET if v != w and abs(ord(v) - ord(w)) < 7)]) for w in ALPHABET))
    smoothed = SmoothedTexts(TextModel(late), threat)
    texts = [" ".join(word) for word in itertools.product("afkpuz", repeat=3)][::5]
    proved = smoothed.certify(texts, n=1000)
    assert set(proved.withstood.tolist()) >= {0, 1}
    for text, top, k in zip(texts, proved.prediction.tolist(), proved.withstood.tolist(), strict=True):
        lattice = threat.lattice(text)
        near = {
            lattice.at(choice)
            for choice in itertools.product(*(range(len(c)) for c in lattice.choices))
            if sum(c > 0 for c in choice) <= k
        }
        assert top == -1 or all(_likeliest(threat.lattice(other)) == top for other in near)


def _likeliest(lattice: Lattice) -> int:
    votes = late([" ".join(way) for way in itertools.product(*lattice.choices)]).argmax(1)
    return int(votes.bincount(minlength=2).argmax())


def test_draws_hang_on_the_seed_and_the_row_alone() -> None:
    threat = table("b a c", "a b", "c b")
    smoothed = SmoothedTexts(TextModel(letters), threat, seed=3)
    both = smoothed.certify(["b b a", "c a b"], n=64)
    alone = smoothed.certify(["c a b"], n=64, ids=torch.tensor([1]))
    assert (alone.prediction, alone.withstood) == (both.prediction[1:], both.withstood[1:])
    assert torch.equal(smoothed.of(["b b a"]), SmoothedTexts(TextModel(letters), threat, seed=3).of(["b b a"]))


def test_of_no_model_is_more_certified_than_stands_under_attack() -> None:
    texts, y = rows(40)
    model, threat = bag(), Words(2)
    exact = certify_linear(model, threat, texts)
    right = exact.prediction == torch.tensor(y)
    sure = int((right & (exact.withstood >= 2)).sum())
    attacked = bs.evaluate(model, data=bs.load_data("reviews", 40), threat="words:2", threads=1)
    assert sure <= attacked.verdict.robust_of_right.hits <= sure + 2
    smoothed = SmoothedTexts(model, threat, draws=32)
    proved = smoothed.certify(texts, n=500)
    sure = int(((proved.prediction == torch.tensor(y)) & (proved.withstood >= 2)).sum())
    attacked = bs.evaluate(smoothed, data=bs.load_data("reviews", 40), threat="words:2", threads=1)
    assert 0 < sure <= attacked.verdict.robust_of_right.hits


def test_noise_is_for_numbers() -> None:
    with pytest.raises(bs.InputError, match="expected a model of numbers for certificates under noise, got reviews"):
        bs.certify(bag(), data=bs.load_data("reviews", 4), sigma=0.5)
