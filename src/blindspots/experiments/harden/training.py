"""The training loop: epochs, checks on held-out rows, what is undone, the best weights, states to go on from."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter
from torch import Tensor

from blindspots.errors import InputError
from blindspots.experiments.harden.checks import Checked, Checks, overfitted
from blindspots.experiments.harden.guard import cautious, measure
from blindspots.experiments.harden.recipe import Recipe
from blindspots.experiments.harden.trainer import DivergedError, Trained, Trainer, copied
from blindspots.experiments.harden.verdict import WEIGHTS, Epoch, Log
from blindspots.packing import packed_text, unpacked_text
from blindspots.records import Share

MOST_RESTORED = 3
FINALISTS = 2  # epochs that are looked at closely: what the choice costs does not depend on the number of epochs
_CHECKED = 20  # times in a training, and after the last epoch

State = dict[str, Tensor]


@dataclass(frozen=True)
class Finalist:
    """An epoch that stood well enough to be looked at closely."""

    robust: float  # held-out share
    epoch: int


@dataclass
class Memory:
    """What a training has seen so far."""

    history: list[Epoch] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of every epoch
    seconds_checks: float = 0.0
    catastrophes: int = 0
    divergences: int = 0
    best: float = -1.0  # held-out robust share
    best_epoch: int = 0
    since_best: int = 0  # checks
    finalists: list[Finalist] = field(default_factory=list)  # from the best one down


_MEMORY = TypeAdapter(Memory)
_STATE, _FINALISTS = "state/", "finalists/"


@dataclass(frozen=True)
class Told:
    """What is told after every epoch; `epoch` is None where nothing was checked."""

    done: int
    epochs: int
    trained: Trained
    epoch: Epoch | None
    seconds_left: float


class TrainingLoop:
    """Runs a trainer to its end.

    Args:
        recipe: what is followed until something goes astray.
        kept: a `state`, to go on from.

    Attributes:
        finalists: the weights of the epochs that are among the best, EPOCH/NAME.
    """

    def __init__(self, trainer: Trainer, checks: Checks, recipe: Recipe, kept: State | None = None) -> None:
        self.trainer, self.checks, self.recipe = trainer, checks, recipe
        self.log = Memory()
        self.finalists: State = {}
        self._last: State = {}
        if kept is not None:
            self.finalists = _below(_FINALISTS, kept)
            self.log = _MEMORY.validate_json(unpacked_text(kept["memory"]))
            self._follow(self.log.catastrophes)
            trainer.restore(_below(_STATE, kept))

    @property
    def state(self) -> State:
        """After an epoch: all that the rest of the training depends on."""
        return {
            **{_STATE + name: t for name, t in self._last.items()},
            **{_FINALISTS + name: t for name, t in self.finalists.items()},
            "memory": packed_text(_MEMORY.dump_json(self.log).decode()),
        }

    @property
    def columns(self) -> State:
        """After the last epoch: the best weights, and what was seen on the way."""
        m = self.log
        log = Log(history=m.history, events=m.events, epochs=len(m.seconds), best_epoch=m.best_epoch)
        best = {WEIGHTS + name: t for name, t in weights_of(self.best).items()}
        return {**best, "log": packed_text(log.model_dump_json())}

    def run(self) -> Iterator[Told]:
        """Epoch by epoch; afterwards `best` are the weights that stood best on the held-out rows."""
        self._last = self.trainer.state()
        while self.trainer.epoch < self.recipe.epochs and not self._patience_is_over():
            try:
                trained = self.trainer.run_epoch()
            except DivergedError:
                self._go_back(self._diverged())
                continue
            self.log.seconds.append(trained.seconds)
            self._say_undone(trained)
            epoch = self._check(trained) if self._due() else None
            if epoch is not None and epoch.undone:
                self._undo_catastrophe()
            self._last = self.trainer.state()
            yield Told(self.trainer.epoch, self.recipe.epochs, trained, epoch, self._left())
        self._choose()

    @property
    def best(self) -> State:
        """The weights of the best epoch."""
        return self._weights(self.log.best_epoch)

    def _due(self) -> bool:
        """An epoch costs little beside its checks on small data: then not every one is checked."""
        every = max(1, self.recipe.epochs // _CHECKED)
        return self.trainer.epoch % every == 0 or self.trainer.epoch >= self.recipe.epochs

    def _check(self, trained: Trained) -> Epoch:
        began = time.monotonic()
        seen = self.trainer.fabric.broadcast(self.checks.look(self.trainer.average.module))
        self.log.seconds_checks += time.monotonic() - began
        epoch = self._recorded(trained, seen, self._judged(seen))
        self.log.history.append(epoch)
        return epoch

    def _judged(self, seen: Checked) -> str:
        log = self.log
        if self.recipe.guard and overfitted(seen, log.best) and cautious(self.recipe, log.catastrophes + 1):
            return "undone: catastrophic overfitting"
        self._consider(seen.robust.share)
        if seen.robust.share < log.best:
            log.since_best += 1
            return ""
        log.best, log.best_epoch, log.since_best = seen.robust.share, self.trainer.epoch, 0
        return "best so far"

    def _consider(self, robust: float) -> None:
        """Keep the weights if they are among the best; of equal ones the later."""
        log, epoch = self.log, self.trainer.epoch
        ranked = sorted([*log.finalists, Finalist(robust, epoch)], key=lambda f: (f.robust, f.epoch), reverse=True)
        log.finalists = ranked[:FINALISTS]
        self.finalists |= {f"{epoch}/{k}": copied(v) for k, v in self.trainer.average.module.state_dict().items()}
        staying = tuple(f"{finalist.epoch}/" for finalist in log.finalists)
        self.finalists = {k: v for k, v in self.finalists.items() if k.startswith(staying)}

    def _choose(self) -> None:
        """Look at the finalists closely. The first look is an upper bound, so some need none."""
        began, best = time.monotonic(), -1.0
        for finalist in self.log.finalists:
            if finalist.robust < best:
                break
            closer = self._looked_closely(finalist.epoch)
            if closer.share > best:
                best, self.log.best_epoch = closer.share, finalist.epoch
        self.log.seconds_checks += time.monotonic() - began

    def _looked_closely(self, epoch: int) -> Share:
        """What stands of the held-out rows with the weights of that epoch; its record says it, too."""
        module, history = self.trainer.module, self.log.history
        last = {k: copied(v) for k, v in module.state_dict().items()}
        module.load_state_dict(self._weights(epoch))
        closer: Share = self.trainer.fabric.broadcast(self.checks.look_closely(module))
        module.load_state_dict(last)
        at = max(i for i, e in enumerate(history) if e.epoch == epoch)  # an undone one stands before it
        history[at] = history[at].model_copy(update={"closer": closer})
        return closer

    def _weights(self, epoch: int) -> State:
        return _below(f"{epoch}/", self.finalists)

    def _recorded(self, trained: Trained, seen: Checked, note: str) -> Epoch:
        radius = self.trainer.threat.radius
        assert radius is not None
        return Epoch(
            epoch=self.trainer.epoch, radius=trained.radius * radius, loss=trained.loss, rate=trained.rate,
            clean=seen.clean, fgsm=seen.fgsm, robust=seen.robust, robust_training=seen.robust_training, note=note,
        )  # fmt: skip

    def _undo_catastrophe(self) -> None:
        log = self.log
        log.catastrophes += 1
        said = log.history[-1]
        self._go_back(
            f"Epoch {said.epoch}: catastrophic overfitting, {said.fgsm.share:.1%} against one step but "
            f"{said.robust.share:.1%} against many on held-out rows. It was undone; training goes on with "
            f"{measure(self._follow(log.catastrophes))}.",
        )

    def _follow(self, level: int) -> Recipe:
        recipe = cautious(self.recipe, level)
        assert recipe is not None
        if level:
            self.trainer.follow(recipe)
        return recipe

    def _diverged(self) -> str:
        self.log.divergences += 1
        if self.log.divergences > MOST_RESTORED:
            raise InputError(
                f"expected a loss that stays finite, but training diverged {self.log.divergences} times, although the "
                "learning rate was halved again and again: use a recipe with a smaller rate, or look for overflow in "
                "the network"
            )
        return (
            f"Epoch {self.trainer.epoch + 1}: too many non-finite losses; the epoch was rolled back and begins again "
            "at a smaller learning rate."
        )

    def _go_back(self, said: str) -> None:
        """Everything but the learning rate is as it was; that stays as small as it has become."""
        scale = self.trainer.rate_scale
        self.trainer.restore(self._last)
        self.trainer.rate_scale = scale
        self.log.events.append(said)

    def _say_undone(self, trained: Trained) -> None:
        if trained.undone:
            self.log.events.append(
                f"Epoch {self.trainer.epoch}: in {trained.undone} steps the loss was not finite; they were undone and "
                "the learning rate was halved each time."
            )

    def _patience_is_over(self) -> bool:
        patience = self.recipe.patience
        if not patience or self.log.since_best < patience:
            return False
        said = f"Stopped after epoch {self.trainer.epoch}: no better robust accuracy for {self.log.since_best} checks."
        if said not in self.log.events:
            self.log.events.append(said)
        return True

    def _left(self) -> float:
        done = self.log.seconds
        each = sum(done[-5:]) / len(done[-5:]) + self.log.seconds_checks / len(done)
        return each * (self.recipe.epochs - self.trainer.epoch)


def _below(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}


def weights_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The best weights by the names of the model's own network."""
    return {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
