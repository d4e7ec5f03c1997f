"""From what an endpoint says of one input to scores: logits, probabilities, the best few of them, labels or values."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from blindspots.data.names import number, places, shown
from blindspots.errors import InputError

Said = Literal["logits", "probabilities", "labels", "values"]
KINDS: tuple[Said, ...] = get_args(Said)
REFUSED = "blindspots:refused"  # what is kept in the place of an answer
_TINY = torch.finfo(torch.float32).tiny
_BELOW = 1 - 1e-6  # what was left out is less than what was said
_ROUNDED = 5e-3  # by how much probabilities may miss a sum of 1: three decimals of ten classes
_REFUSED = 1e4  # score of "reject" where it was refused
FAR = -1e30  # score of "reject" where an answer was given: finite, and below every other


@dataclass(frozen=True)
class Answer:
    """What one JSON answer holds: a label, scores in order, or scores by name (the best few, if not `whole`)."""

    label: int | str | None = None
    scores: tuple[float, ...] = ()
    named: Mapping[str, float] | None = None


def parsed(said: Any, where: str) -> Answer:
    """Of one input. Raises InputError: it is none of these."""
    if isinstance(said, list) and len(said) == 1 and not isinstance(said[0], Mapping | list):
        said = said[0]  # (N, 1) and (N,) say the same
    if isinstance(said, bool) or said is None:
        pass
    elif isinstance(said, str) or (isinstance(said, int | float) and float(said).is_integer()):
        return Answer(label=said if isinstance(said, str) else int(said))
    elif isinstance(said, int | float):
        return Answer(scores=(float(said),))
    elif isinstance(said, list) and said and all(_is_number(one) for one in said):
        return Answer(scores=tuple(map(float, said)))
    elif isinstance(said, Mapping) and said and all(_is_number(one) for one in said.values()):
        return Answer(named={str(name): float(score) for name, score in said.items()})
    elif isinstance(said, list) and said and all(_is_labelled(one) for one in said):
        return Answer(named={str(one["label"]): float(one["score"]) for one in said})
    brief = json.dumps(said)[:80]
    raise InputError(
        f"expected scores, labels, or labels with scores from {where}, got {brief} for an input: name where they are "
        "in a template:FILE.toml"
    )


def _is_number(one: Any) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)


def _is_labelled(one: Any) -> bool:
    return isinstance(one, Mapping) and isinstance(one.get("label"), str | int) and _is_number(one.get("score"))


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


def names_in(answer: Answer) -> list[str] | None:
    """The classes that it names, in the order of their numbers where names are numbers, else of the alphabet."""
    if answer.named is None:
        return None
    numbers = [number(name.removeprefix("LABEL_")) for name in answer.named]
    if None in numbers:
        return sorted(answer.named)
    return [name for _, name in sorted(zip(numbers, answer.named, strict=True), key=lambda pair: pair[0] or 0)]


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
        said = json.loads(kept)
        if isinstance(said, Mapping) and set(said) == {REFUSED}:
            return self._refused()
        answer = parsed(said, self.where)
        if self.kind == "values":
            return torch.tensor(answer.scores or (float(answer.label or 0),))
        scores = self._scores(answer)
        return torch.cat([scores, torch.tensor([FAR])]) if self.rejects else scores

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
        return scores.clamp_min(_TINY).log()

    def _one_hot(self, answer: Answer) -> Tensor:
        assert self.classes is not None
        label = answer.label
        if label is None and answer.named:
            label = max(answer.named, key=answer.named.__getitem__)
        elif label is None:
            label = answer.scores.index(max(answer.scores))
        at = self._place(label)
        return torch.nn.functional.one_hot(torch.tensor(at), self.classes).float()

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
