"""What cannot be done is said before anything is searched."""

import torch

from blindspots.ball import RELATIVE_SLACK
from blindspots.data.splits import Rows
from blindspots.errors import InputError
from blindspots.experiments.universal.file import Perturbation
from blindspots.experiments.universal.setup import Setup
from blindspots.fit import check_answers, check_lengths
from blindspots.models.binding import bound
from blindspots.models.model import Model
from blindspots.oracle import Oracle
from blindspots.problem import Need
from blindspots.sizes import check_radius

_MOST = 1 << 27  # numbers in all perturbations of a run


def check(s: Setup) -> None:
    """Raises InputError: something does not fit."""
    _check_threat(s)
    s.method.check(s.shape)
    if s.model.access is not Need.GRAD and s.searches:
        raise InputError(
            f"expected a model whose gradients can be taken, got {s.model.name}, which only answers: make the "
            "perturbation on a network like it, and measure it here by naming the file, or attack row by row with "
            "`blindspots evaluate`"
        )
    check_answers(s.model, "a universal perturbation")
    check_lengths(s.world.data, "a universal perturbation")
    if s.searches:
        s.method.check_model(s.model)
    _check_others(s)
    if s.config.target is not None and not s.method.targeted:
        raise InputError(f"expected a method that can run towards a class, got {s.method!r}: leave the target out")
    if s.given is not None:
        _check_given(s, s.given)
    _check_fit(s, s.division.fit)
    with s.oracle().session() as oracle:
        groups_of(s, oracle)


def _check_threat(s: Setup) -> None:
    threat = s.threat
    if threat.radius is None or threat.name not in s.method.threats:
        raise InputError(
            f"expected a threat linf or l2 with a radius, as in linf:10/255, got {threat.spec!r}: write one"
        )
    check_radius(threat, s.shape)
    if not threat.radius:
        raise InputError("expected a radius above 0 for a universal perturbation, got 0: nothing could be changed")


def _check_given(s: Setup, given: Perturbation) -> None:
    if given.shape != s.shape:
        raise InputError(f"expected a perturbation of shape {s.shape}, got {given.shape}: use inputs of its size")
    if given.bounds != s.model.bounds:
        raise InputError(
            f"expected a perturbation of inputs within {s.model.bounds}, got one for {given.bounds}: scale it to the "
            "model's inputs, or use a model with its bounds"
        )
    largest = float(s.threat.norm(given.v).max())
    if largest > s.radius * (1 + RELATIVE_SLACK):
        raise InputError(
            f"expected a perturbation within {s.threat.spec}, got one of norm {largest:g} made for {given.threat}: "
            "state the threat that it was made for"
        )


# ------------------------------------------------------------------ other networks


def _check_others(s: Setup) -> None:
    if s.config.on and s.per_class:
        raise InputError(
            "expected one perturbation for all classes where it is tried on other networks, got one per class: "
            "leave one of the two out"
        )
    for name in s.config.others:
        other = s.world.named(name)
        bound(other, s.world.data)  # the same classes in the same order, as far as they have names
        check_answers(_seen(s, name), "a universal perturbation")
        if other.bounds != s.model.bounds:
            raise InputError(
                f"expected networks whose inputs lie within {s.model.bounds}, got {other.name} with {other.bounds}: "
                "leave it out, or let its factory rescale"
            )
        _check_shape(s, other)


def _seen(s: Setup, name: str) -> Model:
    try:
        return s.world.seen(name)
    except InputError as error:
        raise InputError(
            f"expected networks that take inputs of shape {s.shape}, got {s.world.named(name).name}, which says: "
            f"{error}"
        ) from error


def _check_shape(s: Setup, other: Model) -> None:
    x = s.world.data.rows(0, 1)[0]
    try:
        with other.borrowed(), torch.no_grad():
            other.logits(x)
    except (RuntimeError, ValueError, IndexError) as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"expected networks that take inputs of shape {s.shape}, got {other.name}, which says: {said}: leave it "
            "out, or let its factory resize"
        ) from error


# ------------------------------------------------------------------ rows and classes


def _check_fit(s: Setup, rows: Rows) -> None:
    for images in s.config.images:
        if images > len(rows):
            raise InputError(f"expected 1 to {len(rows)} fit images, got {images}: name so many, or fit more")
    if s.given is not None:
        return
    if not s.method.data_free and len(rows) < s.method.batch:
        raise InputError(
            f"expected at least {s.method.batch} fit rows, one batch, got {len(rows)}: fit more, or write "
            f"--method NAME:batch={len(rows)}"
        )
    labels = {int(rows.take(torch.tensor([i]))[1][0]) for i in range(len(rows))}
    if len(labels) < 2:
        raise InputError(
            f"expected fit rows of at least two classes, got {len(rows)} of class {labels.pop()} alone: what fools "
            "them need not fool others, so fit rows of several classes"
        )


def groups_of(s: Setup, oracle: Oracle) -> int:
    """How many perturbations there are: as many as the model has classes, or one."""
    x = s.division.fit.take(torch.arange(1))[0]
    classes = oracle.logits(x.to(oracle.device)).shape[1]
    target = s.config.target
    if target is not None and not 0 <= target < classes:
        raise InputError(f"expected a target class from 0 to {classes - 1}, got {target}: name one of these")
    groups = classes if s.per_class else 1
    if s.given is not None and len(s.given.v) != groups:
        raise InputError(
            f"expected {groups} perturbations, one {'per class' if s.per_class else 'for all'}, got "
            f"{len(s.given.v)}: use a model with the classes of the one that they were made for"
        )
    if groups * x[0].numel() > _MOST and s.per_class:
        raise InputError(
            f"expected at most {_MOST:,} numbers in all perturbations, got {groups * x[0].numel():,} for {classes} "
            "classes: make one perturbation for all, or use smaller inputs"
        )
    return groups
