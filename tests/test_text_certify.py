"""Certified texts: bounds that are followed through networks, and the command."""

import itertools
import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn
from typer.testing import CliRunner

import blindspots as bs
from blindspots.attacks import parse_attack
from blindspots.cli.app import app
from blindspots.engine.cascade import Stage
from blindspots.experiments.certify.additive import certify_linear
from blindspots.experiments.certify.following import Bounds, Sums
from blindspots.experiments.certify.intervals import certify_interval
from blindspots.experiments.certify.reading import read, tokens_of
from blindspots.models.reviews import Bag, Cnn
from blindspots.models.texts import TextModel, TokenModel
from blindspots.objective import Objective
from blindspots.runs.experiment import Part
from blindspots.runs.store import Parts, read_run
from blindspots.runs.verify import verify_files
from blindspots.texts.codes import as_texts
from blindspots.texts.lattice import Lattice
from blindspots.texts.threats import TextThreat, Words
from blindspots.texts.tokens import WordTokenizer

WORDS = [f"w{i}" for i in range(8)]
TOKENIZER = WordTokenizer(WORDS)


class Given:
    """Lattices of plain words between spaces, from a table."""

    resources: ClassVar[dict[str, str]] = {}

    def __init__(self, table: dict[str, Sequence[str]]) -> None:
        self.table = table

    def lattice(self, text: str) -> Lattice:
        ends = list(itertools.accumulate(len(word) + 1 for word in text.split()))
        pairs = list(zip(text.split(), ends, strict=True))
        spans = tuple((end - 1 - len(word), end - 1) for word, end in pairs)
        return Lattice(text, spans, tuple(tuple(self.table.get(word, ())) for word, _ in pairs))

    def describe(self) -> str:
        return "a table"


def threat(table: dict[str, Sequence[str]]) -> TextThreat:
    return Words(candidates=Given(table))


def model_of(net: Any) -> TokenModel:
    return TokenModel(net, net.table, net.head, TOKENIZER, name="small", class_names=["a", "b"])


def small(kind: Callable[..., Any], seed: int, **sizes: int) -> TokenModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = kind(TOKENIZER.size, **sizes)
        for parameter in net.parameters():
            nn.init.normal_(parameter)
    return model_of(net.eval())


def withstood(model: TextModel, lattice: Lattice) -> int:
    """By trying everything."""
    top, found = int(model.of([lattice.text]).argmax()), len(lattice.spans)
    for choice in itertools.product(*(range(len(there)) for there in lattice.choices)):
        if int(model.of([lattice.at(choice)]).argmax()) != top:
            found = min(found, sum(map(bool, choice)) - 1)
    return found


TABLES = st.fixed_dictionaries(
    {word: st.lists(st.sampled_from([w for w in WORDS if w != word]), max_size=2, unique=True) for word in WORDS}
)
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(TEXTS, TABLES, st.integers(0, 2**31))
def test_bounds_of_a_convolutional_network_certify_nothing_that_enumeration_breaks(
    text: str, table: dict[str, list[str]], seed: int
) -> None:
    model, within = small(Cnn, seed, width=3, filters=2), threat(table)
    proved = certify_interval(model, within, [text])
    assert proved.prediction.tolist() == model.of([text]).argmax(1).tolist()
    assert int(proved.withstood) <= withstood(model, within.lattice(text))


@settings(max_examples=40, deadline=None)
@given(TEXTS, TABLES, st.integers(0, 2**31))
def test_exact_bounds_and_those_of_a_linear_network_are_what_enumeration_finds(
    text: str, table: dict[str, list[str]], seed: int
) -> None:
    model, within = small(Bag, seed, width=3), threat(table)
    found = withstood(model, within.lattice(text))
    assert int(certify_linear(model, within, [text]).withstood) == found
    assert int(certify_interval(model, within, [text]).withstood) == found


VECTORIZERS = {"counts": CountVectorizer(), "tf-idf": TfidfVectorizer(norm=None)}
CLASSIFIERS = {"logistic": LogisticRegression(), "bayes": MultinomialNB(), "svm": LinearSVC()}


def pipeline(vectorizer: Any, classifier: Any, classes: int) -> TextModel:
    """Fitted on texts of few words by lot, of which each class has its own."""
    draw = np.random.default_rng(classes)
    y = draw.integers(classes, size=80)
    texts = [" ".join(draw.choice([*WORDS, WORDS[c], WORDS[c]], size=5)) for c in y]
    fitted = make_pipeline(clone(vectorizer), clone(classifier)).fit(texts, y)
    model = bs.from_estimator(fitted, name="pipeline")
    assert isinstance(model, TextModel)
    return model


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("vectorizer", sorted(VECTORIZERS))
@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_exact_bounds_of_pipelines_are_what_enumeration_finds(vectorizer: str, classifier: str, classes: int) -> None:
    model = pipeline(VECTORIZERS[vectorizer], CLASSIFIERS[classifier], classes)
    within = threat({"w0": ["w1", "nothing"], "w1": ["w2"], "w2": ["w0", "w5"], "w5": ["w0"]})
    texts = [" ".join(words) for words in itertools.product(("w0", "w1", "w2", "w5"), repeat=3)][::3]
    found = [withstood(model, within.lattice(text)) for text in texts]
    assert certify_linear(model, within, texts).withstood.tolist() == found
    assert len(set(found)) >= 2


@pytest.mark.parametrize(
    ("vectorizer", "classifier", "said"),
    [
        (TfidfVectorizer(), LogisticRegression(), r"with TfidfVectorizer\(norm='l2'\)"),
        (CountVectorizer(ngram_range=(1, 2)), LogisticRegression(), r"with CountVectorizer\(ngram_range=\(1, 2\)\)"),
        (CountVectorizer(), DecisionTreeClassifier(), "with a DecisionTreeClassifier"),
        (CountVectorizer(), ComplementNB(), "with a ComplementNB that says something else"),
    ],
)
def test_pipelines_that_do_not_add_up_words_are_refused(vectorizer: Any, classifier: Any, said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        certify_linear(pipeline(vectorizer, classifier, 3), threat({}), ["w1"])


class Deep(nn.Module):
    """Everything that can be followed, in one network."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(tokens, 3), nn.Conv1d(3, 4, 2, padding=1)
        self.again, self.out, self.drop, self.relu = nn.Conv1d(4, 3, 2), nn.Linear(9, 2), nn.Dropout(0.5), nn.ReLU()

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        mean = (z * mask[..., None]).mean(1)
        first = self.relu(self.mix(z.transpose(1, 2)) - 0.1)
        second = self.again(first)
        parts = [mean, second.max(2).values, (second / 2 + 1.0).sum(2, keepdim=True).flatten(1)]
        scores: Tensor = self.out(self.drop(torch.cat(parts, 1)))
        return scores


@settings(max_examples=40, deadline=None)
@given(TEXTS, TABLES, st.integers(0, 2**31))
def test_bounds_are_followed_through_all_layers_that_are_known(
    text: str, table: dict[str, list[str]], seed: int
) -> None:
    model, within = small(Deep, seed), threat(table)
    assert int(certify_interval(model, within, [text]).withstood) <= withstood(model, within.lattice(text))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_all_numbers_stay_within_their_bounds(seed: int, most: int) -> None:
    """Ends, and sums of what places can change, for every set of exchanges, behind maxima and two linear layers."""
    g = torch.Generator().manual_seed(seed)
    counts, weight = (1, 2, 1), torch.randn(4, 3, generator=g).double()
    clean, changes = torch.randn(1, 5, 3, generator=g).double(), torch.randn(4, 5, 3, generator=g).double()

    def net(z: Any) -> Any:
        hidden = torch.nn.functional.linear(z, weight).relu()
        return torch.nn.functional.linear(hidden.amax(1), weight.T[:2]).relu()

    out = net(Sums(torch.cat([clean, clean + changes]), counts, most))
    assert isinstance(out, Bounds)
    ends = list(itertools.accumulate(counts, initial=0))
    choices = [[None, *range(a, b)] for a, b in itertools.pairwise(ends)]
    for choice in itertools.product(*choices):
        chosen = [p for p, c in enumerate(choice) if c is not None]
        if len(chosen) > most:
            continue
        said = net(clean + sum((changes[c : c + 1] for c in choice if c is not None), torch.zeros_like(clean)))
        assert bool((said >= out.low - 1e-9).all() and (said <= out.high + 1e-9).all())
        assert bool((said >= out.value - out.down[chosen].sum(0) - 1e-9).all())
        assert bool((said <= out.value + out.up[chosen].sum(0) + 1e-9).all())


def test_a_budget_is_sharper_than_all_exchanges_at_once() -> None:
    model = bs.load_model("reviews-cnn")
    assert isinstance(model, TokenModel)
    texts = as_texts(bs.load_data("reviews", 24).rows(0, 24)[0])
    proved = certify_interval(model, Words(), texts)
    places = torch.tensor([len(Words().lattice(text).spans) for text in texts])
    assert int((proved.withstood >= 1).sum()) >= 8
    assert int((proved.withstood >= places).sum()) <= 2


# ------------------------------------------------------------------ what cannot be followed


def test_layers_that_cannot_be_followed_are_named() -> None:
    with pytest.raises(
        bs.InputError, match=r"expected layers among Embedding, .*, got LSTM \(reader\) in reviews-lstm"
    ):
        certify_interval(bs.load_model("reviews-lstm"), Words(), ["a"])  # type: ignore[arg-type]
    with pytest.raises(bs.InputError, match="which shows its answers alone"):
        certify_interval(TextModel(lambda texts: torch.zeros(len(texts), 2)), Words(), ["a"])


class Strange(Deep):
    """A network that does something else."""

    def __init__(self, tokens: int, what: str) -> None:
        super().__init__(tokens)
        self.what, self.mean = what, nn.Linear(3, 2)

    def head(self, z: Tensor, mask: Tensor) -> Tensor:
        mean = z.mean(1)
        if self.what == "tanh":
            mean = mean.tanh()
        if self.what == "product":
            mean = mean * mean
        if self.what == "texts":
            mean = mean - z.mean(0).mean(0)
        if self.what == "hidden":
            mean = mean - mean.detach() if isinstance(mean, Tensor) else mean
        scores: Tensor = self.mean(mean)
        return scores


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("tanh", "got tanh: certify the vote"),
        ("product", "got mul of two things that depend on the text"),
        ("texts", "got an operation across texts"),
        ("hidden", "got other scores when it was followed"),
    ],
)
def test_operations_that_cannot_be_followed_are_named(what: str, said: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(bs.InputError, match=said):
        certify_interval(model_of(Strange(TOKENIZER.size, what).eval()), Words(), ["w1"])


def test_tokenizers_of_pieces_are_refused() -> None:
    class Other:
        pad, longest, size, digest = 0, None, TOKENIZER.size, "other"
        encode, spans, whole_words = TOKENIZER.encode, TOKENIZER.spans, TOKENIZER.whole_words

    net = Bag(TOKENIZER.size)
    model = TokenModel(net, net.table, net.head, Other(), name="pieces")
    for certify in (certify_linear, certify_interval):
        with pytest.raises(bs.InputError, match="expected a tokenizer of whole words for bounds, got Other of pieces"):
            certify(model, Words(), ["w1"])


@pytest.mark.parametrize(
    ("text", "span", "candidates", "apart"),
    [
        ("a w1 b", (2, 4), ("w2",), True),
        ("a (w1) b", (3, 5), ("w2",), True),
        ("a w1's b", (2, 4), ("w2",), False),
        ("aw1 b", (1, 3), ("w2",), False),
        ("a w1b", (2, 4), ("w2",), False),
        ("dogs' w1' b", (6, 8), ("w2",), True),
        ("w1", (0, 2), ("",), False),
        ("w1 a", (0, 2), ("", "w2 w3"), True),
    ],
)
def test_pieces_are_read_on_their_own_only_where_that_is_how_texts_are_read(
    text: str, span: tuple[int, int], candidates: tuple[str, ...], apart: bool
) -> None:
    lattice = Lattice(text, (span,), (candidates,))
    reading = read(partial(tokens_of, TOKENIZER), lattice)
    assert (reading is not None) == apart
    if reading is not None:
        for c, tokens in enumerate(reading.choices[0]):
            made = [*reading.fixed[0], *tokens, *reading.fixed[1]]
            assert TOKENIZER.encode([lattice.at([c])])[0] == made


def test_where_words_move_bounds_prove_nothing_and_sums_do() -> None:
    within = threat({"w1": ["w2 w3"]})
    assert int(certify_interval(small(Cnn, 0, width=3, filters=2), within, ["w1 w4"]).withstood) == 0
    model = small(Bag, 0, width=3)
    assert int(certify_linear(model, within, ["w1 w4"]).withstood) == withstood(model, within.lattice("w1 w4"))


# ------------------------------------------------------------------ the command


def run(**given: Any) -> Any:
    asked = {"model": "reviews-cnn", "data": "reviews", "rows": 16, "threat": "words:2", "threads": 1, **given}
    return bs.certify(asked.pop("model"), **asked)


@pytest.fixture(scope="module")
def bounded() -> Any:
    return run()


@pytest.fixture(scope="module")
def voted() -> Any:
    return run(model="reviews", method="votes", samples=200, draws=4, rows=12)


def test_what_is_certified_stands_under_attack(bounded: Any, voted: Any) -> None:
    for done in (bounded, voted):
        v = done.verdict
        assert v.texts.certified.hits <= v.texts.attacked.hits <= v.texts.adjusted.hits
        assert all(sure.hits <= under.hits for (_, sure), (_, under) in zip(v.certified, v.empirical, strict=True))
        assert [k for k, _ in v.certified] == [0, 1, 2]
        assert v.certified[0][1].share == v.clean_accuracy
        assert v.certified[2][1] == v.texts.certified
        assert v.believable
        assert next(iter(v.metrics())) == "certified_accuracy"
    assert bounded.verdict.certified[1][1].hits > 0
    assert bounded.config.method == "interval"
    assert bounded.verdict.noisy_accuracy is None
    assert voted.verdict.forwards > 12 * 200


def test_the_sharpest_method_is_taken_that_a_model_allows() -> None:
    assert run(model="reviews", rows=4, draws=0).config.method == "exact"
    lstm = run(model="reviews-lstm", rows=2, draws=0, samples=20)
    assert (lstm.config.method, lstm.verdict.texts.attacked, lstm.verdict.empirical) == ("votes", None, [])
    assert {f.code for f in lstm.findings} >= {"not-attacked"}


def test_exact_certificates_are_what_an_exhaustive_search_leaves() -> None:
    v = run(model="reviews", rows=30, threat="words:1").verdict
    found = bs.evaluate("reviews", data="reviews", rows=30, threat="words:1", protocol=_exhaustive(), threads=1)
    assert v.texts.certified.hits == found.verdict.robust_of_right.hits


def _exhaustive() -> Any:
    search = parse_attack("exhaustive")
    return (Stage("all", search, "everything", Objective(loss=search.loss)),)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"threat": None}, "expected sigma for a model of numbers or a threat for one of texts, got neither"),
        ({"sigma": 0.5}, "expected sigma for a model of numbers or a threat for one of texts, got both"),
        ({"threat": "words"}, "expected how many words may be exchanged, got words: write words:2"),
        ({"threat": "trigger:2"}, "expected exchanges of words to certify, got trigger:2"),
        ({"model": "reviews-lstm", "method": "interval"}, "got LSTM"),
        ({"method": "exact"}, r"expected a bag of words for exact bounds .*, got reviews-cnn with another model"),
        ({"method": "votes", "samples": 9}, "expected at least 10 samples"),
        ({"model": "digits", "data": "digits"}, "all for texts or none of them"),
        ({"threat": None, "sigma": 0.5, "method": "exact"}, "expected a threat beside candidates or a method"),
    ],
)
def test_what_cannot_be_certified_is_refused_in_a_sentence(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(bs.InputError, match=said):
        run(**asked)


def test_the_command_says_what_was_proved(tmp_path: Path) -> None:
    line = f"certify reviews --data reviews --rows 8 --threat words:1 --out {tmp_path / 'run'} --engine serial"
    said = " ".join(CliRunner().invoke(app, line.split()).output.split())
    assert "reviews is proved to stay right on" in said
    assert "whatever is exchanged within words:1" in said
    assert "Method: exact." in said
    assert "Accuracy against exchanges" in (tmp_path / "run" / "report.html").read_text()


def test_rows_of_which_nothing_is_proved_are_said() -> None:
    data = bs.TextData(["w1 w4", "w4 w1"], [0, 1], class_names=["a", "b"])
    done = bs.certify(
        small(Cnn, 0, width=3, filters=2), data=data, threat=Words(1, candidates=Given({"w1": ["w2 w3"]}))
    )
    assert (done.verdict.texts.unread, done.verdict.texts.certified.hits) == (2, 0)  # type: ignore[union-attr]
    assert "texts-not-followed" in {f.code for f in done.findings}


# ------------------------------------------------------------------ verification


def forged(done: Any, part: str, **changed: Any) -> list[str]:
    """What verify says once columns of a part are others, with seals and digests as if they had been made so."""
    files = dict(done.files)
    parts = Parts(files, "", done.parts.begun, done.parts.names)
    columns = dict(parts.kept(part) or {})
    columns.update(
        {name: torch.from_numpy(np.asarray(value(columns[name].numpy()))) for name, value in changed.items()}
    )
    parts.keep(part, columns)
    digests = {**(done.parts.digests or {})}
    digests[part] = parts.digest(Part(part))
    files["run.json"] = read_run(files).model_copy(update={"parts": digests}).text
    return verify_files(files).problems


def _more(k: int) -> Callable[[Any], Any]:
    return lambda withstood: withstood + k


def test_verify_sees_certificates_that_attacks_broke(bounded: Any) -> None:
    assert verify_files(dict(bounded.files)).ok
    problems = " ".join(forged(bounded, "rows/00000", withstood=_more(2)))
    assert "expected no find within what is certified" in problems
    assert "exchanges to leave the class" in problems


def test_verify_sees_exact_certificates_that_are_too_small_or_too_large() -> None:
    done = run(model="reviews", rows=8)
    assert verify_files(dict(done.files)).ok
    less = forged(done, "rows/00000", withstood=lambda w: np.maximum(w - 1, 0))
    assert any("exchanges that change the class" in problem for problem in less)
    more = forged(done, "rows/00000", withstood=lambda w: w + (w == w.min()))
    assert any("to leave the class" in problem for problem in more)


def test_verify_sees_other_votes_overlaps_and_lattices(voted: Any) -> None:
    assert verify_files(dict(voted.files)).ok
    swapped = forged(voted, "rows/00000", selected=lambda v: v[:, ::-1].copy(), counts=lambda v: v[:, ::-1].copy())
    assert any("expected the votes" in problem for problem in swapped)
    assert any("the overlaps" in p for p in forged(voted, "rows/00000", overlaps=lambda o: np.ones_like(o) * 0.5))

    def other(packed: Any) -> Any:
        lattices = json.loads(zlib.decompress(packed.tobytes()))
        lattices[0]["places"][0]["may be"] = ["nothing"]
        return np.frombuffer(zlib.compress(json.dumps(lattices).encode()), np.uint8).copy()

    assert any("the candidates that the text" in p for p in forged(voted, "rows/00000", lattices=other))
    assert any("exchanges allowed" in p or "as the threat allows" in p
               for p in forged(voted, "rows/00000", allowed=lambda a: a + 1))  # fmt: skip


# ------------------------------------------------------------------ hardened networks


def test_a_network_of_three_classes_is_hardened_and_certified_from_its_files(tmp_path: Path) -> None:
    net = Bag(TOKENIZER.size)
    net.out = nn.Linear(net.out.in_features, 3)
    model = TokenModel(net.eval(), net.table, net.head, TOKENIZER, name="three", class_names=["a", "b", "c"])
    texts = [" ".join(WORDS[(i + j) % 8] for j in range(4)) for i in range(48)]
    data = bs.TextData(texts, [i % 3 for i in range(48)], class_names=["a", "b", "c"])
    within = {"threat": "words:1", "candidates": f"synonyms:file={_synonyms(tmp_path)}"}
    bs.harden(model, data=data, recipe="exchanged", epochs=1, study_rows=0, test_rows=8, out=tmp_path / "run", **within)  # type: ignore[arg-type]
    again = bs.load_model(str(tmp_path / "run" / "model.json"))
    assert again.of(texts[:1]).shape == (1, 3)  # type: ignore[attr-defined]
    done = bs.certify(again, data=data, draws=0, **within)  # type: ignore[arg-type]
    assert (done.config.method, done.verdict.rows) == ("exact", 48)


def _synonyms(folder: Path) -> Path:
    path = folder / "synonyms.csv"
    path.write_text("\n".join(f"{word},{WORDS[i - 1]}" for i, word in enumerate(WORDS)))
    return path
