"""The embedded reviews: their language, their synonyms, and the networks that learn from them."""

import re
import subprocess
import sys
from collections import Counter

import pytest
import torch
from torch import nn

from blindspots.models import Model, load_model
from blindspots.models.reviews import RECIPES, Bag, Cnn, Lstm, Network, Transformer, train
from blindspots.texts.codes import as_codes
from blindspots.texts.reviews import ROWS, reviews
from blindspots.texts.tokens import WordTokenizer
from blindspots.texts.vocabulary import ADJECTIVES, GROUPS, SYNONYMS

KINDS = [Bag, Cnn, Lstm, Transformer]
TEXTS = [*reviews("train")[0], *reviews("test")[0]]


# ------------------------------------------------------------------ the corpus


def test_the_rows_are_many_and_no_two_alike() -> None:
    assert {part: len(reviews(part)[0]) for part in ("train", "test")} == ROWS
    assert len(set(TEXTS)) == sum(ROWS.values())


@pytest.mark.parametrize("part", ["train", "test"])
def test_both_verdicts_are_equally_likely(part: str) -> None:
    _, y = reviews(part)  # type: ignore[arg-type]
    assert 0.46 < sum(y) / len(y) < 0.54


def test_the_texts_do_not_depend_on_the_order_of_hashes() -> None:
    code = "from blindspots.texts.reviews import reviews; import hashlib; print(hash('a'), end=' ');"
    code += "print(hashlib.sha256(repr(reviews('test')).encode()).hexdigest())"
    said = [subprocess.check_output([sys.executable, "-c", code], text=True).split() for _ in range(2)]
    assert said[0][0] != said[1][0]
    assert said[0][1] == said[1][1]


@pytest.mark.parametrize("text", TEXTS[:300])
def test_sentences_are_written_as_sentences(text: str) -> None:
    assert re.fullmatch(r"(?:[A-Z][\w' ,]*\w\.(?: (?=[A-Z])|$))+", text), text
    assert "  " not in text


def test_articles_fit_the_words_behind_them() -> None:
    found = {pair for text in TEXTS for pair in re.findall(r"\b(an?) (\w+)", text)}
    assert {("an", "awful"), ("a", "delight")} <= found
    assert all((article == "an") == (word[0] in "aeiou") for article, word in found)


def test_verbs_agree_with_their_subjects() -> None:
    several = {word for group in ("actors", "jokes", "costumes", "vegetables", "dishes") for word in GROUPS[group]}
    pairs = {pair for text in TEXTS for pair in re.findall(r"[Tt]he (\w+) (was|were|wasn't|weren't) ", text)}
    assert all((subject in several) <= verb.startswith("were") for subject, verb in pairs)
    assert ("soup", "was") in pairs
    assert ("actors", "were") in pairs


def test_every_word_has_one_meaning_and_its_synonyms_share_it() -> None:
    listed = [word for group in GROUPS.values() for word in group]
    assert len(listed) == len(set(listed)) > 300
    assert all(word not in others and others for word, others in SYNONYMS.items())
    assert all(word in SYNONYMS[other] for word, others in SYNONYMS.items() for other in others)


def test_what_praises_never_blames() -> None:
    for praise, blame in ADJECTIVES.values():
        assert not set(praise.split()) & set(blame.split())
        assert {*praise.split(), *blame.split()} <= set(GROUPS)


def test_some_words_are_rare_and_some_unknown_to_who_learns() -> None:
    heard = Counter(token for text in reviews("train")[0] for token in re.findall(r"\w+", text.lower()))
    assert heard["superb"] > 30 * max(1, heard["brilliant"])
    assert 0.9 < sum(word in heard for word in SYNONYMS) / len(SYNONYMS) < 0.98


def test_words_alone_do_not_tell_the_verdict() -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    linear = make_pipeline(CountVectorizer(token_pattern=r"\w+"), LogisticRegression(max_iter=200))
    assert 0.8 < linear.fit(*reviews("train")).score(*reviews("test")) < 0.93


# ------------------------------------------------------------------ the tokenizer


def test_words_and_marks_are_tokens_at_their_places() -> None:
    tokenizer = WordTokenizer.of(["It wasn't bad."])
    text = "It  wasn't GOOD,\nbad!"
    assert tokenizer.vocabulary == (".", "bad", "it", "wasn't")
    assert tokenizer.encode([text]) == [[4, 5, 1, 1, 3, 1]]
    assert [text[a:b] for a, b in tokenizer.spans(text)] == ["It", "wasn't", "GOOD", ",", "bad", "!"]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_text_without_words_is_one_unknown_token(text: str) -> None:
    tokenizer = WordTokenizer.of(["a"])
    assert tokenizer.encode([text]) == [[tokenizer.unknown]]
    assert tokenizer.spans(text) == [(0, 0)]


def test_the_digest_is_that_of_the_vocabulary() -> None:
    one, same, other = (WordTokenizer.of([text]) for text in ("b a", "a b", "a c"))
    assert one.digest == same.digest != other.digest


# ------------------------------------------------------------------ the networks


def made(kind: type[Network], seed: int = 0) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(50).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 7])
def test_what_lies_behind_the_end_changes_nothing(kind: type[Network], length: int) -> None:
    net, ids = made(kind), torch.arange(2, 2 + length)[None]
    alone = net(ids)
    z, mask = net.table(nn.functional.pad(ids, (0, 9))), torch.arange(length + 9)[None] < length
    noisy = torch.where(mask[..., None], z, torch.randn_like(z))
    assert torch.allclose(net.head(z, mask), alone, atol=1e-6)
    assert torch.allclose(net.head(noisy, mask), alone, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_neighbours(kind: type[Network]) -> None:
    net = made(kind)
    ids = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [2, 0, 0, 0, 0]])
    both, single = net(ids), torch.cat([net(row[None, row > 0]) for row in ids])
    assert torch.allclose(both, single, atol=1e-6)


@pytest.mark.parametrize("kind", [Cnn, Lstm, Transformer])
def test_all_but_the_bag_read_the_order(kind: type[Network]) -> None:
    net, ids = made(kind), torch.tensor([[2, 3, 4, 5]])
    assert not torch.allclose(net(ids), net(ids.flip(1)), atol=1e-4)


def test_the_bag_does_not() -> None:
    net, ids = made(Bag), torch.tensor([[2, 3, 4, 5]])
    assert torch.allclose(net(ids), net(ids.flip(1)), atol=1e-6)


def accuracy(model: Model) -> float:
    texts, y = reviews("test")
    with model.borrowed():
        scores = model.logits(as_codes(texts, max(map(len, texts))))
    return float((scores.argmax(1) == torch.tensor(y)).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("reviews", 0.86, 0.92),
        ("reviews-cnn", 0.93, 1.0),
        ("reviews-lstm", 0.96, 1.0),
        ("reviews-transformer", 0.92, 1.0),
    ],
)
def test_the_networks_are_as_accurate_as_what_they_see_allows(name: str, least: float, most: float) -> None:
    said: list[str] = []
    model = load_model(name, said.append)
    assert least < accuracy(model) < most
    assert load_model(name, said.append).digest == model.digest
    assert len(said) in (0, RECIPES[name].epochs)
    assert model.class_names == ["negative", "positive"]


def test_training_is_the_same_whoever_calls() -> None:
    from dataclasses import replace

    short = replace(RECIPES["reviews"], epochs=1)
    one = train(short)
    torch.manual_seed(5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), train(short).parameters(), strict=True))
