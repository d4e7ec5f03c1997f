"""From what an endpoint says of one input to scores: logits, probabilities, the best few of them, labels or values."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from blindspots.data.names import number, places, shown, telling
from blindspots.errors import InputError

Said = Literal["logits", "probabilities", "labels", "values"]
KINDS: tuple[Said, ...] = get_args(Said)
REFUSED = "blindspots:refused"  # what is kept in the place of an answer
_TINY = torch.finfo(torch.float32).tiny
_BELOW = 1 - 1e-6  # what was left out is less than what was said
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # numbers that JSON has no form for
_ROUNDED = 5e-3  # by how much probabilities may miss a sum of 1: three decimals of ten classes
_REFUSED = 1e4  # score of "reject" where it was refused
FAR = -1e30  # score of "reject" where an answer was given: finite, and below every other


@dataclass(frozen=True)
class Answer:
    """What one JSON answer holds: a label, scores in order, or scores by name (the best few, if not `whole`).

    A single whole number is both, a label and a score: which of them is known by what other answers look like.
    """

    label: int | str | None = None
    scores: tuple[float, ...] = ()
    named: Mapping[str, float] | None = None


def parsed(said: Any, where: str) -> Answer:
    """Of one input. Raises InputError: it is none of these."""
    if isinstance(said, list) and len(said) == 1 and not isinstance(said[0], Mapping | list):
        said = said[0]  # (N, 1) and (N,) say the same
    one = _number(said)
    if one is not None:
        return Answer(label=int(one) if one.is_integer() else None, scores=(one,))
    if isinstance(said, str):
        return Answer(label=said)
    if isinstance(said, list) and (numbers := _numbers(said)):
        return Answer(scores=numbers)
    if isinstance(said, Mapping) and (numbers := _numbers(said.values())):
        return Answer(named=dict(zip(map(str, said), numbers, strict=True)))
    if isinstance(said, list) and said and all(_is_labelled(one) for one in said):
        return Answer(named={str(one["label"]): _number(one["score"]) or 0.0 for one in said})
    brief = json.dumps(said)[:80]
    raise InputError(
        f"expected scores, labels, or labels with scores from {where}, got {brief} for an input: name where they are "
        "in a template:FILE.toml"
    )


def _numbers(said: Iterable[Any]) -> tuple[float, ...]:
    """All of them; none if one is no number. null is none that JSON could write."""
    found = [math.nan if one is None else _number(one) for one in said]
    numbers = tuple(one for one in found if one is not None)
    return numbers if len(numbers) == len(found) and not all(map(math.isnan, numbers)) else ()


def _number(one: Any) -> float | None:
    if isinstance(one, str):
        return _WORDS.get(one)
    if isinstance(one, bool) or not isinstance(one, int | float):
        return None
    try:
        return float(one)
    except OverflowError:
        return math.inf if one > 0 else -math.inf


def _is_labelled(one: Any) -> bool:
    named = isinstance(one, Mapping) and isinstance(one.get("label"), str | int)
    return named and _number(one.get("score")) is not None


def kind_of(answer: Answer) -> Said:
    """What its numbers mean. Scores between 0 and 1 that make 1, or less where some are left out, are probabilities."""
    if answer.label is not None:
        return "labels"
    scores = answer.scores or tuple((answer.named or {}).values())
    if len(scores) < 2 and answer.named is not None:
        return "labels"  # the best class alone: its score says nothing of the others
    inside, total = all(0 <= score <= 1 for score in scores), sum(scores)
    few = answer.named is not None and total > _ROUNDED
    if inside and (len(scores) < 2 or abs(total - 1) <= _ROUNDED or (few and total < 1)):
        return "probabilities"
    return "logits"


def tells_all(answer: Answer) -> bool:
    """Whether no class seems to be left out: probabilities of all of them make 1."""
    return kind_of(answer) != "probabilities" or sum((answer.named or {}).values()) > 1 - _ROUNDED


def names_in(answer: Answer) -> list[str] | None:
    """The classes that it names, in the order of their numbers where names are numbers, else of the alphabet."""
    if answer.named is None:
        return None
    numbers = [number(name.removeprefix("LABEL_")) for name in answer.named]
    if None in numbers:
        return sorted(answer.named)
    return [name for _, name in sorted(zip(numbers, answer.named, strict=True), key=lambda pair: pair[0] or 0)]


def classes_in(
    answer: Answer, kind: Said, known: int | None, named: list[str] | None, given: Sequence[str] | None, where: str
) -> tuple[int | None, list[str] | None]:
    """How many classes there are, and their names where the service, the first answer or the data tell them.

    Args:
        known: their number, if it was said.
        named: their names, if they were said.
        given: those of the data.

    Raises:
        InputError: nobody tells it.
    """
    if kind == "values":
        return None, named
    seen, told = names_in(answer), telling(given)
    if named is None and (seen or isinstance(answer.label, str)):
        whole = seen and (tells_all(answer) if told is None else len(seen) >= len(told)) and kind != "labels"
        named = list(seen) if seen and whole else told
    if named:
        return len(named), named
    if answer.scores and (kind != "labels" or len(answer.scores) > 1):
        return max(2, len(answer.scores)), named
    if known or given:
        return known or len(given or ()), named
    raise InputError(
        f"expected to know the classes of {where}, which does not name all of them: list them with --classes, or as "
        "class_names in a template:FILE.toml"
    )


def stored(kept: bytes, where: str) -> Any:
    """What was kept. Raises InputError: the file was damaged or written by something else."""
    try:
        return json.loads(kept)
    except (ValueError, RecursionError):
        raise InputError(
            f"expected answers of {where} in the file that keeps them, got one that is not JSON: it was damaged, so "
            "delete it, or name another one with --answers"
        ) from None


def is_refusal(kept: bytes, where: str) -> bool:
    """Whether it was kept in the place of an answer."""
    said = stored(kept, where) if REFUSED.encode() in kept else None
    return isinstance(said, Mapping) and set(said) == {REFUSED}


@dataclass(frozen=True)
class Reader:
    """Reads every answer of an endpoint in the same way.

    Args:
        kind: what its numbers mean.
        classes: how many there are; None for values.
        names: of the classes, in order, if any.
        rejects: whether a refusal is a class of its own, the last one; else it is no answer.
        where: the endpoint, for sentences.
    """

    kind: Said
    classes: int | None
    names: Sequence[str] | None
    rejects: bool
    where: str

    def scores(self, answers: Sequence[bytes | None]) -> Tensor:
        """(B, C), or (B, C + 1) with "reject"; values (B, k). NaN where there is no answer."""
        rows = [self._row(answer) for answer in answers]
        width = next((len(row) for row in rows if row is not None), (self.classes or 1) + self.rejects)
        if any(row is not None and len(row) != width for row in rows):
            raise InputError(f"expected as many numbers for every input from {self.where}, got different counts")
        none = torch.full((width,), torch.nan)
        return torch.stack([none if row is None else row for row in rows])

    def refused(self, scores: Tensor) -> Tensor:
        """Which of the answers (B, C + 1) are refusals: (B,) bool."""
        if not self.rejects:
            return torch.zeros(len(scores), dtype=torch.bool)
        return scores[:, -1] > FAR

    def _row(self, kept: bytes | None) -> Tensor | None:
        if kept is None:
            return None
        if is_refusal(kept, self.where):
            return self._refused()
        answer = parsed(stored(kept, self.where), self.where)
        if self.kind == "values":
            return torch.tensor(self._values(answer))
        scores = self._scores(answer)
        return torch.cat([scores, torch.tensor([FAR])]) if self.rejects else scores

    def _values(self, answer: Answer) -> tuple[float, ...]:
        numbers = answer.scores or tuple((answer.named or {}).values())
        if not numbers:
            raise InputError(f"expected numbers from {self.where}, got {answer.label!r}: name a goal for classes")
        return numbers

    def _refused(self) -> Tensor:
        """All classes alike, and "reject" far above them: no search takes that for progress."""
        assert self.classes is not None
        if not self.rejects:
            return torch.full((self.classes,), torch.nan)
        return torch.cat([torch.zeros(self.classes), torch.full((1,), _REFUSED)])

    def _scores(self, answer: Answer) -> Tensor:
        if self.kind == "labels":
            return self._one_hot(answer)
        scores = self._in_order(answer)
        if self.kind == "logits":
            return scores
        self._check_probabilities(scores)
        return scores.clamp_min(_TINY).log()

    def _check_probabilities(self, said: Tensor) -> None:
        off = said[(said < -_ROUNDED) | (said > 1 + _ROUNDED)]
        if len(off):
            raise InputError(
                f"expected probabilities from {self.where}, as they are said or seem to be, got {float(off[0]):g}: if "
                'it answers with other scores, say so, answers = "logits" in a template:FILE.toml'
            )

    def _one_hot(self, answer: Answer) -> Tensor:
        assert self.classes is not None
        numbers = answer.scores or tuple((answer.named or {}).values())
        if any(map(math.isnan, numbers)):
            return torch.full((self.classes,), torch.nan)
        at = self._place(self._label(answer))
        return torch.nn.functional.one_hot(torch.tensor(at), self.classes).float()

    def _label(self, answer: Answer) -> int | str:
        """What it says, or the best of what it says."""
        if answer.label is not None:
            return answer.label
        if answer.named:
            return max(answer.named, key=answer.named.__getitem__)
        if len(answer.scores) > 1:
            return answer.scores.index(max(answer.scores))
        raise InputError(
            f"expected labels from {self.where}, as they are said or seem to be, got {answer.scores[0]:g}: if it "
            'answers with the score of one of two classes, say so, answers = "probabilities" or "logits" in a '
            "template:FILE.toml"
        )

    def _in_order(self, answer: Answer) -> Tensor:
        if answer.named is None:
            return self._complete(answer.scores)
        assert self.classes is not None
        found = {self._place(name): score for name, score in answer.named.items()}
        rest = self._at_most(list(found.values()), self.classes)
        return torch.tensor([found.get(i, rest) for i in range(self.classes)])

    def _at_most(self, said: list[float], classes: int) -> float:
        """An upper bound of the scores of classes that were left out: below the lowest that was said."""
        low = min(said)
        if self.kind == "probabilities":
            return max(0.0, min(low * _BELOW, 1 - sum(said))) if len(said) < classes else low
        return math.nextafter(low, -math.inf) - abs(low) * 1e-6

    def _complete(self, scores: tuple[float, ...]) -> Tensor:
        """All scores; of a single probability of class 1, or a single logit, those of both classes."""
        if len(scores) == 1:
            one = scores[0]
            scores = (1 - one, one) if self.kind == "probabilities" else (-one / 2, one / 2)
        if len(scores) != self.classes:
            raise InputError(
                f"expected {self.classes} scores for an input from {self.where}, got {len(scores)}: check which output "
                "holds them"
            )
        return torch.tensor(scores)

    def _place(self, label: int | str) -> int:
        """The number of a class."""
        assert self.classes is not None
        if isinstance(label, str):
            named = places([label], self.names)[label] if self.names else number(label.removeprefix("LABEL_"))
            if named is None:
                known = f"the classes {shown(self.names)}" if self.names else "the number of a class"
                raise InputError(
                    f"expected one of {known} from {self.where}, got {label!r}: list all of them in the model's order "
                    "with --classes, or as class_names in a template:FILE.toml"
                )
            label = named
        if not 0 <= label < self.classes:
            raise InputError(
                f"expected classes from 0 to {self.classes - 1} from {self.where}, got {label}: say how many there are"
            )
        return label
