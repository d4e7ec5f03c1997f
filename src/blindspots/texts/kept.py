"""What never changes in a text: rules that can be switched one by one."""

import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from blindspots.errors import InputError
from blindspots.texts.memo import Memo
from blindspots.texts.words import Span, words

_STOP_WORDS = """
    a about above after again all also although am among an and any are as at be because been before being below
    between both but by can could did do does doing down during each either else every few for from further had has
    have having he her here hers herself him himself his how i if in into is it its itself just let may me might mine
    more most much must my myself of off on once one only onto or other our ours ourselves out over own per quite
    rather same shall she should since so some such than that the their theirs them themselves then there these they
    this those though through thus to too toward towards under until up upon us very was we were what whatever when
    where whether which while who whom whose why will with within would yet you your yours yourself yourselves
    i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'd it'll we're we've we'd
    we'll they're they've they'd they'll that's that'll there's here's what's who's let's s t d ll m re ve ca wo
"""
_NEGATIONS = """
    no not never none nobody nothing neither nor nowhere cannot without hardly scarcely barely ain't n't
"""
_NUMERALS = """
    zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion
"""
STOP_WORDS, NEGATIONS, NUMERALS = (frozenset(listed.split()) for listed in (_STOP_WORDS, _NEGATIONS, _NUMERALS))
_ENDS = ".!?\u2026:;\u3002>"  # of sentences, and of tags such as <br />
_OPENING = " \t\r\n\"'([{\u2018\u201c\u00ab-*"  # may stand between the end of a sentence and its first word


@dataclass(frozen=True)
class Kept:
    """Which words stay as they are.

    Args:
        names: words with a capital inside a sentence, other than "I"; in a text without small letters no word is one.
        numbers: words with a digit, and numerals.
        negations: "not", "never", "without", ... and what ends in "n't".
        stop_words: English function words.
        pattern: a regular expression; words that share a character with a match of it stay.

    Raises InputError: `pattern` is no regular expression.
    """

    names: bool = True
    numbers: bool = True
    negations: bool = True
    stop_words: bool = True
    pattern: str | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise InputError(f"expected a regular expression, got {self.pattern!r} ({error}): mend it") from error

    def spans(self, text: str) -> list[Span]:
        """The words that stay."""
        lower = any(map(str.islower, text))
        matched = [m.span() for m in re.finditer(self.pattern, text)] if self.pattern else []
        return [
            (a, b)
            for a, b in words(text)
            if self._stays[text[a:b]]
            or (self.names and lower and is_name(text, a))
            or any(a < end and start < b for start, end in matched)
        ]

    def __str__(self) -> str:
        """What stays, in words: "names, numbers and stop words", or nothing."""
        rules = [f.name.replace("_", " ") for f in fields(self) if f.name != "pattern" and getattr(self, f.name)]
        rules += [f"what matches {self.pattern!r}"] if self.pattern else []
        return " and ".join(filter(None, (", ".join(rules[:-1]), *rules[-1:])))

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # what was found out is found out again

    @cached_property
    def _stays(self) -> "Memo[str, bool]":
        rules = {is_number: self.numbers, is_negation: self.negations, is_stop_word: self.stop_words}
        on = [rule for rule, switched_on in rules.items() if switched_on]
        return Memo(lambda word: any(rule(word) for rule in on))


USUAL = Kept()
NOTHING = Kept(names=False, numbers=False, negations=False, stop_words=False)


def is_stop_word(word: str) -> bool:
    """Whether it is an English function word."""
    return _plain(word) in STOP_WORDS


def is_negation(word: str) -> bool:
    """Whether an English sentence says the opposite without it."""
    return (plain := _plain(word)) in NEGATIONS or plain.endswith("n't")


def is_number(word: str) -> bool:
    """Whether it has a digit of any script, or is an English numeral."""
    return any(map(str.isdigit, word)) or _plain(word) in NUMERALS


def is_name(text: str, start: int) -> bool:
    """Whether the word that starts there has a capital although no sentence begins with it."""
    if not text[start].isupper() or re.match(r"I\b", text[start : start + 2]):
        return False
    before = text[:start].rstrip(_OPENING)
    return bool(before) and before[-1] not in _ENDS


def _plain(word: str) -> str:
    return word.lower().replace("\u2019", "'")
