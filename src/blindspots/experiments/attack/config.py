"""What `attack` can be asked."""

from typing import ClassVar, Literal

from blindspots.experiments.evaluate.config import Batched
from blindspots.runs.config import setting


class AttackConfig(Batched):
    group: ClassVar[str] = "What is run"

    attack: str = setting(
        ..., "Its name and settings, as in pgd:steps=40,random_start=false; see `blindspots list`.", metavar="ATTACK"
    )
    loss: Literal["ce", "margin", "dlr", "probability-margin"] | None = setting(
        None, "What it descends.", shown="its usual one"
    )
    targeted: bool = setting(False, "Only the target class counts as a success (default target: runner-up).")
    targets: str | None = setting(
        None,
        "Which wrong classes the search runs towards: runner-up, closest:count=9, least-likely, random, all, "
        "malt:count=3,among=4 or class:number=7.",
        metavar="RULE",
        shown="none in particular",
    )
    restarts: int = setting(1, "How often each search is tried.", metavar="N", ge=1, le=10**6)
    start: Literal["clean", "other"] | None = setting(
        None,
        "Begin at the clean input, or at the nearest other image of what is wanted.",
        shown="where the attack says",
    )
    to_the_end: bool = setting(False, "Go on after a success: examples that are to fool other models.")
    pictures: int = setting(100, "How many examples are saved as PNG or WAV files.", metavar="N", ge=0, le=10**6)

    examples: bool = setting(True, "Write the examples as files.", hidden=True)

    def words(self, kind: str) -> list[str]:
        return [self.attack, self.threat]
