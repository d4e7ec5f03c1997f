"""Texts as the report shows them: what was exchanged, letter by letter, with invisible characters made visible."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from blindspots.experiments.evaluate.evidence import Evidence
from blindspots.texts.lattice import Lattice
from blindspots.texts.pairs import SEPARATOR

_LONGEST = 700  # characters of a text that are shown on either side of its changes
_AROUND = 160  # of them around every change, where it is longer


@dataclass(frozen=True)
class Letters:
    """A part of a word: `kind` says whether both have it ("same"), or it is new ("new") or gone ("gone")."""

    text: str
    kind: str


@dataclass(frozen=True)
class Piece:
    """A part of a text: as it was, or the letters `before` and `after` an exchange."""

    text: str = ""
    before: tuple[Letters, ...] = ()
    after: tuple[Letters, ...] = ()
    tried: int = 0  # candidates at this place

    @property
    def changed(self) -> bool:
        return bool(self.before or self.after)


@dataclass(frozen=True)
class Step:
    """An exchange, and the probability of the label after it and those before it."""

    before: str
    after: str
    score: float


@dataclass(frozen=True)
class TextExample:
    """A broken row."""

    id: int
    label: str
    confidence: float
    prediction: str
    adversarial_confidence: float
    norm: float
    enough: float
    queries: int
    places: int
    pieces: list[Piece]
    steps: list[Step]
    fails: list[str]  # checks of validity that the text does not pass; it counts raw only


@dataclass(frozen=True)
class TextStanding:
    """A row that stood."""

    id: int
    label: str
    margin: float
    text: str


def text_example(run: Evidence, row: int) -> TextExample:
    """What is shown of a broken row."""
    rows, lattice = run.rows, run.lattice(row)
    choice = lattice.choice(run.adversarial_text(row)) or [0] * len(lattice.spans)
    return TextExample(
        id=int(rows.id[row]),
        label=run.class_name(int(rows.y[row])),
        confidence=float(rows.confidence[row]),
        prediction=run.class_name(int(rows.adversarial_prediction[row])),
        adversarial_confidence=float(rows.adversarial_confidence[row]),
        norm=float(sum(c > 0 for c in choice)),
        enough=float(rows.norm[row]),
        queries=int(rows.forwards[row]),
        places=len(lattice.spans),
        pieces=list(_shortened(_pieces(lattice, choice))),
        steps=[
            Step(visible(lattice.choices[p][0]), visible(lattice.choices[p][c]), score) for p, c, score in run.path(row)
        ],
        fails=run.fails(row),
    )


def text_standing(run: Evidence, row: int) -> TextStanding:
    """What is shown of a row that stood."""
    rows, text = run.rows, visible(run.text(row))
    short = text if len(text) <= _AROUND else text[:_AROUND] + "…"
    return TextStanding(int(rows.id[row]), run.class_name(int(rows.y[row])), float(rows.margin[row]), short)


def _pieces(lattice: Lattice, choice: list[int]) -> Iterator[Piece]:
    yield Piece(visible(lattice.fixed[0]))
    for there, c, behind in zip(lattice.choices, choice, lattice.fixed[1:], strict=True):
        yield Piece(visible(there[0])) if c == 0 else exchanged(there[0], there[c], len(there) - 1)
        yield Piece(visible(behind))


def exchanged(before: str, after: str, tried: int = 0) -> Piece:
    """An exchange, with the letters that both words share marked as such where these are most of them."""
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    blocks = matcher.get_opcodes() if matcher.ratio() > 0.6 else [("replace", 0, len(before), 0, len(after))]
    old = tuple(_letters(before[a:b], tag, "gone") for tag, a, b, _, _ in blocks if b > a)
    new = tuple(_letters(after[a:b], tag, "new") for tag, _, _, a, b in blocks if b > a)
    return Piece(before=old, after=new, tried=tried)


def _letters(text: str, tag: str, kind: str) -> Letters:
    return Letters(visible(text), "same" if tag == "equal" else kind)


def visible(text: str) -> str:
    """Characters that nobody would see, by their numbers; the sides of a pair one below the other."""
    text = text.replace(SEPARATOR, "\n")
    return "".join(c if c in "\n\t" or _shows(c) else f"⟨U+{ord(c):04X}⟩" for c in text)


def _shows(character: str) -> bool:
    return unicodedata.category(character) not in ("Cf", "Cc", "Co", "Cn")


def _shortened(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Long texts without what is far from any change."""
    listed = _joined(pieces)
    if sum(len(piece.text) for piece in listed) <= _LONGEST:
        yield from listed
        return
    for i, piece in enumerate(listed):
        yield piece if piece.changed else Piece(_middle_out(piece.text, i > 0, i < len(listed) - 1))


def _joined(pieces: Iterator[Piece]) -> list[Piece]:
    """With neighbours that have not changed as one."""
    listed: list[Piece] = []
    for piece in pieces:
        if listed and not piece.changed and not listed[-1].changed:
            listed[-1] = Piece(listed[-1].text + piece.text)
        else:
            listed.append(piece)
    return listed


def _middle_out(text: str, behind: bool, before: bool) -> str:
    """What follows a change, and what comes before the next one."""
    if len(text) <= 2 * _AROUND:
        return text
    start, end = text[:_AROUND] if behind else "", text[-_AROUND:] if before else ""
    return f"{start} … {end}"
