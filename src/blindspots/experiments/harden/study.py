"""What hardening did to a network besides: attacks, norms and changes that training did not use, and its gradients.

All of it on the same rows, before and after, and judged by the engine.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blindspots.attacks import (
    APGD,
    FMN,
    MIFGSM,
    AdditiveNoise,
    Attack,
    Blur,
    Contrast,
    GeoDA,
    HopSkipJump,
    RayS,
    RotateTranslate,
    SaltAndPepper,
    Square,
)
from blindspots.ball import BALLS, Ball
from blindspots.crafting import Plan, craft
from blindspots.experiments.harden.attacked import attacked
from blindspots.experiments.harden.verdict import Alignment, Compared, RadiusCurve, Study
from blindspots.models.model import Model
from blindspots.objective import LossName, Objective
from blindspots.oracle import Oracle
from blindspots.packing import packed_text, unpacked_text
from blindspots.pictures import is_image
from blindspots.problem import Job, Need, Problem, Question
from blindspots.records import Share
from blindspots.runs.experiment import Columns

Watch = Callable[[str], None]

_SHARE = 0.5  # of the radius of equal volume
_POINTS, _AS_FAR = 61, 2.5  # of the curve, which ends at so many times the radius that was trained for
_SHOWN = 10  # rows whose gradients are kept
_NOISE, _PIXELS, _FADED, _SIGMA, _LEAST_SIGMA = 0.1, 0.05, 0.5, 1 / 32, 0.5
_DEGREES, _SHIFT = 10.0, 0.05
_STEPS, _SCORES, _LABELS = 40, 150, 100  # gradients, scores and labels that an attack may ask for, per row


@dataclass(frozen=True)
class Pair:
    """Two networks on the rows x (N, *shape), y (N,), which neither training nor the choice of the epoch has seen.

    Args:
        threat: what `after` was trained for, with a radius.
        chunk: rows per call; None: by the size of an input.
        watch: gets the name of each comparison before it begins.
    """

    before: Model
    after: Model
    x: Tensor
    y: Tensor
    threat: Ball
    seed: int = 0
    chunk: int | None = None
    watch: Watch = lambda text: None

    def columns(self) -> Columns:
        """The study, as `verdict.STUDY` says."""
        made = [*self._compared(), *self._transfers()]
        named = [{"name": t.name, "kind": t.kind, "what": t.what} for t, _, _ in made]
        return {
            "compared": packed_text(json.dumps(named)),
            "stands_before": torch.stack([before for _, before, _ in made]),
            "stands_after": torch.stack([after for _, _, after in made]),
            **self._distances(),
            **self._gradients(),
        }

    @property
    def _both(self) -> tuple[Model, Model]:
        return self.before, self.after

    def _compared(self) -> Iterator["_Stands"]:
        classes = _logits(self.before, self.x[:1]).shape[1]
        for trial in trials(self.threat, tuple(self.x.shape[1:]), classes):
            self.watch(trial.name)
            found = [self._attacked(m, trial.attack, trial.threat, trial.loss) for m in self._both]
            before, after = (one["right"] & ~one["won"] for one in found)
            yield trial, before, after

    def _attacked(self, model: Model, chosen: Attack, threat: Ball, loss: LossName | None = None) -> Columns:
        return attacked(model, self.x, self.y, chosen, threat, self.seed, chunk=self.chunk, loss=loss)

    def _transfers(self) -> Iterator["_Stands"]:
        """Examples that were made for one of the two, fed to both."""
        for name, source in (("before", self.before), ("after", self.after)):
            chosen: Attack = FMN(_STEPS) if self.threat.name == "l0" else MIFGSM()
            trial = Trial(
                f"made for {name}", "transfer",
                f"{type(chosen).__name__} on the network {name}, each row at the point of the ball where that one "
                "came closest to an error.", self.threat, chosen,
            )  # fmt: skip
            self.watch(trial.name)
            plan = Plan(self.threat, Objective(), None, 1, self.seed, slots=128, part_rows=1024)
            moved = craft(Oracle(source), chosen, plan, self.x, self.y).moved
            before, after = (_logits(m, moved).argmax(1) == self.y for m in self._both)
            yield trial, before, after

    def _distances(self) -> Columns:
        """From a search for the smallest change of each row."""
        self.watch("accuracy against radius")
        found = [self._attacked(m, FMN(_STEPS), replace(self.threat, radius=None)) for m in self._both]
        before, after = (torch.where(one["right"], one["norm"], 0.0) for one in found)
        return {"distance_before": before, "distance_after": after}

    def _gradients(self) -> Columns:
        """Input gradients of the predicted class's score minus the strongest other, and how they align with the inputs.

        Etmann et al. 2019 (arXiv 1905.04172) take |<x, g>| / |g| for the alignment of an input with its saliency map,
        which in a linear model grows with the distance to the boundary, in networks less strictly; here it is also
        divided by |x|, so it is a cosine. The gradient of this difference, unlike that of a loss, does not vanish where
        the network is sure. Tsipras et al. 2019 (arXiv 1805.12152) show input gradients of losses as pictures.
        """
        self.watch("input gradients")
        before, after = (_slopes(m, self.x, self.threat) for m in self._both)
        at = _first_of_classes(self.y)
        return {
            "alignment_before": _alignment(self.x, before), "alignment_after": _alignment(self.x, after),
            "id": at, "x": self.x[at], "y": self.y[at], "gradient_before": before[at], "gradient_after": after[at],
        }  # fmt: skip


def concluded(columns: Columns, threat: Ball) -> Study:
    """The study in numbers."""
    assert threat.radius is not None
    named = json.loads(unpacked_text(columns["compared"]))
    pairs = zip(named, columns["stands_before"], columns["stands_after"], strict=True)
    radii = torch.linspace(0, _AS_FAR * threat.radius, _POINTS).tolist()
    far = [columns[name] for name in ("distance_before", "distance_after")]
    before, after = ([int((d > r).sum()) / len(d) for r in radii] for d in far)
    aligned = [float(columns[name].median()) for name in ("alignment_before", "alignment_after")]
    return Study(
        rows=len(far[0]),
        compared=[Compared(**words, before=_share(b), after=_share(a)) for words, b, a in pairs],
        curve=RadiusCurve(norm=threat.name, radii=radii, before=before, after=after),
        alignment=Alignment(before=aligned[0], after=aligned[1]),
    )


def _share(stands: Tensor) -> Share:
    return Share.of(int(stands.sum()), len(stands))


def _logits(model: Model, x: Tensor) -> Tensor:
    oracle = Oracle(model)
    with oracle.session():
        return oracle.logits(x.to(oracle.device)).cpu()


def _slopes(model: Model, x: Tensor, threat: Ball) -> Tensor:
    oracle, problem = Oracle(model), Problem(Objective(), threat)
    with oracle.session():
        x = x.to(oracle.device)
        y = oracle.logits(x).argmax(1)
        seen = oracle.look(problem, Question(y, y), x, Need.GRAD)
    assert seen.grad is not None
    return seen.grad.cpu()


def _alignment(x: Tensor, g: Tensor) -> Tensor:
    return torch.cosine_similarity(x.flatten(1), g.flatten(1), eps=1e-30).abs()


def _first_of_classes(y: Tensor) -> Tensor:
    """Rows (k,), in the order of the data: the first of every class, then the second, until enough are found."""
    nth = torch.stack([(y[:i] == y[i]).sum() for i in range(len(y))])
    return (nth * len(y) + torch.arange(len(y))).argsort()[:_SHOWN].sort().values


# ------------------------------------------------------------------ what is tried


@dataclass(frozen=True)
class Trial:
    """One attack on both networks, or one look at a changed input: an attack of a single step."""

    name: str
    kind: str
    what: str
    threat: Ball
    attack: Attack
    loss: LossName | None = None


def trials(threat: Ball, shape: tuple[int, ...], classes: int) -> Iterator[Trial]:
    """Everything that fits the threat, the shape of an input and the number of classes."""
    yield from _other_norms(threat, math.prod(shape))
    yield from _unseen(threat, classes)
    free, pictures = replace(threat, radius=None), threat.padding is None and is_image(shape)
    if pictures:
        yield Trial(
            "spatial", "unseen attack",
            f"Turned by up to {_DEGREES:g}° and shifted by up to {100 * _SHIFT:g} % of the side, worst of 62 moves.",
            _lp(free), RotateTranslate(_DEGREES, _SHIFT, rotations=7, shifts=3),
        )  # fmt: skip
    yield from (Trial(n, "corruption", what, _lp(free), change) for n, what, change in _corruptions(shape, pictures))


def _lp(threat: Ball) -> Ball:
    """Natural changes have no l0 form; without a radius, the norm decides nothing."""
    return threat if threat.name != "l0" else threat.like("linf")


def _other_norms(threat: Ball, dimensions: int) -> Iterator[Trial]:
    """APGD in balls of the other norms, at half of the radius at which they have the volume of the trained one.

    At equal volume a ball in l2 beside linf 8/255 on 32 x 32 colour images would reach to 0.84, where 0.5 is usual.
    """
    for name in ("linf", "l2", "l1"):
        if threat.name in ("l0", name):
            continue
        radius = float(f"{_SHARE * equal_volume(threat, BALLS[name].p, dimensions):.3g}")
        yield Trial(
            f"{name}:{radius:g}", "norm",
            f"APGD, {_STEPS} steps, within {name} {radius:g}: half of the radius at which the ball has the volume of "
            "the one that was trained for.",
            replace(threat.like(name), radius=radius), APGD(steps=_STEPS),
        )  # fmt: skip


def equal_volume(threat: Ball, p: float, dimensions: int) -> float:
    """The radius at which the ball of the norm `p` has the volume of the threat's, the box aside.

    The unit ball in d dimensions has the volume (2 Gamma(1 + 1/p))^d / Gamma(1 + d/p).
    """
    assert threat.radius is not None
    return threat.radius * math.exp(_log_volume(threat.p, dimensions) - _log_volume(p, dimensions))


def _log_volume(p: float, d: int) -> float:
    """Of the unit ball, divided by d."""
    return math.log(2) + math.lgamma(1 + 1 / p) - math.lgamma(1 + d / p) / d


def _unseen(threat: Ball, classes: int) -> Iterator[Trial]:
    """Attacks of other kinds within the threat itself."""
    if threat.name == "l0":
        return
    loss: LossName = "dlr" if classes > 2 else "margin"  # the ratio needs a third class
    yield Trial(
        f"apgd-{loss}", "unseen attack", f"APGD on the loss {loss}, {_STEPS} steps.", threat, APGD(steps=_STEPS), loss
    )  # fmt: skip
    yield Trial(
        "square", "unseen attack", f"Square, random search from scores alone, {_SCORES} looks.", threat, Square(_SCORES)
    )  # fmt: skip
    by_label: dict[str, Attack] = {
        "linf": RayS(queries=_LABELS),
        "l2": HopSkipJump(queries=_LABELS),
        "l1": GeoDA(queries=_LABELS),
    }
    chosen = by_label[threat.name]
    name = type(chosen).__name__
    yield Trial(
        name.lower(), "unseen attack", f"{name}, from labels alone, {_LABELS} looks.", threat, chosen
    )  # fmt: skip


def _corruptions(shape: tuple[int, ...], pictures: bool) -> Iterator[tuple[str, str, Attack]]:
    """One look each, at a fixed severity and one draw."""
    yield (
        "noise", f"Gaussian noise, its standard deviation {100 * _NOISE:g} % of the range of inputs.",
        AdditiveNoise(most=_NOISE, steps=1, halvings=0, draws=1),
    )  # fmt: skip
    if not pictures:
        return
    side = max(shape[-2:])
    sigma = max(_SIGMA * side, _LEAST_SIGMA)
    yield (
        "salt and pepper", f"{100 * _PIXELS:g} % of the pixels, drawn at random, black or white.",
        SaltAndPepper(most=_PIXELS, steps=1, halvings=0, draws=1),
    )  # fmt: skip
    yield "blur", f"Gaussian blur, {sigma:g} pixels.", Blur(most=sigma / side, steps=1, halvings=0)
    yield "contrast", f"Faded by {100 * _FADED:g} % to the middle of the range.", _Faded(steps=1, halvings=0)


@dataclass(frozen=True)
class _Faded(Contrast):
    def at(self, problem: Problem, job: Job, amount: Tensor, draw: Tensor) -> Tensor:
        return super().at(problem, job, _FADED * amount, draw)


_Stands = tuple[Trial, Tensor, Tensor]  # which rows (N,) stand before and after
