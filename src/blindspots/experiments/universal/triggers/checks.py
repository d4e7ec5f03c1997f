"""What cannot be done with texts is said before anything is searched."""

import torch

from blindspots.errors import InputError
from blindspots.experiments.universal.triggers.setup import Setup, of_texts
from blindspots.fit import check_answers
from blindspots.models.binding import bound
from blindspots.texts.codes import as_texts

_MEANINGLESS = ("per_class", "images", "several", "geometry", "cross")


def check(s: Setup) -> None:
    """Raises InputError: something does not fit."""
    _check_kinds(s)
    _check_settings(s)
    for model in (s.model, *s.others):
        check_answers(model, "a trigger")
    for name in s.config.others:
        bound(s.world.named(name), s.world.data)  # the same classes in the same order, as far as they have names
    if s.given is None:
        s.method.check_model(s.model)
        _ = s.vocabulary
    else:
        _check_given(s)
    _check_target(s)


def _check_kinds(s: Setup) -> None:
    """Before any model is looked at with the data."""
    spec = s.sought.spec
    if getattr(s.world.data, "unit", "") != "text":
        raise InputError(f"expected texts for {spec}, got {s.world.data.name}: use linf:10/255 for images")
    for name in s.config.models():
        of_texts(s.world.named(name))


def _check_settings(s: Setup) -> None:
    asked = [name for name in _MEANINGLESS if getattr(s.config, name)] + ["no-clip"] * (not s.config.clip)
    if asked:
        raise InputError(
            f"expected none of what is about perturbations of images for a trigger, got {' and '.join(asked)}: leave "
            "it out"
        )
    if isinstance(s.config.heldout, str):
        raise InputError(
            f"expected a number of held-out texts of the same data, got {s.config.heldout!r}: put all texts into one "
            "file, from which rows are drawn by lot"
        )


def _check_given(s: Setup) -> None:
    given, sought = s.given, s.sought
    assert given is not None
    words = len(given.words.split())
    if (words, given.place) != (sought.words, sought.place):
        place = "" if given.place == "front" else f"{given.place}:"
        raise InputError(
            f"expected a trigger as {sought.spec} says, got one of {words} words for {given.place}: write "
            f"--threat trigger:{place}{words}"
        )


def _check_target(s: Setup) -> None:
    """That the class exists, and that there are texts to be taken for it."""
    target = s.config.target
    fit = as_texts(s.division.fit.take(torch.arange(len(s.division.fit)))[0])
    scores = s.model.of(fit if target is not None else fit[:1])
    if target is not None and target >= scores.shape[1]:
        raise InputError(f"expected a target class from 0 to {scores.shape[1] - 1}, got {target}: name one of these")
    if target is not None and bool((scores.argmax(1) == target).all()):
        raise InputError(
            f"expected fit texts that are not taken for class {target} already, got {len(fit)} that all are: fit others"
        )
