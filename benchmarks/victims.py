"""Models of texts to measure on: the embedded ones, a small BERT, and networks that are trained on real texts here."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import zoo
from blindspots.models.cache import cache_folder, kept
from blindspots.models.huggingface import load_folder
from blindspots.models.reviews import Bag, Cnn, Lstm, Network, Recipe, load_reviews_model, trained
from blindspots.models.texts import TokenModel
from blindspots.models.training import alone
from blindspots.texts.reviews import CLASSES, reviews
from blindspots.texts.tokens import WordTokenizer

TOPICS = ("World", "Sports", "Business", "Sci/Tech")


@dataclass(frozen=True)
class Texts:
    texts: Sequence[str]
    labels: Sequence[int]
    classes: Sequence[str] = tuple(CLASSES)

    def first(self, rows: int) -> "Texts":
        return Texts(self.texts[:rows], self.labels[:rows], self.classes)


# ------------------------------------------------------------------ texts


def folder() -> Path:
    """Where the real texts lie."""
    loader = zoo()
    assert loader is not None
    return Path(str(loader.__file__)).parent / "data" / "text"


@cache
def texts_of(name: str, part: str) -> Texts:
    """The texts of "reviews", "mr", "sst2" or "ag" for "train" or "test"."""
    return {"reviews": _reviews, "mr": _mr, "sst2": _sst2, "ag": _ag}[name](part)


def _reviews(part: str) -> Texts:
    return Texts(*reviews("train" if part == "train" else "test"))


def _mr(part: str) -> Texts:
    """Rotten tomatoes: TextFooler's 1,000 sentences, or all the others."""
    test = [line.split(" ", 1) for line in (folder() / "textfooler_mr.txt").read_text("utf-8").splitlines()]
    if part == "test":
        return Texts([text for _, text in test], [int(label) for label, _ in test])
    held = {_letters(text) for _, text in test}
    files = [(folder() / f"rt-polarity.{end}").read_text("latin-1").splitlines() for end in ("neg", "pos")]
    rows = [(line.strip(), label) for label, lines in enumerate(files) for line in lines if _letters(line) not in held]
    return Texts(*map(list, zip(*rows, strict=True)))


def _letters(text: str) -> str:
    """What copies of a text with other spaces and marks have in common."""
    return re.sub("[^a-z]", "", text.lower())


def _sst2(part: str) -> Texts:
    rows = [line.rsplit("\t", 1) for line in (folder() / f"sst2_{part}.tsv").read_text("utf-8").splitlines()]
    return Texts([text for text, _ in rows], [int(label) for _, label in rows])


def _ag(part: str) -> Texts:
    """Of the test set of AG News 6,000 to train on, and the rest."""
    with (folder() / "ag_news_test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows = rows[:6000] if part == "train" else rows[6000:]
    return Texts([f"{title}. {text}" for _, title, text in rows], [int(label) - 1 for label, _, _ in rows], TOPICS)


# ------------------------------------------------------------------ networks

_KINDS: dict[str, tuple[Callable[[int], Network], float]] = {
    "bag": (Bag, 3e-2), "lstm": (Lstm, 1e-2), "cnn": (Cnn, 5e-3),
}  # fmt: skip


@cache
def victim(name: str) -> TokenModel:
    """One of "reviews-lstm", "bert", "imdb-lstm", "mr-cnn" and the like."""
    if name.startswith("reviews"):
        return load_reviews_model(name)
    if name == "bert":
        return _bert()
    return _imdb() if name == "imdb-lstm" else _trained(*name.split("-"))


def data_of(name: str) -> str:
    """The texts that a victim is attacked on."""
    return {"bert": "reviews", "imdb-lstm": "mr"}.get(name, name.partition("-")[0])


def _trained(data: str, kind: str) -> TokenModel:
    """A network of `models.reviews` on other texts, with their words."""
    texts = texts_of(data, "train")
    tokenizer, (built, rate) = WordTokenizer.of(texts.texts), _KINDS[kind]
    recipe = Recipe(partial(_built, built, len(texts.classes)), epochs=5, learning_rate=rate)
    name = f"{data}-{kind}"
    net = kept(
        name, (name, recipe.epochs, rate, tokenizer.digest),
        lambda: recipe.kind(tokenizer.size), lambda: trained(recipe, tokenizer, texts.texts, texts.labels),
    )  # fmt: skip
    return TokenModel(net, net.table, net.head, tokenizer, name=name, spec=name, class_names=texts.classes)


def _built(kind: Callable[[int], Any], classes: int, tokens: int) -> Any:
    net = kind(tokens)
    net.out = nn.Linear(net.out.in_features, classes)
    return net


class OfZoo:
    """The tokenizer of the IMDB network: 1,000 words in small letters, without digits and marks."""

    pad, longest, digest = 0, 500, "1,000 words of IMDB"

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._vocabulary, self.size = vocabulary, 1 + max(vocabulary.values())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._numbers(text) or [self.pad] for text in texts]

    def _numbers(self, text: str) -> list[int]:
        return [number for _, number in self._known(text)][: self.longest]

    def _known(self, text: str) -> list[tuple[tuple[int, int], int]]:
        words = ((found.span(), re.sub(r"[^\w]|\d", "", found[0])) for found in re.finditer(r"\S+", text))
        return [(span, self._vocabulary[word]) for span, word in words if word in self._vocabulary]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [span for span, _ in self._known(text)][: self.longest] or [(0, 0)]

    def whole_words(self) -> dict[str, int]:
        return dict(self._vocabulary)


def _imdb() -> TokenModel:
    loader = zoo()
    assert loader is not None
    net, encode = loader.load_text_lstm()
    vocabulary = dict(zip(encode.__code__.co_freevars, (c.cell_contents for c in encode.__closure__), strict=True))
    tokenizer = OfZoo(vocabulary["vocab"])

    def head(z: Tensor, mask: Tensor) -> Tensor:
        """Filled up on the left, as it was trained, which changes the last state a little: so its texts are not."""
        states, _ = net.lstm(z)
        last = net.fc(states[torch.arange(len(z), device=z.device), mask.sum(1) - 1])
        return torch.cat([torch.zeros_like(last), last], 1)

    return TokenModel(net, net.embedding, head, tokenizer, name="imdb-lstm", spec="imdb-lstm", class_names=CLASSES)


# ------------------------------------------------------------------ a small BERT


def _bert() -> TokenModel:
    """Two layers of 128 with pieces of words, as long as BERT's, trained on the reviews in half a minute."""
    home = cache_folder() / "benchmark-bert"
    if not (home / "tokenizer.json").is_file():
        _train_bert(home)
    model = load_folder(str(home), "bert")
    model.tokenizer.longest = 512
    return model


def _train_bert(home: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    texts = texts_of("reviews", "train")
    tokenizer = _pieces(texts.texts)
    with alone(0):
        net = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=512, num_labels=len(CLASSES),
            )
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), 3e-4)
        for _ in range(3):
            for at in torch.randperm(len(texts.texts)).split(50):
                given = tokenizer([texts.texts[i] for i in at], padding=True, return_tensors="pt")
                loss = net(**given, labels=torch.tensor([texts.labels[i] for i in at])).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    net.eval().save_pretrained(home)
    tokenizer.save_pretrained(home)


def _pieces(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(special.values())))
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=512, model_input_names=["input_ids", "attention_mask"], **special
    )
