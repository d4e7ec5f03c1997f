"""From fit texts to a trigger: passes over them, with a state to go on from after each."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blindspots.data.splits import shuffled
from blindspots.experiments.universal.fitting import history_of, packed_passes
from blindspots.experiments.universal.search import Stage
from blindspots.experiments.universal.triggers.methods import TriggerMethod
from blindspots.experiments.universal.triggers.task import Texts, TriggerTask
from blindspots.experiments.universal.verdict import Pass
from blindspots.runs.experiment import Columns

Tell = Callable[[Stage], None]


@dataclass(frozen=True)
class Found:
    """How far a search has come."""

    now: Tensor  # (K,) the trigger that goes on
    best: Tensor  # (K,) the one that fooled most fit texts at the end of a pass, the first of several
    history: list[Pass] = field(default_factory=list)


def fit(
    task: TriggerTask, method: TriggerMethod, texts: Texts, words: int, tell: Tell, kept: Columns | None = None
) -> Generator[Columns, None, Found]:
    """Search for a trigger of so many words. The same arguments give the same bits, also from a state that was `kept`.

    It begins with the commonest word of the vocabulary, again and again ("the the the" in the paper).
    """
    first = torch.tensor(task.vocabulary.commonest[:1] * words)
    found = Found(first, first) if kept is None else _remembered(task, kept)
    while len(found.history) < method.passes and not method.enough(found.history):
        found = _passed(task, method, texts, found, tell)
        yield _state(found)
    return found


def _passed(task: TriggerTask, method: TriggerMethod, texts: Texts, at: Found, tell: Tell) -> Found:
    """After one more pass. What the model remembers is forgotten first, so that no bit hangs on interruptions."""
    task.model.forget()
    done, trigger = len(at.history), at.now
    parts = torch.split(shuffled(len(texts), task.seed, done), method.batch)
    fooled = seen = 0
    for i, places in enumerate(parts):
        trigger, won = method.step(task, trigger, texts.at(places), done * len(parts) + i)
        fooled, seen = fooled + int(won.sum()), seen + len(won)
        tell(Stage("search", done + 1, method.passes, seen, len(texts), fooled, seen))
    rate = float(task.look(trigger[None], texts).won.double().mean())
    better = rate > max((p.fooled_fit for p in at.history), default=-1.0)
    oracle = task.oracle
    now = Pass(number=done + 1, fooled_fit=rate, forwards=oracle.forwards, backwards=oracle.backwards)
    return Found(trigger, trigger if better else at.best, [*at.history, now])


def _state(at: Found) -> Columns:
    return {"now": at.now, "best": at.best.clone(), **packed_passes(at.history)}


def _remembered(task: TriggerTask, kept: Columns) -> Found:
    """What was spent counts; what was looked at once more to go on does not."""
    found = Found(kept["now"], kept["best"], history_of(kept))
    task.oracle.forwards, task.oracle.backwards = found.history[-1].forwards, found.history[-1].backwards
    return found
