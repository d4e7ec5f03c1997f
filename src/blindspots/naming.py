"""Names by which things of a run are told apart."""

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches


def numbered(names: Iterable[str]) -> list[str]:
    """The names, repeated ones with a number: net, net-2, net-3. The result has no name twice."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    result = []
    for name in names:
        unique = name
        while unique in taken:
            seen[name] += 1
            unique = f"{name}-{seen[name] + 1}"
        taken.add(unique)
        result.append(unique)
    return result


def meant(word: str, known: Iterable[str]) -> str:
    """ " (did you mean ...?)" where a known word is close to `word`, else nothing."""
    close = get_close_matches(word, [name for name in known if _may_be_meant(name, word)], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _may_be_meant(name: str, word: str) -> bool:
    """Two letters look like anything short, so they have to be the beginning; nobody means hidden names."""
    return not name.startswith((".", "_")) and (len(name) > 2 or word.startswith(name) or name.startswith(word))
