"""Pairs of texts (premise and hypothesis) as one text, of which one side never changes."""

SEPARATOR = "\x1e"  # "record separator": white space to `str.split`, and in no text


def joined(first: str, second: str) -> str:
    """Both as one text: the first, `SEPARATOR`, the second."""
    return f"{first}{SEPARATOR}{second}"


def parted(text: str) -> tuple[str, str]:
    """What `joined` joined; ("", text) for a text that is no pair."""
    first, _, second = text.rpartition(SEPARATOR)
    return first, second
