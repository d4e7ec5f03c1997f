"""What is checked before an attack: can a verdict on this model and these data mean anything?

All checks share one set of looks at a few rows. Gradients are taken for the classes that the model itself predicts, so
wrong labels cannot disturb what is said of the network. The flags of AutoAttack (Croce and Hein 2020: randomised,
probabilities, zero gradients, autograd in the forward pass, too few classes) and the unavailable gradients of Pintor
et al. (2022, indicator I1) are among them. docs/findings.md explains every finding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from blindspots.errors import InputError
from blindspots.findings import Finding, Severity
from blindspots.goal import margin
from blindspots.models.foreign import own_randomness, told
from blindspots.models.model import Model
from blindspots.models.precision import full_precision
from blindspots.problem import Need
from blindspots.random import keys, sign, uniform
from blindspots.records import clopper_pearson

# Three repetitions: a coin tossed once per batch goes unnoticed 1 time in 8.
REPEATS = 3
# Gradients are compared with the network NEAR a row, over a STEP; both are shares of the bounds. Together they stay
# below half a grey level, or a network that rounds its input would look smooth. Steps five times as long deviate two to
# five times as much on deep networks; steps of 0.5/255 by up to 0.6 of the change.
NEAR = 0.49 / 255
STEP = 0.025 / 255
# How far a gradient may be off, as a mean over rows: at most 0.1 was measured; 0.6 when half of the input is detached.
MISLED = 0.3
# A difference of logits counts from so many units in the last place of the largest one: 2.5 times what was measured.
ROUNDING = 16
# Up to this share rows without gradient are single cases (a provably trained network had 6 %), beyond it a pattern.
MANY = 0.1
LEVEL = 0.05  # of the test against chance
CERTAIN = 0.999  # confidence with which a useful accuracy must be ruled out, so that few rows raise no alarm

NOT_EXAMINED = Finding(
    code="not-examined",
    severity="note",
    saw="The model is known by its answers alone, so nothing was checked before the attack.",
    do="Where its weights are at hand, evaluate those: gradients find more, and checks say what the numbers mean.",
)

Said = tuple[str, str] | None  # what was seen, what to do


@dataclass(frozen=True)
class Preflight:
    """What was found, errors first, and what the looking cost: rows that went forwards and backwards in all."""

    findings: list[Finding]
    forwards: int
    backwards: int


@dataclass(frozen=True)
class Gradients:
    """Of the predicted classes' cross entropy and margin, (n, *shape) each, and how well they foretell small steps.

    `deviation` (n, 2): how far the margin's change is from what its gradient foretells, along the gradient's signs and
    along random signs, as a share (at most 1) of the change that is typical; nan where rounding hides it.
    """

    ce: Tensor
    margin: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Sample:
    """All that the checks look at. Of n rows: inputs (n, *shape), labels as they came, logits (n, C).

    Of a model that rejects, logits are (n, C + 1).
    """

    model: Model
    x: Tensor
    y: Tensor
    in_training: list[str]  # modules handed over in training mode that compute otherwise in it
    logits: Tensor
    again: list[Tensor]  # logits of the same batch
    elsewhere: list[Tensor]  # logits of the first rows beside other neighbours: (m, C), m <= n
    autograd_calls: int  # in one forward pass without gradients
    gradients: Gradients | None
    refusal: str  # why there are no gradients

    @property
    def classes(self) -> int:
        return self.logits.shape[1] - self.model.rejects

    @cached_property
    def labels_fit(self) -> bool:
        """Whether each row has a class of the model."""
        return self.y.dtype == torch.int64 and self.y.ndim == 1 and not self.strange_labels.any()

    @cached_property
    def strange_labels(self) -> Tensor:
        return (self.y < 0) | (self.y >= self.classes)

    @cached_property
    def finite(self) -> Tensor:
        """(n,) rows whose logits are all finite."""
        return self.logits.isfinite().all(1)

    @cached_property
    def resolution(self) -> float:
        """The smallest difference of logits that is none of rounding: half of the digits of the largest one."""
        return math.sqrt(_unit(self.model, self.logits)) * _largest(self.logits)

    @cached_property
    def spread(self) -> float:
        """The largest difference between logits of the same batch."""
        return max(_largest(other - self.logits) for other in self.again)

    @cached_property
    def coupling(self) -> float:
        """The largest difference between logits of a row beside different neighbours."""
        return max(_largest(other - self.logits[: len(other)]) for other in self.elsewhere)

    @property
    def randomised(self) -> bool:
        return self.spread > self.resolution

    @property
    def coupled(self) -> bool:
        return not self.randomised and self.coupling > self.resolution


def examine(model: Model, x: Tensor, y: Tensor, *, seed: int = 0) -> Preflight:
    """Look at a model and a few of its rows before they are attacked.

    Args:
        model: any model; it comes back as it was, and so does the global random state.
        x: (n, *shape), some rows, in the model's bounds if all is well; all go through the network at once, so at most
            64 or so.
        y: int64 (n,), their labels, if all is well.
        seed: of the points and directions where gradients are compared with the network.

    Returns:
        The findings, and the cost: 12 forwards and 3 backwards per row; 7 forwards and no backwards if no gradient
        reaches the input.

    Raises:
        InputError: no rows, not as many labels as rows, or the network fails on the rows.
    """
    _check_shapes(x, y)
    sample, network = _look(model, x.to(model.device).float(), y.to(model.device), seed)
    findings = [found for check in CHECKS if (found := check(sample))]
    findings.sort(key=lambda f: ("error", "warning", "note").index(f.severity))
    return Preflight(findings, network.forwards, network.backwards)


def _check_shapes(x: Tensor, y: Tensor) -> None:
    if x.ndim < 2:
        raise InputError(f"expected inputs (rows, *shape), got shape {tuple(x.shape)}: put the rows on the first axis")
    if len(x) == 0:
        raise InputError("expected at least one row to look at, got none: pass some inputs")
    if y.ndim == 0 or len(y) != len(x):
        raise InputError(f"expected one label per input, got {y.numel()} labels for {len(x)} inputs: pair them up")


# ------------------------------------------------------------------ looking


class _Network:
    """The model, counted."""

    def __init__(self, model: Model) -> None:
        self.model, self.forwards, self.backwards = model, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return self.model.logits(x)

    def gradient(self, values: Tensor, x: Tensor) -> Tensor:
        """Of every row's value (n,) at the rows x (n, *shape). The graph is kept."""
        if not values.requires_grad:
            raise InputError("no differentiable path leads from its input to its output")
        gradient = self.model.gradient(values.sum(), x, retain_graph=True)
        self.backwards += len(x)
        return gradient


class _AutogradCalls(TorchFunctionMode):
    """Counts the calls of autograd that are made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += func.__name__ in ("grad", "backward")
        return func(*args, **(kwargs or {}))


def _look(model: Model, x: Tensor, y: Tensor, seed: int) -> tuple[Sample, _Network]:
    network, in_training = _Network(model), _in_training(model.net)
    with model.borrowed(), own_randomness(model.device, seed), full_precision(model.device):
        with torch.no_grad():
            logits, *again = (network(x) for _ in range(REPEATS))
            with _AutogradCalls() as calls:
                again.append(network(x))
            elsewhere = [network(x.flip(0)).flip(0), network(_first_half_twice(x))[: (len(x) + 1) // 2]]
        gradients, refusal = _gradients(network, x, seed) if model.access is Need.GRAD else (None, "")
    return Sample(model, x, y, in_training, logits, again, elsewhere, calls.count, gradients, refusal), network


def _first_half_twice(x: Tensor) -> Tensor:
    """Other neighbours in a batch of the same size: some exported networks take no other."""
    half = x[: (len(x) + 1) // 2]
    return torch.cat([half, half])[: len(x)]


def _gradients(network: _Network, x: Tensor, seed: int) -> tuple[Gradients | None, str]:
    try:
        x = x.detach().requires_grad_()
        logits = network(x)
        predicted = logits.argmax(1)
        ce = network.gradient(F.cross_entropy(logits, predicted, reduction="none"), x)
        of_margin = network.gradient(margin(logits, predicted), x)
        return Gradients(ce, of_margin, _deviation(network, x.detach(), seed)), ""
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        return None, told(error.__cause__ or error)


def _deviation(network: _Network, x: Tensor, seed: int) -> Tensor:
    """Compare the margin's gradient with central differences: (n, 2), see `Gradients`.

    At a random point beside each row, not at the row itself: equal neighbouring pixels (a black background) put many
    networks exactly on their kinks.
    """
    lo, hi = network.model.bounds
    key = keys(seed, torch.arange(len(x), device=x.device))
    clock = torch.zeros_like(key)
    inner = lo + (hi - lo) * (0.25 + 0.5 * uniform(key, clock, 0, x.shape[1:]))
    step = (hi - lo) * STEP  # no further than the nearest wall of the box, which is NEAR / 4 away
    beside = x.lerp(inner, NEAR).requires_grad_()
    logits = network(beside)
    pair = logits.topk(2).indices
    gradient = network.gradient(_lead(logits, pair), beside)
    noise = ROUNDING * _unit(network.model, logits) * _largest(logits)
    columns = []
    for direction, order in ((gradient.sign(), 1), (sign(key, clock, 1, x.shape[1:]), 2)):
        with torch.no_grad():
            ahead, behind = (_lead(network(beside + s * step * direction), pair) for s in (1, -1))
        slope = (gradient * direction).flatten(1).sum(1)
        typical = 2 * step * gradient.flatten(1).norm(p=order, dim=1)
        off = (ahead - behind - 2 * step * slope).abs()
        seen = (typical > 0) & (typical.maximum(off) > noise)
        columns.append(torch.where(seen, (off / typical).clamp_max(1), torch.nan))
    return torch.stack(columns, dim=1)


def _lead(logits: Tensor, pair: Tensor) -> Tensor:
    """The first class's logit less the second's: (n,). `pair`: (n, 2)."""
    first, second = logits.gather(1, pair).unbind(1)
    return first - second


def _largest(t: Tensor) -> float:
    """The largest finite absolute value, 0 if there is none."""
    return float(t.detach().nan_to_num(0, 0, 0).abs().max())


def _unit(model: Model, logits: Tensor) -> float:
    """The relative rounding of the coarsest type that the network seems to compute in."""
    held = {d for d in (torch.float16, torch.bfloat16) if torch.equal(logits.to(d).float(), logits)}
    kept = {p.dtype for p in model.net.parameters() if p.is_floating_point()}
    return max(torch.finfo(d).eps for d in held | kept | {torch.float32})


def _in_training(net: nn.Module) -> list[str]:
    """Modules in training mode whose forward pass asks for the mode, as "Dropout 'head.1'"."""
    training = [
        (name, m) for name, m in net.named_modules() if getattr(m, "training", False)
    ]  # frozen scripts have none
    return [f"{type(m).__name__} '{name}'" for name, m in training if _heeds_mode(m)]


def _heeds_mode(module: nn.Module) -> bool:
    code = getattr(getattr(type(module), "forward", None), "__code__", None)
    return "training" in getattr(code, "co_names", ())


# ------------------------------------------------------------------ checks: inputs


def _nonfinite_input(s: Sample) -> Said:
    rows = int((~s.x.flatten(1).isfinite().all(1)).sum())
    if not rows:
        return None
    return f"{_of(rows, s)} contain NaN or infinity.", "Remove these rows, or repair what reads them."


def _inputs_outside_bounds(s: Sample) -> Said:
    (lo, hi), low, high = s.model.bounds, float(s.x.min()), float(s.x.max())
    rows = int(((s.x < lo) | (s.x > hi)).flatten(1).any(1).sum())
    if not rows:
        return None
    return (
        f"{_of(rows, s)} leave the model's bounds ({lo:g}, {hi:g}): their values run from {low:.6g} to {high:.6g}.",
        "Scale the inputs into the bounds, or say what the bounds are: Model(net, bounds=(low, high)).",
    )


def _inputs_look_normalised(s: Sample) -> Said:
    low, high, mean, std = float(s.x.min()), float(s.x.max()), float(s.x.mean()), float(s.x.std(correction=0))
    standardised = -5 < low < -0.05 and high < 5 and std > 0.25  # any (x - mean) / std of [0, 1]
    if s.model.bounds != (0, 1) or not standardised:
        return None
    return (
        f"The inputs look normalised: mean {mean:.2f}, standard deviation {std:.2f}, smallest value {low:.2f}.",
        "Pass images in [0, 1] and let the model normalise: Model(net, mean=..., std=...).",
    )


def _inputs_look_0_255(s: Sample) -> Said:
    whole = bool((s.x == s.x.round()).all())
    if s.model.bounds != (0, 1) or not whole or s.x.min() < 0 or not 2 < s.x.max() <= 255:
        return None
    return (
        f"The inputs look like 8-bit images: whole numbers up to {float(s.x.max()):g}.",
        "Divide them by 255, or use Model(net, bounds=(0, 255)) if the network takes them so.",
    )


def _inputs_nearly_constant(s: Sample) -> Said:
    (lo, hi), low, high = s.model.bounds, float(s.x.min()), float(s.x.max())
    if not high - low < 0.01 * (hi - lo):
        return None
    return (
        f"All values of all inputs lie between {low:.4g} and {high:.4g}, within 1 % of the bounds ({lo:g}, {hi:g}).",
        "Check that the data were read, and that the bounds are those of the data, not of another scale.",
    )


# ------------------------------------------------------------------ checks: labels


def _labels_dtype(s: Sample) -> Said:
    if s.y.dtype == torch.int64 and s.y.ndim == 1:
        return None
    cure = "y.argmax(1) if they are one-hot" if s.y.ndim == 2 else "y.long() if they are whole numbers"
    return f"The labels are {s.y.dtype} of shape {tuple(s.y.shape)}.", f"Pass one int64 class per row: {cure}."


def _labels_out_of_range(s: Sample) -> Said:
    if s.y.ndim != 1 or not s.strange_labels.any():
        return None
    low, high, shift = int(s.y.min()), int(s.y.max()), "" if s.y.min() < 1 or s.y.max() > s.classes else "y - 1, or "
    return (
        f"The labels run from {low} to {high}, but the model knows the {s.classes} classes 0 to {s.classes - 1}.",
        f"Map the labels to the order in which the network was trained ({shift}the class list of its data).",
    )


def _one_class(s: Sample) -> Said:
    if not s.labels_fit or bool((s.y != s.y[0]).any()) or s.classes ** (1 - len(s.y)) > 1e-3:
        return None
    return (
        f"All {len(s.y)} labels are {int(s.y[0])}, although the model has {s.classes} classes.",
        "Shuffle the data if they are sorted by class: accuracy on one class says little of the others.",
    )


def _accuracy_at_chance(s: Sample) -> Said:
    if not s.labels_fit:
        return None
    right, chance = int((s.logits.argmax(1) == s.y).sum()), 1 / s.classes
    lucky = float(binomtest(right, len(s.y), chance, alternative="greater").pvalue)
    if lucky <= LEVEL or clopper_pearson(right, len(s.y), CERTAIN)[1] > (1 + chance) / 2:
        return None
    return (
        f"{_of(right, s)} are classified correctly; guessing does as well with probability {lucky:.2g}.",
        "Look for another order of the classes, RGB against BGR, a missing or doubled normalisation, another layout.",
    )


# ------------------------------------------------------------------ checks: outputs


def _nonfinite_output(s: Sample) -> Said:
    rows = int((~s.finite).sum())
    if not rows:
        return None
    return f"The network's output is NaN or infinite for {_of(rows, s)}.", "Repair the network, or remove these rows."


def _outputs_look_like_probabilities(s: Sample) -> Said:
    within = bool(((s.logits >= 0) & (s.logits <= 1)).all())
    if not within or (s.logits.sum(1) - 1).abs().max() > s.resolution:
        return None
    return (
        "Every row of the network's output is a distribution: losses saturate on it, and gradients fade.",
        "Use Model(net, output='probabilities'), or take the softmax off the network.",
    )


def _output_looks_like_a_probability(s: Sample) -> Said:
    single = s.classes == 2 and torch.equal(s.logits[:, 0], -s.logits[:, 1])
    z = 2 * s.logits[:, -1]
    if not single or z.min() < 0 or z.max() > 1 or not z.min() < 0.5 < z.max():
        return None
    return (
        (
            f"The network's single output, taken as a logit, runs from {float(z.min()):.3g} to {float(z.max()):.3g}: "
            "it looks like a probability, and class 1 would always be predicted."
        ),
        "Use Model(net, output='probability'), or take the sigmoid off the network.",
    )


def _saturated_logits(s: Sample) -> Said:
    if s.gradients is None:
        return None
    saturated = (s.logits.softmax(1).amax(1) == 1) & _zero(s.gradients.ce)
    if saturated.sum() * 2 <= len(s.x):
        return None
    return (
        (
            f"{_of(int(saturated.sum()), s)} have confidence exactly 1 and no gradient of the cross entropy: "
            f"the logits reach {_largest(s.logits):.3g}."
        ),
        "Attack with a margin loss (as the protocols do), or divide the logits by a temperature.",
    )


def _coarse_logits(s: Sample) -> Said:
    gaps = margin(s.logits, s.logits.argmax(1))[s.finite]
    unit = _unit(s.model, s.logits) * _largest(s.logits)
    if not len(gaps) or unit <= 0.1 * float(gaps.median()):
        return None
    return (
        (
            f"Logits as large as {_largest(s.logits):.3g} come in steps of {unit:.2g}, and the best two of a row "
            f"are typically {float(gaps.median()):.2g} apart."
        ),
        "Subtract what all classes have in common inside the network, or compute in float32.",
    )


def _two_classes(s: Sample) -> Said:
    if s.classes != 2:
        return None
    return (
        "The model has 2 classes.",
        "Nothing: where a protocol has the DLR loss, which needs 3, the margin takes its place.",
    )


def _three_classes(s: Sample) -> Said:
    if s.classes != 3:
        return None
    return (
        "The model has 3 classes.",
        "Nothing: where a protocol has the targeted DLR loss, which needs 4, the untargeted one is used.",
    )


# ------------------------------------------------------------------ checks: the forward pass


def _model_in_training_mode(s: Sample) -> Said:
    if not s.in_training:
        return None
    more = f" and {len(s.in_training) - 3} more" if len(s.in_training) > 3 else ""
    return (
        f"The model was handed over in training mode, which matters for {', '.join(s.in_training[:3])}{more}.",
        "Nothing: it is evaluated in evaluation mode and handed back as it was.",
    )


def _rows_influence_each_other(s: Sample) -> Said:
    if not s.coupled:
        return None
    return (
        f"A row's logits differ by up to {s.coupling:.2g} (of {_largest(s.logits):.2g}) when its neighbours change.",
        "Compute rows independently: batch norm with stored statistics, no reduction over the batch axis.",
    )


def _randomised_forward(s: Sample) -> Said:
    if not s.randomised:
        return None
    moved = int(torch.stack([o.argmax(1) != s.logits.argmax(1) for o in s.again]).any(0).sum())
    return (
        (
            f"The same batch gives different logits, by up to {s.spread:.2g} (of {_largest(s.logits):.2g}), and "
            f"{_of(moved, s)} change their class in {len(s.again) + 1} passes."
        ),
        "Fix the noise, or average every look over several draws, with draws=20 (expectation over transformation).",
    )


def _dynamic(s: Sample) -> Said:
    if not s.autograd_calls:
        return None
    return (
        f"The forward pass itself called autograd {_times(s.autograd_calls)}: the network adapts to each input.",
        "Attack through the adaptation: gradients that stop at it are not those of the network.",
    )


# ------------------------------------------------------------------ checks: gradients


def _non_differentiable(s: Sample) -> Said:
    if s.gradients is not None or not s.refusal:  # the first look may have said it already
        return None
    return (
        f"The network cannot be differentiated: {s.refusal}.",
        "Use attacks that need no gradient, or put a differentiable stand-in where the chain breaks.",
    )


def _nonfinite_gradient(s: Sample) -> Said:
    if s.gradients is None:
        return None
    bad = ~(s.gradients.ce.isfinite() & s.gradients.margin.isfinite()).flatten(1).all(1) & s.finite
    if not bad.any():
        return None
    return (
        f"The gradient is NaN or infinite for {_of(int(bad.sum()), s)} whose logits are finite.",
        "Look for a square root, norm or logarithm at 0, or a division by 0, and keep it away from 0.",
    )


def _rows_without_gradient(s: Sample) -> tuple[int, bool]:
    """How many, and whether they are too many to be single rows' affair.

    The margin's gradient is exactly 0, or the cross entropy's although the confidence is below 1.
    """
    if s.gradients is None:
        return 0, False
    unsaturated = s.logits.softmax(1).amax(1) < 1
    rows = int((_zero(s.gradients.margin) | (_zero(s.gradients.ce) & unsaturated)).sum())
    return rows, clopper_pearson(rows, len(s.x))[0] > MANY


def _zero_gradient(s: Sample) -> Said:
    rows, many = _rows_without_gradient(s)
    if not many:
        return None
    return (
        f"The gradient is exactly 0 for {_of(rows, s)}: it is masked there, which is not robustness.",
        "Look for rounding, thresholds or saturation; use a differentiable stand-in, or attacks without gradients.",
    )


def _some_zero_gradients(s: Sample) -> Said:
    rows, many = _rows_without_gradient(s)
    if many or not rows:
        return None
    return (
        f"The gradient is exactly 0 for {_of(rows, s)}: the network is flat there.",
        "Nothing, if the attack has random starts; else believe these rows only after an attack without gradients.",
    )


def _gradient_misleads(s: Sample) -> Said:
    if s.gradients is None or s.randomised or s.coupled:
        return None
    deviation = s.gradients.deviation
    rows = deviation.isfinite().sum(0)
    off = float((deviation.nansum(0) / (rows + 1)).max())  # with one sound row more: a single odd one is no alarm
    if off < MISLED:
        return None
    return (
        (
            f"Small steps change the margin otherwise than its gradient foretells: by {off:.0%} of the change that is "
            f"typical, on average over {int(rows.max())} rows."
        ),
        "Look for rounding, straight-through gradients or detached parts; also attack without gradients.",
    )


def _zero(gradient: Tensor) -> Tensor:
    return (gradient == 0).flatten(1).all(1)


def _of(rows: int, s: Sample) -> str:
    return f"{rows} of {len(s.x)} rows"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


@dataclass(frozen=True)
class Check:
    """One question to a sample. `look` returns what was seen and what to do, or None if all is well."""

    code: str
    severity: Severity
    look: Callable[[Sample], Said]

    def __call__(self, sample: Sample) -> Finding | None:
        said = self.look(sample)
        return Finding(code=self.code, severity=self.severity, saw=said[0], do=said[1]) if said else None


CHECKS = (
    Check("nonfinite-input", "error", _nonfinite_input),
    Check("inputs-outside-bounds", "error", _inputs_outside_bounds),
    Check("inputs-look-normalised", "warning", _inputs_look_normalised),
    Check("inputs-look-0-255", "warning", _inputs_look_0_255),
    Check("inputs-nearly-constant", "warning", _inputs_nearly_constant),
    Check("labels-dtype", "error", _labels_dtype),
    Check("labels-out-of-range", "error", _labels_out_of_range),
    Check("one-class", "warning", _one_class),
    Check("accuracy-at-chance", "warning", _accuracy_at_chance),
    Check("nonfinite-output", "error", _nonfinite_output),
    Check("outputs-look-like-probabilities", "warning", _outputs_look_like_probabilities),
    Check("output-looks-like-a-probability", "warning", _output_looks_like_a_probability),
    Check("saturated-logits", "warning", _saturated_logits),
    Check("coarse-logits", "warning", _coarse_logits),
    Check("two-classes", "note", _two_classes),
    Check("three-classes", "note", _three_classes),
    Check("model-in-training-mode", "note", _model_in_training_mode),
    Check("rows-influence-each-other", "error", _rows_influence_each_other),
    Check("randomised-forward", "warning", _randomised_forward),
    Check("dynamic", "warning", _dynamic),
    Check("non-differentiable", "warning", _non_differentiable),
    Check("nonfinite-gradient", "warning", _nonfinite_gradient),
    Check("zero-gradient", "warning", _zero_gradient),
    Check("some-zero-gradients", "note", _some_zero_gradients),
    Check("gradient-misleads", "warning", _gradient_misleads),
)
