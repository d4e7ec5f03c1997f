"""Recipes of published attacks on texts: what a run leaves open is filled in from one."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from blindspots.errors import InputError
from blindspots.experiments.evaluate.config import file_words
from blindspots.findings import Finding
from blindspots.texts.recipes import Recipe, Sentence, recipe


def filled(said: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the threat, the candidates and the sentence similarity of their recipe, unless they have their own.

    Raises InputError: there is no such recipe, or a file that it needs is not named.
    """
    name, listed = said.get("recipe"), file_words(() if said.get("files") is None else said["files"])
    if not isinstance(listed, tuple):
        return dict(said)  # its type is refused
    files = dict(map(_file, listed))
    if not isinstance(name, str):
        if files:
            raise InputError("expected a recipe that reads the files, got none: name it, or leave files out")
        return dict(said)
    found = recipe(name)
    if strange := [file for file in files if file not in found.needs]:
        needs = f"{', '.join(found.needs)} for" if found.needs else "no files for"
        raise InputError(f"expected {needs} recipe {name!r}, got {strange[0]!r}: leave it out")
    own = {
        "threat": found.threat,
        "candidates": found.candidates_from(**files) if said.get("candidates") is None else None,
        "validity": None if found.sentence is None else checks_of(found.sentence),
    }
    return {**said, **{key: value for key, value in own.items() if said.get(key) is None}}


def _file(word: str) -> tuple[str, str]:
    name, equals, path = word.partition("=")
    if not (equals and name and path):
        raise InputError(f"expected files of a recipe as NAME=PATH, got {word!r}: write e.g. vectors=glove.txt")
    return name, path


def checks_of(sentence: Sentence) -> str:
    """What a recipe asks of whole sentences, in the words of validity: an angle over pi becomes the cosine."""
    least = math.cos(math.pi * (1 - sentence.least)) if sentence.by == "angle" else sentence.least
    return f"similarity:least={least:.6g}" + (f",window={sentence.window}" if sentence.window else "")


def notes(name: str, validity: str | None) -> Iterator[Finding]:
    """What was run, where it differs from paper and code, and what became of the similarity of sentences."""
    found = recipe(name)
    differs = "; ".join(f"{d.what}: paper {d.paper}, code {d.code}, here {d.here}" for d in found.differs)
    yield Finding(
        code="recipe", severity="note",
        saw=f"The attack is {name} ({found.paper}): {found.about}"
        + (f" Where paper, code and this differ: {differs}." if differs else ""),
        do="Compare with published numbers only where these points do not matter.",
    )  # fmt: skip
    if found.sentence is not None:
        yield _of_sentences(name, found, found.sentence, validity)


def _of_sentences(name: str, found: Recipe, sentence: Sentence, validity: str | None) -> Finding:
    window = f" in a window of {sentence.window} words" if sentence.window else ""
    asked = f"{name} asks that an encoder finds the texts at least {sentence.least:.3g} alike, by {sentence.by}{window}"
    if validity != checks_of(sentence):
        return Finding(
            code="recipe-sentences", severity="warning",
            saw=f"{asked}. That was not applied, since other checks of validity were named.",
            do="Leave --validity out, or read its successes as those of a weaker limit.",
        )  # fmt: skip
    return Finding(
        code="recipe-sentences", severity="note",
        saw=f"{asked}. Here it is applied at the end, to the changed text beside the one at first, by the vectors that "
        "are said under validity: only successes that are valid are successes of the recipe. The search did not look "
        "for such, so it may find fewer than the original, which leaves out what is not alike at every step.",
        do="Read the share that is valid, not the raw one, beside published numbers.",
    )  # fmt: skip
