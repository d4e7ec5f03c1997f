"""How the search for one row ended."""

from enum import IntEnum


class Result(IntEnum):
    """Stored as a number, shown as a sentence."""

    STOOD = 0
    WON = 1
    ALREADY_WRONG = 2
    BUDGET = 3
    NONFINITE = 4
    NO_START = 5
    ALREADY_TARGET = 6
    UNSEARCHED = 7
    UNCONFIRMED = 8
    NO_ANSWER = 9
    IMMOVABLE = 10
    PROVED = 11

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Result.STOOD: "the search ran to its end and no attack succeeded",
    Result.WON: "an adversarial example was found",
    Result.ALREADY_WRONG: "the model was wrong on the clean input",
    Result.BUDGET: "the budget was spent before the search ended",
    Result.NONFINITE: "the model returned numbers that are not finite",
    Result.NO_START: "no adversarial starting point was found",
    Result.ALREADY_TARGET: "the target class was there from the start, so there was nothing to search for",
    Result.UNSEARCHED: "no attack took a step: at most one input other than the clean one was evaluated",
    Result.UNCONFIRMED: "an adversarial example was found, but it did not fool the model a second time",
    Result.NO_ANSWER: "the model raised an exception, and did so again when the query was repeated",
    Result.IMMOVABLE: "nothing of the input may change, so there was nothing to search",
    Result.PROVED: "it was proved that no adversarial example exists within the threat",
}
