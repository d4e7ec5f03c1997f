"""The only caller of a model. It counts its passes and never mixes rows."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from blindspots.errors import InputError
from blindspots.goals import Classify, Goal, Share
from blindspots.models.foreign import out_of_memory, own_randomness
from blindspots.models.model import Model
from blindspots.models.precision import differentiable, full_precision
from blindspots.problem import Aim, Need, Problem, Question, Seen
from blindspots.rows import Rows, tree
from blindspots.scenes import Scene

R = TypeVar("R", bound=Rows | Tensor)


class Oracle:
    """Evaluates probes.

    Args:
        model: what is evaluated.
        bf16: craft under bfloat16 autocast. Successes are confirmed with `logits`, always float32.
        channels_last: convert 4-dimensional inputs to channels-last memory.
        compile: run the network through torch.compile (static shapes).
        chunk: rows in every call of the network. The last call is padded to it, so that a row's bits depend neither on
            the number of the other rows nor on their content. Halved when memory runs out (then `shrunk` is set).
            Calls of a model that is known only through its outputs are never padded.
        draws: how many outputs of a randomised model are averaged in every evaluation (Athalye et al. 2018, expectation
            over the model's randomness): losses and gradients as they are, scores as probabilities.
        goal: how outputs are read; None: as the scores of a classification.
        scene: what is random between inputs and the model. Every evaluation then shows `draws` of it, and the goal
            reads all their outputs, (B, draws, ...).

    Attributes:
        forwards, backwards: rows evaluated so far, padding and confirmations included.
    """

    def __init__(
        self,
        model: Model,
        *,
        bf16: bool = False,
        channels_last: bool = False,
        compile: bool = False,
        chunk: int = 32,
        draws: int = 1,
        goal: Goal | None = None,
        scene: Scene | None = None,
    ) -> None:
        self.goal, self.scene = goal or Classify(model.rejects), scene
        if isinstance(goal, Share) == (scene is None):
            raise InputError(
                "expected a scene and a share of its draws together, got one without the other: pass both, "
                "goal=Share(...) and scene=..., or neither"
            )
        chunk = chunk if scene is None else max(1, chunk // draws)
        self.model, self.device = model, model.device
        self.bf16, self.channels_last, self.chunk, self.shrunk = bf16, channels_last, chunk, False
        self._net: Callable[[Tensor], Tensor] = torch.compile(model.logits, dynamic=False) if compile else model.logits
        self.forwards = self.backwards = 0
        self.draws, self.pads = draws, model.padded

    @property
    def unit(self) -> int:
        """The number of rows that every call is padded to a multiple of."""
        return self.chunk if self.pads else 1

    def cost(self, rows: int) -> int:
        """Forwards that evaluating this many rows really takes."""
        return -(-rows // self.unit) * self.unit * self.draws

    @contextmanager
    def session(self) -> Iterator["Oracle"]:
        """Borrow the model: evaluation mode, frozen parameters and true float32 inside; restored afterwards.

        The generators of torch, numpy and Python, from which a randomised model draws, are restored too.
        """
        precise, sloping = full_precision(self.device), differentiable(self.model.net, self.device)
        with self.model.borrowed(), precise, sloping, own_randomness(self.device):
            yield self

    @property
    def _times(self) -> int:
        """How often a randomised model is asked: all draws of a scene are one question."""
        return self.draws if self.scene is None else 1

    def logits(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """The model's float32 outputs, unread and without gradients: what verdicts are based on.

        Of a classifier (B, C), of one that rejects (B, C + 1), of other models (B, ...); in a scene (B, draws, ...).
        `draws` (B, 2) int64 are then the rows' keys and the numbers of their first draws.
        """
        answers = [self._in_parts(self._value, x, draws) for _ in range(self._times)]
        return answers[0] if len(answers) == 1 else self._mean(answers)

    def _mean(self, answers: list[Tensor]) -> Tensor:
        """What a randomised model says on average: the mean of probabilities, or of numbers."""
        return _expected(answers) if self.goal.classifies else torch.stack(answers).mean(0)

    def look(
        self,
        problem: Problem[Any],
        question: Question,
        x: Tensor,
        need: Need,
        classes: Tensor | None = None,
        aim: Aim | None = None,
        *,
        backward: bool = True,
    ) -> Seen:
        """Evaluate the probes `x` (B, ...) for `problem`.

        Losses, margins and gradients are those of the scores that the goal reads.
        With `Need.GRAD`, gradients are those of `aim`, if there is one, else of the loss. With `Need.JACOBIAN`,
        `classes` (B, K) selects the scores whose gradients (B, K, ...) are taken. With `Need.LABEL` the scores are the
        one-hot prediction, so an attack cannot see more than the label.
        Without `backward` no gradient is taken, but gradients stay enabled, so that scores are the same to the last
        bit: some networks compute them differently where gradients are disabled.
        """
        looks = [self._look(problem, question, x, need, classes, aim, backward) for _ in range(self._times)]
        seen = looks[0] if len(looks) == 1 else self._averaged(problem, question, looks, need)
        scores = self.goal.scores(seen.logits, question.truth)
        hidden = need is Need.LABEL and not self.goal.classifies
        return replace(seen, logits=one_hot_prediction(scores) if hidden else scores)

    def _look(
        self,
        problem: Problem[Any],
        question: Question,
        x: Tensor,
        need: Need,
        classes: Tensor | None,
        aim: Aim | None,
        backward: bool,
    ) -> Seen:
        if need is Need.JACOBIAN:
            if classes is None:
                raise ValueError("a Jacobian needs the classes (B, K) whose scores are differentiated")
            return self._in_parts(lambda *part: self._jacobian(problem, backward, *part), x, question, classes)
        if need is Need.SLOPES:
            return self._in_parts(lambda *part: self._slopes(problem, backward, *part), x, question)
        if need is Need.GRAD:
            return self._in_parts(lambda *part: self._gradient(problem, backward, *part), x, question, aim)
        look = self._scores if need is Need.VALUE else self._labels
        return self._in_parts(lambda *part: look(problem, *part), x, question)

    @property
    def _shown(self) -> int:
        """Inputs of the model in one evaluation of a row."""
        return self.draws // self._times

    @property
    def doubts(self) -> bool:
        """Whether a success counts only once it was seen again: in float32, and on other draws of a scene."""
        return self.bf16 or self.scene is not None

    def confirm(self, problem: Problem[Any], question: Question, x: Tensor, claimed: Seen) -> Seen:
        """`claimed`, with the margins of its successes computed again: only those that hold are kept."""
        again = self._margin(problem, self.logits(x, question.draws), question)
        margin = torch.where(claimed.won, again, claimed.margin)
        return replace(claimed, margin=margin, won=margin < 0)

    def _forward(self, x: Tensor, draws: Tensor | None) -> Tensor:
        if self.scene is None:
            return self._asked(x)
        assert draws is not None
        key, first = (t.repeat_interleave(self.draws) for t in draws.T)
        number = first + torch.arange(self.draws, device=x.device).repeat(len(x))
        output = self._asked(self.scene.show(x.repeat_interleave(self.draws, 0), key, number))
        return output.view(len(x), self.draws, *output.shape[1:])

    def _asked(self, x: Tensor) -> Tensor:
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return self._counted(self._net, x)

    def _counted(self, net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        service = self.model.service
        before = service.repeats if service else 0
        logits = net(x)
        self.forwards += len(x) + (service.repeats - before if service else 0)
        return logits

    def _value(self, x: Tensor, draws: Tensor | None) -> Tensor:
        with torch.no_grad():
            return self._forward(x, draws)

    def _crafting(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _margin(self, problem: Problem[Any], output: Tensor, q: Question) -> Tensor:
        return problem.objective.margin(self.goal.scores(output, q.truth), self.goal.label(q.truth), q.target)

    def _scores(self, problem: Problem[Any], x: Tensor, q: Question) -> Seen:
        with torch.no_grad(), self._crafting():
            output = self._forward(x, q.draws).float()
        loss = problem.objective.descend(self.goal.scores(output, q.truth), self.goal.label(q.truth), q.target)
        return self._seen(problem, output, q, loss, None)

    def _labels(self, problem: Problem[Any], x: Tensor, q: Question) -> Seen:
        output = self._value(x, q.draws)
        # From the scores: in a tie, the predicted label alone would claim a success.
        margin = self._margin(problem, output, q)
        margin = margin.sign() + 0 * margin  # NaN stays NaN
        labels = one_hot_prediction(output) if self.goal.classifies else output
        return Seen(labels, margin, margin, margin < 0, None, self.goal.refused(output))

    def _gradient(self, problem: Problem[Any], backward: bool, x: Tensor, q: Question, aim: Aim | None) -> Seen:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            with self._crafting():
                output = self._forward(x, q.draws).float()
            scores, label = self.goal.scores(output, q.truth), self.goal.label(q.truth)
            loss = problem.objective.descend(scores, label, q.target)
            aimed = loss
            if aim is not None:
                aimed = aim.descend(problem.objective, output if aim.unfolded else scores, label, q.target)
            # Of the sum, never of a mean, so that rows stay independent.
            grad = self.model.gradient(aimed.sum(), x) if backward else None
        self.backwards += backward * len(x) * self._shown
        return self._seen(problem, output.detach(), q, loss.detach(), grad)

    def _slopes(self, problem: Problem[Any], backward: bool, x: Tensor, q: Question) -> Seen:
        with torch.enable_grad():
            z = self.model.embed(x).detach().requires_grad_()
            output = self._counted(lambda z: self.model.head(z, x), z).float()
            loss = problem.objective.descend(self.goal.scores(output, q.truth), self.goal.label(q.truth), q.target)
            grad = self.model.gradient(loss.sum(), z) if backward else None
        self.backwards += backward * len(x)
        assert q.around is not None
        slopes = None if grad is None else problem.threat.slopes(x, q.around, grad, self.model.embed)
        return self._seen(problem, output.detach(), q, loss.detach(), slopes)

    def _jacobian(self, problem: Problem[Any], backward: bool, x: Tensor, q: Question, classes: Tensor) -> Seen:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            with self._crafting():
                output = self._forward(x, q.draws).float()
            scores = self.goal.scores(output, q.truth)
            sums = scores.gather(1, classes).sum(0) if backward else ()
            grads = [self.model.gradient(s, x, retain_graph=True) for s in sums]
        self.backwards += backward * classes.numel() * self._shown
        loss = problem.objective.descend(scores.detach(), self.goal.label(q.truth), q.target)
        return self._seen(problem, output.detach(), q, loss, torch.stack(grads, 1) if backward else None)

    def _seen(self, problem: Problem[Any], output: Tensor, q: Question, loss: Tensor, grad: Tensor | None) -> Seen:
        """Outputs are read as scores once those of all draws have been averaged."""
        margin = self._margin(problem, output, q)
        return Seen(output, loss, margin, margin < 0, grad, self.goal.refused(output))

    def _averaged(self, problem: Problem[Any], q: Question, looks: list[Seen], need: Need) -> Seen:
        mean = cast(Seen, tree(lambda *ts: torch.stack(ts).mean(0) if ts[0].is_floating_point() else ts[0], *looks))
        if need is Need.LABEL and self.goal.classifies:  # the most frequent label
            return self._seen(problem, one_hot_prediction(mean.logits), q, mean.margin.sign(), None)
        return self._seen(problem, self._mean([look.logits for look in looks]), q, mean.loss, mean.grad)

    def _in_parts(self, f: Callable[..., R], *args: Any) -> R:
        while True:
            try:
                parts = [f(*part) for part in _split(args, self.chunk, self.pads)]
                return parts[0] if len(parts) == 1 and len(args[0]) == self.chunk else _join(parts, len(args[0]))
            except RuntimeError as error:
                if self.chunk == 1 or not out_of_memory(error):
                    raise
            self.chunk, self.shrunk = self.chunk // 2, True  # outside the handler: its traceback keeps memory alive


def one_hot_prediction(logits: Tensor) -> Tensor:
    """What a label reveals of scores (B, C): 1 for the predicted class, 0 for the others."""
    return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1.0)


def _split(args: tuple[Any, ...], size: int, pads: bool) -> Iterator[tuple[Any, ...]]:
    """Parts of `size` rows; the last one is filled up with copies of its last row if `pads`."""
    for i in range(0, len(args[0]), size):
        yield tuple(_part(rows, i, size, pads) for rows in args)


def _part(rows: Any, i: int, size: int, pads: bool) -> Any:
    return tree(lambda t: _fill(t[i : i + size], size if pads else 0), rows)


def _fill(t: Tensor, size: int) -> Tensor:
    return t if len(t) >= size else torch.cat([t, t[-1:].expand(size - len(t), *t.shape[1:])])


def _expected(answers: list[Tensor]) -> Tensor:
    """Scores whose softmax is the mean of the softmax of all `answers`: (B, C)."""
    return torch.stack(answers).log_softmax(2).logsumexp(0) - math.log(len(answers))


def _join(parts: list[R], rows: int) -> R:
    return cast(R, tree(lambda *ts: torch.cat(ts)[:rows], parts[0], *parts[1:]))
