"""Names by which things of a run are told apart."""

from collections import Counter
from collections.abc import Iterable


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
