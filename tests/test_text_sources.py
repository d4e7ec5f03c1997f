"""Where candidates come from: every source with answers that are known."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindspots.errors import InputError
from blindspots.texts.antonyms import ANTONYMS
from blindspots.texts.candidates import SOURCES, parse_candidates
from blindspots.texts.counterfitting import counterfit
from blindspots.texts.limits.distance import levenshtein
from blindspots.texts.sources.characters import Delete, Insert, Split, Substitute, Swap, Typo
from blindspots.texts.sources.counterfit import CounterFit
from blindspots.texts.sources.edits import Edits
from blindspots.texts.sources.embedding import Embedding
from blindspots.texts.sources.homoglyph import LOOKALIKES, Homoglyph
from blindspots.texts.sources.invisible import Invisible
from blindspots.texts.sources.keyboard import KEYS, Keyboard
from blindspots.texts.sources.masked import Masked
from blindspots.texts.sources.source import Source
from blindspots.texts.sources.synonyms import Synonyms
from blindspots.texts.sources.vocabulary import Vocabulary
from blindspots.texts.sources.whole import DeleteWord, InsertWord
from blindspots.texts.sources.wordnet import WordNet
from blindspots.texts.tables import read_pairs, read_synonyms
from blindspots.texts.vectors import Vectors, read_vectors
from blindspots.texts.wordnets import read_wordnet
from blindspots.texts.words import words


def offered(source: Source, word: str) -> list[str]:
    return list(source.offers(word, [(0, len(word))])[0])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    def written(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, "utf-8")
        return str(tmp_path / name)

    return written


Write = Callable[[str, str], str]

# ------------------------------------------------------------------ characters


@pytest.mark.parametrize(
    ("source", "word", "expected"),
    [
        (Swap(), "abc", ["bac", "acb"]),
        (Swap(), "aa", []),
        (Delete(), "abc", ["bc", "ac", "ab"]),
        (Delete(), "a", []),
        (Split(), "abc", ["a bc", "ab c"]),
        (Insert(alphabet="xy"), "abc", ["axbc", "abxc", "aybc", "abyc"]),
        (Substitute(alphabet="ax"), "ab", ["aa", "xb", "ax"]),
        (Substitute(2, alphabet="ax"), "ab", ["aa", "xb"]),
        (Keyboard(6), "to", ["ro", "ti", "yo", "tp", "fo", "tk"]),
        (Keyboard(2), "Ü1", []),
        (Keyboard(1), "A", ["S"]),
        (Homoglyph(), "p", ["\u0440", "\u03c1"]),
        (Homoglyph(), "\u0440", []),
        (Invisible(), "ab", ["a\u200bb", "a\u200cb", "a\u200db", "a\u2060b", "a\xadb"]),
        (Invisible(), "a", []),
        (Typo(4), "ab", ["ba", "b", "aab", "aa"]),
        (Edits(alphabet="ab"), "a", ["", "b"]),
        (DeleteWord(), "good", [""]),
    ],
)
def test_edits_of_characters(source: Source, word: str, expected: list[str]) -> None:
    assert offered(source, word) == expected


def test_neighbouring_keys_are_mutual() -> None:
    assert all(a in KEYS[b] for a, near in KEYS.items() for b in near)
    assert sorted(KEYS["g"]) == list("bfhtvy")


def test_lookalikes_are_of_other_alphabets() -> None:
    assert len(LOOKALIKES) == 52
    assert not any(ord(c) < 128 for twins in LOOKALIKES.values() for c in twins)


@given(
    st.text(st.characters(categories=["Ll", "Lu"]), min_size=1, max_size=8),
    st.sampled_from(["characters", "typo", "split"]),
)
def test_an_edit_is_one_edit(word: str, name: str) -> None:
    assert all(1 <= levenshtein(word, candidate) <= 2 for candidate in offered(SOURCES[name](), word))


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "good\tfine,nice\nbad\tpoor\n\n"),
        ("a.tsv", "\ufeffgood\tfine\tnice\r\nbad\tpoor"),
        ("a.csv", "good,fine,nice\nbad, poor\n"),
        ("a.json", '{"good": ["fine", "nice"], "bad": ["poor"]}'),
        ("a.txt", "Good fine\nbad poor \ngood nice\n"),
    ],
)
def test_files_of_synonyms(write: Write, name: str, content: str) -> None:
    assert read_synonyms(Path(write(name, content))) == {"good": ("fine", "nice"), "bad": ("poor",)}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", "good\n", "a word and its synonyms in line 1"),
        ("a.txt", "good fine nice\n", "two words in line 1"),
        ("a.json", "[]", "another form for 'the file'"),
        ("a.json", '{"good": "fine"}', "another form for 'good'"),
        ("a.json", "{", "expected JSON"),
        ("a.tsv", "", "got none"),
        ("a.json", '{"good": []}', "got none"),
    ],
)
def test_what_is_no_file_of_synonyms_is_refused(write: Write, name: str, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Synonyms(file=write(name, content))


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("schön gut".encode("latin-1"))
    with pytest.raises(InputError, match="save it as UTF-8"):
        Synonyms(file=str(tmp_path / "a.txt"))


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b'{"a": {"n": ["b"]}}')[:-9])
    with pytest.raises(InputError, match="is damaged"):
        WordNet(file=str(tmp_path / "a.json.gz"))


def test_pairs_stand_in_both_orders(write: Write) -> None:
    assert read_pairs(Path(write("a.txt", "good bad\n"))) == {("good", "bad"), ("bad", "good")}


def test_the_embedded_synonyms() -> None:
    assert "fine" in offered(Synonyms(), "good")
    assert "Fine" in offered(Synonyms(), "Good")
    assert str(Synonyms()) == "synonyms of the embedded reviews"
    assert Synonyms().resources == {}


def test_words_of_a_list(write: Write) -> None:
    path = write("words.txt", "one\nTwo\none\n\n")
    assert offered(Vocabulary(file=path), "Good") == ["One", "Two"]
    assert offered(InsertWord(file=path), "Good") == ["Good one", "Good Two"]
    with pytest.raises(InputError, match="got none"):
        Vocabulary(file=write("none.txt", "\n"))


# ------------------------------------------------------------------ WordNet

NOUNS = """  1 This software and database is being provided
00000001 03 n 02 motion_picture 0 movie 0 001 @ 00000002 n 0000 | a form of entertainment
00000002 03 n 01 show 0 000 | an event
"""
ADJECTIVES = "00000003 00 s 03 good(a) 0 fine 0 Fine 1 000 | well\n"
LMF = """<?xml version="1.0"?><LexicalResource><Lexicon id="x">
<LexicalEntry id="1"><Lemma writtenForm="movie" partOfSpeech="n"/><Sense id="a" synset="s1"/></LexicalEntry>
<LexicalEntry id="2"><Lemma writtenForm="motion picture" partOfSpeech="n"/><Sense id="b" synset="s1"/></LexicalEntry>
<LexicalEntry id="3"><Lemma writtenForm="good" partOfSpeech="s"/><Sense id="c" synset="s2"/></LexicalEntry>
</Lexicon></LexicalResource>"""


def test_wordnet_in_its_three_forms(write: Write, tmp_path: Path) -> None:
    write("data.noun", NOUNS)
    write("data.adj", ADJECTIVES)
    assert read_wordnet(tmp_path)["motion picture"] == {"n": ("movie",)}
    assert read_wordnet(tmp_path)["good"] == {"a": ("fine", "Fine")}
    assert read_wordnet(Path(write("oewn.xml", LMF)))["movie"] == {"n": ("motion picture",)}
    table = {"Movie": {"n": ["film"]}}
    (tmp_path / "oewn.json.gz").write_bytes(gzip.compress(json.dumps(table).encode()))
    assert read_wordnet(tmp_path / "oewn.json.gz") == {"movie": {"n": ("film",)}}
    assert len(WordNet(file=str(tmp_path)).resources) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xml", "<a>", "expected a lexicon in LMF"),
        ("data.noun", "what is this", "expected synsets in"),
        ("data.noun", "", "got none"),
        ("a.json", '["a"]', "got another form"),
    ],
)
def test_what_is_no_wordnet_is_refused(write: Write, name: str, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        WordNet(file=write(name, content))


def test_a_folder_without_wordnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name WordNet's folder dict"):
        WordNet(file=str(tmp_path))
    with pytest.raises(InputError, match="write wordnet:file=PATH"):
        parse_candidates("wordnet")


def test_words_are_looked_up_by_their_lemmas(write: Write) -> None:
    pytest.importorskip("lemminflect")
    path = write("a.json", '{"movie": {"n": ["film", "show"]}, "watch": {"n": ["timer"], "v": ["see", "view"]}}')
    assert offered(WordNet(file=path), "Movies") == ["Film", "Show"]
    assert offered(WordNet(file=path), "watches") == ["timer", "see", "view"]
    assert offered(WordNet(file=path, lemmas=False), "movies") == []
    films = parse_candidates(f"wordnet:file={path}+inflection").lattice("Movies")
    assert films.candidates == (("Films", "Shows"),)


# ------------------------------------------------------------------ vectors

TABLE = Vectors(["good", "fine", "bad", "film"], [[1, 0], [2, 1], [1, 1], [-1, 0]])


def test_neighbours_by_cosine() -> None:
    assert TABLE.nearest("good", 3) == ["fine", "bad", "film"]
    assert TABLE.nearest("good", 3, cosine=0.8) == ["fine"]
    assert TABLE.nearest("unknown", 3) == []
    assert TABLE.cosine("good", "bad") == pytest.approx(0.5**0.5)
    assert TABLE.cosine("good", "unknown") is None
    assert offered(Embedding(2, vectors=TABLE), "Good") == ["Fine", "Bad"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"good": [1, 0], "at home": [0, 2]}'),
        ("glove.txt", "good 1 0\nat home 0 2\n"),
        ("word2vec.txt", "2 2\ngood 1 0\nat home 0 2\n"),
    ],
)
def test_files_of_vectors(write: Write, name: str, content: str) -> None:
    vectors = read_vectors(Path(write(name, content)))
    assert vectors.words == ("good", "at home")
    assert np.array_equal(vectors.unit, np.eye(2, dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "[]", "got another form"),
        ("a.json", '{"a": [1, 2], "b": [1]}', "equally many numbers"),
        ("a.json", '{"a": "b"}', "equally many numbers"),
        ("a.txt", "good 1 0 0\nfine x 0 0\n", "equally many numbers"),
        ("a.txt", "good 1 0 NaN\n", "finite numbers"),
        ("a.txt", "", "different words"),
    ],
)
def test_what_is_no_file_of_vectors_is_refused(write: Write, name: str, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Embedding(file=write(name, content))


@pytest.mark.parametrize("name", ["embedding", "counterfit", "vocabulary", "swap+cosine", "insert-word"])
def test_sources_without_a_file_take_the_words_of_the_victim(name: str) -> None:
    builder = parse_candidates(name)
    with pytest.raises(InputError, match="write file=PATH"):
        builder.lattice("a fine film")
    assert len(builder.on(TABLE).lattice("a fine film").spans) <= 2
    assert builder.resources == {}


def test_counter_fitting_turns_antonyms_away_and_synonyms_together() -> None:
    rows = np.eye(12)
    rows[1, 0] = 3  # two words that are alike, ten that have nothing in common
    table = Vectors([f"w{i}" for i in range(12)], rows)
    fitted = counterfit(table, [("w4", "w5"), ("w2", "none")], [("w0", "w1"), ("w3", "none")], steps=200)
    (apart, together), (now_apart, now_together) = (
        [v.unit[i] @ v.unit[j] for i, j in ((0, 1), (4, 5))] for v in (table, fitted)
    )
    assert now_apart < 0.5 < 0.9 < apart
    assert together < 0.5 < 0.99 < now_together
    untouched = (fitted.unit[6:] * table.unit[6:]).sum(1)
    assert np.allclose(untouched, 1)
    assert np.allclose(np.linalg.norm(fitted.unit, axis=1), 1)


def test_counter_fitting_without_constraints_changes_nothing() -> None:
    assert np.allclose(counterfit(TABLE, [], []).unit, TABLE.unit, atol=1e-6)


def test_a_pair_of_antonyms_is_none_of_synonyms(write: Write) -> None:
    files = {name: write(f"{name}.txt", "good fine\n") for name in ("synonyms", "antonyms")}
    source = CounterFit(vectors=TABLE, cosine=0.5, **files)
    assert (source.table.cosine("good", "fine") or 1) < (TABLE.cosine("good", "fine") or 0)
    assert set(source.resources) == set(files.values())


# ------------------------------------------------------------------ masked language models

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] the film movie good bad was ##s ##ly real ! 7"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text(PIECES.replace(" ", "\n"))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=PIECES.count(" ") + 1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=12,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    return folder


TEXT = "The film was really good the the the the the the film"


@pytest.mark.parametrize("at", ["replace", "insert", "unmasked"])
def test_words_of_a_masked_model(masked: Path, at: str) -> None:
    source = SOURCES["masked"](3, folder=str(masked), at=at)  # type: ignore[call-arg]
    spans = words(TEXT)
    found = source.offers(TEXT, spans)
    assert found == source.offers(TEXT, spans)
    assert all(len(candidates) == 3 for candidates in found[:5])
    assert found[-1] == ()  # behind the longest input
    for (a, b), candidates in zip(spans, found, strict=True):
        assert TEXT[a:b] not in candidates
        assert all(c.startswith(TEXT[a:b] + " ") for c in candidates) == (at == "insert") or not candidates
    new = [c.split()[-1].lower() for c in found[1]]
    assert set(new) <= {"the", "film", "movie", "good", "bad", "was", "real"}


def test_a_word_of_several_tokens_is_replaced_by_as_many(masked: Path) -> None:
    source = Masked(20, folder=str(masked), at="unmasked")
    start = TEXT.index("really")
    found = source.offers(TEXT, [(start, start + 6)])[0]
    assert "films" in found
    assert "really" not in found
    assert all(c.endswith(("s", "ly")) for c in found)


def test_a_masked_model_in_a_lattice(masked: Path) -> None:
    builder = parse_candidates(f"masked:folder={masked},count=4+pos+agreement+stopwords")
    lattice = builder.lattice("The film was good")
    assert all("the" not in candidates for candidates in lattice.candidates)
    assert lattice == builder.lattice("The film was good")
    assert str(masked / "model.safetensors") in builder.resources


def test_folders_without_a_masked_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write folder=PATH"):
        Masked(folder=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="name another folder"):
        Masked(folder=str(tmp_path))


@pytest.mark.parametrize(("package", "candidates"), [("transformers", "masked:folder={}"), ("lemminflect", "swap+pos")])
def test_packages_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, candidates: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package}, or do without"):
        parse_candidates(candidates.format(tmp_path)).lattice("wonderfulness")


# ------------------------------------------------------------------ real files


def test_real_files(zoo: Path) -> None:
    texts = zoo / "data" / "text"
    assert offered(Synonyms(2, file=str(texts / "cf_ppdb_synonyms.txt")), "film") == ["movie", "movies"]
    assert offered(Synonyms(2, file=str(texts / "counterfitted_neighbors.json")), "movie") == ["film", "filmmaking"]
    assert "film" in offered(WordNet(file=str(texts / "oewn_synonyms.json.gz")), "movies")
    assert offered(Embedding(3, file=str(texts / "glove_50d_5k.json")), "movies")[:2] == ["movie", "films"]


def test_counter_fitting_of_glove(zoo: Path) -> None:
    texts = zoo / "data" / "text"
    glove = read_vectors(texts / "glove_50d_5k.json")
    synonyms, antonyms = read_pairs(texts / "cf_ppdb_synonyms.txt"), read_pairs(texts / "cf_wordnet_antonyms.txt")
    fitted = counterfit(glove, synonyms, antonyms)
    pairs = [p for p in sorted(ANTONYMS) if None not in (glove.cosine(*p), fitted.cosine(*p))]
    assert np.mean([glove.cosine(*p) for p in pairs]) > 0.5
    assert np.mean([fitted.cosine(*p) for p in pairs]) < 0.2
    assert fitted.nearest("movie", 3)[0] in ("film", "movies", "films")
