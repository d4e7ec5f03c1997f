"""The first or the last letter stays."""

from dataclasses import dataclass

from blindspots.texts.limits.limit import Pairwise


@dataclass(frozen=True)
class Ends(Pairwise):
    """The first letter stays, and the last where that is asked for, as readers look at these (Pruthi et al. 2019)."""

    first: bool = True
    last: bool = False

    def allows(self, word: str, candidate: str) -> bool:
        first, last = word[:1] == candidate[:1], word[-1:] == candidate[-1:]
        return (first or not self.first) and (last or not self.last)

    def __str__(self) -> str:
        which = [name for name, on in (("first", self.first), ("last", self.last)) if on]
        return f"the {' and the '.join(which)} letter stays" if which else "any letter may change"
