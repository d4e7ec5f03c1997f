"""Recipes of published attacks on texts."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import blindspots as bs
from blindspots.attacks import parse_attack
from blindspots.cli.app import app
from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import file_words
from blindspots.experiments.evaluate.recipes import checks_of
from blindspots.texts.candidates import LIMITS, SOURCES, parse_candidates, terms
from blindspots.texts.recipes import NAMES, Sentence, recipe
from blindspots.texts.vocabulary import SYNONYMS

MINE = """
about = "Mine."
paper = "None."
threat = "words:2"
candidates = "keyboard+embedding:file={vectors}"
search = "greedy"
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_what_it_does_and_where_code_and_paper_differ(name: str) -> None:
    found = recipe(name)
    assert found.about.endswith(".")
    assert re.search(r"20\d\d", found.paper)
    assert found.differs
    assert parse_attack(found.search)
    named = {term.partition(":")[0] for term in terms(found.candidates)}
    assert named <= {*SOURCES, *LIMITS, "keep"}
    assert set(found.needs) <= {"vectors", "wordnet", "model"}


def test_textfooler_says_what_its_code_does() -> None:
    found = recipe("textfooler")
    cosine = next(d for d in found.differs if d.what == "least cosine of two words")
    assert (cosine.paper, cosine.code[:3]) == ("0.7", "0.5")
    assert found.sentence is not None
    assert (found.sentence.by, found.sentence.window) == ("angle", 15)


def test_files_that_only_the_user_has_are_filled_in() -> None:
    assert recipe("deepwordbug").candidates_from() == recipe("deepwordbug").candidates
    assert "file=glove.txt,count=20" in recipe("a2t").candidates_from(vectors="glove.txt")
    with pytest.raises(InputError, match="expected files for vectors, got none: write vectors=PATH"):
        recipe("a2t").candidates_from()


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    assert recipe(str(path)).needs == ("vectors",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('search = "greedy"', ""), "expected 'search' in .*, which is missing"),
        (("search", "serch"), "expected no key 'serch' in .* \\(did you mean 'search'\\?\\)"),
        (("words:2", "wrds"), "expected a threat, one of words, .* \\(threat in "),
        (("keyboard", "keybord"), "did you mean 'keyboard'.*\\(candidates in "),
        (('"Mine."', "3"), "expected a valid string for 'about'"),
        (('"Mine."', ""), "expected TOML in"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(*change))
    with pytest.raises(InputError, match=said):
        recipe(str(path))


def test_names_that_no_recipe_has_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'textfooler'"):
        recipe("textfoolr")
    with pytest.raises(InputError, match="No such file"):
        recipe("nowhere.toml")


def test_a_recipe_makes_lattices_of_real_texts(zoo: Path) -> None:
    texts = zoo / "data" / "text"
    files = {"vectors": str(texts / "glove_50d_5k.json"), "wordnet": str(texts / "oewn_synonyms.json.gz")}
    for name in NAMES:
        found = recipe(name)
        if "model" not in found.needs:
            lattice = parse_candidates(found.candidates_from(**files)).lattice("the movie was a very good surprise")
            assert lattice.size() > 1


def test_the_documentation_names_every_term_and_recipe() -> None:
    page = (Path(__file__).parents[1] / "docs" / "candidates.md").read_text("utf-8")
    assert [name for name in (*SOURCES, *LIMITS) if f"`{name}`" not in page] == []
    assert [name for name in NAMES if name not in page] == []


# ------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the words of the embedded reviews: synonyms are near each other."""
    groups = sorted({tuple(sorted((word, *others))) for word, others in SYNONYMS.items()})
    table: dict[str, list[float]] = {}
    for i, group in enumerate(groups):
        for j, word in enumerate(group):
            table.setdefault(word, [math.cos(i + 0.1 * j), math.sin(i + 0.1 * j), float(i % 7), float(i % 5)])
    path = tmp_path_factory.mktemp("vectors") / "vectors.json"
    path.write_text(json.dumps(table))
    return path


def test_a_recipe_sets_what_is_not_named(vectors: Path) -> None:
    done = bs.evaluate("reviews-cnn", data="reviews", rows=30, recipe="textfooler", files={"vectors": vectors})
    config, asked = done.config, recipe("textfooler")
    assert (config.recipe, config.threat, config.protocol) == ("textfooler", "words", "textfooler")
    assert config.candidates == asked.candidates_from(vectors=str(vectors))
    assert config.validity == f"similarity:least={math.cos(0.5):.6g},window=15"
    assert [stage.attack for stage in done.verdict.stages] == [repr(parse_attack(asked.search))]
    assert done.robust_accuracy < done.clean_accuracy
    said = {finding.code: finding.saw for finding in done.findings}
    assert all(difference.what in said["recipe"] for difference in asked.differs)
    assert "applied at the end" in said["recipe-sentences"]
    assert "protocol-chosen" not in said
    assert "cosine of idf-weighted means of word vectors in windows of 15 words" in said["validity"]
    assert "is at least 0.8776" in said["validity"]


def test_what_is_named_besides_a_recipe_is_kept() -> None:
    own = {"candidates": "synonyms", "validity": "changed:most=0.2", "protocol": "text-scores"}
    done = bs.evaluate("reviews", data="reviews", rows=10, threat="words:1", recipe="textfooler", **own)
    assert {name: getattr(done.config, name) for name in own} == own
    assert done.config.threat == "words:1.0"
    said = next(f.saw for f in done.findings if f.code == "recipe-sentences")
    assert "was not applied" in said


@pytest.mark.parametrize("name", [name for name in NAMES if not recipe(name).needs])
def test_recipes_without_files_run_from_the_command_line(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["evaluate", "reviews-lstm", "--data=reviews", "--rows=10", "--recipe", name, "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    run = json.loads((out / "run.json").read_text("utf-8"))
    assert run["manifest"]["config"]["recipe"] == name
    assert any(f["code"] == "recipe" and name in f["saw"] for f in run["verdict"]["findings"])
    assert name in (out / "report.html").read_text("utf-8")
    assert CliRunner().invoke(app, ["verify", str(out)]).exit_code == 0


def test_a_recipe_of_ones_own_runs_and_goes_on(tmp_path: Path, vectors: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE.replace("keyboard+", ""))
    asked: dict[str, Any] = {"recipe": str(tmp_path / "mine.toml"), "files": f"vectors={vectors}", "rows": 10}
    first = bs.evaluate("reviews", data="reviews", out=tmp_path / "run", **asked)
    again = bs.evaluate("reviews", data="reviews", out=tmp_path / "run", resume=True, **asked)
    assert first.config == again.config
    assert bs.verify(tmp_path / "run")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"recipe": "textfoolr"}, "did you mean 'textfooler'"),
        ({"recipe": "textfooler"}, "expected files for vectors, got none: write vectors=PATH"),
        ({"recipe": "pruthi", "files": "vectors=a.txt"}, "expected no files for recipe 'pruthi', got 'vectors'"),
        ({"recipe": "textfooler", "files": "vector=a.txt"}, "expected vectors for recipe 'textfooler', got 'vector'"),
        ({"recipe": "textfooler", "files": "a.txt"}, "expected files of a recipe as NAME=PATH, got 'a.txt'"),
        ({"recipe": "textfooler", "files": {"vectors": "nowhere.txt"}}, "nowhere.txt"),
        ({"files": "vectors=a.txt"}, "expected a recipe that reads the files, got none"),
        ({"recipe": "textfooler", "files": object()}, "files"),
        ({"recipe": 3, "threat": "words:1"}, "recipe"),
        ({}, "expected threat, got none: give it"),
    ],
)
def test_what_a_run_of_a_recipe_cannot_do_without_is_said(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bs.evaluate("reviews", data="reviews", rows=10, **asked)


def test_a_recipe_for_gradients_is_refused_where_there_are_none() -> None:
    model = bs.TextModel(lambda texts: [[0.0, 1.0]] * len(texts))
    with pytest.raises(InputError, match="gradients at its embeddings"):
        bs.evaluate(model, ["good film", "bad film"], [0, 1], recipe="hotflip", candidates="synonyms")


def test_files_in_words_and_sentences_in_cosines() -> None:
    assert file_words("vectors=a,b.txt,wordnet=c d") == ("vectors=a,b.txt", "wordnet=c d")
    assert file_words(["vectors=a", "wordnet=b"]) == file_words({"vectors": "a", "wordnet": "b"})
    assert checks_of(Sentence(least=0.9)) == "similarity:least=0.9"
    assert checks_of(Sentence(least=0.9, window=15)) == "similarity:least=0.9,window=15"
    assert checks_of(Sentence(least=0.75, by="angle")) == "similarity:least=0.707107"


def test_the_list_shows_every_recipe() -> None:
    shown = CliRunner().invoke(app, ["list"]).output
    assert [name for name in NAMES if f"--recipe {name}" not in shown] == []
