"""a or an: how English words begin to sound."""

import re

_VOWEL = re.compile(
    r"(?!e[uw]|one|once|uni(?!m|n)|us[aeu]|uti|ubi|ufo|ura|u$)[aeiou]"
    r"|hour|honest|hono|heir|[fhlmnrsx]$|[fhlmnrsx]-|\b8|\b11\b|\b18\b",
    re.IGNORECASE,
)


def takes_an(word: str) -> bool:
    """Whether "an" stands before it, as far as spelling tells the sound: an hour, an X, a union, a one-liner."""
    return _VOWEL.match(word) is not None
