"""Recipes of published attacks on texts."""

import re
from pathlib import Path

import pytest

from blindspots.attacks import parse_attack
from blindspots.errors import InputError
from blindspots.texts.candidates import LIMITS, SOURCES, parse_candidates, terms
from blindspots.texts.recipes import NAMES, recipe

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
