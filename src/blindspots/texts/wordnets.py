"""Files of WordNet: a table of JSON, LMF, and Princeton's own."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

from blindspots.errors import InputError
from blindspots.texts.tables import read_content, read_json, read_lines

Synset = tuple[str, list[str]]  # part of speech, and its words
Table = Mapping[str, Mapping[str, tuple[str, ...]]]


def read_wordnet(path: Path) -> Table:
    """Synonyms by lemma in small letters, then by part of speech (n, v, a, r), in the order of the file.

    Raises InputError: there is no such file, or it has another form.
    """
    files = files_of(path)
    if ".json" in path.suffixes:
        return _of_json(path)
    found: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for part, words in (synset for file in files for synset in _synsets(file)):
        for word in words:
            found[word.lower()][part].update(dict.fromkeys(other for other in words if other != word))
    if not found:
        raise InputError(f"expected synsets in {str(path)!r}, got none: name a file of WordNet")
    return {word: {part: tuple(others) for part, others in parts.items()} for word, parts in found.items()}


def files_of(path: Path) -> list[Path]:
    """The file, or those of a folder that hold synsets. Raises InputError: there are none."""
    found = sorted(path.glob("data.*")) if path.is_dir() else [path]
    if not found:
        raise InputError(f"expected data.noun, data.verb, ... in {str(path)!r}, got none: name WordNet's folder dict")
    return found


def _of_json(path: Path) -> Table:
    table = read_json(path)
    try:
        return {w.lower(): {p: tuple(map(str, s)) for p, s in parts.items()} for w, parts in table.items()}
    except (AttributeError, TypeError) as error:
        raise InputError(
            f'expected {{"lemma": {{"n": ["synonym", ...]}}}} in {str(path)!r}, got another form: write lists of words'
        ) from error


def _synsets(path: Path) -> Iterable[Synset]:
    return _of_lmf(path) if ".xml" in path.suffixes else _of_data(path)


def _of_lmf(path: Path) -> list[Synset]:
    """Open English WordNet's lexicon: entries name their synsets."""
    synsets: dict[str, Synset] = {}
    try:
        for _, entry in ElementTree.iterparse(BytesIO(read_content(path))):
            if entry.tag == "LexicalEntry":
                _enter(entry, synsets)
                entry.clear()
    except (ElementTree.ParseError, KeyError) as error:
        raise InputError(
            f"expected a lexicon in LMF in {str(path)!r}, got something else ({error}): name another"
        ) from error
    return list(synsets.values())


def _enter(entry: ElementTree.Element, synsets: dict[str, Synset]) -> None:
    lemma = entry.find("Lemma")
    if lemma is not None:
        for sense in entry.iter("Sense"):
            part = _part(lemma.attrib["partOfSpeech"])
            synsets.setdefault(sense.attrib["synset"], (part, []))[1].append(lemma.attrib["writtenForm"])


def _of_data(path: Path) -> Iterator[Synset]:
    """wndb(5WN): offset, file, part of speech, number of words in hexadecimal, then each word and its sense."""
    for line in read_lines(path):
        if line.startswith("  "):  # the licence
            continue
        try:
            _, _, part, count, *words = line.split()
            yield _part(part), [_spelled(word) for word in words[: 2 * int(count, 16) : 2]]
        except ValueError as error:
            raise InputError(
                f"expected synsets in {str(path)!r}, got {line[:40]!r}: name a file such as data.noun"
            ) from error


def _part(letter: str) -> str:
    return "a" if letter == "s" else letter  # adjectives near the head of a cluster


def _spelled(word: str) -> str:
    return word.partition("(")[0].replace("_", " ")  # "(a)": only before a noun
