"""Pairs of texts (premise and hypothesis) as one text, of which one side never changes."""

from typing import Literal

Side = Literal["first", "second"]
SEPARATOR = "\x1e"  # "record separator": white space to `str.split`, and in no text


def joined(first: str, second: str) -> str:
    """Both as one text: the first, `SEPARATOR`, the second."""
    return f"{first}{SEPARATOR}{second}"


def parted(text: str) -> tuple[str, str]:
    """What `joined` joined; ("", text) for a text that is no pair."""
    first, _, second = text.rpartition(SEPARATOR)
    return first, second


def free_of(text: str, fixed: Side | None) -> str:
    """What may change of a text: all of it, or the other side of a pair."""
    if fixed is None or SEPARATOR not in text:
        return text
    first, second = parted(text)
    return second if fixed == "first" else first
