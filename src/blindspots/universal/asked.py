"""What a run is asked for, and whether that can be done."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blindspots.arguments import Checked
from blindspots.batching import rows_per_call
from blindspots.data import Dataset
from blindspots.data.splits import Rows
from blindspots.errors import InputError
from blindspots.findings import Finding
from blindspots.fit import check_answers
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.sizes import check_radius
from blindspots.threat import RELATIVE_SLACK, Threat
from blindspots.universal.file import Perturbation
from blindspots.universal.fitting import Stage, Wanted
from blindspots.universal.methods import Method

_MOST = 1 << 27  # numbers in all perturbations of a run


@dataclass(frozen=True)
class UniversalOptions(Checked):
    """How a run is carried out.

    Args:
        seed: decides which rows are fitted, their order, and all draws.
        threads: CPU threads; None: what is free.
        chunk: rows per call of the network; None: by the size of an input.
    """

    seed: int = 0
    threads: int | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class Studies(Checked):
    """What else is found out, besides the perturbation and its controls.

    Args:
        images: the search again with so many fit images, for each number.
        several: perturbations from so many other shuffles, and their inner products.
        geometry: singular values, spans and curvatures (see `Geometry`).
        norms: the perturbation scaled to other sizes.
        others: networks that the perturbation is tried on, too.
        cross: a perturbation for each of these, tried on all: the matrix of who fools whom.
    """

    images: tuple[int, ...] = ()
    several: int = 0
    geometry: bool = False
    norms: bool = True
    others: tuple[Model, ...] = ()
    cross: bool = False

    def words(self) -> list[str]:
        """What was asked for, for the manifest."""
        asked = [f"images {','.join(map(str, self.images))}"] if self.images else []
        asked += [f"several {self.several}"] if self.several else []
        asked += ["geometry"] * self.geometry + ["norms"] * self.norms + ["cross"] * self.cross
        return asked + [f"on {m.name} {m.digest}" for m in self.others]


@dataclass(frozen=True)
class Asked:
    """The arguments of `universal`, opened and with what was left open filled in."""

    model: Model
    data: Dataset
    threat: Threat
    method: Method
    fit_rows: int
    heldout: int | Dataset | None
    target: int | None
    per_class: bool
    clip: bool
    given: Perturbation | None
    studies: Studies
    options: UniversalOptions
    watch: Callable[[Stage], None]

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What was recognised when a perturbation was read."""
        return self.given.notes if self.given is not None else ()

    def wanted(self, groups: int, seed: int | None = None) -> Wanted:
        """What is searched for, with the run's own seed or another one."""
        seed = self.options.seed if seed is None else seed
        return Wanted(self.threat, self.data.shape, groups, self.target, self.clip, seed)

    @property
    def chunk(self) -> int:
        """Rows per call of the network."""
        return rows_per_call("universal", self.data.shape, self.model.device, self.options.chunk)

    def check(self) -> None:
        """Raises InputError: something does not fit, as far as that can be said before any row is read."""
        if self.threat.radius is None or self.threat.name not in self.method.threats:
            raise InputError(
                f"expected a threat linf or l2 with a radius, as in linf:10/255, got {self.threat.spec!r}: write one"
            )
        check_radius(self.threat, self.data.shape)
        if not self.threat.radius:
            raise InputError("expected a radius above 0 for a universal perturbation, got 0: nothing could be changed")
        self.method.check(self.data.shape)
        if self.model.access is not Need.GRAD and self._searches:
            raise InputError(
                f"expected a model whose gradients can be taken, got {self.model.name}, which only answers: make the "
                "perturbation on a network like it, and measure it here by naming the file, or attack row by row with "
                "`blindspots evaluate`"
            )
        for model in (self.model, *self.studies.others):
            check_answers(model, "a universal perturbation")
        self._check_others()
        if self.target is not None and not self.method.targeted:
            raise InputError(
                f"expected a method that can run towards a class, got {self.method!r}: leave the target out"
            )
        if self.given is not None:
            self._check_given(self.given)

    @property
    def _searches(self) -> bool:
        s = self.studies
        return self.given is None or bool(s.images or s.several or s.geometry or s.cross)

    def _check_given(self, given: Perturbation) -> None:
        if given.shape != self.data.shape:
            raise InputError(
                f"expected a perturbation of shape {self.data.shape}, got {given.shape}: use inputs of its size"
            )
        if given.bounds != self.model.bounds:
            raise InputError(
                f"expected a perturbation of inputs within {self.model.bounds}, got one for {given.bounds}: scale it "
                "to the model's inputs, or use a model with its bounds"
            )
        largest = float(self.threat.norm(given.v).max())
        if largest > float(self.threat.radius or 0) * (1 + RELATIVE_SLACK):
            raise InputError(
                f"expected a perturbation within {self.threat.spec}, got one of norm {largest:g} made for "
                f"{given.threat}: state the threat that it was made for"
            )

    def _check_others(self) -> None:
        others = self.studies.others
        if others and self.per_class:
            raise InputError(
                "expected one perturbation for all classes where it is tried on other networks, got one per class: "
                "leave one of the two out"
            )
        if self.studies.cross and not others:
            raise InputError("expected other networks for a matrix, got none: name them with --on")
        x = self.data.rows(0, 1)[0]
        for other in others:
            if other.bounds != self.model.bounds:
                raise InputError(
                    f"expected networks whose inputs lie within {self.model.bounds}, got {other.name} with "
                    f"{other.bounds}: leave it out, or let its factory rescale"
                )
            try:
                with other.borrowed(), torch.no_grad():
                    other.logits(x)
            except (RuntimeError, ValueError, IndexError) as error:
                said = str(error).splitlines()[0]
                raise InputError(
                    f"expected networks that take inputs of shape {self.data.shape}, got {other.name}, which says: "
                    f"{said}: leave it out, or let its factory resize"
                ) from error

    def check_fit(self, rows: Rows) -> None:
        for images in self.studies.images:
            if not 0 < images <= len(rows):
                raise InputError(f"expected 1 to {len(rows)} fit images, got {images}: name so many, or fit more")
        if self.given is not None:
            return
        if not self.method.data_free and len(rows) < self.method.batch:
            raise InputError(
                f"expected at least {self.method.batch} fit rows, one batch, got {len(rows)}: fit more, or write "
                f"--method NAME:batch={len(rows)}"
            )
        labels = {int(rows.take(torch.tensor([i]))[1][0]) for i in range(len(rows))}
        if len(labels) < 2:
            raise InputError(
                f"expected fit rows of at least two classes, got {len(rows)} of class {labels.pop()} alone: what fools "
                "them need not fool others, so fit rows of several classes"
            )

    def groups(self, oracle: Oracle, x: Tensor) -> int:
        """As many as the model has classes, or one."""
        classes = oracle.logits(x[:1].to(oracle.device)).shape[1]
        if self.target is not None and not 0 <= self.target < classes:
            raise InputError(f"expected a target class from 0 to {classes - 1}, got {self.target}: name one of these")
        groups = classes if self.per_class else 1
        if self.given is not None and len(self.given.v) != groups:
            raise InputError(
                f"expected {groups} perturbations, one {'per class' if self.per_class else 'for all'}, got "
                f"{len(self.given.v)}: use a model with the classes of the one that they were made for"
            )
        if not self.per_class:
            return 1
        numbers = classes * x[0].numel()
        if numbers > _MOST:
            raise InputError(
                f"expected at most {_MOST:,} numbers in all perturbations, got {numbers:,} for {classes} classes: "
                "make one perturbation for all, or use smaller inputs"
            )
        return classes
